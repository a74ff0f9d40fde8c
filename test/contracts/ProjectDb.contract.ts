/**
 * What every ProjectDb promises, whatever it is built on. Each adapter runs it, with a time limit of two seconds and 16 MB for a project.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { Tenant } from "#src/domain/Tenant.ts"
import { ProjectDb, type ProjectDbError, type SqlValue } from "#src/horizons/ProjectDb.ts"

let count = 0
/** Tenants that no other test has; the second is of another organisation, with a project of the same name. */
export const freshTenants = (): readonly [Tenant, Tenant, Tenant] => {
  count++
  const project = `p${count}-${process.pid}`
  return [
    { org: "acme", project },
    { org: "rival", project },
    { org: "acme", project: `${project}_2` }
  ]
}

export const settings = { timeout_s: 2, max_mb: 16 }

export const query = (tenant: Tenant, sql: string, params: ReadonlyArray<SqlValue> = [], maxRows = 1000) =>
  ProjectDb.use((db) => db.query(tenant, { sql, params }, maxRows))
export const execute = (
  tenant: Tenant,
  ...statements: ReadonlyArray<string | readonly [string, ...ReadonlyArray<SqlValue>]>
) =>
  ProjectDb.use((db) =>
    db.execute(
      tenant,
      statements.map((one) => {
        const [sql, ...params] = typeof one === "string" ? ([one] as const) : one
        return { sql, params }
      })
    )
  )
const rows = (tenant: Tenant, sql: string, params: ReadonlyArray<SqlValue> = []) =>
  Effect.map(query(tenant, sql, params), (found) => found.rows)

export const reasonOf = <A, R>(effect: Effect.Effect<A, ProjectDbError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)
const tagOf = <A, R>(effect: Effect.Effect<A, ProjectDbError, R>) =>
  Effect.map(reasonOf(effect), ({ _tag }) => _tag)

const forever =
  "SELECT count(*) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c) AS q"

