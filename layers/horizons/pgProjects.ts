/**
 * The databases of projects on a PostgreSQL server: their names, and how they are made.
 *
 * Each project has a database and a user of its own. That user may connect to no other project's, owns nothing but what it made, and
 * knows no password of anything. So its SQL reaches no other tables, names, locks or notifications than the project's: the server keeps
 * them apart, not we. What the server has for all (room for locks, workers) they share.
 *
 * Owns: making both, safely beside other nodes, taking them back after the key of the secrets has changed, and what is done there with
 * the rights of who made them, which no SQL of a project can hinder: ending its sessions, giving room back.
 */
import { createHash } from "node:crypto"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { Secrets } from "#src/horizons/Secrets.ts"
import { failureOf, PgFailure } from "#layers/platform/pgFailure.ts"
import { scramVerifier } from "#layers/platform/scram.ts"

export interface Server {
  /** Of a user that may make databases and users. */
  readonly url: Redacted.Redacted
  readonly prefix: string
}

/** The database and the user of a project, which have the same name. Other projects see names of databases: these tell them nothing. */
export const nameOf = (prefix: string, { org, project }: Tenant): string =>
  `${prefix}_${createHash("sha256").update(`${org}/${project}`).digest("hex").slice(0, 32)}`

/** Where a project's tables are in its database. */
export const schema = "data"

export const passwordOf = (secrets: Secrets["Service"], name: string): Redacted.Redacted =>
  secrets.derived(["project_db", name])[0] ?? Redacted.make("")

/** What we write on a user of ours: nobody without a key of ours can. */
const marks = (secrets: Secrets["Service"], name: string): ReadonlyArray<string> =>
  secrets.derived(["project_db mark", name]).map(Redacted.value)

/** Users for a database of one project: as many of its connections at once as all nodes may want. */
const connections = 32

/** Somebody else has just made the same. */
const isThere = ({ code }: PgFailure): boolean => code === "42710" || code === "42P04" || code === "23505"
const unlessThere = <A>(making: Effect.Effect<A, PgFailure>) =>
  Effect.catchIf(making, isThere, () => Effect.void)

const connect = (url: Redacted.Redacted, database?: string) =>
  PgConnection.make({
    url,
    ...(database === undefined ? {} : { database }),
    prepare: false,
    applicationName: "opencraw projects",
    // No name of a project's comes before the server's.
    startupParameters: { statement_timeout: "30s", lock_timeout: "10s", search_path: "pg_catalog" }
  }).pipe(Effect.mapError(failureOf))

const ask = (session: PgConnection.PgConnection, sql: string, params: ReadonlyArray<unknown> = []) =>
  Effect.mapError(session.query(sql, params, false), failureOf)

const markOf = "SELECT shobj_description(oid, 'pg_authid') AS mark FROM pg_roles WHERE rolname = $1"

const stranger = (name: string) =>
  new PgFailure({
    kind: "broken",
    detail: `the user ${name} was made by another installation, or with a key that is gone: give this one another project_db.prefix, or add that key behind the present one in OPENCRAW_SECRETS_KEY`
  })

/** The user exists, with the password of the present key; one that is not ours is left alone. */
const ownUser = Effect.fnUntraced(function* (
  session: PgConnection.PgConnection,
  secrets: Secrets["Service"],
  name: string,
  isLockedOut: boolean
) {
  const ours = marks(secrets, name)
  // The names are of letters, digits and _, and so are marks and verifiers of what stands in no string.
  const password = `PASSWORD '${scramVerifier(Redacted.value(passwordOf(secrets, name)))}'`
  const mark = `COMMENT ON ROLE "${name}" IS '${ours[0] ?? ""}'`
  const found = (yield* ask(session, markOf, [name])).rows[0]
  if (found === undefined) {
    yield* ask(session, "BEGIN")
    const making = Effect.andThen(
      ask(
        session,
        `CREATE ROLE "${name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS CONNECTION LIMIT ${connections} ${password}`
      ),
      ask(session, mark)
    )
    // Both or none: a user without a mark would be taken for a stranger's.
    yield* unlessThere(making).pipe(
      Effect.matchEffect({
        onFailure: (failure) => Effect.andThen(ask(session, "ROLLBACK"), Effect.fail(failure)),
        onSuccess: () => ask(session, "COMMIT")
      })
    )
    return
  }
  const at = ours.indexOf(String(found["mark"]))
  if (at < 0) return yield* stranger(name)
  // After the key was changed, or when the project's own SQL has set another password.
  if (at > 0 || isLockedOut) yield* ask(session, `ALTER ROLE "${name}" ${password}`)
  if (at > 0) yield* ask(session, mark)
})

