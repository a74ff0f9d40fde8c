/**
 * The one port: HTTP and WebSocket on a Node server.
 *
 * Owns: listening, time limits on slow senders, the WebSocket's bytes, pings, and closing. Does not own: any meaning
 * (`src/gateway`). Handlers are attached before it listens, so no request ever meets a server that cannot answer.
 */
import { randomUUID } from "node:crypto"
import { createServer, STATUS_CODES, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type { Duplex } from "node:stream"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeWS from "@effect/platform-node/NodeWS"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ApiError, toParts } from "#src/gateway/ApiError.ts"
import type { Connection, ConnectionListener, Decision } from "#src/gateway/Connection.ts"
import { GatewayApp } from "#src/gateway/GatewayApp.ts"
import { Gateway } from "#src/gateway/GatewaySettings.ts"
import { securityHeaders } from "#src/gateway/Guard.ts"
import { Sockets } from "#src/gateway/Sockets.ts"

/** Another program listens there already. */
export class PortInUse extends Schema.TaggedError<PortInUse>()("PortInUse", {
  host: Schema.String,
  port: Schema.Finite
}) {
  override get message() {
    return `port ${this.port} on ${this.host} is in use: stop the other program, or set gateway.port (0 takes any free one)`
  }
}
/** The address cannot be listened on for another reason. */
export class CannotListen extends Schema.TaggedError<CannotListen>()("CannotListen", {
  host: Schema.String,
  port: Schema.Finite,
  detail: Schema.String
}) {
  override get message() {
    return `cannot listen on ${this.host}:${this.port}: ${this.detail}`
  }
}

/** Where it listens, once it does. */
export class NodeServer extends Context.Service<
  NodeServer,
  { readonly host: string; readonly port: number; readonly url: string }
>()("opencraw/layers/gateway/NodeServer") {}

/** Limits on slow and silent peers, ms. */
export const limits = {
  /** A whole request must have arrived by then, else 408. */
  request: 30_000,
  headers: 15_000,
  checkEvery: 1000,
  keepAlive: 65_000,
  ping: 30_000,
  /** What a peer that is told to close gets before it is cut off. */
  closing: 10_000
} as const

export interface Options {
  readonly limits?: Partial<Record<keyof typeof limits, number>>
}

/** The address that `gateway.bind` means. */
export const hosts = { loopback: "127.0.0.1", lan: "0.0.0.0" } as const

const refuse = (socket: Duplex, decision: Extract<Decision, { _tag: "Refuse" }>): void => {
  const headers = {
    ...securityHeaders,
    ...decision.headers,
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(decision.body)),
    connection: "close"
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.once("finish", () => socket.destroy())
  socket.end(
    `HTTP/1.1 ${decision.status} ${STATUS_CODES[decision.status] ?? ""}\r\n${lines.join("")}\r\n${decision.body}`
  )
}

const isWebSocket = (request: IncomingMessage) => request.headers.upgrade?.toLowerCase() === "websocket"

/** What RFC 6455 section 4.2.1 asks of a handshake, before anybody is asked who it is. */
const malformedHandshake = (request: IncomingMessage) => {
  const { headers, method } = request
  if (method !== "GET") {
    return plainRefusal(405, "method_not_allowed", "a WebSocket begins with GET", { allow: "GET" })
  }
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "")) {
    return plainRefusal(400, "invalid_handshake", "Sec-WebSocket-Key must be 16 bytes in base64")
  }
  return headers["sec-websocket-version"] === "13"
    ? undefined
    : plainRefusal(426, "invalid_handshake", "Sec-WebSocket-Version must be 13", {
        "sec-websocket-version": "13",
        upgrade: "websocket"
      })
}

const plainRefusal = (
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {}
) => {
  const parts = toParts(new ApiError({ status, code, message, headers: { ...headers } }), requestId())
  return { _tag: "Refuse", ...parts } as const
}

const requestId = () => `req_${randomUUID()}`

const connectionOf = (ws: NodeWS.WebSocket, closing: number): Connection => ({
  send: (text) => {
    if (ws.readyState === ws.OPEN) ws.send(text)
  },
  buffered: () => ws.bufferedAmount,
  pause: () => ws.pause(),
  resume: () => ws.resume(),
  close: (code, reason) => {
    ws.resume()
    ws.close(code, reason)
    setTimeout(() => ws.terminate(), closing).unref()
  }
})