export const projectDbContract = <E>(name: string, layer: Layer.Layer<ProjectDb, E>) =>
  describe(`ProjectDb ${name}`, { timeout: 60_000 }, () => {
    it.layer(layer, { timeout: 60_000, excludeTestServices: true })((it) => {
      it.effect("keeps what was executed, and gives it back", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          const made = yield* execute(
            acme,
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)",
            ["INSERT INTO notes (id, text) VALUES ($1, $2), (3, 'three')", 1, "one"],
            ["UPDATE notes SET text = $1 WHERE id = $2", "uno", 1],
            "DELETE FROM notes WHERE id = 99"
          )
          assert.deepStrictEqual(made, [0, 2, 1, 0])

          const found = yield* query(acme, "SELECT id, text, text AS id FROM notes ORDER BY notes.id")
          assert.deepStrictEqual(found, {
            columns: ["id", "text", "id"],
            rows: [
              [1, "uno", "uno"],
              [3, "three", "three"]
            ],
            isAll: true
          })
          const one = yield* query(acme, " -- a comment\n SELECT $2, $1 /* and */ ; -- another", ["a", "b"])
          assert.deepStrictEqual(one.rows, [["b", "a"]])
        })
      )

      it.effect("values come back as they went in", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE v (name TEXT PRIMARY KEY, t TEXT, n BIGINT, r DOUBLE PRECISION)")
          const texts = ["", "plain", 'it\'s "quoted" \\ `$1` -- ? :x', "\u{1F600}\u00e9\u4e2d\u0001\n\r\t"]
          yield* execute(
            acme,
            ...texts.map((text, at) => ["INSERT INTO v VALUES ($1, $2, NULL, NULL)", `t${at}`, text] as const)
          )
          assert.deepStrictEqual(
            (yield* rows(acme, "SELECT t FROM v ORDER BY name")).map(([text]) => text),
            texts
          )
          yield* execute(
            acme,
            ["INSERT INTO v (name, n, r) VALUES ('a', $1, $2)", 9_007_199_254_740_991, 0.1],
            ["INSERT INTO v (name, n, r) VALUES ('b', 9007199254740993, $1)", -1e300],
            ["INSERT INTO v (name, n, r) VALUES ('c', $1, $2)", null, null]
          )
          assert.deepStrictEqual(
            yield* rows(acme, "SELECT n, r FROM v WHERE name IN ('a', 'b', 'c') ORDER BY name"),
            [
              [9_007_199_254_740_991, 0.1],
              ["9007199254740993", -1e300],
              [null, null]
            ]
          )
          assert.deepStrictEqual(yield* rows(acme, "SELECT 7 / 2 AS whole"), [[3]])
          yield* execute(acme, ["INSERT INTO v (name, t) VALUES ('json', $1)", { a: [1, "two", null] }])
          const [json] = yield* rows(acme, "SELECT t FROM v WHERE name = $1", ["json"])
          assert.deepStrictEqual(JSON.parse(String(json?.[0])), { a: [1, "two", null] })
        })
      )

      it.effect("a big value and many rows come back whole, or as far as was asked", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          const big = "x".repeat(500_000)
          yield* execute(acme, "CREATE TABLE b (id INTEGER PRIMARY KEY, t TEXT)", [
            "INSERT INTO b VALUES (1, $1), (2, $1), (3, $1)",
            big
          ])
          const whole = yield* query(acme, "SELECT t FROM b WHERE id = 1")
          assert.deepStrictEqual([whole.rows, whole.isAll], [[[big]], true])
          const cut = yield* query(acme, "SELECT t FROM b")
          assert.deepStrictEqual([cut.rows.length, cut.isAll], [2, false])
          // Many values have their size too, however little stands in them.
          const empty = `SELECT ${Array.from({ length: 500 }, (_, at) => `'' AS c${at}`).join(", ")} FROM b`
          const wide = `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500) ${empty}, c`
          const few = yield* query(acme, wide)
          assert.strictEqual(few.isAll, false)
          assert.isBelow(few.rows.length, 263)

          const numbers =
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500) SELECT x FROM c"
          const first = yield* query(acme, numbers, [], 100)
          assert.deepStrictEqual([first.rows.length, first.rows.at(-1), first.isAll], [100, [100], false])
          const all = yield* query(acme, numbers, [], 500)
          assert.deepStrictEqual([all.rows.length, all.isAll], [500, true])
        })
      )

      it.effect("all statements of a call, or none", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (id INTEGER PRIMARY KEY)")
          const reason = yield* reasonOf(
            execute(
              acme,
              "INSERT INTO a VALUES (1)",
              "CREATE TABLE other (id INTEGER)",
              "INSERT INTO a VALUES (1)"
            )
          )
          assert.deepStrictEqual([reason._tag, "statement" in reason && reason.statement], ["SqlRefused", 2])
          assert.deepStrictEqual(yield* rows(acme, "SELECT count(*) FROM a"), [[0]])
          assert.strictEqual(yield* tagOf(query(acme, "SELECT * FROM other")), "SqlRefused")
          yield* execute(acme, "CREATE TABLE other (id INTEGER)")
        })
      )

      it.effect("what is no statement is refused, and says so", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (id INTEGER PRIMARY KEY, CHECK (id < 100))")
          const wrong = [
            execute(acme, "SELEKT 1"),
            execute(acme, ""),
            execute(acme, " -- nothing\n ;"),
            execute(acme, "INSERT INTO nowhere VALUES (1)"),
            execute(acme, "INSERT INTO a VALUES (100)"),
            execute(acme, "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)"),
            execute(acme, "INSERT INTO a VALUES (1); /* */ COMMIT"),
            execute(acme, "INSERT INTO a VALUES (1)\0"),
            execute(acme, ["INSERT INTO a VALUES ($1)"]),
            execute(acme, ["INSERT INTO a VALUES ($1)", 1, 2]),
            execute(acme, ["INSERT INTO a VALUES (?)", 1]),
            execute(acme, ["INSERT INTO a VALUES ($1(x))", 1]),
            execute(acme, ["INSERT INTO a VALUES ($1)", tooDeep]),
            execute(acme, `INSERT INTO a VALUES (1) -- ${"x".repeat(1_048_576)}`),
            execute(acme, "INSERT INTO a VALUES (1); /* /* */ INSERT INTO a VALUES (2) /* */"),
            query(acme, "SELECT 1; SELECT 2"),
            query(acme, "SELECT $1"),
            query(acme, "SELECT 1", [1]),
            query(acme, "SELECT * FROM nowhere"),
            query(acme, ""),
            query(acme, "CREATE TABLE x (id INTEGER)")
          ]
          for (const [at, one] of wrong.entries()) {
            const reason = yield* reasonOf(Effect.asVoid<unknown, ProjectDbError, ProjectDb>(one))
            assert.strictEqual(reason._tag, "SqlRefused", `${at}: ${reason.message}`)
            assert.isAbove(reason.message.length, 5, `${at}`)
          }
          assert.deepStrictEqual(yield* rows(acme, "SELECT count(*) FROM a"), [[0]])
        })
      )

      it.effect("a query changes nothing, whatever it says", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (id INTEGER PRIMARY KEY)", "INSERT INTO a VALUES (1)")
          const writes = [
            "INSERT INTO a VALUES (2) RETURNING id",
            "DELETE FROM a RETURNING id",
            "UPDATE a SET id = 5 RETURNING id",
            "WITH gone AS (SELECT 1) DELETE FROM a WHERE id IN (SELECT * FROM gone) RETURNING id",
            "DROP TABLE a",
            "CREATE TABLE b AS SELECT 1 AS x",
            "BEGIN",
            "COMMIT",
            "PRAGMA writable_schema = ON",
            "SET TRANSACTION READ WRITE"
          ]
          for (const sql of writes) assert.strictEqual(yield* tagOf(query(acme, sql)), "SqlRefused", sql)
          assert.deepStrictEqual(yield* rows(acme, "SELECT id FROM a"), [[1]])
        })
      )

      it.effect("the transaction of a call is not the statements' to end", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (id INTEGER PRIMARY KEY)")
          for (const sql of [
            "COMMIT",
            "-- x\rCOMMIT",
            "/* x */ end",
            "ROLLBACK",
            "BEGIN",
            "SAVEPOINT s",
            "RELEASE s"
          ]) {
            const outcome = yield* reasonOf(execute(acme, "INSERT INTO a VALUES (1)", sql, "SELEKT"))
            assert.deepStrictEqual(
              [outcome._tag, "statement" in outcome && outcome.statement],
              ["SqlRefused", 1],
              sql
            )
          }
          assert.deepStrictEqual(yield* rows(acme, "SELECT count(*) FROM a"), [[0]])
        })
      )

      it.effect("tenants have nothing of each other", () =>
        Effect.gen(function* () {
          const tenants = freshTenants()
          for (const tenant of tenants) {
            yield* execute(tenant, "CREATE TABLE who (org TEXT, project TEXT)", [
              "INSERT INTO who VALUES ($1, $2)",
              tenant.org,
              tenant.project
            ])
          }
          for (const tenant of tenants) {
            assert.deepStrictEqual(yield* rows(tenant, "SELECT org, project FROM who"), [
              [tenant.org, tenant.project]
            ])
          }
          yield* execute(tenants[0], "DROP TABLE who")
          assert.strictEqual((yield* rows(tenants[1], "SELECT * FROM who")).length, 1)
          assert.strictEqual((yield* rows(tenants[2], "SELECT * FROM who")).length, 1)
        })
      )

      it.effect("what takes too long is ended, keeps nothing, and the next one is served", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (n BIGINT)")
          const reason = yield* reasonOf(query(acme, forever))
          assert.deepStrictEqual(
            [reason._tag, "seconds" in reason && reason.seconds],
            ["SqlTooLong", settings.timeout_s]
          )
          assert.strictEqual(
            yield* tagOf(execute(acme, "INSERT INTO a VALUES (1)", `INSERT INTO a ${forever}`)),
            "SqlTooLong"
          )
          assert.deepStrictEqual(yield* rows(acme, "SELECT count(*) FROM a"), [[0]])
        })
      )

      it.effect("whoever stops waiting ends it", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (n BIGINT)")
          yield* Effect.timeoutOption(execute(acme, `INSERT INTO a ${forever}`), "300 millis")
          assert.deepStrictEqual(yield* execute(acme, "INSERT INTO a VALUES (2)"), [1])
          assert.deepStrictEqual(yield* rows(acme, "SELECT n FROM a"), [[2]])
        })
      )

      it.effect("what waits behind one that takes too long is served", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (n BIGINT)")
          const [first, second] = yield* Effect.all(
            [Effect.flip(query(acme, forever)), execute(acme, "INSERT INTO a VALUES (1)")],
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual([first.reason._tag, second], ["SqlTooLong", [1]])
        })
      )

      it.effect("a full database refuses more, is read, and takes more after something was deleted", () =>
        Effect.gen(function* () {
          const [acme] = freshTenants()
          yield* execute(acme, "CREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT)")
          const more = (id: number) =>
            execute(acme, ["INSERT INTO a VALUES ($1, $2)", id, randomText(1_000_000)])
          let id = 0
          let reason: string | undefined
          while (reason === undefined && id < 40) {
            reason = yield* Effect.matchEffect(more(id), {
              onFailure: ({ reason: why }) => Effect.succeed(why._tag),
              onSuccess: () => Effect.succeed(undefined)
            })
            id++
          }
          assert.strictEqual(reason, "ProjectDbFull")
          assert.deepStrictEqual(yield* rows(acme, "SELECT count(*) FROM a"), [[id - 1]])
          yield* execute(acme, "DELETE FROM a")
        })
      )

      it.effect("many at once are each done once", () =>
        Effect.gen(function* () {
          const [acme, rival] = freshTenants()
          const both = [acme, rival]
          for (const tenant of both)
            yield* execute(tenant, "CREATE TABLE c (n INTEGER)", "INSERT INTO c VALUES (0)")
          yield* Effect.forEach(
            Array.from({ length: 20 }, (_, at) => both[at % 2]!),
            (tenant) => execute(tenant, "UPDATE c SET n = n + 1"),
            { concurrency: "unbounded" }
          )
          for (const tenant of both) assert.deepStrictEqual(yield* rows(tenant, "SELECT n FROM c"), [[10]])
        })
      )
    })
  })

const tooDeep = Array.from({ length: 100_000 }).reduce<SqlValue>((inner) => [inner], 1)

/** What does not become smaller when it is stored. */
const randomText = (length: number): string => {
  let text = ""
  while (text.length < length) text += crypto.randomUUID()
  return text.slice(0, length)
}
