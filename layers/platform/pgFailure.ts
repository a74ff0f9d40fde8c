/** What an error of Postgres means for whoever asked, from its SQLSTATE. */
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"

/**
 * `full`: the server has no space left. `busy`: refused for now. `unreachable`: no connection, or it was lost. `conflict`: another
 * transaction was faster; the same again may succeed. `fenced`: its fence was raised. `broken`: what is there cannot be used.
 * `statement`: the SQL or its data was refused, which is a bug of the caller.
 */
export class PgFailure extends Schema.TaggedError<PgFailure>()("PgFailure", {
  kind: Schema.Literals(["full", "busy", "unreachable", "conflict", "fenced", "broken", "statement"]),
  detail: Schema.String,
  /** SQLSTATE, when the server said one. */
  code: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    return `Postgres (${this.kind}): ${this.detail}`
  }
}

/** A statement that came after the one that failed: not the reason. */
export const failedTransaction = "25P02"

const kinds: ReadonlyArray<readonly [code: RegExp, kind: PgFailure["kind"]]> = [
  [/^(53100|54000)$/, "full"],
  [/^(53...|55P03|57014|25006)$/, "busy"],
  [/^(08...|57P0.|28...|3D000)$/, "unreachable"],
  [/^(23505|40...)$/, "conflict"],
  [/^(58...|XX...|F0...|42501|42P01|42703|3F000)$/, "broken"]
]

/** Only what a server says has a severity: the system's own codes are words, and EPIPE is as long as a state. */
const sqlState = (cause: unknown): string | undefined =>
  cause instanceof Error &&
  "severity" in cause &&
  "code" in cause &&
  typeof cause.code === "string" &&
  /^[0-9A-Z]{5}$/.test(cause.code)
    ? cause.code
    : undefined

/** The words of the system or the server, never the connection string. */
const wordsOf = (error: SqlError): string => {
  const { cause } = error.reason
  const own = cause instanceof Error && cause.message !== "" ? cause.message : error.reason.message
  // Node joins the attempts at several addresses in an error without words.
  return own ?? (cause instanceof AggregateError ? String(cause.errors[0]) : "unknown")
}

export const failureOf = (error: SqlError): PgFailure => {
  const { reason } = error
  const code = sqlState(reason.cause)
  const fallback =
    reason._tag === "ConnectionError" || reason._tag === "AuthenticationError" ? "unreachable" : "statement"
  const kind =
    code === undefined ? fallback : (kinds.find(([pattern]) => pattern.test(code))?.[1] ?? "statement")
  return new PgFailure({
    kind,
    detail: wordsOf(error),
    ...(code === undefined ? {} : { code }),
    cause: error
  })
}
