/**
 * Who keeps order per key, and at what price: our lanes and the libraries one would otherwise take, set to do the same job.
 *
 * The job: one run at a time per lane, in order of arrival; at most `maxRuns` runs in all lanes together; the run of a lane can be
 * cancelled by the lane's key. A run is given by the caller; what stops it is an AbortSignal, with us the interruption of its fiber.
 * The cap per lane is the caller's counter, the same for all: ours stands in the log.
 *
 * Owns: how each library is used. Does not own: what is measured (`worker`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Stream from "effect/Stream"
import * as fastq from "fastq"
import * as nact from "nact"
import PQueue from "p-queue"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { MessageLog, type MessageRow } from "#src/horizons/MessageLog.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import { Queue, Stall, type QueueSettings } from "#src/lane/QueueSettings.ts"
import type { ActiveRun } from "#src/lane/ActiveRun.ts"
import { RunDriver } from "#src/lane/RunDriver.ts"
import * as Feed from "#src/outbound/Feed.ts"
import { Retention } from "#src/session/RetentionSettings.ts"

/** What one run does: calls `done` once it has ended, unless it is stopped by what it gives. */
export type Work = (row: MessageRow, done: () => void) => () => void

export interface Contender {
  readonly send: (key: SessionKey, row: MessageRow) => void
  /** Stop the lane's run, if it can. */
  readonly cancel: ((key: SessionKey) => void) | undefined
  /** Offer a message to the lane's run, which looks for one in every turn of the event loop, and say when it has it. */
  readonly steer: ((key: SessionKey, row: MessageRow, taken: () => void) => void) | undefined
  readonly close: () => Promise<void>
}

export type Make = (work: Work, maxRuns: number) => Promise<Contender>

/** A run as a promise that an AbortSignal stops. Settles when stopped, so that its lane goes on. */
const asPromise = (work: Work, row: MessageRow, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const stop = work(row, resolve)
    signal?.addEventListener("abort", () => {
      stop()
      resolve()
    })
  })

const settings = (maxRuns: number): QueueSettings => ({
  mode: "followup",
  by_channel: {},
  debounce_ms: 0,
  debounce_ms_by_channel: {},
  cap: 1_000_000,
  drop: "new",
  max_concurrency: maxRuns,
  max_concurrency_subagent: 1,
  max_concurrency_cron: 1,
  lane_buffer: 64
})

const finished = Effect.succeed("finished" as const)

/**
 * The real `Lanes` and `decide`. Not in it: the log (nothing is stored, so nothing is durable, and no journal is kept) and the agent
 * (the run is the caller's).
 * In it: a fiber, a permit and a place in the set of fibers for each run, and all that a lane decides.
 */
const ours: Make = async (work, maxRuns) => {
  let newest: ActiveRun | undefined
  const driver = Layer.succeed(RunDriver, {
    drive: (run) =>
      Effect.callback<"finished" | "retry">((resume) => {
        newest = run
        const stop = work(run.run.messages[0]!, () => resume(finished))
        return Effect.sync(stop)
      }),
    note: () => Effect.void,
    mayCost: () => undefined,
    command: () => Effect.void,
    end: () => Effect.void
  })
  const log = Layer.mock(MessageLog)({ broken: Effect.never, settings: () => Effect.succeed([]) })
  const queue = Layer.succeed(Queue, { get: () => settings(maxRuns), changes: Stream.empty })
  const stall = Layer.succeed(Stall, {
    get: () => ({ long_s: 300, stalled_s: 60, stuck_s: 300 }),
    changes: Stream.empty
  })
  const retention = Layer.succeed(Retention, {
    get: () => ({ deliveries_days: 30, journal_hours: 0 }),
    changes: Stream.empty
  })
  const runtime = ManagedRuntime.make(
    Lanes.layer.pipe(Layer.provide(Layer.mergeAll(driver, log, queue, stall, retention, Feed.layer)))
  )
  const lanes = await runtime.runPromise(Lanes.Lanes)
  return {
    send: (key, row) => lanes.send(key, row, lanes.isFree(key)),
    cancel: (key) => Effect.runSync(lanes.stop(key, "bench")),
    steer: (key, row, taken) => {
      lanes.send(key, row, false)
      const boundary = () => {
        const run = newest
        if (run?.inbox.includes(row) !== true) return void setImmediate(boundary)
        run.inbox = []
        run.onSteered([row.id])
        taken()
      }
      setImmediate(boundary)
    },
    close: () => runtime.dispose()
  }
}

