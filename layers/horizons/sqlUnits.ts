/**
 * The log's units as plain code over SQL, the same for SQLite and Postgres: each runs in a savepoint of its own and gives its
 * result or why it is refused.
 *
 * Owns: dedupe, cap, order and fencing, as SQL that both databases read alike.
 * Does not own: atomicity, durability and locks (`layers/platform/SqliteWriter`, `layers/platform/PgWriter`).
 */
import * as Result from "effect/Result"
import { createHash } from "node:crypto"
import type { ApprovalState, DecidedCall } from "#src/domain/Approval.ts"
import type { MessageId, RunId } from "#src/domain/Ids.ts"
import { approvalId, messageId } from "#src/domain/Ids.ts"
import { type Route, userEntryOf } from "#src/domain/Inbound.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import type { Usage } from "#src/domain/Usage.ts"
import * as Usages from "#src/domain/Usage.ts"
import {
  type Accept,
  type Append,
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
  type MessageLog,
  type KeepJournal,
  type KeepQueue,
  type KeepSetting,
  type NewDelivery,
  NoSuchSession,
  NoSuchTurn,
  type Park,
  type Place,
  type RenameSession,
  type SendBegun,
  type SendEnded,
  SessionFull,
  SessionShared,
  SessionTaken,
  type Spending,
  type Start,
  type Streamed,
  type Steering,
  type Unit
} from "#src/horizons/MessageLog.ts"
import { all, type Body, count, get, run as change } from "#layers/platform/statements.ts"
import { storable, toJson } from "#layers/platform/storable.ts"
import { type EntryColumns, entryRow, forks } from "./sqlReads.ts"
import {
  answerIndex,
  canonical,
  isAnswered,
  noteOf,
  firstBlockPart,
  noticeOf,
  nothingStreamed,
  type Refusal,
  streamedWith
} from "./stored.ts"

type Answer<Tag extends Unit["_tag"]> = Body<Result.Result<Committed[Tag], Refusal>>

const fenced = () => Result.fail(new Fenced({}))
const bodyHash = (unit: Accept) =>
  createHash("sha256").update(canonical(unit.message.body)).digest("base64url")
const home = (place: Place) => [place.tenant.org, place.tenant.project, place.agent, place.session] as const
const scope = (place: Place) => [place.tenant.org, place.tenant.project, place.session] as const
const named = (place: Place, id: string) => [place.tenant.org, place.tenant.project, id] as const

const findIdentity = `SELECT id, seq, body_hash, outcome FROM messages
  WHERE org = ? AND project = ? AND channel = ? AND account = ? AND conversation = ? AND thread = ?
    AND external_id = ? AND revision = ?`
// A session is listed as soon as one of its messages is to be kept. Its time never goes back, and moves with what people see:
// a message taken in, a run ended.
const openMessage = `INSERT INTO sessions (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at)
  VALUES (?, ?, ?, ?, ?, 1, ?, 1, ?, ?)
  ON CONFLICT (org, project, session) DO UPDATE SET
    seq = sessions.seq + 1, open = sessions.open + 1,
    ord = sessions.ord + CASE WHEN sessions.open = 0 AND sessions.overflow = 0 THEN excluded.ord ELSE 0 END,
    ephemeral = CASE WHEN excluded.ephemeral < sessions.ephemeral THEN excluded.ephemeral ELSE sessions.ephemeral END,
    updated_at = CASE WHEN excluded.updated_at > sessions.updated_at THEN excluded.updated_at ELSE sessions.updated_at END
  WHERE sessions.open < ?
  RETURNING seq, ord, open, overflow`
const insertMessage = `INSERT INTO messages (org, project, agent, session, id, seq, channel, account, conversation, thread,
    external_id, revision, sender, access, ephemeral, body, body_hash, accepted_at, run_id)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
const insertEntry = `INSERT INTO entries (org, project, agent, session, seq, ord, id, message_id, client_id, run_id,
    entry, usage, answers, at)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
/** A new entry, given back as it is stored. */
function* write(place: Place, columns: EntryColumns): Body<EntryColumns> {
  const name = (text: string | null) => (text === null ? null : storable(text))
  const row = {
    ...columns,
    id: storable(columns.id),
    message_id: name(columns.message_id),
    client_id: name(columns.client_id),
    run_id: name(columns.run_id)
  }
  const names = [row.id, row.message_id, row.client_id, row.run_id]
  const texts = [row.entry, row.usage, row.answers]
  yield* change(insertEntry, [...home(place), row.seq, row.ord, ...names, ...texts, row.at])
  return row
}
/** What a run adds to the model's order. */
const ofRun = (run_id: RunId, at: number) => ({
  message_id: null,
  client_id: null,
  run_id,
  usage: null,
  answers: null,
  at
})
const moveCursor = `INSERT INTO cursors (org, project, agent, session, channel, account, position, updated_at)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (org, project, channel, account) DO UPDATE SET
    agent = excluded.agent, session = excluded.session, position = excluded.position, updated_at = excluded.updated_at`

const endMessage = `UPDATE messages SET outcome = ?, outcome_by = ?, ended_at = ?, run_id = coalesce(run_id, ?)
  WHERE org = ? AND project = ? AND id = ?`
const insertDelivery = `INSERT INTO outbox (org, project, agent, session, id, run_id, seq, part, channel, account, conversation, thread,
    text, state, attempts, created_at, edits)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?, ?)`
