/**
 * The lanes that are at work, by session.
 *
 * Owns: that an idle lane keeps nothing, and costs next to nothing. A few are kept empty for their next message and go together with
 * the table they stand in: a table from which keys are deleted one by one leaves V8 garbage that only its slow collector finds.
 * Does not own: when a lane is idle (`decide`), nor what it does (`Lanes`).
 */
import type * as Fiber from "effect/Fiber"
import { type BudgetClass, budgetClassOf, type SessionKey } from "#src/domain/SessionKey.ts"
import { initial, type LaneState } from "./decide.ts"
import type { Permit } from "./Permits.ts"
import type { ActiveRun } from "./ActiveRun.ts"

export interface Lane {
  readonly key: SessionKey
  readonly budget: BudgetClass
  state: LaneState
  active: ActiveRun | undefined
  /** Of the newest run. */
  fiber: Fiber.Fiber<unknown> | undefined
  /** Of every run that has not ended, fenced ones too. */
  readonly fibers: Array<Fiber.Fiber<unknown>>
  /** Held until it rests by a lane that was taken up after a restart. */
  recovery: Permit | undefined
  /** How often it has decided since it rested, and the name of that time in its journal; undefined where none is kept. */
  decided: number
  spell: string | undefined
  isResting: boolean
}

/** Most resting lanes that are kept beside as many as are awake. */
const keptResting = 1024

export class LaneTable {
  #lanes = new Map<SessionKey, Lane>()
  #resting = 0
  #initial: LaneState
  readonly #bufferOf: () => number

  constructor(bufferOf: () => number) {
    this.#bufferOf = bufferOf
    this.#initial = initial(bufferOf())
  }

  /** Undefined for a lane that is idle. */
  get(key: SessionKey): Lane | undefined {
    const lane = this.#lanes.get(key)
    return lane?.isResting === true ? undefined : lane
  }

  /** The lane at the beginning of its work, unless it is at work. */
  wake(key: SessionKey): Lane {
    const known = this.#lanes.get(key)
    if (known?.isResting === false) return known
    const buffer = this.#bufferOf()
    if (buffer !== this.#initial.buffer) this.#initial = initial(buffer)
    if (known !== undefined) {
      this.#resting--
      known.isResting = false
      known.state = this.#initial
      known.decided = 0
      return known
    }
    const lane: Lane = {
      key,
      budget: budgetClassOf(key),
      state: this.#initial,
      active: undefined,
      fiber: undefined,
      fibers: [],
      recovery: undefined,
      decided: 0,
      spell: undefined,
      isResting: false
    }
    this.#lanes.set(key, lane)
    return lane
  }

  /** It is idle: everything about it is forgotten. */
  rest(lane: Lane): void {
    if (lane.isResting) return
    lane.isResting = true
    lane.state = this.#initial
    lane.active = undefined
    lane.fiber = undefined
    lane.recovery = undefined
    this.#resting++
    if (this.#resting > keptResting + (this.#lanes.size - this.#resting)) {
      this.#lanes = new Map(Array.from(this.awake(), (one) => [one.key, one] as const))
      this.#resting = 0
    }
  }

  /** Lanes in memory, resting ones too. */
  get size(): number {
    return this.#lanes.size
  }

  /** Those at work. */
  *awake(): Generator<Lane> {
    for (const lane of this.#lanes.values()) if (!lane.isResting) yield lane
  }
}
