/**
 * The process that runs a project's SQL on its SQLite file: nothing else runs in it, and it can be killed at any moment.
 *
 * A statement that runs cannot be ended from within its process, so it has one of its own. Its main thread hears the gateway, and
 * ends all of it as soon as that is gone; the other thread runs the SQL. Environment and memory of the gateway are not in here.
 *
 * Owns: what SQL may do to the file (an authorizer, which SQLite asks while it compiles a statement), one statement at a time, and the
 * limits of size and memory. Does not own: when it is started and killed (`SqliteProjectDb`).
 */
// oxlint-disable unicorn/require-post-message-target-origin -- that is of windows; these are threads
import { statfsSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, constants, type SQLInputValue, type StatementSync } from "node:sqlite"
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads"
import type { SqlRows, SqlValue } from "#src/horizons/ProjectDb.ts"
import { isBlank, maxDetail, placeholders, type PlainStatement, type Scalar, sizeOf } from "./sqlText.ts"

export interface File {
  readonly filename: string
  readonly megabytes: number
  readonly maxBytes: number
}

/** `commit` is the answer to `Prepared`. */
export type Ask =
  | { readonly kind: "commit" }
  | { readonly kind: "query"; readonly statement: PlainStatement; readonly maxRows: number }
  | { readonly kind: "execute"; readonly statements: ReadonlyArray<PlainStatement> }

export type Failure =
  | { readonly kind: "refused"; readonly statement: number; readonly detail: string }
  | { readonly kind: "full" | "big" | "disk" }
  | { readonly kind: "busy" | "broken"; readonly detail: string }

export type Reply =
  /** It takes calls. */
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Rows"; readonly rows: SqlRows }
  | { readonly _tag: "Changed"; readonly changes: ReadonlyArray<number> }
  /** All of it is done but the commit, which waits for the word: until then nothing is kept, whatever happens. */
  | { readonly _tag: "Prepared" }
  | { readonly _tag: "Failed"; readonly failure: Failure }

const closing = "close"
/** How long a statement that runs may go on when the process shall end. */
const closeMillis = 1000
/**
 * Memory of the whole process, and how often it is looked at: SQLite as Node builds it keeps no count of its own. A process that has
 * nothing to do has some 100 MB.
 */
const maxResidentBytes = 384 * 1_048_576
const lookMillis = 20
/** A disk with less is a full one. */
const spareBytes = 4 * 1_048_576

const watch = ([filename, megabytes, maxBytes]: ReadonlyArray<string>): void => {
  const data: File = {
    filename: filename ?? "",
    megabytes: Number(megabytes),
    maxBytes: Number(maxBytes)
  }
  const worker = new Worker(new URL(import.meta.url), { workerData: data })
  worker.on("message", (reply: Reply) => process.send?.(reply))
  const end = (failure: Failure) =>
    process.send?.({ _tag: "Failed", failure } satisfies Reply, () => process.kill(process.pid, "SIGKILL"))
  // Of its heap; the rest of its memory is looked at below.
  worker.on("error", (error: Error & { readonly code?: string }) =>
    end(
      error.code === "ERR_WORKER_OUT_OF_MEMORY" ? { kind: "big" } : { kind: "broken", detail: error.message }
    )
  )
  worker.on("exit", (code) => code === 0 && process.exit())
  process.on("message", (ask: Ask) => worker.postMessage(ask))
  process.on("disconnect", () => {
    worker.postMessage(closing)
    // It does not hear while a statement runs, and nothing else would end that.
    setTimeout(() => process.kill(process.pid, "SIGKILL"), closeMillis)
  })
  setInterval(() => {
    if (process.memoryUsage.rss() >= maxResidentBytes) end({ kind: "big" })
  }, lookMillis)
  // A signal to the whole group is for the gateway to hear, which ends this when it has no more use for it.
  process.on("SIGINT", () => {})
  process.on("SIGTERM", () => {})
}

const {
  SQLITE_OK,
  SQLITE_DENY,
  SQLITE_SELECT,
  SQLITE_READ,
  SQLITE_FUNCTION,
  SQLITE_RECURSIVE,
  SQLITE_PRAGMA
} = constants

