/**
 * The lanes: one actor per session that keeps order and drives its runs.
 *
 * Owns: the interpreter of `decide`, and the promise that each accepted message ends with exactly one outcome.
 * Does not own: what a lane decides (`decide`), how an answer is thought of (`agent`) or sent (`outbound`).
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { ApprovalState, Decision } from "#src/domain/Approval.ts"
import { bucketOf } from "#src/domain/Bucket.ts"
import { type ApprovalId, type MessageId, type RunId, runOf } from "#src/domain/Ids.ts"
import {
  type BudgetClass,
  budgetClassOf,
  placeOf,
  type SessionKey,
  tenantOf
} from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Feed from "#src/outbound/Feed.ts"
import { Placement } from "#src/placement/Placement.ts"
import * as Telemetry from "#src/Telemetry.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import {
  decide,
  type Ending,
  heldBy,
  isFree,
  isHeld,
  isIdle,
  type LaneCommand,
  type LaneEvent,
  type LaneState,
  type Run,
  type Waiting
} from "./decide.ts"
import type { PartsWindow } from "#src/domain/Inbound.ts"
import * as Journal from "./Journal.ts"
import { LaneTable, type Lane } from "./LaneTable.ts"
import { Permits } from "./Permits.ts"
import { eachSession } from "#src/session/eachSession.ts"
import { tellEnd, tellUser } from "./retold.ts"
import { budgetsOf, Queue, Stall } from "./QueueSettings.ts"
import * as Active from "./ActiveRun.ts"
import * as RunDriver from "./RunDriver.ts"
import { pace, type StallClass } from "./stall.ts"

/** Time an interrupted run gets to end before its lane goes on without it. */
const grace = "2 seconds"

/** Open messages of one session that are read after a restart. */
const maxOpen = 10_000

/** How often the runs are looked at for progress. */
const watchEvery = "1 second"

/** The word that a paused session keeps. */
const pausedSetting = "paused"

export interface LaneInfo {
  readonly session: SessionKey
  readonly budget: BudgetClass
  readonly phase: "idle" | "running" | "parked" | "waiting"
  /** It starts nothing until it is resumed. */
  readonly paused: boolean
  /** When the oldest message was accepted that waits in memory or is being answered, ms since the epoch. */
  readonly oldestAt?: number
  /** The run under way, once it has begun. */
  readonly run?: {
    readonly id: RunId
    readonly attempt: number
    readonly beganAt: number
    /** The step under way, from 1. */
    readonly step: number
    /** Tools at work. */
    readonly tools: ReadonlyArray<string>
    readonly stall?: StallClass
  }
  /** Messages waiting in memory. */
  readonly depth: number
  /** Runs that were told to stop and have not. */
  readonly fenced: number
  /** What its model call under way may cost at most, millionths of a US dollar; absent between calls and where no price is known. */
  readonly mayCostMicros?: number
}

