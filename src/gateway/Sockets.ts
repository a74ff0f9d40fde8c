/**
 * Who may open a WebSocket, and which protocol is spoken on it: the one its path names.
 *
 * Owns: what every handshake passes (path, host and page, stopping, parameters, principal), how many sockets are open, and that a socket
 * does not outlive the API key that it was opened with.
 * Does not own: what is spoken (`WebChat`, `LaneWatch`), nor the bytes of a WebSocket (`Connection`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Result from "effect/Result"
import { ApiKeys, rememberedMillis } from "#src/access/ApiKeys.ts"
import { Ids } from "#src/domain/Ids.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { ApiError, invalid, toParts } from "./ApiError.ts"
import { type Access, Auth, type Principal, shutFor } from "./Auth.ts"
import type { Connection, ConnectionListener, Decision, Handshake } from "./Connection.ts"
import { Gateway } from "./GatewaySettings.ts"
import { allowsHost, allowsOrigin } from "./Guard.ts"
import * as LaneWatch from "./LaneWatch.ts"
import { Shutdown } from "./Shutdown.ts"
import * as WebChat from "./WebChat.ts"

/** What is spoken on the sockets of one path. */
export interface Protocol {
  readonly access: Access
  /** Its parameters beside `token` and `project`. */
  readonly parameters: ReadonlySet<string>
  /** What this principal may open, or why not. */
  readonly open: (
    principal: Principal,
    query: URLSearchParams
  ) => Result.Result<(connection: Connection) => ConnectionListener, ApiError>
}

/** The paths that WebSockets are spoken on. */
export const paths = ["/ws", "/ws/lanes"] as const
type Path = (typeof paths)[number]
const isPath = (path: string | undefined): path is Path => (paths as ReadonlyArray<unknown>).includes(path)

export class Sockets extends Context.Service<
  Sockets,
  {
    /** Who may open a socket, and what is spoken on it. Never fails: a refusal is a decision. */
    readonly decide: (handshake: Handshake) => Effect.Effect<Decision>
  }
>()("opencraw/gateway/Sockets") {}

export const make = Effect.gen(function* () {
  const auth = yield* Auth
  const settings = yield* Gateway
  const ids = yield* Ids
  const shutdown = yield* Shutdown
  const keys = yield* ApiKeys
  const protocols: Readonly<Record<Path, Protocol>> = {
    "/ws": yield* WebChat.make,
    "/ws/lanes": yield* LaneWatch.make
  }
  let open = 0
  const byKey = new Map<Connection, string>()

  const closeOf = (id: string) => {
    for (const [connection, keyId] of byKey) {
      if (keyId === id) connection.close(1008, "the key is not valid any more")
    }
  }
  const offRevoked = keys.onRevoked(closeOf)
  yield* Effect.addFinalizer(() => Effect.sync(offRevoked))
  // What another gateway revoked, and what has expired. While the store is away nobody is cut off.
  const closeEnded = Effect.suspend(() =>
    Effect.forEach(new Set(byKey.values()), (id) =>
      Effect.map(
        Effect.orElseSucceed(keys.isValid(id), () => true),
        (isValid) => {
          if (!isValid) closeOf(id)
        }
      )
    )
  )
  yield* Effect.forkScoped(Effect.forever(Effect.delay(closeEnded, rememberedMillis)))

  const admit = Effect.fnUntraced(function* (handshake: Handshake) {
    const header = (name: string) => {
      const value = handshake.headers[name]
      return typeof value === "string" ? value : undefined
    }
    const url = URL.parse(handshake.url, "http://gateway")
    const path = url?.pathname
    if (url === null || !isPath(path)) return yield* noSuchPath
    const { bind, allowed_hosts: allowedHosts } = settings.get()
    const host = header("host") ?? ""
    const origin = header("origin")
    if (!allowsHost(host, { bind, allowedHosts }) || !allowsOrigin(origin, host, { bind, allowedHosts })) {
      return yield* foreign
    }
    if (shutdown.isStopping()) return yield* stopping
    const protocol = protocols[path]
    const query = url.searchParams
    const unknown = [...query.keys()].find(
      (key) => key !== "token" && key !== "project" && !protocol.parameters.has(key)
    )
    if (unknown !== undefined) {
      return yield* invalid(unknown.slice(0, 100), "this parameter is not known here", "unknown_key")
    }
    const principal = yield* auth.authenticate({
      // A socket can change things, so a browser's must come from our own page.
      method: "POST",
      host,
      origin,
      authorization: header("authorization"),
      cookie: header("cookie"),
      token: query.get("token") ?? undefined,
      project: query.get("project") ?? undefined
    })
    const shut = shutFor(principal, protocol.access)
    if (shut !== undefined) return yield* shut
    return counted(yield* Effect.fromResult(protocol.open(principal, query)), principal.keyId)
  })

  const counted =
    (attach: (connection: Connection) => ConnectionListener, keyId: string | undefined) =>
    (connection: Connection): ConnectionListener => {
      Telemetry.socketsOpen(++open)
      if (keyId !== undefined) byKey.set(connection, keyId)
      const listener = attach(connection)
      return {
        ...listener,
        onClose: () => {
          byKey.delete(connection)
          listener.onClose()
          Telemetry.socketsOpen(--open)
        }
      }
    }

  const decide = (handshake: Handshake): Effect.Effect<Decision> =>
    admit(handshake).pipe(
      Effect.map((attach): Decision => ({ _tag: "Open", attach })),
      Effect.catchTags({
        ApiError: (error) =>
          Effect.sync((): Decision => ({ _tag: "Refuse", ...toParts(error, ids.next("req")) }))
      })
    )

  return Sockets.of({ decide })
})

export const layer = Layer.effect(Sockets, make)

const noSuchPath = new ApiError({
  status: 404,
  code: "not_found",
  message: `WebSockets are spoken on ${paths.join(" and ")}`
})
const foreign = new ApiError({
  status: 403,
  code: "foreign_host",
  message: "this host or page may not talk to the gateway; see gateway.allowed_hosts"
})
const stopping = new ApiError({
  status: 503,
  code: "shutting_down",
  message: "the gateway is stopping",
  retryAfterMillis: 5000
})
