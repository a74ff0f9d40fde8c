/** Rows of `lanes`: a lane with a cap is a budget class with us, its permits a semaphore. A tick is a ms of a clock we turn. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import * as TestClock from "effect/testing/TestClock"
import { isDeepStrictEqual } from "node:util"
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
  readonly started: Array<string>
  running: number
  most: number
}

const play = ({ lanes = {}, jobs }: Input) =>
  Effect.gen(function* () {
    const names = new Set([...Object.keys(lanes), ...jobs.map(({ lane }) => lane)])
    const classes = new Map<string, Class>()
    for (const name of names) {
      const permits = yield* Semaphore.make(lanes[name] ?? 1)
      classes.set(name, { permits, started: [], running: 0, most: 0 })
    }
    const results: Record<string, string> = {}
    const perform = ({ id, lane, atTick, ticks, fails, fail }: Job) => {
      const own = classes.get(lane)!
      const work = Effect.gen(function* () {
        own.started.push(id)
        own.most = Math.max(own.most, ++own.running)
        yield* Effect.sleep(ticks)
        if (fails === true || fail === true) return yield* Effect.fail("failed")
      }).pipe(Effect.ensuring(Effect.sync(() => own.running--)))
      return Effect.sleep(atTick).pipe(
        Effect.andThen(Semaphore.withPermit(own.permits, work)),
        Effect.match({
          onSuccess: () => void (results[id] = "ok"),
          onFailure: (error) => void (results[id] = error)
        })
      )
    }
    const all = yield* Effect.forkChild(Effect.forEach(jobs, perform, { concurrency: "unbounded" }), {
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