interface Counted {
  readonly seq: number
  readonly ord: number
  readonly open: number
  readonly overflow: number
}
type Gone = Pick<Committed["Accept"], "dropped" | "notices">

const oldestWaiting = `SELECT id, seq, external_id, channel, account, conversation, thread FROM messages
  WHERE org = ? AND project = ? AND session = ? AND outcome IS NULL AND run_id IS NULL ORDER BY seq LIMIT ?`
const countOpen = `SELECT open, seq, updated_at FROM sessions WHERE org = ? AND project = ? AND session = ?`
const loseOpen = `UPDATE sessions SET open = open - ?, overflow = overflow + ? WHERE org = ? AND project = ? AND session = ?`

/** End the oldest messages that no run has taken, as many as the newcomer needs. */
function* makeRoom({ place, messageId: by, cap, drop, dropNotice, at }: Accept): Body<Gone> {
  const session = yield* get<{ open: number; seq: number; updated_at: number }>(countOpen, scope(place))
  const needed = (session?.open ?? 0) - cap + 1
  const oldest = yield* all<{ id: string; seq: number; external_id: string } & Route>(oldestWaiting, [
    ...scope(place),
    needed
  ])
  // Fewer would not make room: then the newcomer is refused, and nobody else loses by it.
  if (needed <= 0 || oldest.length < needed) return { dropped: [], notices: [] }
  const notices: Array<DeliveryRow> = []
  for (const { id, channel, account, conversation, thread } of oldest) {
    yield* change(endMessage, ["dropped", by, at, null, ...named(place, id)])
    if (dropNotice?.channels.includes(channel) !== true) continue
    const route = { channel, account, conversation, thread }
    const stand = {
      seq: (session?.seq ?? 0) + 1,
      part: notices.length,
      createdAt: Math.max(at, session?.updated_at ?? at)
    }
    const notice = noticeOf(place, messageId(id), stand, route, dropNotice.text)
    const to = [channel, account, conversation, thread, toJson(notice.text), notice.createdAt, null]
    yield* change(insertDelivery, [...home(place), notice.id, notice.runId, notice.seq, notice.part, ...to])
    notices.push(notice)
  }
  yield* change(loseOpen, [oldest.length, drop === "summarize" ? oldest.length : 0, ...scope(place)])
  return {
    dropped: oldest.map(({ id, external_id: clientId }) => ({ messageId: messageId(id), clientId })),
    notices
  }
}

function* accept(unit: Accept): Answer<"Accept"> {
  const { place, message, at } = unit
  const { channel, account, conversation, thread, externalId, revision } = message.identity
  const { org, project } = place.tenant
  const hash = bodyHash(unit)
  const identity = [channel, account, conversation, thread, externalId, revision]
  const before = yield* get<{ id: string; seq: number; body_hash: string; outcome: Outcome | null }>(
    findIdentity,
    [org, project, ...identity]
  )
  if (before !== undefined) {
    if (before.body_hash !== hash) return Result.fail(new IdReused({ messageId: before.id }))
    const outcome = before.outcome ?? undefined
    const known = { messageId: messageId(before.id), seq: before.seq, outcome }
    return Result.succeed({ duplicate: true, started: false, dropped: [], notices: [], wrote: [], ...known })
  }
  const starts = unit.start === undefined ? 0 : 1
  const take = () => get<Counted>(openMessage, [...home(place), message.ephemeral, starts, at, at, unit.cap])
  let counted = unit.cap < 1 ? undefined : yield* take()
  let gone: Gone = { dropped: [], notices: [] }
  if (counted === undefined && unit.cap >= 1 && unit.drop !== "new") {
    gone = yield* makeRoom(unit)
    counted = yield* take()
  }
  if (counted === undefined) return Result.fail(new SessionFull({ cap: unit.cap }))
  const { seq, ord } = counted
  const run = counted.open === 1 && counted.overflow === 0 ? (unit.start ?? null) : null
  const own = [message.sender, message.access, message.ephemeral, toJson(message.body), hash, at, run]
  yield* change(insertMessage, [...home(place), unit.messageId, seq, ...identity, ...own])
  const entry = userEntryOf({ ...message, sender: storable(message.sender) })
  // The entry is named like its message: both are one thing a person wrote.
  const written = yield* write(place, {
    id: unit.messageId,
    seq,
    ord: run === null ? null : ord,
    message_id: unit.messageId,
    client_id: externalId,
    run_id: run,
    entry: toJson(entry),
    usage: null,
    answers: null,
    at
  })
  if (message.cursor !== undefined)
    yield* change(moveCursor, [...home(place), channel, account, message.cursor, at])
  if (run !== null)
    yield* change(insertRun, [
      ...home(place),
      run,
      toJson([storable(unit.messageId)]),
      at,
      toJson(Usages.none)
    ])
  const started = run !== null
  return Result.succeed({
    duplicate: false,
    messageId: unit.messageId,
    seq,
    outcome: undefined,
    started,
    ...gone,
    wrote: started ? [entryRow(written)] : []
  })
}

interface RunState {
  /** 1 when it belongs to the session that was named. */
  readonly here: number
  readonly state: "running" | "ended"
  readonly attempt: number
  readonly stalled: number
  readonly usage: string
  /** Approvals it ever asked for. */
  readonly parks: number
  readonly streamed: string | null
}
const findRun = `SELECT CASE WHEN session = ?4 THEN 1 ELSE 0 END AS here, state, attempt, stalled, usage, parks, streamed FROM runs
  WHERE org = ?1 AND project = ?2 AND id = ?3`