const always: ReadonlySet<number> = new Set([SQLITE_SELECT, SQLITE_READ, SQLITE_FUNCTION, SQLITE_RECURSIVE])
/** What reaches beyond the file, ends the transaction it is in, or outlives it. */
const never: ReadonlyMap<number, string> = new Map([
  [constants.SQLITE_ATTACH, "another database"],
  [constants.SQLITE_DETACH, "another database"],
  [constants.SQLITE_TRANSACTION, "BEGIN, COMMIT and ROLLBACK: all statements of a call are one transaction"],
  [constants.SQLITE_SAVEPOINT, "savepoints"],
  [constants.SQLITE_CREATE_TEMP_INDEX, "temporary tables"],
  [constants.SQLITE_CREATE_TEMP_TABLE, "temporary tables"],
  [constants.SQLITE_CREATE_TEMP_TRIGGER, "temporary tables"],
  [constants.SQLITE_CREATE_TEMP_VIEW, "temporary tables"]
])
/** They only tell of tables. */
const pragmas = new Set([
  "table_info",
  "table_xinfo",
  "table_list",
  "index_list",
  "index_info",
  "index_xinfo",
  "foreign_key_list",
  "foreign_key_check"
])

class Refused extends Error {}

/** Written by the worker alone: what may be done now, and why SQLite was told no. */
let allowed: "all" | "read" | "write" = "all"
let denied: string | undefined

/** `page_size` alone is read, by virtual tables that are made. */
const isTelling = (pragma: string, value: string | null): boolean =>
  pragmas.has(pragma) || (pragma === "page_size" && value === null)

const authorize = (action: number, first: string | null, second: string | null): number => {
  if (allowed === "all" || always.has(action)) {
    if (allowed === "all" || !/^load_extension$/i.test(second ?? "")) return SQLITE_OK
    denied = "load_extension"
    return SQLITE_DENY
  }
  if (action === SQLITE_PRAGMA) {
    if (isTelling(first?.toLowerCase() ?? "", second)) return SQLITE_OK
    denied = `PRAGMA ${first ?? ""}`
    return SQLITE_DENY
  }
  denied = never.get(action) ?? (allowed === "read" ? "changing anything: a query only reads" : undefined)
  return denied === undefined ? SQLITE_OK : SQLITE_DENY
}

const open = ({ filename, megabytes }: File): DatabaseSync => {
  const database = new DatabaseSync(filename, {
    timeout: 2000,
    enableForeignKeyConstraints: true,
    enableDoubleQuotedStringLiterals: false,
    defensive: true,
    limits: { attach: 0, length: 16 * 1_048_576, sqlLength: 1_048_576 }
  })
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8000;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA max_page_count = ${String(megabytes * 256)};
  `)
  database.setAuthorizer(authorize)
  return database
}

const bind = (value: Scalar): SQLInputValue => {
  if (typeof value === "string" || value === null) return value
  // A number of JavaScript would be bound as a float.
  if (typeof value === "boolean") return value ? 1n : 0n
  return Number.isSafeInteger(value) ? BigInt(value) : value
}

const named = ({ sql, params }: PlainStatement): Record<string, SQLInputValue> => {
  const { numbers, other } = placeholders(sql)
  if (other !== undefined) throw new Refused(`${other}: placeholders are $1, $2 and so on`)
  for (const number of numbers) {
    if (number < 1 || number > params.length)
      throw new Refused(`$${number} has no parameter: there are ${params.length}`)
  }
  for (let number = 1; number <= params.length; number++) {
    if (!numbers.has(number)) throw new Refused(`parameter ${number} has no $${number}`)
  }
  return Object.fromEntries(params.map((value, at) => [`$${at + 1}`, bind(value)]))
}

const prepare = (database: DatabaseSync, { sql }: PlainStatement): StatementSync => {
  if (isBlank(sql, "sqlite")) throw new Refused("there is no statement")
  const statement = database.prepare(sql)
  if (!isBlank(sql.slice(statement.sourceSQL.length), "sqlite"))
    throw new Refused("there is something behind the statement: one statement at a time")
  return statement
}

const told = (value: unknown): SqlValue => {
  if (typeof value === "bigint") {
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value.toString()
  }
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value)
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString("hex")}`
  return typeof value === "string" ? value : null
}

