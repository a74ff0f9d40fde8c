/**
 * What a lane decides: the pure half of the actor.
 *
 * `decide(state, event)` gives the next state and commands. It reads no clock, does no IO and draws no random number,
 * so a lane can be property-tested against a naive model and replayed from its journal.
 *
 * Owns: order, at most one unfenced run, paging, cancellation, parking and fencing.
 * Does not own: carrying commands out (`Lanes`), nor admission and its cap (the log's accept unit).
 */
import type { ApprovalId, MessageId, RunId } from "#src/domain/Ids.ts"
import { runOf } from "#src/domain/Ids.ts"
import type { PartsWindow } from "#src/domain/Inbound.ts"
import type { QueueMode } from "#src/domain/Queue.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import { mayJoin, nextRun } from "./collect.ts"
import {
  gather,
  gathered,
  type GatherEvent,
  type GatherState,
  initial as noParts,
  isEmpty,
  isMedia,
  regroup
} from "./gather.ts"

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
  /**
   * `ending` is set once the run was told to stop; `failures` counts its starts that the store refused. `steering` was handed to
   * the run and not taken by a committed step yet: what is left of it when the run ends becomes the next run.
   */
  | {
      readonly _tag: "Running"
      readonly run: Run
      readonly ending: Ending | undefined
      /** It was given up for stuck: when it is gone, or its grace time is over, it begins again. */
      readonly abandoned?: boolean
      readonly failures: number
      readonly steering: ReadonlyArray<MessageRow>
      /** An approval that was decided before the lane knew that its run had parked. */
      readonly resolved?: ApprovalId
    }
  /** The run waits for a person's decision: it has committed, and holds no fiber and no permit. */
  | { readonly _tag: "Parked"; readonly run: Run; readonly approvalId: ApprovalId }
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
  /** What ended while a page was being read: the page may still have it. */
  readonly gone: ReadonlySet<MessageId>
  /** Highest seq that was queued, run or ended; the log is read after it. */
  readonly lastSeq: number
  /** Highest seq that ever arrived or was open in the log, also of messages left there. */
  readonly seenSeq: number
  /** The quiet window of a collect lane that has become idle with messages waiting. `arms` bounds how often it is prolonged. */
  readonly quiet: { readonly generation: number; readonly arms: number } | undefined
  /** Collected messages up to this seq could not be joined and run singly. */
  readonly singlyUpTo: number
  /** Counts quiet windows, so that a timer of an earlier one is known as such. */
  readonly generation: number
  /** Parts of a person's message that wait for the next one. */
  readonly parts: GatherState
  /** Messages that were parts of one, each with the first part's id: they run together whatever the mode. */
  readonly batches: ReadonlyMap<MessageId, MessageId>
  /** Runs that were told to stop, did not within the grace time, and still hold a permit. */
  readonly fenced: ReadonlyArray<RunId>
  readonly paused: boolean
  /** Most messages held in memory. */
  readonly buffer: number
}

