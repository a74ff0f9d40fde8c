/**
 * How statements are written for Postgres: its placeholders, and several writes as one.
 *
 * All of it is text to text, and remembered: the same statement is prepared once.
 */
import type { Param, Statement } from "./statements.ts"

const translated = new Map<string, string>()

/** `?` and `?1` as `$1`, after `from` earlier parameters. Our statements hold no question mark otherwise. */
export const numbered = (sql: string, from = 0): string => {
  const key = from === 0 ? sql : `${from} ${sql}`
  const known = translated.get(key)
  if (known !== undefined) return known
  let next = 0
  const made = sql.replace(
    /\?(\d*)/g,
    (_, given: string) => `$${from + (given === "" ? ++next : Number(given))}`
  )
  translated.set(key, made)
  return made
}

const tables = new Map<string, string | undefined>()

/** The table that a statement changes; undefined for one that only reads. */
export const writtenTable = ({ sql }: Statement): string | undefined => {
  if (tables.has(sql)) return tables.get(sql)
  const table = /^\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)/i.exec(sql)?.[1]
  tables.set(sql, table)
  return table
}

/**
 * Writes to different tables as one statement. Each of them sees what was there before all of them, so none may look for what another
 * of them wrote.
 */
export const joined = (
  statements: ReadonlyArray<Statement>
): { readonly sql: string; readonly params: ReadonlyArray<Param> } => {
  const [first, ...others] = statements
  if (first === undefined) return { sql: "", params: [] }
  if (others.length === 0) return { sql: numbered(first.sql), params: first.params }
  const params: Array<Param> = []
  const parts = statements.map((statement, index) => {
    const sql = numbered(statement.sql, params.length)
    params.push(...statement.params)
    return index === 0 ? sql : `w${index} AS (${sql})`
  })
  const [last, ...before] = parts
  return { sql: `WITH ${before.join(", ")} ${last}`, params }
}