const listen = (ws: NodeWS.WebSocket, socket: Socket, listener: ConnectionListener): void => {
  ws.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) listener.onBinary()
    else listener.onText(data.toString("utf8"))
  })
  // `ws` has closed with the protocol's own code by then; without a listener the process would end.
  ws.on("error", () => undefined)
  socket.on("drain", () => listener.onDrain())
  ws.on("close", () => listener.onClose())
}

// A peer that answered no ping since the last one is gone.
const heartbeat = (peers: Set<NodeWS.WebSocket>, every: number): (() => void) => {
  const silent = new WeakSet<NodeWS.WebSocket>()
  const timer = setInterval(() => {
    for (const ws of peers) {
      if (silent.has(ws)) ws.terminate()
      else {
        silent.add(ws)
        ws.once("pong", () => silent.delete(ws))
        ws.ping()
      }
    }
  }, every)
  timer.unref()
  return () => clearInterval(timer)
}

const bindPort = (server: Server, host: string, port: number) =>
  Effect.callback<AddressInfo, PortInUse | CannotListen>((resume) => {
    const onError = (cause: NodeJS.ErrnoException) => {
      const error =
        cause.code === "EADDRINUSE"
          ? new PortInUse({ host, port })
          : new CannotListen({ host, port, detail: cause.message })
      resume(Effect.fail(error))
    }
    server.once("error", onError)
    server.listen(port, host, () => {
      server.off("error", onError)
      resume(Effect.succeed(server.address() as AddressInfo))
    })
  })

const close = (server: Server, grace: number) =>
  Effect.callback<void>((resume) => {
    if (!server.listening) return resume(Effect.void)
    server.close(() => resume(Effect.void))
    server.closeIdleConnections()
    const timer = setTimeout(() => server.closeAllConnections(), grace)
    timer.unref()
    return Effect.sync(() => clearTimeout(timer))
  })

export const make = Effect.fnUntraced(function* (options: Options) {
  const app = yield* GatewayApp
  const sockets = yield* Sockets
  const settings = (yield* Gateway).get()
  const limit = { ...limits, ...options.limits }
  const server = createServer({
    requestTimeout: limit.request,
    headersTimeout: limit.headers,
    connectionsCheckingInterval: limit.checkEvery,
    keepAliveTimeout: limit.keepAlive,
    // Any other wish (such as h2c) is an ordinary request whose wish is not granted.
    shouldUpgradeCallback: isWebSocket
  })
  const scope = yield* Effect.scope
  const handler = yield* NodeHttpServer.makeHandler(app.http, { scope })
  server.on("request", handler)

  const peers = new Set<NodeWS.WebSocket>()
  const wss = new NodeWS.WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: settings.max_body_bytes
  })
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy())
    const { url = "/", headers } = request
    const malformed = malformedHandshake(request)
    if (malformed !== undefined) return refuse(socket, malformed)
    const decided = Effect.map(sockets.decide({ url, headers }), (decision) => {
      if (socket.destroyed) return
      if (decision._tag === "Refuse") return refuse(socket, decision)
      wss.handleUpgrade(request, socket, head, (ws) => {
        peers.add(ws)
        ws.on("close", () => peers.delete(ws))
        listen(ws, request.socket, decision.attach(connectionOf(ws, limit.closing)))
      })
    })
    run(decided)
  }
  server.on("upgrade", upgrade)

  const stopPings = heartbeat(peers, limit.ping)
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      stopPings()
      for (const ws of peers) ws.close(1001, "the gateway is stopping")
      return Effect.andThen(
        close(server, 1000),
        Effect.sync(() => {
          for (const ws of peers) ws.terminate()
        })
      )
    })
  )
  const host = hosts[settings.bind]
  const address = yield* bindPort(server, host, settings.port)
  const shown = settings.bind === "lan" ? "127.0.0.1" : host
  return NodeServer.of({ host, port: address.port, url: `http://${shown}:${address.port}` })
})

/** Listens until its scope closes. */
export const layer = (options: Options = {}) => Layer.effect(NodeServer, make(options))
