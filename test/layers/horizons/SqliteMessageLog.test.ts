import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Checks from "#src/check/Checks.ts"
import { LogError, MessageLog, type Unit } from "#src/horizons/MessageLog.ts"
import { deliveryId, messageId, runId } from "#src/domain/Ids.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import * as SqliteStores from "#layers/horizons/SqliteStores.ts"
import { known, missing } from "#layers/horizons/sqlSchema.ts"
import * as DataDir from "#layers/platform/DataDir.ts"
import { type Db, Sqlite } from "#layers/platform/SqliteClient.ts"
import type { Sync } from "#layers/platform/SqliteWriter.ts"
import {
  acceptOf,
  acme,
  appendOf,
  finishOf,
  parkOf,
  messageLogContract,
  placeAt,
  route,
  startOf
} from "../../contracts/MessageLog.contract.ts"
import { messageLogMembers } from "../../contracts/MessageLog.members.ts"

/** A folder that lives as long as the scope. */
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-log-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)
const over = (filename: string, sync?: Sync) =>
  SqliteMessageLog.layerFile(sync === undefined ? { filename } : { filename, sync }).pipe(
    Layer.provideMerge(Checks.layer)
  )
const inFolder = Layer.unwrap(Effect.map(folder, (path) => over(join(path, "log.db"))))

/** The same database, telling of each statement. */
const recording = (sqlite: Sqlite["Service"], tell: (sql: string) => void): Sqlite["Service"] => {
  const told = (db: Db): Db => ({
    all: (sql, params) => (tell(sql), db.all(sql, params)),
    get: (sql, params) => (tell(sql), db.get(sql, params)),
    run: (sql, params) => (tell(sql), db.run(sql, params))
  })
  return {
    ...sqlite,
    unit: (body) => sqlite.unit((db) => body(told(db))),
    read: (body) => sqlite.read((db) => body(told(db)))
  }
}

/** Every statement that the contract made the adapter run. */
const ofTheContract = new Set<string>()
const recorded = Layer.effect(
  MessageLog,
  Effect.updateService(SqliteMessageLog.make, Sqlite, (sqlite) =>
    recording(sqlite, (sql) => ofTheContract.add(sql))
  )
).pipe(Layer.provideMerge(inFolder))
messageLogContract("SqliteMessageLog", recorded)
messageLogMembers("SqliteMessageLog", recorded)

const commit = <U extends Unit>(unit: U) => MessageLog.use((log) => log.commit(unit))
const outcomeOf = (unit: Unit) =>
  Effect.map(Effect.result(commit(unit)), (result) =>
    result._tag === "Failure" ? result.failure.reason._tag : "stored"
  )
const stored = MessageLog.use((log) => log.open({ tenant: acme, limit: 1000 })).pipe(
  Effect.map((rows) => rows.map(({ id }) => String(id)))
)
const filled = (count: number, size: number) =>
  Array.from({ length: count }, (_, n) =>
    acceptOf(`big${n}`, { text: "x".repeat(size), at: placeAt(`s${n}`) })
  )
/** As a disk that is full: the file may not grow beyond what it has. */
const limitPages = (more: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [size] = yield* sql.unsafe<{ page_count: number }>("PRAGMA page_count")
    yield* sql.unsafe(`PRAGMA max_page_count = ${(size?.page_count ?? 0) + more}`)
  })
const unlimited = SqlClient.SqlClient.use((sql) => sql.unsafe("PRAGMA max_page_count = 1073741823"))

