/** Each project in a database and with a user of its own, on a real server that asks these users for their passwords. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import fs from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import { judgeProjects, mustBeFit } from "#layers/horizons/pgFitness.ts"
import { nameOf } from "#layers/horizons/pgProjects.ts"
import * as PostgresProjectDb from "#layers/horizons/PostgresProjectDb.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as Checks from "#src/check/Checks.ts"
import { type Tenant, local } from "#src/domain/Tenant.ts"
import { named, newSchema, startServer, withoutPostgres } from "../../postgres/server.ts"
import {
  execute,
  freshTenants,
  projectDbContract,
  query,
  reasonOf,
  settings
} from "../../contracts/ProjectDb.contract.ts"

/** Of no superuser: what an operator of a managed server has. */
const keeper = "keeper"

/** A server where users have to show their passwords, but the one that all other tests are. */
const server = Effect.acquireRelease(
  Effect.promise(async () => {
    const folder = fs.mkdtempSync(path.join(tmpdir(), "opencraw-hba-"))
    fs.chmodSync(folder, 0o755)
    const rules = path.join(folder, "pg_hba.conf")
    fs.writeFileSync(
      rules,
      `local all app trust\nhost all app 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n`
    )
    const started = await startServer(["fsync=off", `hba_file=${rules}`])
    return { ...started, folder }
  }),
  ({ stop, folder }) =>
    Effect.promise(async () => {
      await stop()
      fs.rmSync(folder, { recursive: true, force: true })
    })
).pipe(
  Effect.tap(({ url }) =>
    asked(url, `CREATE ROLE ${keeper} LOGIN CREATEDB CREATEROLE PASSWORD 'kept'`).pipe(
      Effect.andThen(asked(url, `GRANT ALL ON SCHEMA public TO ${keeper}`))
    )
  )
)
/** One for all of them: each has tenants of its own. */
class Server extends Context.Service<Server, Effect.Success<typeof server>>()(
  "opencraw/test/layers/horizons/PostgresProjectDb.test/Server"
) {}

const ofKeeper = (url: string) => url.replace("app@", `${keeper}:kept@`)

const asked = (url: string, sql: string) =>
  Effect.scoped(
    Effect.flatMap(PgLink.make({ url: Redacted.make(url), schema: "public" }), (link) => link.query(sql))
  )

const signal = (pid: number, name: NodeJS.Signals) => {
  try {
    process.kill(pid, name)
  } catch {
    // It is gone.
  }
}

const keys = (...digits: ReadonlyArray<string>) =>
  Redacted.make(digits.map((digit) => digit.repeat(64)).join(","))

interface Place {
  readonly url: string
  readonly prefix?: string
  readonly secrets?: Redacted.Redacted
  readonly limits?: Partial<typeof settings>
}
const on = ({ url, prefix = "test", secrets = keys("1"), limits = {} }: Place) =>
  PostgresProjectDb.layer.pipe(
    Layer.provide(
      Layer.mergeAll(
        Settings.layerFrom({ project_db: { ...settings, ...limits, url, prefix } }).pipe(Layer.orDie),
        KeySecrets.layerKeys(secrets),
        Checks.layer
      )
    )
  )