export class Lanes extends Context.Service<
  Lanes,
  {
    /** True when a message of this session would start at once: its accept unit may then begin its run. */
    readonly isFree: (key: SessionKey) => boolean
    /**
     * The one door: an accepted message goes to its lane, in this very turn. `begun`: its accept unit has begun its run
     * (`runOf` its id). `window`: how long it waits for its sender's next part, absent for not at all.
     */
    readonly send: (key: SessionKey, message: MessageRow, begun: boolean, window?: PartsWindow) => void
    /** An accepted message that is a command: it is carried out at once, beside whatever its lane does. */
    readonly command: (message: MessageRow) => void
    /** The log has dropped these waiting messages: do not run them. */
    readonly forget: (key: SessionKey, messages: ReadonlyArray<MessageId>) => void
    /** Cancel the waiting messages, then the run. */
    readonly stop: (key: SessionKey, by: string) => Effect.Effect<void, MessageLog.LogError>
    /** End the run under way; what waits goes on. False when there is none. */
    readonly abort: (key: SessionKey, by: string) => Effect.Effect<boolean, MessageLog.LogError>
    /**
     * Start no run any more, of one session (kept over a restart) or of all (until they are resumed or the gateway starts again).
     * What runs goes on, and messages are accepted as always. Idempotent.
     */
    readonly pause: (key: SessionKey | undefined) => Effect.Effect<void, MessageLog.LogError>
    readonly resume: (key: SessionKey | undefined) => Effect.Effect<void, MessageLog.LogError>
    /** The session was made with these settings, which the log has already: a fork of a paused one is paused. */
    readonly adopt: (key: SessionKey, settings: Readonly<Record<string, string>>) => void
    /** True while all lanes are paused. */
    readonly isPaused: () => boolean
    /** Cancel one message: a waiting one leaves the queue, a running one's run is interrupted. False when it has ended. */
    readonly cancel: (
      key: SessionKey,
      message: MessageId,
      by: string
    ) => Effect.Effect<boolean, MessageLog.LogError>
    /**
     * Decide an approval, and let its run go on. The first decision counts. Gives what the approval is now, undefined when there is
     * none of this id.
     */
    readonly resolve: (
      tenant: Tenant,
      approval: ApprovalId,
      decision: Decision,
      by?: string
    ) => Effect.Effect<ApprovalState | undefined, MessageLog.LogError>
    /** Lanes that are not idle, and idle ones that are paused; any other takes no memory. */
    readonly list: Effect.Effect<ReadonlyArray<LaneInfo>>
    /** The run that a session is in, for who looks on from now: its text so far and the tools at work. Undefined without one. */
    readonly current: (key: SessionKey) => Active.Progress | undefined
    /**
     * Find what is open in the log and no lane here knows of: at the start, to be done before anything is accepted, what an earlier
     * process left; later what another node stored. Returns how many sessions. They are taken up by and by, beside what is new; one
     * that is written to, at once.
     */
    readonly recover: Effect.Effect<number, MessageLog.LogError>
    /** Another node may have stored something of this session, or have ended what waits or runs here. Does nothing where its lane is not. */
    readonly look: (key: SessionKey) => Effect.Effect<void, MessageLog.LogError>
    /** The same for every lane at work. */
    readonly lookAtAll: Effect.Effect<void, MessageLog.LogError>
    /** The lanes of these buckets belong to another node from now on: their runs are broken off, and nothing is ended in the log. */
    readonly drop: (buckets: ReadonlySet<number>) => void
    /** Lanes of these buckets may come here: what is open of them counts as not taken up until the next `recover` has ended. */
    readonly expect: (buckets: ReadonlySet<number>) => void
    /** True while a run of the bucket goes on. */
    readonly isBusy: (bucket: number) => boolean
    /** Which sessions are paused is read again. */
    readonly reload: Effect.Effect<void, MessageLog.LogError>
    /** All lanes were paused or resumed on another node. */
    readonly pausedElsewhere: (all: boolean) => void
    /** Start no run any more, wait for the running ones up to `graceMillis`, then leave the rest for the next start. */
    readonly drain: (graceMillis: number) => Effect.Effect<void>
  }
>()("opencraw/lane/Lanes") {}

const classes = ["main", "subagent", "cron"] as const satisfies ReadonlyArray<BudgetClass>

