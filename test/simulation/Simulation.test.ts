import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"
import { type Verdict, simulate } from "./Simulation.ts"

/** How to see what a seed that broke a promise did. */
const tell = ({ seed, broken }: Verdict, store: string) =>
  `seed ${seed}: ${broken}\nnpm run simulate -- --seed ${seed} --timeline${store === "memory" ? "" : ` --store ${store}`}`

const failures = async (from: number, seeds: number, store: "memory" | "sqlite") => {
  const found: Array<string> = []
  for (let seed = from; seed < from + seeds; seed++) {
    const verdict = await simulate(seed, store)
    if (verdict.broken !== undefined) found.push(tell(verdict, store))
  }
  return found
}

describe("simulation", () => {
  // In parts, so that a failure is told early and one slow part ends by itself.
  for (const from of [1, 101, 201, 301, 401]) {
    it(
      `seeds ${from} to ${from + 99}: all promises hold over faults, crashes and lost power`,
      { timeout: 60_000 },
      async () => {
        assert.deepStrictEqual(await failures(from, 100, "memory"), [])
      }
    )
  }

  it("the log on SQLite keeps the same promises", { timeout: 60_000 }, async () => {
    assert.deepStrictEqual(await failures(1, 40, "sqlite"), [])
  })

  it.skipIf(withoutPostgres)(
    named("the log on PostgreSQL keeps the same promises"),
    { timeout: 60_000 },
    async () => {
      const url = Redacted.make(await sharedUrl())
      const told: Array<string> = []
      for (const seed of [10, 16, 26, 28]) {
        const verdict = await simulate(seed, { url, schema: newSchema() })
        if (verdict.broken !== undefined) told.push(tell(verdict, "postgres"))
      }
      assert.deepStrictEqual(told, [])
    }
  )

  it("a seed tells the same story each time", { timeout: 60_000 }, async () => {
    for (const store of ["memory", "sqlite"] as const) {
      for (const seed of [3, 34, 118, 145]) {
        const first = await simulate(seed, store)
        const again = await simulate(seed, store)
        assert.isAbove(first.timeline().length, 10)
        assert.deepStrictEqual(again.timeline(), first.timeline())
      }
    }
  })
})
