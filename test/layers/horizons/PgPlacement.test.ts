/** Placement on a real PostgreSQL: nodes that come, go, and stand still in the middle of a transaction. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { bucketCount } from "#src/domain/Bucket.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Keeper } from "#src/placement/Placement.ts"
import { migrate } from "#layers/horizons/pgSchema.ts"
import * as PgPlacement from "#layers/horizons/PgPlacement.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import { fenceLockOf } from "#layers/platform/PgWriter.ts"
import { fresh } from "../../postgres/fresh.ts"
import { named, withoutPostgres } from "../../postgres/server.ts"

/** What a node was told to do. */
const recording = () => {
  const told = {
    lost: new Set<number>(),
    moved: [] as Array<string>,
    kept: 0,
    paused: [] as Array<boolean>,
    taken: 0
  }
  const keeper: Keeper = {
    taking: () => {},
    taken: Effect.sync(() => void told.taken++),
    lost: (buckets) => buckets.forEach((bucket) => told.lost.add(bucket)),
    isBusy: () => false,
    moved: (sessions) => void told.moved.push(...sessions),
    kept: Effect.sync(() => void told.kept++),
    paused: (all) => void told.paused.push(all),
    sweep: () => Effect.void
  }
  return { told, keeper }
}
const join = Effect.fnUntraced(function* (options: PgLink.Options, name: string) {
  const placement = yield* PgPlacement.make({ ...options, name: PgPlacement.nodeName(name) })
  const { told, keeper } = recording()
  yield* placement.begin(keeper)
  return { placement, told }
})
const until = (what: string, holds: Effect.Effect<boolean>) =>
  Effect.flatMap(holds, (does) => (does ? Effect.void : Effect.fail(what))).pipe(
    Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 400 }),
    Effect.orDie
  )
const sharesOf = (placement: PgPlacement.PgPlacement) =>
  Effect.map(placement.nodes, (nodes) => nodes.map(({ buckets }) => buckets))

describe.skipIf(withoutPostgres)(named("placement on PostgreSQL"), () => {
  it.live("shares with who comes, tells what happens, and gives everything away when it leaves", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* migrate(options)
      const one = yield* join(options, "one")
      assert.deepStrictEqual(yield* sharesOf(one.placement), [bucketCount])
      const two = yield* join(options, "two")
      yield* until(
        "a share each",
        Effect.map(sharesOf(two.placement), (shares) => shares.join() === "128,128")
      )
      assert.strictEqual(one.told.lost.size, 128)
      const names = Array.from({ length: 500 }, (_, n) => `agent:main:s${n}` as SessionKey)
      for (const name of names) {
        assert.notStrictEqual(one.placement.isHere(name), two.placement.isHere(name))
        assert.strictEqual(one.placement.fenceOf(name) === undefined, !one.placement.isHere(name))
      }

      yield* until(
        "news",
        Effect.sync(() => {
          for (const name of names) one.placement.tellMoved(name)
          one.placement.tellKept()
          one.placement.tellPaused(true)
          return (
            new Set(two.told.moved).size === names.length &&
            two.told.kept > 1 &&
            two.told.paused.includes(true)
          )
        })
      )
      assert.deepStrictEqual(one.told.moved, [])

      yield* one.placement.leave(1000)
      yield* until(
        "all of it",
        Effect.map(sharesOf(two.placement), (shares) => shares.join() === "256")
      )
      assert.isTrue(names.every(two.placement.isHere))
      assert.isFalse(names.some(one.placement.isHere))
    })
  )

  it.live("takes over from a process that stands still within a transaction, whatever it holds", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* migrate(options)
      const frozen = yield* PgLink.make({ ...options, name: PgPlacement.nodeName("frozen") })
      const session = yield* frozen.open
      yield* session.query(
        "INSERT INTO nodes (id, seen_at) SELECT current_setting('application_name'), clock_timestamp() - interval '4 seconds'"
      )
      yield* session.query("UPDATE buckets SET epoch = 7, node = current_setting('application_name')")
      yield* session.query("BEGIN")
      yield* session.query("SELECT pg_advisory_xact_lock_shared($1::bigint)", [
        fenceLockOf(options.schema, 3)
      ])
      const { placement } = yield* join(options, "next")
      yield* until(
        "everything",
        Effect.map(sharesOf(placement), (shares) => shares.join() === "256")
      )

      assert.strictEqual((yield* Effect.flip(session.query("COMMIT"))).kind, "unreachable")
      const other = yield* PgLink.make(options)
      const { rows } = yield* other.query("SELECT DISTINCT epoch FROM buckets")
      assert.deepStrictEqual(
        rows.map(({ epoch }) => epoch),
        [8]
      )
    })
  )
})
