/**
 * Everything that is answered over HTTP, as one effect per request.
 *
 * Owns: the order of what every request passes (host and page, stopping, route, principal), the one error body, the request id
 * and the headers on every response. Does not own: the routes' meaning, nor the listening socket (`layers/gateway/NodeServer`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Ids } from "#src/domain/Ids.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { ApiError, invalid, notFound, toResponse } from "./ApiError.ts"
import { Auth, homeOnly, shutFor } from "./Auth.ts"
import { Gateway } from "./GatewaySettings.ts"
import { allowsHost, allowsOrigin, securityHeaders } from "./Guard.ts"
import * as agentRoutes from "./agentRoutes.ts"
import * as auditRoutes from "./auditRoutes.ts"
import * as credentialRoutes from "./credentialRoutes.ts"
import * as databaseRoutes from "./databaseRoutes.ts"
import * as directoryRoutes from "./directoryRoutes.ts"
import * as docsRoutes from "./docsRoutes.ts"
import * as keyRoutes from "./keyRoutes.ts"
import * as laneRoutes from "./laneRoutes.ts"
import * as osRoutes from "./osRoutes.ts"
import * as probes from "./probes.ts"
import { compile, type OpenCall, type Route } from "./Routing.ts"
import * as setupRoutes from "./setupRoutes.ts"
import * as forkRoutes from "./forkRoutes.ts"
import * as usageRoutes from "./usageRoutes.ts"
import { Shutdown } from "./Shutdown.ts"
import { paths as socketPaths } from "./Sockets.ts"
import * as v1Routes from "./v1Routes.ts"

export class GatewayApp extends Context.Service<
  GatewayApp,
  {
    /** Answer the request in context. Never fails; interrupted when its client goes. */
    readonly http: Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest>
    /** Method and path pattern of every route, as documented. */
    readonly routes: ReadonlyArray<Pick<Route, "method" | "path" | "access" | "isShared">>
  }
>()("opencraw/gateway/GatewayApp") {}

export const make = Effect.gen(function* () {
  const auth = yield* Auth
  const settings = yield* Gateway
  const ids = yield* Ids
  const shutdown = yield* Shutdown
  const page = yield* probes.makePage
  const documented = [
    ...(yield* v1Routes.make),
    ...(yield* osRoutes.make),
    ...(yield* laneRoutes.make),
    ...(yield* setupRoutes.make),
    ...(yield* forkRoutes.make),
    ...(yield* usageRoutes.make),
    ...(yield* directoryRoutes.make),
    ...(yield* agentRoutes.make),
    ...(yield* databaseRoutes.make),
    ...(yield* keyRoutes.make),
    ...(yield* credentialRoutes.make),
    ...(yield* auditRoutes.make),
    ...(yield* probes.make)
  ]
  const routes = [...documented, ...docsRoutes.make(documented)]
  const match = compile(routes)

  const guard = (request: HttpServerRequest): ApiError | undefined => {
    const { bind, allowed_hosts: allowedHosts } = settings.get()
    const policy = { bind, allowedHosts }
    const { host, origin } = request.headers
    if (host === undefined || !allowsHost(host, policy)) return foreignHost
    return allowsOrigin(origin, host, policy) ? undefined : foreignOrigin
  }

  const perform = Effect.fnUntraced(function* (route: Route, call: OpenCall) {
    if (route.access === "open") return yield* route.handle(call)
    const { method, headers } = call.request
    const principal = yield* auth.authenticate({
      method,
      host: headers["host"] ?? "",
      origin: headers["origin"],
      authorization: headers["authorization"],
      cookie: headers["cookie"],
      project: headers["x-opencraw-project"]
    })
    const shut = shutFor(principal, route.access)
    if (shut !== undefined) return yield* shut
    if (route.isShared === true && !principal.isHome) return yield* homeOnly
    return yield* route.handle({ ...call, principal })
  })

  const answer = Effect.fnUntraced(function* (request: HttpServerRequest, requestId: string, seen: Seen) {
    const refused = guard(request)
    if (refused !== undefined) return yield* refused
    const mark = request.url.indexOf("?")
    const path = mark < 0 ? request.url : request.url.slice(0, mark)
    const found = match(request.method, path)
    switch (found._tag) {
      case "Found": {
        seen.route = found.route.path
        if (shutdown.isStopping() && found.route.access !== "open") return yield* stopping
        const query = new URLSearchParams(mark < 0 ? "" : request.url.slice(mark + 1))
        return yield* perform(found.route, { request, requestId, query, params: found.params })
      }
      case "WrongMethod":
        return yield* wrongMethod(found.allow)
      case "BadPath":
        return yield* invalid("path", "the path is not valid percent-encoding")
      case "NotFound":
        seen.route = "page"
        return yield* readPage(request.method, path)
    }
  })

  const readPage = Effect.fnUntraced(function* (method: string, path: string) {
    if ((socketPaths as ReadonlyArray<string>).includes(path)) return yield* upgradeRequired
    if (path.startsWith("/api/") || path.startsWith("/v1/")) {
      return yield* notFound("there is no such route; see /docs")
    }
    if (method !== "GET" && method !== "HEAD") return yield* wrongMethod(["GET"])
    const decoded = decodePath(path)
    if (decoded === undefined) return yield* invalid("path", "the path is not valid percent-encoding")
    return yield* page(decoded)
  })

  const http = Effect.gen(function* () {
    const request = yield* HttpServerRequest
    const requestId = ids.next("req")
    const seen: Seen = { route: "refused" }
    const response = yield* answer(request, requestId, seen).pipe(
      Effect.catchTags({ ApiError: (error) => Effect.succeed(toResponse(error, requestId)) }),
      Effect.catchDefect((defect) =>
        Effect.as(
          Effect.logError("a request failed unexpectedly", defect, { route: seen.route, requestId }),
          toResponse(unexpected, requestId)
        )
      )
    )
    Telemetry.answered(seen.route, response.status)
    return HttpServerResponse.setHeaders(response, {
      ...securityHeaders,
      ...response.headers,
      "x-request-id": requestId
    })
  })

  // The server runs its handler uninterruptibly and leaves it to us when a client that goes may stop it.
  return GatewayApp.of({ http: Effect.interruptible(http), routes })
})

export const layer = Layer.effect(GatewayApp, make)

/** What is known of a request while it is answered, for the metrics. */
interface Seen {
  route: string
}

const decodePath = (path: string): string | undefined => {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}

const foreignHost = new ApiError({
  status: 403,
  code: "foreign_host",
  message: "requests to this host name are not answered; see gateway.allowed_hosts"
})
const foreignOrigin = new ApiError({
  status: 403,
  code: "foreign_origin",
  message: "pages of this origin may not use the gateway; see gateway.allowed_hosts"
})
const stopping = new ApiError({
  status: 503,
  code: "shutting_down",
  message: "the gateway is stopping",
  retryAfterMillis: 5000,
  headers: { connection: "close" }
})
const upgradeRequired = new ApiError({
  status: 426,
  code: "upgrade_required",
  message: "this path speaks WebSocket",
  headers: { upgrade: "websocket" }
})
const unexpected = new ApiError({
  status: 500,
  code: "internal",
  message: "something went wrong here; the log has the details under the request id"
})
const wrongMethod = (allow: ReadonlyArray<string>) =>
  new ApiError({
    status: 405,
    code: "method_not_allowed",
    message: `this path takes ${allow.join(", ")}`,
    headers: { allow: allow.join(", ") }
  })