export type LaneEvent =
  /** `begun`: the accept unit has begun its run, since the lane looked idle. */
  | {
      readonly _tag: "Arrived"
      readonly message: MessageRow
      readonly begun: boolean
      /** How long it waits for its sender's next part; absent for not at all. */
      readonly window?: PartsWindow
    }
  /** A timer of gathered parts. */
  | { readonly _tag: "PartsDue"; readonly key: string; readonly generation: number }
  /** After a restart: all that is open in the log is being read, and comes as `Loaded`. What arrives meanwhile stays behind it. */
  | { readonly _tag: "TakingUp" }
  /** `started`: after a restart, those that a run had taken, wherever they stand; their runs are resumed before all else. */
  | {
      readonly _tag: "Loaded"
      readonly messages: ReadonlyArray<MessageRow>
      readonly more: boolean
      /** Where the page ends, when that is not at the last of `messages`: commands in it are not the lane's. */
      readonly readUpTo?: number
      readonly started?: ReadonlyArray<MessageRow>
      /** Highest seq that was open in the log, when that is not the last of `messages`: a stop ends up to there. */
      readonly newestSeq?: number
      /** After a restart, the run of `started` that waits for a person. */
      readonly parked?: Waiting
    }
  /**
   * The run's fiber is gone. `retry`: the store refused its work for now, its messages are still open. `late`: the lane had gone on
   * without it, perhaps with a new attempt of the same run.
   */
  | {
      readonly _tag: "RunEnded"
      readonly runId: RunId
      readonly end: "finished" | "retry"
      readonly late?: boolean
    }
  /** The run has made no progress for long: give this attempt up and begin another. */
  | { readonly _tag: "Stuck"; readonly runId: RunId }
  /** A step that holds these messages is committed: they are steered into the run for good. */
  | { readonly _tag: "Steered"; readonly runId: RunId; readonly messageIds: ReadonlyArray<MessageId> }
  /** These waiting messages have ended: the log has dropped them to make room, or somebody cancelled them there. */
  | { readonly _tag: "Dropped"; readonly messageIds: ReadonlyArray<MessageId> }
  /** Nothing came for the quiet time of this window. */
  | { readonly _tag: "QuietOver"; readonly generation: number }
  /** The run's fiber is gone: it has committed a question and waits for the decision. */
  | ({ readonly _tag: "RunParked" } & Waiting)
  /** Approved, denied or expired: the run resumes and reads the decision. */
  | { readonly _tag: "ApprovalResolved"; readonly approvalId: ApprovalId }
  | { readonly _tag: "GraceExpired"; readonly runId: RunId }
  | { readonly _tag: "RetryDue"; readonly runId: RunId }
  | { readonly _tag: "Stop"; readonly by: string }
  /** End the run; what waits goes on. */
  | { readonly _tag: "Abort"; readonly by: string }
  | { readonly _tag: "Cancel"; readonly messageId: MessageId; readonly by: string }
  | { readonly _tag: "Paused" }
  | { readonly _tag: "Resumed" }

/** What a run waits for, and how long at most. */
export interface Waiting {
  readonly runId: RunId
  readonly approvalId: ApprovalId
  readonly millis: number
}

export type LaneCommand =
  | { readonly _tag: "Start"; readonly run: Run }
  /** End the run in the log, which fences it, and interrupt its fiber if it has one. */
  | { readonly _tag: "Interrupt"; readonly run: Run; readonly ending: Ending }
  /** Interrupt the run's fiber, and end nothing in the log: its messages stay open. */
  | { readonly _tag: "Abandon"; readonly runId: RunId }
  /** Send `GraceExpired` if the run's fiber is still there after the grace time. */
  | { readonly _tag: "ArmGrace"; readonly runId: RunId }
  /** Send `RetryDue` after a pause that grows with `failures`. */
  | { readonly _tag: "ArmRetry"; readonly runId: RunId; readonly failures: number }
  /** Offer these to the running agent at its next model or tool boundary. */
  | { readonly _tag: "Inject"; readonly runId: RunId; readonly messages: ReadonlyArray<MessageRow> }
  /** Do not offer these any more. */
  | { readonly _tag: "Withdraw"; readonly runId: RunId; readonly messageIds: ReadonlyArray<MessageId> }
  /** Send `QuietOver` after this time. */
  | { readonly _tag: "ArmQuiet"; readonly generation: number; readonly millis: number }
  /** Send `PartsDue` after this time. */
  | {
      readonly _tag: "ArmParts"
      readonly key: string
      readonly generation: number
      readonly millis: number
    }
  /** Give waiting messages their outcome. */
  | { readonly _tag: "Settle"; readonly messages: ReadonlyArray<MessageRow>; readonly ending: Ending }
  /** The same for those that are still in the log only: after `afterSeq`, up to and with `toSeq`, but not these. */
  | {
      readonly _tag: "SettleRest"
      readonly afterSeq: number
      readonly toSeq: number
      readonly but: ReadonlyArray<MessageId>
      readonly ending: Ending
    }
  /** Read open messages after `afterSeq`, at most `limit`, and send `Loaded`. */
  | { readonly _tag: "Load"; readonly afterSeq: number; readonly limit: number }
  /** After this time let the approval expire, when nobody has decided it. */
  | { readonly _tag: "ArmExpiry"; readonly approvalId: ApprovalId; readonly millis: number }

export interface Decision {
  readonly state: LaneState
  readonly commands: ReadonlyArray<LaneCommand>
}

