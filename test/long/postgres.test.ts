/** What is too long for every change, on a real PostgreSQL. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Checks from "#src/check/Checks.ts"
import { messageId } from "#src/domain/Ids.ts"
import { type LogError, MessageLog } from "#src/horizons/MessageLog.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import { acceptOf, acme, placeAt } from "../contracts/MessageLog.contract.ts"
import { simulate } from "../simulation/Simulation.ts"
import { sharedUrl } from "../postgres/fresh.ts"
import { plansAtScale } from "../layers/horizons/pgPlans.ts"
import { named, newSchema, startServer, withoutPostgres } from "../postgres/server.ts"

describe.skipIf(withoutPostgres)(named("PostgreSQL with very much in it"), () => {
  it.effect("finds the rows of every unit and read by an index, at 100,000 sessions", () =>
    plansAtScale(100_000)
  )

  it("keeps all promises of the simulation, 50 seeds", async () => {
    const url = Redacted.make(await sharedUrl())
    const broken: Array<string> = []
    for (let seed = 1; seed <= 50; seed++) {
      const verdict = await simulate(seed, { url, schema: newSchema() })
      if (verdict.broken !== undefined)
        broken.push(
          `seed ${seed}: ${verdict.broken}; npm run simulate -- --seed ${seed} --timeline --store postgres`
        )
    }

    assert.deepStrictEqual(broken, [])
  })
})

describe.skipIf(withoutPostgres)(named("a PostgreSQL that stands still"), () => {
  const timed = (asking: Effect.Effect<unknown, LogError>) =>
    Effect.map(Effect.timed(Effect.result(asking)), ([took, result]) => ({
      seconds: Duration.toSeconds(took),
      end: result._tag === "Success" ? "told" : result.failure.reason._tag
    }))

  it.live("gives everybody their answer within 40 seconds, and nothing that was told is lost", () =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(
        Effect.promise(() => startServer()),
        ({ stop }) => Effect.promise(stop)
      )
      const options = { url: Redacted.make(server.url), schema: newSchema() }
      const log = yield* Effect.map(
        Layer.build(PostgresMessageLog.layerAt(options).pipe(Layer.provide(Checks.layer))),
        Context.get(MessageLog)
      )
      const tenant = acme
      const reads = [
        log.open({ tenant, limit: 9 }),
        log.sessions({ tenant, limit: 9 }),
        log.message({ tenant, id: messageId("m1") }),
        log.message({ tenant, id: messageId("m2") })
      ]
      yield* log.commit(acceptOf("m1"))
      yield* Effect.all(reads)
      server.freeze()
      const asked = yield* Effect.all(
        [...reads, log.commit(acceptOf("m2")), log.commit(acceptOf("m3", { at: placeAt("b") }))].map(timed),
        { concurrency: "unbounded" }
      ).pipe(Effect.ensuring(Effect.sync(() => server.thaw())))
      const again = yield* Effect.forEach(["m1", "m2", "m3"], (id) =>
        timed(log.commit(acceptOf(id, id === "m3" ? { at: placeAt("b") } : {})))
      )
      const rows = yield* log.open({ tenant, limit: 9 })

      assert.deepStrictEqual(new Set(asked.map(({ end }) => end)), new Set(["StoreBusy"]))
      for (const { seconds } of asked) assert.isBelow(seconds, 40)
      assert.deepStrictEqual(
        again.map(({ end }) => end),
        ["told", "told", "told"]
      )
      assert.deepStrictEqual(
        rows.map(({ id }) => String(id)),
        ["m1", "m2", "m3"]
      )
    })
  )
})
