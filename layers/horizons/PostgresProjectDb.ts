/**
 * A database for each project on a PostgreSQL server.
 *
 * Owns: one call's way through it: a connection of its own (so that nothing a statement sets in its session outlives it), a transaction,
 * what is looked at before it is committed, the limits of time, size and memory, and values as text. Does not own: the connection
 * (`pgProjectSession`), the databases and their users (`pgProjects`), which keep projects apart.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PartitionedSemaphore from "effect/PartitionedSemaphore"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { Checks } from "#src/check/Checks.ts"
import { StoreBroken } from "#src/horizons/MessageLog.ts"
import * as Port from "#src/horizons/ProjectDb.ts"
import { ProjectDb, ProjectDbError, type SqlValue } from "#src/horizons/ProjectDb.ts"
import { PostgresPlace } from "#src/horizons/PostgresSettings.ts"
import { ProjectDbPlace, type ProjectDbSettings } from "#src/horizons/ProjectDbSettings.ts"
import { Secrets } from "#src/horizons/Secrets.ts"
import { failureOf, type PgFailure } from "#layers/platform/pgFailure.ts"
import { judgeProjects, placeOf } from "./pgFitness.ts"
import * as PgSession from "./pgProjectSession.ts"
import * as pgProjects from "./pgProjects.ts"
import { stateOf } from "./SqlStore.ts"
import {
  admitted,
  firstWord,
  isBlank,
  maxDetail,
  type PlainStatement,
  sizeOf,
  withoutEnd
} from "./sqlText.ts"

type Session = PgSession.Session

/** Calls of all projects that are at the server at once. */
const atOnce = 8
/** Most bytes that the server may send in one call: rows of a query, of which one may be large, and what is executed, of which nothing is told. */
const mostTold = 16 * 1_048_576
const mostReturned = 4 * 1_048_576
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
  // SQL raises what it likes.
  if (cause instanceof Error && "routine" in cause && cause.routine === "exec_stmt_raise")
    return new Port.SqlRefused({ statement, detail })
  if (code === "57014") return new Port.SqlTooLong({ seconds })
  // Of the server's memory, and what is too large for a value.
  if (code === "53200" || code === "54000" || code === "22P05") return new Port.SqlTooBig({})
  if (code !== undefined && /^(2|42|3F|0A|P0|08P01|55000|55006)/.test(code))
    return new Port.SqlRefused({ statement, detail })
  return stateOf({ kind, detail }) ?? new Port.SqlRefused({ statement, detail })
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

const reading = new Set(["SELECT", "WITH", "VALUES", "TABLE", ""])

const query = Effect.fnUntraced(function* (
  session: Session,
  { sql, params }: PlainStatement,
  maxRows: number
) {
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
  let bytes = sizeOf(columns)
  // As many at once as have room, by those before: the first one alone.
  let wanted = 1
  while (true) {
    const found = yield* session.values(`FETCH ${wanted} FROM texts`)
    for (const texts of found) {
      bytes += sizeOf(texts)
      if (rows.length === maxRows || bytes > Port.maxBytes) return { columns, rows, isAll: false }
      rows.push(texts.map((text, at) => told(text, fields[at]?.dataTypeId ?? 0)))
    }
    if (found.length < wanted) return { columns, rows, isAll: true }
    const room = Math.ceil((Port.maxBytes - bytes) / (bytes / rows.length))
    wanted = Math.max(1, Math.min(rowsAtOnce, maxRows + 1 - rows.length, room))
  }
})

/** How far a call is. */
interface Progress {
  statement: number
  /** Size of the database in bytes: when it began, and before it is committed. */
  before: number | undefined
  after: number | undefined
}
const progress = (): Progress => ({ statement: 0, before: undefined, after: undefined })

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
/** What the server answers to what ends a transaction, however it was written. */
const ending = new Set(["BEGIN", "START", "COMMIT", "ROLLBACK", "PREPARE"])

const megabyte = 1_048_576
/** Beyond its limit, what deletes may take a little room itself, and triggers do. */
const spareBytes = 16 * megabyte

