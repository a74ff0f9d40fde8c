/**
 * What a lane decides: the pure half of the actor.
 *
 * `decide(state, event)` gives the next state and commands. It reads no clock, does no IO and draws no random number,
 * so a lane can be property-tested against a naive model and replayed from its journal.
 *
 * Owns: order, at most one unfenced run, paging, cancellation, parking and fencing.
 * Does not own: carrying commands out (`Lanes`), nor admission and its cap (the log's accept unit).
 */
import type { MessageId, RunId } from "#src/domain/Ids.ts"
import { runOf } from "#src/domain/Ids.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"

/** How a run or a waiting message is ended from outside. */
export interface Ending {
  readonly outcome: "cancelled" | "interrupted"
  /** The principal or message that caused it. */
  readonly by: string
}

export interface Run {
  readonly runId: RunId
  /** Its first attempt was committed with its message already. */
  readonly begun: boolean
  /** The messages it answers, oldest first. */
  readonly messages: ReadonlyArray<MessageRow>
}

export type Phase =
  | { readonly _tag: "Idle" }
  /** `ending` is set once the run was told to stop; `failures` counts its starts that the store refused. */
  | {
      readonly _tag: "Running"
      readonly run: Run
      readonly ending: Ending | undefined
      readonly failures: number
    }
  /** The run waits for a person's decision: it has committed, and holds no fiber and no permit. */
  | { readonly _tag: "Parked"; readonly run: Run; readonly approvalId: string }
  /** The store refused the run's work for now; it begins again when the timer fires. */
  | { readonly _tag: "Waiting"; readonly run: Run; readonly failures: number }

export interface LaneState {
  readonly phase: Phase
  /** Open messages without a run, by seq. At most `buffer` of them. */
  readonly queue: ReadonlyArray<MessageRow>
  /** True when the log may hold open messages after the queue's last. */
  readonly beyond: boolean
  /** A page is being read; `again` when something arrived meanwhile that it may have missed. */
  readonly loading: "no" | "yes" | "again"
  /** Highest seq that was queued, run or cancelled; the log is read after it. */
  readonly lastSeq: number
  /** Runs that were told to stop, did not within the grace time, and still hold a permit. */
  readonly fenced: ReadonlyArray<RunId>
  readonly paused: boolean
  /** Most messages held in memory. */
  readonly buffer: number
}

export type LaneEvent =
  /** `begun`: the accept unit has begun its run, since the lane looked idle. */
  | { readonly _tag: "Arrived"; readonly message: MessageRow; readonly begun: boolean }
  | { readonly _tag: "Loaded"; readonly messages: ReadonlyArray<MessageRow>; readonly more: boolean }
  /** The run's fiber is gone. `retry`: the store refused its work for now, its messages are still open. */
  | { readonly _tag: "RunEnded"; readonly runId: RunId; readonly end: "finished" | "retry" }
  | { readonly _tag: "RunParked"; readonly runId: RunId; readonly approvalId: string }
  /** Approved, denied or expired: the run resumes and reads the decision. */
  | { readonly _tag: "ApprovalResolved"; readonly approvalId: string }
  | { readonly _tag: "GraceExpired"; readonly runId: RunId }
  | { readonly _tag: "RetryDue"; readonly runId: RunId }
  | { readonly _tag: "Stop"; readonly by: string }
  | { readonly _tag: "Cancel"; readonly messageId: MessageId; readonly by: string }
  | { readonly _tag: "Paused" }
  | { readonly _tag: "Resumed" }

export type LaneCommand =
  | { readonly _tag: "Start"; readonly run: Run }
  /** End the run in the log, which fences it, and interrupt its fiber if it has one. */
  | { readonly _tag: "Interrupt"; readonly run: Run; readonly ending: Ending }
  /** Send `GraceExpired` if the run's fiber is still there after the grace time. */
  | { readonly _tag: "ArmGrace"; readonly runId: RunId }
  /** Send `RetryDue` after a pause that grows with `failures`. */
  | { readonly _tag: "ArmRetry"; readonly runId: RunId; readonly failures: number }
  /** Give waiting messages their outcome. */
  | { readonly _tag: "Settle"; readonly messages: ReadonlyArray<MessageRow>; readonly ending: Ending }
  /** The same for those that are still in the log only, after `afterSeq`. */
  | { readonly _tag: "SettleRest"; readonly afterSeq: number; readonly ending: Ending }
  /** Read open messages after `afterSeq`, at most `limit`, and send `Loaded`. */
  | { readonly _tag: "Load"; readonly afterSeq: number; readonly limit: number }
  | { readonly _tag: "CancelApproval"; readonly approvalId: string; readonly ending: Ending }

