/**
 * A project's own tables, by SQL: what its agents keep, and what its people ask of that.
 *
 * Owns: what a statement promises, and what it can never reach. Does not own: who may ask (`gateway`), nor any table of ours: none
 * of the gateway's data is in a project's database.
 *
 * SQL comes from models and from people, so it is taken for hostile: it reaches its own project's tables and nothing else, neither
 * of other projects nor of the gateway nor of the machine, and it is to end within its time. Where an adapter falls short of that, and
 * what projects of one server share, stands in docs/databases.md. Placeholders are `$1`, `$2` and so on.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Tenant } from "#src/domain/Tenant.ts"
import { StoreBroken, StoreBusy, StoreFull } from "./MessageLog.ts"

/** A value in a row, or a parameter. A list or an object is stored as JSON text. */
export type SqlValue =
  | string
  | number
  | boolean
  | null
  | ReadonlyArray<SqlValue>
  | { readonly [key: string]: SqlValue }

export interface SqlStatement {
  readonly sql: string
  readonly params: ReadonlyArray<SqlValue>
}

export interface SqlRows {
  readonly columns: ReadonlyArray<string>
  /**
   * Values in the order of the columns. Whole numbers beyond 2^53, and decimals of PostgreSQL, are text; bytes are `\x` and hex digits;
   * what JSON has no word for is as the database writes it.
   */
  readonly rows: ReadonlyArray<ReadonlyArray<SqlValue>>
  /** False when there are more rows than were wanted, or more text than `maxBytes`. */
  readonly isAll: boolean
}

/** Most bytes of text that one answer has. */
export const maxBytes = 1_048_576

/** The database does not take the statement: its syntax, a name, a constraint, a type, or something that is not allowed. */
export class SqlRefused extends Schema.TaggedError<SqlRefused>()("SqlRefused", {
  /** Which statement of several, from 0. */
  statement: Schema.Int,
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}
/** It did not end in its time. Nothing of it is kept. */
export class SqlTooLong extends Schema.TaggedError<SqlTooLong>()("SqlTooLong", { seconds: Schema.Int }) {
  override get message() {
    return `it did not end within ${this.seconds} s; nothing of it is kept`
  }
}
/** It needs more memory than it may have. Nothing of it is kept. */
export class SqlTooBig extends Schema.TaggedError<SqlTooBig>()("SqlTooBig", {}) {
  override get message() {
    return "it needs more memory than it may have: ask for less at once"
  }
}
/** The project's database has its full size. Nothing was kept; reading and deleting go on. */
export class ProjectDbFull extends Schema.TaggedError<ProjectDbFull>()("ProjectDbFull", {
  megabytes: Schema.Int
}) {
  override get message() {
    return `the project's database has its full size of ${this.megabytes} MB: delete something, or raise project_db.max_mb`
  }
}
/** The connection was lost while it was being committed: nobody knows whether it was. */
export class SqlUncertain extends Schema.TaggedError<SqlUncertain>()("SqlUncertain", {}) {
  override get message() {
    return "the database was lost while it was committing: look whether it was done before you do it again"
  }
}
/** This gateway has no databases for projects. */
export class NoProjectDb extends Schema.TaggedError<NoProjectDb>()("NoProjectDb", {}) {
  override get message() {
    return "this gateway keeps no databases for projects: set project_db.url"
  }
}

export class ProjectDbError extends Schema.TaggedError<ProjectDbError>()("ProjectDbError", {
  reason: Schema.Union([
    SqlRefused,
    SqlTooLong,
    SqlTooBig,
    SqlUncertain,
    ProjectDbFull,
    NoProjectDb,
    StoreFull,
    StoreBroken,
    StoreBusy
  ])
}) {
  override get message() {
    return this.reason.message
  }
}

export class ProjectDb extends Context.Service<
  ProjectDb,
  {
    /** Whose SQL it speaks; undefined when there are no databases. */
    readonly dialect: "sqlite" | "postgres" | undefined
    /** One statement that gives rows. It changes nothing, whatever it says. The database is made at its first use. */
    readonly query: (
      tenant: Tenant,
      statement: SqlStatement,
      maxRows: number
    ) => Effect.Effect<SqlRows, ProjectDbError>
    /**
     * All or none of them, one after the other; durable when it succeeds. Gives how many rows each of them changed. What they would
     * return is not told.
     */
    readonly execute: (
      tenant: Tenant,
      statements: ReadonlyArray<SqlStatement>
    ) => Effect.Effect<ReadonlyArray<number>, ProjectDbError>
  }
>()("opencraw/horizons/ProjectDb") {}

const none = Effect.fail(new ProjectDbError({ reason: new NoProjectDb({}) }))

/** Of a gateway that has none. */
export const layerNone = Layer.succeed(ProjectDb)({
  dialect: undefined,
  query: () => none,
  execute: () => none
})
