/**
 * Plain code over a database that may answer at once (SQLite) or later (Postgres): a generator that yields its statements.
 *
 * Owns: the words between such code and who runs it. Parameters are `?`, or `?1` where one is named twice.
 * Does not own: connections, transactions or dialects (`SqliteClient`, `PgClient`).
 */

/** A value that both databases take. `undefined` is stored as NULL and booleans as 0 or 1. */
export type Param = string | number | bigint | boolean | null | undefined | Uint8Array

export interface Statement {
  readonly sql: string
  readonly params: ReadonlyArray<Param>
  /** `nothing`: whoever runs it may go on before the database has answered. A failure still undoes all of the body. */
  readonly wants: "rows" | "count" | "nothing"
}

/** What runs it answers a statement with its rows, or with how many rows it changed. */
export type Body<A> = Generator<Statement, A, unknown>

const none: ReadonlyArray<Param> = []

/** All rows. `Row` is what the caller knows its own SELECT to return. */
export function* all<Row>(sql: string, params = none): Body<ReadonlyArray<Row>> {
  return (yield { sql, params, wants: "rows" }) as ReadonlyArray<Row>
}

/** The first row. */
export function* get<Row>(sql: string, params = none): Body<Row | undefined> {
  return ((yield { sql, params, wants: "rows" }) as ReadonlyArray<Row>)[0]
}

/** Change rows, and learn how many were. */
export function* count(sql: string, params = none): Body<number> {
  return (yield { sql, params, wants: "count" }) as number
}

/** Change rows. */
export function* run(sql: string, params = none): Body<void> {
  yield { sql, params, wants: "nothing" }
}
