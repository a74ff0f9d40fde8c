/**
 * One call's connection to its project's database: made for it, and gone with it, whatever its SQL tries.
 *
 * Owns: what a session begins with, whether the server is still busy with it, its end from outside, and what of the server's answers is
 * read. Does not own: what is asked of it (`PostgresProjectDb`), nor the databases (`pgProjects`).
 */
import { connect as connectTo, type Socket } from "node:net"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { failureOf } from "#layers/platform/pgFailure.ts"
import { schema } from "./pgProjects.ts"
import type { Scalar } from "./sqlText.ts"

/** Most bytes of one row. */
const maxMessageBytes = 8 * 1_048_576

/** Where the server is, by its URL. */
const placeOf = (
  url: string
): { readonly path: string } | { readonly host: string; readonly port: number } => {
  const { searchParams, hostname, port: written } = new URL(url)
  const host = searchParams.get("host") ?? decodeURIComponent(hostname)
  const port = Number(searchParams.get("port") ?? (written === "" ? "5432" : written))
  if (host.startsWith("/")) return { path: `${host}/.s.PGSQL.${port}` }
  return { host: host === "" ? "localhost" : host.replace(/^\[|\]$/g, ""), port }
}

/** All types that come with a server have numbers below. */
const ownTypes = 6200

/**
 * Reads no value but text. What `execute` returns is not told, and a value that the driver cannot read would end the session. Made at
 * the first use: it takes some 2 MB.
 */
let unread: PgTypes.Registry | undefined
const textOnly = (): PgTypes.Registry => {
  if (unread !== undefined) return unread
  unread = PgTypes.makeRegistry()
  const nothing = { encode: () => Result.succeed(new Uint8Array()), decode: () => Result.succeed(null) }
  for (let oid = 1; oid < ownTypes; oid++) if (oid !== PgTypes.OID.text) unread.register(oid, nothing)
  return unread
}

/** Where a project's database is, and as whom. */
export interface Place {
  readonly url: Redacted.Redacted
  readonly name: string
  readonly password: Redacted.Redacted
}

export interface Session {
  /** Of the values in its rows only text is told. */
  readonly ask: (sql: string, params?: ReadonlyArray<Scalar>) => Effect.Effect<PgConnection.Result, SqlError>
  readonly values: (sql: string) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  /** Bytes from the server, so far. */
  readonly received: () => number
  /** The server has not answered the last thing that was asked, as far as we know. */
  readonly isBusy: () => boolean
}

// As text of no type: the server reads it as what stands there, a number for a bigint or a decimal too.
const bind = (value: Scalar): string | null => (value === null ? null : String(value))

const connect = ({ url, name, password }: Place, seconds: number, stream: () => Socket) =>
  PgConnection.make({
    url,
    database: name,
    username: name,
    password,
    stream,
    prepare: false,
    types: textOnly(),
    applicationName: "opencraw project",
    maxMessageSize: maxMessageBytes,
    startupParameters: {
      search_path: schema,
      statement_timeout: `${seconds}s`,
      lock_timeout: `${seconds}s`,
      idle_in_transaction_session_timeout: `${seconds + 5}s`,
      // A query whose gateway is gone ends soon.
      client_connection_check_interval: "2s",
      // Nobody reads them.
      client_min_messages: "error",
      timezone: "UTC",
      datestyle: "ISO",
      bytea_output: "hex",
      extra_float_digits: "1"
    }
  })

const waited = "3000"

/**
 * SQL can catch its own cancellation and set its limits to none; its session's end it cannot catch. That is asked for as the project's
 * own user, and waited for.
 */
const end = (place: Place, pid: string, stream: () => Socket) =>
  connect(place, 5, stream).pipe(
    Effect.flatMap((other) =>
      other.query(`SELECT pg_catalog.pg_terminate_backend(${pid}::int4, ${waited}::int8)`, [], false)
    ),
    Effect.scoped,
    Effect.retry({ schedule: Schedule.max([Schedule.spaced("300 millis"), Schedule.recurs(3)]) }),
    Effect.timeout("10 seconds"),
    Effect.catchCause((cause) => Effect.logWarning("a statement of a project may still run", cause)),
    // In a fiber of its own: that of the call may be interrupted, and its time is to be bounded all the same.
    Effect.forkDetach({ startImmediately: true }),
    Effect.flatMap(Fiber.await)
  )

/** With it ends what it does, within some seconds. */
export const make = (place: Place, seconds: number): Effect.Effect<Session, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = placeOf(Redacted.value(place.url))
    const reach = () => ("path" in server ? connectTo(server) : connectTo({ ...server, noDelay: true }))
    let socket: Socket | undefined
    const connection = yield* connect(place, seconds, () => (socket = reach()))
    let isBusy = false
    const asked = <A>(asking: Effect.Effect<A, SqlError>) =>
      Effect.suspend(() => {
        isBusy = true
        return asking
      }).pipe(
        Effect.tap(() => Effect.sync(() => (isBusy = false))),
        Effect.tapError((error) => Effect.sync(() => (isBusy = failureOf(error).code === undefined)))
      )
    const ask = (sql: string, params: ReadonlyArray<Scalar> = []) =>
      asked(connection.query(sql, params.map(bind), false))
    // Behind a pooler the connection has another number than its session.
    const [found] = (yield* ask("SELECT pg_catalog.pg_backend_pid()::text AS pid")).rows
    const pid = String(found?.["pid"])
    yield* Effect.addFinalizer(() => (isBusy ? end(place, pid, reach) : Effect.void))
    return {
      ask,
      values: (sql) => asked(connection.queryValues(sql, [], false)),
      received: () => socket?.bytesRead ?? 0,
      isBusy: () => isBusy
    }
  })
