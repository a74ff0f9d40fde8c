/** Each kind that speaks HTTP against a provider that we did not write. */
import { LLMock } from "@copilotkit/aimock"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ModelEvent, ModelRequest } from "#src/model/Model.ts"
import { Model } from "#src/model/Model.ts"
import * as Fake from "./fakeProvider.ts"

const peer = (tell: (mock: LLMock) => void) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const mock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 7 })
      tell(mock)
      await mock.start()
      return mock
    }),
    (mock) => Effect.promise(() => mock.stop())
  )

const tools = [{ name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }]

const kinds = ["openai-chat", "openai-responses", "anthropic", "google"] as const

const asking = (kind: (typeof kinds)[number]) => (mock: LLMock, messages: ModelRequest["messages"]) =>
  Effect.flatMap(Model, (model) => Stream.runCollect(model.stream(Fake.request({ messages, tools })))).pipe(
    Effect.provide(
      Fake.layerModel(mock.url, { kind, base_url: `${mock.url}${kind === "google" ? "/v1beta" : "/v1"}` })
    )
  )

const written = (events: ReadonlyArray<ModelEvent>) =>
  events.map((one) => (one._tag === "Text" ? one.text : "")).join("")

describe.each(kinds)("%s against another's fake", (kind) => {
  const ask = asking(kind)

  it.effect("reads text without the thoughts before it, and what was used", () =>
    Effect.gen(function* () {
      const mock = yield* peer((mock) =>
        mock.onMessage("hello", {
          content: "good day to you 🦀",
          reasoning: "a greeting",
          usage: { input_tokens: 11, output_tokens: 5 }
        })
      )

      const events = yield* ask(mock, [{ role: "user", text: "hello" }])

      assert.strictEqual(written(events), "good day to you 🦀")
      assert.deepStrictEqual(events.at(-1), {
        _tag: "End",
        reason: "stop",
        usage: { inputTokens: 11, outputTokens: 5, cachedTokens: 0, estimated: false }
      })
    })
  )

  it.effect("calls two tools at once and answers from their results", () =>
    Effect.gen(function* () {
      const calls = [
        { name: "time__now", arguments: '{"timezone":"UTC"}' },
        { name: "time__now", arguments: "{}" }
      ]
      const mock = yield* peer((mock) =>
        mock
          .on({ userMessage: "time", hasToolResult: true }, { content: "it is noon" })
          .onMessage("time", { content: "One moment.", toolCalls: calls })
      )
      const asked = { role: "user", text: "what time is it?" } as const

      const first = yield* ask(mock, [asked])
      const given = first.flatMap((one) => (one._tag === "Call" ? [one.call] : []))
      const second = yield* ask(mock, [
        asked,
        { role: "assistant", text: written(first), calls: given },
        ...given.map(({ id, name }) => ({ role: "tool", callId: id, name, text: "noon" }) as const)
      ])

      assert.strictEqual(written(first), "One moment.")
      assert.deepStrictEqual(
        given.map(({ name, arguments: args }) => [name, args]),
        [
          ["time.now", '{"timezone":"UTC"}'],
          ["time.now", "{}"]
        ]
      )
      assert.strictEqual(written(second), "it is noon")
    })
  )

  it.effect("gives each of its failures a reason", () =>
    Effect.gen(function* () {
      const failure = (type: string, status: number) => ({ error: { message: "no", type }, status })
      const mock = yield* peer((mock) =>
        mock
          .onMessage("busy", failure("overloaded_error", 529))
          .onMessage("often", failure("rate_limit_error", 429))
          .onMessage("stranger", failure("authentication_error", 401))
          .onMessage("nonsense", failure("invalid_request_error", 400))
          .onMessage(
            "cut",
            { content: "one two three four five six seven" },
            { truncateAfterChunks: 3, latency: 5 }
          )
      )

      const reasons = yield* Effect.forEach(["busy", "often", "stranger", "nonsense", "cut"], (text) =>
        Effect.map(Effect.flip(ask(mock, [{ role: "user", text }])), ({ reason }) => reason._tag)
      )

      assert.deepStrictEqual(reasons, [
        "ModelUnavailable",
        "ModelRateLimited",
        "ModelUnauthorized",
        "ModelRejected",
        "ModelCutOff"
      ])
    })
  )
})