const idlePhase: Phase = { _tag: "Idle" }

const noBatches: ReadonlyMap<MessageId, MessageId> = new Map()

const noIds: ReadonlySet<MessageId> = new Set()

export const initial = (buffer: number): LaneState => ({
  phase: idlePhase,
  queue: [],
  beyond: false,
  loading: "no",
  gone: noIds,
  lastSeq: 0,
  seenSeq: 0,
  quiet: undefined,
  singlyUpTo: 0,
  generation: 0,
  parts: noParts,
  batches: noBatches,
  fenced: [],
  paused: false,
  buffer
})

/** True when nothing would be forgotten by dropping the state. That it is paused is known elsewhere: it is told when it wakes. */
export const isIdle = (state: LaneState): boolean =>
  holdsNothing(state) && state.fenced.length === 0 && isEmpty(state.parts)

const holdsNothing = (state: LaneState): boolean =>
  state.phase._tag === "Idle" && state.queue.length === 0 && !state.beyond && state.loading === "no"

/** True when a message that arrives starts at once. */
export const isFree = (state: LaneState): boolean => holdsNothing(state) && !state.paused

const nothing: ReadonlyArray<LaneCommand> = []
const keep = (state: LaneState): Decision => ({ state, commands: nothing })
const before = (commands: ReadonlyArray<LaneCommand>, decision: Decision): Decision =>
  commands.length === 0
    ? decision
    : {
        state: decision.state,
        commands: decision.commands.length === 0 ? commands : [...commands, ...decision.commands]
      }

export const decide = (state: LaneState, event: LaneEvent): Decision => {
  switch (event._tag) {
    case "Arrived":
      return arrived(state, event)
    case "PartsDue":
      return gatherInto(state, { _tag: "Due", key: event.key, generation: event.generation })
    case "TakingUp":
      return keep({ ...state, loading: "yes" })
    case "Loaded":
      return loaded(state, event)
    case "RunEnded":
      return event.late === true
        ? keep(withoutFenced(state, event.runId))
        : runEnded(state, event.runId, event.end)
    case "Stuck":
      return isRunning(state, event.runId) && state.phase.ending === undefined && !isAbandoned(state)
        ? {
            state: { ...state, phase: { ...state.phase, abandoned: true } },
            commands: [
              { _tag: "Abandon", runId: event.runId },
              { _tag: "ArmGrace", runId: event.runId }
            ]
          }
        : keep(state)
    case "Steered":
      return keep(
        withGone(
          isRunning(state, event.runId) ? withoutSteering(state, event.messageIds) : state,
          event.messageIds
        )
      )
    case "Dropped":
      return dropped(state, event.messageIds)
    case "QuietOver":
      return state.quiet?.generation === event.generation ? next({ ...state, quiet: undefined }) : keep(state)
    case "RunParked":
      // Told to stop, or fenced, meanwhile: then it has simply ended.
      return isRunning(state, event.runId) && state.phase.ending === undefined
        ? parked(state, state.phase, event)
        : runEnded(state, event.runId, "finished")
    case "ApprovalResolved":
      return resolved(state, event.approvalId)
    case "GraceExpired":
      return graceExpired(state, event.runId)
    case "RetryDue":
      return state.phase._tag === "Waiting" && state.phase.run.runId === event.runId
        ? begin(state, again(state.phase.run), state.phase.failures)
        : keep(state)
    case "Stop":
      return stop(state, { outcome: "cancelled", by: event.by })
    case "Abort":
      return interruptRun(state, { outcome: "cancelled", by: event.by })
    case "Cancel":
      return cancel(state, event.messageId, { outcome: "cancelled", by: event.by })
    case "Paused":
      return keep({ ...state, paused: true })
    case "Resumed":
      return next({ ...state, paused: false })
  }
}

type Running = Extract<Phase, { _tag: "Running" }>

const isRunning = (state: LaneState, runId: RunId): state is LaneState & { readonly phase: Running } =>
  state.phase._tag === "Running" && state.phase.run.runId === runId

const modeOf = (row: MessageRow): QueueMode => row.body.queue?.mode ?? "followup"
const quietOf = (row: MessageRow): number => row.body.queue?.debounceMs ?? 0

