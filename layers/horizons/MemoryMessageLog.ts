/**
 * The log in memory: for tests and simulation. The same answers as the stores on disk, and nothing kept.
 *
 * Owns: the port's rules over plain maps, and faults that a test asks for.
 * Does not own: durability. A unit is checked whole before its first write, so it is all or nothing.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { DecidedCall } from "#src/domain/Approval.ts"
import {
  type ApprovalId,
  approvalId,
  type DeliveryId,
  deliveryId,
  type MessageId,
  messageId,
  type RunId,
  runId
} from "#src/domain/Ids.ts"
import { type Identity, userEntryOf } from "#src/domain/Inbound.ts"
import type { QueueOverrides } from "#src/domain/Queue.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { Usage } from "#src/domain/Usage.ts"
import * as Usages from "#src/domain/Usage.ts"
import {
  type Accept,
  type Append,
  type ApprovalRow,
  type Block,
  type Committed,
  type Decide,
  type DeleteSession,
  type DeliveryRow,
  type Ending,
  type EntryRow,
  Fenced,
  type Finish,
  type Fork,
  IdReused,
  type JournalRow,
  type KeepJournal,
  type KeepQueue,
  type KeepSetting,
  LogError,
  MessageLog,
  type MessageRow,
  type MessageTrace,
  type NewDelivery,
  NoSuchSession,
  NoSuchTurn,
  type Park,
  type Place,
  type RenameSession,
  type RunRow,
  type SendBegun,
  type SendEnded,
  SessionFull,
  type SessionRow,
  SessionShared,
  SessionTaken,
  type Spending,
  type Start,
  type Unit,
  type UsageRow
} from "#src/horizons/MessageLog.ts"
import { storable, toJson } from "#layers/platform/storable.ts"
import {
  answerIndex,
  byBytes,
  canonical,
  firstBlockPart,
  isAnswered,
  noteOf,
  nothingStreamed,
  noticeOf,
  readEntry,
  type Refusal,
  streamedWith,
  wholeLimit
} from "./stored.ts"

type Answer<Tag extends Unit["_tag"]> = Result.Result<Committed[Tag], Refusal>

type Open<Row> = { -readonly [Key in keyof Row]: Row[Key] }

interface Session extends Open<SessionRow> {
  ephemeral: boolean
  order: number
  /** Dropped messages that the next run is still to be told of. */
  overflow: number
  queue: QueueOverrides | undefined
  readonly settings: Map<string, string>
  /** Its own, by seq, without gaps: the first follows the last one it shares. */
  readonly entries: Array<Open<EntryRow>>
  /** Of each session that it shares entries of, the last one, oldest first. */
  readonly shares: ReadonlyArray<Share>
}
/** An answer, and the session it was given in. */
interface Share {
  readonly owner: SessionKey
  readonly seq: number
  readonly order: number
}
interface Run extends Open<RunRow> {
  readonly session: SessionKey
  stalled: number
}
interface Message extends Open<MessageRow> {
  readonly comparable: string
}

interface Approval extends Open<ApprovalRow> {
  /** 1 when an attempt of its run was told the decision, 2 when its call has its result. */
  told: 0 | 1 | 2
}

/** Usage summed by place, sender, model and day. */
interface Spent extends Open<Omit<UsageRow, "key">> {
  readonly agent: string
  session: string
  sender: string
  readonly model: string
  readonly day: number
}

interface Rows {
  readonly spending: Map<string, Spent>
  readonly sessions: Map<string, Session>
  readonly messages: Map<string, Message>
  readonly identities: Map<string, Message>
  readonly runs: Map<string, Run>
  readonly deliveries: Map<string, Open<DeliveryRow>>
  readonly approvals: Map<string, Approval>
  /** By session, in the order they were kept. */
  readonly journals: Map<string, Array<JournalRow>>
}

const fenced = () => Result.fail(new Fenced({}))
/** As a store keeps it. */
const copied = <A>(value: A): A => JSON.parse(toJson(value))
const id = {
  message: (value: string): MessageId => messageId(storable(value)),
  run: (value: string): RunId => runId(storable(value)),
  delivery: (value: string): DeliveryId => deliveryId(storable(value)),
  approval: (value: string): ApprovalId => approvalId(storable(value)),
  session: (value: SessionKey): SessionKey => storable(value) as SessionKey
}
const routeOf = <R extends Omit<Identity, "externalId" | "revision">>(route: R) => ({
  channel: storable(route.channel),
  account: storable(route.account),
  conversation: storable(route.conversation),
  thread: storable(route.thread)
})
const identityOf = (identity: Identity): Identity => ({
  ...routeOf(identity),
  externalId: storable(identity.externalId),
  revision: identity.revision
})
const placeOf = ({ tenant, agent, session }: Place): Place => ({
  tenant: { org: storable(tenant.org), project: storable(tenant.project) },
  agent: storable(agent),
  session: id.session(session)
})
const identityKey = ({ channel, account, conversation, thread, externalId, revision }: Identity) =>
  JSON.stringify([channel, account, conversation, thread, externalId, revision])

const makeRows = (): Rows => ({
  spending: new Map(),
  sessions: new Map(),
  messages: new Map(),
  identities: new Map(),
  runs: new Map(),
  deliveries: new Map(),
  approvals: new Map(),
  journals: new Map()
})

const sessionOf = (rows: Rows, place: Place, ephemeral: boolean, at: number): Session => {
  const found = rows.sessions.get(place.session)
  if (found !== undefined) return found
  const counts = { seq: 0, order: 0, open: 0, overflow: 0, createdAt: at, updatedAt: at }
  const made = {
    place,
    title: undefined,
    forkedFrom: undefined,
    queue: undefined,
    settings: new Map<string, string>(),
    ephemeral,
    ...counts,
    entries: [],
    shares: []
  }
  rows.sessions.set(place.session, made)
  return made
}

