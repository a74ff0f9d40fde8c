/**
 * A database for each project on a PostgreSQL server.
 *
 * Owns: one call's way through it: a connection of its own (so that nothing a statement sets in its session outlives it), a transaction,
 * what is looked at before it is committed, the limits of time, size and memory, and values as text. Does not own: the connection
 * (`pgProjectSession`), the databases and their users (`pgProjects`), which keep projects apart.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as PartitionedSemaphore from "effect/PartitionedSemaphore"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { Checks } from "#src/check/Checks.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { StoreBroken, StoreBusy } from "#src/horizons/MessageLog.ts"
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
const mostReturned = 1_048_576
const rowsAtOnce = 50

type Reason = ProjectDbError["reason"]
const failed = (reason: Reason) => new ProjectDbError({ reason })
const refused = (detail: string, statement = 0) => failed(new Port.SqlRefused({ statement, detail }))

/** How far a call is: what its errors are told of. */
interface Progress {
  readonly began: number
  readonly seconds: number
  statement: number
}

/** Of the server's own states, what is the statement's doing. */
const reasonOf = (error: SqlError, { began, seconds, statement }: Progress, now: number): Reason => {
  const { cause } = error.reason
  if (cause instanceof PgProtocol.ParseError || cause instanceof PgSession.TooMuch)
    return new Port.SqlTooBig({})
  const { kind, code, detail: whole } = failureOf(error)
  const detail = whole.slice(0, maxDetail)
  // SQL raises what it likes.
  if (cause instanceof Error && "routine" in cause && cause.routine === "exec_stmt_raise")
    return new Port.SqlRefused({ statement, detail })
  // It can also cancel itself.
  if (code === "57014" && now - began >= seconds * 1000) return new Port.SqlTooLong({ seconds })
  // Of the server's memory, and what is too large for a value.
  if (code === "53200" || code === "54000" || code === "22P05") return new Port.SqlTooBig({})
  if (code !== undefined && /^(2|42|3F|0A|P0|08P01|55000|55006|57014)/.test(code))
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

/** What the condition of an index may be made of: comparisons of columns and values, as they stand in the server's trees. */
const plainNodes =
  "'VAR', 'CONST', 'OPEXPR', 'SCALARARRAYOPEXPR', 'ARRAYEXPR', 'BOOLEXPR', 'NULLTEST', 'BOOLEANTEST', 'RELABELTYPE'"

/**
 * A project keeps data, no code. What it has made itself would be run by the server where no limit holds, by autovacuum and at COMMIT, in
 * more ways than can be listed; without functions of its own these few are left, which call the server's own functions: some take SQL as
 * text, some depend on settings, and are quick in a call and endless outside. Asked with no schema of the project's in sight, so that every word in it is the server's.
 */
const judged = `SELECT pg_database_size(current_database())::text AS bytes,
  CASE
    WHEN EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND database = 0
        AND mode NOT IN ('AccessShareLock', 'RowShareLock') AND relation NOT IN ('1214', '1232', '1233'))
      THEN 'changes to the user of the database: it is the gateway''s'
    WHEN EXISTS (SELECT FROM pg_proc WHERE proowner = me AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal'))
      THEN 'functions and procedures that are kept: the database is for data (DO runs code at once)'
    WHEN EXISTS (SELECT FROM pg_cast JOIN pg_type ON pg_type.oid IN (castsource, casttarget)
        WHERE castmethod = 'i' AND typowner = me)
      THEN 'a cast by text, which reads a domain: the server may run its check outside of any call'
    WHEN EXISTS (SELECT FROM pg_statistic_ext WHERE stxowner = me AND 'e' = ANY (stxkind))
      THEN 'statistics on an expression: the server runs it outside of any call'
    WHEN EXISTS (SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indrelid WHERE relowner = me AND (indexprs IS NOT NULL
        OR EXISTS (SELECT FROM regexp_matches(indpred::text, '{([A-Z]+)', 'g') AS tag (name) WHERE name[1] NOT IN (${plainNodes}))
        OR EXISTS (SELECT FROM regexp_matches(indpred::text, ':opno (\\d+)', 'g') AS used (number)
          LEFT JOIN pg_operator AS o ON o.oid = number[1]::oid AND o.oid < '16384'
          WHERE NOT EXISTS (SELECT FROM pg_amop WHERE amopmethod = '403' AND amopopr IN (o.oid, o.oprnegate)))))
      THEN 'an index on an expression, which the server runs outside of any call: index a generated column instead'
  END AS denied
  FROM (SELECT session_user::text::regrole::oid AS me) AS own`

const execute = Effect.fnUntraced(function* (
  session: Session,
  statements: ReadonlyArray<PlainStatement>,
  progress: Progress,
  { max_mb: megabytes }: ProjectDbSettings
) {
  const words = statements.map(({ sql }) => firstWord(sql, "postgres"))
  const full = failed(new Port.ProjectDbFull({ megabytes }))
  // What was taken back takes room until it is cleared away, which others may hinder.
  if (session.size > 2 * megabytes * megabyte && !words.every((word) => word === "DROP")) return yield* full
  yield* session.ask("BEGIN")
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
  const after = Number(found?.["bytes"])
  const most = megabytes * megabyte
  const isDeleting = words.every((word) => deleting.has(word))
  // Where others are at work at once, it began with their bytes too.
  const isLess = after <= session.size && (isDeleting || after <= most + spareBytes)
  if (after > most && !isLess && !(isDeleting && after <= most + spareBytes)) return yield* full
  return changes
})

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

/**
 * Until it is done, for so long. Then, or when nobody waits any more, the connection is cut first: the driver would read on until the
 * server is done.
 */
const within = <A, E>(
  session: Session,
  doing: Effect.Effect<A, E>,
  seconds: number,
  reason: Reason
): Effect.Effect<A, E | ProjectDbError> =>
  Effect.raceFirst(
    Effect.interruptible(doing),
    Effect.sleep(`${seconds} seconds`).pipe(
      Effect.andThen(session.cut),
      Effect.andThen(failed(reason)),
      Effect.interruptible,
      Effect.onInterrupt(() => (session.isBusy() ? session.cut : Effect.void))
    )
  )

/** What the server itself has refused, it has not done. Of a connection that was lost nobody knows. */
const commit = (session: Session, seconds: number) => {
  const uncertain = new Port.SqlUncertain({})
  return within(session, session.ask("COMMIT"), seconds, uncertain).pipe(
    Effect.catchTags({
      SqlError: (error) => {
        const { code } = failureOf(error)
        return code === undefined || /^(57P|08)/.test(code) ? failed(uncertain) : Effect.fail(error)
      }
    }),
    Effect.uninterruptible
  )
}

/** Of the database, bytes, after what is not committed was taken back; as much as can be when nobody knows. */
const sizeAfter = (session: Session, seconds: number): Effect.Effect<number> => {
  if (session.isBusy()) return Effect.succeed(Infinity)
  const size = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())::text AS bytes"
  return within(
    session,
    Effect.andThen(session.ask("ROLLBACK"), session.ask(size)),
    seconds,
    new StoreBusy({ detail: "no answer" })
  ).pipe(
    Effect.map(({ rows }) => Number(rows[0]?.["bytes"])),
    Effect.orElseSucceed(() => Infinity)
  )
}

