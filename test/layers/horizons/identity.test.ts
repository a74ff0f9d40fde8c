/** Keys, credentials and the audit log on every store, and what is particular to each. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Checks from "#src/check/Checks.ts"
import { local } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import { CentralDb } from "#src/horizons/CentralDb.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"
import * as MemoryAuditLog from "#layers/horizons/MemoryAuditLog.ts"
import * as MemoryCentralDb from "#layers/horizons/MemoryCentralDb.ts"
import * as PostgresStores from "#layers/horizons/PostgresStores.ts"
import * as SqlAuditLog from "#layers/horizons/SqlAuditLog.ts"
import * as SqlCentralDb from "#layers/horizons/SqlCentralDb.ts"
import * as SqliteStore from "#layers/horizons/SqliteStore.ts"
import * as SqliteStores from "#layers/horizons/SqliteStores.ts"
import { ofPostgres } from "#layers/horizons/pgSchema.ts"
import { missing } from "#layers/horizons/sqlSchema.ts"
import { SqlStore } from "#layers/horizons/SqlStore.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import { Sqlite } from "#layers/platform/SqliteClient.ts"
import type { Body } from "#layers/platform/statements.ts"
import { acme, auditLogContract, eventOf } from "../../contracts/AuditLog.contract.ts"
import { centralDbContract, keyOf, tenantsThere } from "../../contracts/CentralDb.contract.ts"
import { fresh } from "../../postgres/fresh.ts"
import { named, withoutPostgres } from "../../postgres/server.ts"

const inMemory = MemoryCentralDb.layer.pipe(Layer.provideMerge(MemoryAuditLog.layer))
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-identity-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)
const inFile = (filename: string, sync?: (fd: number, done: (error: unknown) => void) => void) =>
  SqliteStores.layerFile(sync === undefined ? { filename } : { filename, sync }).pipe(
    Layer.provideMerge(Checks.layer)
  )
const onSqlite = Layer.unwrap(Effect.map(folder, (path) => inFile(join(path, "log.db"))))
const inSchema = (options: PgLink.Options) =>
  PostgresStores.layerAt(options).pipe(Layer.provideMerge(Checks.layer))
const onPostgres = Layer.unwrap(Effect.map(fresh, inSchema))

centralDbContract("in memory", inMemory)
auditLogContract("in memory", inMemory)
/** Every statement that the contracts make SQLite run. */
const ofTheContracts = new Set<string>()
const recording = Layer.effect(
  SqlStore,
  Effect.map(SqlStore, ({ unit, read }) => {
    const told = function* <A>(body: Body<A>): Body<A> {
      let next = body.next()
      while (next.done !== true) {
        ofTheContracts.add(next.value.sql)
        next = body.next(yield next.value)
      }
      return next.value
    }
    return SqlStore.of({
      unit: (name, body) => unit(name, () => told(body())),
      read: (body) => read(() => told(body()))
    })
  })
)
// Layers of its own: those of the store are made already, over what does not tell.
const recorded = Layer.merge(
  Layer.effect(CentralDb, SqlCentralDb.make),
  Layer.effect(AuditLog, SqlAuditLog.make)
).pipe(Layer.provide(recording), Layer.provide(SqliteStore.layer), Layer.provide(onSqlite))
centralDbContract("on SQLite", recorded)
auditLogContract("on SQLite", recorded)

const create = (id: string, name = id) =>
  Effect.andThen(
    tenantsThere,
    CentralDb.use((db) => db.createKey(keyOf(id, { name }), eventOf(`made-${id}`)))
  )
const told = AuditLog.use((log) => log.list({ tenant: acme, limit: 100 })).pipe(
  Effect.map((rows) => rows.map(({ id }) => id))
)