/** What the runs of one class share. Waiting runs are served in the order they came; a lane has one at most. */
interface Budget {
  readonly permits: Permits
  /** For sessions that are taken up after a restart: three quarters, so that who is new finds a permit. */
  readonly recovery: Permits
  size: number
  running: number
}
const recoveringOf = (size: number) => Math.max(1, Math.floor((size * 3) / 4))
const makeBudget = (size: number): Budget => ({
  permits: new Permits(size),
  recovery: new Permits(recoveringOf(size)),
  size,
  running: 0
})

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const driver = yield* RunDriver.RunDriver
  const feed = yield* Feed.Feed
  const queue = yield* Queue
  const stall = yield* Stall
  const journal = yield* Journal.make
  const placement = yield* Placement
  const lanes = new LaneTable(() => queue.get().lane_buffer)
  const fibers = yield* FiberSet.make<unknown>()
  const fork = yield* FiberSet.runtime(fibers)()
  // Runs are held by their lanes.
  const forkRun = Effect.runForkWith(yield* Effect.context<never>())
  const budgets = {
    main: makeBudget(budgetsOf(queue.get()).main),
    subagent: makeBudget(budgetsOf(queue.get()).subagent),
    cron: makeBudget(budgetsOf(queue.get()).cron)
  }
  /** Ends on their way to the log. A lane's next run waits for them: after a crash what had ended must not come back behind it. */
  const endings = new Map<SessionKey, Set<Fiber.Fiber<void>>>()
  /** Sessions that an earlier process left open and no lane has taken up yet; with a value, it is being done. */
  const untaken = new Map<SessionKey, Deferred.Deferred<void> | undefined>()
  /** Buckets that came, of which it is not known yet which sessions are open. */
  const unread = new Set<number>()
  /** What runs of those sessions wait for. */
  const parked = new Map<SessionKey, MessageLog.ApprovalRow>()
  /** Commands that are being carried out. */
  const commanding = new Set<MessageId>()
  const idle = { draining: false, running: 0, allEnded: Deferred.makeUnsafe<void>() }
  const paused = { all: false, keys: yield* pausedSessions(log) }
  let isWatching = false
  const isPaused = (key: SessionKey) => paused.all || paused.keys.has(key)

  yield* queue.changes.pipe(
    Stream.runForEach((settings) =>
      Effect.sync(() => {
        for (const name of classes) {
          const budget = budgets[name]
          budget.size = budgetsOf(settings)[name]
          budget.permits.resize(budget.size)
          budget.recovery.resize(recoveringOf(budget.size))
        }
      })
    ),
    Effect.forkScoped
  )

  /**
   * The whole actor: events of a lane are decided one after the other, in the turn they come. Commands only fork, so an event
   * that a command causes comes later, by `post`; a lane has no fiber of its own, only its run has.
   */
  const post = (key: SessionKey, event: LaneEvent): void => {
    // What was still to come for a lane that another node has now.
    if (!placement.isHere(key)) return
    const lane = lanes.wake(key)
    // One that was at work has decided something.
    if (lane.decided === 0 && isPaused(key)) decideFor(lane, { _tag: "Paused" })
    for (const command of decideFor(lane, event)) perform(lane, command)
    const isOver = isIdle(lane.state)
    const { recovery } = lane
    if (recovery !== undefined && (isOver || lane.state.phase._tag === "Parked")) {
      lane.recovery = undefined
      budgets[lane.budget].recovery.giveBack(recovery)
    }
    if (isOver && isIdle(lane.state)) lanes.rest(lane)
  }

  const decideFor = (lane: Lane, event: LaneEvent): ReadonlyArray<LaneCommand> => {
    const decision = decide(lane.state, event)
    journal.keep(lane, event, decision)
    lane.state = decision.state
    return decision.commands
  }

  const perform = (lane: Lane, command: LaneCommand): void => {
    switch (command._tag) {
      case "Start":
        return start(lane, command.run)
      case "Interrupt":
        return interrupt(lane, command.run, command.ending)
      case "Abandon": {
        const { active } = lane
        if (active === undefined || active.run.runId !== command.runId) return
        active.closed = true
        lane.fiber?.interruptUnsafe()
        return
      }
      case "ArmGrace":
        return later(lane, grace, { _tag: "GraceExpired", runId: command.runId })
      case "ArmRetry":
        return later(lane, Math.min(30_000, 250 * 2 ** (command.failures - 1)), {
          _tag: "RetryDue",
          runId: command.runId
        })
      case "Inject":
        if (lane.active?.run.runId === command.runId) {
          lane.active.inbox = [...lane.active.inbox, ...command.messages]
        }
        return
      case "Withdraw":
        if (lane.active?.run.runId === command.runId) {
          lane.active.inbox = lane.active.inbox.filter((row) => !command.messageIds.includes(row.id))
        }
        return
      case "ArmParts": {
        const { key, generation } = command
        return later(lane, command.millis, { _tag: "PartsDue", key, generation })
      }
      case "ArmQuiet":
        return later(lane, command.millis, { _tag: "QuietOver", generation: command.generation })
      case "Settle":
        for (const run of runsOf(command.messages)) {
          forkEnd(lane.key, driver.end(activate(run), command.ending))
        }
        return
      case "SettleRest":
        forkEnd(lane.key, settleRest(lane.key, command))
        return
      case "Load":
        fork(load(lane.key, command.afterSeq, command.limit))
        return
      case "ArmExpiry":
        fork(Effect.delay(expire(tenantOf(lane.key), command.approvalId), command.millis))
        return
    }
  }

  const activate = (run: Run, onSteered?: Active.ActiveRun["onSteered"]): Active.ActiveRun =>
    Active.activate(run, placement.fenceOf(run.messages[0]!.place.session), onSteered)

  const forkEnd = (key: SessionKey, end: Effect.Effect<void>): void => {
    const fiber = fork(end)
    const others = endings.get(key) ?? new Set()
    endings.set(key, others.add(fiber))
    fiber.addObserver(() => {
      others.delete(fiber)
      if (others.size === 0 && endings.get(key) === others) endings.delete(key)
    })
  }

  const start = (lane: Lane, run: Run): void => {
    // While draining, and once another node has the lane, the run stays open in the log: whoever is next takes it up.
    if (idle.draining || !placement.isHere(lane.key)) return
    const active = activate(run, (messageIds) =>
      post(lane.key, { _tag: "Steered", runId: run.runId, messageIds })
    )
    const budget = budgets[lane.budget]
    lane.active = active
    idle.running++
    watch()
    budget.running++
    const permit = budget.permits.ask()
    const ended = endings.get(lane.key)
    const drive = driver.drive(active)
    const fiber = forkRun(
      ended === undefined && budget.permits.take(permit)
        ? drive
        : Effect.andThen(
            ended === undefined
              ? budget.permits.await(permit)
              : Effect.andThen(Fiber.awaitAll([...ended]), budget.permits.await(permit)),
            Effect.suspend(() => (active.closed ? Effect.succeed("finished" as const) : drive))
          )
    )
    lane.fiber = fiber
    lane.fibers.push(fiber)
    fiber.addObserver((exit) => {
      if (lane.fibers.at(-1) === fiber) lane.fibers.pop()
      else lane.fibers.splice(lane.fibers.indexOf(fiber), 1)
      idle.running--
      budget.running--
      budget.permits.giveBack(permit)
      if (exit._tag === "Failure" && !Cause.hasInterruptsOnly(exit.cause)) {
        fork(Effect.logError("a run died", exit.cause))
      }
      // A defect must not wedge the lane: the run begins again, and its attempts are counted.
      const end = exit._tag === "Success" ? exit.value : active.closed ? "finished" : "retry"
      const isLate = lane.active !== active
      if (!idle.draining) post(lane.key, isLate ? { ...lateEnd, runId: run.runId } : endEvent(run, end))
      else if (idle.running === 0) Deferred.doneUnsafe(idle.allEnded, Effect.void)
    })
  }

  /** Look at the runs while there are any: what makes no progress is told of, and begun again. */
  const watch = (): void => {
    if (isWatching) return
    isWatching = true
    const look = Effect.map(Clock.currentTimeMillis, (now) => {
      for (const lane of lanes.awake()) lookAt(lane, now)
    })
    fork(
      Effect.andThen(Effect.sleep(watchEvery), look).pipe(
        Effect.repeat({ while: () => idle.running > 0 }),
        Effect.ensuring(
          Effect.sync(() => {
            isWatching = false
          })
        )
      )
    )
  }

  const lookAt = ({ key, active }: Lane, now: number): void => {
    if (active === undefined || active.attempt === 0 || active.closed) return
    const before = active.pace?.stall
    active.pace = pace(active.pace, active, now, stall.get())
    const { stall: found } = active.pace
    if (found === undefined || found === before) return
    Telemetry.runSlow(found)
    const { run, attempt } = active
    const silentMillis = now - active.pace.since
    fork(
      Effect.logWarning(slowWords[found]).pipe(
        Effect.annotateLogs({ run: run.runId, session: key, attempt, silentMillis }),
        Effect.andThen(driver.note(active, found, slowWords[found])),
        Effect.map(() => {
          // Its timeline says so before the next attempt begins, and by then it may have got on.
          const isStill = active.pace?.stall === "stuck" && active.pace.events === active.events
          if (isStill && active.attempt === attempt) post(key, { _tag: "Stuck", runId: run.runId })
        })
      )
    )
  }

  const interrupt = (lane: Lane, run: Run, ending: Ending): void => {
    const active = lane.active?.run.runId === run.runId ? lane.active : activate(run)
    active.closed = true
    forkEnd(lane.key, driver.end(active, ending))
    if (lane.active === active) lane.fiber?.interruptUnsafe()
  }

  const later = (lane: Lane, delay: "2 seconds" | number, event: LaneEvent): void => {
    fork(
      Effect.delay(
        Effect.sync(() => post(lane.key, event)),
        delay
      )
    )
  }

  const load = (key: SessionKey, afterSeq: number, limit: number) =>
    log.open({ tenant: tenantOf(key), session: key, afterSeq, limit: limit + 1 }).pipe(
      Effect.retry({ schedule: Schedule.spaced("1 second") }),
      Effect.map((rows) => deliverPage(key, rows, limit)),
      Effect.orDie
    )

  const settleRest = (
    key: SessionKey,
    { afterSeq, toSeq, but, ending }: Extract<LaneCommand, { _tag: "SettleRest" }>
  ): Effect.Effect<void> =>
    Effect.gen(function* () {
      const rows = yield* log
        .open({ tenant: tenantOf(key), session: key, afterSeq, limit: maxOpen })
        .pipe(Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced("1 second") }))
      const isMeant = (row: MessageRow) => row.seq <= toSeq && !but.includes(row.id)
      // What a run of an earlier process has taken ends with it, or it would be left open behind an ended run.
      for (const run of runsOf(rows)) {
        if (run.messages.some(isMeant)) yield* driver.end(activate(run), ending)
      }
    }).pipe(
      Effect.catch((error) => Effect.logError("waiting messages could not be cancelled", error.message))
    )

  const send = (key: SessionKey, message: MessageRow, begun: boolean, window?: PartsWindow) => {
    if (!placement.isHere(key)) return
    if (isUntaken(key)) fork(takeUp(key))
    const event = { _tag: "Arrived", message, begun } as const
    post(key, window === undefined ? event : { ...event, window })
  }

  const command = (message: MessageRow): void => {
    if (!placement.isHere(message.place.session) || commanding.has(message.id)) return
    commanding.add(message.id)
    fork(driver.command(activate(runAlone(message)))).addObserver(() => void commanding.delete(message.id))
  }

  /** Rows read from the log, for their lane. Commands that an earlier process left open are carried out instead. */
  const deliverPage = (
    key: SessionKey,
    rows: ReadonlyArray<MessageRow>,
    limit: number,
    started: ReadonlyArray<MessageRow> = [],
    waits?: Waiting
  ): void => {
    const page = rows.slice(0, limit)
    const messages = page.filter((row) => row.body.command !== true)
    post(key, {
      _tag: "Loaded",
      messages,
      more: rows.length > limit,
      readUpTo: page.at(-1)?.seq ?? 0,
      started,
      newestSeq: rows.at(-1)?.seq ?? 0,
      ...(waits === undefined ? {} : { parked: waits })
    })
  }

  const forget = (key: SessionKey, messageIds: ReadonlyArray<MessageId>) => {
    if (lanes.get(key) !== undefined) post(key, { _tag: "Dropped", messageIds })
  }

  const isKeyFree = (key: SessionKey): boolean => {
    const lane = lanes.get(key)
    const { running, size } = budgets[budgetClassOf(key)]
    // A run that would wait for a permit has not begun, and an attempt is counted when it has.
    return (
      !idle.draining &&
      placement.isHere(key) &&
      running < size &&
      !isPaused(key) &&
      !endings.has(key) &&
      !isUntaken(key) &&
      (lane === undefined || isFree(lane.state))
    )
  }

  /** The lane is on another node, which sees in the log what has ended. Gives how many runs and waiting messages were ended. */
  const endElsewhere = Effect.fnUntraced(function* (
    key: SessionKey,
    by: string,
    isMeant: (run: Run) => boolean
  ) {
    const rows = yield* log.open({ tenant: tenantOf(key), session: key, limit: maxOpen })
    const runs = runsOf(rows.filter((row) => row.body.command !== true)).filter(isMeant)
    // What waits first, or it would begin in between.
    for (const run of [...runs.filter(isWaiting), ...runs.filter((one) => !isWaiting(one))]) {
      yield* driver.end(activate(run), { outcome: "cancelled", by })
    }
    return runs.length
  })

  const stop = Effect.fn("Lanes.stop")(function* (key: SessionKey, by: string) {
    if (!placement.isHere(key)) return void (yield* endElsewhere(key, by, () => true))
    yield* takeUp(key)
    if (lanes.get(key) !== undefined) post(key, { _tag: "Stop", by })
  })

  const abort = Effect.fn("Lanes.abort")(function* (key: SessionKey, by: string) {
    if (!placement.isHere(key)) return (yield* endElsewhere(key, by, (run) => !isWaiting(run))) > 0
    yield* takeUp(key)
    const isRunning = (lanes.get(key)?.state.phase._tag ?? "Idle") !== "Idle"
    if (isRunning) post(key, { _tag: "Abort", by })
    return isRunning
  })

  const keepPaused = (key: SessionKey, value: string | undefined) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) =>
      log.commit({
        _tag: "KeepSetting",
        place: placeOf(key),
        name: pausedSetting,
        value,
        at
      })
    )

  const tellLanes = (key: SessionKey | undefined, event: LaneEvent): void => {
    const awake = Array.from(lanes.awake(), (lane) => lane.key)
    for (const one of key === undefined ? awake : awake.filter((each) => each === key)) {
      if (event._tag === "Paused" || !isPaused(one)) post(one, event)
    }
  }

  const pause = Effect.fn("Lanes.pause")(function* (key: SessionKey | undefined) {
    if (key === undefined) {
      paused.all = true
      placement.tellPaused(true)
    } else if (!paused.keys.has(key)) {
      yield* keepPaused(key, "true")
      paused.keys.add(key)
    }
    tellLanes(key, { _tag: "Paused" })
  })

  const resume = Effect.fn("Lanes.resume")(function* (key: SessionKey | undefined) {
    if (key === undefined) {
      paused.all = false
      placement.tellPaused(false)
    } else if (paused.keys.has(key)) {
      yield* keepPaused(key, undefined)
      paused.keys.delete(key)
    }
    tellLanes(key, { _tag: "Resumed" })
  })

  const adopt = (key: SessionKey, { [pausedSetting]: kept }: Readonly<Record<string, string>>): void => {
    if (kept === undefined) return
    paused.keys.add(key)
    tellLanes(key, { _tag: "Paused" })
  }

  /** The message as the run to be ended. One that a run has taken ends with it: its end may be on its way, and a run ends once. */
  const runWith = (message: MessageRow): Effect.Effect<Run, MessageLog.LogError> =>
    message.runId === undefined
      ? Effect.succeed(runAlone(message))
      : Effect.map(
          log.open({ tenant: message.place.tenant, session: message.place.session, limit: maxOpen }),
          (rows) =>
            runsOf(rows).find((run) => run.messages.some((row) => row.id === message.id)) ?? runAlone(message)
        )

  const cancel = Effect.fn("Lanes.cancel")(function* (key: SessionKey, message: MessageId, by: string) {
    yield* takeUp(key)
    const found = yield* log.message({ tenant: tenantOf(key), id: message })
    if (found === undefined || found.message.outcome !== undefined) return false
    const lane = lanes.get(key)
    if (lane !== undefined && isHeld(lane.state, message))
      post(key, { _tag: "Cancel", messageId: message, by })
    else {
      yield* driver.end(activate(yield* runWith(found.message)), { outcome: "cancelled", by })
      forget(key, [message])
    }
    return true
  })

  const resolve = Effect.fn("Lanes.resolve")(function* (
    tenant: Tenant,
    id: ApprovalId,
    decision: Decision,
    by?: string
  ) {
    const [row] = yield* log.approvals({ tenant, id, limit: 1 })
    if (row === undefined || row.state !== "pending") return row?.state
    const { place } = row
    yield* takeUp(place.session)
    const at = yield* Clock.currentTimeMillis
    const unit = { _tag: "Decide", place, approvalId: id, decision, at } as const
    // What is durable is also told: a caller that goes away must not leave the run waiting.
    return yield* Effect.uninterruptible(
      Effect.map(log.commit(by === undefined ? unit : { ...unit, by }), ({ state, changed }) => {
        if (changed) {
          feed.publish(place.session, Active.approvalEvent({ ...row, state: decision }))
          post(place.session, { _tag: "ApprovalResolved", approvalId: id })
        }
        return state
      })
    )
  })

  const expire = (tenant: Tenant, id: ApprovalId) =>
    resolve(tenant, id, "expired").pipe(
      Effect.retry({ while: (error) => error.isRetryable, schedule: Schedule.spaced("5 seconds") }),
      Effect.catch((error) => Effect.logError("an approval could not expire", error.message))
    )

  const waitingFor = ({ runId, id, createdAt, expiresAt }: MessageLog.ApprovalRow, now: number): Waiting => ({
    runId,
    approvalId: id,
    // A clock that was set back meanwhile does not make anybody wait longer than was promised.
    millis: Math.min(expiresAt - createdAt, Math.max(0, expiresAt - now))
  })

  /** What is open, and what a run of it waits for. Other nodes decide too, so there that is read anew. */
  const openWithApproval = Effect.fnUntraced(function* (key: SessionKey) {
    const rows = yield* log.open({ tenant: tenantOf(key), session: key, limit: maxOpen })
    if (!placement.isShared) return { rows, asked: parked.get(key) }
    if (rows.every((row) => row.runId === undefined)) return { rows, asked: undefined }
    const [asked] = yield* log.approvals({ tenant: tenantOf(key), session: key, limit: 1 })
    return { rows, asked }
  })

  const isUnread = (key: SessionKey): boolean => unread.size > 0 && unread.has(bucketOf(key))

  const isUntaken = (key: SessionKey): boolean =>
    untaken.has(key) || (isUnread(key) && lanes.get(key) === undefined)

  /** A session's open messages come to its lane, before anything that is sent to it from now on. Waits until they are there. */
  const takeUp = (key: SessionKey): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (!isUntaken(key)) return Effect.void
      const present = untaken.get(key)
      if (present !== undefined) return Deferred.await(present)
      const taken = Deferred.makeUnsafe<void>()
      untaken.set(key, taken)
      post(key, { _tag: "TakingUp" })
      // Nobody who waits for it may break it off.
      fork(
        // All of them: a run may have taken messages far behind the first page, and is resumed whole.
        Effect.all([
          Effect.retry(openWithApproval(key), { schedule: Schedule.spaced("1 second") }),
          Clock.currentTimeMillis
        ]).pipe(
          Effect.map(([{ rows, asked }, now]) => {
            for (const row of rows) if (row.body.command === true) command(row)
            const started = rows.filter((row) => row.runId !== undefined && row.body.command !== true)
            const byRun = Map.groupBy(started, (row) => row.runId)
            parked.delete(key)
            const waits = asked === undefined ? undefined : waitingFor(asked, now)
            untaken.delete(key)
            deliverPage(key, rows, queue.get().lane_buffer, [...byRun.values()].flat(), waits)
            Deferred.doneUnsafe(taken, Effect.void)
          }),
          Effect.orDie
        )
      )
      return Deferred.await(taken)
    })

  /** A session in every turn, and never so many that somebody new finds no permit. */
  const takeUpAll = Effect.fnUntraced(function* (keys: ReadonlyArray<SessionKey>, { recovery }: Budget) {
    for (const key of keys) {
      const permit = recovery.ask()
      yield* recovery.await(permit)
      const isMine = untaken.has(key)
      yield* takeUp(key)
      const lane = lanes.get(key)
      if (isMine && lane !== undefined && lane.state.phase._tag !== "Parked") lane.recovery = permit
      else recovery.giveBack(permit)
      yield* Effect.yieldNow
    }
  })

  const recover = Effect.fn("Lanes.recover")(function* () {
    const limit = 500
    // One that is still to come is not read by this walk.
    const expected = [...unread].filter(placement.owns)
    const found: Array<SessionKey> = []
    for (const tenant of yield* log.tenants({ having: "open" })) {
      const approvals = placement.isShared ? [] : yield* log.approvals({ tenant, limit: maxOpen })
      for (const row of approvals) parked.set(row.place.session, row)
      let after: SessionKey | undefined
      while (true) {
        const places = yield* log.openSessions({ tenant, ...(after === undefined ? {} : { after }), limit })
        for (const { session } of places) {
          if (!placement.isHere(session) || untaken.has(session) || lanes.get(session) !== undefined) continue
          untaken.set(session, undefined)
          found.push(session)
        }
        if (places.length < limit) break
        after = places.at(-1)!.session
      }
    }
    for (const [name, keys] of Map.groupBy(found, budgetClassOf)) {
      fork(takeUpAll(keys, budgets[name]))
    }
    for (const bucket of expected) unread.delete(bucket)
    return found.length
  })

  const lookAtAll = Effect.suspend(() =>
    Effect.forEach(
      Array.from(lanes.awake(), ({ key }) => key),
      look,
      { discard: true }
    )
  )

  const look = Effect.fnUntraced(function* (key: SessionKey) {
    if (!placement.isHere(key) || untaken.has(key)) return
    const lane = lanes.get(key)
    if (lane === undefined) {
      const seen = feed.hasListeners(key)
        ? yield* log.open({ tenant: tenantOf(key), session: key, limit: maxOpen })
        : []
      // Written to meanwhile: then it has looked.
      if (lanes.get(key) !== undefined || untaken.has(key)) return
      for (const row of seen) tellUser(feed, row)
      untaken.set(key, undefined)
      return yield* takeUp(key)
    }
    const before = heldBy(lane.state)
    const waits = lane.state.phase._tag === "Parked" ? lane.state.phase.approvalId : undefined
    const rows = yield* log.open({ tenant: tenantOf(key), session: key, limit: maxOpen })
    const [approval] =
      waits === undefined ? [] : yield* log.approvals({ tenant: tenantOf(key), id: waits, limit: 1 })
    if (lanes.get(key) !== lane) return
    for (const row of rows) {
      if (row.body.command === true) {
        if (!commanding.has(row.id)) tellUser(feed, row)
        command(row)
        // What a run has taken is in a lane already, or on its way out of it.
      } else if (row.runId === undefined && !isHeld(lane.state, row.id)) {
        tellUser(feed, row)
        send(key, row, false, row.body.queue?.parts)
      }
    }
    const open = new Set(rows.map((row) => row.id))
    const gone = before.filter((row) => !open.has(row.id) && isHeld(lane.state, row.id)).map((row) => row.id)
    const { active } = lane
    const { phase } = lane.state
    const isOver = phase._tag !== "Idle" && phase.run.messages.every((row) => gone.includes(row.id))
    const toldHere = isOver && active?.ending === true ? phase.run.messages.map((row) => row.id) : []
    if (gone.length > 0) post(key, { _tag: "Dropped", messageIds: gone })
    // Its own end may be on the way, and is no interruption.
    if (isOver && active?.ending !== true) post(key, { _tag: "Abort", by: "another node" })
    if (waits !== undefined && approval !== undefined && approval.state !== "pending") {
      feed.publish(key, Active.approvalEvent(approval))
      post(key, { _tag: "ApprovalResolved", approvalId: waits })
    }
    for (const { id, identity } of before) {
      if (gone.includes(id) && !toldHere.includes(id))
        yield* tellEnd({ log, feed }, key, id, identity.externalId)
    }
  })

  const drop = (buckets: ReadonlySet<number>): void => {
    const isLost = (key: SessionKey) => buckets.has(bucketOf(key))
    for (const key of [...untaken.keys()].filter(isLost)) {
      if (untaken.get(key) === undefined) untaken.delete(key)
    }
    for (const bucket of buckets) unread.delete(bucket)
    for (const lane of Array.from(lanes.awake()).filter(({ key }) => isLost(key))) {
      if (lane.active !== undefined) lane.active.closed = true
      const { fibers: running, recovery } = lane
      if (recovery !== undefined) budgets[lane.budget].recovery.giveBack(recovery)
      lanes.rest(lane)
      for (const fiber of running) fiber.interruptUnsafe()
    }
  }

  const isBusy = (bucket: number): boolean => {
    for (const { key, fibers: running } of lanes.awake()) {
      if (running.length > 0 && bucketOf(key) === bucket) return true
    }
    return false
  }

  const reload = Effect.gen(function* () {
    const keys = yield* pausedSessions(log)
    const changed = new Set([...keys].filter((key) => !paused.keys.has(key)))
    const resumed = [...paused.keys].filter((key) => !keys.has(key))
    paused.keys = keys
    for (const key of changed) tellLanes(key, { _tag: "Paused" })
    for (const key of resumed) tellLanes(key, { _tag: "Resumed" })
  })

  const pausedElsewhere = (all: boolean): void => {
    if (paused.all === all) return
    paused.all = all
    tellLanes(undefined, { _tag: all ? "Paused" : "Resumed" })
  }

  const interruptAll = Effect.suspend(() => {
    // From here on nothing starts any more.
    idle.draining = true
    return Effect.andThen(
      Fiber.interruptAll(Array.from(lanes.awake()).flatMap((lane) => lane.fibers)),
      FiberSet.clear(fibers)
    )
  })
  yield* Effect.addFinalizer(() => interruptAll)

  const drain = Effect.fn("Lanes.drain")(function* (graceMillis: number) {
    idle.draining = true
    const began = yield* Clock.currentTimeMillis
    if (idle.running > 0) {
      yield* Effect.timeoutOption(Deferred.await(idle.allEnded), graceMillis)
      if (idle.running > 0) {
        yield* Effect.logWarning("runs were left for the next start").pipe(
          Effect.annotateLogs({ runs: idle.running, waitedMillis: (yield* Clock.currentTimeMillis) - began })
        )
      }
    }
    for (const lane of lanes.awake()) {
      if (lane.active !== undefined) lane.active.closed = true
    }
    yield* interruptAll
  })

  const restsPaused = (key: SessionKey): LaneInfo => ({
    session: key,
    budget: budgetClassOf(key),
    phase: "idle",
    paused: true,
    depth: 0,
    fenced: 0
  })

  const list = Effect.sync(() => {
    const awake = Array.from(lanes.awake(), ({ key, budget, state, active }): LaneInfo => {
      const mayCostMicros = active === undefined ? undefined : driver.mayCost(active)
      return {
        session: key,
        budget,
        phase: phaseWord[state.phase._tag],
        paused: state.paused,
        ...oldestOf(state),
        ...runInfo(active),
        depth: state.queue.length,
        fenced: state.fenced.length,
        ...(mayCostMicros === undefined ? {} : { mayCostMicros })
      }
    })
    const resting = [...paused.keys].filter((key) => lanes.get(key) === undefined)
    return [...awake, ...resting.map(restsPaused)]
  })

  const current = (key: SessionKey) => {
    const active = lanes.get(key)?.active
    return active === undefined ? undefined : Active.progressOf(active)
  }

  return Lanes.of({
    isFree: isKeyFree,
    send,
    command,
    forget,
    stop,
    abort,
    pause,
    resume,
    adopt,
    isPaused: () => paused.all,
    cancel,
    resolve,
    list,
    current,
    recover: recover(),
    look,
    lookAtAll,
    drop,
    expect: (buckets) => {
      for (const bucket of buckets) unread.add(bucket)
    },
    isBusy,
    reload,
    pausedElsewhere,
    drain
  })
})

