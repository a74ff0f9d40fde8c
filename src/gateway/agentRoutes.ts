/**
 * Agents that a project has of its own, over HTTP.
 *
 * Owns: what may be asked for, and the shapes on the wire. Does not own: what an agent may say (`agent/ProjectAgents`).
 */
import * as Effect from "effect/Effect"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import type { AgentRow } from "#src/horizons/CentralDb.ts"
import { ApiError, invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { actorOf } from "./Auth.ts"
import { Gateway } from "./GatewaySettings.ts"
import { json, numbers } from "./osRoutes.ts"
import { pageOf } from "./pages.ts"
import { readStrict } from "./readBody.ts"
import { centralRefusal } from "./refusals.ts"
import type { Call, Route } from "./Routing.ts"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

const bodyKeys = new Set(["name", "settings", "revision"])

const toAgent = (row: AgentRow): typeof Api.ProjectAgent.Type => ({
  name: row.name,
  settings: JSON.parse(row.settings) as typeof Api.ProjectAgent.Type.settings,
  revision: row.revision,
  created_at: row.createdAt,
  updated_at: row.updatedAt
})

export const make = Effect.gen(function* () {
  const agents = yield* ProjectAgents
  const settings = yield* Gateway

  const set = Effect.fnUntraced(function* ({ request, query, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const body = yield* readStrict(request, settings.get().max_body_bytes, bodyKeys)
    const of = (key: string) => (Object.hasOwn(body, key) ? body[key] : undefined)
    const [name, revision] = [of("name"), of("revision")]
    if (typeof name !== "string") return yield* invalid("name", "name must be a string")
    if (revision !== undefined && !(Number.isSafeInteger(revision) && Number(revision) >= 0)) {
      return yield* invalid("revision", "revision must be a whole number of at least 0")
    }
    const { tenant, actor } = actorOf(principal)
    const asked = {
      name,
      settings: of("settings"),
      revision: revision === undefined ? undefined : Number(revision)
    }
    const made = yield* agents.set(tenant, asked, actor).pipe(
      Effect.catchTags({
        CentralError: (error) => Effect.fail(centralRefusal(error)),
        AgentRefused: (error) =>
          Effect.fail(
            new ApiError({
              status: 400,
              code: "invalid_agent",
              message: error.message,
              param: error.problems[0]?.path === "name" ? "name" : "settings",
              details: { problems: error.problems }
            })
          )
      })
    )
    return json({ name, revision: made } satisfies typeof Api.AgentSet.Type)
  })

  const list = Effect.fnUntraced(function* ({ query, principal }: Call) {
    const page = yield* Effect.fromResult(pageOf(query))
    const rows = yield* agents
      .list({ tenant: principal.tenant, ...page })
      .pipe(Effect.mapError(centralRefusal))
    const next = rows.length < page.limit ? undefined : rows.at(-1)?.name
    return json({
      agents: rows.map(toAgent),
      ...(next === undefined ? {} : { next })
    } satisfies typeof Api.ProjectAgents.Type)
  })

  const remove = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const { tenant, actor } = actorOf(principal)
    yield* agents.remove(tenant, params["name"] ?? "", actor).pipe(Effect.mapError(centralRefusal))
    return HttpServerResponse.empty()
  })

  const path = "/api/v1/os/agents"
  const routes: ReadonlyArray<Route> = [
    { method: "POST", path, access: "admin", handle: set },
    { method: "GET", path, access: "admin", handle: list },
    { method: "DELETE", path: `${path}/:name`, access: "admin", handle: remove }
  ]
  return routes
})