const beforeTenants = missing(0).slice(
  0,
  missing(0).findIndex(({ name }) => name === "tenants")
)
const oldKeys = [
  ["local", "default", "key_1", "ann", '["chat"]'],
  ["local", "default", "key_2", "ann", '["chat","admin"]'],
  ["local", "default", "key_3", "dash", '["read"]'],
  ["acme", "shop", "key_4", "ann", '["read","chat"]']
].map(
  ([org, project, id, user, scopes]) =>
    `INSERT INTO api_keys (org, project, id, name, acts_as, scopes, digest, created_at)
      VALUES ('${org}', '${project}', '${id}', '${id}', '${user}', '${scopes}', 'd', 5)`
)
const usersOfOldKeys = Effect.gen(function* () {
  const db = yield* CentralDb
  const projects = yield* db.projects({ limit: 10 })
  const roles = (org: string) =>
    Effect.map(db.users({ org, limit: 10 }), (rows) => rows.map(({ id, role }) => `${id} ${role}`))

  assert.deepStrictEqual(
    projects.map(({ tenant }) => tenant),
    [acme, local]
  )
  assert.deepStrictEqual(
    (yield* db.orgs({ limit: 10 })).map(({ org }) => org),
    ["acme", "local"]
  )
  assert.deepStrictEqual(
    [yield* roles("local"), yield* roles("acme")],
    [["ann admin", "dash viewer"], ["ann member"]]
  )
  assert.isUndefined((yield* db.findKey("key_4"))?.userDisabledAt)
})