const makeOnce = (server: Server, secrets: Secrets["Service"], name: string, isLockedOut: boolean) =>
  Effect.gen(function* () {
    const session = yield* connect(server.url)
    yield* ownUser(session, secrets, name, isLockedOut)
    // Whoever has its rights may end its sessions.
    yield* ask(session, `GRANT "${name}" TO CURRENT_USER`)
    const found = yield* ask(session, "SELECT 1 FROM pg_database WHERE datname = $1", [name])
    // Nobody else is ever connected to template0, which is what making a copy waits for.
    if (found.rows.length === 0)
      yield* unlessThere(ask(session, `CREATE DATABASE "${name}" TEMPLATE template0`))
    yield* ask(session, `REVOKE ALL ON DATABASE "${name}" FROM PUBLIC`)
    // No temporary tables: the server does things to them at the end of a transaction, after all that is looked at.
    yield* ask(session, `REVOKE TEMPORARY ON DATABASE "${name}" FROM "${name}"`)
    yield* ask(session, `GRANT CONNECT ON DATABASE "${name}" TO "${name}"`)
    const inside = yield* connect(server.url, name)
    yield* ask(inside, `CREATE SCHEMA IF NOT EXISTS ${schema}`)
    yield* ask(inside, `GRANT USAGE, CREATE ON SCHEMA ${schema} TO "${name}"`)
  }).pipe(Effect.scoped)

/** Of two nodes that grant the same at once, the server fails one. */
const again = Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(3)])

/**
 * Makes what is missing. May be done again at any time, and by several at once. `isLockedOut`: the user did not take its password, and
 * gets it again.
 */
export const make = (
  server: Server,
  secrets: Secrets["Service"],
  name: string,
  isLockedOut = false
): Effect.Effect<void, PgFailure> =>
  Effect.retry(makeOnce(server, secrets, name, isLockedOut), {
    while: ({ code, kind }) => kind === "conflict" || code === "XX000",
    schedule: again
  }).pipe(
    // Others wait for their turn.
    Effect.timeoutOrElse({
      duration: "60 seconds",
      orElse: () =>
        new PgFailure({ kind: "busy", detail: `the database ${name} is not made within a minute` })
    })
  )

/** How long the end of a session is waited for at once, milliseconds. */
const endMillis = 3000

const stuck = (name: string, pid: string) =>
  Effect.logWarning(
    `a statement of the project database ${name} does not hear its end (process ${pid} of the server): no more of it is taken until it is over`
  )

/**
 * Ends a session of a project, which its SQL can neither catch nor hinder, and waits for it, for ten seconds at most. A server does not
 * hear it everywhere: libxml does not look.
 */
export const end = (url: Redacted.Redacted, name: string, pid: string): Effect.Effect<void> =>
  connect(url).pipe(
    Effect.flatMap((session) =>
      ask(
        session,
        "SELECT pg_terminate_backend(pid, $3::int8) AS is_over FROM pg_stat_activity WHERE pid = $1::int4 AND usename = $2",
        [pid, name, String(endMillis)]
      )
    ),
    Effect.scoped,
    Effect.retry(Schedule.max([Schedule.spaced("300 millis"), Schedule.recurs(3)])),
    Effect.timeout("10 seconds"),
    Effect.flatMap(({ rows }) => (rows[0]?.["is_over"] === false ? stuck(name, pid) : Effect.void)),
    Effect.catchCause((cause) => Effect.logWarning("a statement of a project may still run", cause))
  )

/** Gives back the room of what was deleted or taken back, as far as the server can now, when the database has more bytes than that. */
export const tidy = (url: Redacted.Redacted, name: string, bytes: number): Effect.Effect<void> =>
  Effect.gen(function* () {
    const session = yield* connect(url, name)
    const { rows } = yield* ask(
      session,
      "SELECT pg_database_size(current_database()) > $1::int8 AS is_grown",
      [String(bytes)]
    )
    if (rows[0]?.["is_grown"] === true) yield* ask(session, "VACUUM (SKIP_LOCKED)")
  }).pipe(
    Effect.scoped,
    Effect.timeout("10 seconds"),
    Effect.catchCause((cause) => Effect.logDebug("a project's database was not tidied", cause))
  )