/** How often arrivals may prolong a quiet window: a chatty sender must not keep the others waiting for ever. */
const maxArms = 10

const arrived = (
  state: LaneState,
  { message, begun, window }: Extract<LaneEvent, { _tag: "Arrived" }>
): Decision => {
  if (message.seq <= state.lastSeq) {
    return isHeld(state, message.id) ? keep(state) : next(queueOvertaken(state, message))
  }
  const seenSeq = Math.max(state.seenSeq, message.seq)
  if (begun && isFree(state)) {
    const run = { runId: runOf(message.id), messages: [message], begun }
    // What `begin` would give, in one copy: it is the way of most messages, and nothing waits that could be steered into the run.
    return {
      state: { ...state, seenSeq, lastSeq: message.seq, phase: running(run, 0) },
      commands: [{ _tag: "Start", run }]
    }
  }
  const seen = { ...state, seenSeq }
  // Behind messages that are in the log only, it waits there with them.
  if (window !== undefined && !holdsLog(seen)) {
    const part = { _tag: "Part", row: message, window, immediate: isMedia(message) } as const
    return gatherInto({ ...seen, lastSeq: message.seq }, part)
  }
  return admit(seen, [message], () => enqueue(seen, message))
}

/** Messages that belong together come to the lane, by the mode of the newest; `queued` puts them behind what waits. */
const admit = (state: LaneState, rows: ReadonlyArray<MessageRow>, queued: () => LaneState): Decision => {
  const newest = rows.at(-1)!
  switch (modeOf(newest)) {
    case "interrupt":
      return interruptFor(state, rows)
    case "steer":
      if (canSteer(state, newest)) {
        return inject(
          holdsLog(state) ? state : { ...state, lastSeq: Math.max(state.lastSeq, newest.seq) },
          rows
        )
      }
      // With nothing running there is nothing to steer: what waited for quiet runs now, and this goes into it.
      return next({ ...queued(), quiet: undefined })
    case "collect":
      return prolong(queued(), newest)
    case "followup":
      return next(queued())
  }
}

const gatherInto = (state: LaneState, event: GatherEvent): Decision => {
  const { state: parts, commands: asked } = gather(state.parts, event)
  const commands: Array<LaneCommand> = []
  let now: LaneState = { ...state, parts }
  for (const command of asked) {
    if (command._tag === "Arm") {
      const { key, ms, generation } = command
      commands.push({ _tag: "ArmParts", key, generation, millis: ms })
    } else {
      const before = now
      const admitted = admit(before, command.rows, () => hold(before, command.rows))
      now = admitted.state
      commands.push(...admitted.commands)
    }
  }
  return { state: now, commands }
}

/** Gathered messages have been in memory all along, so they queue there however full it is. */
const hold = (state: LaneState, rows: ReadonlyArray<MessageRow>): LaneState => ({
  ...state,
  queue: [...state.queue, ...rows],
  batches: rows.length === 1 ? state.batches : withBatch(state.batches, rows)
})

const withBatch = (
  batches: ReadonlyMap<MessageId, MessageId>,
  rows: ReadonlyArray<MessageRow>
): ReadonlyMap<MessageId, MessageId> =>
  new Map([...batches, ...rows.map((row) => [row.id, rows[0]!.id] as const)])

/** True when the log may hold messages that were never in memory: then `lastSeq` stays before them. */
const holdsLog = (state: LaneState): boolean => state.beyond || state.loading !== "no"

const enqueue = (state: LaneState, message: MessageRow): LaneState => {
  // What lies in the log before this message comes first: once anything was left there, later arrivals stay there too.
  if (holdsLog(state) || state.queue.length >= state.buffer) {
    return { ...state, beyond: true, loading: state.loading === "no" ? "no" : "again" }
  }
  return { ...state, queue: [...state.queue, message], lastSeq: message.seq }
}

/**
 * A message that a later one overtook between the log and its lane takes its place in the queue. One that was loaded
 * meanwhile and has ended comes here too: the log refuses to begin it.
 */
const queueOvertaken = (state: LaneState, message: MessageRow): LaneState => {
  const later = state.queue.findIndex((row) => row.runId === undefined && row.seq > message.seq)
  return { ...state, queue: state.queue.toSpliced(later < 0 ? state.queue.length : later, 0, message) }
}

