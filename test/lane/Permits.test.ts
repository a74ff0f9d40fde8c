import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { type Permit, Permits } from "#src/lane/Permits.ts"

/** Asks for a permit in a fiber of its own, and notes when it is granted. */
const asker = (permits: Permits, name: string, granted: Array<string>) =>
  Effect.gen(function* () {
    const permit = permits.ask()
    const fiber = yield* Effect.forkChild(
      Effect.map(permits.await(permit), () => void granted.push(name)),
      { startImmediately: true }
    )
    return { permit, fiber }
  })

describe("Permits", () => {
  it.effect("grants as many as there are, then in the order of asking", () =>
    Effect.gen(function* () {
      const permits = new Permits(2)
      const granted: Array<string> = []
      const asked: Array<{ readonly permit: Permit }> = []
      for (const name of ["a", "b", "c", "d"]) asked.push(yield* asker(permits, name, granted))

      assert.deepStrictEqual(granted, ["a", "b"])
      permits.giveBack(asked[1]!.permit)
      assert.deepStrictEqual(granted, ["a", "b", "c"])
      permits.giveBack(asked[1]!.permit)
      assert.deepStrictEqual(granted, ["a", "b", "c"])
      permits.giveBack(asked[0]!.permit)
      assert.deepStrictEqual(granted, ["a", "b", "c", "d"])
    })
  )

  it.effect("lets nobody overtake who waits", () =>
    Effect.gen(function* () {
      const permits = new Permits(1)
      const granted: Array<string> = []
      permits.take(permits.ask())
      yield* Effect.forkChild(
        Effect.map(permits.await(permits.ask()), () => {
          granted.push(permits.take(permits.ask()) ? "a, and one that came later" : "a")
        }),
        { startImmediately: true }
      )
      yield* asker(permits, "b", granted)

      permits.resize(3)
      assert.deepStrictEqual(granted, ["a", "b"])
    })
  )

  it.effect("forgets who is interrupted while waiting", () =>
    Effect.gen(function* () {
      const permits = new Permits(1)
      const granted: Array<string> = []
      const first = permits.ask()
      permits.take(first)
      const gone = yield* asker(permits, "gone", granted)
      yield* asker(permits, "stays", granted)

      yield* Fiber.interrupt(gone.fiber)
      permits.giveBack(gone.permit)
      permits.giveBack(first)
      assert.deepStrictEqual(granted, ["stays"])
    })
  )

  it.effect("grants no more than a smaller limit allows until enough came back", () =>
    Effect.gen(function* () {
      const permits = new Permits(3)
      const granted: Array<string> = []
      const asked: Array<{ readonly permit: Permit }> = []
      for (const name of ["a", "b", "c", "d"]) asked.push(yield* asker(permits, name, granted))

      permits.resize(1)
      permits.giveBack(asked[0]!.permit)
      permits.giveBack(asked[1]!.permit)
      assert.deepStrictEqual(granted, ["a", "b", "c"])
      permits.giveBack(asked[2]!.permit)
      assert.deepStrictEqual(granted, ["a", "b", "c", "d"])
    })
  )

  it.effect("serves a long line of runs that end at once without a call inside a call", () =>
    Effect.gen(function* () {
      const permits = new Permits(1)
      const first = permits.ask()
      permits.take(first)
      let served = 0
      for (let count = 0; count < 20_000; count++) {
        const permit = permits.ask()
        yield* Effect.forkChild(
          Effect.map(permits.await(permit), () => {
            served++
            permits.giveBack(permit)
          }),
          { startImmediately: true }
        )
      }

      permits.giveBack(first)
      assert.strictEqual(served, 20_000)
    })
  )
})
