/** A loopback HTTP server that plays a provider: each test scripts its answer, and reads what arrived. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Anthropic from "#layers/model/Anthropic.ts"
import * as Google from "#layers/model/Google.ts"
import * as OpenAiChat from "#layers/model/OpenAiChat.ts"
import * as OpenAiResponses from "#layers/model/OpenAiResponses.ts"
import { Model, type ModelRequest } from "#src/model/Model.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import * as Models from "#src/model/Models.ts"
import { Providers, type ProviderSettings } from "#src/model/ProviderSettings.ts"

export interface Received {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface FakeProvider {
  readonly url: string
  readonly received: ReadonlyArray<Received>
  /** Resolves when the connection of the next answer that was not ended by the server closes. */
  readonly closed: Promise<void>
}

/** `reply` writes the answer; what it leaves open stays open. */
export const make = (reply: (response: ServerResponse, received: Received, position: number) => void) =>
  Effect.acquireRelease(
    Effect.promise(
      () =>
        new Promise<FakeProvider & { readonly stop: () => void }>((resolve) => {
          const received: Array<Received> = []
          const closed = Promise.withResolvers<void>()
          const server = createServer((request, response) => {
            const parts: Array<Buffer> = []
            request.on("data", (part: Buffer) => parts.push(part))
            request.on("end", () => {
              const one = {
                path: request.url ?? "",
                headers: request.headers,
                body: Buffer.concat(parts).toString("utf8")
              }
              received.push(one)
              response.on("close", () => {
                if (!response.writableFinished) closed.resolve()
              })
              reply(response, one, received.length - 1)
            })
          })
          server.listen(0, "127.0.0.1", () => {
            const { port } = server.address() as AddressInfo
            resolve({
              url: `http://127.0.0.1:${port}`,
              received,
              closed: closed.promise,
              stop: () => {
                server.closeAllConnections()
                server.close()
              }
            })
          })
        })
    ),
    (fake) => Effect.sync(fake.stop)
  )

/** An event of a stream. */
export const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`

export const delta = (content: string): string => event({ choices: [{ index: 0, delta: { content } }] })

export const finish = (reason = "stop", more: object = {}): string =>
  event({ choices: [{ index: 0, delta: {}, finish_reason: reason }], ...more })

export const done = "data: [DONE]\n\n"

/** Answers 200 with this event stream, and ends. */
export const streams =
  (...parts: ReadonlyArray<string>) =>
  (response: ServerResponse) => {
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.end(parts.join(""))
  }

export const request = (over: Partial<ModelRequest> = {}): ModelRequest => ({
  model: "fake/fake-model",
  messages: [{ role: "user", text: "hello" }],
  tools: [],
  params: {},
  ...over
})

export const layerProviders = (providers: Readonly<Record<string, ProviderSettings>>) =>
  Layer.succeed(Providers, { get: () => providers, changes: Stream.succeed(providers) })

/** `Model` with the kinds that speak HTTP and one provider, `fake`, of kind `openai-chat` unless told otherwise. */
export const layerModel = (url: string, settings: Partial<ProviderSettings> = {}) =>
  Layer.provideMerge(
    Models.layer,
    Layer.mergeAll(OpenAiChat.layer, OpenAiResponses.layer, Anthropic.layer, Google.layer)
  ).pipe(
    Layer.provide(ModelKinds.layer),
    Layer.provide(
      layerProviders({
        fake: {
          kind: "openai-chat",
          base_url: `${url}/v1`,
          api_key: Redacted.make("sk-test-key-1234"),
          idle_timeout_ms: 5_000,
          ...settings
        }
      })
    )
  )

/** The events of one call, or its error's reason. */
export const ask = (
  url: string,
  over: Partial<ModelRequest> = {},
  settings: Partial<ProviderSettings> = {}
) =>
  Effect.gen(function* () {
    const model = yield* Model
    return yield* Stream.runCollect(model.stream(request(over)))
  }).pipe(Effect.provide(layerModel(url, settings)))

export const askReason = (
  url: string,
  over: Partial<ModelRequest> = {},
  settings: Partial<ProviderSettings> = {}
) => Effect.map(Effect.flip(ask(url, over, settings)), (error) => error.reason)