describe.skipIf(withoutPostgres)(named("databases of projects"), { timeout: 60_000 }, () => {
  projectDbContract("PostgreSQL", Layer.unwrap(Effect.map(server, ({ url }) => on({ url: ofKeeper(url) }))))

  it.layer(Layer.effect(Server, server), { timeout: 60_000, excludeTestServices: true })((it) => {
    it.effect("reaches nothing outside its database", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme, rival] = freshTenants()
        yield* asked(url, "CREATE SCHEMA opencraw")
        yield* asked(url, "CREATE TABLE opencraw.api_keys (digest TEXT)")
        yield* asked(url, "CREATE TABLE public.open (secret TEXT)")
        yield* asked(url, "GRANT ALL ON public.open TO PUBLIC")
        yield* Effect.gen(function* () {
          yield* execute(rival, "CREATE TABLE customers (id INTEGER)", "INSERT INTO customers VALUES (1)")
          yield* execute(acme, "CREATE TABLE a (id INTEGER)")
          const theirs = nameOf("test", rival)
          const reaching = [
            "SELECT * FROM opencraw.api_keys",
            "SELECT * FROM public.open",
            "SELECT * FROM postgres.public.open",
            `SELECT * FROM ${theirs}.data.customers`,
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_ls_dir('/')",
            "SELECT lo_import('/etc/passwd')",
            "SELECT rolpassword FROM pg_authid",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' OR usename IS NULL",
            "SELECT set_config('role', 'app', false)",
            "SELECT set_config('session_authorization', 'app', false)"
          ]
          for (const sql of reaching) {
            assert.strictEqual((yield* reasonOf(query(acme, sql)))._tag, "SqlRefused", sql)
            assert.strictEqual((yield* reasonOf(execute(acme, sql)))._tag, "SqlRefused", sql)
          }
          const changing = [
            "SET ROLE app",
            "SET SESSION AUTHORIZATION app",
            "COPY a FROM '/etc/passwd'",
            "COPY a TO PROGRAM 'id'",
            "CREATE EXTENSION dblink",
            "CREATE ROLE evil",
            "CREATE DATABASE evil",
            "CREATE SCHEMA evil",
            "CREATE TABLESPACE evil LOCATION '/tmp'",
            `ALTER ROLE "${nameOf("test", acme)}" SUPERUSER`,
            `ALTER ROLE "${nameOf("test", acme)}" CREATEROLE`,
            `ALTER DATABASE "${theirs}" RENAME TO gone`,
            `DROP DATABASE "${theirs}"`,
            `GRANT "${theirs}" TO "${nameOf("test", acme)}"`,
            "GRANT app TO CURRENT_USER",
            "ALTER SYSTEM SET fsync = off",
            "DO $$ BEGIN EXECUTE 'SET ROLE app'; END $$",
            "DO $$ BEGIN COMMIT; END $$"
          ]
          for (const sql of changing)
            assert.strictEqual((yield* reasonOf(execute(acme, sql)))._tag, "SqlRefused", sql)
          const seen = yield* query(
            acme,
            "SELECT relname FROM pg_class WHERE relname IN ('customers', 'api_keys')"
          )
          assert.deepStrictEqual(seen.rows, [])
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
        // With its password it could be connected to its own database alone; others' are shut to it.
        const databases = yield* asked(
          url,
          `SELECT has_database_privilege('${nameOf("test", acme)}', '${nameOf("test", rival)}', 'CONNECT') AS may`
        )
        assert.strictEqual(databases.rows[0]?.["may"], false)
      }).pipe(Effect.scoped)
    )

    it.effect("locks and notifications of a project are its own", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          yield* execute(acme, "CREATE TABLE a (id INTEGER)")
          const heard = yield* PgLink.listen({ url: Redacted.make(url), schema: "public" }, "hints")
          yield* execute(acme, "SELECT pg_notify('hints', 'forged')")
          yield* asked(url, "SELECT pg_notify('hints', 'ours')")
          assert.strictEqual((yield* Queue.take(heard)).payload, "ours")

          const theirs = "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory'"
          const holding = yield* Effect.forkScoped(
            execute(acme, "SELECT pg_advisory_lock(42)", "SELECT pg_sleep(1)")
          )
          yield* Effect.repeat(asked(url, theirs), { until: ({ rows }) => rows[0]?.["held"] === 1 })
          const free = yield* asked(url, "SELECT pg_try_advisory_lock(42) AS is_free")
          assert.strictEqual(free.rows[0]?.["is_free"], true)
          yield* Fiber.join(holding)
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("what a statement sets ends with its call, and its limits with the statement", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          yield* execute(acme, "CREATE TABLE a (id INTEGER)")
          yield* execute(acme, "SELECT set_config('search_path', 'nowhere', false)")
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[0]])
          const timeout = yield* reasonOf(
            execute(acme, "SELECT set_config('statement_timeout', '0', false)", "SELECT pg_sleep(30)")
          )
          assert.strictEqual(timeout._tag, "SqlTooLong")
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("the semicolon that ends a query is found in any text, and the search has an end", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          const one = (sql: string) => Effect.map(query(acme, sql), ({ rows }) => rows[0])
          assert.deepStrictEqual(yield* one("SELECT $a$;$A$;$a$ AS a$b$ ; -- $x$"), [";$A$;"])
          assert.deepStrictEqual(yield* one("SELECT $$;$$, E'\\';', ';' ;"), [";", "';", ";"])
          // Quotes without an end: minutes, when each of them looks for it again.
          const unended = Array.from({ length: 120_000 }, (_, at) => `$a${at}$`).join(" ")
          assert.strictEqual((yield* reasonOf(query(acme, `SELECT ${unended}`)))._tag, "SqlRefused")
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("values of PostgreSQL's own types are told as text", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        const { rows, columns } = yield* query(
          acme,
          `SELECT true AS b, 12.50::numeric AS n, 'infinity'::float8 AS i, timestamptz '2026-11-26 18:00:00+02' AS t,
          '{"a": 12345678901234567890}'::jsonb AS j, ARRAY[1,2] AS l, '\\x00ff'::bytea AS y, int4range(1, 5) AS r,
          NULL AS nothing, 9007199254740993::bigint AS big; -- the end`
        ).pipe(Effect.provide(on({ url: ofKeeper(url) })))
        assert.deepStrictEqual(columns, ["b", "n", "i", "t", "j", "l", "y", "r", "nothing", "big"])
        assert.deepStrictEqual(rows, [
          [
            true,
            "12.50",
            "Infinity",
            "2026-11-26 16:00:00+00",
            '{"a": 12345678901234567890}',
            "{1,2}",
            "\\x00ff",
            "[1,5)",
            null,
            "9007199254740993"
          ]
        ])
      }).pipe(Effect.scoped)
    )

    it.effect("what a statement returns by the gigabyte ends it, not us", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          const many = yield* reasonOf(
            execute(acme, "SELECT repeat('x', 1000000) FROM generate_series(1, 100000)")
          )
          assert.strictEqual(many._tag, "SqlTooBig")
          const nothing = Array.from({ length: 1600 }, () => "NULL").join(", ")
          const wide = yield* reasonOf(execute(acme, `SELECT ${nothing} FROM generate_series(1, 1000000)`))
          assert.strictEqual(wide._tag, "SqlTooBig")
          const one = yield* reasonOf(query(acme, "SELECT repeat('x', 20000000)"))
          assert.strictEqual(one._tag, "SqlTooBig")
          assert.deepStrictEqual((yield* query(acme, "SELECT 1")).rows, [[1]])
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("a deferred constraint is told of at the end; nothing is kept", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          yield* execute(
            acme,
            "CREATE TABLE a (id INTEGER PRIMARY KEY)",
            "CREATE TABLE b (a INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)"
          )
          const reason = yield* reasonOf(execute(acme, "INSERT INTO b VALUES (1)"))
          assert.strictEqual(reason._tag, "SqlRefused")
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM b")).rows, [[0]])

          const long = yield* reasonOf(
            execute(acme, "DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 1000000); END $$")
          )
          assert.deepStrictEqual([long._tag, long.message.length], ["SqlRefused", 2000])
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("what catches its own cancellation is ended all the same", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        const unlimited = `PERFORM set_config('statement_timeout', '0', false);
          PERFORM set_config('client_connection_check_interval', '0', false);`
        const stubborn = `DO $$ BEGIN LOOP BEGIN ${unlimited} LOOP PERFORM 1; END LOOP;
          EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$`
        // As well as whoever comes to end it.
        const fighting = `DO $$ BEGIN LOOP BEGIN ${unlimited} LOOP PERFORM pg_terminate_backend(pid)
          FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL AND (usename = current_user OR usename IS NULL); END LOOP;
          EXCEPTION WHEN query_canceled OR insufficient_privilege THEN NULL; END; END LOOP; END $$`
        yield* Effect.gen(function* () {
          yield* execute(acme, "CREATE TABLE a (id INTEGER)")
          const theirs = `SELECT count(*)::int4 AS count FROM pg_stat_activity WHERE usename = '${nameOf("test", acme)}'`
          for (const sql of [stubborn, fighting]) {
            const reason = yield* reasonOf(execute(acme, "INSERT INTO a VALUES (1)", sql))
            assert.strictEqual(reason._tag, "SqlTooLong")
            assert.strictEqual((yield* asked(url, theirs)).rows[0]?.["count"], 0)
          }
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[0]])
          // Nobody waits for it any more.
          yield* Effect.timeoutOption(execute(acme, stubborn), "500 millis")
          assert.strictEqual((yield* asked(url, theirs)).rows[0]?.["count"], 0)
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("while the server is at what it cannot end, its project alone has to wait", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme, rival] = freshTenants()
        yield* Effect.gen(function* () {
          for (const tenant of [acme, rival]) yield* query(tenant, "SELECT 1")
          const theirs = `SELECT pid FROM pg_stat_activity WHERE usename = '${nameOf("test", acme)}' AND wait_event = 'PgSleep'`
          const pid = Effect.map(asked(url, theirs), ({ rows }) => Number(rows[0]?.["pid"] ?? 0))
          const running = yield* Effect.forkScoped(
            reasonOf(execute(acme, "CREATE TABLE a (id INTEGER)", "SELECT pg_sleep(60)"))
          )
          const deaf = yield* Effect.repeat(pid, { until: (one) => one > 0 })
          // It hears no signal, as within libxml.
          process.kill(deaf, "SIGSTOP")
          yield* Effect.addFinalizer(() => Effect.sync(() => signal(deaf, "SIGCONT")))
          assert.strictEqual((yield* Fiber.join(running))._tag, "SqlTooLong")
          assert.strictEqual(yield* pid, deaf)
          const busy = yield* Effect.repeat(Effect.result(query(acme, "SELECT 1")), {
            until: Result.isFailure
          })
          assert.deepStrictEqual(Result.isFailure(busy) && [busy.failure.reason._tag, busy.failure.message], [
            "StoreBusy",
            "the store is busy: the server is still at a statement of this project that it could not end"
          ])
          yield* query(rival, "SELECT 1")
          const found = yield* judgeProjects(
            { ...settings, prefix: "test", max_rows: 1, url: Redacted.make(ofKeeper(url)) },
            { url: Redacted.make(url), schema: "public" }
          )
          assert.include(found.message, `its processes ${deaf}`)
          signal(deaf, "SIGCONT")
          yield* Effect.repeat(pid, { until: (one) => one === 0 })
          assert.strictEqual((yield* reasonOf(query(acme, "SELECT * FROM a")))._tag, "SqlRefused")
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("its user is not its own to change, and nothing of it runs outside of its calls", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          const name = nameOf("test", acme)
          yield* execute(
            acme,
            "CREATE TABLE a (id INTEGER, t TEXT)",
            "CREATE DOMAIN small AS INTEGER CHECK (VALUE < 9)",
            "CREATE TYPE pair AS (x INTEGER, y INTEGER)"
          )
          const made =
            "CREATE FUNCTION f(INTEGER) RETURNS INTEGER LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$"
          const sets = [
            ["ALTER ROLE CURRENT_USER PASSWORD 'mine'"],
            ["ALTER ROLE CURRENT_USER SET local_preload_libraries = 'nothing'"],
            [`ALTER ROLE "${name}" IN DATABASE "${name}" SET default_transaction_read_only = on`],
            ["DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', current_user, 'mine'); END $$"],
            [made],
            ["CREATE FUNCTION one() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'"],
            ["CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'"],
            [made, "CREATE INDEX ON a (f(id))"],
            [
              "CREATE FUNCTION far(INTEGER, INTEGER) RETURNS FLOAT8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $2 - $1; END $$",
              "CREATE TYPE span AS RANGE (subtype = INTEGER, subtype_diff = far)"
            ],
            ["CREATE INDEX ON a ((id::small))"],
            ["CREATE INDEX ON a (lower(t))"],
            ["CREATE INDEX ON a (id) WHERE id::small > 1"],
            ["CREATE INDEX ON a (id) WHERE t LIKE 'x%'"],
            ["CREATE INDEX ON a (id) WHERE t ~ '(x+x+)+y'"],
            ["CREATE INDEX ON a (id) WHERE id + 1 > 1"],
            // Its own operator, which claims to be the opposite of one of the server's.
            [
              "CREATE OPERATOR <~> (FUNCTION = textregexeq, LEFTARG = TEXT, RIGHTARG = TEXT, NEGATOR = =)",
              "CREATE INDEX ON a (id) WHERE t <~> '(x+x+)+y'"
            ],
            ["CREATE TABLE c (id INTEGER, EXCLUDE USING gist (int4range(id, id + 1) WITH &&))"],
            // Some of the server's own functions take SQL as text.
            ["CREATE STATISTICS s ON (query_to_xml('SELECT pg_sleep(60)', true, true, '')::text), id FROM a"],
            ["CREATE STATISTICS s ON (id + 1), t FROM a"],
            ["CREATE CAST (pair AS TEXT) WITH INOUT AS IMPLICIT"],
            ["CREATE TEMP TABLE pg_locks (pid INTEGER)"]
          ]
          for (const one of sets) {
            const reason = yield* reasonOf(execute(acme, "INSERT INTO a VALUES (1)", ...one))
            assert.strictEqual(reason._tag, "SqlRefused", one.join("; "))
          }
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[0]])

          // A cursor that is to outlive its transaction would be read at COMMIT, when this is gone again.
          const evil =
            "CREATE FUNCTION evil() RETURNS INTEGER LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a VALUES (7); RETURN 1; END $$"
          for (const declare of [
            "DECLARE c CURSOR WITH HOLD FOR SELECT evil()",
            "DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT evil()'; END $$"
          ])
            yield* Effect.ignore(execute(acme, evil, declare, "DROP FUNCTION evil"))
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[0]])

          // A check that is put off again by what it runs, would run that once more at COMMIT.
          const late = yield* reasonOf(
            execute(
              acme,
              "CREATE TABLE k (id INTEGER PRIMARY KEY)",
              "INSERT INTO k VALUES (1)",
              "CREATE TABLE b (p pair, CONSTRAINT c FOREIGN KEY (p) REFERENCES k DEFERRABLE INITIALLY DEFERRED)"
            )
          )
          assert.strictEqual(late._tag, "SqlRefused")
          const again = `CREATE FUNCTION again(pair) RETURNS INTEGER LANGUAGE plpgsql AS $$ BEGIN
            SET CONSTRAINTS ALL DEFERRED; INSERT INTO b VALUES (ROW(1, 1)::pair); INSERT INTO a VALUES (8); RETURN 1; END $$`
          const put = yield* reasonOf(
            execute(
              acme,
              "CREATE TABLE k (id INTEGER PRIMARY KEY)",
              "INSERT INTO k VALUES (1)",
              "CREATE TABLE b (p pair)",
              again,
              "CREATE CAST (pair AS INTEGER) WITH FUNCTION again(pair) AS IMPLICIT",
              "ALTER TABLE b ADD CONSTRAINT c FOREIGN KEY (p) REFERENCES k DEFERRABLE INITIALLY DEFERRED",
              "INSERT INTO b VALUES (ROW(1, 1)::pair)"
            )
          )
          assert.match(put.message, /functions and procedures that are kept/)
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[0]])

          yield* execute(
            acme,
            "ALTER TABLE a ADD COLUMN low TEXT GENERATED ALWAYS AS (lower(t)) STORED, ADD COLUMN is_done BOOLEAN, ADD COLUMN name VARCHAR(20)",
            "CREATE UNIQUE INDEX ON a (low) WHERE id > 1 AND NOT is_done OR t IS NULL",
            "CREATE INDEX ON a (id) WHERE t IN ('open', 'late') AND id <> 5 AND is_done IS NOT TRUE AND name = 'x'",
            "CREATE INDEX ON a USING brin (id)",
            "CREATE TABLE owned (id small PRIMARY KEY, ids small[])",
            "CREATE INDEX ON owned USING gin (ids)",
            "CREATE STATISTICS s ON id, t FROM a",
            "CREATE TYPE mood AS ENUM ('x')",
            "CREATE TYPE span AS RANGE (subtype = INTEGER)",
            made,
            "SELECT f(1)",
            "DROP FUNCTION f"
          )
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("a project does not shut itself out", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          for (const sql of [
            "DROP OWNED BY CURRENT_USER",
            "REVOKE ALL ON SCHEMA data FROM CURRENT_USER",
            `REVOKE ALL ON DATABASE "${nameOf("test", acme)}" FROM CURRENT_USER`
          ]) {
            yield* execute(acme, sql)
            assert.deepStrictEqual(
              yield* execute(acme, "CREATE TABLE a (id INTEGER)", "DROP TABLE a"),
              [0, 0]
            )
          }
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("what is taken back, and what deletes set off, does not pass the limit of size", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        const rows = (many: number) =>
          `INSERT INTO a SELECT g, repeat('x', 1900) FROM generate_series(1, ${many}) AS g`
        const size = Effect.map(
          asked(url, `SELECT pg_database_size('${nameOf("test", acme)}')::int8 AS bytes`),
          ({ rows }) => Number(rows[0]?.["bytes"]) / 1_048_576
        )
        yield* Effect.gen(function* () {
          yield* execute(
            acme,
            "CREATE TABLE a (id INTEGER, t TEXT)",
            "CREATE TABLE b (id INTEGER)",
            "CREATE RULE m AS ON DELETE TO b DO ALSO INSERT INTO a SELECT 2, repeat('x', 1900) FROM generate_series(1, 20000)"
          )
          const small = yield* size
          for (let round = 0; round < 4; round++) {
            assert.strictEqual((yield* reasonOf(execute(acme, rows(10_000), "SELEKT")))._tag, "SqlRefused")
            assert.strictEqual((yield* reasonOf(execute(acme, "DELETE FROM b")))._tag, "ProjectDbFull")
            // Before 16, PostgreSQL let a transaction that only reads make large objects.
            const large =
              "SELECT count(lo_from_bytea(0, convert_to(repeat('x', 1000000), 'UTF8'))) FROM generate_series(1, 30)"
            yield* Effect.ignore(query(acme, large))
            yield* Effect.ignore(query(acme, `SELECT 1 / (q.count - 30) FROM (${large}) AS q`))
          }
          assert.isBelow(yield* size, small + 8)
          assert.strictEqual((yield* reasonOf(execute(acme, rows(6000))))._tag, "ProjectDbFull")
          yield* execute(acme, rows(2000))
          // At its limit: what is deleted makes room at once.
          while (true) {
            const more = yield* Effect.result(execute(acme, rows(200)))
            if (Result.isFailure(more)) break
          }
          yield* execute(acme, "DELETE FROM a")
          yield* execute(acme, rows(200))
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("what another call takes back is not room for this one", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        const rows = (megabytes: number) =>
          `INSERT INTO a SELECT repeat('x', 1900) FROM generate_series(1, ${megabytes * 500}) AS g`
        const untilBelow = (megabytes: number) =>
          `DO $$ BEGIN WHILE pg_database_size(current_database()) > ${megabytes} * 1048576 LOOP PERFORM pg_sleep(0.05); END LOOP; END $$`
        const waiting = (event: string) =>
          Effect.repeat(
            asked(
              url,
              `SELECT count(*)::int4 AS count FROM pg_stat_activity WHERE usename = '${nameOf("test", acme)}' AND wait_event = '${event}'`
            ),
            { until: ({ rows }) => rows[0]?.["count"] === 1 }
          )
        yield* Effect.gen(function* () {
          yield* execute(acme, "CREATE TABLE a (t TEXT)")
          const first = yield* Effect.forkScoped(
            Effect.flip(execute(acme, "SELECT pg_advisory_lock(1)", rows(50), "SELECT pg_sleep(2)", "SELEKT"))
          )
          yield* waiting("PgSleep")
          const second = reasonOf(execute(acme, "SELECT pg_advisory_lock(1)", untilBelow(20), rows(42)))
          assert.strictEqual((yield* second)._tag, "ProjectDbFull")
          yield* Fiber.join(first)
          assert.deepStrictEqual((yield* query(acme, "SELECT count(*) FROM a")).rows, [[0]])
        }).pipe(Effect.provide(on({ url: ofKeeper(url), limits: { max_mb: 32, timeout_s: 20 } })))
      }).pipe(Effect.scoped)
    )

    it.effect("what is returned need not be read, and an error that SQL raises is its own", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme] = freshTenants()
        yield* Effect.gen(function* () {
          const changes = yield* execute(
            acme,
            "CREATE TABLE p (at POINT, grid INTEGER[][])",
            "INSERT INTO p VALUES (point(1, 2), '{{1,2},{3,4}}') RETURNING *, ROW(1, 'x'), 5, 'NaN'::numeric, true",
            "UPDATE p SET grid = NULL RETURNING at, box(at, at), int8multirange(int8range(1, 2))"
          )
          assert.deepStrictEqual(changes, [0, 1, 1])
          for (const state of ["53100", "57014", "40001", "57P01", "XX000", "E0001"]) {
            const reason = yield* reasonOf(
              execute(acme, `DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = '${state}'; END $$`)
            )
            assert.deepStrictEqual([reason._tag, reason.message], ["SqlRefused", "own"], state)
          }
          const own = yield* reasonOf(execute(acme, "SELECT pg_cancel_backend(pg_backend_pid())"))
          assert.deepStrictEqual(
            [own._tag, own.message],
            ["SqlRefused", "canceling statement due to user request"]
          )
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("a project that asks much does not keep another waiting until it has all", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        const [acme, rival] = freshTenants()
        yield* Effect.gen(function* () {
          for (const tenant of [acme, rival]) yield* query(tenant, "SELECT 1")
          let done = 0
          const slow = Effect.tap(query(acme, "SELECT pg_sleep(0.5)"), () => Effect.sync(() => done++))
          const many = yield* Effect.forkScoped(
            Effect.all(
              Array.from({ length: 40 }, () => slow),
              { concurrency: "unbounded" }
            )
          )
          yield* Effect.repeat(
            asked(url, "SELECT count(*)::int4 AS count FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
            {
              until: ({ rows }) => Number(rows[0]?.["count"]) === 8
            }
          )
          yield* query(rival, "SELECT 1")
          assert.isBelow(done, 17)
          yield* Fiber.join(many)
        }).pipe(Effect.provide(on({ url: ofKeeper(url) })))
      }).pipe(Effect.scoped)
    )

    it.effect("two gateways make the same database at once, and a restarted server is met again", () =>
      Effect.gen(function* () {
        const started = yield* Server
        const url = ofKeeper(started.url)
        const [acme] = freshTenants()
        const both = [on({ url }), on({ url })]
        const made = yield* Effect.forEach(
          both,
          (layer) => query(acme, "SELECT 1").pipe(Effect.provide(layer)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          made.map(({ rows }) => rows),
          [[[1]], [[1]]]
        )
        yield* Effect.gen(function* () {
          yield* execute(acme, "CREATE TABLE a (id INTEGER)", "INSERT INTO a VALUES (7)")
          yield* Effect.promise(started.kill)
          const away = yield* reasonOf(query(acme, "SELECT 1"))
          assert.strictEqual(away._tag, "StoreBusy")
          yield* Effect.promise(started.start)
          assert.deepStrictEqual((yield* query(acme, "SELECT id FROM a")).rows, [[7]])
        }).pipe(Effect.provide(on({ url })))
      }).pipe(Effect.scoped)
    )

    it.effect("another key behind the first opens what the first has made; without it, it is told", () =>
      Effect.gen(function* () {
        const { url: app } = yield* Server
        const url = ofKeeper(app)
        const [acme] = freshTenants()
        const one = (secrets: Redacted.Redacted) =>
          query(acme, "SELECT id FROM a").pipe(Effect.provide(on({ url, secrets })))
        yield* execute(acme, "CREATE TABLE a (id INTEGER)", "INSERT INTO a VALUES (7)").pipe(
          Effect.provide(on({ url, secrets: keys("1") }))
        )
        const stranger = yield* reasonOf(one(keys("2")))
        assert.strictEqual(stranger._tag, "StoreBroken")
        assert.match(stranger.message, /another project_db.prefix|OPENCRAW_SECRETS_KEY/)
        assert.deepStrictEqual((yield* one(keys("1"))).rows, [[7]])
        assert.deepStrictEqual((yield* one(keys("2", "1"))).rows, [[7]])
        assert.deepStrictEqual((yield* one(keys("2"))).rows, [[7]])
        assert.strictEqual((yield* reasonOf(one(keys("1"))))._tag, "StoreBroken")
        // Somebody else has given it another password.
        yield* asked(app, `ALTER ROLE "${nameOf("test", acme)}" PASSWORD 'theirs'`)
        assert.deepStrictEqual((yield* one(keys("2"))).rows, [[7]])
      }).pipe(Effect.scoped)
    )

    it.effect("a user that may not make databases is told of at the start, with what else is wrong", () =>
      Effect.gen(function* () {
        const { url } = yield* Server
        yield* asked(url, "CREATE ROLE poor LOGIN NOINHERIT PASSWORD 'p'")
        const at = (user: string) => ({
          prefix: "test",
          max_rows: 1,
          ...settings,
          url: Redacted.make(url.replace("app@", user))
        })
        const poor = at("poor:p@")
        const options = { url: Redacted.make(url), schema: newSchema() }
        const unfit = yield* Effect.flip(mustBeFit(options, true, poor))
        assert.strictEqual(unfit._tag, "StoreUnfit")
        assert.match(unfit.message, /project_db.url: poor may not make .*ALTER ROLE poor CREATEDB CREATEROLE/)
        assert.match(unfit.message, /poor may not end what projects run: ALTER ROLE poor INHERIT/)
        const both = yield* Effect.flip(mustBeFit({ ...options, url: poor.url }, true, poor))
        assert.match(both.message, /may not create it[\s\S]*project_db.url: poor may not make/)
        const fit = at(`${keeper}:kept@`)
        yield* mustBeFit(options, true, fit)
        const shared = yield* judgeProjects(fit, options)
        assert.strictEqual(shared.status, "warning")
        assert.match(shared.message, /it is the server of postgres.url/)
        const elsewhere = { ...options, url: Redacted.make(url.replace(/:\d+\//, ":1/")) }
        assert.strictEqual((yield* judgeProjects(fit, elsewhere)).status, "ok")
        const nobody = yield* reasonOf(
          query(local as Tenant, "SELECT 1").pipe(Effect.provide(on({ url: url.replace(/:\d+\//, ":1/") })))
        )
        assert.strictEqual(nobody._tag, "StoreBusy")
      }).pipe(Effect.scoped)
    )
  })
})
