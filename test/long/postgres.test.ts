/** What is too long for every change, on a real PostgreSQL. */
import { describe, it } from "@effect/vitest"
import { plansAtScale } from "../layers/horizons/pgPlans.ts"
import { named, withoutPostgres } from "../postgres/server.ts"

describe.skipIf(withoutPostgres)(named("PostgreSQL with very much in it"), () => {
  it.effect("finds the rows of every unit and read by an index, at 100,000 sessions", () =>
    plansAtScale(100_000)
  )
})
