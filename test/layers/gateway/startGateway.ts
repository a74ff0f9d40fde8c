/** The whole gateway on a free port, over the system in memory or over ports that a test drives by hand. */
import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { WebSocket, type ClientOptions } from "ws"
import * as FolderPageFiles from "#layers/gateway/FolderPageFiles.ts"
import * as NodeConfigFile from "#layers/gateway/NodeConfigFile.ts"
import * as NodeEventStream from "#layers/gateway/NodeEventStream.ts"
import * as NodeGatewaySecrets from "#layers/gateway/NodeGatewaySecrets.ts"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import * as TestSystem from "#layers/Test.ts"
import { ConfigFile } from "#src/gateway/ConfigFile.ts"
import * as GatewayRoom from "#src/gateway/GatewayRoom.ts"

export const token = "test-token-of-the-operator"

/** A folder that lives as long as the test. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "opencraw-gateway-"))),
  (made) => Effect.sync(() => fs.rmSync(made, { recursive: true, force: true }))
)

const page = Layer.unwrap(
  Effect.map(folder, (root) => {
    fs.mkdirSync(path.join(root, "page", "assets"), { recursive: true })
    fs.writeFileSync(path.join(root, "page", "index.html"), "<!doctype html><title>page</title>")
    fs.writeFileSync(path.join(root, "page", "assets", "main-a1b2c3d4.js"), "1")
    fs.writeFileSync(path.join(root, "secret.txt"), "secret")
    fs.symlinkSync(path.join(root, "secret.txt"), path.join(root, "page", "link.txt"))
    return FolderPageFiles.layer(path.join(root, "page"))
  })
)

/** As if it had been started in this folder, with this file. */
const configFile = ({ folder: given, inForce = "opencraw.toml", env = {} }: Options["start"] = {}) =>
  Layer.effect(
    ConfigFile,
    Effect.map(given === undefined ? folder : Effect.succeed(given), (cwd) =>
      NodeConfigFile.make(inForce ?? undefined, { cwd, home: cwd, env })
    )
  )

const adapters = Layer.mergeAll(
  NodeEventStream.layer,
  NodeGatewaySecrets.layer.pipe(
    Layer.provideMerge(
      Layer.effect(
        DataDir,
        Effect.map(folder, (made) => DataDir.of({ path: made }))
      )
    )
  ),
  page
)

export interface Options extends TestSystem.Options {
  readonly gateway?: Readonly<Record<string, unknown>>
  readonly server?: NodeServer.Options
  /** Where it was started, with which file (null: none) and variables. */
  readonly start?: {
    readonly folder?: string
    readonly inForce?: string | null
    readonly env?: Readonly<Record<string, string>>
  }
}

const configOf = ({ config = {}, gateway = {} }: Options) => ({
  ...config,
  gateway: { port: 0, token, ...gateway }
})

/** Over the real system in memory. */
export const layer = (options: Options = {}) =>
  NodeServer.layer(options.server).pipe(
    Layer.provideMerge(GatewayRoom.layer),
    Layer.provideMerge(Layer.merge(adapters, configFile(options.start))),
    Layer.provideMerge(TestSystem.layer({ ...options, config: configOf(options) }))
  )

/** Over ports of the test's own, above the settings and registries of the real system. */
export const layerOver = <A, E, R>(ports: Layer.Layer<A, E, R>, options: Options = {}) =>
  NodeServer.layer(options.server).pipe(
    Layer.provideMerge(GatewayRoom.layer),
    Layer.provideMerge(Layer.merge(adapters, configFile(options.start))),
    Layer.provideMerge(ports),
    Layer.provideMerge(TestSystem.layer({ ...options, config: configOf(options) }))
  )

export const bearer = { authorization: `Bearer ${token}` }

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // oxlint-disable-next-line typescript/no-explicit-any -- what came over the wire is looked at freely
  readonly json: any
}

/** A request of a client that is no browser, with the operator's token. */
export const ask = (target: string, init: RequestInit = {}) =>
  Effect.gen(function* () {
    const { url } = yield* NodeServer.NodeServer
    const response = yield* Effect.promise(() =>
      fetch(url + target, { ...init, headers: { ...bearer, ...(init.headers as Record<string, string>) } })
    )
    const text = yield* Effect.promise(() => response.text())
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true
    const reply: Reply = {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined
    }
    return reply
  })

export const post = (target: string, body: unknown, headers: Record<string, string> = {}) =>
  ask(target, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body)
  })

export const chat = (body: object, headers: Record<string, string> = {}) =>
  post("/v1/chat/completions", { model: "opencraw", ...body }, headers)

export const says = (content: string) => ({ messages: [{ role: "user", content }] })

/** The data of each event of a stream, in order. */
export const eventsOf = (text: string): ReadonlyArray<string> =>
  text
    .split("\n\n")
    .filter((part) => part.startsWith("data: "))
    .map((part) => part.slice(6))

// oxlint-disable-next-line typescript/no-explicit-any -- what came over the wire is looked at freely
type Frame = any

export interface Client {
  readonly socket: WebSocket
  readonly frames: ReadonlyArray<Frame>
  readonly send: (frame: unknown) => void
  /** The first frame of this type, or the first that fits, from now or before. */
  readonly until: (fits: string | ((frame: Frame) => boolean)) => Effect.Effect<Frame>
  /** The code it was closed with. */
  readonly closed: Effect.Effect<number>
  readonly close: () => void
}

/** Open a socket, on `/ws` unless told otherwise, with the operator's token unless `token` is empty. Frames are kept from the first on. */
export const connect = (query: Record<string, string> = {}, options: ClientOptions = {}, path = "/ws") =>
  Effect.gen(function* () {
    const { url } = yield* NodeServer.NodeServer
    const search = new URLSearchParams({ token, ...query })
    if (query["token"] === "") search.delete("token")
    const socket = new WebSocket(`${url.replace("http", "ws")}${path}?${search}`, options)
    const frames: Array<Frame> = []
    const watchers = new Set<() => void>()
    const closing = new Promise<number>((resolve) => socket.on("close", (code) => resolve(code)))
    socket.on("message", (data) => {
      frames.push(JSON.parse(String(data)))
      for (const watch of watchers) watch()
    })
    yield* Effect.promise(
      () =>
        new Promise((resolve, reject) => {
          socket.once("open", resolve)
          socket.once("error", reject)
        })
    )
    const client: Client = {
      socket,
      frames,
      send: (frame) => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame)),
      until: (fits) =>
        Effect.callback((resume) => {
          const matches = typeof fits === "string" ? (frame: Frame) => frame.type === fits : fits
          const look = () => {
            const found = frames.find(matches)
            if (found === undefined) return
            watchers.delete(look)
            resume(Effect.succeed(found))
          }
          watchers.add(look)
          look()
          return Effect.sync(() => watchers.delete(look))
        }),
      closed: Effect.promise(() => closing),
      close: () => socket.terminate()
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.terminate()))
    return client
  })

/** The status that a WebSocket handshake was refused with. */
export const refusedWith = (query: Record<string, string>, options: ClientOptions = {}, path = "/ws") =>
  Effect.gen(function* () {
    const { url } = yield* NodeServer.NodeServer
    const socket = new WebSocket(`${url.replace("http", "ws")}${path}?${new URLSearchParams(query)}`, options)
    return yield* Effect.promise(
      () =>
        new Promise<number>((resolve, reject) => {
          socket.once("open", () => reject(new Error("it was opened")))
          socket.once("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0))
          socket.once("error", () => undefined)
        })
    )
  })
