/**
 * A database for each project on a PostgreSQL server.
 *
 * Owns: one call's way through it: a connection of its own (so that nothing a statement sets in its session outlives it), a transaction, the limits of
 * time, size and memory, and values as text. Does not own: the databases and their users (`pgProjects`), which keep projects apart.
 */
import { connect as connectTo, type Socket } from "node:net"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { Checks } from "#src/check/Checks.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { StoreBroken } from "#src/horizons/MessageLog.ts"
import * as Port from "#src/horizons/ProjectDb.ts"
import { ProjectDb, ProjectDbError, type SqlStatement, type SqlValue } from "#src/horizons/ProjectDb.ts"
import { ProjectDbPlace, type ProjectDbSettings } from "#src/horizons/ProjectDbSettings.ts"
import { Secrets } from "#src/horizons/Secrets.ts"
import { failureOf, type PgFailure } from "#layers/platform/pgFailure.ts"
import { judgeProjects } from "./pgFitness.ts"
import * as pgProjects from "./pgProjects.ts"
import { stateOf } from "./SqlStore.ts"
import { firstWord, isBlank, maxDetail, withoutEnd } from "./sqlText.ts"

/** Calls of all projects that are at the server at once. */
const atOnce = 8
/** Most bytes of one row. */
const maxMessageBytes = 8 * 1_048_576
/** Most bytes that the server may send in one call: what a statement returns is read, and not kept. */
const maxReceivedBytes = 64 * 1_048_576
const rowsAtOnce = 50

type Reason = ProjectDbError["reason"]
const failed = (reason: Reason) => new ProjectDbError({ reason })
const refused = (detail: string, statement = 0) => failed(new Port.SqlRefused({ statement, detail }))

/** Of the server's own states, what is the statement's doing. */
const reasonOf = (error: SqlError, statement: number, seconds: number): Reason => {
  const { cause } = error.reason
  if (cause instanceof PgProtocol.ParseError) return new Port.SqlTooBig({})
  const { kind, code, detail: whole } = failureOf(error)
  const detail = whole.slice(0, maxDetail)
  if (code === "57014") return new Port.SqlTooLong({ seconds })
  // Of the server's memory, and what is too large for a value.
  if (code === "53200" || code === "54000" || code === "22P05") return new Port.SqlTooBig({})
  if (code !== undefined && /^(2|42|3F|0A|P0|08P01|55000|55006)/.test(code))
    return new Port.SqlRefused({ statement, detail })
  return stateOf({ kind, detail }) ?? new Port.SqlRefused({ statement, detail })
}

const bind = (value: SqlValue): string | null => {
  if (value === null) return null
  // As text of no type: the server reads it as what stands there, a number for a bigint or a decimal too.
  if (typeof value === "object") return JSON.stringify(value)
  return String(value)
}

const { OID } = PgTypes
const numbers: ReadonlySet<number> = new Set([OID.int2, OID.int4, OID.int8, OID.oid, OID.float4, OID.float8])

const told = (text: unknown, oid: number): SqlValue => {
  if (typeof text !== "string") return null
  if (oid === OID.bool) return text === "true"
  if (!numbers.has(oid)) return text
  const number = Number(text)
  const isExact = oid === OID.int8 ? Number.isSafeInteger(number) : Number.isFinite(number)
  return isExact ? number : text
}

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

/** One call's connection. Everything that is asked of it counts as one statement's doing. */
interface Session {
  readonly ask: (
    sql: string,
    params?: ReadonlyArray<SqlValue>
  ) => Effect.Effect<PgConnection.Result, SqlError>
  readonly values: (sql: string) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  readonly received: () => number
}

const open = (
  url: Redacted.Redacted,
  name: string,
  password: Redacted.Redacted,
  { timeout_s }: ProjectDbSettings
): Effect.Effect<Session, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const place = placeOf(Redacted.value(url))
    let socket: Socket | undefined
    const connection = yield* PgConnection.make({
      url,
      database: name,
      username: name,
      password,
      // Its own, so that what it has received can be looked at.
      stream: () => (socket = "path" in place ? connectTo(place) : connectTo({ ...place, noDelay: true })),
      prepare: false,
      applicationName: "opencraw project",
      maxMessageSize: maxMessageBytes,
      startupParameters: {
        search_path: pgProjects.schema,
        statement_timeout: `${timeout_s}s`,
        lock_timeout: `${timeout_s}s`,
        idle_in_transaction_session_timeout: `${timeout_s + 5}s`,
        // A query whose gateway is gone ends soon.
        client_connection_check_interval: "2s",
        timezone: "UTC",
        datestyle: "ISO",
        bytea_output: "hex",
        extra_float_digits: "1"
      }
    })
    return {
      ask: (sql, params = []) => connection.query(sql, params.map(bind), false),
      values: (sql) => connection.queryValues(sql, [], false),
      received: () => socket?.bytesRead ?? 0
    }
  })

