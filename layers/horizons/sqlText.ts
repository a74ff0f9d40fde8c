/**
 * What can be said of a statement by its text alone: its length, its first word, whether there is another one behind it, and its
 * placeholders.
 *
 * Nothing here is a guard: what SQL may reach is decided by the database. Pure.
 */
import * as Result from "effect/Result"
import { ProjectDbError, type SqlStatement, type SqlValue, SqlRefused } from "#src/horizons/ProjectDb.ts"

/** Longest text of one statement, which is SQLite's own limit too. */
const maxSqlBytes = 1_048_576

/** Characters of what a database says of a statement: SQL may write its errors itself, of any length. */
export const maxDetail = 2000

const refused = (statement: number, detail: string) =>
  Result.fail(new ProjectDbError({ reason: new SqlRefused({ statement, detail }) }))

/** A value as a database takes it. */
export type Scalar = string | number | boolean | null
export interface PlainStatement {
  readonly sql: string
  readonly params: ReadonlyArray<Scalar>
}

const plain = (value: SqlValue): Scalar =>
  typeof value === "object" && value !== null ? JSON.stringify(value) : value

/** A statement of a length that is read, whose parameters are single values: lists and objects as their JSON. `at`: its place in the call. */
export const admitted = (
  { sql, params }: SqlStatement,
  at = 0
): Result.Result<PlainStatement, ProjectDbError> => {
  if (Buffer.byteLength(sql) > maxSqlBytes) return refused(at, "a statement has 1 MB of text at most")
  try {
    return Result.succeed({ sql, params: params.map(plain) })
  } catch {
    return refused(at, "a parameter is too deep to be JSON")
  }
}

/** Bytes that a row, or its names, count for: a value has room of its own beside its text. */
export const sizeOf = (values: ReadonlyArray<unknown>): number =>
  values.reduce<number>((sum, one) => sum + 8 + (typeof one === "string" ? Buffer.byteLength(one) : 0), 0)

export type Dialect = "sqlite" | "postgres"

/** Where they differ: what ends a comment. PostgreSQL's nest, and those of a line end at a carriage return too. */
const lineEnd = { sqlite: /\n/g, postgres: /[\n\r]/g }
/** What both take for space; all else that looks like it begins a name. */
const spaces = " \t\n\f\r\v;"

const commentEnd = (sql: string, from: number, dialect: Dialect): number => {
  let depth = 0
  for (let at = from; at < sql.length; at++) {
    const two = sql.slice(at, at + 2)
    if (two === "/*") depth = dialect === "sqlite" ? 1 : depth + 1
    else if (two === "*/") depth--
    else continue
    at++
    if (depth === 0) return at + 1
  }
  return sql.length
}

/** Where the first thing from there on stands that is neither space, comment nor semicolon. */
const firstAt = (sql: string, dialect: Dialect, from = 0): number => {
  let at = from
  while (at < sql.length) {
    if (spaces.includes(sql.charAt(at))) at++
    else if (sql.startsWith("--", at)) {
      const end = lineEnd[dialect]
      end.lastIndex = at
      at = end.test(sql) ? end.lastIndex : sql.length
    } else if (sql.startsWith("/*", at)) at = commentEnd(sql, at, dialect)
    else break
  }
  return at
}

/** Nothing but spaces, comments and semicolons. */
export const isBlank = (sql: string, dialect: Dialect): boolean => firstAt(sql, dialect) >= sql.length

/** In capitals; empty when it begins with something else. */
export const firstWord = (sql: string, dialect: Dialect): string =>
  /^[a-z]+/i.exec(sql.slice(firstAt(sql, dialect)))?.[0].toUpperCase() ?? ""

/** Strings, names and comments, in which nothing is a placeholder; then what is one. */
const tokens =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|[^\W\d][\w$]*|(\$[1-9]\d*)(?![\w$(:\u0080-\uffff])|[?:@$][\w:]*/g

/** The numbers of `$1`, `$2` in SQLite's text, and the first placeholder that is written in another way, as `$01` and `$1(x)` are to it. */
export const placeholders = (
  sql: string
): { readonly numbers: ReadonlySet<number>; readonly other?: string } => {
  const numbers = new Set<number>()
  for (const [token, placeholder] of sql.matchAll(tokens)) {
    if (placeholder !== undefined) numbers.add(Number(placeholder.slice(1)))
    else if (/^[?:@$]/.test(token)) return { numbers, other: token }
  }
  return { numbers }
}

/**
 * The same for PostgreSQL's text, in which only a semicolon is looked for. What has no end goes on to that of the text, so that none is
 * looked for again; a name may hold a $, which begins nothing there.
 */
const pgTokens =
  /[eE]'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$[\s\S]*?(?:\$\1\$|$)|--[^\n\r]*|\/\*[\s\S]*?(?:\*\/|$)|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|;/g

/** PostgreSQL's statement without the semicolon that it ends with, so that it can stand in another one. */
export const withoutEnd = (sql: string): string => {
  // What stands next is looked for once, however many semicolons there are before it.
  let next = 0
  for (const { 0: token, index } of sql.matchAll(pgTokens)) {
    if (token !== ";" || index < next) continue
    next = firstAt(sql, "postgres", index)
    if (next >= sql.length) return sql.slice(0, index)
  }
  return sql
}