const prolong = (state: LaneState, message: MessageRow): Decision =>
  state.quiet === undefined || state.quiet.arms >= maxArms ? next(state) : armQuiet(state, quietOf(message))

const armQuiet = (state: LaneState, millis: number): Decision => {
  const generation = state.generation + 1
  const arms = (state.quiet?.arms ?? 0) + 1
  return before(
    [{ _tag: "ArmQuiet", generation, millis }],
    next({ ...state, generation, quiet: { generation, arms } })
  )
}

const loaded = (
  state: LaneState,
  {
    messages,
    more,
    readUpTo = 0,
    started = [],
    newestSeq = 0,
    parked: waiting
  }: Extract<LaneEvent, { _tag: "Loaded" }>
): Decision => {
  // What was steered or resumed past the log's messages is in memory already.
  const known = new Set(started.map((row) => row.id))
  const isNew = ({ id, seq }: MessageRow) =>
    seq > state.lastSeq && !known.has(id) && !state.gone.has(id) && !isHeld(state, id)
  const unknown = messages.filter(isNew)
  const groups = regroup(unknown)
  const fresh = [...started, ...groups.flat()]
  const lastSeq = Math.max(state.lastSeq, messages.at(-1)?.seq ?? 0, readUpTo)
  const now: LaneState = {
    ...state,
    batches: groups.reduce(
      (batches, rows) => (rows.length === 1 ? batches : withBatch(batches, rows)),
      state.batches
    ),
    lastSeq,
    seenSeq: Math.max(state.seenSeq, lastSeq, newestSeq),
    beyond: more || state.loading === "again",
    loading: "no",
    gone: noIds
  }
  const newest = fresh
    .filter((message) => modeOf(message) === "interrupt")
    .toSorted((one, other) => other.seq - one.seq)[0]
  // Parts of the newest message came before it, and are not interrupted by it.
  const together =
    newest?.runId === undefined
      ? (groups.find((rows) => rows.some((row) => row === newest)) ?? [])
      : fresh.filter((row) => row.runId === newest.runId)
  const isBefore = (row: MessageRow) =>
    newest !== undefined && row.seq < newest.seq && !together.includes(row)
  // A run that had begun is interrupted whole, also where parts of its message came after the newest.
  const brokenOff = new Set(fresh.filter(isBefore).flatMap((row) => row.runId ?? []))
  const isLeft = (row: MessageRow) => isBefore(row) || (row.runId !== undefined && brokenOff.has(row.runId))
  const left = fresh.filter(isLeft)
  if (newest === undefined || left.length === 0) return takeUp(now, [...state.queue, ...fresh], waiting)
  // An earlier process had not come to it: the newest interrupts what was before it.
  const ending: Ending = { outcome: "interrupted", by: newest.id }
  return before(
    [{ _tag: "Settle", messages: [...state.queue, ...left], ending }],
    takeUp(
      now,
      fresh.filter((row) => !isLeft(row)),
      waiting
    )
  )
}

/** Go on with these, unless the run that some of them belong to waits for a person. */
const takeUp = (
  state: LaneState,
  queue: ReadonlyArray<MessageRow>,
  waiting: Waiting | undefined
): Decision => {
  const messages = queue.filter((row) => waiting !== undefined && row.runId === waiting.runId)
  if (waiting === undefined || messages.length === 0 || state.phase._tag !== "Idle") {
    return next({ ...state, queue })
  }
  const { runId, approvalId, millis } = waiting
  const run = { runId, messages, begun: false }
  const rest = queue.filter((row) => row.runId !== runId)
  return before(
    [{ _tag: "ArmExpiry", approvalId, millis }],
    next({ ...state, phase: { _tag: "Parked", run, approvalId }, queue: rest })
  )
}

const idle = (state: LaneState): LaneState => {
  const left = state.phase._tag === "Running" ? state.phase.steering : []
  return left.length === 0
    ? { ...state, phase: idlePhase }
    : { ...state, phase: idlePhase, queue: [...left, ...state.queue] }
}

const running = (run: Run, failures: number): Phase => ({
  _tag: "Running",
  run,
  ending: undefined,
  failures,
  steering: []
})

