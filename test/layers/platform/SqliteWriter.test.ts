import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqliteClient from "#layers/platform/SqliteClient.ts"
import { Sqlite } from "#layers/platform/SqliteClient.ts"
import * as SqliteEngine from "#layers/platform/SqliteEngine.ts"
import type { Db, Engine } from "#layers/platform/SqliteEngine.ts"
import * as SqliteWriter from "#layers/platform/SqliteWriter.ts"

const file = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-writer-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
).pipe(Effect.map((path) => join(path, "test.db")))

const client = Layer.unwrap(Effect.map(file, (filename) => SqliteClient.layer({ filename })))
const withTable = Effect.andThen(
  SqlClient.SqlClient,
  (sql) => sql`CREATE TABLE items (name TEXT PRIMARY KEY)`
)
const insert = (name: string) => (db: Db) => Result.succeed(db.run("INSERT INTO items VALUES (?)", [name]))
const names = Sqlite.use((sqlite) =>
  sqlite.read((db) =>
    db.all<{ name: string }>("SELECT name FROM items ORDER BY rowid").map(({ name }) => name)
  )
)

/** What `node:sqlite` throws. */
const sqliteError = (errcode: number) => Object.assign(new Error("made up"), { errcode })

/**
 * A file whose disk fails as told: `failing` says for each statement which SQLite code it fails with. As SQLite does on a
 * full or failing disk, the failure undoes the whole transaction.
 */
const failingEngine = (filename: string, failing: (sql: string) => number | undefined): Engine => {
  const engine = SqliteEngine.open(filename, { readOnly: false })
  const run: Db["run"] = (sql, params) => {
    const code = failing(sql)
    if (code === undefined) return engine.db.run(sql, params)
    engine.db.run("ROLLBACK")
    throw sqliteError(code)
  }
  return { ...engine, db: { ...engine.db, run } }
}

/** A writer over such a file, and the names that are in it. */
const failingWriter = (failing: (sql: string) => number | undefined) =>
  Effect.gen(function* () {
    const filename = yield* file
    let active = false
    const engine = failingEngine(filename, (sql) => (active ? failing(sql) : undefined))
    const writer = yield* Effect.acquireRelease(
      Effect.sync(() => SqliteWriter.make(engine, filename)),
      (made) => made.close
    )
    yield* writer.execute("CREATE TABLE items (name TEXT PRIMARY KEY)", [], "rows")
    active = true
    const all = Effect.sync(() =>
      engine.db.all<{ name: string }>("SELECT name FROM items ORDER BY rowid").map(({ name }) => name)
    )
    const outcome = (name: string) =>
      Effect.map(Effect.result(writer.unit(insert(name))), (result) =>
        result._tag === "Success" ? "stored" : result.failure.kind
      )
    return { writer, all, outcome }
  })
const full = 13
const ioError = 10