/** The session's own entry of this seq. */
const ownEntry = ({ entries: own, shares }: Session, seq: number): Open<EntryRow> | undefined =>
  own[seq - 1 - (shares.at(-1)?.seq ?? 0)]

/** What is read of a session: what it shares, and its own. */
const entriesOf = (rows: Rows, session: Session | undefined): ReadonlyArray<EntryRow> => [
  ...(session?.shares ?? []).flatMap(({ owner, seq, order: last }) =>
    (rows.sessions.get(owner)?.entries ?? []).filter(
      (row) => row.seq <= seq && row.order !== undefined && row.order <= last
    )
  ),
  ...(session?.entries ?? [])
]

/** End the oldest messages that no run has taken, as many as the newcomer needs; undefined when that is not enough. */
const makeRoom = (
  rows: Rows,
  place: Place,
  { messageId: by, cap, drop, dropNotice, at }: Accept
): Pick<Committed["Accept"], "dropped" | "notices"> | undefined => {
  const session = rows.sessions.get(place.session)
  if (cap < 1) return undefined
  const needed = (session?.open ?? 0) - cap + 1
  if (session === undefined || needed <= 0) return { dropped: [], notices: [] }
  const oldest = [...rows.messages.values()]
    .filter(
      (row) => row.place.session === place.session && row.outcome === undefined && row.runId === undefined
    )
    .toSorted((a, b) => a.seq - b.seq)
    .slice(0, needed)
  if (drop === "new" || oldest.length < needed) return undefined
  const notices: Array<DeliveryRow> = []
  for (const message of oldest) {
    message.outcome = "dropped"
    message.outcomeBy = storable(by)
    message.endedAt = at
    const { channel, account, conversation, thread } = message.identity
    if (dropNotice?.channels.includes(channel) !== true) continue
    const route = { channel, account, conversation, thread }
    const stand = {
      seq: session.seq + 1,
      part: notices.length,
      createdAt: Math.max(at, session.updatedAt)
    }
    const notice = noticeOf(message.place, message.id, stand, route, dropNotice.text.toWellFormed())
    rows.deliveries.set(notice.id, notice)
    notices.push(notice)
  }
  session.open -= oldest.length
  if (drop === "summarize") session.overflow += oldest.length
  return {
    dropped: oldest.map(({ id: one, identity }) => ({ messageId: one, clientId: identity.externalId })),
    notices
  }
}

const accept = (rows: Rows, unit: Accept): Answer<"Accept"> => {
  const place = placeOf(unit.place)
  const identity = identityOf(unit.message.identity)
  const body = copied(unit.message.body)
  const comparable = canonical(body)
  const before = rows.identities.get(identityKey(identity))
  if (before !== undefined) {
    if (before.comparable !== comparable) return Result.fail(new IdReused({ messageId: before.id }))
    return Result.succeed({
      duplicate: true,
      messageId: before.id,
      seq: before.seq,
      outcome: before.outcome,
      started: false,
      dropped: [],
      notices: [],
      wrote: []
    })
  }
  const gone = makeRoom(rows, place, unit)
  if (gone === undefined) return Result.fail(new SessionFull({ cap: unit.cap }))
  const { ephemeral, access } = unit.message
  const session = sessionOf(rows, place, ephemeral, unit.at)
  session.ephemeral &&= ephemeral
  session.updatedAt = Math.max(session.updatedAt, unit.at)
  session.open += 1
  session.seq += 1
  const sender = storable(unit.message.sender)
  const message: Message = {
    id: id.message(unit.messageId),
    place,
    seq: session.seq,
    identity,
    sender,
    access,
    ephemeral,
    body,
    acceptedAt: unit.at,
    runId: undefined,
    outcome: undefined,
    outcomeBy: undefined,
    endedAt: undefined,
    comparable
  }
  rows.messages.set(message.id, message)
  rows.identities.set(identityKey(identity), message)
  const entry: EntryRow = {
    id: message.id,
    seq: session.seq,
    order: undefined,
    messageId: message.id,
    clientId: identity.externalId,
    runId: undefined,
    entry: userEntryOf({ body, sender }),
    usage: undefined,
    at: unit.at,
    answers: undefined
  }
  session.entries.push(entry)
  const started = unit.start !== undefined && session.open === 1 && session.overflow === 0
  const { messageId: accepted, at } = unit
  if (started)
    start(rows, { _tag: "Start", place: unit.place, runId: unit.start, messageIds: [accepted], at })
  return Result.succeed({
    duplicate: false,
    messageId: accepted,
    seq: message.seq,
    outcome: undefined,
    started,
    ...gone,
    wrote: started ? [entryRow(entry)] : []
  })
}

/** The message, when it is open and of this session. */
const openMessage = (rows: Rows, place: Place, name: MessageId): Message | undefined => {
  const message = rows.messages.get(id.message(name))
  return message?.place.session === place.session && message.outcome === undefined ? message : undefined
}

/** The run that starts is told of what was dropped since the last one: those messages then belong to it. */
const tellOverflow = (rows: Rows, session: Session, run: RunId, at: number) => {
  if (session.overflow === 0) return
  const dropped = [...rows.messages.values()]
    .filter(
      (row) =>
        row.place.session === session.place.session && row.outcome === "dropped" && row.runId === undefined
    )
    .toSorted((a, b) => a.seq - b.seq)
    .slice(-session.overflow)
  const entry = noteOf(dropped.map(({ id: one, body }) => ({ id: one, text: body.text })))
  for (const message of dropped) message.runId = run
  session.overflow = 0
  write(session, { id: `note_${run}`, runId: run, entry, usage: undefined, at, answers: undefined })
}