const runState = (place: Place, runId: string) =>
  get<RunState>(findRun, [...named(place, runId), place.session])
const findMessage = `SELECT seq, outcome, external_id FROM messages WHERE org = ? AND project = ? AND id = ? AND session = ?`
interface MessageState {
  readonly seq: number
  readonly outcome: Outcome | null
  readonly external_id: string
}

const insertRun = `INSERT INTO runs (org, project, agent, session, id, state, attempt, stalled, message_ids, started_at, usage)
  VALUES (?, ?, ?, ?, ?, 'running', 1, 1, ?, ?, ?)`
const nextAttempt = `UPDATE runs SET attempt = attempt + 1, stalled = stalled + 1 WHERE org = ? AND project = ? AND id = ?
  RETURNING attempt, stalled`
const reserveOrder = `INSERT INTO sessions (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at)
  VALUES (?, ?, ?, ?, 0, 0, ?, 0, ?, ?)
  ON CONFLICT (org, project, session) DO UPDATE SET ord = sessions.ord + excluded.ord
  RETURNING seq, ord, overflow`
// An entry that another run brought into the order keeps its place there.
const waitingMessage = `SELECT m.seq, e.ord FROM messages m
  JOIN entries e ON e.org = m.org AND e.project = m.project AND e.session = m.session AND e.seq = m.seq
  WHERE m.org = ? AND m.project = ? AND m.id = ? AND m.session = ? AND m.outcome IS NULL`
const orderEntry = `UPDATE entries SET ord = ?, run_id = ? WHERE org = ? AND project = ? AND session = ? AND seq = ?`
const assignRun = `UPDATE messages SET run_id = ? WHERE org = ? AND project = ? AND id = ?`

const countOverflow = `SELECT overflow FROM sessions WHERE org = ? AND project = ? AND session = ? AND overflow > 0`
const newestDropped = `SELECT id, seq, body FROM messages
  WHERE org = ? AND project = ? AND session = ? AND outcome = 'dropped' AND run_id IS NULL ORDER BY seq DESC LIMIT ?`
const noteEntry = `UPDATE sessions SET seq = seq + 1, ord = ord + 1, overflow = 0 WHERE org = ? AND project = ? AND session = ?
  RETURNING seq, ord`

/** The run that starts is told of what was dropped since the last one: those messages then belong to it. */
function* tellOverflow(place: Place, runId: RunId, at: number) {
  const waiting = yield* get<{ overflow: number }>(countOverflow, scope(place))
  if (waiting === undefined) return
  const newest = yield* all<{ id: string; seq: number; body: string }>(newestDropped, [
    ...scope(place),
    waiting.overflow
  ])
  const rows = newest.toReversed()
  const counted = yield* get<{ seq: number; ord: number }>(noteEntry, scope(place))
  if (counted === undefined) return
  const entry = noteOf(rows.map(({ id, body }) => ({ id, text: JSON.parse(body).text })))
  for (const { id } of rows) yield* change(assignRun, [runId, ...named(place, id)])
  const { seq, ord } = counted
  yield* write(place, { ...ofRun(runId, at), id: `note_${runId}`, seq, ord, entry: toJson(entry) })
}

function* start(unit: Start): Answer<"Start"> {
  const { place, runId, messageIds, at } = unit
  const run = yield* runState(place, runId)
  if (run !== undefined && (run.state === "ended" || run.here === 0)) return fenced()
  const waiting: Array<{ readonly id: MessageId; readonly seq: number; readonly ord: number | null }> = []
  for (const id of new Set(messageIds)) {
    const message = yield* get<{ seq: number; ord: number | null }>(waitingMessage, [
      ...named(place, id),
      place.session
    ])
    if (message === undefined) return fenced()
    waiting.push({ id, ...message })
  }
  const fresh = run === undefined
  const reserved = fresh ? waiting.filter(({ ord }) => ord === null).length : 0
  if (fresh) yield* tellOverflow(place, runId, at)
  const ordered = yield* get<{ ord: number }>(reserveOrder, [...home(place), reserved, at, at])
  const last = ordered?.ord ?? 0
  if (run !== undefined) {
    const next = yield* get<{ attempt: number; stalled: number }>(nextAttempt, named(place, runId))
    const decided = run.parks === 0 ? [] : yield* tellDecided(place, runId)
    const { attempt = 1, stalled = 1 } = next ?? {}
    const streamed = run.streamed === null ? {} : { streamed: JSON.parse(run.streamed) }
    return Result.succeed({ attempt, attemptsWithoutProgress: stalled, decided, ...streamed })
  }
  yield* change(insertRun, [...home(place), runId, toJson(messageIds.map(storable)), at, toJson(Usages.none)])
  let next = last - reserved
  for (const { id, seq, ord } of waiting) {
    yield* change(assignRun, [runId, ...named(place, id)])
    yield* change(orderEntry, [ord ?? ++next, runId, ...scope(place), seq])
  }
  return Result.succeed({ attempt: 1, attemptsWithoutProgress: 1, decided: [] })
}

const decisions = `SELECT call_id, state, decided_by, told FROM approvals
  WHERE org = ? AND project = ? AND run_id = ? AND told < 2 AND state IN ('approved', 'denied', 'expired') ORDER BY id`
const tellDecisions = `UPDATE approvals SET told = 1
  WHERE org = ? AND project = ? AND run_id = ? AND told = 0 AND state IN ('approved', 'denied', 'expired')`