describe("keys and the audit log on SQLite", () => {
  it.effect("answer every statement by an index", () =>
    Effect.gen(function* () {
      const sqlite = yield* Sqlite
      assert.isAbove(ofTheContracts.size, 15)
      for (const sql of ofTheContracts) {
        const plan = yield* sqlite.read((db) => db.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`))
        const steps = plan.map(({ detail }) => detail).join("; ")
        assert.notMatch(steps, /SCAN|TEMP B-TREE/, `${sql}: ${steps}`)
      }
    }).pipe(Effect.provide(onSqlite))
  )

  it.effect("a file of the schema before them takes them after a start, its log untouched", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      const raw = new DatabaseSync(file)
      raw.exec(
        "CREATE TABLE log_migrations (migration_id INTEGER PRIMARY KEY NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, name VARCHAR(255) NOT NULL)"
      )
      const all = missing(0)
      const before = all.slice(
        0,
        all.findIndex(({ name }) => name === "identity")
      )
      for (const { id, name, statements } of before) {
        for (const statement of statements) raw.exec(statement)
        raw.prepare("INSERT INTO log_migrations (migration_id, name) VALUES (?, ?)").run(id, name)
      }
      raw.exec(
        "INSERT INTO sessions (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at) VALUES ('acme', 'shop', 'main', 'agent:main:a', 0, 1, 0, 0, 5, 5)"
      )
      raw.close()

      yield* Effect.gen(function* () {
        yield* create("key_1")
        assert.deepStrictEqual(yield* told, ["made-key_1"])
        const sessions = yield* MessageLog.use((log) => log.sessions({ tenant: acme, limit: 10 }))
        assert.lengthOf(sessions, 1)
      }).pipe(Effect.provide(inFile(file)))
    })
  )

  it.effect("what had keys before there were users has projects and users for them", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      const raw = new DatabaseSync(file)
      raw.exec(
        "CREATE TABLE log_migrations (migration_id INTEGER PRIMARY KEY NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, name VARCHAR(255) NOT NULL)"
      )
      for (const { id, name, statements } of beforeTenants) {
        for (const statement of statements) raw.exec(statement)
        raw.prepare("INSERT INTO log_migrations (migration_id, name) VALUES (?, ?)").run(id, name)
      }
      for (const statement of oldKeys) raw.exec(statement)
      raw.close()

      yield* Effect.provide(usersOfOldKeys, inFile(file))
    })
  )

  it.effect("are there after a restart", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      yield* Effect.provide(create("key_1"), inFile(file))

      const found = yield* Effect.provide(
        CentralDb.use((db) => db.findKey("key_1")),
        inFile(file)
      )
      assert.strictEqual(found?.digest, "digest-of-key_1")
      assert.deepStrictEqual(yield* Effect.provide(told, inFile(file)), ["made-key_1"])
    })
  )

  it.effect("a disk that is full refuses them, with neither the change nor its event", () =>
    Effect.gen(function* () {
      yield* create("key_1")
      yield* Sqlite.use((sqlite) =>
        sqlite.unit((db) => {
          const { page_count: pages = 0 } = db.get<{ page_count: number }>("PRAGMA page_count") ?? {}
          db.all(`PRAGMA max_page_count = ${pages}`)
          return Result.succeed(pages)
        })
      )
      const error = yield* Effect.flip(create("key_2", "n".repeat(100_000)))
      const log = yield* AuditLog
      const refused = yield* Effect.flip(log.append([eventOf("big", { detail: { n: "n".repeat(100_000) } })]))

      assert.deepStrictEqual([error.reason._tag, refused.reason._tag], ["StoreFull", "StoreFull"])
      assert.deepStrictEqual(yield* told, ["made-key_1"])
    }).pipe(Effect.provide(onSqlite))
  )

  it.effect("a disk that fails breaks them, as the log", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      let fails = false
      const layer = inFile(file, (_, done) => setImmediate(() => done(fails ? new Error("EIO") : null)))
      yield* Effect.gen(function* () {
        yield* create("key_1")
        fails = true
        const first = yield* Effect.flip(create("key_2"))
        const second = yield* Effect.flip(AuditLog.use((log) => log.append([eventOf("x")])))

        assert.deepStrictEqual([first.reason._tag, second.reason._tag], ["StoreBroken", "StoreBroken"])
      }).pipe(Effect.provide(layer))
    })
  )
})

describe.skipIf(withoutPostgres)(named("keys and the audit log"), () => {
  centralDbContract("on PostgreSQL", onPostgres)
  auditLogContract("on PostgreSQL", onPostgres)

  it.effect("what had keys before there were users has projects and users for them", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* Effect.scoped(
        Effect.gen(function* () {
          const link = yield* PgLink.make(options)
          yield* link.query(`CREATE SCHEMA ${options.schema}`)
          yield* link.query(
            "CREATE TABLE log_migrations (migration_id BIGINT PRIMARY KEY, name TEXT NOT NULL)"
          )
          for (const { id, name, statements } of beforeTenants) {
            for (const statement of statements) yield* link.query(ofPostgres(statement))
            yield* link.query("INSERT INTO log_migrations VALUES ($1, $2)", [id, name])
          }
          for (const statement of oldKeys) yield* link.query(statement)
        })
      )

      yield* Effect.provide(usersOfOldKeys, Layer.fresh(inSchema(options)))
    })
  )

  it.effect("of two gateways that make a key of one name or revoke one key at once, one does", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      const open = Effect.map(Layer.build(Layer.fresh(inSchema(options))), Context.get(CentralDb))
      const gateways = yield* Effect.all([open, open])
      yield* Effect.provideService(tenantsThere, CentralDb, gateways[0])
      const ends = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => ({ db: gateways[n % 2]!, id: `key_${n}` })),
        ({ db, id }) => Effect.result(db.createKey(keyOf(id, { name: "ci" }), eventOf(`made-${id}`))),
        { concurrency: "unbounded" }
      )
      const [row] = yield* gateways[0].keys({ tenant: acme, limit: 10 })
      const revoked = yield* Effect.forEach(
        [...gateways, ...gateways],
        (db, n) => Effect.result(db.revokeKey({ tenant: acme, id: row!.id, at: n }, eventOf(`r${n}`))),
        { concurrency: "unbounded" }
      )

      assert.lengthOf(
        ends.filter(({ _tag }) => _tag === "Success"),
        1
      )
      assert.lengthOf(
        revoked.filter(({ _tag }) => _tag === "Success"),
        1
      )
      const { rows } = yield* Effect.flatMap(PgLink.make(options), (link) =>
        link.query("SELECT count(*) AS n FROM audit WHERE org = 'acme'")
      )
      assert.strictEqual(Number(rows[0]?.["n"]), 2)
    })
  )
})
