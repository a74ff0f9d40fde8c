/** `opencraw db ...`: the project's own database, through the running gateway. */
import * as Effect from "effect/Effect"
import * as Api from "#src/gateway/apiSchemas.ts"
import type { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import { connect } from "./identity.ts"
import { numberOf, print, printJson, readInput, wrong } from "./terminal.ts"

const path = "/api/v1/os/database"

/** A list of JSON values; none when the flag is absent. */
const paramsOf = (given: Given) =>
  Effect.suspend((): Effect.Effect<{ readonly params?: ReadonlyArray<unknown> }, CommandFailed> => {
    const text = given.values.get("params")
    if (text === undefined) return Effect.succeed({})
    try {
      const params: unknown = JSON.parse(text)
      if (Array.isArray(params)) return Effect.succeed({ params })
    } catch {
      // Told below.
    }
    return Effect.fail(wrong(`--params must be a list in JSON, such as '[7, "seven"]'`))
  })

const statementOf = Effect.fnUntraced(function* (given: Given) {
  const params = yield* paramsOf(given)
  const sql = given.values.get("SQL") ?? (yield* readInput)
  return { sql, ...params }
})

const query = Effect.fn("cli.db.query")(function* (given: Given) {
  const limit = yield* numberOf(given, "limit", 1)
  const statement = yield* statementOf(given)
  const client = yield* connect(given)
  const body = { ...statement, ...(limit === undefined ? {} : { max_rows: limit }) }
  const found = yield* client.call(Api.SqlRows, "POST", `${path}/query`, body)
  if (given.values.has("json")) printJson(found)
  else print(render.sqlRows(found))
  return exitCodes.ok
})

const execute = Effect.fn("cli.db.execute")(function* (given: Given) {
  const statement = yield* statementOf(given)
  const client = yield* connect(given)
  const done = yield* client.call(Api.SqlChanges, "POST", `${path}/execute`, { statements: [statement] })
  const [changed = 0] = done.changes
  if (given.values.has("json")) printJson(done)
  else print(`Done: ${changed} ${changed === 1 ? "row" : "rows"} changed\n`)
  return exitCodes.ok
})

/** By the command's name. */
export const programs = {
  "db query": query,
  "db execute": execute
} satisfies Record<string, (given: Given) => Effect.Effect<number, CommandFailed>>