const start = (rows: Rows, unit: Start): Answer<"Start"> => {
  const place = placeOf(unit.place)
  const name = id.run(unit.runId)
  const run = rows.runs.get(name)
  if (run !== undefined && (run.state === "ended" || run.session !== place.session)) return fenced()
  const messages: Array<Message> = []
  for (const one of new Set(unit.messageIds)) {
    const message = openMessage(rows, place, one)
    if (message === undefined) return fenced()
    messages.push(message)
  }
  const session = sessionOf(rows, place, false, unit.at)
  if (run !== undefined) {
    run.attempt += 1
    run.stalled += 1
    const decided = tellDecided(rows, name)
    const streamed = run.streamed === undefined ? {} : { streamed: run.streamed }
    return Result.succeed({
      attempt: run.attempt,
      attemptsWithoutProgress: run.stalled,
      decided,
      ...streamed
    })
  }
  rows.runs.set(name, {
    id: name,
    session: place.session,
    state: "running",
    attempt: 1,
    stalled: 1,
    messageIds: unit.messageIds.map(id.message),
    startedAt: unit.at,
    endedAt: undefined,
    usage: Usages.none,
    failure: undefined
  })
  tellOverflow(rows, session, name, unit.at)
  for (const message of messages) {
    message.runId = name
    const entry = ownEntry(session, message.seq)
    if (entry === undefined) continue
    entry.runId = name
    entry.order ??= ++session.order
  }
  return Result.succeed({ attempt: 1, attemptsWithoutProgress: 1, decided: [] })
}

/** Approvals of the run, by id. */
const ofRun = (rows: Rows, run: RunId): ReadonlyArray<Approval> =>
  [...rows.approvals.values()].filter((row) => row.runId === run).toSorted((a, b) => (a.id < b.id ? -1 : 1))

const tellDecided = (rows: Rows, run: RunId): ReadonlyArray<DecidedCall> =>
  ofRun(rows, run).flatMap((row) => {
    const { state, callId, decidedBy } = row
    if (row.told === 2 || state === "pending" || state === "cancelled") return []
    const again = row.told === 1
    row.told = 1
    return [{ callId, decision: state, by: decidedBy, again }]
  })

/** Adds an entry at the end of both orders. */
const write = (
  session: Session,
  row: Omit<EntryRow, "seq" | "order" | "messageId" | "clientId">
): EntryRow => {
  session.seq += 1
  session.order += 1
  const entry = readEntry(toJson(row.entry))
  const written = {
    ...row,
    seq: session.seq,
    order: session.order,
    messageId: undefined,
    clientId: undefined,
    entry
  }
  session.entries.push(written)
  return entryRow(written)
}

/** Bring waiting messages into the run's part of the model's order, and end them as steered. Gives those that were still open. */
const join = (
  rows: Rows,
  place: Place,
  session: Session,
  run: RunId,
  { steering, at }: Append | Finish
): ReadonlyArray<Ending> => {
  const found = new Set((steering?.messageIds ?? []).map((one) => openMessage(rows, place, one)))
  const endings: Array<Ending> = []
  for (const message of found) {
    if (message === undefined || steering === undefined) continue
    const entry = ownEntry(session, message.seq)
    if (entry !== undefined) {
      entry.runId = run
      entry.order ??= ++session.order
    }
    message.runId = run
    message.outcome = "steered"
    message.outcomeBy = storable(steering.by)
    message.endedAt = at
    session.open -= 1
    endings.push({ messageId: message.id, outcome: "steered", by: steering.by })
  }
  return endings
}

const spentKey = ({ agent, session, sender, model, day }: Omit<Spent, keyof UsageRow>) =>
  JSON.stringify([agent, session, sender, model, day])

const addSpent = (rows: Rows, spent: Spent) => {
  const before = rows.spending.get(spentKey(spent))
  if (before === undefined) return void rows.spending.set(spentKey(spent), spent)
  for (const name of sumNames) before[name] += spent[name]
}
const sumNames = [
  "calls",
  "estimatedCalls",
  "inputTokens",
  "outputTokens",
  "cachedTokens",
  "costMicros",
  "unpricedCalls"
] as const

const countSpent = (rows: Rows, place: Place, spending: Spending | undefined, usage: Usage, at: number) => {
  if (spending === undefined) return
  addSpent(rows, {
    agent: place.agent,
    session: place.session,
    sender: storable(spending.sender),
    model: storable(spending.model),
    day: Usages.dayOf(at),
    calls: 1,
    estimatedCalls: usage.estimated ? 1 : 0,
    inputTokens: usage.inputTokens,
    outputTokens: usage.outputTokens,
    cachedTokens: usage.cachedTokens,
    costMicros: usage.costMicros ?? 0,
    unpricedCalls: usage.costMicros === undefined ? 1 : 0
  })
}

const block = (rows: Rows, unit: Block): Answer<"Block"> => {
  const place = placeOf(unit.place)
  const run = rows.runs.get(id.run(unit.runId))
  const session = rows.sessions.get(place.session)
  if (run === undefined || session === undefined || run.session !== place.session) return fenced()
  if (run.state === "ended" || run.attempt !== unit.attempt) return fenced()
  const before = run.streamed ?? nothingStreamed
  run.streamed = copied(streamedWith(before, unit))
  const part = firstBlockPart + before.parts
  deliver(rows, place, unit, unit.deliveries, session.seq, part, session.updatedAt)
  return Result.succeed({ seq: session.seq, part })
}

