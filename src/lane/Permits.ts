/**
 * A budget of runs that can be resized while it is used: who asked first goes first.
 *
 * Owns: how many permits there are and who waits for one. Each step costs the same however many wait: after a restart that is every
 * lane with open messages. Does not own: what a permit is for (`Lanes`).
 */
import * as Effect from "effect/Effect"

/** One asker. To be given back once, whether or not it was ever granted. */
export interface Permit {
  state: "asked" | "waiting" | "granted" | "over"
}

export class Permits {
  #limit: number
  #granted = 0
  #isGranting = false
  // In order of asking; a Set so that one who gives up costs no search.
  readonly #waiting = new Map<Permit, () => void>()

  constructor(limit: number) {
    this.#limit = limit
  }

  ask(): Permit {
    return { state: "asked" }
  }

  /** Grant it at once, if nobody waits and one is left. */
  take(permit: Permit): boolean {
    if (this.#waiting.size > 0 || this.#granted >= this.#limit) return false
    permit.state = "granted"
    this.#granted++
    return true
  }

  /** Wait until it is granted. Interrupted, it gives up its place. */
  await(permit: Permit): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.take(permit)) return resume(Effect.void)
      permit.state = "waiting"
      this.#waiting.set(permit, () => resume(Effect.void))
      return Effect.sync(() => this.#waiting.delete(permit))
    })
  }

  giveBack(permit: Permit): void {
    const { state } = permit
    permit.state = "over"
    if (state === "waiting") this.#waiting.delete(permit)
    if (state !== "granted") return
    this.#granted--
    this.#grant()
  }

  /** More go at once; with fewer, those that go end first. */
  resize(limit: number): void {
    this.#limit = limit
    this.#grant()
  }

  #grant(): void {
    // Whoever is granted one may give it back before it returns: the loop goes on with it, not a call inside the call.
    if (this.#isGranting) return
    this.#isGranting = true
    for (const [permit, go] of this.#waiting) {
      if (this.#granted >= this.#limit) break
      this.#waiting.delete(permit)
      permit.state = "granted"
      this.#granted++
      go()
    }
    this.#isGranting = false
  }
}
