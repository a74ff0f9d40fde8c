/**
 * A gateway that does what a test tells it to: for the page's behaviour when things go wrong.
 *
 * Owns: the routes and frames of the WebChat protocol, without any of its guarantees.
 */
import fs from "node:fs"
import http from "node:http"
import type { AddressInfo } from "node:net"
import path from "node:path"
import { type WebSocket, WebSocketServer } from "ws"

interface Received {
  readonly type: string
  readonly id?: string
  readonly content?: string
}

export interface FakeGateway {
  readonly url: string
  /** Every frame that any socket sent, in order. */
  readonly received: Array<Received>
  /** What to do with a frame. */
  onFrame: (frame: Received, send: (frame: object) => void) => void
  rows: Array<object>
  /** What its list of sessions holds. */
  sessions: Array<object>
  /** Any other path of the API and what it answers; a path that is missing is 404. */
  readonly answers: Map<string, object>
  /** Paths that were asked for and served from no file. */
  readonly asked: Array<string>
  /** Instead of `rows`: what a page of history holds. */
  page: ((query: URLSearchParams) => object) | undefined
  /** What a socket is told after the greeting. */
  onConnect: (send: (frame: object) => void) => void
  /** What the greeting says. */
  seq: number
  readonly sendAll: (frame: object) => void
  /** Cut every socket without a closing handshake. */
  readonly cut: () => void
  readonly close: () => Promise<void>
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml"
}

/** The policy that the page must be able to live with. */
const policy = "default-src 'self'; connect-src 'self'; style-src 'self'"

const serveFile = (web: string, url: string, response: http.ServerResponse) => {
  const file = path.join(web, url === "/" ? "index.html" : url)
  if (!fs.existsSync(file)) return response.writeHead(404).end()
  return response
    .writeHead(200, {
      "content-type": types[path.extname(file)] ?? "application/octet-stream",
      "content-security-policy": policy
    })
    .end(fs.readFileSync(file))
}

/** Serve the built page in the folder `web`. The only code it takes is `good`, once. */
export const startFakeGateway = async (web: string): Promise<FakeGateway> => {
  const sockets = new Set<WebSocket>()
  let codes = ["good"]
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://local")
    const json = (status: number, body: unknown, headers: Record<string, string> = {}) =>
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))
    const known = request.headers.cookie?.includes("fake=1") === true
    if (url.pathname === "/auth/code") {
      let body = ""
      request.on("data", (chunk: Buffer) => (body += chunk.toString()))
      request.on("end", () => {
        const { code } = JSON.parse(body) as { code: string }
        if (!codes.includes(code)) return json(401, { error: {} })
        codes = []
        return response.writeHead(204, { "set-cookie": "fake=1; HttpOnly; SameSite=Strict; Path=/" }).end()
      })
    } else if (url.pathname === "/auth/me") {
      if (known)
        json(200, {
          principal: { id: "operator", admin: true },
          model: "demo/demo",
          demo: true,
          setting: "general.model"
        })
      else json(401, { error: {} })
    } else if (url.pathname.startsWith("/api/")) {
      gateway.asked.push(`${request.method} ${url.pathname}${url.search}`)
      const answer =
        url.pathname === "/api/v1/os/sessions/main/messages"
          ? (gateway.page?.(url.searchParams) ?? { messages: gateway.rows })
          : url.pathname === "/api/v1/os/sessions"
            ? { sessions: gateway.sessions }
            : gateway.answers.get(url.pathname)
      if (!known) json(401, { error: {} })
      else if (answer === undefined) json(404, { error: {} })
      else json(200, answer)
    } else serveFile(web, url.pathname, response)
  })
  const webSockets = new WebSocketServer({ server, path: "/ws" })
  webSockets.on("connection", (socket) => {
    sockets.add(socket)
    socket.on("close", () => sockets.delete(socket))
    const send = (frame: object) => socket.send(JSON.stringify(frame))
    socket.on("message", (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as Received
      gateway.received.push(frame)
      gateway.onFrame(frame, send)
    })
    send({ type: "hello", sender_id: "operator", session_key: "agent:main:main", seq: gateway.seq })
    gateway.onConnect(send)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const gateway: FakeGateway = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: [],
    onFrame: () => {},
    rows: [],
    sessions: [],
    answers: new Map(),
    asked: [],
    page: undefined,
    onConnect: () => {},
    seq: 0,
    sendAll: (frame) => {
      for (const socket of sockets) socket.send(JSON.stringify(frame))
    },
    cut: () => {
      for (const socket of sockets) socket.terminate()
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.terminate()
        webSockets.close()
        server.close(() => resolve())
        server.closeAllConnections()
      })
  }
  return gateway
}