const append = (rows: Rows, unit: Append): Answer<"Append"> => {
  const place = placeOf(unit.place)
  const run = rows.runs.get(id.run(unit.runId))
  const session = rows.sessions.get(place.session)
  if (run === undefined || session === undefined || run.session !== place.session) return fenced()
  if (run.state === "ended" || run.attempt !== unit.attempt) return fenced()
  const { entry, usage, at } = unit
  const steered = join(rows, place, session, run.id, unit).map(({ messageId }) => messageId)
  const name = storable(unit.entryId)
  const written = write(session, { id: name, runId: run.id, entry, usage, at, answers: undefined })
  const { seq } = written
  const wrote = [written]
  if (entry.kind === "notice") return Result.succeed({ seq, steered, wrote })
  run.stalled = 0
  run.usage = Usages.add(run.usage, usage)
  if (entry.kind === "tool") {
    const callId = copied(entry.callId)
    for (const row of ofRun(rows, run.id)) {
      if (row.callId === callId && row.state !== "pending") row.told = 2
    }
  }
  if (run.streamed !== undefined) run.streamed = { ...run.streamed, text: "" }
  countSpent(rows, place, unit.spending, usage, at)
  if (unit.deliveries !== undefined) deliver(rows, place, unit, unit.deliveries, seq, 0, session.updatedAt)
  return Result.succeed({ seq, steered, wrote })
}

const isOver = (run: Run | undefined, place: Place, unit: Finish): boolean =>
  run === undefined
    ? unit.attempt !== undefined || unit.endings.length === 0
    : run.state === "ended" ||
      run.session !== place.session ||
      (unit.attempt !== undefined && unit.attempt !== run.attempt)

const effective = (rows: Rows, place: Place, endings: ReadonlyArray<Ending>) => {
  const found = new Map<MessageId, { readonly ending: Ending; readonly message: Message }>()
  for (const ending of endings) {
    const message = openMessage(rows, place, ending.messageId)
    if (message !== undefined && !found.has(message.id)) found.set(message.id, { ending, message })
  }
  return [...found.values()]
}

const park = (rows: Rows, unit: Park): Answer<"Park"> => {
  const place = placeOf(unit.place)
  const run = rows.runs.get(id.run(unit.runId))
  const session = rows.sessions.get(place.session)
  if (run === undefined || session === undefined || run.session !== place.session) return fenced()
  if (run.state === "ended" || run.attempt !== unit.attempt) return fenced()
  const { approval, entry, at } = unit
  const row = { runId: run.id, entry, usage: undefined, at, answers: undefined }
  const written = write(session, { id: storable(unit.entryId), ...row })
  run.stalled = 0
  const name = id.approval(approval.id)
  rows.approvals.set(name, {
    ...copied({ callId: approval.callId, tool: approval.tool, arguments: approval.arguments }),
    id: name,
    place,
    runId: run.id,
    state: "pending",
    told: 0,
    createdAt: at,
    expiresAt: approval.expiresAt,
    decidedBy: undefined,
    decidedAt: undefined
  })
  deliver(rows, place, unit, unit.deliveries, written.seq, 0, session.updatedAt)
  return Result.succeed({ seq: written.seq, wrote: [written] })
}

const decide = (rows: Rows, unit: Decide): Answer<"Decide"> => {
  const row = rows.approvals.get(id.approval(unit.approvalId))
  if (row === undefined || row.place.session !== id.session(unit.place.session)) {
    return Result.succeed({ state: undefined, changed: false })
  }
  if (row.state !== "pending") return Result.succeed({ state: row.state, changed: false })
  row.state = unit.decision
  row.decidedBy = unit.by === undefined ? undefined : storable(unit.by)
  row.decidedAt = unit.at
  return Result.succeed({ state: row.state, changed: true })
}

const withdraw = (rows: Rows, run: RunId, at: number): ReadonlyArray<ApprovalId> =>
  ofRun(rows, run).flatMap((row) => {
    if (row.state !== "pending") return []
    row.state = "cancelled"
    row.decidedAt = at
    return [row.id]
  })

const deliver = (
  rows: Rows,
  place: Place,
  unit: Pick<Finish, "runId">,
  deliveries: ReadonlyArray<NewDelivery>,
  seq: number,
  firstPart: number,
  createdAt: number
) =>
  deliveries.forEach((delivery, index) => {
    const name = id.delivery(delivery.id)
    rows.deliveries.set(name, {
      id: name,
      place,
      runId: id.run(unit.runId),
      seq,
      part: firstPart + index,
      route: routeOf(delivery.route),
      text: delivery.text.toWellFormed(),
      ...(delivery.edits === undefined ? {} : { edits: storable(delivery.edits) }),
      state: "pending",
      attempts: 0,
      createdAt,
      sentAt: undefined,
      receipt: undefined,
      detail: undefined
    })
  })

/** What the answer answers when messages were steered into the run: all of the run's but those that ended unanswered. */
const joinedMessages = (
  session: Session,
  run: RunId,
  ending: ReadonlyArray<{ readonly ending: Ending; readonly message: Message }>
): Committed["Finish"]["answered"] => {
  const unanswered = new Set(
    ending.filter((one) => !isAnswered(one.ending)).map(({ message }) => message.seq)
  )
  return session.entries
    .filter((row) => row.runId === run && row.messageId !== undefined && !unanswered.has(row.seq))
    .flatMap(({ messageId, clientId }) =>
      messageId === undefined || clientId === undefined ? [] : [{ messageId, clientId }]
    )
}

