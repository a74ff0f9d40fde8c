/** Databases that cannot be the store, and what a start says of them. The server and the pooler are real. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Checks from "#src/check/Checks.ts"
import { Nodes } from "#src/placement/NodesSettings.ts"
import { PostgresPlace } from "#src/horizons/PostgresSettings.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { judge, mustBeFit } from "#layers/horizons/pgFitness.ts"
import { migrate } from "#layers/horizons/pgSchema.ts"
import * as PostgresNodes from "#layers/horizons/PostgresNodes.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import * as Stream from "effect/Stream"
import { acceptOf } from "../../contracts/MessageLog.contract.ts"
import { fresh } from "../../postgres/fresh.ts"
import * as Pooler from "../../postgres/pooler.ts"
import { named, newSchema, withoutPostgres } from "../../postgres/server.ts"

const changed = (
  options: PgLink.Options,
  change: (url: URL) => void,
  schema = options.schema
): PgLink.Options => {
  const url = new URL(Redacted.value(options.url))
  change(url)
  return { url: Redacted.make(url.href), schema }
}
/** Run as the cluster's owner. */
const asOwner = (options: PgLink.Options, ...statements: ReadonlyArray<string>) =>
  Effect.scoped(
    Effect.flatMap(PgLink.make(options), (link) =>
      Effect.forEach(statements, (sql) => link.query(sql), { discard: true })
    )
  )
const unfit = (options: PgLink.Options) =>
  mustBeFit(options).pipe(Effect.catchTags({ StoreUnreachable: Effect.die }), Effect.flip)
const faultsOf = (options: PgLink.Options) => Effect.map(unfit(options), ({ faults }) => faults)
const pooler = (url: string, mode: "transaction" | "session") =>
  Effect.acquireRelease(
    Effect.promise(() => Pooler.startPooler(url, mode)),
    ({ stop }) => Effect.sync(stop)
  )

