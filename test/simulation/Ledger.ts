/**
 * What must hold of every unit that gets onto the disk, in the plainest words: a naive model beside the log, which believes none of
 * the log's own checks.
 *
 * Owns: outcomes set once, runs that only their newest attempt commits to, order, access, the cap, one result per call, deliveries,
 * and where a session may be forked.
 * Does not own: what the log holds at the end (`rest`), nor what is told and sent (`Outside`).
 */
import type { ApprovalState } from "#src/domain/Approval.ts"
import type { ApprovalId, DeliveryId, MessageId, RunId } from "#src/domain/Ids.ts"
import type { Access } from "#src/domain/Inbound.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import type { QueueMode, QueueOverrides } from "#src/domain/Queue.ts"
import type { Effects } from "#src/domain/Tool.ts"
import type {
  Accept,
  Append,
  Block,
  Committed,
  EntryRow,
  Finish,
  Fork,
  NewDelivery,
  Park,
  Start
} from "#src/horizons/MessageLog.ts"
import type { Journaled } from "./Disk.ts"
import type { World } from "./World.ts"

export interface Known {
  readonly id: MessageId
  readonly session: string
  readonly seq: number
  readonly clientId: string
  readonly mode: QueueMode
  readonly isCommand: boolean
  /** It waited for its sender's next part. */
  readonly isPart: boolean
  readonly access: Access
  readonly route: string
  run: RunId | undefined
  outcome: Outcome | undefined
  /** The unit, counted from 1, that took it in, and the one that ended it. */
  readonly acceptedBy: number
  endedBy: number | undefined
}

interface KnownRun {
  readonly id: RunId
  readonly session: string
  readonly messages: Array<Known>
  attempt: number
  /** The process that began the newest attempt. */
  life: number
  ended: boolean
}

interface KnownApproval {
  readonly id: ApprovalId
  readonly session: string
  readonly run: RunId
  readonly callId: string
  state: ApprovalState
  /** The unit that decided it. */
  decidedBy: number | undefined
}

interface KnownCall {
  readonly run: RunId
  readonly session: string
  readonly by: number
  results: number
  /** The unit that holds its result. */
  resultBy: number | undefined
}

export interface KnownDelivery {
  readonly id: DeliveryId
  readonly session: string
  readonly channel: string
  readonly route: string
  readonly text: string
  /** The message that it is to become part of. */
  readonly edits: string | undefined
  readonly by: number
  state: "pending" | "sending" | "sent" | "uncertain" | "dead"
}

interface KnownFork {
  readonly session: string
  readonly from: string
  /** Of the answer that it begins with. */
  readonly seq: number
  /** What the other session had said up to there. */
  readonly shared: ReadonlyArray<EntryRow>
  readonly by: number
}

const label = (message: Known) => `${message.clientId} (${message.mode})`

export class Ledger {
  readonly #world: World
  readonly messages = new Map<MessageId, Known>()
  readonly runs = new Map<RunId, KnownRun>()
  readonly calls = new Map<string, KnownCall>()
  readonly deliveries = new Map<DeliveryId, KnownDelivery>()
  readonly approvals = new Map<ApprovalId, KnownApproval>()
  readonly forks = new Map<string, KnownFork>()
  /** The answers of a session, in order: of which run, and its seq. */
  readonly #turns = new Map<string, Array<{ readonly run: RunId; readonly seq: number }>>()
  readonly #queues = new Map<string, QueueOverrides>()
  /** A person is asked. */
  onAsked: (approval: KnownApproval) => void = () => {}
  /** Entries that are a run's answer. */
  readonly answers = new Set<string>()
  /** Entries of ids that were committed, and the unit that did. */
  readonly entries = new Map<string, number>()
  readonly #identities = new Map<string, MessageId>()
  readonly #seqs = new Map<string, number>()
  /** The run of a session that began last, and in which life. */
  readonly #newest = new Map<string, { readonly run: RunId; readonly life: number }>()
  readonly #cancelled = new Set<MessageId>()
  readonly #stopped = new Map<string, number>()
  #isQuiet = false