/** A queue per lane, and one for the limit that they share. */
const pQueue: Make = async (work, maxRuns) => {
  const shared = new PQueue({ concurrency: maxRuns })
  const lanes = new Map<string, { readonly queue: PQueue; running: AbortController | undefined }>()
  return {
    send: (key, row) => {
      let lane = lanes.get(key)
      if (lane === undefined) {
        lane = { queue: new PQueue({ concurrency: 1 }), running: undefined }
        lanes.set(key, lane)
      }
      const mine = lane
      void mine.queue.add(() =>
        shared.add(async () => {
          mine.running = new AbortController()
          await asPromise(work, row, mine.running.signal)
          mine.running = undefined
        })
      )
    },
    cancel: (key) => lanes.get(key)?.running?.abort(),
    steer: undefined,
    close: async () => {}
  }
}

/** An actor per lane, which waits for its run; the shared limit, which nact has not, is a list of who waits. */
const nactActors: Make = async (work, maxRuns) => {
  const system = nact.start()
  const lanes = new Map<
    string,
    { readonly actor: nact.Ref<MessageRow>; running: AbortController | undefined }
  >()
  const waiting: Array<() => void> = []
  let free = maxRuns
  const acquire = (): Promise<void> | undefined => {
    if (free > 0) return void free--
    return new Promise((resolve) => waiting.push(resolve))
  }
  const release = () => {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
  const makeLane = () => {
    const run = async (row: MessageRow) => {
      await acquire()
      lane.running = new AbortController()
      await asPromise(work, row, lane.running.signal)
      lane.running = undefined
      release()
    }
    // Names it makes up by itself meet at this many actors.
    const actor = nact.spawnStateless(system, run, `lane-${lanes.size}`)
    const lane: { readonly actor: typeof actor; running: AbortController | undefined } = {
      actor,
      running: undefined
    }
    return lane
  }
  return {
    send: (key, row) => {
      let lane = lanes.get(key)
      if (lane === undefined) lanes.set(key, (lane = makeLane()))
      nact.dispatch(lane.actor, row)
    },
    cancel: (key) => lanes.get(key)?.running?.abort(),
    steer: undefined,
    close: async () => nact.stop(system)
  }
}

/** A queue per lane, and one for the limit that they share. A run that has begun cannot be cancelled: it is given no signal. */
const fastQueue: Make = async (work, maxRuns) => {
  const run = (row: MessageRow) => asPromise(work, row)
  const shared = fastq.promise(run, maxRuns)
  const lanes = new Map<string, fastq.queueAsPromised<MessageRow, void>>()
  return {
    send: (key, row) => {
      let lane = lanes.get(key)
      if (lane === undefined) lanes.set(key, (lane = fastq.promise((one: MessageRow) => shared.push(one), 1)))
      void lane.push(row)
    },
    cancel: undefined,
    steer: undefined,
    close: async () => {}
  }
}

/** Order per lane and nothing else: no limit, no cancelling. What the job costs at least. */
const promiseChain: Make = async (work) => {
  const lanes = new Map<string, Promise<void>>()
  return {
    send: (key, row) => {
      lanes.set(
        key,
        (lanes.get(key) ?? Promise.resolve()).then(() => asPromise(work, row))
      )
    },
    cancel: undefined,
    steer: undefined,
    close: async () => {}
  }
}

export const contenders = {
  opencraw: ours,
  "p-queue": pQueue,
  nact: nactActors,
  fastq: fastQueue,
  "promise chain": promiseChain
} satisfies Readonly<Record<string, Make>>

export type ContenderName = keyof typeof contenders
