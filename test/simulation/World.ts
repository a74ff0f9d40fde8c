/**
 * Time and processes that a seed decides.
 *
 * Owns: the clock, what is due, the tasks of the process that lives, and the timeline. A process is killed by forgetting all it had
 * to do: none of its finalizers runs, and nothing it waited for comes.
 * Does not own: what happens (`Simulation`), nor what must hold (`Ledger`).
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Metric from "effect/Metric"
import type { Scheduler, SchedulerDispatcher } from "effect/Scheduler"
import { Random } from "./Random.ts"

/** A promise of the product that was broken. */
export class Violation extends Error {
  override readonly name = "Violation"
}

interface Due {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** One process, from its start to its end. */
export class Life implements Scheduler {
  readonly executionMode = "async"
  readonly number: number
  readonly #world: World
  readonly clock: Clock.Clock
  alive = true
  ready: Array<() => void> = []
  /** Fibers that have begun and not ended. */
  fibers = 0
  /** Timers that have not come. */
  timers = 0

  constructor(world: World, number: number) {
    this.#world = world
    this.number = number
    const millis = () => Math.floor(world.now + world.skew)
    const nanos = () => BigInt(millis()) * 1_000_000n
    const monotonic = () => BigInt(Math.floor(world.now * 1000)) * 1000n
    this.clock = {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: monotonic,
      monotonicTimeNanos: Effect.sync(monotonic),
      sleep: (duration) => this.#sleep(Duration.toMillis(duration))
    }
  }

  readonly metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => void this.fibers++,
    recordFiberEnd: (_context: unknown, _exit: Exit.Exit<unknown, unknown>) => void this.fibers--
  }

  shouldYield(fiber: Parameters<Scheduler["shouldYield"]>[0]): boolean {
    return fiber.currentOpCount >= 2048
  }

  makeDispatcher(): SchedulerDispatcher {
    return {
      scheduleTask: (task) => {
        if (this.alive) this.ready.push(task)
      },
      flush: () => {}
    }
  }

  /** Do something after `millis` if this process is still there. Gives what takes it back. */
  after(millis: number, run: () => void): () => void {
    let pending = true
    const done = () => {
      if (!pending) return false
      pending = false
      this.timers--
      return true
    }
    this.timers++
    this.#world.after(millis, () => {
      if (done() && this.alive) run()
    })
    return () => void done()
  }

  #sleep(millis: number): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (millis === Number.POSITIVE_INFINITY) return
      const cancel = this.after(Math.max(0, millis), () => resume(Effect.void))
      return Effect.sync(cancel)
    })
  }

  kill(): void {
    this.alive = false
    this.ready = []
  }
}

export class World {
  readonly seed: number
  readonly random: Random
  now = 0
  /** How far the clock on the wall is off; a jump changes it, and no timer. */
  skew = 1_700_000_000_000
  steps = 0
  life: Life | undefined
  /** Work of a store that answers on its own threads: nothing goes on before it has. */
  readonly #outstanding = new Set<Promise<boolean>>()
  readonly lines: Array<readonly [at: number, where: string, what: string]> = []
  violation: Violation | undefined
  #due: Array<Due> = []
  #order = 0

  constructor(seed: number) {
    this.seed = seed
    this.random = new Random(seed)
  }

  note(where: string, what: string): void {
    this.lines.push([this.now, where, what])
  }

  /** The first one counts: what is found wrong afterwards follows from it. */
  broken(where: string, promise: string): void {
    if (this.violation !== undefined) return
    this.note(where, `BROKEN: ${promise}`)
    this.violation = new Violation(`${where}: ${promise}`)
  }

  check(holds: boolean, where: string, promise: () => string): void {
    if (!holds) this.broken(where, promise())
  }

  after(millis: number, run: () => void): void {
    const due = { at: this.now + millis, order: this.#order++, run }
    const heap = this.#due
    let index = heap.length
    heap.push(due)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(due, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = due
  }

  #take(): Due | undefined {
    const heap = this.#due
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    while (true) {
      let child = index * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (isBefore(last, heap[child]!)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return first
  }

  /** Something real that takes its time: the world stands still until it is there. */
  await<A>(real: Promise<A>, then: (value: A) => void): void {
    const awaited: Promise<boolean> = real.then((value) => {
      then(value)
      return this.#outstanding.delete(awaited)
    })
    this.#outstanding.add(awaited)
  }

  /** Let everything happen that is due until `until`, and stop at the first broken promise. */
  async run(until: number): Promise<void> {
    while (this.violation === undefined) {
      while (this.#outstanding.size > 0) await Promise.all(this.#outstanding)
      const life = this.life
      const task = life?.ready.shift()
      if (task !== undefined) {
        this.steps++
        task()
        continue
      }
      const next = this.#due[0]
      if (next === undefined || next.at > until) break
      this.#take()
      this.now = next.at
      this.steps++
      next.run()
      if (this.steps > maxSteps) this.broken("world", `comes to rest (${maxSteps} steps were not enough)`)
    }
    if (this.violation === undefined) this.now = Math.max(this.now, until)
  }
}

const maxSteps = 2_000_000

const isBefore = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
