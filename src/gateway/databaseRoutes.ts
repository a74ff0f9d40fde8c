/**
 * The project's own database over HTTP: what is in it, and changes to it.
 *
 * Owns: what may be asked for, and the shapes on the wire. What is executed is told to the audit log, without its parameters. Does not
 * own: what SQL may do (`ProjectDb`).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Audit } from "#src/access/Audit.ts"
import { ProjectDb, type SqlStatement, type SqlValue } from "#src/horizons/ProjectDb.ts"
import { ProjectDbPlace } from "#src/horizons/ProjectDbSettings.ts"
import { type ApiError, invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { actorOf } from "./Auth.ts"
import { Gateway } from "./GatewaySettings.ts"
import * as Json from "./Json.ts"
import { json, numbers } from "./osRoutes.ts"
import { readStrict } from "./readBody.ts"
import { projectDbRefusal } from "./refusals.ts"
import type { Call, Route } from "./Routing.ts"

const queryKeys = new Set(["sql", "params", "max_rows"])
const executeKeys = new Set(["statements"])
const statementKeys = new Set(["sql", "params"])
const maxStatements = 1000
/** As much of a statement as the audit log is told. */
const shownSql = 500

const ownOf = (body: Json.JsonObject, key: string): unknown =>
  Object.hasOwn(body, key) ? body[key] : undefined

/** `at` is where the statement stands in the body, for a message. */
const statementOf = (body: Json.JsonObject, at: string): Result.Result<SqlStatement, ApiError> => {
  const [sql, params = []] = [ownOf(body, "sql"), ownOf(body, "params")]
  if (typeof sql !== "string" || sql.trim() === "")
    return Result.fail(invalid(`${at}sql`, `${at}sql must be a statement`))
  if (!Array.isArray(params)) return Result.fail(invalid(`${at}params`, `${at}params must be a list`))
  return Result.succeed({ sql, params: params as ReadonlyArray<SqlValue> })
}

const statementsOf = (body: Json.JsonObject): Result.Result<ReadonlyArray<SqlStatement>, ApiError> =>
  Result.gen(function* () {
    const given = ownOf(body, "statements")
    if (!Array.isArray(given) || given.length === 0 || given.length > maxStatements) {
      return yield* Result.fail(
        invalid("statements", `statements must be a list of 1 to ${maxStatements} statements`)
      )
    }
    const statements: Array<SqlStatement> = []
    for (const [at, one] of given.entries()) {
      const where = `statements[${at}].`
      if (!Json.isObject(one)) return yield* Result.fail(invalid(`statements[${at}]`, "must be an object"))
      const unknown = Json.unknownKey(one, statementKeys)
      if (unknown !== undefined) {
        const key = unknown.toWellFormed().slice(0, 100)
        return yield* Result.fail(invalid(`${where}${key}`, "this key is not known here", "unknown_key"))
      }
      statements.push(yield* statementOf(one, where))
    }
    return statements
  })

export const make = Effect.gen(function* () {
  const db = yield* ProjectDb
  const audit = yield* Audit
  const settings = yield* Gateway
  const limits = yield* ProjectDbPlace

  const query = Effect.fnUntraced(function* ({ request, query: parameters, principal }: Call) {
    yield* Effect.fromResult(numbers(parameters, []))
    const body = yield* readStrict(request, settings.get().max_body_bytes, queryKeys)
    const statement = yield* Effect.fromResult(statementOf(body, ""))
    const { max_rows: most } = limits.get()
    const wanted = ownOf(body, "max_rows") ?? most
    if (!Number.isSafeInteger(wanted) || Number(wanted) < 1 || Number(wanted) > most) {
      return yield* invalid("max_rows", `max_rows must be a whole number from 1 to ${most}`)
    }
    const { columns, rows, isAll } = yield* db
      .query(principal.tenant, statement, Number(wanted))
      .pipe(Effect.mapError(projectDbRefusal))
    return json({ columns, rows, is_all: isAll } satisfies typeof Api.SqlRows.Type)
  })

  const execute = Effect.fnUntraced(function* ({ request, query: parameters, principal }: Call) {
    yield* Effect.fromResult(numbers(parameters, []))
    const body = yield* readStrict(request, settings.get().max_body_bytes, executeKeys)
    const statements = yield* Effect.fromResult(statementsOf(body))
    const { tenant, actor } = actorOf(principal)
    const detail = { statements: statements.length, sql: (statements[0]?.sql ?? "").slice(0, shownSql) }
    const changes = yield* audit
      .recorded(
        { tenant, actor, action: "database.executed", detail },
        Effect.interruptible(db.execute(tenant, statements))
      )
      .pipe(Effect.mapError(projectDbRefusal))
    return json({ changes } satisfies typeof Api.SqlChanges.Type)
  })

  const path = "/api/v1/os/database"
  const routes: ReadonlyArray<Route> = [
    { method: "POST", path: `${path}/query`, access: "read", handle: query },
    { method: "POST", path: `${path}/execute`, access: "admin", handle: execute }
  ]
  return routes
})
