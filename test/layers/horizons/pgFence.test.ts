/** Units under a fence, on a real PostgreSQL: what a node that lost its buckets still tries to store. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checks from "#src/check/Checks.ts"
import { bucketOf, type Fence } from "#src/domain/Bucket.ts"
import { MessageLog, type Place, type Unit } from "#src/horizons/MessageLog.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import {
  acceptOf,
  acme,
  appendOf,
  finishOf,
  parkOf,
  placeAt,
  startOf
} from "../../contracts/MessageLog.contract.ts"
import { fresh } from "../../postgres/fresh.ts"
import { named, withoutPostgres } from "../../postgres/server.ts"

const at = (options: PgLink.Options) =>
  PostgresMessageLog.layerAt(options).pipe(Layer.provideMerge(Checks.layer))

const commit = <U extends Unit>(unit: U) => MessageLog.use((log) => log.commit(unit))
const ends = (units: ReadonlyArray<Unit>) =>
  Effect.forEach(
    units,
    (unit) =>
      Effect.map(Effect.result(commit(unit)), (result) =>
        result._tag === "Failure" ? result.failure.reason._tag : "stored"
      ),
    { concurrency: "unbounded" }
  )
const raise = (options: PgLink.Options, bucket: number) =>
  Effect.scoped(
    Effect.flatMap(PgLink.make(options), (link) =>
      link.query("UPDATE buckets SET epoch = epoch + 1 WHERE bucket = $1", [bucket])
    )
  )

const under = (fence: Fence, at: Place = placeAt("a")): Place => ({ ...at, fence })
const bucket = bucketOf(placeAt("a").session)

describe.skipIf(withoutPostgres)(named("a unit under a fence"), () => {
  it.effect("is stored while its epoch is the bucket's, and no other", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* Effect.gen(function* () {
        const old = under({ bucket, epoch: 0 })
        yield* commit(acceptOf("m1"))
        const { attempt } = yield* commit(startOf("r1", ["m1"], old))
        yield* commit({ ...appendOf("r1", attempt, "e1"), place: old })
        yield* raise(options, bucket)

        const late: ReadonlyArray<Unit> = [
          startOf("r1", ["m1"], old),
          { ...appendOf("r1", attempt, "e2"), place: old },
          parkOf("r1", attempt, "a1", { at: old }),
          {
            _tag: "Block",
            place: old,
            runId: startOf("r1", []).runId,
            attempt,
            source: "x",
            deliveries: [],
            at: 1
          },
          { ...finishOf("r1", { m1: "answered" }, { attempt }), place: old },
          acceptOf("m2", { at: old, start: "r2" })
        ]
        assert.deepStrictEqual(
          yield* Effect.forEach(late, (unit) => Effect.map(ends([unit]), ([end]) => end)),
          late.map(() => "Fenced" as const)
        )
        const log = yield* MessageLog
        const trace = yield* log.message({ tenant: acme, id: acceptOf("m1").messageId })
        assert.deepStrictEqual(
          [trace?.run?.attempt, trace?.entries.length, trace?.message.outcome],
          [1, 1, undefined]
        )
        assert.lengthOf(yield* log.approvals({ tenant: acme, limit: 10 }), 0)
        assert.strictEqual((yield* log.open({ tenant: acme, limit: 10 })).length, 1)

        // The bucket's owner goes on.
        const mine = under({ bucket, epoch: 1 })
        const again = yield* commit(startOf("r1", ["m1"], mine))
        yield* commit({ ...finishOf("r1", { m1: "answered" }, { attempt: again.attempt }), place: mine })
        assert.strictEqual(again.attempt, 2)
      }).pipe(Effect.provide(at(options)))
    })
  )

  it.effect("that is refused takes none of its group with it, whatever bucket or epoch the others name", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* Effect.gen(function* () {
        const [b, c] = [placeAt("b"), placeAt("c")]
        const [ofB, ofC] = [bucketOf(b.session), bucketOf(c.session)]
        yield* raise(options, bucket)
        const results = yield* ends([
          acceptOf("m1"),
          acceptOf("m2", { at: under({ bucket, epoch: 0 }), start: "r2" }),
          acceptOf("m3", { at: under({ bucket: ofB, epoch: 0 }, b), start: "r3" }),
          acceptOf("m4", { at: under({ bucket: ofC, epoch: 7 }, c), start: "r4" }),
          acceptOf("m5", { at: under({ bucket, epoch: 1 }) }),
          acceptOf("m6", { at: c })
        ])

        assert.deepStrictEqual(results, ["stored", "Fenced", "stored", "Fenced", "stored", "stored"])
        const open = yield* MessageLog.use((log) => log.open({ tenant: acme, limit: 10 }))
        assert.deepStrictEqual(open.map(({ id }) => String(id)).toSorted(), ["m1", "m3", "m5", "m6"])
      }).pipe(Effect.provide(at(options)))
    })
  )
})