/** A provider may use a call's id again in a later step: the decision was for this one. */
const settleDecision = `UPDATE approvals SET told = 2
  WHERE org = ? AND project = ? AND run_id = ? AND call_id = ? AND state <> 'pending'`
interface DecisionColumns {
  readonly call_id: string
  readonly state: DecidedCall["decision"]
  readonly decided_by: string | null
  readonly told: number
}
function* tellDecided(place: Place, runId: RunId): Body<ReadonlyArray<DecidedCall>> {
  const rows = yield* all<DecisionColumns>(decisions, named(place, runId))
  yield* change(tellDecisions, named(place, runId))
  return rows.map((row) => ({
    callId: JSON.parse(row.call_id),
    decision: row.state,
    by: row.decided_by ?? undefined,
    again: row.told === 1
  }))
}

const joinSession = `UPDATE sessions SET ord = ord + ?, open = open - ? WHERE org = ? AND project = ? AND session = ? RETURNING ord`

/** Bring waiting messages into the run's part of the model's order, and end them as steered. Gives those that were still open. */
function* join(
  place: Place,
  runId: RunId,
  steering: Steering | undefined,
  at: number
): Body<ReadonlyArray<Ending>> {
  if (steering === undefined) return []
  const open: Array<{ readonly id: MessageId; readonly seq: number; readonly ord: number | null }> = []
  for (const id of new Set(steering.messageIds)) {
    const row = yield* get<{ seq: number; ord: number | null }>(waitingMessage, [
      ...named(place, id),
      place.session
    ])
    if (row !== undefined) open.push({ id, ...row })
  }
  const fresh = open.filter(({ ord }) => ord === null).length
  const ordered = yield* get<{ ord: number }>(joinSession, [fresh, open.length, ...scope(place)])
  const last = ordered?.ord ?? 0
  let next = last - fresh
  for (const { id, seq, ord } of open) {
    yield* change(orderEntry, [ord ?? ++next, runId, ...scope(place), seq])
    yield* change(assignRun, [runId, ...named(place, id)])
    yield* change(endMessage, ["steered", steering.by, at, runId, ...named(place, id)])
  }
  return open.map(({ id }) => ({ messageId: id, outcome: "steered", by: steering.by }))
}

const reserveEntry = `UPDATE sessions SET seq = seq + 1, ord = ord + 1 WHERE org = ? AND project = ? AND session = ?
  RETURNING seq, ord, updated_at`
const reserveEntries = `UPDATE sessions SET seq = seq + ?1, ord = ord + ?2, open = open - ?3, updated_at = CASE WHEN updated_at < ?4 THEN ?4 ELSE updated_at END
  WHERE org = ?5 AND project = ?6 AND session = ?7 RETURNING seq, ord, updated_at`
interface Counters {
  readonly seq: number
  readonly ord: number
  readonly updated_at: number
}
const progressRun = `UPDATE runs SET stalled = 0, usage = ?, streamed = ? WHERE org = ? AND project = ? AND id = ?`
const addUsage = (before: string, more: Usage) => toJson(Usages.add(JSON.parse(before), more))

const addSpending = `ON CONFLICT (org, project, session, day, sender, model, agent) DO UPDATE SET
    calls = spending.calls + excluded.calls, estimated = spending.estimated + excluded.estimated,
    input = spending.input + excluded.input, output = spending.output + excluded.output,
    cached = spending.cached + excluded.cached, micros = spending.micros + excluded.micros,
    unpriced = spending.unpriced + excluded.unpriced`
const spend = `INSERT INTO spending (org, project, agent, session, sender, model, day,
    calls, estimated, input, output, cached, micros, unpriced)
  VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?) ${addSpending}`

function* countSpent(place: Place, spending: Spending | undefined, usage: Usage, at: number) {
  if (spending === undefined) return
  const { inputTokens, outputTokens, cachedTokens, estimated, costMicros } = usage
  const under = [spending.sender, spending.model, Usages.dayOf(at)]
  const money = [costMicros ?? 0, costMicros === undefined ? 1 : 0]
  yield* change(spend, [
    ...home(place),
    ...under,
    estimated,
    inputTokens,
    outputTokens,
    cachedTokens,
    ...money
  ])
}

function* insertDeliveries(
  { place, runId }: Pick<Append, "place" | "runId">,
  deliveries: ReadonlyArray<NewDelivery>,
  seq: number,
  firstPart: number,
  createdAt: number
) {
  for (const [index, { id, route, text, edits }] of deliveries.entries()) {
    const to = [route.channel, route.account, route.conversation, route.thread]
    const own = [id, runId, seq, firstPart + index, ...to, toJson(text), createdAt, edits ?? null]
    yield* change(insertDelivery, [...home(place), ...own])
  }
}

const keepStreamed = `UPDATE runs SET streamed = ? WHERE org = ? AND project = ? AND id = ?`
const nowOf = `SELECT seq, updated_at FROM sessions WHERE org = ? AND project = ? AND session = ?`

function* block(unit: Block): Answer<"Block"> {
  const { place, runId } = unit
  const run = yield* runState(place, runId)
  if (run === undefined || run.state === "ended" || run.attempt !== unit.attempt) return fenced()
  const session = yield* get<Pick<Counters, "seq" | "updated_at">>(nowOf, scope(place))
  if (run.here === 0 || session === undefined) return fenced()
  const before: Streamed = run.streamed === null ? nothingStreamed : JSON.parse(run.streamed)
  yield* change(keepStreamed, [toJson(streamedWith(before, unit)), ...named(place, runId)])
  const part = firstBlockPart + before.parts
  yield* insertDeliveries(unit, unit.deliveries, session.seq, part, session.updated_at)
  return Result.succeed({ seq: session.seq, part })
}