const finish = (rows: Rows, unit: Finish): Answer<"Finish"> => {
  const place = placeOf(unit.place)
  const name = id.run(unit.runId)
  const run = rows.runs.get(name)
  const session = rows.sessions.get(place.session)
  if (session === undefined || isOver(run, place, unit)) return fenced()
  const ending = effective(rows, place, unit.endings)
  if (ending.length === 0 && unit.endings.length > 0) return fenced()

  const { at } = unit
  const steered = join(rows, place, session, name, unit)
  session.updatedAt = Math.max(session.updatedAt, at)
  session.open -= ending.length
  const answer = answerIndex(unit.entries)
  const isJoined = steered.length > 0 || unit.steeredBefore === true
  const answered = isJoined
    ? joinedMessages(session, name, ending)
    : ending
        .filter((one) => isAnswered(one.ending))
        .toSorted((a, b) => a.message.seq - b.message.seq)
        .map(({ message }) => ({ messageId: message.id, clientId: message.identity.externalId }))
  const wrote = unit.entries.map((one, index) => {
    const isAnswer = index === answer
    const usage = isAnswer ? unit.usage : undefined
    const answers = isAnswer && answered.length > 0 ? answered.map(({ clientId }) => clientId) : undefined
    return write(session, { id: storable(one.id), runId: name, entry: one.entry, usage, at, answers })
  })
  for (const { ending: one, message } of ending) {
    message.outcome = one.outcome
    message.outcomeBy = one.by === undefined ? undefined : storable(one.by)
    message.endedAt = at
    message.runId ??= name
  }
  deliver(rows, place, unit, unit.deliveries, wrote[answer]?.seq ?? session.seq, 0, session.updatedAt)
  countSpent(rows, place, unit.spending, unit.usage, at)
  const withdrawn = withdraw(rows, name, at)
  rows.runs.set(name, {
    id: name,
    session: place.session,
    state: "ended",
    attempt: run?.attempt ?? 0,
    stalled: run?.stalled ?? 0,
    messageIds: run?.messageIds ?? ending.map(({ message }) => message.id),
    startedAt: run?.startedAt ?? at,
    endedAt: at,
    usage: Usages.add(run?.usage ?? Usages.none, unit.usage),
    failure: unit.failure === undefined ? undefined : copied(unit.failure)
  })
  return Result.succeed({
    seqs: wrote.map(({ seq }) => seq),
    endings: [...ending.map((one) => one.ending), ...steered],
    answered,
    withdrawn,
    wrote
  })
}

const sendBegun = (rows: Rows, unit: SendBegun): Answer<"SendBegun"> => {
  const delivery = rows.deliveries.get(id.delivery(unit.deliveryId))
  if (delivery === undefined || delivery.place.session !== id.session(unit.place.session)) return fenced()
  if (delivery.state !== "pending" && delivery.state !== "sending") return fenced()
  delivery.state = "sending"
  delivery.attempts += 1
  return Result.succeed({ attempts: delivery.attempts })
}

const sendEnded = (rows: Rows, unit: SendEnded): Answer<"SendEnded"> => {
  const delivery = rows.deliveries.get(id.delivery(unit.deliveryId))
  const here = delivery?.place.session === id.session(unit.place.session)
  if (delivery === undefined || !here || delivery.state === "sent" || delivery.state === "dead")
    return Result.succeed({ changed: false })
  delivery.state = unit.state
  delivery.receipt = unit.receipt === undefined ? delivery.receipt : storable(unit.receipt)
  delivery.detail = unit.detail === undefined ? undefined : storable(unit.detail)
  delivery.sentAt = unit.state === "sent" ? unit.at : undefined
  return Result.succeed({ changed: true })
}

const forksOf = (rows: Rows, session: SessionKey): ReadonlyArray<SessionKey> =>
  [...rows.sessions.values()]
    .filter(({ shares }) => shares.some(({ owner }) => owner === session))
    .map(({ place }) => place.session)
    .toSorted(byBytes)

/** What answers steered messages of a run that then failed ends in the middle: no turn was answered with it. */
const isWhole = ({ answers, entry }: EntryRow) =>
  answers !== undefined && !(entry.kind === "assistant" && entry.partial !== undefined)

/** The answer of the turn that an entry of the session belongs to, its own or a shared one; of the last turn without a seq. */
const answerAt = (rows: Rows, session: Session, atSeq: number | undefined): Share | undefined => {
  if (atSeq === undefined) {
    const { session: owner } = session.place
    const last = session.entries.findLast(isWhole)
    return last === undefined ? session.shares.at(-1) : { owner, seq: last.seq, order: last.order ?? 0 }
  }
  const entry = entriesOf(rows, session).find(({ seq }) => seq === atSeq)
  if (entry?.order === undefined || entry.runId === undefined) return undefined
  const share = session.shares.find(({ seq }) => seq >= atSeq)
  for (const { place, entries: own } of rows.sessions.values()) {
    const answer = own.findLast((row) => row.runId === entry.runId && isWhole(row))
    if (answer?.order === undefined || answer.order > (share?.order ?? Infinity)) continue
    return { owner: place.session, seq: answer.seq, order: answer.order }
  }
  return undefined
}

const fork = (rows: Rows, unit: Fork): Answer<"Fork"> => {
  const place = placeOf(unit.place)
  const from = id.session(unit.from)
  const original = rows.sessions.get(from)
  if (original === undefined || original.ephemeral) return Result.fail(new NoSuchSession({ session: from }))
  if (rows.sessions.has(place.session)) return Result.fail(new SessionTaken({ session: place.session }))
  const turn = answerAt(rows, original, unit.atSeq)
  if (turn === undefined) {
    const at = unit.atSeq === undefined ? {} : { seq: unit.atSeq }
    return Result.fail(new NoSuchTurn({ session: from, ...at }))
  }
  const { owner, seq, order: last } = turn
  rows.sessions.set(place.session, {
    ...sessionOf(rows, place, false, unit.at),
    seq,
    order: last,
    forkedFrom: { session: owner, seq },
    queue: original.queue,
    settings: new Map(original.settings),
    shares: [...original.shares.filter((share) => share.seq < seq), turn]
  })
  return Result.succeed({
    seq,
    queue: original.queue ?? {},
    settings: Object.fromEntries(original.settings)
  })
}