/** Asked with no schema of the project's in sight, so that every word in it is the server's. */
const judged = `SELECT pg_database_size(current_database())::text AS bytes,
  CASE
    WHEN EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND database = 0
        AND mode NOT IN ('AccessShareLock', 'RowShareLock') AND relation NOT IN ('1214', '1232', '1233'))
      THEN 'changes to the user of the database: it is the gateway''s'
    WHEN EXISTS (SELECT FROM pg_trigger WHERE tgdeferrable AND NOT tgisinternal)
      THEN 'a trigger that is put off to the end'
    WHEN EXISTS (SELECT FROM pg_depend AS d WHERE d.refobjid >= '16384'
        AND (d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
          OR d.refclassid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type WHERE oid = d.refobjid AND typtype = 'd'))
        AND (d.classid = 'pg_statistic_ext'::regclass
          OR d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class WHERE oid = d.objid AND relkind IN ('i', 'I'))))
      THEN 'an index or statistics on a function, operator or domain of the project: the server runs it outside of any call'
    WHEN EXISTS (SELECT FROM pg_range WHERE rngsubdiff >= '16384')
      THEN 'a range type with a function of the project: the server runs it outside of any call'
  END AS denied`

const execute = Effect.fnUntraced(function* (
  session: Session,
  statements: ReadonlyArray<PlainStatement>,
  progress: Progress,
  { max_mb: megabytes }: ProjectDbSettings
) {
  const words = statements.map(({ sql }) => firstWord(sql, "postgres"))
  const full = failed(new Port.ProjectDbFull({ megabytes }))
  yield* session.ask("BEGIN")
  const before = (progress.before = yield* databaseSize(session))
  // What was taken back takes room until it is cleared away, which others may hinder.
  if (before > 2 * megabytes * megabyte && !words.every((word) => word === "DROP")) return yield* full
  const changes: Array<number> = []
  for (const [statement, { sql, params }] of statements.entries()) {
    progress.statement = statement
    // What the last one has set, such as its own limit of time.
    yield* session.ask("RESET ALL")
    const { command, rowCount } = yield* session.ask(sql, params)
    const [done = ""] = command.split(" ")
    if (ending.has(done))
      return yield* refused(`not allowed here: ${done}; what was done before it may be kept`, statement)
    changes.push(changing.has(done) ? rowCount : 0)
  }
  yield* session.ask("RESET ALL")
  // What statements have put off to the end is theirs too: it counts, and is within their time.
  yield* session.ask("SET CONSTRAINTS ALL IMMEDIATE")
  // One that is to outlive the transaction is read to its end at COMMIT, and whatever functions it has are run then.
  yield* session.ask("CLOSE ALL")
  yield* session.ask("RESET ALL")
  yield* session.ask("SET search_path = pg_catalog")
  const [found] = (yield* session.ask(judged)).rows
  if (typeof found?.["denied"] === "string")
    return yield* refused(`not allowed here: ${found["denied"]}`, statements.length - 1)
  const after = (progress.after = Number(found?.["bytes"]))
  const most = megabytes * megabyte
  const isDeleting = words.every((word) => deleting.has(word))
  if (after > most && after > before && !(isDeleting && after <= most + spareBytes)) return yield* full
  return changes
})

const databaseSize = (session: Session) =>
  Effect.map(
    session.ask("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())::text AS bytes"),
    ({ rows }) => Number(rows[0]?.["bytes"])
  )

const judgeText = (sql: string, statement: number, isQuery: boolean): ProjectDbError | undefined => {
  if (sql.includes("\0")) return refused("a statement holds no NUL", statement)
  if (isBlank(sql, "postgres")) return refused("there is no statement", statement)
  const word = firstWord(sql, "postgres")
  if (isQuery)
    return reading.has(word)
      ? undefined
      : refused("a query begins with SELECT, WITH, VALUES or TABLE, and only reads")
  return notWithin.has(word)
    ? refused(`not allowed here: ${word}; all statements of a call are one transaction`, statement)
    : undefined
}

const tooMuch = (session: Session, most: number) =>
  Effect.sync(session.received).pipe(
    Effect.repeat({ until: (bytes) => bytes > most, schedule: Schedule.spaced("20 millis") }),
    Effect.andThen(failed(new Port.SqlTooBig({})))
  )

/** Gives back the room of what was deleted or taken back, as far as the server can now. */
const tidy = (place: PgSession.Place, before: number, { timeout_s: seconds, max_mb }: ProjectDbSettings) =>
  Effect.gen(function* () {
    const session = yield* PgSession.make(place, seconds)
    const bytes = yield* databaseSize(session)
    if (bytes > Math.min(before + megabyte, max_mb * megabyte)) yield* session.ask("VACUUM (SKIP_LOCKED)")
  }).pipe(
    Effect.scoped,
    Effect.timeout(`${seconds} seconds`),
    Effect.catchCause((cause) => Effect.logDebug("a project's database was not tidied", cause))
  )