const begin = (state: LaneState, run: Run, failures: number): Decision => {
  const { now, commands } = injectWaiting({ ...state, phase: running(run, failures) })
  return before([{ _tag: "Start", run }], { state: now, commands })
}

/** A run that starts again commits that it does. */
const again = (run: Run): Run => (run.begun ? { ...run, begun: false } : run)

/** A busy lane has become idle: what it collected waits for a quiet moment first. */
const settleDown = (state: LaneState): Decision => {
  const head = state.queue[0]
  if (head === undefined && !state.beyond) return keep(state)
  if (head === undefined || head.runId !== undefined || modeOf(head) !== "collect") return next(state)
  const millis = quietOf(state.queue.findLast((row) => modeOf(row) === "collect") ?? head)
  return millis === 0 || state.paused ? next(state) : armQuiet({ ...state, quiet: undefined }, millis)
}

/** Start what can start, and read on when the memory runs low. */
const next = (state: LaneState): Decision => {
  const commands: Array<LaneCommand> = []
  let now = state
  if (now.phase._tag === "Idle" && !now.paused && now.quiet === undefined && now.queue.length > 0) {
    const { run, singlyUpTo } = firstRun(now)
    const queue = now.queue.slice(run.messages.length)
    const batches = queue.length === 0 ? noBatches : now.batches
    const begun = begin({ ...now, singlyUpTo, queue, batches }, run, 0)
    now = begun.state
    commands.push(...begun.commands)
  }
  if (now.beyond && now.loading === "no" && now.queue.length * 2 <= now.buffer) {
    commands.push({ _tag: "Load", afterSeq: now.lastSeq, limit: now.buffer - now.queue.length })
    now = { ...now, beyond: false, loading: "yes" }
  }
  return { state: now, commands }
}

/** The next run: what the head's mode makes of the queue. Messages that a run had taken before a restart stay together. */
const firstRun = ({
  queue,
  singlyUpTo,
  batches
}: LaneState): { readonly run: Run; readonly singlyUpTo: number } => {
  const head = queue[0]!
  if (head.runId !== undefined) {
    const messages = takeWhile(queue, (row) => row.runId === head.runId)
    return { run: { runId: head.runId, messages, begun: false }, singlyUpTo }
  }
  // Read only by the modes that join: what waits may be long, and is looked at for each run.
  const alike = () => takeWhile(queue, (row) => row.runId === undefined && modeOf(row) === modeOf(head))
  const first = batches.get(head.id)
  const together = () =>
    first === undefined ? [head] : takeWhile(alike(), (row) => batches.get(row.id) === first)
  const run = (messages: ReadonlyArray<MessageRow>): Run => ({
    runId: runOf(head.id),
    messages,
    begun: false
  })
  switch (modeOf(head)) {
    case "collect": {
      const next = nextRun(alike(), singlyUpTo)
      const messages = next === undefined || next.messages.length === 1 ? together() : next.messages
      return { run: run(messages), singlyUpTo: next?.singlyUpTo ?? singlyUpTo }
    }
    case "steer":
      return { run: run(takeWhile(alike(), (row) => mayJoin(head, row))), singlyUpTo }
    case "followup":
    case "interrupt":
      return { run: run(together()), singlyUpTo }
  }
}

const takeWhile = (
  rows: ReadonlyArray<MessageRow>,
  holds: (row: MessageRow) => boolean
): ReadonlyArray<MessageRow> => {
  const end = rows.findIndex((row) => !holds(row))
  return end < 0 ? rows : rows.slice(0, end)
}

const canSteer = (state: LaneState, message: MessageRow): boolean =>
  state.phase._tag === "Running" &&
  state.phase.ending === undefined &&
  mayJoin(state.phase.run.messages.at(-1)!, message)

const inject = (state: LaneState, messages: ReadonlyArray<MessageRow>): Decision => {
  const { phase } = state
  if (phase._tag !== "Running") return keep(state)
  return {
    state: { ...state, phase: { ...phase, steering: [...phase.steering, ...messages] } },
    commands: [{ _tag: "Inject", runId: phase.run.runId, messages }]
  }
}