const query = (
  database: DatabaseSync,
  maxBytes: number,
  { statement, maxRows }: Extract<Ask, { kind: "query" }>
): SqlRows => {
  const params = named(statement)
  allowed = "read"
  const prepared = prepare(database, statement)
  const columns = prepared.columns().map(({ name }) => name)
  if (columns.length === 0) throw new Refused("it gives no rows: execute it")
  prepared.setReturnArrays(true)
  prepared.setReadBigInts(true)
  const rows: Array<ReadonlyArray<SqlValue>> = []
  let bytes = sizeOf(columns)
  if (bytes > maxBytes) throw new Refused("the names of its columns are longer than an answer may be")
  for (const row of prepared.iterate(params) as Iterable<unknown>) {
    const values = (row as ReadonlyArray<unknown>).map(told)
    bytes += sizeOf(values)
    if (rows.length === maxRows || bytes > maxBytes) return { columns, rows, isAll: false }
    rows.push(values)
  }
  return { columns, rows, isAll: true }
}

const totalChanges = (database: DatabaseSync): number =>
  Number(database.prepare("SELECT total_changes() AS total").get()?.["total"])

const undo = (database: DatabaseSync): void => {
  allowed = "all"
  if (database.isTransaction) database.exec("ROLLBACK")
}

/** The whole of one transaction but its commit. `at` says which statement it is at. */
const prepared = (
  database: DatabaseSync,
  { statements }: Extract<Ask, { kind: "execute" }>,
  at: (statement: number) => void
): ReadonlyArray<number> => {
  database.exec("BEGIN IMMEDIATE")
  return statements.map((statement, index) => {
    at(index)
    const params = named(statement)
    const before = totalChanges(database)
    allowed = "write"
    const { changes: changed } = prepare(database, statement).run(params)
    allowed = "all"
    // Of a statement that changes none it tells the last one's again.
    return totalChanges(database) === before ? 0 : Number(changed)
  })
}

/** The disk has no space left, or the file has the size it may have: SQLite says the same of both. */
const isDiskFull = (filename: string): boolean => {
  const { bavail, bsize } = statfsSync(dirname(filename))
  return bavail * bsize < spareBytes
}

const failureOf = (filename: string, error: unknown, statement: number): Failure => {
  const detail = (error instanceof Error ? error.message : String(error)).slice(0, maxDetail)
  const code =
    error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0
  switch (code & 0xff) {
    case 5:
    case 6:
    case 15:
      return { kind: "busy", detail }
    case 7:
    case 18:
      return { kind: "big" }
    case 10:
    case 11:
    case 14:
    case 26:
      return { kind: "broken", detail }
    case 13:
      return { kind: isDiskFull(filename) ? "disk" : "full" }
    default:
      return {
        kind: "refused",
        statement,
        detail: denied === undefined ? detail : `not allowed here: ${denied.slice(0, maxDetail)}`
      }
  }
}

const work = (file: File): void => {
  let database: DatabaseSync | undefined
  let changes: ReadonlyArray<number> = []
  const run = (ask: Ask, at: (statement: number) => void): Reply => {
    database ??= open(file)
    switch (ask.kind) {
      case "query":
        return { _tag: "Rows", rows: query(database, file.maxBytes, ask) }
      case "execute":
        changes = prepared(database, ask, at)
        return { _tag: "Prepared" }
      case "commit":
        database.exec("COMMIT")
        return { _tag: "Changed", changes }
    }
  }
  const answer = (ask: Ask): Reply => {
    let statement = 0
    denied = undefined
    try {
      return run(ask, (at) => (statement = at))
    } catch (error) {
      if (database !== undefined) undo(database)
      return { _tag: "Failed", failure: failureOf(file.filename, error, statement) }
    } finally {
      allowed = "all"
    }
  }
  parentPort?.on("message", (ask: Ask | typeof closing) => {
    if (ask !== closing) return parentPort?.postMessage(answer(ask))
    database?.close()
    parentPort?.close()
  })
  parentPort?.postMessage({ _tag: "Ready" } satisfies Reply)
}

if (isMainThread) watch(process.argv.slice(2))
else work(workerData as File)