export interface Decision {
  readonly state: LaneState
  readonly commands: ReadonlyArray<LaneCommand>
}

export const initial = (buffer: number): LaneState => ({
  phase: { _tag: "Idle" },
  queue: [],
  beyond: false,
  loading: "no",
  lastSeq: 0,
  fenced: [],
  paused: false,
  buffer
})

/** True when nothing would be forgotten by dropping the state. */
export const isIdle = (state: LaneState): boolean => isFree(state) && state.fenced.length === 0

/** True when a message that arrives starts at once. */
export const isFree = (state: LaneState): boolean =>
  state.phase._tag === "Idle" &&
  state.queue.length === 0 &&
  !state.beyond &&
  state.loading === "no" &&
  !state.paused

const nothing: ReadonlyArray<LaneCommand> = []
const keep = (state: LaneState): Decision => ({ state, commands: nothing })

export const decide = (state: LaneState, event: LaneEvent): Decision => {
  switch (event._tag) {
    case "Arrived":
      return event.begun && isFree(state) && event.message.seq > state.lastSeq
        ? begin({ ...state, lastSeq: event.message.seq }, firstRun([event.message], true), 0)
        : next(enqueue(state, event.message))
    case "Loaded":
      return next(loaded(state, event.messages, event.more))
    case "RunEnded":
      return runEnded(state, event.runId, event.end)
    case "RunParked":
      return isRunning(state, event.runId) && state.phase.ending === undefined
        ? keep({ ...state, phase: { _tag: "Parked", run: state.phase.run, approvalId: event.approvalId } })
        : keep(state)
    case "ApprovalResolved":
      return state.phase._tag === "Parked" && state.phase.approvalId === event.approvalId
        ? begin(state, again(state.phase.run), 0)
        : keep(state)
    case "GraceExpired":
      return isRunning(state, event.runId) && state.phase.ending !== undefined
        ? next({ ...state, phase: { _tag: "Idle" }, fenced: [...state.fenced, event.runId] })
        : keep(state)
    case "RetryDue":
      return state.phase._tag === "Waiting" && state.phase.run.runId === event.runId
        ? begin(state, again(state.phase.run), state.phase.failures)
        : keep(state)
    case "Stop":
      return stop(state, { outcome: "cancelled", by: event.by })
    case "Cancel":
      return cancel(state, event.messageId, { outcome: "cancelled", by: event.by })
    case "Paused":
      return keep({ ...state, paused: true })
    case "Resumed":
      return next({ ...state, paused: false })
  }
}

const isRunning = (
  state: LaneState,
  runId: RunId
): state is LaneState & { readonly phase: Extract<Phase, { _tag: "Running" }> } =>
  state.phase._tag === "Running" && state.phase.run.runId === runId

/** A message that is known already (it was loaded and arrives late) is not queued twice. */
const enqueue = (state: LaneState, message: MessageRow): LaneState => {
  if (message.seq <= state.lastSeq) return state
  // What lies in the log before this message comes first: once anything was left there, later arrivals stay there too.
  if (state.beyond || state.loading !== "no" || state.queue.length >= state.buffer) {
    return { ...state, beyond: true, loading: state.loading === "no" ? "no" : "again" }
  }
  return { ...state, queue: [...state.queue, message], lastSeq: message.seq }
}

const loaded = (state: LaneState, messages: ReadonlyArray<MessageRow>, more: boolean): LaneState => {
  const fresh = messages.filter((message) => message.seq > state.lastSeq)
  return {
    ...state,
    queue: [...state.queue, ...fresh],
    lastSeq: fresh.at(-1)?.seq ?? state.lastSeq,
    beyond: more || state.loading === "again",
    loading: "no"
  }
}

const begin = (state: LaneState, run: Run, failures: number): Decision => ({
  state: { ...state, phase: { _tag: "Running", run, ending: undefined, failures } },
  commands: [{ _tag: "Start", run }]
})

