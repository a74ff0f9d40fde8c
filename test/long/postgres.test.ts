/** What is too long for every change, on a real PostgreSQL. */
import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import { simulate } from "../simulation/Simulation.ts"
import { sharedUrl } from "../postgres/fresh.ts"
import { plansAtScale } from "../layers/horizons/pgPlans.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"

describe.skipIf(withoutPostgres)(named("PostgreSQL with very much in it"), () => {
  it.effect("finds the rows of every unit and read by an index, at 100,000 sessions", () =>
    plansAtScale(100_000)
  )

  it("keeps all promises of the simulation, 50 seeds", async () => {
    const url = Redacted.make(await sharedUrl())
    const broken: Array<string> = []
    for (let seed = 1; seed <= 50; seed++) {
      const verdict = await simulate(seed, { url, schema: newSchema() })
      if (verdict.broken !== undefined) broken.push(`seed ${seed}: ${verdict.broken}`)
    }

    assert.deepStrictEqual(broken, [])
  })
})