export const make = Effect.gen(function* () {
  const place = yield* ProjectDbPlace
  const secrets = yield* Secrets
  // What is free goes to the projects by turns: one that asks much does not keep the others waiting for long.
  const busy = PartitionedSemaphore.makeUnsafe<string>({ permits: atOnce })
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
  const databaseOf = (name: string): PgSession.Place => ({
    url,
    name,
    password: pgProjects.passwordOf(secrets, name)
  })
  const connect = (at: PgSession.Place, { timeout_s }: ProjectDbSettings) => {
    const { name } = at
    const opening = Effect.mapError(PgSession.make(at, timeout_s), failureOf)
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

  /** One call, from its connection to the end of what it runs there, which is not committed. */
  const call = <A>(
    session: Session,
    progress: Progress,
    run: Effect.Effect<A, SqlError | ProjectDbError>,
    most: number,
    { timeout_s: seconds }: ProjectDbSettings
  ) =>
    run.pipe(
      Effect.mapError((error) =>
        error._tag === "ProjectDbError" ? error : failed(reasonOf(error, progress.statement, seconds))
      ),
      Effect.timeoutOrElse({
        duration: `${seconds} seconds`,
        orElse: () => Effect.fail(failed(new Port.SqlTooLong({ seconds })))
      }),
      Effect.raceFirst(tooMuch(session, most))
    )

  const commit = (session: Session, { statement }: Progress, seconds: number) =>
    Effect.interruptible(session.ask("COMMIT")).pipe(
      Effect.mapError((error) => {
        const { code } = failureOf(error)
        // What the server itself has refused, it has not done. Of a connection that was lost nobody knows.
        const isKnown = code !== undefined && !/^(57P|08)/.test(code)
        return failed(isKnown ? reasonOf(error, statement, seconds) : new Port.SqlUncertain({}))
      }),
      Effect.timeoutOrElse({
        duration: "15 seconds",
        orElse: () => Effect.fail(failed(new Port.SqlUncertain({})))
      }),
      Effect.uninterruptible
    )

  return ProjectDb.of({
    dialect: "postgres",
    query: Effect.fn("ProjectDb.query")(function* (tenant, statement, maxRows) {
      const wrong = judgeText(statement.sql, 0, true)
      if (wrong !== undefined) return yield* wrong
      const one = yield* Effect.fromResult(admitted(statement))
      const settings = place.get()
      const at = databaseOf(pgProjects.nameOf(prefix, tenant))
      return yield* Effect.gen(function* () {
        const session = yield* connect(at, settings)
        return yield* call(session, progress(), query(session, one, maxRows), mostTold, settings)
      }).pipe(Effect.scoped, PartitionedSemaphore.withPermit(busy, at.name))
    }),
    execute: Effect.fn("ProjectDb.execute")(function* (tenant, statements) {
      for (const [at, { sql }] of statements.entries()) {
        const wrong = judgeText(sql, at, false)
        if (wrong !== undefined) return yield* wrong
      }
      const all = yield* Effect.fromResult(Result.all(statements.map(admitted)))
      const settings = place.get()
      const at = databaseOf(pgProjects.nameOf(prefix, tenant))
      const made = progress()
      const running = Effect.gen(function* () {
        const session = yield* connect(at, settings)
        const changes = yield* call(
          session,
          made,
          execute(session, all, made, settings),
          mostReturned,
          settings
        ).pipe(
          // Before its connection goes, so that what it wrote can be cleared away at once.
          Effect.tapError(() => (session.isBusy() ? Effect.void : Effect.ignore(session.ask("ROLLBACK"))))
        )
        yield* commit(session, made, settings.timeout_s)
        return changes
      }).pipe(Effect.scoped)
      return yield* running.pipe(
        Effect.tapError(() => (made.before === undefined ? Effect.void : tidy(at, made.before, settings))),
        Effect.tap(() =>
          (made.after ?? 0) > settings.max_mb * megabyte ? tidy(at, 0, settings) : Effect.void
        ),
        PartitionedSemaphore.withPermit(busy, at.name)
      )
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
    const main = placeOf((yield* PostgresPlace).get())
    yield* register({ name: "project_db", when: "doctor", run: judgeProjects(url, main) })
    return yield* make
  })
)