  constructor(world: World) {
    this.#world = world
  }

  rebuild(journal: ReadonlyArray<Journaled>): void {
    for (const map of [this.messages, this.runs, this.calls, this.deliveries, this.approvals, this.entries])
      map.clear()
    for (const map of [this.#identities, this.#seqs, this.#newest]) map.clear()
    for (const map of [this.forks, this.#turns, this.#queues]) map.clear()
    this.#isQuiet = true
    journal.forEach((journaled, index) => this.take(journaled, index + 1))
    this.#isQuiet = false
  }

  #note(where: string, what: string): void {
    if (!this.#isQuiet) this.#world.note(where, what)
  }

  #check(holds: boolean, where: string, promise: () => string): void {
    this.#world.check(holds, where, promise)
  }

  /** `by`: the unit's place in the journal, from 1. */
  take(journaled: Journaled, by: number): void {
    const { unit } = journaled
    switch (unit._tag) {
      case "Accept":
        return this.#accept(unit, journaled.result as never, by, journaled.life)
      case "Start":
        return this.#start(unit, (journaled.result as { readonly attempt: number }).attempt, journaled.life)
      case "Append":
        return this.#append(
          unit,
          (journaled.result as { readonly steered: ReadonlyArray<MessageId> }).steered,
          by,
          journaled.life
        )
      case "Finish":
        return this.#finish(unit, journaled.result as never, by, journaled.life)
      case "Block":
        return this.#block(unit, by, journaled.life)
      case "Park":
        return this.#park(unit, by, journaled.life)
      case "Decide": {
        const { changed } = journaled.result as { readonly changed: boolean }
        const approval = this.approvals.get(unit.approvalId)
        if (!changed || approval === undefined) return
        this.#check(
          approval.state === "pending",
          approval.session,
          () => `${approval.id} is decided once, not ${approval.state} and ${unit.decision}`
        )
        approval.state = unit.decision
        approval.decidedBy = by
        return this.#note(approval.session, `${approval.id} is ${unit.decision}`)
      }
      case "SendBegun":
      case "SendEnded": {
        const delivery = this.deliveries.get(unit.deliveryId)
        if (delivery === undefined)
          return this.#check(
            false,
            unit.place.session,
            () => `${unit.deliveryId} is in the outbox before it is sent`
          )
        const isFinal = delivery.state === "sent" || delivery.state === "dead"
        if (unit._tag === "SendEnded" && !(journaled.result as { readonly changed: boolean }).changed) return
        this.#check(
          !isFinal,
          unit.place.session,
          () => `${unit.deliveryId} was ${delivery.state} and stays so`
        )
        delivery.state = unit._tag === "SendBegun" ? "sending" : unit.state
        return this.#note(unit.place.session, `${unit.deliveryId} is ${delivery.state}`)
      }
      case "Fork":
        return this.#fork(unit, journaled.result as never, journaled.shared ?? [], by)
      case "KeepQueue":
        return void this.#queues.set(unit.place.session, unit.overrides)
      case "DeleteSession":
      case "RenameSession":
      case "KeepSetting":
      case "KeepJournal":
        return
    }
  }

  #accept(
    unit: Accept,
    result: {
      readonly duplicate: boolean
      readonly messageId: MessageId
      readonly seq: number
      readonly started: boolean
      readonly dropped?: ReadonlyArray<{ readonly messageId: MessageId }>
      readonly notices?: ReadonlyArray<{
        readonly id: DeliveryId
        readonly text: string
        readonly route: { readonly channel: string }
      }>
    },
    by: number,
    life: number
  ): void {
    const { session } = unit.place
    const { identity, body, access } = unit.message
    const { externalId: clientId, revision: _revision, ...route } = identity
    const key = JSON.stringify(identity)
    const before = this.#identities.get(key)
    if (result.duplicate || before !== undefined) {
      this.#check(
        result.duplicate && before === result.messageId,
        session,
        () => `${clientId} is accepted once, and known again when it is repeated`
      )
      return
    }
    const seq = this.#seqs.get(session) ?? 0
    this.#check(result.seq > seq, session, () => `seqs rise (${result.seq} after ${seq})`)
    this.#seqs.set(session, result.seq)
    const message: Known = {
      id: unit.messageId,
      session,
      seq: result.seq,
      clientId,
      mode: body.queue?.mode ?? "followup",
      isCommand: body.command === true,
      isPart: body.queue?.parts !== undefined,
      access,
      route: JSON.stringify(route),
      run: undefined,
      outcome: undefined,
      acceptedBy: by,
      endedBy: undefined
    }
    this.#identities.set(key, message.id)
    this.messages.set(message.id, message)
    this.#note(session, `accepted ${label(message)} as ${message.id}, seq ${message.seq}`)
    for (const dropped of result.dropped ?? []) {
      const gone = this.messages.get(dropped.messageId)
      this.#check(gone?.run === undefined, session, () => `${dropped.messageId} waits when it is dropped`)
      this.#end(dropped.messageId, "dropped", by, session)
    }
    for (const notice of result.notices ?? []) this.#send(notice, session, by)
    const open = [...this.messages.values()].filter(
      (one) => one.session === session && one.outcome === undefined
    )
    this.#check(
      open.length <= unit.cap,
      session,
      () => `at most ${unit.cap} messages are open, not ${open.length}`
    )
    if (!result.started) return
    this.#check(open.length === 1, session, () => `a run that begins with its message is alone`)
    if (unit.start !== undefined) this.#begin(unit.start, [message], session, 1, life)
  }

  #start(unit: Start, attempt: number, life: number): void {
    const { session } = unit.place
    const messages = unit.messageIds.flatMap((id) => this.messages.get(id) ?? [])
    this.#check(
      messages.length === unit.messageIds.length,
      session,
      () => `${unit.runId} starts with messages that exist`
    )
    this.#begin(unit.runId, messages, session, attempt, life)
  }

  #begin(id: RunId, messages: ReadonlyArray<Known>, session: string, attempt: number, life: number): void {
    const names = messages.map((message) => message.clientId).join(", ")
    this.#note(session, `${id} starts, attempt ${attempt}: ${names}`)
    const run = this.runs.get(id)
    this.#check(run?.ended !== true, session, () => `${id} does not start again after its end`)
    this.#check(
      attempt === (run?.attempt ?? 0) + 1,
      session,
      () => `${id} counts its attempts (${attempt} after ${run?.attempt ?? 0})`
    )
    for (const message of messages) {
      this.#check(
        message.outcome === undefined,
        session,
        () => `${message.clientId} has no outcome when its run starts, not ${message.outcome}`
      )
      this.#check(message.session === session, session, () => `${message.clientId} is of this session`)
      this.#check(
        message.run === undefined || message.run === id,
        session,
        () => `${message.clientId} is taken by one run, not by ${message.run} and ${id}`
      )
    }
    this.#newest.set(session, { run: id, life })
    if (run !== undefined) {
      run.attempt = attempt
      run.life = life
      this.#check(same(run.messages, messages), session, () => `${id} starts again with the messages it had`)
      return
    }
    this.#checkJoined(id, messages, session)
    this.#checkOrder(messages, session)
    for (const message of messages) message.run = id
    this.runs.set(id, { id, session, messages: [...messages], attempt, life, ended: false })
  }

  #checkJoined(id: RunId, messages: ReadonlyArray<Known>, session: string): void {
    const first = messages[0]
    if (first === undefined) return
    for (const message of messages) {
      this.#check(
        message.access === first.access && message.route === first.route,
        session,
        () =>
          `${id} joins only messages of equal access and one route (${first.clientId}, ${message.clientId})`
      )
    }
    const isAlone = first.mode === "followup" || first.mode === "interrupt"
    const isOne = messages.every((message) => message.isPart)
    this.#check(
      !isAlone || messages.length === 1 || isOne,
      session,
      () => `${id} answers one message in mode ${first.mode}`
    )
  }

  /** Followup and collect keep the order in which messages were accepted. */
  #checkOrder(messages: ReadonlyArray<Known>, session: string): void {
    const first = messages[0]
    if (first === undefined || !keepsOrder(first)) return
    for (const other of this.messages.values()) {
      const isEarlier =
        other.session === session &&
        keepsOrder(other) &&
        other.seq < first.seq &&
        // Parts wait for their own sender's next part only, so others may pass them.
        ((!other.isPart && !first.isPart) ||
          (other.route === first.route && other.access === first.access)) &&
        !this.#isToEnd(other, first)
      this.#check(
        !isEarlier || other.run !== undefined || other.outcome !== undefined,
        session,
        () => `${label(first)} runs after ${label(other)}, which came before it`
      )
    }
    const seqs = messages.map((message) => message.seq)
    this.#check(
      seqs.every((seq, index) => index === 0 || seq > seqs[index - 1]!),
      session,
      () => `joined messages are in order`
    )
  }

  /** Asked to end: somebody stopped it or an interrupting message came after it. Its end may be on its way to the disk. */
  #isToEnd(message: Known, next: Known): boolean {
    if (this.#cancelled.has(message.id) || message.seq <= (this.#stopped.get(message.session) ?? 0))
      return true
    return [...this.messages.values()].some(
      (one) =>
        one.session === message.session &&
        one.mode === "interrupt" &&
        one.seq > message.seq &&
        one.seq < next.seq
    )
  }

  /** Somebody asks to cancel this message. */
  cancels(id: MessageId): void {
    this.#cancelled.add(id)
  }

  /** Somebody stops the session. */
  stops(session: string): void {
    this.#stopped.set(session, this.#seqs.get(session) ?? 0)
  }

  /** A unit that only the newest attempt of a run that goes on may commit. */
  #checkUnfenced(
    id: RunId,
    attempt: number | undefined,
    session: string,
    what: string,
    life: number
  ): KnownRun | undefined {
    const run = this.runs.get(id)
    this.#check(
      run !== undefined && !run.ended,
      session,
      () => `${id} commits nothing after its end (${what})`
    )
    this.#check(
      run?.attempt === attempt && run?.life === life,
      session,
      () => `only the newest attempt of ${id} commits (${what} of attempt ${attempt})`
    )
    const newest = this.#newest.get(session)
    this.#check(
      newest?.run === id,
      session,
      () => `one run at a time: ${id} commits ${what} after ${newest?.run} began`
    )
    return run
  }

  #append(unit: Append, steered: ReadonlyArray<MessageId>, by: number, life: number): void {
    const { session } = unit.place
    const { entry, runId } = unit
    const run = this.#checkUnfenced(runId, unit.attempt, session, entry.kind, life)
    this.#steer(run, steered, by, session)
    this.entries.set(unit.entryId, by)
    for (const delivery of unit.deliveries ?? []) this.#send(delivery, session, by)
    if (entry.kind === "assistant") {
      const open = [...this.calls.values()].filter((call) => call.run === runId && call.results === 0)
      this.#check(
        open.length === 0,
        session,
        () => `${runId} takes a step when each call of the last one has its result`
      )
      for (const call of entry.calls ?? [])
        this.calls.set(call.id, { run: runId, session, by, results: 0, resultBy: undefined })
      this.#note(
        session,
        `${runId} step: ${entry.calls?.map((call) => `${call.name} ${call.id}`).join(", ") ?? ""}`
      )
    } else if (entry.kind === "tool") {
      this.#note(session, `${runId} ${entry.name} ${entry.callId}: ${entry.status}`)
      this.#result(entry.callId, runId, session, by)
    }
  }

  #block(unit: Block, by: number, life: number): void {
    const { session } = unit.place
    this.#checkUnfenced(unit.runId, unit.attempt, session, "block", life)
    for (const delivery of unit.deliveries) this.#send(delivery, session, by)
    this.#note(session, `${unit.runId} block: ${JSON.stringify(unit.source)} ${unit.draft ?? ""}`)
  }

  #park(unit: Park, by: number, life: number): void {
    const { session } = unit.place
    const { id, callId } = unit.approval
    this.#checkUnfenced(unit.runId, unit.attempt, session, "park", life)
    const call = this.calls.get(callId)
    this.#check(
      call?.run === unit.runId && call.results === 0,
      session,
      () => `${unit.runId} asks for a call of its own without a result`
    )
    const approval: KnownApproval = {
      id,
      session,
      run: unit.runId,
      callId,
      state: "pending",
      decidedBy: undefined
    }
    this.approvals.set(id, approval)
    this.entries.set(unit.entryId, by)
    for (const delivery of unit.deliveries) this.#send(delivery, session, by)
    this.#note(session, `${unit.runId} parks: ${id} for ${callId}`)
    if (!this.#isQuiet) this.onAsked(approval)
  }

  #result(callId: string, runId: RunId, session: string, by: number): void {
    const call = this.calls.get(callId)
    this.#check(call?.run === runId, session, () => `${callId} is a call of ${runId}`)
    if (call !== undefined) {
      call.results++
      call.resultBy = by
    }
    this.#check((call?.results ?? 0) <= 1, session, () => `${callId} has one result`)
  }

  #steer(run: KnownRun | undefined, steered: ReadonlyArray<MessageId>, by: number, session: string): void {
    for (const id of steered) {
      const message = this.messages.get(id)
      const newest = run?.messages.at(-1)
      if (message === undefined || run === undefined || newest === undefined) {
        this.#check(false, session, () => `${id} is steered into a run that exists`)
        continue
      }
      // Parts of one message go by the mode of the newest.
      const newer = steered.map((other) => this.messages.get(other))
      const isTogether = newer.some((other) => other?.mode === "steer" && other.seq > message.seq)
      this.#check(
        message.mode === "steer" || (message.isPart && isTogether),
        session,
        () => `${label(message)} is steered only in mode steer`
      )
      this.#check(
        message.access === newest.access && message.route === newest.route,
        session,
        () => `${message.clientId} is steered only into a run of equal access and its own route`
      )
      this.#check(
        message.run === undefined || message.run === run.id,
        session,
        () => `${message.clientId} is steered into one run`
      )
      message.run = run.id
      this.#end(id, "steered", by, session)
    }
  }

  #finish(unit: Finish, result: Committed["Finish"], by: number, life: number): void {
    const { session } = unit.place
    for (const approval of this.approvals.values()) {
      if (approval.run === unit.runId && approval.state === "pending") approval.state = "cancelled"
    }
    const known = this.runs.get(unit.runId)
    const run =
      unit.attempt === undefined
        ? known
        : this.#checkUnfenced(unit.runId, unit.attempt, session, "finish", life)
    this.#check(known?.ended !== true, session, () => `${unit.runId} ends once`)
    const steered = result.endings
      .filter(({ outcome }) => outcome === "steered")
      .map(({ messageId }) => messageId)
    this.#steer(run, steered, by, session)
    for (const { messageId, outcome } of result.endings) {
      if (outcome !== "steered") this.#end(messageId, outcome, by, session)
      const message = this.messages.get(messageId)
      if (message !== undefined) message.run ??= unit.runId
    }
    for (const one of unit.entries) {
      this.entries.set(one.id, by)
      if (one.entry.kind === "assistant" && one.entry.partial === undefined) this.answers.add(one.id)
      if (one.entry.kind === "tool") this.#result(one.entry.callId, unit.runId, session, by)
    }
    unit.entries.forEach(({ id }, index) => {
      const seq = result.seqs[index]
      if (seq === undefined || !this.answers.has(id) || this.answeredBy(unit.runId).length === 0) return
      this.#turns.set(session, [...(this.#turns.get(session) ?? []), { run: unit.runId, seq }])
    })
    for (const delivery of unit.deliveries) this.#send(delivery, session, by)
    const open = run?.messages.filter((message) => message.outcome === undefined) ?? []
    this.#check(
      open.length === 0,
      session,
      () => `${unit.runId} ends with all its messages (${open.map(label).join(", ")} left open)`
    )
    if (known !== undefined) known.ended = true
    else this.runs.set(unit.runId, { id: unit.runId, session, messages: [], attempt: 0, life, ended: true })
    this.#note(session, `${unit.runId} ends${unit.failure === undefined ? "" : ` (${unit.failure.code})`}`)
  }

  #send(
    delivery: Pick<NewDelivery, "id" | "text" | "edits"> & { readonly route: { readonly channel: string } },
    session: string,
    by: number
  ): void {
    this.#check(
      !this.deliveries.has(delivery.id),
      session,
      () => `${delivery.id} is put into the outbox once`
    )
    const { id, text, edits } = delivery
    this.deliveries.set(id, {
      id,
      session,
      channel: delivery.route.channel,
      route: JSON.stringify(delivery.route),
      text,
      edits,
      by,
      state: "pending"
    })
  }

  #end(id: MessageId, outcome: Outcome, by: number, session: string): void {
    const message = this.messages.get(id)
    if (message === undefined) return this.#check(false, session, () => `${id} is accepted before it ends`)
    this.#check(
      message.outcome === undefined,
      session,
      () => `${label(message)} has one outcome, not ${message.outcome} and ${outcome}`
    )
    message.outcome = outcome
    message.endedBy = by
    this.#note(session, `${label(message)}: ${outcome}`)
  }

  #fork(unit: Fork, result: Committed["Fork"], shared: ReadonlyArray<EntryRow>, by: number): void {
    const { session } = unit.place
    const { from, atSeq } = unit
    const turn = this.turnAt(from, atSeq)
    this.#note(session, `forked from ${from} at ${atSeq ?? "its last answer"}: shares up to ${result.seq}`)
    this.#check(
      turn === result.seq,
      session,
      () => `a fork of ${from} at ${atSeq} begins with the answer ${turn}, not ${result.seq}`
    )
    this.#check(
      !this.#seqs.has(session) && !this.forks.has(session),
      session,
      () => `only a new session is a fork`
    )
    const queue = this.#queues.get(from) ?? {}
    this.#check(
      JSON.stringify(result.queue) === JSON.stringify(queue),
      session,
      () => `a fork keeps the queue of ${from}: ${JSON.stringify(queue)}, not ${JSON.stringify(result.queue)}`
    )
    this.#queues.set(session, result.queue)
    this.#seqs.set(session, result.seq)
    this.forks.set(session, { session, from, seq: result.seq, shared, by })
    this.#checkShared(session, shared)
  }

  /** Of the answers before the one it begins with, each is shared once, with the messages that it answers. */
  #checkShared(session: string, shared: ReadonlyArray<EntryRow>): void {
    const fork = this.forks.get(session)
    for (let owner = fork?.from, last = fork?.seq ?? 0; owner !== undefined;) {
      for (const { run, seq } of this.#turns.get(owner) ?? []) {
        if (seq > last) continue
        const [asked, said] = [this.answeredBy(run), shared.filter((row) => row.runId === run)]
        const times = said.filter((row) => row.seq === seq && row.answers?.join() === asked.join()).length
        this.#check(times === 1, session, () => `the answer of ${run} is shared once, not ${times} times`)
        for (const clientId of asked) {
          const found = said.filter((row) => row.clientId === clientId).length
          this.#check(found === 1, session, () => `${clientId} is shared once, not ${found} times`)
        }
      }
      const above = this.forks.get(owner)
      last = Math.min(last, above?.seq ?? 0)
      owner = above?.from
    }
  }

  /** The seq of the answer with which a fork of the session at this entry begins; undefined when no answered turn is there. */
  turnAt(session: string, atSeq: number | undefined): number | undefined {
    const turns = this.#turns.get(session) ?? []
    const fork = this.forks.get(session)
    if (atSeq === undefined) return turns.at(-1)?.seq ?? fork?.seq
    if (fork !== undefined && atSeq <= fork.seq) return this.turnAt(fork.from, atSeq)
    const run = [...this.messages.values()].find((one) => one.session === session && one.seq === atSeq)?.run
    return turns.find((turn) => turn.seq === atSeq || turn.run === run)?.seq
  }

  /** The session that said the turn with which a fork begins. */
  ownerOf(fork: string, seq = this.forks.get(fork)?.seq ?? 0): string {
    const from = this.forks.get(fork)?.from ?? ""
    return seq <= (this.forks.get(from)?.seq ?? 0) ? this.ownerOf(from, seq) : from
  }

  /** The session is a fork of that other one, or of one of its forks. */
  comesFrom(session: string, other: string): boolean {
    const from = this.forks.get(session)?.from
    return from !== undefined && (from === other || this.comesFrom(from, other))
  }

  /** The session is a fork that shares what this client wrote in that other one. */
  isShared(session: string, other: string, clientId: string): boolean {
    const message = [...this.messages.values()].find(
      (one) => one.session === other && one.clientId === clientId
    )
    return this.forks.get(session)?.shared.some((row) => row.messageId === message?.id) === true
  }

  /** Client ids of the messages that the run's answer answers, in the order they came. */
  answeredBy(run: RunId): ReadonlyArray<string> {
    return [...this.messages.values()]
      .filter((message) => message.run === run && answered.has(message.outcome))
      .toSorted((a, b) => a.seq - b.seq)
      .map((message) => message.clientId)
  }

  /** The run that began last in this session. */
  newestRun(session: string): RunId | undefined {
    return this.#newest.get(session)?.run
  }

  /** A call that a person is asked for begins. */
  askedStarts(callId: string, durable: number): void {
    const approval = [...this.approvals.values()].findLast((one) => one.callId === callId)
    this.#check(
      approval?.state === "approved" && (approval.decidedBy ?? Infinity) <= durable,
      approval?.session ?? "tools",
      () => `${callId} is approved, and durably so, before it starts (${approval?.state ?? "not asked"})`
    )
  }

  /** A tool begins to work for a call of this id. */
  toolStarts(callId: string, effects: Effects, durable: number): void {
    const call = this.calls.get(callId)
    if (call === undefined)
      return this.#check(false, "tools", () => `${callId} is on the disk before its tool starts`)
    this.#check(call.by <= durable, call.session, () => `${callId} is durable before its tool starts`)
    this.#check(call.results === 0, call.session, () => `${callId} has no result yet when its tool starts`)
    this.#check(
      this.runs.get(call.run)?.ended !== true,
      call.session,
      () => `a run that has ended starts no tool (${callId}, ${effects})`
    )
  }
}

const answered = new Set<Outcome | undefined>(["answered", "merged", "steered"])

const keepsOrder = (message: Known) =>
  !message.isCommand && (message.mode === "followup" || message.mode === "collect")

const same = (a: ReadonlyArray<Known>, b: ReadonlyArray<Known>) =>
  a.length === b.length && a.every((message) => b.includes(message))