const reading = new Set(["SELECT", "WITH", "VALUES", "TABLE", ""])

const query = Effect.fnUntraced(function* (session: Session, { sql, params }: SqlStatement, maxRows: number) {
  const bare = withoutEnd(sql)
  // The second of them asks for every value as text, in which none loses anything.
  yield* session.ask("BEGIN READ ONLY")
  yield* session.ask(`DECLARE shape NO SCROLL CURSOR FOR ${bare}`, params)
  const { fields } = yield* session.ask("FETCH 0 FROM shape")
  yield* session.ask("CLOSE shape")
  const names = fields.map((_, at) => `c${at}`)
  const texts = names.map((column) => `${column}::text`).join(", ")
  yield* session.ask(
    `DECLARE texts NO SCROLL CURSOR FOR SELECT ${texts} FROM (${bare}\n) AS q${names.length === 0 ? "" : ` (${names.join(", ")})`}`,
    params
  )
  const columns = fields.map(({ name }) => name)
  const rows: Array<ReadonlyArray<SqlValue>> = []
  let bytes = 0
  while (true) {
    const wanted = Math.min(rowsAtOnce, maxRows + 1 - rows.length)
    const found = yield* session.values(`FETCH ${wanted} FROM texts`)
    for (const texts of found) {
      bytes += texts.reduce<number>(
        (sum, one) => sum + (typeof one === "string" ? Buffer.byteLength(one) : 8),
        0
      )
      if (rows.length === maxRows || bytes > Port.maxBytes) return { columns, rows, isAll: false }
      rows.push(texts.map((text, at) => told(text, fields[at]?.dataTypeId ?? 0)))
    }
    if (found.length < wanted) return { columns, rows, isAll: true }
  }
})

/** They would end the transaction of the call, or have no meaning within one. What they try by other ways, the server refuses. */
const notWithin = new Set([
  "BEGIN",
  "START",
  "COMMIT",
  "END",
  "ROLLBACK",
  "ABORT",
  "SAVEPOINT",
  "RELEASE",
  "PREPARE",
  "SET",
  "RESET",
  "DISCARD",
  "LISTEN",
  "UNLISTEN",
  "NOTIFY",
  "COPY"
])
const deleting = new Set(["DELETE", "DROP", "TRUNCATE"])
const changing = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"])

const sizeOf = (session: Session) =>
  Effect.map(session.ask("SELECT pg_database_size(current_database()) AS bytes"), ({ rows }) =>
    Number(rows[0]?.["bytes"])
  )

const execute = Effect.fnUntraced(function* (
  session: Session,
  statements: ReadonlyArray<SqlStatement>,
  at: (statement: number) => void,
  { max_mb: megabytes }: ProjectDbSettings
) {
  yield* session.ask("BEGIN")
  const before = yield* sizeOf(session)
  const changes: Array<number> = []
  for (const [statement, { sql, params }] of statements.entries()) {
    at(statement)
    // What the last one has set, such as its own limit of time.
    yield* session.ask("RESET ALL")
    const { command, rowCount } = yield* session.ask(sql, params)
    changes.push(changing.has(command.split(" ")[0] ?? "") ? rowCount : 0)
  }
  yield* session.ask("RESET ALL")
  // What statements have put off to the end is theirs too: it counts, and is within their time.
  yield* session.ask("SET CONSTRAINTS ALL IMMEDIATE")
  const after = yield* sizeOf(session)
  // Deleting takes a little room itself.
  const isLess = after <= before || statements.every(({ sql }) => deleting.has(firstWord(sql)))
  if (after > megabytes * 1_048_576 && !isLess) return yield* failed(new Port.ProjectDbFull({ megabytes }))
  return changes
})

const judgeText = (sql: string, statement: number, isQuery: boolean): ProjectDbError | undefined => {
  if (sql.includes("\0")) return refused("a statement holds no NUL", statement)
  if (isBlank(sql)) return refused("there is no statement", statement)
  const word = firstWord(sql)
  if (isQuery)
    return reading.has(word)
      ? undefined
      : refused("a query begins with SELECT, WITH, VALUES or TABLE, and only reads")
  return notWithin.has(word)
    ? refused(`not allowed here: ${word}; all statements of a call are one transaction`, statement)
    : undefined
}

const tooMuch = (session: Session) =>
  Effect.sync(session.received).pipe(
    Effect.repeat({ until: (bytes) => bytes > maxReceivedBytes, schedule: Schedule.spaced("20 millis") }),
    Effect.andThen(failed(new Port.SqlTooBig({})))
  )

