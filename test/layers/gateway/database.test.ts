/** A project's own database at the real doors: its agents' tools, HTTP, and what keys may do. SQLite files and their processes are real. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqliteProjectDb from "#layers/horizons/SqliteProjectDb.ts"
import { call, ModelScript } from "#layers/model/ScriptedModel.ts"
import { ask, folder, layer, post, says } from "./startGateway.ts"

const os = "/api/v1/os"
const database = `${os}/database`

const onFiles = Layer.unwrap(Effect.map(folder, SqliteProjectDb.layerFolder))
const tools = ["database.query", "database.execute"]
const withDatabase = (more: Parameters<typeof layer>[0] = {}) =>
  layer({
    projectDb: onFiles,
    ...more,
    config: { general: { model: "demo/demo", tools }, project_db: { max_rows: 3 }, ...more.config }
  })

const query = (sql: string, more: object = {}, headers: Record<string, string> = {}) =>
  post(`${database}/query`, { sql, ...more }, headers)
const execute = (statements: ReadonlyArray<unknown>, headers: Record<string, string> = {}) =>
  post(`${database}/execute`, { statements }, headers)

describe("the database of a project", { timeout: 30_000 }, () => {
  it.live("is what its agents' tools and HTTP both see, and another project has its own", () =>
    Effect.gen(function* () {
      const model = yield* ModelScript
      yield* post(`${os}/orgs`, { org: "acme" })
      yield* post(`${os}/projects`, { project: "acme/shop" })
      const shop = { "x-opencraw-project": "acme/shop" }
      model.push(
        [
          call("database.execute", {
            statements: [
              { sql: "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)" },
              { sql: "INSERT INTO orders (what) VALUES ($1), ($2)", params: ["tea", "cake"] }
            ]
          })
        ],
        [call("database.query", { sql: "SELECT what FROM orders ORDER BY id" }, "call_2")],
        "Two orders."
      )
      const answer = yield* post(
        "/v1/chat/completions",
        { model: "opencraw", user: "ann", ...says("note my orders") },
        shop
      )

      assert.strictEqual(answer.json.choices[0].message.content, "Two orders.")
      const results = model
        .requests()
        .at(-1)
        ?.messages.flatMap((message) => (message.role === "tool" ? [message.text] : []))
      assert.deepStrictEqual(results, [
        "statement 1: 0 rows changed\nstatement 2: 2 rows changed",
        '["what"]\n["tea"]\n["cake"]\n[2 rows]'
      ])
      assert.match(model.requests()[0]?.tools?.[0]?.description ?? "", /SQLite/)
      const seen = yield* query("SELECT id, what FROM orders WHERE id > $1", { params: [1] }, shop)
      assert.deepStrictEqual(
        [seen.status, seen.json],
        [200, { columns: ["id", "what"], rows: [[2, "cake"]], is_all: true }]
      )
      const elsewhere = yield* query("SELECT * FROM orders")
      assert.deepStrictEqual([elsewhere.status, elsewhere.json.error.code], [400, "sql_refused"])
    }).pipe(Effect.provide(withDatabase()))
  )

  it.live("what its SQL gets wrong is told to the model and to the client", () =>
    Effect.gen(function* () {
      const model = yield* ModelScript
      model.push(
        [
          call("database.execute", {
            statements: [{ sql: "CREATE TABLE a (x)" }, { sql: "INSERT INTO b VALUES (1)" }]
          }),
          call("database.query", { sql: "DELETE FROM a RETURNING x" }, "call_2"),
          call("database.query", { query: "SELECT 1" }, "call_3")
        ],
        "I see."
      )
      yield* post("/v1/chat/completions", { model: "opencraw", user: "ann", ...says("go") })
      const results = model
        .requests()
        .at(-1)
        ?.messages.flatMap((message) => (message.role === "tool" ? [message.text] : []))
      assert.match(results?.[0] ?? "", /^statement 2: no such table: b/)
      assert.match(results?.[1] ?? "", /a query only reads|no such table/)
      assert.match(results?.[2] ?? "", /wrong arguments: .*query/)

      const wrong = yield* execute([{ sql: "CREATE TABLE t (x)" }, { sql: "SELEKT" }])
      assert.deepStrictEqual(
        [wrong.status, wrong.json.error.code, wrong.json.error.details],
        [400, "sql_refused", { statement: 1 }]
      )
      const refused = [
        query(""),
        query("SELECT 1", { params: "x" }),
        query("SELECT 1", { max_rows: 4 }),
        query("SELECT 1", { max_rows: 0 }),
        query("SELECT 1", { limit: 1 }),
        execute([]),
        execute(["SELECT 1"]),
        execute([{ sql: "SELECT 1", more: 1 }]),
        execute([{ sql: 7 }])
      ]
      const params: Array<string> = []
      for (const one of refused) {
        const { status, json } = yield* one
        assert.strictEqual(status, 400)
        params.push(String(json.error.param))
      }
      assert.deepStrictEqual(params, [
        "sql",
        "params",
        "max_rows",
        "max_rows",
        "limit",
        "statements",
        "statements[0]",
        "statements[0].more",
        "statements[0].sql"
      ])
    }).pipe(Effect.provide(withDatabase()))
  )

  it.live("gives as many rows as are allowed, and says that there are more", () =>
    Effect.gen(function* () {
      yield* execute([{ sql: "CREATE TABLE n (x)" }, { sql: "INSERT INTO n VALUES (1), (2), (3), (4)" }])
      const all = yield* query("SELECT x FROM n")
      const two = yield* query("SELECT x FROM n", { max_rows: 2 })
      assert.deepStrictEqual([all.json.rows.length, all.json.is_all], [3, false])
      assert.deepStrictEqual([two.json.rows.length, two.json.is_all], [2, false])
    }).pipe(Effect.provide(withDatabase()))
  )

  it.live("a reading key reads, an admin's changes, and the audit log is told who did", () =>
    Effect.gen(function* () {
      const keyFor = (scope: string) =>
        Effect.map(post(`${os}/keys`, { name: scope, scopes: [scope] }), ({ json }) => ({
          authorization: `Bearer ${String(json.key)}`,
          id: String(json.api_key.id)
        }))
      const [chat, read, admin] = [yield* keyFor("chat"), yield* keyFor("read"), yield* keyFor("admin")]
      const made = yield* execute([{ sql: "CREATE TABLE a (secret TEXT)" }], {
        authorization: admin.authorization
      })
      yield* execute([{ sql: "INSERT INTO a VALUES ($1)", params: ["hidden"] }])
      const tries = [
        query("SELECT * FROM a", {}, { authorization: chat.authorization }),
        query("SELECT * FROM a", {}, { authorization: read.authorization }),
        query("INSERT INTO a VALUES ('x') RETURNING 1", {}, { authorization: read.authorization }),
        execute([{ sql: "DROP TABLE a" }], { authorization: read.authorization }),
        execute([{ sql: "DROP TABLE a" }], { authorization: chat.authorization })
      ]
      const statuses: Array<number> = []
      for (const one of tries) statuses.push((yield* one).status)

      assert.strictEqual(made.status, 200)
      assert.deepStrictEqual(statuses, [403, 200, 400, 403, 403])
      const { text, json } = yield* ask(`${os}/audit?action=database.executed`)
      assert.deepStrictEqual(
        json.events.map((event: { actor: string; detail: { sql: string } }) => [
          event.actor,
          event.detail.sql
        ]),
        [
          ["operator", "INSERT INTO a VALUES ($1)"],
          [admin.id, "CREATE TABLE a (secret TEXT)"]
        ]
      )
      assert.notInclude(text, "hidden")
    }).pipe(Effect.provide(withDatabase()))
  )

  it.effect("a gateway without one says so, and offers no tools for it", () =>
    Effect.gen(function* () {
      const model = yield* ModelScript
      model.push("Hello.")
      yield* post("/v1/chat/completions", { model: "opencraw", user: "ann", ...says("hi") })
      const { status, json } = yield* query("SELECT 1")

      assert.deepStrictEqual([status, json.error.code], [409, "no_project_db"])
      assert.deepStrictEqual(model.requests()[0]?.tools ?? [], [])
    }).pipe(Effect.provide(layer({ config: { general: { model: "demo/demo", tools } } })))
  )
})
