/**
 * One open SQLite file: its pragmas, its prepared statements, and what its error codes mean.
 *
 * Owns: binding of values (strings as `storable` makes them) and the statement cache. Everything here runs at once and blocks.
 * Does not own: transactions and durability (`SqliteWriter`).
 */
import * as Schema from "effect/Schema"
import { closeSync, existsSync, fsyncSync, openSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import type { Body, Param } from "./statements.ts"
import { storable } from "./storable.ts"

/** What a unit's body may do with the database, at once and in the transaction that it was called in. */
export interface Db {
  /** All rows. `Row` is what the caller knows its own SELECT to return. */
  readonly all: <Row>(sql: string, params?: ReadonlyArray<Param>) => ReadonlyArray<Row>
  readonly get: <Row>(sql: string, params?: ReadonlyArray<Param>) => Row | undefined
  /** How many rows were changed. */
  readonly run: (sql: string, params?: ReadonlyArray<Param>) => number
}

/** Run a body, each of its statements answered at once. */
export const answered = <A>(db: Db, body: Body<A>): A => {
  let next = body.next()
  while (next.done !== true) {
    const { sql, params, wants } = next.value
    next = body.next(wants === "rows" ? db.all(sql, params) : db.run(sql, params))
  }
  return next.value
}

/**
 * A statement or commit that failed. `full`: no space left. `busy`: somebody else holds the lock. `io`: the disk failed.
 * `broken`: the file cannot be used. `statement`: the SQL or its data was refused, which is a bug of the caller.
 */
export class SqliteFailure extends Schema.TaggedError<SqliteFailure>()("SqliteFailure", {
  kind: Schema.Literals(["full", "busy", "io", "broken", "statement"]),
  detail: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    return `SQLite (${this.kind}): ${this.detail}`
  }
}

const kinds: Readonly<Record<number, SqliteFailure["kind"]>> = {
  5: "busy",
  6: "busy",
  7: "busy",
  8: "broken",
  10: "io",
  11: "broken",
  13: "full",
  14: "broken",
  15: "busy",
  26: "broken"
}

/** SQLite's extended result code of what `node:sqlite` threw, or undefined for anything else. */
export const errorCode = (cause: unknown): number | undefined =>
  cause instanceof Error && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode
    : undefined

/** What was thrown as a failure, or undefined when it is not SQLite's doing (a defect). */
export const failureOf = (cause: unknown): SqliteFailure | undefined => {
  if (cause instanceof SqliteFailure) return cause
  const code = errorCode(cause)
  if (code === undefined) return undefined
  const detail = cause instanceof Error ? cause.message : "unknown"
  return new SqliteFailure({ kind: kinds[code & 0xff] ?? "statement", detail, cause })
}

const bind = (value: unknown): SQLInputValue => {
  if (typeof value === "string") return storable(value)
  if (typeof value === "number" || typeof value === "bigint" || value === null) return value
  if (typeof value === "boolean") return value ? 1 : 0
  if (value === undefined) return null
  if (value instanceof Uint8Array) return value
  if (value instanceof Date) return value.toISOString()
  throw new SqliteFailure({ kind: "statement", detail: `a ${typeof value} cannot be bound` })
}

export type Mode = "rows" | "values" | "raw"

export interface Engine {
  readonly database: DatabaseSync
  readonly db: Db
  /** Any one statement, with parameters as they come. */
  readonly execute: (sql: string, params: ReadonlyArray<unknown>, mode: Mode) => ReadonlyArray<unknown>
  /** How many rows `db` has changed since the file was opened, or more. */
  readonly changes: () => number
  readonly close: () => void
}

interface Prepared {
  readonly statement: StatementSync
  readonly returnsRows: boolean
  readonly isRead: boolean
  arrays: boolean
}

const cacheSize = 300

/**
 * The waiting for a lock blocks the event loop, so it is short: a caller that may try again does so later.
 * A NORMAL commit does not reach the disk by itself: `SqliteWriter` syncs the WAL before it tells anybody.
 * Small pages, since a unit changes a few bytes on many of them and each goes whole into the WAL; a checkpoint every 16 MB.
 * Page size and vacuum mode are those of the day the file was made.
 */
const writerPragmas = `
  PRAGMA page_size = 2048;
  PRAGMA auto_vacuum = INCREMENTAL;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA foreign_keys = ON;
  PRAGMA wal_autocheckpoint = 8000;
  PRAGMA journal_size_limit = 67108864;
  BEGIN IMMEDIATE;
  COMMIT;
  SELECT count(*) FROM sqlite_master;
`
const commonPragmas = "PRAGMA cache_size = -8000; PRAGMA temp_store = MEMORY;"

/**
 * Makes a missing file, readable by the owner only and known to its directory on the disk. An existing one is left alone:
 * to close a file that SQLite has open would drop the locks of this process.
 */
export const createPrivate = (filename: string) => {
  if (existsSync(filename)) return
  closeSync(openSync(filename, "wx", 0o600))
  const directory = openSync(dirname(filename), "r")
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

/** Open a file; creates it unless `readOnly`. Throws what `node:sqlite` throws. */
export const open = (filename: string, options: { readonly readOnly: boolean }): Engine => {
  if (!options.readOnly) createPrivate(filename)
  const database = new DatabaseSync(filename, { readOnly: options.readOnly, timeout: 250 })
  try {
    if (!options.readOnly) database.exec(writerPragmas)
    database.exec(commonPragmas)
  } catch (cause) {
    database.close()
    throw cause
  }
  const cache = new Map<string, Prepared>()

  const prepare = (sql: string, arrays: boolean): Prepared => {
    let prepared = cache.get(sql)
    if (prepared === undefined) {
      const statement = database.prepare(sql)
      prepared = {
        statement,
        returnsRows: statement.columns().length > 0,
        isRead: /^\s*SELECT\b/i.test(sql),
        arrays: false
      }
      const oldest = cache.keys().next()
      if (cache.size >= cacheSize && oldest.done !== true) cache.delete(oldest.value)
      cache.set(sql, prepared)
    }
    if (prepared.arrays !== arrays) {
      prepared.statement.setReturnArrays(arrays)
      prepared.arrays = arrays
    }
    return prepared
  }

  let changes = 0
  const none: ReadonlyArray<Param> = []
  /** A statement that changes rows gives those that it has changed. */
  const counted = (isRead: boolean, rows: number) => {
    if (!isRead) changes += rows
  }
  // The driver cannot know the columns of a statement; whoever wrote the SELECT does.
  const db: Db = {
    all: <Row>(sql: string, params = none) => {
      const { statement, isRead } = prepare(sql, false)
      const rows = statement.all(...params.map(bind))
      counted(isRead, rows.length)
      return rows as unknown as ReadonlyArray<Row>
    },
    get: <Row>(sql: string, params = none) => {
      const { statement, isRead } = prepare(sql, false)
      const row = statement.get(...params.map(bind))
      counted(isRead, row === undefined ? 0 : 1)
      return row as unknown as Row | undefined
    },
    run: (sql, params = none) => {
      const changed = Number(prepare(sql, false).statement.run(...params.map(bind)).changes)
      changes += changed
      return changed
    }
  }

  return {
    database,
    db,
    execute: (sql, params, mode) => {
      const { statement, returnsRows } = prepare(sql, mode === "values")
      if (returnsRows) return statement.all(...params.map(bind))
      const { changes, lastInsertRowid } = statement.run(...params.map(bind))
      return mode === "raw" ? [{ changes, lastInsertRowid }] : []
    },
    changes: () => changes,
    close: () => {
      cache.clear()
      database.close()
    }
  }
}