/** Steering messages at the queue's head go into the run that has just begun. */
const injectWaiting = (
  state: LaneState
): { readonly now: LaneState; readonly commands: ReadonlyArray<LaneCommand> } => {
  const waiting = takeWhile(
    state.queue,
    (row) => row.runId === undefined && modeOf(row) === "steer" && canSteer(state, row)
  )
  if (waiting.length === 0) return { now: state, commands: nothing }
  const decision = inject({ ...state, queue: state.queue.slice(waiting.length) }, waiting)
  return { now: decision.state, commands: decision.commands }
}

const withoutSteering = (state: LaneState, ids: ReadonlyArray<MessageId>): LaneState =>
  state.phase._tag === "Running"
    ? {
        ...state,
        phase: { ...state.phase, steering: state.phase.steering.filter((row) => !ids.includes(row.id)) }
      }
    : state

/** A page that is being read may have been read before these ended. */
const withGone = (state: LaneState, ids: ReadonlyArray<MessageId>): LaneState =>
  state.loading === "no" ? state : { ...state, gone: new Set([...state.gone, ...ids]) }

const dropped = (state: LaneState, ids: ReadonlyArray<MessageId>): Decision => {
  const parts = gather(state.parts, { _tag: "Withdrawn", ids: new Set(ids) }).state
  const queue = state.queue.filter((row) => !ids.includes(row.id))
  const { phase } = state
  const offered =
    phase._tag === "Running" ? phase.steering.filter((row) => ids.includes(row.id)).map((row) => row.id) : []
  const commands: ReadonlyArray<LaneCommand> =
    phase._tag === "Running" && offered.length > 0
      ? [{ _tag: "Withdraw", runId: phase.run.runId, messageIds: offered }]
      : nothing
  const now = { ...withGone(withoutSteering(state, ids), ids), queue, parts }
  return before(commands, next(queue.length === 0 ? { ...now, quiet: undefined } : now))
}

const parked = (state: LaneState, { run, steering, resolved }: Running, waiting: Waiting): Decision => {
  const { approvalId, millis } = waiting
  // What was to be steered into it waits: it goes in when the run resumes.
  const now: LaneState = {
    ...state,
    phase: { _tag: "Parked", run, approvalId },
    queue: [...steering, ...state.queue]
  }
  return resolved === approvalId
    ? begin(now, again(run), 0)
    : { state: now, commands: [{ _tag: "ArmExpiry", approvalId, millis }] }
}

const resolved = (state: LaneState, approvalId: ApprovalId): Decision => {
  const { phase } = state
  if (phase._tag === "Running") return keep({ ...state, phase: { ...phase, resolved: approvalId } })
  return phase._tag === "Parked" && phase.approvalId === approvalId
    ? begin(state, again(phase.run), 0)
    : keep(state)
}

const withoutFenced = (state: LaneState, runId: RunId): LaneState => {
  const at = state.fenced.indexOf(runId)
  return at < 0 ? state : { ...state, fenced: state.fenced.toSpliced(at, 1) }
}

const isAbandoned = (state: LaneState): boolean =>
  state.phase._tag === "Running" && state.phase.abandoned === true

const runEnded = (state: LaneState, runId: RunId, end: "finished" | "retry"): Decision => {
  if (!isRunning(state, runId)) return keep(withoutFenced(state, runId))
  const { run, ending, failures } = state.phase
  // An attempt that was given up may have ended by its own answer in the same moment: then the log refuses to begin it again.
  if (isAbandoned(state) && ending === undefined) return begin(idle(state), again(run), failures)
  if (end === "finished" || ending !== undefined) {
    const now = idle(state)
    // Asked here too, so that the ids are not made for nothing after each run.
    return settleDown(
      now.loading === "no"
        ? now
        : withGone(
            now,
            run.messages.map((message) => message.id)
          )
    )
  }
  return {
    state: { ...idle(state), phase: { _tag: "Waiting", run, failures: failures + 1 } },
    commands: [{ _tag: "ArmRetry", runId, failures: failures + 1 }]
  }
}

/** The run has not ended within its grace time: the lane goes on, and what the run still does is fenced. */
const graceExpired = (state: LaneState, runId: RunId): Decision => {
  if (!isRunning(state, runId)) return keep(state)
  const { run, ending, failures } = state.phase
  const fenced = { ...idle(state), fenced: [...state.fenced, runId] }
  if (ending !== undefined) return settleDown(fenced)
  return isAbandoned(state) ? begin(fenced, again(run), failures) : keep(state)
}