function* append(unit: Append): Answer<"Append"> {
  const { place, runId, at } = unit
  const run = yield* runState(place, runId)
  if (run === undefined || run.state === "ended" || run.attempt !== unit.attempt) return fenced()
  if (run.here === 0) return fenced()
  const steered = (yield* join(place, runId, unit.steering, at)).map(({ messageId }) => messageId)
  const next = yield* get<Counters>(reserveEntry, scope(place))
  if (next === undefined) return fenced()
  const { seq, ord } = next
  const own = { id: unit.entryId, seq, ord, entry: toJson(unit.entry), usage: toJson(unit.usage) }
  const wrote = [entryRow(yield* write(place, { ...ofRun(runId, at), ...own }))]
  // The gateway's own word is no progress of the run.
  if (unit.entry.kind === "notice") return Result.succeed({ seq, steered, wrote })
  const streamed = run.streamed === null ? null : toJson({ ...JSON.parse(run.streamed), text: "" })
  yield* change(progressRun, [addUsage(run.usage, unit.usage), streamed, ...named(place, runId)])
  yield* countSpent(place, unit.spending, unit.usage, at)
  if (unit.deliveries !== undefined) yield* insertDeliveries(unit, unit.deliveries, seq, 0, next.updated_at)
  if (run.parks > 0 && unit.entry.kind === "tool") {
    yield* change(settleDecision, [...named(place, runId), toJson(unit.entry.callId)])
  }
  return Result.succeed({ seq, steered, wrote })
}

const countPark = `UPDATE runs SET stalled = 0, parks = parks + 1 WHERE org = ? AND project = ? AND id = ?`
const insertApproval = `INSERT INTO approvals
    (org, project, agent, session, id, run_id, call_id, tool, arguments, state, told, created_at, expires_at)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?, ?)`

function* park(unit: Park): Answer<"Park"> {
  const { place, runId, approval, at } = unit
  const run = yield* runState(place, runId)
  if (run === undefined || run.state === "ended" || run.attempt !== unit.attempt || run.here === 0) {
    return fenced()
  }
  const next = yield* get<Counters>(reserveEntry, scope(place))
  if (next === undefined) return fenced()
  const { seq, ord } = next
  const own = { id: unit.entryId, seq, ord, entry: toJson(unit.entry) }
  const wrote = [entryRow(yield* write(place, { ...ofRun(runId, at), ...own }))]
  yield* change(countPark, named(place, runId))
  const asked = [toJson(approval.callId), toJson(approval.tool), toJson(approval.arguments)]
  yield* change(insertApproval, [...home(place), approval.id, runId, ...asked, at, approval.expiresAt])
  yield* insertDeliveries(unit, unit.deliveries, seq, 0, next.updated_at)
  return Result.succeed({ seq, wrote })
}

const decideApproval = `UPDATE approvals SET state = ?, decided_by = ?, decided_at = ?
  WHERE org = ? AND project = ? AND id = ? AND session = ? AND state = 'pending'`
const approvalState = `SELECT state FROM approvals WHERE org = ? AND project = ? AND id = ? AND session = ?`

function* decide({ place, approvalId: id, decision, by, at }: Decide): Answer<"Decide"> {
  const key = [...named(place, id), place.session]
  const changed = (yield* count(decideApproval, [decision, by ?? null, at, ...key])) > 0
  const state = changed ? decision : (yield* get<{ state: ApprovalState }>(approvalState, key))?.state
  return Result.succeed({ state, changed })
}

const withdrawApprovals = `UPDATE approvals SET state = 'cancelled', decided_at = ?
  WHERE org = ? AND project = ? AND run_id = ? AND state = 'pending' RETURNING id`
function* withdraw(place: Place, runId: RunId, at: number) {
  const rows = yield* all<{ id: string }>(withdrawApprovals, [at, ...named(place, runId)])
  return rows.map(({ id }) => approvalId(id)).toSorted()
}

const endKnownRun = `UPDATE runs SET state = 'ended', ended_at = ?, usage = ?, failure = ?, streamed = NULL
  WHERE org = ? AND project = ? AND id = ?`
const endRun = `INSERT INTO runs
    (org, project, agent, session, id, state, attempt, stalled, message_ids, started_at, ended_at, usage, failure)
  VALUES (?, ?, ?, ?, ?, 'ended', 0, 0, ?, ?, ?, ?, ?)`

/** Of the endings, those whose message is still open, with what is known of it. */
function* effective({ place, endings }: Finish) {
  const found = new Map<MessageId, { readonly ending: Ending; readonly message: MessageState }>()
  for (const ending of endings) {
    const message = yield* get<MessageState>(findMessage, [...named(place, ending.messageId), place.session])
    if (message !== undefined && message.outcome === null && !found.has(ending.messageId))
      found.set(ending.messageId, { ending, message })
  }
  return [...found.values()]
}

const messagesOfRun = `SELECT seq, message_id, client_id FROM entries WHERE org = ? AND project = ? AND run_id = ? AND session = ? AND message_id IS NOT NULL
  ORDER BY seq`

