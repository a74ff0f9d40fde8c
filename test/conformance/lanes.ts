/**
 * Rows of `lanes`. A lane that does one thing at a time is a session's lane with us, decided by `decide`; one with a higher cap is a
 * budget class, its permits a semaphore, and each of its jobs a session of its own. A tick is a ms of a clock we turn.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import * as TestClock from "effect/testing/TestClock"
import { isDeepStrictEqual } from "node:util"
import type { RunId } from "#src/domain/Ids.ts"
import { decide, initial, type LaneEvent, type LaneState } from "#src/lane/decide.ts"
import { rowOf } from "../lane/rows.ts"
import type { Row, Verdict } from "./Row.ts"

export const topic = "lanes"

interface Job {
  readonly id: string
  readonly lane: string
  readonly atTick: number
  readonly ticks: number
  readonly fails?: boolean
  readonly fail?: boolean
}
interface Input {
  readonly lanes?: Readonly<Record<string, number>>
  readonly jobs: ReadonlyArray<Job>
}
interface Report {
  readonly maxConcurrentPerLane: Readonly<Record<string, number>>
  readonly startOrderPerLane: Readonly<Record<string, ReadonlyArray<string>>>
  readonly results: Readonly<Record<string, string>>
  readonly totalTicks: number
}

interface Class {
  readonly permits: Semaphore.Semaphore
  /** One for the whole class when it does one thing at a time, otherwise one for each job. */
  readonly sessions: Map<string, LaneState>
  readonly started: Array<string>
  running: number
  most: number
}

const play = ({ lanes = {}, jobs: given }: Input) =>
  Effect.gen(function* () {
    const jobs = given.toSorted((a, b) => a.atTick - b.atTick)
    const names = new Set([...Object.keys(lanes), ...jobs.map(({ lane }) => lane)])
    const classes = new Map<string, Class>()
    for (const name of names) {
      const permits = yield* Semaphore.make(lanes[name] ?? 1)
      classes.set(name, { permits, sessions: new Map(), started: [], running: 0, most: 0 })
    }
    const results: Record<string, string> = {}
    const work = (own: Class, { id, ticks, fails, fail }: Job) =>
      Effect.gen(function* () {
        own.started.push(id)
        own.most = Math.max(own.most, ++own.running)
        yield* Effect.sleep(ticks)
        own.running--
        results[id] = fails === true || fail === true ? "failed" : "ok"
      })
    const post = (own: Class, session: string, event: LaneEvent): Effect.Effect<void> => {
      const { state, commands } = decide(own.sessions.get(session) ?? initial(100), event)
      own.sessions.set(session, state)
      return Effect.forEach(
        commands,
        (command) =>
          command._tag === "Start"
            ? Effect.forkChild(runOf(own, session, command.run.runId, command.run.messages[0]!.seq), {
                startImmediately: true
              }).pipe(Effect.flatMap(Fiber.join))
            : Effect.void,
        { discard: true }
      )
    }
    const runOf = (own: Class, session: string, runId: RunId, seq: number): Effect.Effect<void> =>
      Semaphore.withPermit(own.permits, work(own, jobs[seq - 1]!)).pipe(
        Effect.andThen(Effect.suspend(() => post(own, session, { _tag: "RunEnded", runId, end: "finished" })))
      )
    const arrive = (job: Job, index: number) => {
      const own = classes.get(job.lane)!
      const session = (lanes[job.lane] ?? 1) === 1 ? "" : job.id
      const event: LaneEvent = { _tag: "Arrived", message: rowOf(index + 1), begun: false }
      return Effect.andThen(
        Effect.sleep(job.atTick),
        Effect.suspend(() => post(own, session, event))
      )
    }
    const all = yield* Effect.forkChild(Effect.forEach(jobs, arrive, { concurrency: "unbounded" }), {
      startImmediately: true
    })
    let totalTicks = 0
    const limit = jobs.reduce((sum, { atTick, ticks }) => sum + atTick + ticks, 1)
    while (all.pollUnsafe() === undefined && totalTicks < limit) {
      yield* TestClock.adjust(1)
      totalTicks++
    }
    yield* Fiber.interrupt(all)
    return {
      maxConcurrentPerLane: Object.fromEntries([...classes].map(([name, { most }]) => [name, most])),
      startOrderPerLane: Object.fromEntries([...classes].map(([name, { started }]) => [name, started])),
      results,
      totalTicks
    }
  }).pipe(Effect.provide(TestClock.layer()))

/** The rows allow a tick more or less; a failed job need not have failed in the same words. */
const isSame = (actual: Report, expected: Report): boolean => {
  const outcomes = ({ results }: Report) =>
    Object.fromEntries(Object.entries(results).map(([id, result]) => [id, result === "ok"]))
  return (
    isDeepStrictEqual(actual.maxConcurrentPerLane, expected.maxConcurrentPerLane) &&
    isDeepStrictEqual(actual.startOrderPerLane, expected.startOrderPerLane) &&
    isDeepStrictEqual(outcomes(actual), outcomes(expected)) &&
    Math.abs(actual.totalTicks - expected.totalTicks) <= 1
  )
}

export const run = async ({ input, expected }: Row<Input, Report>): Promise<Verdict> => {
  const actual = await Effect.runPromise(play(input))
  return isSame(actual, expected) ? { ok: true } : { ok: false, actual }
}
