/**
 * Effect's SqlClient over `node:sqlite`, and the direct door for what is hot.
 *
 * Owns: the two connections of a file (one writer, one read-only reader) and the mapping of failures to `SqlError`.
 * Does not own: group commit and durability (`SqliteWriter`), nor any table.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import * as SqlError from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as SqliteEngine from "./SqliteEngine.ts"
import { type Db, errorCode, failureOf, type Mode, SqliteFailure } from "./SqliteEngine.ts"
import * as SqliteWriter from "./SqliteWriter.ts"

export type { Db } from "./SqliteEngine.ts"
export { answered, SqliteFailure } from "./SqliteEngine.ts"

/** The direct door to one SQLite file: plain code inside a transaction, no SQL builder between. */
export class Sqlite extends Context.Service<
  Sqlite,
  {
    /**
     * All or nothing, durable when it succeeds: see `SqliteWriter.Writer.unit`. The body runs in this very turn unless a
     * transaction of the SqlClient holds the writer.
     */
    readonly unit: <A, E = never>(
      body: (db: Db) => Result.Result<A, E>
    ) => Effect.Effect<A, E | SqliteFailure>
    /** Read committed rows, at once, all statements of the body from the same state. A commit may be seen before its sync. */
    readonly read: <A>(body: (db: Db) => A) => Effect.Effect<A, SqliteFailure>
    /** Why nothing can be stored any more, or undefined. */
    readonly broken: () => string | undefined
    readonly filename: string
  }
>()("opencraw/layers/platform/SqliteClient/Sqlite") {}

export interface Options {
  readonly filename: string
  /** Makes a written WAL durable; a test gives one that fails. */
  readonly sync?: SqliteWriter.Sync
}

const uniquePrimaryKey = 1555
const uniqueIndex = 2067

const toSqlError = (failure: SqliteFailure): SqlError.SqlError => {
  const code = errorCode(failure.cause)
  const context = { message: failure.detail, operation: "execute" }
  // The classifier reads `errno`, and knows a repeated primary key only as a constraint.
  return failure.kind === "full" || code === undefined
    ? new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause: failure, ...context }) })
    : new SqlError.SqlError({
        reason: SqlError.classifySqliteError(
          { errno: code === uniquePrimaryKey ? uniqueIndex : code, message: failure.detail },
          context
        )
      })
}

type Run = (
  sql: string,
  params: ReadonlyArray<unknown>,
  mode: Mode
) => Effect.Effect<ReadonlyArray<unknown>, SqliteFailure>

const connection = (run: Run): Connection => {
  const call = (sql: string, params: ReadonlyArray<unknown>, mode: Mode) =>
    Effect.mapError(run(sql, params, mode), toSqlError)
  const execute: Connection["execute"] = (sql, params, transform) => {
    const rows = call(sql, params, "rows")
    return transform === undefined
      ? rows
      : Effect.map(rows, (found) => transform(found as ReadonlyArray<object>))
  }
  const values: Connection["executeValues"] = (sql, params) =>
    Effect.map(call(sql, params, "values"), (rows) => rows as ReadonlyArray<ReadonlyArray<unknown>>)
  return {
    execute,
    executeUnprepared: execute,
    executeRaw: (sql, params) => call(sql, params, "raw"),
    executeValues: values,
    executeValuesUnprepared: values,
    executeStream: (sql, params, transform) => Stream.fromArrayEffect(execute(sql, params, transform))
  }
}

const reads = /^\s*(select|explain)\b/i

const attempt = <A>(body: () => A): Effect.Effect<A, SqliteFailure> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(body())
    } catch (thrown) {
      const failure = failureOf(thrown)
      return failure === undefined ? Effect.die(thrown) : Effect.fail(failure)
    }
  })

const openFailed = (filename: string) => (thrown: unknown) =>
  failureOf(thrown) ?? new SqliteFailure({ kind: "broken", detail: `cannot open ${filename}`, cause: thrown })

/** Both doors to one file, created when missing. Closing the Layer makes durable what was under way. */
export const layer = (options: Options): Layer.Layer<Sqlite | SqlClient.SqlClient, SqliteFailure> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { filename } = options
      const writer = yield* Effect.acquireRelease(
        Effect.try({
          try: () =>
            SqliteWriter.make(SqliteEngine.open(filename, { readOnly: false }), filename, options.sync),
          catch: openFailed(filename)
        }),
        (opened) => opened.close
      )
      const reader = yield* Effect.acquireRelease(
        Effect.try({
          try: () => SqliteEngine.open(filename, { readOnly: true }),
          catch: openFailed(filename)
        }),
        (opened) => Effect.sync(opened.close)
      )
      const readable = <A>(body: () => A) =>
        attempt(() => {
          const detail = writer.broken()
          if (detail !== undefined) throw new SqliteFailure({ kind: "broken", detail })
          return body()
        })
      const shared = connection((sql, params, mode) =>
        reads.test(sql)
          ? readable(() => reader.execute(sql, params, mode))
          : writer.execute(sql, params, mode)
      )
      const finishing = new WeakMap<Connection, Effect.Effect<void, SqlError.SqlError>>()
      const client = yield* SqlClient.make({
        driver: "opencraw-sqlite",
        compiler: Statement.makeCompilerSqlite(),
        spanAttributes: [["db.system.name", "sqlite"]],
        acquirer: Effect.succeed(shared),
        borrower: (use) => use(shared),
        transactionAcquirer: Effect.map(Effect.mapError(writer.hold, toSqlError), (held) => {
          const own = connection(held.execute)
          const release = Effect.mapError(held.execute("RELEASE held", [], "rows"), toSqlError)
          finishing.set(own, Effect.andThen(release, Effect.mapError(held.done, toSqlError)))
          return own
        }),
        beginTransaction: "SAVEPOINT held",
        rollback: "ROLLBACK TO held",
        commit: (own) => finishing.get(own) ?? Effect.void,
        releaseSavepoint: (name) => `RELEASE ${name}`,
        prepareTransactionControls: true
      })
      return Context.make(SqlClient.SqlClient, client).pipe(
        Context.add(Sqlite, {
          unit: writer.unit,
          read: (body) => readable(() => body(reader.db)),
          broken: writer.broken,
          filename
        })
      )
    })
  ).pipe(Layer.provide(Reactivity.layer))