/** What the answer answers when messages were steered into the run: all of the run's but those that ended unanswered. */
function* joinedMessages(
  { place, runId }: Finish,
  ending: ReadonlyArray<{ readonly ending: Ending; readonly message: MessageState }>
): Body<Committed["Finish"]["answered"]> {
  const unanswered = new Set(
    ending.filter((one) => !isAnswered(one.ending)).map(({ message }) => message.seq)
  )
  const messages = yield* all<{ seq: number; message_id: string; client_id: string }>(messagesOfRun, [
    ...named(place, runId),
    place.session
  ])
  return messages
    .filter(({ seq }) => !unanswered.has(seq))
    .map((row) => ({ messageId: messageId(row.message_id), clientId: row.client_id }))
}

/** True when the run itself may not end any more. */
const isOver = (run: RunState | undefined, unit: Finish): boolean =>
  run === undefined
    ? unit.attempt !== undefined || unit.endings.length === 0
    : run.state === "ended" || run.here === 0 || (unit.attempt !== undefined && unit.attempt !== run.attempt)

function* finish(unit: Finish): Answer<"Finish"> {
  const { place, runId, entries, at } = unit
  const run = yield* runState(place, runId)
  if (isOver(run, unit)) return fenced()
  const ending = yield* effective(unit)
  if (ending.length === 0 && unit.endings.length > 0) return fenced()
  const steered = yield* join(place, runId, unit.steering, at)
  const size = entries.length
  const last = yield* get<Counters>(reserveEntries, [size, size, ending.length, at, ...scope(place)])
  if (last === undefined) return fenced()

  const answer = answerIndex(entries)
  const answered =
    steered.length > 0 || unit.steeredBefore === true
      ? yield* joinedMessages(unit, ending)
      : ending
          .filter((one) => isAnswered(one.ending))
          .sort((a, b) => a.message.seq - b.message.seq)
          .map((one) => ({ messageId: one.ending.messageId, clientId: one.message.external_id }))
  const wrote: Array<EntryRow> = []
  for (const [index, { id, entry }] of entries.entries()) {
    const isAnswer = index === answer
    const own = {
      id,
      seq: last.seq - size + index + 1,
      ord: last.ord - size + index + 1,
      entry: toJson(entry)
    }
    const usage = isAnswer ? toJson(unit.usage) : null
    const answers = isAnswer && answered.length > 0 ? toJson(answered.map(({ clientId }) => clientId)) : null
    wrote.push(entryRow(yield* write(place, { ...ofRun(runId, at), ...own, usage, answers })))
  }
  for (const { ending: one } of ending)
    yield* change(endMessage, [one.outcome, one.by, at, runId, ...named(place, one.messageId)])
  // The session's own time, which never goes back: so the oldest delivery is also the first of its session.
  yield* insertDeliveries(unit, unit.deliveries, wrote[answer]?.seq ?? last.seq, 0, last.updated_at)
  yield* countSpent(place, unit.spending, unit.usage, at)
  const withdrawn = run === undefined || run.parks === 0 ? [] : yield* withdraw(place, runId, at)
  const failure = unit.failure === undefined ? null : toJson(unit.failure)
  if (run === undefined) {
    const ids = toJson(ending.map((one) => storable(one.ending.messageId)))
    yield* change(endRun, [...home(place), runId, ids, at, at, toJson(unit.usage), failure])
  } else yield* change(endKnownRun, [at, addUsage(run.usage, unit.usage), failure, ...named(place, runId)])
  return Result.succeed({
    seqs: wrote.map(({ seq }) => seq),
    endings: [...ending.map((one) => one.ending), ...steered],
    answered,
    withdrawn,
    wrote
  })
}

const beginSend = `UPDATE outbox SET state = 'sending', attempts = attempts + 1
  WHERE org = ? AND project = ? AND id = ? AND session = ? AND state IN ('pending', 'sending') RETURNING attempts`
const endSend = `UPDATE outbox SET state = ?, receipt = coalesce(?, receipt), detail = ?, sent_at = ?
  WHERE org = ? AND project = ? AND id = ? AND session = ? AND state NOT IN ('sent', 'dead')`

function* sendBegun({ place, deliveryId }: SendBegun): Answer<"SendBegun"> {
  const begun = yield* get<{ attempts: number }>(beginSend, [...named(place, deliveryId), place.session])
  return begun === undefined ? fenced() : Result.succeed({ attempts: begun.attempts })
}

function* sendEnded(unit: SendEnded): Answer<"SendEnded"> {
  const { place, deliveryId, state, at } = unit
  const sentAt = state === "sent" ? at : null
  const params = [state, unit.receipt, unit.detail, sentAt, ...named(place, deliveryId), place.session]
  return Result.succeed({ changed: (yield* count(endSend, params)) > 0 })
}