describe.skipIf(withoutPostgres)(named("a database that prod starts on"), () => {
  it.effect("is fit when it is empty, and when it was used before", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* mustBeFit(options)
      yield* migrate(options)
      yield* mustBeFit(options)

      // The tests' server does not sync its disk, and says so.
      const { status, message } = yield* judge(options)
      assert.strictEqual(status, "warning")
      assert.include(message, "fsync")
    })
  )

  it.effect("is refused to a gateway that means to be alone while nodes share it", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* migrate(options)
      yield* asOwner(
        options,
        "INSERT INTO nodes (id, seen_at) VALUES ('opencraw one', clock_timestamp()), ('opencraw old', now() - interval '1 hour')"
      )
      yield* mustBeFit(options, false)

      assert.deepStrictEqual(yield* faultsOf(options), [
        "nodes share it (opencraw one): set nodes.enabled = true here too, or stop them"
      ])
    })
  )

  it.effect(
    "is refused when nobody answers, when it does not exist, and when it does not know the user",
    () =>
      Effect.gen(function* () {
        const options = yield* fresh
        const silent = yield* Effect.flip(mustBeFit(changed(options, (url) => (url.port = "1"))))
        const [missing] = yield* faultsOf(changed(options, (url) => (url.pathname = "/nowhere")))
        const [stranger] = yield* faultsOf(changed(options, (url) => (url.username = "stranger")))

        assert.strictEqual(silent._tag, "StoreUnreachable")
        assert.match(silent.message, /127.0.0.1:1.* cannot be reached .*ECONNREFUSED/)
        assert.match(missing ?? "", /does not exist .*"nowhere"/)
        assert.match(stranger ?? "", /refuses the user or the password .*"stranger"/)
      })
  )

  it.effect("tells everything that is wrong in one report, and no password", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      const role = `role_${options.schema}`
      const database = `db_${options.schema}`
      yield* migrate(options)
      yield* asOwner(
        options,
        `CREATE ROLE ${role} LOGIN`,
        `CREATE DATABASE ${database} ENCODING 'SQL_ASCII' TEMPLATE template0`,
        `ALTER DATABASE ${database} SET default_transaction_read_only = on`
      )
      const poor = changed(options, (url) => {
        url.username = role
        url.password = "hush-hush"
        url.pathname = `/${database}`
      })
      const error = yield* unfit(poor)

      assert.strictEqual(error.faults.length, 3)
      assert.match(error.message, /can only be read/)
      assert.match(error.message, /encoding is SQL_ASCII/)
      assert.match(error.message, /there is no schema .* may not create it/)
      assert.notInclude(error.message, "hush-hush")
      assert.include(error.message, database)
    })
  )

  it.effect("is refused to a user who may not use the tables or migrate them", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      const role = `role_${options.schema}`
      yield* migrate(options)
      yield* asOwner(options, `CREATE ROLE ${role} LOGIN`)
      const other = changed(options, (url) => (url.username = role))
      const closed = yield* faultsOf(other)
      yield* asOwner(options, `GRANT USAGE ON SCHEMA ${options.schema} TO ${role}`)
      const tables = yield* faultsOf(other)
      yield* asOwner(
        options,
        `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${options.schema} TO ${role}`
      )
      yield* mustBeFit(other)
      yield* asOwner(options, "DELETE FROM log_migrations WHERE migration_id > 3")
      const old = yield* faultsOf(other)

      assert.match(closed.join(), /may not use the schema/)
      assert.match(tables.join(), /may not read and write .*messages/)
      assert.match(old.join(), /may not migrate it/)
    })
  )

  it.effect("is refused when a newer version has migrated it, and is left as it is", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* migrate(options)
      yield* asOwner(options, "INSERT INTO log_migrations (migration_id, name) VALUES (999, 'later')")
      const faults = yield* faultsOf(options)
      const error = yield* Effect.flip(migrate(options))

      assert.match(faults.join(), /schema 999/)
      assert.strictEqual(error._tag, "SchemaTooNew")
    })
  )

  describe.skipIf(Pooler.withoutPooler)(Pooler.named("behind a pooler"), () => {
    it.effect("in transaction mode is refused by that name", () =>
      Effect.gen(function* () {
        const options = yield* fresh
        const { url } = yield* pooler(Redacted.value(options.url), "transaction")
        const faults = yield* faultsOf({ ...options, url: Redacted.make(url) })

        assert.match(faults.join(), /pooler in transaction mode/)
      })
    )

    it.effect("in session mode works", () =>
      Effect.gen(function* () {
        const options = yield* fresh
        const { url } = yield* pooler(Redacted.value(options.url), "session")
        const place = { url: Redacted.make(url), schema: options.schema }
        const layer = PostgresNodes.layer.pipe(
          Layer.provide(
            Layer.mergeAll(
              Checks.layer,
              Settings.layerFrom({}),
              KeySecrets.layerKeys(undefined),
              Layer.succeed(PostgresPlace, { get: () => place, changes: Stream.succeed(place) }),
              Layer.succeed(Nodes, { get: () => ({ enabled: false }), changes: Stream.empty })
            )
          )
        )
        const taken = yield* Effect.provide(
          MessageLog.use((log) => log.commit(acceptOf("m1"))),
          layer
        )

        assert.strictEqual(taken.seq, 1)
      })
    )
  })

  it.effect("is migrated once when many start at the same time", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      const done = yield* Effect.forEach([1, 2, 3, 4], () => migrate(options), { concurrency: "unbounded" })

      assert.deepStrictEqual(
        done.map((list) => list.length > 0).filter((did) => did),
        [true]
      )
    })
  )

  it.effect("is not made when it is only looked at", () =>
    Effect.gen(function* () {
      const options = { ...(yield* fresh), schema: newSchema() }
      yield* mustBeFit(options)
      const link = yield* PgLink.make(options)
      const { rows } = yield* link.query("SELECT to_regnamespace($1) IS NULL AS absent", [options.schema])

      assert.deepStrictEqual(rows, [{ absent: true }])
    })
  )
})
