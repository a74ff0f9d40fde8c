/**
 * One connection to Postgres that is opened when it is needed, and opened again after it was lost.
 *
 * Owns: what holds for every session of ours (durable commits, deadlines of the server, where the tables are) and how values and
 * placeholders are written. Statements that are sent before earlier ones were answered are answered in their order.
 * Does not own: transactions (`PgWriter`), nor when to try again.
 */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { failureOf, type PgFailure } from "./pgFailure.ts"
import { numbered } from "./pgStatements.ts"
import type { Param, Statement } from "./statements.ts"
import { storable } from "./storable.ts"

export interface Options {
  readonly url: Redacted.Redacted
  /** The schema our tables are in. */
  readonly schema: string
  /** What the server calls our sessions; one of several nodes has a name of its own. */
  readonly name?: string
}

/** One open connection. Once it is lost every statement fails as `unreachable`: a transaction never goes on somewhere else. */
export interface Session {
  readonly query: (
    sql: string,
    params?: ReadonlyArray<Param>
  ) => Effect.Effect<PgConnection.Result, PgFailure>
  readonly ask: (statement: Statement) => Effect.Effect<PgConnection.Result, PgFailure>
}

/** A statement that stands alone may be sent by the link itself: it opens another connection when the last one was lost. */
export interface Link extends Session {
  /** The open connection, opened unless it is: for what must stay on one. */
  readonly open: Effect.Effect<Session, PgFailure>
  /** Drop the connection, and with it what its transaction did. */
  readonly close: Effect.Effect<void>
}

/** Counts and times are bigint, all of them far below 2^53; a larger one must not be rounded silently. */
const toNumber = (value: bigint): number => {
  const number = Number(value)
  if (!Number.isSafeInteger(number)) throw new RangeError("a bigint of the database is beyond 2^53")
  return number
}

const bytesOf = new DataView(new ArrayBuffer(8))
const bigints: PgTypes.Codec<number | bigint> = {
  encode: (value) => {
    bytesOf.setBigInt64(0, BigInt(value))
    return Result.succeed(new Uint8Array(bytesOf.buffer.slice(0)))
  },
  decode: (bytes) => Result.succeed(toNumber(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0)))
}

const types = PgTypes.makeRegistry()
types.register(PgTypes.OID.int8, bigints)

const bind = (value: Param): unknown => {
  switch (typeof value) {
    case "string":
      return storable(value)
    case "number":
      // One type for every whole number: the same statement is then prepared once.
      return Number.isSafeInteger(value) ? BigInt(value) : PgTypes.float8(value)
    case "boolean":
      return value ? 1n : 0n
    default:
      return value ?? null
  }
}

/**
 * A commit is durable before it is told; stronger settings of the server stay. A statement that waits longer is given up by the
 * server, so that nothing of ours holds a lock for ever.
 */
const prepareSession = `SELECT set_config('search_path', quote_ident($1), false),
  set_config('statement_timeout', '15s', false), set_config('lock_timeout', '5s', false),
  set_config('idle_in_transaction_session_timeout', '30s', false),
  set_config('synchronous_commit',
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on' ELSE current_setting('synchronous_commit') END,
    false)`

export const make = (options: Options): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.gen(function* () {
    const opening = Semaphore.makeUnsafe(1)
    let current: (Session & { readonly scope: Scope.Closeable }) | undefined

    const drop = (dead: typeof current) =>
      Effect.suspend(() => {
        if (dead === undefined) return Effect.void
        if (current === dead) current = undefined
        return Scope.close(dead.scope, Exit.void)
      })
    const connect = Effect.gen(function* () {
      if (current !== undefined) return current
      const scope = yield* Scope.make()
      const connection = yield* PgConnection.make({
        url: options.url,
        multiplex: true,
        types,
        applicationName: options.name ?? "opencraw",
        keepAlive: "10 seconds",
        preparedStatementCacheSize: 200,
        maxMessageSize: 256 * 1024 * 1024
      }).pipe(
        Effect.tap((made) => made.query(prepareSession, [options.schema], false)),
        Effect.provideService(Scope.Scope, scope),
        Effect.mapError(failureOf),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      const query: Session["query"] = (sql, params = []) =>
        connection.query(sql, params.map(bind)).pipe(
          Effect.mapError(failureOf),
          Effect.tapError((failure) => (failure.kind === "unreachable" ? drop(made) : Effect.void))
        )
      const ask: Session["ask"] = ({ sql, params }) => query(numbered(sql), params)
      const made = { query, ask, scope }
      current = made
      return made
    })
    const open = Effect.suspend(() =>
      current === undefined ? Effect.uninterruptible(opening.withPermit(connect)) : Effect.succeed(current)
    )
    const link: Link = {
      query: (sql, params) => Effect.flatMap(open, (session) => session.query(sql, params)),
      ask: (statement) => Effect.flatMap(open, (session) => session.ask(statement)),
      open,
      close: Effect.suspend(() => drop(current))
    }
    yield* Effect.addFinalizer(() => link.close)
    return link
  })

/** What is notified on the channel from now on, until the connection is lost; then taking from it fails. */
export const listen = (options: Options, channel: string) =>
  PgConnection.make({
    url: options.url,
    applicationName: options.name ?? "opencraw",
    keepAlive: "10 seconds"
  }).pipe(
    Effect.flatMap((connection) => connection.listen(channel)),
    Effect.mapError(failureOf)
  )

/** What the server's answer is to whoever waits in a body. */
export const replyTo = ({ wants }: Statement, { rows, rowCount }: PgConnection.Result): unknown =>
  wants === "rows" ? rows : rowCount