const openIds = `SELECT id FROM messages WHERE org = ? AND project = ? AND session = ? AND outcome IS NULL ORDER BY seq`
// In this order: what a row is found by is deleted after it.
const forget = [
  // What was spent stays spent, without the names.
  `INSERT INTO spending (org, project, agent, session, sender, model, day,
      calls, estimated, input, output, cached, micros, unpriced)
    SELECT org, project, agent, '', '', model, day,
      sum(calls), sum(estimated), sum(input), sum(output), sum(cached), sum(micros), sum(unpriced)
    FROM spending WHERE org = ?1 AND project = ?2 AND session = ?3 AND session <> ''
    GROUP BY org, project, agent, model, day ${addSpending}`,
  `DELETE FROM spending WHERE org = ?1 AND project = ?2 AND session = ?3 AND session <> ''`,
  `DELETE FROM outbox WHERE org = ?1 AND project = ?2 AND run_id IN
    (SELECT id FROM runs WHERE org = ?1 AND project = ?2 AND session = ?3)`,
  // The word to a dropped message's sender belongs to a run that never was.
  `DELETE FROM outbox WHERE org = ?1 AND project = ?2 AND id IN
    (SELECT 'dlv_drop_' || message_id FROM entries
      WHERE org = ?1 AND project = ?2 AND session = ?3 AND message_id IS NOT NULL)`,
  `DELETE FROM runs WHERE org = ?1 AND project = ?2 AND session = ?3`,
  `DELETE FROM messages WHERE org = ?1 AND project = ?2 AND id IN
    (SELECT message_id FROM entries WHERE org = ?1 AND project = ?2 AND session = ?3 AND message_id IS NOT NULL)`,
  `DELETE FROM journal WHERE org = ?1 AND project = ?2 AND session = ?3`,
  `DELETE FROM approvals WHERE org = ?1 AND project = ?2 AND session = ?3`,
  `DELETE FROM entries WHERE org = ?1 AND project = ?2 AND session = ?3`,
  `DELETE FROM shares WHERE org = ?1 AND project = ?2 AND session = ?3`,
  // The position is the channel's, not the session's: it stays, without the name.
  `UPDATE cursors SET agent = '', session = '' WHERE org = ?1 AND project = ?2 AND session = ?3`,
  `DELETE FROM sessions WHERE org = ?1 AND project = ?2 AND session = ?3`
]

/** Leaves nothing of the session behind. True when there was one. */
export function* forgetSession(place: Pick<Place, "tenant" | "session">): Body<boolean> {
  const key = [place.tenant.org, place.tenant.project, place.session]
  let existed = false
  for (const sql of forget) existed = (yield* count(sql, key)) > 0
  return existed
}

/** Forks that a refusal names. */
const namedForks = 20

function* deleteSession({ place }: DeleteSession): Answer<"DeleteSession"> {
  const shared = yield* forks({ tenant: place.tenant, session: place.session, limit: namedForks })
  if (shared.length > 0) return Result.fail(new SessionShared({ forks: shared }))
  const open = yield* all<{ id: string }>(openIds, scope(place))
  const cancelled = open.map(({ id }) => messageId(id))
  return Result.succeed({ existed: yield* forgetSession(place), cancelled })
}

interface Turn {
  readonly session: string
  readonly seq: number
  readonly ord: number
}
interface Answering extends Turn {
  readonly entry: string
}
const sessionToFork = `SELECT queue, settings FROM sessions WHERE org = ? AND project = ? AND session = ? AND ephemeral + 0 = 0`
const anySession = `SELECT 1 AS one FROM sessions WHERE org = ? AND project = ? AND session = ?`
const lastAnswer = `SELECT session, seq, ord, entry FROM entries
  WHERE org = ? AND project = ? AND session = ? AND ord > 0 AND ord < ? AND answers IS NOT NULL ORDER BY ord DESC LIMIT 1`
const lastShare = `SELECT owner AS session, last_seq AS seq, last_ord AS ord FROM shares
  WHERE org = ? AND project = ? AND session = ? ORDER BY last_seq DESC LIMIT 1`
const shareWith = `SELECT owner AS session, last_seq AS seq, last_ord AS ord FROM shares
  WHERE org = ? AND project = ? AND session = ? AND last_seq >= ? ORDER BY last_seq LIMIT 1`
const runAt = `SELECT run_id, ord FROM entries
  WHERE org = ? AND project = ? AND session = ? AND seq = ? AND ord IS NOT NULL AND run_id IS NOT NULL`
const answerOfRun = `SELECT session, seq, ord, entry FROM entries
  WHERE org = ? AND project = ? AND run_id = ? AND answers IS NOT NULL ORDER BY seq DESC LIMIT 1`

/** What answers steered messages of a run that then failed ends in the middle: no turn was answered with it. */
const isWhole = ({ entry }: Answering) =>
  (JSON.parse(entry) as { readonly partial?: string }).partial === undefined

function* lastAnswerOf(place: Place): Body<Turn | undefined> {
  let before = Number.MAX_SAFE_INTEGER
  while (true) {
    const answer = yield* get<Answering>(lastAnswer, [...scope(place), before])
    if (answer === undefined || isWhole(answer)) return answer
    before = answer.ord
  }
}

/** The answer of the turn that an entry of the session belongs to, its own or a shared one; of the last turn without a seq. */
function* answerAt(place: Place, atSeq: number | undefined): Body<Turn | undefined> {
  if (atSeq === undefined) {
    return (yield* lastAnswerOf(place)) ?? (yield* get<Turn>(lastShare, scope(place)))
  }
  const share = yield* get<Turn>(shareWith, [...scope(place), atSeq])
  const owner = share === undefined ? scope(place) : named(place, share.session)
  const entry = yield* get<{ run_id: string; ord: number }>(runAt, [...owner, atSeq])
  const last = share?.ord ?? Infinity
  if (entry === undefined || entry.ord > last) return undefined
  const answer = yield* get<Answering>(answerOfRun, named(place, entry.run_id))
  return answer === undefined || answer.ord > last || !isWhole(answer) ? undefined : answer
}

const insertFork = `INSERT INTO sessions
    (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at, queue, settings, forked_from, forked_seq)
  VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, 0, ?7, ?7, ?8, ?9, ?10, ?5)`
