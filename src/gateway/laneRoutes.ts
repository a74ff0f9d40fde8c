/**
 * What people ask of the lanes over HTTP: the list, stop, abort, pause, resume, and cancelling one message.
 *
 * Does not own: what any of it does (`Lanes`), or telling of changes (`LaneWatch`).
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Audit } from "#src/access/Audit.ts"
import { messageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { Placement } from "#src/placement/Placement.ts"
import { Sessions } from "#src/session/Sessions.ts"
import { ApiError, invalid, notFound } from "./ApiError.ts"
import { actorOf, onSession } from "./Auth.ts"
import type * as Api from "./apiSchemas.ts"
import { Gateway } from "./GatewaySettings.ts"
import * as LaneLines from "./laneLines.ts"
import { json, numbers, read } from "./osRoutes.ts"
import { sessionOf } from "./ownSessions.ts"
import { readStrict } from "./readBody.ts"
import type { Call, Route } from "./Routing.ts"

const noKeys: ReadonlySet<string> = new Set()

export const make = Effect.gen(function* () {
  const audit = yield* Audit
  const lanes = yield* Lanes
  const sessions = yield* Sessions
  const placement = yield* Placement
  const elsewhere = yield* LaneLines.elsewhere
  const settings = yield* Gateway

  /** No parameter, and no body but an empty object. */
  const nothingElse = Effect.fnUntraced(function* ({ query, request }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const { "content-length": length = "0", "transfer-encoding": encoding } = request.headers
    if (length === "0" && encoding === undefined) return
    yield* readStrict(request, settings.get().max_body_bytes, noKeys)
  })

  const list = Effect.fnUntraced(function* ({ query, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const found = yield* lanes.list
    const nodes = yield* placement.nodes
    const others = yield* read(elsewhere(principal))
    return json({
      paused: lanes.isPaused(),
      lanes: [...LaneLines.lanesOf(found, principal), ...others],
      ...(nodes.length === 0
        ? {}
        : { nodes: nodes.map(({ id, isThis, buckets }) => ({ id, this: isThis, buckets })) })
    } satisfies typeof Api.Lanes.Type)
  })

  /** A paused session may have been forgotten since, and is resumed all the same. */
  const isKnown = Effect.fnUntraced(function* (key: SessionKey) {
    if ((yield* read(sessions.find(key))) !== undefined) return true
    return (yield* lanes.list).some(({ session }) => session === key)
  })

  const actOnOne = Effect.fnUntraced(function* (call: Call) {
    const { params, principal } = call
    yield* nothingElse(call)
    const key = yield* Effect.fromResult(sessionOf(params["key"] ?? "", principal))
    const action = params["action"] ?? ""
    if (!isOneAction(action)) {
      return yield* invalid("action", "action must be stop, abort, pause or resume", "unknown_action")
    }
    if (!(yield* isKnown(key))) return yield* notFound("there is no such session")
    switch (action) {
      case "stop":
        yield* read(lanes.stop(key, principal.id))
        break
      case "abort":
        if (!(yield* read(lanes.abort(key, principal.id)))) {
          return yield* notFound("no run is under way in this session", "no_run")
        }
        break
      case "pause":
        yield* audit.recorded({ ...onSession(principal, key), action: "lane.paused" }, read(lanes.pause(key)))
        break
      case "resume":
        yield* audit.recorded(
          { ...onSession(principal, key), action: "lane.resumed" },
          read(lanes.resume(key))
        )
        break
    }
    return HttpServerResponse.empty()
  })

  const actOnAll = Effect.fnUntraced(function* (call: Call) {
    yield* nothingElse(call)
    const action = call.params["action"] ?? ""
    if (action !== "pause" && action !== "resume") {
      const message = "action must be pause or resume; stop and abort need a session before them"
      return yield* invalid("action", message, "unknown_action")
    }
    const { actor } = actorOf(call.principal)
    yield* action === "pause"
      ? audit.recorded({ actor, action: "lanes.paused" }, read(lanes.pause(undefined)))
      : audit.recorded({ actor, action: "lanes.resumed" }, read(lanes.resume(undefined)))
    return HttpServerResponse.empty()
  })

  const cancel = Effect.fnUntraced(function* (call: Call) {
    yield* nothingElse(call)
    const id = messageId(call.params["id"] ?? "")
    const { tenant } = call.principal
    const trace = yield* read(sessions.trace(tenant, id))
    if (trace === undefined) return yield* notFound("there is no such message")
    const { place } = trace.message
    if (!(yield* read(lanes.cancel(place.session, id, call.principal.id)))) {
      const ended = yield* read(sessions.trace(tenant, id))
      return yield* new ApiError({
        status: 409,
        code: "already_ended",
        message: "this message has ended already",
        details: { outcome: ended?.message.outcome }
      })
    }
    return HttpServerResponse.empty()
  })

  const os = "/api/v1/os"
  const routes: ReadonlyArray<Route> = [
    { method: "GET", path: `${os}/lanes`, access: "read", handle: list },
    { method: "POST", path: `${os}/lanes/:action`, access: "admin", isShared: true, handle: actOnAll },
    { method: "POST", path: `${os}/lanes/:key/:action`, access: "admin", handle: actOnOne },
    { method: "POST", path: `${os}/messages/:id/cancel`, access: "admin", handle: cancel }
  ]
  return routes
})

const oneActions = ["stop", "abort", "pause", "resume"] as const
const isOneAction = (text: string): text is (typeof oneActions)[number] =>
  (oneActions as ReadonlyArray<string>).includes(text)