describe("SqliteWriter", () => {
  it.effect("when the shared commit finds the disk full, each unit is tried again alone", () =>
    Effect.gen(function* () {
      let commits = 0
      const { all, outcome } = yield* failingWriter((sql) =>
        sql === "COMMIT" && ++commits === 1 ? full : undefined
      )
      const results = yield* Effect.forEach(["a", "b", "c"], outcome, { concurrency: "unbounded" })

      assert.deepStrictEqual(results, ["stored", "stored", "stored"])
      assert.deepStrictEqual(yield* all, ["a", "b", "c"])
    })
  )

  it.effect("only the unit that cannot be stored alone is told that the disk is full", () =>
    Effect.gen(function* () {
      let commits = 0
      const { all, outcome } = yield* failingWriter((sql) =>
        sql === "COMMIT" && [1, 3].includes(++commits) ? full : undefined
      )
      const results = yield* Effect.forEach(["a", "b", "c"], outcome, { concurrency: "unbounded" })

      assert.deepStrictEqual(results, ["stored", "full", "stored"])
      assert.deepStrictEqual(yield* all, ["a", "c"])
      assert.strictEqual(yield* outcome("b"), "stored")
    })
  )

  it.effect("a statement that undoes the group costs the units before it nothing", () =>
    Effect.gen(function* () {
      let inserts = 0
      const { all, outcome } = yield* failingWriter((sql) =>
        sql.startsWith("INSERT") && ++inserts === 3 ? full : undefined
      )
      const results = yield* Effect.forEach(["a", "b", "c", "d"], outcome, { concurrency: "unbounded" })

      assert.deepStrictEqual(results, ["stored", "stored", "stored", "stored"])
      assert.deepStrictEqual(yield* all, ["a", "b", "c", "d"])
    })
  )

  it.effect("a disk that fails a unit alone as well is broken for good", () =>
    Effect.gen(function* () {
      let commits = 0
      const { writer, all, outcome } = yield* failingWriter((sql) =>
        sql === "COMMIT" && ++commits <= 2 ? ioError : undefined
      )
      const results = yield* Effect.forEach(["a", "b"], outcome, { concurrency: "unbounded" })

      assert.deepStrictEqual(results, ["broken", "broken"])
      assert.strictEqual(yield* outcome("c"), "broken")
      assert.isString(writer.broken())
      assert.deepStrictEqual(yield* all, [])
    })
  )

  it.effect("a refused unit leaves nothing, and what stood beside it stays", () =>
    Effect.gen(function* () {
      yield* withTable
      const { unit } = yield* Sqlite
      const returning = "INSERT INTO items VALUES ('undone') RETURNING name"
      const wrote: ReadonlyArray<(db: Db) => unknown> = [
        (db) => db.run("INSERT INTO items VALUES ('undone')"),
        (db) => db.all(returning),
        (db) => db.get(returning),
        (db) => db.all("SELECT name FROM items")
      ]
      for (const [index, write] of wrote.entries()) {
        const refused = (db: Db) => {
          write(db)
          return Result.fail("no" as const)
        }
        const results = yield* Effect.all(
          [unit(insert(`a${index}`)), Effect.flip(unit(refused)), unit(insert(`b${index}`))],
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(results, [1, "no", 1])
      }

      const kept = wrote.flatMap((_, index) => [`a${index}`, `b${index}`])
      assert.deepStrictEqual(yield* names, kept)
    }).pipe(Effect.provide(client))
  )

  it.effect("a body with a bug dies alone", () =>
    Effect.gen(function* () {
      yield* withTable
      const { unit } = yield* Sqlite
      const bug = (db: Db): Result.Result<never> => {
        db.run("INSERT INTO items VALUES ('undone')")
        throw new TypeError("bug")
      }
      const [a, died, b] = yield* Effect.all([unit(insert("a")), Effect.exit(unit(bug)), unit(insert("b"))], {
        concurrency: "unbounded"
      })

      assert.isTrue(Exit.isFailure(died) && Exit.hasDies(died))
      assert.deepStrictEqual([a, b], [1, 1])
      assert.deepStrictEqual(yield* names, ["a", "b"])
    }).pipe(Effect.provide(client))
  )

  it.effect("a transaction keeps others out until it ends, and they follow it", () =>
    Effect.gen(function* () {
      yield* withTable
      const sql = yield* SqlClient.SqlClient
      const { unit } = yield* Sqlite
      const held = sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO items VALUES ('t1')`
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          yield* sql`INSERT INTO items VALUES ('t2')`
        })
      )
      yield* Effect.all([held, unit(insert("a")), sql`INSERT INTO items VALUES ('b')`], {
        concurrency: "unbounded"
      })

      assert.deepStrictEqual(yield* names, ["t1", "t2", "a", "b"])
    }).pipe(Effect.provide(client))
  )

  it.effect("a transaction that fails or is interrupted leaves nothing, and the writer is free", () =>
    Effect.gen(function* () {
      yield* withTable
      const sql = yield* SqlClient.SqlClient
      const { unit } = yield* Sqlite
      const failed = yield* Effect.flip(
        sql.withTransaction(Effect.andThen(sql`INSERT INTO items VALUES ('x')`, Effect.fail("no" as const)))
      )
      const endless = yield* Effect.forkChild(
        sql.withTransaction(Effect.andThen(sql`INSERT INTO items VALUES ('y')`, Effect.never)),
        { startImmediately: true }
      )
      const waiting = yield* Effect.forkChild(sql.withTransaction(sql`INSERT INTO items VALUES ('z')`), {
        startImmediately: true
      })
      const queued = yield* Effect.forkChild(unit(insert("a")), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(endless)
      yield* Fiber.join(queued)

      assert.strictEqual(failed, "no")
      assert.deepStrictEqual(yield* names, ["a"])
    }).pipe(Effect.provide(client))
  )

  it.effect("a transaction that lasts for turns of the loop is not committed by half", () =>
    Effect.gen(function* () {
      yield* withTable
      const sql = yield* SqlClient.SqlClient
      const { unit } = yield* Sqlite
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      const unitBefore = yield* Effect.forkChild(unit(insert("a")), { startImmediately: true })
      yield* Effect.ignore(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`INSERT INTO items VALUES ('half')`
            yield* turn
            yield* turn
            assert.deepStrictEqual(yield* names, [])
            return yield* Effect.fail("no")
          })
        )
      )
      yield* Fiber.join(unitBefore)

      assert.deepStrictEqual(yield* names, ["a"])
    }).pipe(Effect.provide(client))
  )

  it.effect("the part of a transaction that fails can be undone by itself", () =>
    Effect.gen(function* () {
      yield* withTable
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO items VALUES ('outer')`
          yield* Effect.ignore(
            sql.withTransaction(Effect.andThen(sql`INSERT INTO items VALUES ('inner')`, Effect.fail("no")))
          )
        })
      )

      assert.deepStrictEqual(yield* names, ["outer"])
    }).pipe(Effect.provide(client))
  )

  it.effect("a repeated key and a wrong statement are told apart", () =>
    Effect.gen(function* () {
      yield* withTable
      const sql = yield* SqlClient.SqlClient
      yield* sql`INSERT INTO items VALUES ('a')`
      const repeated = yield* Effect.flip(sql`INSERT INTO items VALUES ('a')`)
      const wrong = yield* Effect.flip(sql`SELECT name FROM nowhere`)

      assert.strictEqual(repeated.reason._tag, "UniqueViolation")
      assert.notStrictEqual(wrong.reason._tag, "UniqueViolation")
      assert.include(wrong.message, "nowhere")
      assert.deepStrictEqual(yield* sql`SELECT name FROM items`.values, [["a"]])
    }).pipe(Effect.provide(client))
  )

  it.effect("after its Layer has ended every unit is refused", () =>
    Effect.gen(function* () {
      const { unit } = yield* Effect.scoped(
        Effect.map(Layer.build(client), (context) => Layer.succeedContext(context))
      ).pipe(Effect.flatMap((ended) => Effect.provide(Sqlite, ended)))
      const error = yield* Effect.flip(unit(insert("late")))

      assert.strictEqual(error.kind, "broken")
    })
  )
})