/** A run that starts again commits that it does. */
const again = (run: Run): Run => (run.begun ? { ...run, begun: false } : run)

/** Start what can start, and read on when the memory runs low. */
const next = (state: LaneState): Decision => {
  const commands: Array<LaneCommand> = []
  let now = state
  if (now.phase._tag === "Idle" && !now.paused && now.queue.length > 0) {
    const run = firstRun(now.queue)
    now = {
      ...now,
      phase: { _tag: "Running", run, ending: undefined, failures: 0 },
      queue: now.queue.slice(run.messages.length)
    }
    commands.push({ _tag: "Start", run })
  }
  if (now.beyond && now.loading === "no" && now.queue.length * 2 <= now.buffer) {
    commands.push({ _tag: "Load", afterSeq: now.lastSeq, limit: now.buffer - now.queue.length })
    now = { ...now, beyond: false, loading: "yes" }
  }
  return { state: now, commands }
}

/** followup: one message a run. Messages that a run had taken before a restart stay together. */
const firstRun = (queue: ReadonlyArray<MessageRow>, begun = false): Run => {
  const head = queue[0]!
  if (head.runId === undefined) return { runId: runOf(head.id), messages: [head], begun }
  const messages: Array<MessageRow> = []
  for (const message of queue) {
    if (message.runId !== head.runId) break
    messages.push(message)
  }
  return { runId: head.runId, messages, begun: false }
}

const runEnded = (state: LaneState, runId: RunId, end: "finished" | "retry"): Decision => {
  if (state.fenced.includes(runId)) {
    return keep({ ...state, fenced: state.fenced.filter((id) => id !== runId) })
  }
  if (!isRunning(state, runId)) return keep(state)
  if (end === "finished" || state.phase.ending !== undefined) {
    return next({ ...state, phase: { _tag: "Idle" } })
  }
  const failures = state.phase.failures + 1
  return {
    state: { ...state, phase: { _tag: "Waiting", run: state.phase.run, failures } },
    commands: [{ _tag: "ArmRetry", runId, failures }]
  }
}

const interruptRun = (state: LaneState, ending: Ending): Decision => {
  const { phase } = state
  switch (phase._tag) {
    case "Idle":
      return keep(state)
    case "Running":
      return phase.ending !== undefined
        ? keep(state)
        : {
            state: { ...state, phase: { ...phase, ending } },
            commands: [
              { _tag: "Interrupt", run: phase.run, ending },
              { _tag: "ArmGrace", runId: phase.run.runId }
            ]
          }
    case "Parked": {
      const after = next({ ...state, phase: { _tag: "Idle" } })
      return {
        state: after.state,
        commands: [
          { _tag: "CancelApproval", approvalId: phase.approvalId, ending },
          { _tag: "Interrupt", run: phase.run, ending },
          ...after.commands
        ]
      }
    }
    case "Waiting": {
      const after = next({ ...state, phase: { _tag: "Idle" } })
      return {
        state: after.state,
        commands: [{ _tag: "Interrupt", run: phase.run, ending }, ...after.commands]
      }
    }
  }
}

/** Waiting messages first, then the run. */
const stop = (state: LaneState, ending: Ending): Decision => {
  const commands: Array<LaneCommand> = []
  if (state.queue.length > 0) commands.push({ _tag: "Settle", messages: state.queue, ending })
  if (state.beyond || state.loading !== "no") {
    commands.push({ _tag: "SettleRest", afterSeq: state.lastSeq, ending })
  }
  const after = interruptRun({ ...state, queue: [], beyond: false }, ending)
  return { state: after.state, commands: [...commands, ...after.commands] }
}

const cancel = (state: LaneState, messageId: MessageId, ending: Ending): Decision => {
  const waiting = state.queue.find((message) => message.id === messageId)
  if (waiting !== undefined) {
    const after = next({ ...state, queue: state.queue.filter((message) => message !== waiting) })
    return {
      state: after.state,
      commands: [{ _tag: "Settle", messages: [waiting], ending }, ...after.commands]
    }
  }
  const { phase } = state
  return phase._tag !== "Idle" && phase.run.messages.some((message) => message.id === messageId)
    ? interruptRun(state, ending)
    : keep(state)
}