const openOf = (rows: Rows, session: SessionKey): ReadonlyArray<Message> =>
  [...rows.messages.values()]
    .filter((message) => message.place.session === session && message.outcome === undefined)
    .toSorted((a, b) => a.seq - b.seq)

const forget = (rows: Rows, session: SessionKey): boolean => {
  for (const [name, message] of rows.messages) {
    if (message.place.session !== session) continue
    rows.messages.delete(name)
    rows.identities.delete(identityKey(message.identity))
  }
  for (const [name, run] of rows.runs) if (run.session === session) rows.runs.delete(name)
  for (const [name, delivery] of rows.deliveries)
    if (delivery.place.session === session) rows.deliveries.delete(name)
  for (const [name, approval] of rows.approvals)
    if (approval.place.session === session) rows.approvals.delete(name)
  for (const [key, spent] of rows.spending) {
    if (spent.session !== session || spent.session === "") continue
    rows.spending.delete(key)
    addSpent(rows, { ...spent, session: "", sender: "" })
  }
  rows.journals.delete(session)
  return rows.sessions.delete(session)
}

/** Forks that a refusal names. */
const namedForks = 20

const deleteSession = (rows: Rows, unit: DeleteSession): Answer<"DeleteSession"> => {
  const session = id.session(unit.place.session)
  const shared = forksOf(rows, session)
  if (shared.length > 0) return Result.fail(new SessionShared({ forks: shared.slice(0, namedForks) }))
  const cancelled = openOf(rows, session).map((message) => message.id)
  return Result.succeed({ existed: forget(rows, session), cancelled })
}

const keepQueue = (rows: Rows, unit: KeepQueue): Answer<"KeepQueue"> => {
  const session = sessionOf(rows, placeOf(unit.place), false, unit.at)
  session.queue = Object.keys(unit.overrides).length === 0 ? undefined : copied(unit.overrides)
  return Result.succeed({})
}

const usage = (rows: Rows, query: Query<"usage">): ReadonlyArray<UsageRow> => {
  const { by, fromDay = -Infinity, toDay = Infinity } = query
  const names = ["agent", "session", "sender", "model"] as const
  const sums = new Map<string, Open<UsageRow>>()
  for (const spent of rows.spending.values()) {
    if (spent.day < fromDay || spent.day > toDay) continue
    if (names.some((name) => query[name] !== undefined && storable(query[name]) !== spent[name])) continue
    const key = by === "total" ? "" : String(spent[by])
    const sum = sums.get(key)
    if (sum !== undefined) for (const name of sumNames) sum[name] += spent[name]
    else
      sums.set(key, { key, ...Object.fromEntries(sumNames.map((name) => [name, spent[name]])) } as UsageRow)
  }
  const size = (row: UsageRow) => row.inputTokens + row.outputTokens
  return [...sums.values()]
    .toSorted((a, b) =>
      by === "day"
        ? Number(b.key) - Number(a.key)
        : b.costMicros - a.costMicros || size(b) - size(a) || byBytes(a.key, b.key)
    )
    .slice(0, wholeLimit(query.limit))
}

const queues = (rows: Rows, { after = "" as SessionKey, limit }: Query<"queues">) =>
  [...rows.sessions.values()]
    .flatMap(({ place, queue }) =>
      queue === undefined || byBytes(place.session, after) <= 0
        ? []
        : [{ session: place.session, overrides: queue }]
    )
    .toSorted((a, b) => byBytes(a.session, b.session))
    .slice(0, wholeLimit(limit))

const keepSetting = (rows: Rows, unit: KeepSetting): Answer<"KeepSetting"> => {
  const { settings } = sessionOf(rows, placeOf(unit.place), false, unit.at)
  if (unit.value === undefined) settings.delete(unit.name)
  else settings.set(unit.name, copied(unit.value))
  return Result.succeed({})
}

const settings = (rows: Rows, { name, after = "" as SessionKey, limit }: Query<"settings">) =>
  [...rows.sessions.values()]
    .flatMap((session) => {
      const value = session.settings.get(name)
      return value === undefined || byBytes(session.place.session, after) <= 0
        ? []
        : [{ session: session.place.session, value }]
    })
    .toSorted((a, b) => byBytes(a.session, b.session))
    .slice(0, wholeLimit(limit))

const keepJournal = (rows: Rows, unit: KeepJournal): Answer<"KeepJournal"> => {
  const session = id.session(unit.place.session)
  if (!rows.sessions.has(session)) return Result.succeed({})
  const kept = rows.journals.get(session) ?? []
  rows.journals.set(session, kept)
  kept.push({ seq: (kept.at(-1)?.seq ?? 0) + 1, records: storable(unit.records), at: unit.at })
  return Result.succeed({})
}

const journal = (rows: Rows, { session, afterSeq = 0, limit }: Query<"journal">): ReadonlyArray<JournalRow> =>
  (rows.journals.get(id.session(session)) ?? [])
    .filter(({ seq }) => seq > afterSeq)
    .slice(0, wholeLimit(limit))

const purgeOld = (rows: Rows, { of, before }: Query<"purgeOld">): number =>
  of === "journal" ? purgeJournal(rows, before) : purgeSent(rows, before)

const purgeSent = (rows: Rows, before: number): number => {
  const old = [...rows.deliveries.values()].filter(
    ({ state, sentAt }) => state === "sent" && sentAt !== undefined && sentAt < before
  )
  for (const delivery of old) rows.deliveries.delete(delivery.id)
  return old.length
}