export const make = Effect.gen(function* () {
  const place = yield* ProjectDbPlace
  const secrets = yield* Secrets
  const busy = Semaphore.makeUnsafe(atOnce)
  const making = Semaphore.makeUnsafe(1)
  const made = new Set<string>()
  const { url = Redacted.make(""), prefix } = place.get()

  const toError = (failure: PgFailure) =>
    failed(stateOf(failure) ?? new StoreBroken({ detail: failure.detail }))
  const ensure = (name: string, isLockedOut: boolean) =>
    making
      .withPermit(
        Effect.suspend(() =>
          made.has(name) && !isLockedOut
            ? Effect.void
            : Effect.tap(pgProjects.make({ url, prefix }, secrets, name, isLockedOut), () =>
                Effect.sync(() => made.add(name))
              )
        )
      )
      .pipe(Effect.mapError(toError))
  const connect = (name: string, settings: ProjectDbSettings) => {
    const opening = open(url, name, pgProjects.passwordOf(secrets, name), settings).pipe(
      Effect.mapError(failureOf)
    )
    // One that is there waits for no other that is being made.
    const ready = made.has(name) ? Effect.void : ensure(name, false)
    return Effect.andThen(ready, opening).pipe(
      Effect.catchIf(
        (error): error is PgFailure =>
          error._tag === "PgFailure" && error.code !== undefined && lost.has(error.code),
        // It was dropped, or has another password.
        ({ code }) => {
          made.delete(name)
          return Effect.andThen(ensure(name, code === "28P01"), opening)
        }
      ),
      Effect.catchTags({ PgFailure: (failure) => Effect.fail(toError(failure)) })
    )
  }

  /** One call, from its connection to its end; what it did is committed if it `isKept`, and else gone with the connection. */
  const call = <A>(
    tenant: Tenant,
    run: (
      session: Session,
      at: (statement: number) => void,
      settings: ProjectDbSettings
    ) => Effect.Effect<A, SqlError | ProjectDbError>,
    isKept: boolean
  ) =>
    Effect.gen(function* () {
      const settings = place.get()
      const { timeout_s: seconds } = settings
      const session = yield* connect(pgProjects.nameOf(prefix, tenant), settings)
      let statement = 0
      const explained = (error: SqlError | ProjectDbError) =>
        error._tag === "ProjectDbError" ? error : failed(reasonOf(error, statement, seconds))
      const done = yield* run(session, (at) => (statement = at), settings).pipe(
        Effect.mapError(explained),
        Effect.timeoutOrElse({
          duration: `${seconds} seconds`,
          orElse: () => Effect.fail(failed(new Port.SqlTooLong({ seconds })))
        }),
        Effect.raceFirst(tooMuch(session))
      )
      if (!isKept) return done
      const commit = Effect.interruptible(session.ask("COMMIT")).pipe(
        Effect.mapError((error) => {
          const { code } = failureOf(error)
          // What the server itself has refused, it has not done. Of a connection that was lost nobody knows.
          const isKnown = code !== undefined && !/^(57P|08)/.test(code)
          return failed(isKnown ? reasonOf(error, statement, seconds) : new Port.SqlUncertain({}))
        }),
        Effect.timeoutOrElse({
          duration: "15 seconds",
          orElse: () => Effect.fail(failed(new Port.SqlUncertain({})))
        })
      )
      yield* Effect.uninterruptible(commit)
      return done
    }).pipe(Effect.scoped, (calling) => busy.withPermit(calling))

  return ProjectDb.of({
    dialect: "postgres",
    query: Effect.fn("ProjectDb.query")(function* (tenant, statement, maxRows) {
      const wrong = judgeText(statement.sql, 0, true)
      if (wrong !== undefined) return yield* wrong
      return yield* call(tenant, (session) => query(session, statement, maxRows), false)
    }),
    execute: Effect.fn("ProjectDb.execute")(function* (tenant, statements) {
      for (const [at, { sql }] of statements.entries()) {
        const wrong = judgeText(sql, at, false)
        if (wrong !== undefined) return yield* wrong
      }
      return yield* call(tenant, (session, at, settings) => execute(session, statements, at, settings), true)
    })
  })
})

/** No such database, or another password. */
const lost = new Set(["3D000", "28P01", "28000"])

/** On the server of `project_db.url`, whose fitness is looked at before. Registers the check `project_db`. */
export const layer = Layer.effect(
  ProjectDb,
  Effect.gen(function* () {
    const { url = Redacted.make("") } = (yield* ProjectDbPlace).get()
    const { register } = yield* Checks
    yield* register({ name: "project_db", when: "doctor", run: judgeProjects(url) })
    return yield* make
  })
)
