/**
 * A session that begins with what was said in another one: `POST /api/v1/os/sessions/:key/fork`.
 *
 * Owns: its body, and the key of a fork that nobody named. Does not own: what is shared (the log).
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Ids } from "#src/domain/Ids.ts"
import { forkKey } from "#src/domain/SessionKey.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { SessionModels } from "#src/lane/SessionModels.ts"
import { SessionQueues } from "#src/lane/SessionQueues.ts"
import { Sessions } from "#src/session/Sessions.ts"
import { SessionUsage } from "#src/session/SessionUsage.ts"
import { invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { Gateway } from "./GatewaySettings.ts"
import { sessionOf, shown } from "./ownSessions.ts"
import { readStrict } from "./readBody.ts"
import { logRefusal } from "./refusals.ts"
import type { Call, Route } from "./Routing.ts"

const bodyKeys = new Set(["at", "session_key"])

export const make = Effect.gen(function* () {
  const settings = yield* Gateway
  const ids = yield* Ids
  const lanes = yield* Lanes
  const models = yield* SessionModels
  const queues = yield* SessionQueues
  const sessions = yield* Sessions
  const usage = yield* SessionUsage

  const fork = Effect.fnUntraced(function* ({ request, query, params, principal }: Call) {
    for (const key of query.keys()) {
      return yield* invalid(
        key.toWellFormed().slice(0, 100),
        "this parameter is not known here",
        "unknown_key"
      )
    }
    const from = yield* Effect.fromResult(sessionOf(params["key"] ?? "", principal))
    const body = yield* readStrict(request, settings.get().max_body_bytes, bodyKeys)
    const at = Object.hasOwn(body, "at") ? body["at"] : undefined
    if (at !== undefined && !(typeof at === "number" && Number.isSafeInteger(at) && at >= 1)) {
      return yield* invalid("at", "at must be the seq of an entry, a whole number of at least 1")
    }
    const named = Object.hasOwn(body, "session_key") ? body["session_key"] : undefined
    if (named !== undefined && typeof named !== "string") {
      return yield* invalid("session_key", "session_key must be a string")
    }
    const key = named ?? shown(forkKey(from, ids.next("fork")), principal)
    const to = yield* Effect.fromResult(sessionOf(key, principal))
    const made = yield* sessions
      .fork(from, to, at)
      .pipe(Effect.catchTags({ LogError: ({ reason }) => Effect.fail(logRefusal(reason)) }))
    models.adopt(to, made.settings)
    usage.adopt(to, made.settings)
    queues.adopt(to, made.queue)
    lanes.adopt(to, made.settings)
    const answer = { session_key: shown(to, principal), seq: made.seq } satisfies typeof Api.Forked.Type
    return HttpServerResponse.jsonUnsafe(answer, { status: 201 })
  })

  const routes: ReadonlyArray<Route> = [
    { method: "POST", path: "/api/v1/os/sessions/:key/fork", access: "chat", handle: fork }
  ]
  return routes
})