const purgeJournal = (rows: Rows, before: number): number => {
  let purged = 0
  for (const [session, kept] of rows.journals) {
    const young = kept.filter(({ at }) => at >= before)
    purged += kept.length - young.length
    if (young.length === 0) rows.journals.delete(session)
    else rows.journals.set(session, young)
  }
  return purged
}

const renameSession = (rows: Rows, unit: RenameSession): Answer<"RenameSession"> => {
  const session = rows.sessions.get(id.session(unit.place.session))
  if (session !== undefined) session.title = unit.title === undefined ? undefined : copied(unit.title)
  return Result.succeed({ existed: session !== undefined })
}

function apply<U extends Unit>(rows: Rows, unit: U): Answer<U["_tag"]>
function apply(rows: Rows, unit: Unit): Answer<Unit["_tag"]> {
  switch (unit._tag) {
    case "Accept":
      return accept(rows, unit)
    case "Start":
      return start(rows, unit)
    case "Append":
      return append(rows, unit)
    case "Park":
      return park(rows, unit)
    case "Decide":
      return decide(rows, unit)
    case "Block":
      return block(rows, unit)
    case "Finish":
      return finish(rows, unit)
    case "SendBegun":
      return sendBegun(rows, unit)
    case "SendEnded":
      return sendEnded(rows, unit)
    case "Fork":
      return fork(rows, unit)
    case "DeleteSession":
      return deleteSession(rows, unit)
    case "RenameSession":
      return renameSession(rows, unit)
    case "KeepQueue":
      return keepQueue(rows, unit)
    case "KeepSetting":
      return keepSetting(rows, unit)
    case "KeepJournal":
      return keepJournal(rows, unit)
  }
}

const messageRow = ({ comparable: _comparable, ...row }: Message): MessageRow => row
const runRow = ({ stalled: _stalled, session: _session, ...row }: Run): RunRow => row
const entryRow = (row: EntryRow): EntryRow => ({ ...row })
const deliveryRow = (row: DeliveryRow): DeliveryRow => ({ ...row })

const compareDeliveries = (a: DeliveryRow, b: DeliveryRow): number =>
  a.createdAt - b.createdAt || byBytes(a.place.session, b.place.session) || a.seq - b.seq || a.part - b.part

type Port = MessageLog["Service"]
type Query<Member extends keyof Port> = Port[Member] extends (query: infer Q) => unknown ? Q : never

const trace = (rows: Rows, name: MessageId): MessageTrace | undefined => {
  const message = rows.messages.get(id.message(name))
  if (message === undefined) return undefined
  const run = message.runId === undefined ? undefined : rows.runs.get(message.runId)
  const entries = rows.sessions.get(message.place.session)?.entries ?? []
  const ofRun = (row: { readonly runId: RunId | undefined }) => run !== undefined && row.runId === run.id
  return {
    message: messageRow(message),
    run: run === undefined ? undefined : runRow(run),
    entries: entries.filter((row) => row.messageId === undefined && ofRun(row)).map(entryRow),
    deliveries: [...rows.deliveries.values()]
      .filter(ofRun)
      .toSorted((a, b) => a.seq - b.seq || a.part - b.part)
      .map(deliveryRow)
  }
}

const undelivered = (rows: Rows, query: Query<"undelivered">): ReadonlyArray<DeliveryRow> =>
  [...rows.deliveries.values()]
    .filter(
      ({ state, place, route, createdAt }) =>
        (state === "pending" || state === "sending") &&
        (query.session === undefined || place.session === id.session(query.session)) &&
        (query.channel === undefined || route.channel === storable(query.channel)) &&
        (query.createdAfter === undefined || createdAt > query.createdAfter)
    )
    .toSorted(compareDeliveries)
    .slice(0, wholeLimit(query.limit))
    .map(deliveryRow)

const approvals = (rows: Rows, query: Query<"approvals">): ReadonlyArray<ApprovalRow> =>
  [...rows.approvals.values()]
    .filter(
      ({ id: name, place, state }) =>
        (query.id === undefined ? state === "pending" : name === id.approval(query.id)) &&
        (query.session === undefined || place.session === id.session(query.session))
    )
    .toSorted((a, b) => a.createdAt - b.createdAt || byBytes(a.id, b.id))
    .slice(0, wholeLimit(query.limit))
    .map(({ told: _told, ...row }) => row)

const listed = (rows: Rows, query: Query<"sessions">): ReadonlyArray<SessionRow> =>
  [...rows.sessions.values()]
    .filter(
      ({ ephemeral, place }) =>
        !ephemeral && (query.key === undefined || place.session === id.session(query.key))
    )
    .toSorted((a, b) => b.updatedAt - a.updatedAt || byBytes(a.place.session, b.place.session))
    .slice(0, wholeLimit(query.limit))
    .map(({ place, title, forkedFrom, seq, open, createdAt, updatedAt }) => ({
      place,
      title,
      forkedFrom,
      seq,
      open,
      createdAt,
      updatedAt
    }))

const open = (rows: Rows, { session, afterSeq = 0, limit }: Query<"open">): ReadonlyArray<MessageRow> =>
  (session === undefined
    ? [...rows.sessions.keys()].toSorted(byBytes).flatMap((key) => openOf(rows, key as SessionKey))
    : openOf(rows, id.session(session)).filter(({ seq }) => seq > afterSeq)
  )
    .slice(0, wholeLimit(limit))
    .map(messageRow)

