/** The OpenAI protocol's routes: chat completions, and agents in the place of models. */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import { ApiError } from "./ApiError.ts"
import * as ChatCompletions from "./ChatCompletions.ts"
import * as ModelNames from "./modelNames.ts"
import type { Call, Route } from "./Routing.ts"

const modelBody = (id: string) => ({ id, object: "model", created: 0, owned_by: "opencraw" })

export const make = Effect.gen(function* () {
  const agents = yield* ProjectAgents
  const chat = yield* ChatCompletions.make

  const list = ({ principal }: Call) =>
    Effect.sync(() =>
      HttpServerResponse.jsonUnsafe({
        object: "list",
        data: ModelNames.listed(agents.of(principal.tenant)).map(modelBody)
      })
    )
  const find = ({ params, principal }: Call) => {
    const name = params["id"] ?? ""
    return ModelNames.resolve(name, agents.of(principal.tenant)) === undefined
      ? Effect.fail(
          new ApiError({
            status: 404,
            code: "model_not_found",
            message: "no agent answers to this model name",
            param: "model"
          })
        )
      : Effect.succeed(HttpServerResponse.jsonUnsafe(modelBody(name)))
  }

  const routes: ReadonlyArray<Route> = [
    { method: "POST", path: "/v1/chat/completions", access: "chat", handle: chat.handle },
    { method: "GET", path: "/v1/models", access: "see", handle: list },
    { method: "GET", path: "/v1/models/:id*", access: "see", handle: find }
  ]
  return routes
})
