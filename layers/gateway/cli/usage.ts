/** `opencraw usage`: what was spent, as the running gateway has counted it. */
import * as Effect from "effect/Effect"
import * as Api from "#src/gateway/apiSchemas.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import * as GatewayClient from "../GatewayClient.ts"
import { numberOf, optionsOf, print, printJson } from "./terminal.ts"

const parameters = {
  by: "by",
  since: "since",
  until: "until",
  session: "session_key",
  sender: "sender",
  agent: "agent",
  model: "model"
}

export const usage = Effect.fn("cli.usage")(function* (given: Given) {
  const limit = yield* numberOf(given, "limit", 1)
  const query = new URLSearchParams()
  for (const [flag, name] of Object.entries(parameters)) {
    const value = given.values.get(flag)
    if (value !== undefined) query.set(name, value)
  }
  if (limit !== undefined) query.set("limit", String(limit))
  const client = yield* GatewayClient.connect(optionsOf(given))
  const report = yield* client.call(Api.UsageReport, "GET", `/api/v1/os/usage?${query.toString()}`)
  if (given.values.has("json")) printJson(report)
  else print(render.usage(report))
  return exitCodes.ok
})