const copyShares = `INSERT INTO shares (org, project, agent, session, last_seq, last_ord, owner)
  SELECT org, project, ?3, ?4, last_seq, last_ord, owner FROM shares
  WHERE org = ?1 AND project = ?2 AND session = ?5 AND last_seq < ?6`
const insertShare = `INSERT INTO shares (org, project, agent, session, last_seq, last_ord, owner) VALUES (?, ?, ?, ?, ?, ?, ?)`

function* fork({ place, from, atSeq, at }: Fork): Answer<"Fork"> {
  const kept = yield* get<{ queue: string | null; settings: string | null }>(
    sessionToFork,
    named(place, from)
  )
  if (kept === undefined) return Result.fail(new NoSuchSession({ session: from }))
  if ((yield* get(anySession, scope(place))) !== undefined) {
    return Result.fail(new SessionTaken({ session: place.session }))
  }
  const turn = yield* answerAt({ ...place, session: from }, atSeq)
  if (turn === undefined) {
    return Result.fail(new NoSuchTurn({ session: from, ...(atSeq === undefined ? {} : { seq: atSeq }) }))
  }
  const { session: owner, seq, ord } = turn
  yield* change(insertFork, [...home(place), seq, ord, at, kept.queue, kept.settings, owner])
  yield* change(copyShares, [...home(place), from, seq])
  yield* change(insertShare, [...home(place), seq, ord, owner])
  return Result.succeed({
    seq,
    queue: JSON.parse(kept.queue ?? "{}"),
    settings: JSON.parse(kept.settings ?? "{}")
  })
}

const retitle = `UPDATE sessions SET title = ? WHERE org = ? AND project = ? AND session = ?`

const keepQueueOf = `INSERT INTO sessions
    (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at, queue)
  VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?)
  ON CONFLICT (org, project, session) DO UPDATE SET queue = excluded.queue`

function* keepQueue({ place, overrides, at }: KeepQueue): Answer<"KeepQueue"> {
  const kept = Object.keys(overrides).length === 0 ? null : toJson(overrides)
  yield* change(keepQueueOf, [...home(place), at, at, kept])
  return Result.succeed({})
}

const keptSettings = `SELECT settings FROM sessions WHERE org = ? AND project = ? AND session = ?`
const keepSettings = `INSERT INTO sessions
    (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at, settings)
  VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, ?5, ?5, ?6)
  ON CONFLICT (org, project, session) DO UPDATE SET settings = excluded.settings`

function* keepSetting({ place, name, value, at }: KeepSetting): Answer<"KeepSetting"> {
  const kept = yield* get<{ settings: string | null }>(keptSettings, scope(place))
  const { [name]: _, ...others } = JSON.parse(kept?.settings ?? "{}")
  const left = value === undefined ? others : { ...others, [name]: value }
  const json = Object.keys(left).length === 0 ? null : toJson(left)
  yield* change(keepSettings, [...home(place), at, json])
  return Result.succeed({})
}

// None for a session that is gone: what its lane did last comes after it.
const insertJournal = `INSERT INTO journal (org, project, agent, session, seq, records, at)
  SELECT org, project, agent, session,
    1 + coalesce((SELECT max(seq) FROM journal WHERE org = ?1 AND project = ?2 AND session = ?3), 0), ?4, ?5
  FROM sessions WHERE org = ?1 AND project = ?2 AND session = ?3`

function* keepJournal({ place, records, at }: KeepJournal): Answer<"KeepJournal"> {
  yield* change(insertJournal, [...scope(place), records, at])
  return Result.succeed({})
}

const oldRows = {
  journal: `DELETE FROM journal WHERE (org, project, session, seq) IN
    (SELECT org, project, session, seq FROM journal WHERE org = ? AND project = ? AND at < ?
      ORDER BY at, session, seq LIMIT ?)`,
  deliveries: `DELETE FROM outbox WHERE (org, project, id) IN
    (SELECT org, project, id FROM outbox WHERE org = ? AND project = ? AND state = 'sent' AND sent_at < ?
      ORDER BY sent_at, id LIMIT ?)`
}
/** Forget at most `limit` old rows of a kind. Gives how many. */
export function* forgetOld(
  { tenant, of, before }: Parameters<MessageLog["Service"]["purgeOld"]>[0],
  limit: number
): Body<number> {
  return yield* count(oldRows[of], [tenant.org, tenant.project, before, limit])
}

function* renameSession({ place, title }: RenameSession): Answer<"RenameSession"> {
  const kept = title === undefined ? null : toJson(title)
  return Result.succeed({ existed: (yield* count(retitle, [kept, ...scope(place)])) > 0 })
}

/** A unit, to be run in a transaction of its own or in a savepoint. */
export function apply<U extends Unit>(unit: U): Answer<U["_tag"]>
export function apply(unit: Unit): Answer<Unit["_tag"]> {
  switch (unit._tag) {
    case "Accept":
      return accept(unit)
    case "Start":
      return start(unit)
    case "Append":
      return append(unit)
    case "Park":
      return park(unit)
    case "Decide":
      return decide(unit)
    case "Block":
      return block(unit)
    case "Finish":
      return finish(unit)
    case "SendBegun":
      return sendBegun(unit)
    case "SendEnded":
      return sendEnded(unit)
    case "Fork":
      return fork(unit)
    case "DeleteSession":
      return deleteSession(unit)
    case "RenameSession":
      return renameSession(unit)
    case "KeepQueue":
      return keepQueue(unit)
    case "KeepSetting":
      return keepSetting(unit)
    case "KeepJournal":
      return keepJournal(unit)
  }
}
