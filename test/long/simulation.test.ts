import { assert, describe, it } from "@effect/vitest"
import { simulate } from "../simulation/Simulation.ts"

const run = async (from: number, seeds: number, store: "memory" | "sqlite") => {
  const broken: Array<string> = []
  for (let seed = from; seed < from + seeds; seed++) {
    const verdict = await simulate(seed, store)
    if (verdict.broken !== undefined) {
      broken.push(
        `seed ${seed}: ${verdict.broken}; npm run simulate -- --seed ${seed} --timeline --store ${store}`
      )
    }
  }
  return broken
}

describe("simulation, long", () => {
  for (let from = 1; from <= 10_000; from += 1_000) {
    it(`seeds ${from} to ${from + 999} keep all promises`, async () => {
      assert.deepStrictEqual(await run(from, 1_000, "memory"), [])
    })
  }

  it("1,000 seeds keep all promises on SQLite", async () => {
    assert.deepStrictEqual(await run(1, 1_000, "sqlite"), [])
  })
})
