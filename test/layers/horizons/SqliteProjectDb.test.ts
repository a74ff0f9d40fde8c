/** Each project in a file, its SQL in a process of its own: real files, real processes. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import fs from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as SqliteProjectDb from "#layers/horizons/SqliteProjectDb.ts"
import * as Settings from "#layers/platform/Settings.ts"
import {
  execute,
  freshTenants,
  projectDbContract,
  query,
  reasonOf,
  settings
} from "../../contracts/ProjectDb.contract.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(tmpdir(), "opencraw-projects-"))),
  (made) => Effect.sync(() => fs.rmSync(made, { recursive: true, force: true }))
)
const on = (place: string) =>
  SqliteProjectDb.layerFolder(place).pipe(Layer.provide(Settings.layerFrom({ project_db: settings })))
const layer = Layer.unwrap(Effect.map(folder, on))

projectDbContract("SQLite", layer)

describe("SQLite of a project", { timeout: 30_000 }, () => {
  it.live("reaches nothing outside its file", () =>
    Effect.gen(function* () {
      const place = yield* folder
      const secret = path.join(place, "secret.db")
      const other = new DatabaseSync(secret)
      other.exec("CREATE TABLE keys (k TEXT); INSERT INTO keys VALUES ('top secret')")
      other.close()
      const [acme] = freshTenants()
      yield* Effect.gen(function* () {
        yield* execute(acme, "CREATE TABLE a (id INTEGER)")
        const reaching = [
          `ATTACH '${secret}' AS other`,
          `VACUUM INTO '${path.join(place, "copy.db")}'`,
          "VACUUM",
          "PRAGMA temp_store_directory = '/'",
          "PRAGMA journal_mode = OFF",
          "PRAGMA writable_schema = ON",
          "PRAGMA max_page_count = 4294967294",
          "SELECT load_extension('/lib/libm.so')",
          "UPDATE sqlite_schema SET sql = ''",
          "CREATE TEMP TABLE t (id INTEGER)",
          "DETACH main"
        ]
        for (const sql of reaching) {
          const reason = yield* reasonOf(execute(acme, sql))
          assert.strictEqual(reason._tag, "SqlRefused", sql)
        }
        for (const sql of [...reaching, "SELECT readfile('/etc/hostname')", "SELECT writefile('x', 'y')"]) {
          assert.strictEqual((yield* reasonOf(query(acme, sql)))._tag, "SqlRefused", sql)
        }
        const listed = yield* query(acme, "SELECT name FROM pragma_database_list")
          .pipe(Effect.map(({ rows }) => rows))
          .pipe(Effect.catchTags({ ProjectDbError: () => Effect.succeed([]) }))
        assert.deepStrictEqual(listed, [])
        const tables = yield* query(acme, "PRAGMA table_info(a)")
        assert.strictEqual(tables.rows[0]?.[1], "id")
      }).pipe(Effect.provide(on(path.join(place, "projects"))))
      assert.deepStrictEqual(fs.readdirSync(place).toSorted(), ["projects", "secret.db"])
    }).pipe(Effect.scoped)
  )

  it.live("is there again after a restart, readable by its owner only", () =>
    Effect.gen(function* () {
      const place = yield* folder
      const [acme] = freshTenants()
      yield* execute(acme, "CREATE TABLE a (id INTEGER)", "INSERT INTO a VALUES (7)").pipe(
        Effect.provide(on(place))
      )
      const found = yield* query(acme, "SELECT id FROM a").pipe(Effect.provide(on(place)))
      assert.deepStrictEqual(found.rows, [[7]])
      const file = path.join(place, acme.org, `${acme.project}.db`)
      assert.strictEqual(fs.statSync(file).mode & 0o077, 0)
      assert.strictEqual(fs.statSync(path.dirname(file)).mode & 0o077, 0)
    }).pipe(Effect.scoped)
  )

  it.live("what needs too much memory is refused, and the next one is served", () =>
    Effect.gen(function* () {
      const [acme] = freshTenants()
      const reason = yield* reasonOf(
        query(
          acme,
          `WITH RECURSIVE c(x, t) AS (SELECT 1, hex(zeroblob(500000)) UNION ALL SELECT x + 1, t || x FROM c WHERE x < 600)
            SELECT x FROM c ORDER BY t`
        )
      )
      assert.strictEqual(reason._tag, "SqlTooBig")
      assert.deepStrictEqual((yield* query(acme, "SELECT 1")).rows, [[1]])
      // Names are part of an answer too.
      const name = "x".repeat(20_000)
      yield* execute(acme, `CREATE TABLE wide ("${name}" INTEGER)`)
      const long = yield* reasonOf(query(acme, `SELECT w.*${", w.*".repeat(99)} FROM wide AS w`))
      assert.deepStrictEqual(
        [long._tag, long.message],
        ["SqlRefused", "the names of its columns are longer than an answer may be"]
      )
    }).pipe(Effect.provide(layer))
  )

  it.live("a file that is none is told, and so is a folder that cannot be made", () =>
    Effect.gen(function* () {
      const place = yield* folder
      const [acme] = freshTenants()
      fs.mkdirSync(path.join(place, acme.org))
      fs.writeFileSync(path.join(place, acme.org, `${acme.project}.db`), "this is no database ".repeat(100))
      const broken = yield* reasonOf(query(acme, "SELECT 1")).pipe(Effect.provide(on(place)))
      assert.strictEqual(broken._tag, "StoreBroken")
      fs.writeFileSync(path.join(place, "taken"), "")
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* reasonOf(query(acme, "SELECT 1")))._tag, "StoreBroken")
        // When it can be made again, it is.
        fs.rmSync(path.join(place, "taken"))
        assert.deepStrictEqual((yield* query(acme, "SELECT 1")).rows, [[1]])
      }).pipe(Effect.provide(on(path.join(place, "taken"))))
    }).pipe(Effect.scoped)
  )

  it.live("a process that dies while nobody waits is begun again", () =>
    Effect.gen(function* () {
      const place = yield* folder
      const [acme] = freshTenants()
      yield* Effect.gen(function* () {
        yield* execute(acme, "CREATE TABLE a (id INTEGER)")
        process.kill(childOf(place), "SIGKILL")
        yield* Effect.promise(() => untilGone(place))
        assert.deepStrictEqual(yield* execute(acme, "INSERT INTO a VALUES (1)"), [1])
      }).pipe(Effect.provide(on(place)))
    }).pipe(Effect.scoped)
  )

  it.live("killed at any moment, it tells of each change what became of it", () =>
    Effect.gen(function* () {
      const place = yield* folder
      const [acme] = freshTenants()
      yield* Effect.gen(function* () {
        yield* execute(acme, "CREATE TABLE a (id INTEGER)")
        const told: Array<readonly [id: number, outcome: string]> = []
        for (let id = 0; id < 12; id++) {
          const changing = yield* Effect.forkChild(
            Effect.result(execute(acme, ["INSERT INTO a VALUES ($1)", id]))
          )
          // A commit takes some tenths of a millisecond.
          yield* Effect.promise(() => new Promise((done) => setTimeout(done, id / 4)))
          for (const pid of processesOf(place)) process.kill(pid, "SIGKILL")
          const outcome = yield* Fiber.join(changing)
          told.push([id, Result.isSuccess(outcome) ? "kept" : outcome.failure.reason._tag])
          yield* Effect.promise(() => untilGone(place))
        }
        const kept = new Set((yield* query(acme, "SELECT id FROM a")).rows.map(([id]) => id))
        for (const [id, outcome] of told) {
          if (outcome === "kept") assert.isTrue(kept.has(id), `${id} ${outcome}`)
          else if (outcome !== "SqlUncertain") assert.isFalse(kept.has(id), `${id} ${outcome}`)
        }
        assert.isAbove(told.filter(([, outcome]) => outcome !== "kept").length, 0)
      }).pipe(Effect.provide(on(place)))
    }).pipe(Effect.scoped)
  )

  it.live("behind one that is killed, one process takes its place", () =>
    Effect.gen(function* () {
      const place = yield* folder
      const [acme] = freshTenants()
      yield* Effect.gen(function* () {
        yield* execute(acme, "CREATE TABLE a (id INTEGER)")
        const forever =
          "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
        const calls = Array.from({ length: 6 }, (_, id) =>
          Effect.asVoid(execute(acme, ["INSERT INTO a VALUES ($1)", id]))
        )
        yield* Effect.all([Effect.flip(query(acme, forever)), ...calls], { concurrency: "unbounded" })
        assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[6]])
        assert.strictEqual(processesOf(place).length, 1)
      }).pipe(Effect.provide(on(place)))
    }).pipe(Effect.scoped)
  )

  it.live("a truth value is a whole number, and tables of regions are made", () =>
    Effect.gen(function* () {
      const [acme] = freshTenants()
      const found = yield* query(acme, "SELECT typeof($1), $1, $2", [true, false])
      assert.deepStrictEqual(found.rows, [["integer", 1, 0]])
      yield* execute(acme, "CREATE VIRTUAL TABLE regions USING rtree(id, low, high)", [
        "INSERT INTO regions VALUES (1, $1, $2)",
        0,
        5
      ])
      const within = yield* query(acme, "SELECT id FROM regions WHERE high <= 5")
      assert.deepStrictEqual(within.rows, [[1]])
      assert.strictEqual((yield* reasonOf(execute(acme, "PRAGMA page_size = 512")))._tag, "SqlRefused")
      assert.strictEqual((yield* reasonOf(query(acme, "SELECT $01", [1])))._tag, "SqlRefused")
    }).pipe(Effect.provide(layer))
  )
})

/** Processes whose arguments name this folder. */
const processesOf = (place: string): ReadonlyArray<number> =>
  fs.readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const line = fs.readFileSync(`/proc/${name}/cmdline`, "utf8")
      return line.includes("projectFile") && line.includes(place) ? [Number(name)] : []
    } catch {
      return []
    }
  })
const childOf = (place: string): number => processesOf(place)[0] ?? assert.fail("there is no process")
const untilGone = async (place: string) => {
  while (processesOf(place).length > 0) await new Promise((done) => setTimeout(done, 10))
  // Its end is heard of a little later.
  await new Promise((done) => setTimeout(done, 50))
}
