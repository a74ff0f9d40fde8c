/**
 * One call's connection to its project's database: made for it, and gone with it, whatever its SQL tries.
 *
 * Owns: what a session begins with, whether the server is still busy with it, its end, and how much of the server's answers is read.
 * Does not own: what is asked of it (`PostgresProjectDb`), nor the databases (`pgProjects`).
 */
import { connect as connectTo } from "node:net"
import { Duplex } from "node:stream"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { failureOf } from "#layers/platform/pgFailure.ts"
import * as pgProjects from "./pgProjects.ts"
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

/** More than a call may be sent. */
export class TooMuch extends Error {}

/** A connection that is cut as soon as more than so many bytes have come: what has come is kept until all of an answer is there. */
const bounded = (at: ReturnType<typeof placeOf>, most: number): Duplex => {
  const socket = "path" in at ? connectTo(at) : connectTo({ ...at, noDelay: true })
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (part: Uint8Array, _encoding, done) => void socket.write(part, done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    }
  })
  socket.on("data", (part) => {
    if (socket.bytesRead > most) stream.destroy(new TooMuch("more than may be sent"))
    else if (!stream.push(part)) socket.pause()
  })
  socket.on("end", () => stream.push(null))
  socket.on("error", (error) => stream.destroy(error))
  // Whoever reads it may have gone, and an error that nobody hears would end the process.
  stream.on("error", () => {})
  socket.on("close", () => stream.destroy())
  return stream
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
  /** The server has not answered the last thing that was asked, as far as we know. */
  readonly isBusy: () => boolean
  /** Nothing more is sent or read. What the server still does there is ended with the session. */
  readonly cut: Effect.Effect<void>
  /** Of the database when it began, bytes. */
  readonly size: number
  /** Statements of earlier calls still run, which the server could not end. */
  readonly isHaunted: boolean
}

// As text of no type: the server reads it as what stands there, a number for a bigint or a decimal too.
const bind = (value: Scalar): string | null => (value === null ? null : String(value))

const connect = ({ url, name, password }: Place, seconds: number, stream: () => Duplex) =>
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
      search_path: pgProjects.schema,
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

/** What runs for so much longer than a call has time should have been ended. */
export const spareSeconds = 5

/**
 * Behind a pooler a connection has another number than its session. What is asked is the server's own: no name of the project's comes
 * first. The function is what the view of the same name reads; the view takes a new session twice as long.
 */
const beginning = `SELECT pg_catalog.pg_backend_pid()::pg_catalog.text AS pid,
  pg_catalog.pg_database_size(pg_catalog.current_database())::pg_catalog.text AS size,
  pg_catalog.count(*)::pg_catalog.text AS old
  FROM pg_catalog.pg_stat_get_activity(NULL) AS one
  WHERE one.usesysid = pg_catalog.to_regrole(current_user)::pg_catalog.oid AND one.state = 'active'
    AND one.query_start < pg_catalog.now() - pg_catalog.make_interval(secs => $1)`

/** With it ends what it does, within some seconds. `most`: bytes that the server may send. */
export const make = (
  place: Place,
  seconds: number,
  most: number
): Effect.Effect<Session, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = placeOf(Redacted.value(place.url))
    let stream: Duplex | undefined
    const connection = yield* connect(place, seconds, () => (stream = bounded(server, most)))
    const socket = stream
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
    const [found] = (yield* ask(beginning, [seconds + spareSeconds])).rows
    const end = pgProjects.end(place.url, place.name, String(found?.["pid"])).pipe(
      // In a fiber of its own: that of the call may be interrupted, and its time is to be bounded all the same.
      Effect.forkDetach({ startImmediately: true }),
      Effect.flatMap(Fiber.await)
    )
    yield* Effect.addFinalizer(() => (isBusy ? end : Effect.void))
    return {
      ask,
      values: (sql) => asked(connection.queryValues(sql, [], false)),
      isBusy: () => isBusy,
      cut: Effect.sync(() => void socket?.destroy()),
      size: Number(found?.["size"]),
      isHaunted: found?.["old"] !== "0"
    }
  })