const has: Readonly<Record<Query<"tenants">["having"], (rows: Rows) => boolean>> = {
  open: ({ sessions }) => [...sessions.values()].some((session) => session.open > 0),
  undelivered: ({ deliveries }) =>
    [...deliveries.values()].some(({ state }) => state === "pending" || state === "sending"),
  settings: ({ sessions }) => [...sessions.values()].some((session) => session.settings.size > 0),
  queues: ({ sessions }) => [...sessions.values()].some((session) => session.queue !== undefined)
}
const tenantsHaving = (
  all: ReadonlyMap<string, Rows>,
  having: Query<"tenants">["having"]
): ReadonlyArray<Tenant> =>
  [...all]
    .filter(([, rows]) => has[having](rows))
    .map(([key]): Tenant => {
      const [org, project] = JSON.parse(key)
      return { org, project }
    })
    .toSorted((a, b) => byBytes(a.org, b.org) || byBytes(a.project, b.project))

const openSessions = (rows: Rows, { after = "" as SessionKey, limit }: Query<"openSessions">) =>
  [...rows.sessions.values()]
    .filter((session) => session.open > 0 && byBytes(session.place.session, id.session(after)) > 0)
    .toSorted((a, b) => byBytes(a.place.session, b.place.session))
    .slice(0, wholeLimit(limit))
    .map(({ place }) => place)

const history = (
  rows: Rows,
  { session, afterOrder = 0, limit }: Query<"history">
): ReadonlyArray<EntryRow> => {
  const known = entriesOf(rows, rows.sessions.get(id.session(session)))
    .filter(({ order }) => order !== undefined && order > afterOrder)
    .toSorted((a, b) => (a.order ?? 0) - (b.order ?? 0))
  return known.slice(Math.max(0, known.length - wholeLimit(limit))).map(entryRow)
}

const entries = (
  rows: Rows,
  { session, afterSeq = 0, beforeSeq, limit }: Query<"entries">
): ReadonlyArray<EntryRow> => {
  const found = entriesOf(rows, rows.sessions.get(id.session(session))).filter(
    ({ seq }) => seq > afterSeq && (beforeSeq === undefined || seq < beforeSeq)
  )
  const most = wholeLimit(limit)
  const page = beforeSeq === undefined ? found.slice(0, most) : found.slice(Math.max(0, found.length - most))
  return page.map(entryRow)
}

const lookup = (rows: Rows, { identity }: Query<"lookup">): MessageRow | undefined => {
  const message = rows.identities.get(identityKey(identityOf(identity)))
  return message === undefined ? undefined : messageRow(message)
}

const purge = (rows: Rows, query: Query<"purge">): number => {
  const { before, listed = false } = query
  const stale = [...rows.sessions.values()].filter(
    ({ ephemeral, open: waiting, updatedAt, place }) =>
      ephemeral !== listed && waiting === 0 && updatedAt < before && forksOf(rows, place.session).length === 0
  )
  for (const { place } of stale) forget(rows, place.session)
  // Whom a fork kept may go once the fork is gone.
  return stale.length === 0 ? 0 : stale.length + purge(rows, query)
}

/** Faults that a test asks for. A failed commit stores nothing. */
export class MemoryLogFaults extends Context.Service<
  MemoryLogFaults,
  {
    /** The next `times` commits (default 1) fail for this reason, after those asked for before. */
    readonly failNext: (reason: Refusal, times?: number) => Effect.Effect<void>
    /** Every commit fails for this reason until `recover`. */
    readonly failAll: (reason: Refusal) => Effect.Effect<void>
    /** No commit fails any more for a reason that was asked for. */
    readonly recover: Effect.Effect<void>
  }
>()("opencraw/layers/horizons/MemoryMessageLog/MemoryLogFaults") {}

const make = () => {
  const tenants = new Map<string, Rows>()
  const pending: Array<Refusal> = []
  let always: Refusal | undefined

  const rowsOf = ({ org, project }: Tenant): Rows => {
    const key = JSON.stringify([storable(org), storable(project)])
    let rows = tenants.get(key)
    if (rows === undefined) tenants.set(key, (rows = makeRows()))
    return rows
  }
  const commit = <U extends Unit>(unit: U): Effect.Effect<Committed[U["_tag"]], LogError> =>
    Effect.suspend(() => {
      const fault = pending.shift() ?? always
      const result = fault === undefined ? apply(rowsOf(unit.place.tenant), unit) : Result.fail(fault)
      return Effect.mapError(Effect.fromResult(result), (reason) => new LogError({ reason }))
    })
  const over =
    <Q extends { readonly tenant: Tenant }, A>(read: (rows: Rows, query: Q) => A) =>
    (query: Q): Effect.Effect<A> =>
      Effect.sync(() => read(rowsOf(query.tenant), query))

  const log = MessageLog.of({
    commit,
    open: over(open),
    tenants: ({ having }) => Effect.sync(() => tenantsHaving(tenants, having)),
    openSessions: over(openSessions),
    history: over(history),
    entries: over(entries),
    message: over((rows, query: Query<"message">) => trace(rows, query.id)),
    lookup: over(lookup),
    undelivered: over(undelivered),
    approvals: over(approvals),
    forks: over((rows, { session, limit }: Query<"forks">) =>
      forksOf(rows, id.session(session)).slice(0, wholeLimit(limit))
    ),
    sessions: over(listed),
    queues: over(queues),
    usage: over(usage),
    settings: over(settings),
    journal: over(journal),
    purgeOld: over(purgeOld),
    purge: over(purge),
    broken: Effect.never
  })
  const faults = MemoryLogFaults.of({
    failNext: (reason, times = 1) =>
      Effect.sync(() => {
        for (let n = 0; n < times; n++) pending.push(reason)
      }),
    failAll: (reason) =>
      Effect.sync(() => {
        always = reason
      }),
    recover: Effect.sync(() => {
      always = undefined
      pending.length = 0
    })
  })
  return Context.make(MessageLog, log).pipe(Context.add(MemoryLogFaults, faults))
}

/** A fresh log for each build of the Layer. */
export const layer: Layer.Layer<MessageLog | MemoryLogFaults> = Layer.effectContext(Effect.sync(make))