const interruptRun = (state: LaneState, ending: Ending): Decision => {
  const { phase } = state
  switch (phase._tag) {
    case "Idle":
      return next(state)
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
    case "Parked":
    case "Waiting":
      return before([{ _tag: "Interrupt", run: phase.run, ending }], next(idle(state)))
  }
}

/** All that waits in memory: offered to the run, queued, or gathered. */
const waitingOf = (state: LaneState): ReadonlyArray<MessageRow> => [
  ...(state.phase._tag === "Running" ? state.phase.steering : []),
  ...state.queue,
  ...gathered(state.parts)
]

/** What waits in memory or is being answered. */
export const heldBy = (state: LaneState): ReadonlyArray<MessageRow> => [
  ...waitingOf(state),
  ...(state.phase._tag === "Idle" ? [] : state.phase.run.messages)
]

/** True for a message that waits in memory or is being answered: its end is the lane's to decide. */
export const isHeld = (state: LaneState, id: MessageId): boolean =>
  waitingOf(state).some((row) => row.id === id) ||
  (state.phase._tag !== "Idle" && state.phase.run.messages.some((row) => row.id === id))

/**
 * End what waits, in memory and in the log, up to `toSeq`; the state then holds nothing that waits. What the run under way answers ends
 * with it, whole.
 */
const endWaiting = (
  state: LaneState,
  ending: Ending,
  toSeq: number,
  but: ReadonlyArray<MessageId> = []
): { readonly now: LaneState; readonly commands: ReadonlyArray<LaneCommand> } => {
  const commands: Array<LaneCommand> = []
  const messages = waitingOf(state)
  const { phase } = state
  if (phase._tag === "Running" && phase.steering.length > 0) {
    const messageIds = phase.steering.map((row) => row.id)
    commands.push({ _tag: "Withdraw", runId: phase.run.runId, messageIds })
  }
  if (messages.length > 0) commands.push({ _tag: "Settle", messages, ending })
  if (state.beyond || state.loading !== "no") {
    const taken = phase._tag === "Idle" ? [] : phase.run.messages.map(({ id }) => id)
    commands.push({ _tag: "SettleRest", afterSeq: state.lastSeq, toSeq, but: [...but, ...taken], ending })
  }
  return {
    now: {
      ...state,
      phase: phase._tag === "Running" ? { ...phase, steering: [] } : phase,
      queue: [],
      batches: noBatches,
      // Timers of the parts that are gone must find nothing.
      parts: { ...noParts, generation: state.parts.generation },
      beyond: false,
      quiet: undefined,
      lastSeq: Math.max(state.lastSeq, state.seenSeq)
    },
    commands
  }
}

/** The newest runs; what ran and what waited is interrupted by it. */
const interruptFor = (state: LaneState, rows: ReadonlyArray<MessageRow>): Decision => {
  const newest = rows.at(-1)!
  const ids = rows.map((row) => row.id)
  const ending: Ending = { outcome: "interrupted", by: newest.id }
  // Gathered parts leave later than they came: what has come since waits before them.
  const { now, commands } = endWaiting(state, ending, Math.max(state.seenSeq, newest.seq), ids)
  const queued = { ...now, queue: rows, batches: withBatch(now.batches, rows) }
  return before(commands, interruptRun(queued, ending))
}

/** Waiting messages first, then the run. */
const stop = (state: LaneState, ending: Ending): Decision => {
  // Not what is accepted from now on: reading the log may take its time.
  const { now, commands } = endWaiting(state, ending, state.seenSeq)
  return before(commands, interruptRun(now, ending))
}

const cancel = (state: LaneState, messageId: MessageId, ending: Ending): Decision => {
  const waiting = waitingOf(state).find((message) => message.id === messageId)
  if (waiting !== undefined) {
    return before([{ _tag: "Settle", messages: [waiting], ending }], dropped(state, [messageId]))
  }
  const { phase } = state
  return phase._tag !== "Idle" && phase.run.messages.some((message) => message.id === messageId)
    ? interruptRun(state, ending)
    : keep(state)
}