describe("SqliteMessageLog", () => {
  it.effect("keeps everything when it is closed and opened again", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      const unit = finishOf("r1", { m1: "answered" }, { attempt: 1, deliveries: ["d1"] })
      const read = Effect.gen(function* () {
        const log = yield* MessageLog
        return {
          trace: yield* log.message({ tenant: acme, id: messageId("m1") }),
          history: yield* log.history({ tenant: acme, session: placeAt("a").session, limit: 10 }),
          open: yield* log.open({ tenant: acme, limit: 10 }),
          waiting: yield* log.undelivered({ tenant: acme, limit: 10 })
        }
      })
      const before = yield* Effect.gen(function* () {
        for (const one of [acceptOf("m1"), startOf("r1", ["m1"]), unit, acceptOf("m2")]) yield* commit(one)
        return yield* read
      }).pipe(Effect.provide(over(file)))
      const after = yield* Effect.provide(read, over(file))

      assert.deepStrictEqual(after, before)
      assert.strictEqual(after.open.length, 1)
    })
  )

  it.effect("closing makes durable what was still under way", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      yield* Effect.forkChild(commit(acceptOf("m1")), { startImmediately: true }).pipe(
        Effect.provide(over(file))
      )

      assert.deepStrictEqual(yield* Effect.provide(stored, over(file)), ["m1"])
    })
  )

  it.effect("its file is private to its owner", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      yield* Effect.provide(commit(acceptOf("m1")), over(file))

      assert.strictEqual(statSync(file).mode & 0o777, 0o600)
    })
  )

  it.effect("a file that a newer version wrote is refused, untouched", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      yield* Effect.provide(commit(acceptOf("m1")), over(file))
      const raw = new DatabaseSync(file)
      raw.exec("INSERT INTO log_migrations (migration_id, name) VALUES (999, 'later')")
      raw.close()
      const error = yield* Effect.flip(Effect.provide(stored, over(file)))

      assert.strictEqual(error._tag, "SchemaTooNew")
      assert.include(error.message, "999")
    })
  )

  it.effect.each(Array.from({ length: known }, (_, version) => version))(
    "a file of schema %i, with data, is brought to this version",
    (version) =>
      Effect.gen(function* () {
        const file = join(yield* folder, "log.db")
        const raw = new DatabaseSync(file)
        if (version > 0)
          raw.exec(
            "CREATE TABLE log_migrations (migration_id INTEGER PRIMARY KEY NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, name VARCHAR(255) NOT NULL)"
          )
        for (const { id, name, statements } of missing(0).filter((step) => step.id <= version)) {
          for (const statement of statements) raw.exec(statement)
          raw.prepare("INSERT INTO log_migrations (migration_id, name) VALUES (?, ?)").run(id, name)
        }
        if (version > 0) {
          const { session } = placeAt("a")
          raw
            .prepare(
              `INSERT INTO sessions (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at)
               VALUES ('acme', 'shop', 'main', ?, 0, 1, 0, 1, 5, 5)`
            )
            .run(session)
          raw
            .prepare(
              `INSERT INTO messages (org, project, agent, session, id, seq, channel, account, conversation, thread, external_id,
                 revision, sender, access, ephemeral, body, body_hash, accepted_at)
               VALUES ('acme', 'shop', 'main', ?, 'old', 1, 'web', 'main', 'room', '', 'c', 0, 'ann', 'owner', 0, ?, 'h', 5)`
            )
            .run(session, JSON.stringify({ text: "from before" }))
        }
        raw.close()
        yield* Effect.gen(function* () {
          const taken = yield* commit(acceptOf("new"))
          const old = yield* MessageLog.use((log) => log.message({ tenant: acme, id: messageId("old") }))

          assert.strictEqual(taken.seq, version === 0 ? 1 : 2)
          assert.strictEqual(old?.message.body.text, version === 0 ? undefined : "from before")
        }).pipe(Effect.provide(over(file)))
      })
  )

  it.effect("a file that is no database is refused", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      writeFileSync(file, "this is not a database, it is a letter to somebody".repeat(100))
      const error = yield* Effect.flip(Effect.provide(stored, over(file)))

      assert.strictEqual(error._tag, "SqliteFailure")
    })
  )

  it.effect(
    "a full disk refuses the unit, stores nothing of it, and takes it when there is space again",
    () =>
      Effect.gen(function* () {
        yield* commit(acceptOf("m1"))
        yield* limitPages(0)
        const refused = yield* Effect.flip(commit(acceptOf("m2", { text: "x".repeat(100_000) })))
        const before = yield* stored
        yield* unlimited
        const taken = yield* commit(acceptOf("m2", { text: "x".repeat(100_000) }))

        assert.instanceOf(refused, LogError)
        assert.strictEqual(refused.reason._tag, "StoreFull")
        assert.isTrue(refused.isRetryable)
        assert.deepStrictEqual(before, ["m1"])
        assert.deepStrictEqual([taken.duplicate, taken.seq], [false, 2])
      }).pipe(Effect.provide(inFolder))
  )

  it.effect("of units that share a commit only those fail that do not fit", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("first"))
      yield* limitPages(40)
      const units = [...filled(4, 200_000), acceptOf("small"), ...filled(2, 100).slice(1)]
      const results = yield* Effect.forEach(units, outcomeOf, { concurrency: "unbounded" })

      assert.deepStrictEqual(results.slice(0, 5), [
        "StoreFull",
        "StoreFull",
        "StoreFull",
        "StoreFull",
        "stored"
      ])
      assert.deepStrictEqual(yield* stored, ["first", "small", "big1"])
    }).pipe(Effect.provide(inFolder))
  )

  it.effect("once a sync has failed nothing is acknowledged, stored or read any more", () =>
    Effect.gen(function* () {
      let failing = false
      const sync: Sync = (_, done) => setImmediate(() => done(failing ? new Error("EIO") : null))
      const file = join(yield* folder, "log.db")
      yield* Effect.gen(function* () {
        const first = yield* outcomeOf(acceptOf("m1"))
        failing = true
        const waiting = yield* Effect.forEach([acceptOf("m2"), acceptOf("m3")], outcomeOf, {
          concurrency: "unbounded"
        })
        failing = false
        const later = yield* outcomeOf(acceptOf("m4"))
        const read = yield* Effect.flip(stored)
        const checks = yield* (yield* Checks.Checks).run

        assert.strictEqual(first, "stored")
        assert.deepStrictEqual(waiting, ["StoreBroken", "StoreBroken"])
        assert.strictEqual(later, "StoreBroken")
        assert.strictEqual(read.reason._tag, "StoreBroken")
        assert.isFalse(read.isRetryable)
        assert.deepStrictEqual(
          checks.map(({ name, status }) => [name, status]),
          [["store", "failed"]]
        )
      }).pipe(Effect.provide(over(file, sync)))
    })
  )

  it.effect("nobody is told before the disk has it", () =>
    Effect.gen(function* () {
      const pending: Array<() => void> = []
      const told: Array<string> = []
      let open = false
      // The migrations wait for the disk too: they get it at once.
      const sync: Sync = (_, done) => {
        if (open) pending.push(() => done(null))
        else setImmediate(done, null)
      }
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      const file = join(yield* folder, "log.db")
      yield* Effect.gen(function* () {
        const say = (id: string) => Effect.tap(commit(acceptOf(id)), () => Effect.sync(() => told.push(id)))
        open = true
        const fibers = yield* Effect.forEach(["m1", "m2"], (id) =>
          Effect.forkChild(say(id), { startImmediately: true })
        )
        yield* turn
        yield* turn
        assert.deepStrictEqual(told, [])
        assert.strictEqual(pending.length, 1)
        for (const done of pending.splice(0)) done()
        yield* Fiber.awaitAll(fibers)
        assert.deepStrictEqual(told, ["m1", "m2"])
        open = false
      }).pipe(Effect.provide(over(file, sync)))
    })
  )

  it.effect("a file that another program has locked is busy for now", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "log.db")
      yield* Effect.gen(function* () {
        yield* commit(acceptOf("m1"))
        const other = new DatabaseSync(file)
        other.exec("BEGIN IMMEDIATE")
        const busy = yield* Effect.flip(commit(acceptOf("m2")))
        other.exec("ROLLBACK")
        other.close()

        assert.strictEqual(busy.reason._tag, "StoreBusy")
        assert.isTrue(busy.isRetryable)
        assert.strictEqual(yield* outcomeOf(acceptOf("m2")), "stored")
      }).pipe(Effect.provide(over(file)))
    })
  )

  it.effect(
    "the channel's position is stored with the message, and outlives its session without naming it",
    () =>
      Effect.gen(function* () {
        const cursors = Sqlite.use((sqlite) =>
          sqlite.read((db) =>
            db.all<object>("SELECT org, project, channel, account, session, position FROM cursors")
          )
        )
        const row = { org: "acme", project: "shop", channel: "web", account: "main" }
        yield* commit(acceptOf("m1", { cursor: "41" }))
        yield* commit(acceptOf("m2", { cursor: "42" }))
        const before = yield* cursors
        yield* commit({ _tag: "DeleteSession", place: placeAt("a"), at: 1 })

        assert.deepStrictEqual(
          before.map((one) => ({ ...one })),
          [{ ...row, session: "agent:main:a", position: "42" }]
        )
        assert.deepStrictEqual(
          (yield* cursors).map((one) => ({ ...one })),
          [{ ...row, session: "", position: "42" }]
        )
      }).pipe(Effect.provide(inFolder))
  )

  it.effect("a deleted session is in no table, and every table names its tenant, agent and session", () =>
    Effect.gen(function* () {
      const sqlite = yield* Sqlite
      yield* commit(acceptOf("m1", { cursor: "7" }))
      yield* commit(startOf("r1", ["m1"]))
      yield* commit(parkOf("r1", 1, "p1"))
      yield* commit({ ...appendOf("r1", 1, "e1"), spending: { model: "demo/demo", sender: "ann" } })
      yield* commit(finishOf("r1", { m1: "answered" }, { deliveries: ["d1"] }))
      yield* commit(startOf("idle", []))
      yield* commit({ _tag: "Fork", place: placeAt("b"), from: placeAt("a").session, at: 1 })
      yield* commit({ _tag: "DeleteSession", place: placeAt("b"), at: 1 })
      yield* commit({ _tag: "KeepJournal", place: placeAt("a"), records: "[]", at: 1 })
      yield* commit({ _tag: "DeleteSession", place: placeAt("a"), at: 1 })
      const tables = yield* sqlite.read((db) =>
        db.all<{ name: string }>(
          "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'log_migrations'"
        )
      )

      // Who may use the gateway and what was done belong to no session.
      const ofNone = new Set("api_keys credentials audit used_codes orgs projects users agents".split(" "))
      const ofSessions = tables.filter(({ name }) => !ofNone.has(name))
      assert.deepStrictEqual([tables.length, ofSessions.length], [18, 10])
      for (const { name } of ofSessions) {
        const [found] = yield* sqlite.read((db) =>
          db.all<{ count: number }>(
            `SELECT count(*) AS count FROM ${name} WHERE org = 'acme' AND project = 'shop' AND agent = 'main' AND session <> ''`
          )
        )
        assert.strictEqual(found?.count, 0, name)
      }
      const senders = yield* sqlite.read((db) =>
        db.all<{ sender: string }>("SELECT sender FROM spending WHERE sender <> ''")
      )
      assert.deepStrictEqual(senders, [])
    }).pipe(Effect.provide(inFolder))
  )

  it.effect("every read and every unit finds its rows by an index, and needs no sorting", () =>
    Effect.gen(function* () {
      const sqlite = yield* Sqlite
      const statements = new Set<string>()
      const log = yield* SqliteMessageLog.make.pipe(
        Effect.provideService(
          Sqlite,
          recording(sqlite, (sql) => statements.add(sql))
        )
      )
      const tenant = acme
      const { session } = placeAt("a")
      const units: ReadonlyArray<Unit> = [
        acceptOf("m1", { cursor: "1" }),
        startOf("r1", ["m1"]),
        startOf("r1", ["m1"]),
        {
          _tag: "Block",
          place: placeAt("a"),
          runId: runId("r1"),
          attempt: 2,
          source: "so far",
          deliveries: [{ id: deliveryId("b1"), route, text: "so far" }],
          at: 1
        },
        { ...appendOf("r1", 2, "e1"), spending: { model: "demo/demo", sender: "ann" } },
        finishOf("r1", { m1: "answered" }, { attempt: 2, deliveries: ["d1"] }),
        { _tag: "DeleteSession", place: placeAt("a"), at: 1 }
      ]
      for (const unit of units) yield* log.commit(unit)
      yield* log.open({ tenant, limit: 1 })
      yield* log.open({ tenant, session, limit: 1 })
      yield* log.openSessions({ tenant, limit: 1 })
      for (const having of ["open", "undelivered", "settings", "queues"] as const)
        yield* log.tenants({ having })
      yield* log.history({ tenant, session, limit: 1 })
      yield* log.entries({ tenant, session, limit: 1 })
      yield* log.entries({ tenant, session, beforeSeq: 9, limit: 1 })
      yield* log.commit({ _tag: "RenameSession", place: placeAt("a"), title: "t", at: 1 })
      yield* log.lookup({ tenant, identity: acceptOf("m1").message.identity })
      for (const query of [
        {},
        { session },
        { channel: "c" },
        { createdAfter: 1 },
        { session, createdAfter: 1 }
      ])
        yield* log.undelivered({ tenant, limit: 1, ...query })
      yield* log.undelivered({ tenant, limit: 1, channel: "c", createdAfter: 1 })
      yield* log.sessions({ tenant, limit: 1 })
      yield* log.sessions({ tenant, key: session, limit: 1 })
      yield* log.commit(acceptOf("m1"))
      yield* log.commit(finishOf("r1", { m1: "answered" }))
      yield* log.message({ tenant, id: messageId("m1") })
      yield* log.commit({ _tag: "KeepJournal", place: placeAt("a"), records: "[]", at: 1 })
      yield* log.journal({ tenant, session, limit: 1 })
      yield* log.purgeOld({ tenant, of: "journal", before: 2 })
      yield* log.purgeOld({ tenant, of: "deliveries", before: 2 })
      yield* log.purge({ tenant, before: 1 })
      yield* log.queues({ tenant, limit: 1 })
      const fork = { _tag: "Fork", place: placeAt("fork"), from: session, at: 1 } as const
      yield* log.commit(fork)
      for (const atSeq of [1, 99])
        yield* Effect.exit(log.commit({ ...fork, place: placeAt("other"), atSeq, from: fork.place.session }))
      yield* log.history({ tenant, session: fork.place.session, limit: 9 })
      yield* log.entries({ tenant, session: fork.place.session, limit: 9 })
      yield* log.entries({ tenant, session: fork.place.session, beforeSeq: 9, limit: 9 })
      yield* log.forks({ tenant, session, limit: 1 })
      for (const by of ["total", "day", "agent", "session", "sender", "model"] as const)
        yield* log.usage({ tenant, by, fromDay: 1, toDay: 2, limit: 1 })
      yield* log.usage({ tenant, by: "total", session, limit: 1 })
      yield* log.usage({ tenant, by: "day", sender: "ann", fromDay: 1, limit: 1 })
      yield* log.purge({ tenant, before: 1, listed: true })
      for (const sql of ofTheContract) statements.add(sql)

      assert.isAbove(statements.size, 30)
      for (const sql of statements) {
        const plan = yield* sqlite.read((db) => db.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`))
        for (const { detail } of plan) {
          assert.notMatch(detail, /^SCAN/, sql)
          // Sums are made of few rows: those of a session, a sender or some days; one that names none of them reads a tenant's.
          const isSum = sql.includes("FROM spending")
          // Only what is small by its nature may be read for a whole tenant: open messages, waiting deliveries, pending approvals, cursors.
          if (!isSum && !/messages_open|outbox_waiting |approvals_pending |cursors/.test(detail))
            assert.notMatch(detail, /\(org=\? AND project=\?\)$/, `${detail}: ${sql}`)
          if (!sql.startsWith("UPDATE cursors") && !isSum)
            assert.notMatch(detail, /TEMP B-TREE/, `${detail}: ${sql}`)
        }
      }
    }).pipe(Effect.provide(inFolder))
  )

  it.effect("a session that shares nothing is read with one statement", () =>
    Effect.gen(function* () {
      const statements: Array<string> = []
      const log = yield* SqliteMessageLog.make.pipe(
        Effect.provideService(
          Sqlite,
          recording(yield* Sqlite, (sql) => statements.push(sql))
        )
      )
      const of = { tenant: acme, session: placeAt("a").session, limit: 50 }
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(finishOf("r1", { m1: "answered" }, { attempt: 1 }))
      yield* log.history(of)
      yield* log.history({ ...of, afterOrder: 1 })
      yield* log.entries(of)
      yield* log.entries({ ...of, afterSeq: 1 })
      yield* log.entries({ ...of, beforeSeq: 2 })

      assert.lengthOf(statements, 5)
    }).pipe(Effect.provide(inFolder))
  )

  it.effect("what is purged goes back to the disk, but for a reserve", () =>
    Effect.gen(function* () {
      const sqlite = yield* Sqlite
      const log = yield* MessageLog
      const pages = sqlite.read((db) => db.get<{ page_count: number }>("PRAGMA page_count")?.page_count ?? 0)
      for (const [n, unit] of filled(120, 100_000).entries()) {
        yield* log.commit(unit)
        yield* log.commit(finishOf(`r${n}`, { [`big${n}`]: "answered" }, { at: placeAt(`s${n}`) }))
      }
      const before = yield* pages
      assert.strictEqual(yield* log.purge({ tenant: acme, before: 1e9, listed: true }), 120)

      assert.isAbove(before, 10_000)
      assert.isBelow(yield* pages, 1200)
    }).pipe(Effect.provide(inFolder))
  )

  it.effect("its check says that it can be used", () =>
    Effect.gen(function* () {
      const [result] = yield* (yield* Checks.Checks).run

      assert.strictEqual(result?.name, "store")
      assert.strictEqual(result?.status, "ok")
    }).pipe(Effect.provide(inFolder))
  )

  it.effect("it lives in the data directory", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "data")
      const layer = SqliteStores.layer.pipe(
        Layer.provide(Layer.mergeAll(DataDir.layer(path), Checks.layer, Settings.layerFrom({})))
      )
      yield* Effect.provide(commit(acceptOf("m1")), layer)

      assert.isTrue(statSync(join(path, "log.db")).isFile())
      assert.deepStrictEqual(yield* Effect.provide(stored, layer), ["m1"])
    })
  )
})