const haunted = "the server is still at a statement of this project that it could not end"

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
  const connect = (at: PgSession.Place, most: number, { timeout_s }: ProjectDbSettings) => {
    const { name } = at
    const opening = Effect.mapError(PgSession.make(at, timeout_s, most), failureOf)
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

  /** One call: a connection of its own, in its project's turn, and then the room that it leaves. `most`: bytes that it may be sent. */
  const call = <A>(
    tenant: Tenant,
    most: number,
    run: (
      session: Session,
      progress: Progress,
      settings: ProjectDbSettings
    ) => Effect.Effect<A, SqlError | ProjectDbError>,
    commits: boolean
  ) => {
    const at = databaseOf(pgProjects.nameOf(prefix, tenant))
    const settings = place.get()
    const limit = settings.max_mb * megabyte
    let room = Infinity
    const running = Effect.gen(function* () {
      const session = yield* connect(at, most, settings)
      if (session.isHaunted) return yield* failed(new StoreBusy({ detail: haunted }))
      const small = Math.min(session.size + megabyte, limit)
      // Before the connection goes, so that what it wrote can be cleared away at once.
      yield* Effect.addFinalizer((exit) =>
        Effect.map(sizeAfter(session, settings.timeout_s), (bytes) => {
          const most = commits && Exit.isSuccess(exit) ? limit : small
          if (bytes > most) room = most
        })
      )
      const progress = {
        began: yield* Clock.currentTimeMillis,
        seconds: settings.timeout_s,
        statement: 0
      }
      return yield* Effect.catchTags(run(session, progress, settings), {
        SqlError: (error) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => failed(reasonOf(error, progress, now)))
      })
    })
    return Effect.scoped(running).pipe(
      Effect.onExit(() => (room < Infinity ? pgProjects.tidy(url, at.name, room) : Effect.void)),
      PartitionedSemaphore.withPermit(busy, at.name)
    )
  }

  return ProjectDb.of({
    dialect: "postgres",
    query: Effect.fn("ProjectDb.query")(function* (tenant, statement, maxRows) {
      const wrong = judgeText(statement.sql, 0, true)
      if (wrong !== undefined) return yield* wrong
      const one = yield* Effect.fromResult(admitted(statement))
      return yield* call(
        tenant,
        mostTold,
        (session, { seconds }) =>
          within(session, query(session, one, maxRows), seconds, new Port.SqlTooLong({ seconds })),
        false
      )
    }),
    execute: Effect.fn("ProjectDb.execute")(function* (tenant, statements) {
      for (const [at, { sql }] of statements.entries()) {
        const wrong = judgeText(sql, at, false)
        if (wrong !== undefined) return yield* wrong
      }
      const all = yield* Effect.fromResult(Result.all(statements.map(admitted)))
      return yield* call(
        tenant,
        mostReturned,
        (session, progress, settings) => {
          const { seconds } = progress
          const executing = execute(session, all, progress, settings)
          return Effect.tap(within(session, executing, seconds, new Port.SqlTooLong({ seconds })), () =>
            commit(session, seconds)
          )
        },
        true
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
    const settings = (yield* ProjectDbPlace).get()
    const { register } = yield* Checks
    const main = placeOf((yield* PostgresPlace).get())
    yield* register({ name: "project_db", when: "doctor", run: judgeProjects(settings, main) })
    return yield* make
  })
)
