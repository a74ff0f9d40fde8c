/**
 * What can be said of a statement by its text alone: its first word, whether there is another one behind it, and its placeholders.
 *
 * Nothing here is a guard: what SQL may reach is decided by the database. Pure.
 */

/** Characters of what a database says of a statement: SQL may write its errors itself, of any length. */
export const maxDetail = 2000

/** Comments of PostgreSQL nest; where SQLite's end earlier, what follows is no statement to it. */
const commentEnd = (sql: string, from: number): number => {
  let depth = 0
  for (let at = from; at < sql.length; at++) {
    const two = sql.slice(at, at + 2)
    if (two === "/*") depth++
    else if (two === "*/") depth--
    else continue
    at++
    if (depth === 0) return at + 1
  }
  return sql.length
}

/** Where the first thing from there on stands that is neither space, comment nor semicolon. */
const firstAt = (sql: string, from = 0): number => {
  let at = from
  while (at < sql.length) {
    if (/[\s;]/.test(sql.charAt(at))) at++
    else if (sql.startsWith("--", at)) {
      const end = sql.indexOf("\n", at)
      at = end < 0 ? sql.length : end + 1
    } else if (sql.startsWith("/*", at)) at = commentEnd(sql, at)
    else break
  }
  return at
}

/** Nothing but spaces, comments and semicolons. */
export const isBlank = (sql: string): boolean => firstAt(sql) >= sql.length

/** In capitals; empty when it begins with something else. */
export const firstWord = (sql: string): string =>
  /^[a-z]+/i.exec(sql.slice(firstAt(sql)))?.[0].toUpperCase() ?? ""

/** Strings, names and comments, in which nothing is a placeholder; then what is one. */
const tokens =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|[^\W\d][\w$]*|\$\d+(?!\w)|[?:@$][\w:]*/g

/** The numbers of `$1`, `$2` in SQLite's text, and the first placeholder that is written in another way. */
export const placeholders = (
  sql: string
): { readonly numbers: ReadonlySet<number>; readonly other?: string } => {
  const numbers = new Set<number>()
  for (const [token] of sql.matchAll(tokens)) {
    if (/^\$\d+$/.test(token)) numbers.add(Number(token.slice(1)))
    else if (/^[?:@$]/.test(token)) return { numbers, other: token }
  }
  return { numbers }
}

/** The same for PostgreSQL's text, in which only a semicolon is looked for. */
const pgTokens =
  /e'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|\w+|;/gi

/** PostgreSQL's statement without the semicolon that it ends with, so that it can stand in another one. */
export const withoutEnd = (sql: string): string => {
  // What stands next is looked for once, however many semicolons there are before it.
  let next = 0
  for (const { 0: token, index } of sql.matchAll(pgTokens)) {
    if (token !== ";" || index < next) continue
    next = firstAt(sql, index)
    if (next >= sql.length) return sql.slice(0, index)
  }
  return sql
}