/** Sessions that were paused before. */
const pausedSessions = (log: MessageLog.MessageLog["Service"]) =>
  Effect.map(
    eachSession(log.tenants({ having: "settings" }), (page) =>
      log.settings({ name: pausedSetting, ...page })
    ),
    (rows) => new Set(rows.map(({ session }) => session))
  )

const lateEnd = { _tag: "RunEnded", end: "finished", late: true } as const

const slowWords: Readonly<Record<StallClass, string>> = {
  long: "a run goes on for long",
  stalled: "a run makes no progress",
  stuck: "a run is stuck and begun again"
}

const oldestOf = (state: LaneState): Pick<LaneInfo, "oldestAt"> => {
  const times = heldBy(state).map((row) => row.acceptedAt)
  return times.length === 0 ? {} : { oldestAt: Math.min(...times) }
}

const runInfo = (active: Active.ActiveRun | undefined): Pick<LaneInfo, "run"> => {
  if (active === undefined || active.attempt === 0) return {}
  const { run, attempt, beganAt, steps, pending, pace: seen } = active
  return {
    run: {
      id: run.runId,
      attempt,
      beganAt,
      step: steps + 1,
      tools: pending.map((call) => call.name),
      ...(seen?.stall === undefined ? {} : { stall: seen.stall })
    }
  }
}

const endEvent = ({ runId }: Run, end: Active.End): LaneEvent =>
  typeof end === "string"
    ? { _tag: "RunEnded", runId, end }
    : { _tag: "RunParked", runId, approvalId: end.approvalId, millis: end.millis }

/** Messages as runs to be ended: those that a run has taken as that run, since it ends once; the others each alone. */
const runsOf = (messages: ReadonlyArray<MessageRow>): ReadonlyArray<Run> =>
  [...Map.groupBy(messages, (row) => row.runId ?? runOf(row.id))].map(([runId, of]) => ({
    runId,
    messages: of,
    begun: false
  }))

/** A message as a run of its own, to be ended. */
const runAlone = (message: MessageRow): Run => ({
  runId: message.runId ?? runOf(message.id),
  messages: [message],
  begun: false
})

/** No run has taken it yet. */
const isWaiting = ({ messages }: Run): boolean => messages.every((row) => row.runId === undefined)

const phaseWord = { Idle: "idle", Running: "running", Parked: "parked", Waiting: "waiting" } as const

export const layer = Layer.effect(Lanes, make)
