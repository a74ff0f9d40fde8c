import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Test from "#layers/Test.ts"
import { local } from "#src/domain/Tenant.ts"
import * as Agent from "#src/agent/Agent.ts"
import { Model, type ModelEvent, type ModelRequest } from "#src/model/Model.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as Tools from "#src/tool/Tools.ts"
import { begin, call, done, event, open, piece, stop, text, thought } from "./anthropicEvents.ts"
import { type Body, broken } from "./anthropicRules.ts"
import * as Fake from "./fakeProvider.ts"

const kind = { kind: "anthropic" } as const
const ask = (url: string, over: Partial<ModelRequest> = {}, settings: Partial<ProviderSettings> = {}) =>
  Fake.ask(url, over, { ...kind, ...settings })
const askReason = (url: string, over: Partial<ModelRequest> = {}, settings: Partial<ProviderSettings> = {}) =>
  Fake.askReason(url, over, { ...kind, ...settings })
const layerModel = (url: string, settings: Partial<ProviderSettings> = {}) =>
  Fake.layerModel(url, { ...kind, ...settings })

const written = (events: ReadonlyArray<ModelEvent>) =>
  events.map((one) => (one._tag === "Text" ? one.text : "")).join("")

const failing = (
  status: number,
  type: string,
  message: string,
  headers: Readonly<Record<string, string>> = {}
) =>
  Fake.make((response) => {
    response.writeHead(status, headers)
    response.end(JSON.stringify({ type: "error", error: { type, message }, request_id: "req_1" }))
  })

describe("Anthropic", () => {
  it.effect("streams text, then the end with what was used", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(begin(), event("ping"), text(0, "Hel", "lo"), stop(), done))

      const events = yield* ask(fake.url)

      assert.deepStrictEqual(events, [
        { _tag: "Text", text: "Hel" },
        { _tag: "Text", text: "lo" },
        {
          _tag: "End",
          reason: "stop",
          usage: { inputTokens: 7, outputTokens: 3, cachedTokens: 0, estimated: false }
        }
      ])
    })
  )

  it.effect("asks the configured address with the key, however the address is written", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(begin(), text(0, "ok"), stop(), done))

      for (const base of ["", "/", "/v1", "/v1/", "/proxy", "/proxy/v2", "/v1/messages", "/v1?beta=true"]) {
        yield* ask(fake.url, {}, { base_url: fake.url + base })
      }

      assert.deepStrictEqual(
        fake.received.map((one) => one.path),
        [
          "/v1/messages",
          "/v1/messages",
          "/v1/messages",
          "/v1/messages",
          "/proxy/v1/messages",
          "/proxy/v2/messages",
          "/v1/messages",
          "/v1/messages?beta=true"
        ]
      )
      const headers = fake.received[0]?.headers
      assert.strictEqual(headers?.["x-api-key"], "sk-test-key-1234")
      assert.strictEqual(headers?.["anthropic-version"], "2023-06-01")
      assert.isUndefined(headers?.authorization)
    })
  )

  it.effect("gives calls back under the tool's real name", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(
        Fake.streams(begin(), call(0, "c1", "time__now", "{}"), stop("tool_use"), done)
      )

      const events = yield* ask(fake.url, {
        tools: [{ name: "time.now", description: "", parameters: { type: "object" } }]
      })

      assert.deepInclude(events[0], { _tag: "Call", call: { id: "c1", name: "time.now", arguments: "{}" } })
      assert.deepInclude(events[1], { _tag: "End", reason: "calls" })
    })
  )

  it.effect("lets a run go on from its thoughts, which nobody else sees, also when a person steers it", () =>
    Effect.gen(function* () {
      const thoughts = [
        { type: "thinking", thinking: "they want the time", signature: "c2lnbmVk" },
        { type: "redacted_thinking", data: "aGlkZGVu" }
      ]
      const fake = yield* Fake.make((response, received) => {
        const body = JSON.parse(received.body) as Body
        const wrong = broken(body)
        const shown = body.messages.flatMap(({ content }) =>
          content.filter(({ type }) => String(type).includes("thinking"))
        )
        if (wrong.length > 0) {
          response.writeHead(400)
          return response.end(JSON.stringify({ error: { message: wrong.join() } }))
        }
        if (body.messages.length === 1) {
          return Fake.streams(
            begin(),
            thought(0, "c2lnbmVk", "they want ", "the time"),
            open(1, { type: "redacted_thinking", data: "aGlkZGVu" }),
            text(2, "One moment."),
            call(3, "c1", "time__now", "{}"),
            stop("tool_use"),
            done
          )(response)
        }
        const isWhole = JSON.stringify(shown) === JSON.stringify(thoughts)
        const asked = body.messages.at(-1)?.content.map(({ type }) => type)
        const answer = isWhole ? `It is noon (${String(asked)}).` : "lost it"
        return Fake.streams(begin(), text(0, answer), stop(), done)(response)
      })
      const timeNow = {
        spec: { name: "time.now", description: "the time", parameters: { type: "object" } },
        effects: "none",
        needsWorkspace: false,
        timeoutMillis: 1_000,
        run: () => Effect.succeed("noon")
      } as const

      const waiting = [[], [{ role: "user", text: "in Berlin, I mean" } as const]]

      const events = yield* Effect.flatMap(Agent.Agent, (agent) =>
        Stream.runCollect(
          agent.run({
            tenant: local,
            agent: "main",
            session: "agent:main:main",
            model: "fake/fake-model",
            fallbacks: [],
            settings: {
              system_prompt: "",
              tools: ["time.now"],
              ask_before: [],
              max_steps: 4,
              run_timeout_s: 60,
              max_output_chars: 1_000
            },
            prompt: [{ role: "user", text: "what time is it?" }],
            params: {},
            pending: [],
            decided: [],
            stepsDone: 0,
            steering: { isWaiting: () => false, take: () => waiting.shift() ?? [] },
            cutToolText: (text) => text,
            estimateTokens: (text) => text.length
          })
        )
      ).pipe(
        Effect.provide(
          Layer.mergeAll(Agent.layer, Tools.layerRegister([timeNow])).pipe(
            Layer.provideMerge(Test.layerFailover()),
            Layer.provideMerge(Layer.merge(layerModel(fake.url), Tools.layer))
          )
        )
      )

      assert.deepInclude(events.at(-1), { _tag: "Answered", text: "It is noon (tool_result,text)." })
      assert.deepInclude(
        events.find((one) => one._tag === "StepFinished"),
        { text: "One moment." }
      )
      assert.notInclude(JSON.stringify(events), "they want")
    })
  )

  it.effect("says that the provider refused the key on 401 and 403", () =>
    Effect.gen(function* () {
      const first = yield* askReason((yield* failing(401, "authentication_error", "invalid x-api-key")).url)
      const second = yield* askReason((yield* failing(403, "permission_error", "no")).url)

      assert.deepInclude(first, { _tag: "ModelUnauthorized", status: 401, isRetryable: false })
      assert.deepInclude(second, { _tag: "ModelUnauthorized", status: 403 })
    })
  )

  it.effect("reads how long a limited caller is to wait", () =>
    Effect.gen(function* () {
      const fake = yield* failing(429, "rate_limit_error", "slow down", { "retry-after": "7" })

      assert.deepInclude(yield* askReason(fake.url), {
        _tag: "ModelRateLimited",
        retryAfterMillis: 7_000,
        isRetryable: true
      })
    })
  )

  it.effect("calls a provider that is overloaded or fails unavailable, so that it is tried again", () =>
    Effect.gen(function* () {
      const overloaded = yield* askReason((yield* failing(529, "overloaded_error", "Overloaded")).url)
      const broken = yield* askReason((yield* failing(500, "api_error", "Internal server error")).url)

      assert.deepInclude(overloaded, {
        _tag: "ModelUnavailable",
        status: 529,
        detail: "Overloaded",
        isRetryable: true
      })
      assert.deepInclude(broken, { _tag: "ModelUnavailable", status: 500, isRetryable: true })
    })
  )

  it.effect("tells the operator why a request was rejected, and names a prompt that is too long", () =>
    Effect.gen(function* () {
      const rejected = yield* askReason(
        (yield* failing(400, "invalid_request_error", "max_tokens: 9000 > 4096, key sk-test-key-1234")).url
      )
      const tooLong = yield* askReason(
        (yield* failing(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"))
          .url
      )
      const tooLarge = yield* askReason((yield* failing(413, "request_too_large", "too big")).url)

      assert.deepInclude(rejected, {
        _tag: "ModelRejected",
        status: 400,
        detail: "max_tokens: 9000 > 4096, key [key]",
        isRetryable: false
      })
      assert.notProperty(rejected, "problem")
      assert.deepInclude(tooLong, { _tag: "ModelRejected", status: 400, problem: "prompt_too_long" })
      assert.deepInclude(tooLarge, { _tag: "ModelRejected", status: 413, problem: "prompt_too_long" })
    })
  )

  it.effect("gives what had come before an error within the answer", () =>
    Effect.gen(function* () {
      const error = { type: "overloaded_error", message: "Overloaded" }
      const fake = yield* Fake.make(
        Fake.streams(begin(), piece(0, { type: "text_delta", text: "half" }), event("error", { error }))
      )
      const seen: Array<ModelEvent> = []

      const failure = yield* Effect.flatMap(Model, (model) =>
        model.stream(Fake.request()).pipe(
          Stream.runForEach((one) => Effect.sync(() => void seen.push(one))),
          Effect.flip
        )
      ).pipe(Effect.provide(layerModel(fake.url)))

      assert.strictEqual(written(seen), "half")
      assert.deepInclude(failure.reason, { _tag: "ModelUnavailable", status: 529 })
      assert.isTrue(failure.isRetryable)
    })
  )

  it.effect("tells an answer that breaks off from one that is silent", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response, _, position) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(begin() + piece(0, { type: "text_delta", text: "half" }))
        if (position === 0) setTimeout(() => response.destroy(), 20)
      })

      const cut = yield* askReason(fake.url)
      const silent = yield* askReason(fake.url, {}, { idle_timeout_ms: 100 })

      assert.strictEqual(cut._tag, "ModelCutOff")
      assert.deepInclude(silent, { _tag: "ModelStalled", idleMillis: 100 })
    })
  )

  it.effect("takes pings for signs of life", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        let beats = 0
        const beat = setInterval(() => {
          if (++beats < 8) return response.write(event("ping"))
          clearInterval(beat)
          response.end(text(0, "at last") + stop() + done)
        }, 40)
      })

      assert.strictEqual(written(yield* ask(fake.url, {}, { idle_timeout_ms: 150 })), "at last")
    })
  )

  it.effect(
    "closes the socket at once when it is interrupted, before the answer, within it and within a thought",
    () =>
      Effect.gen(function* () {
        const beginnings = ["", begin() + text(0, "x"), begin() + thought(0, "s", "hm")]
        for (const beginning of beginnings) {
          const arrived = Promise.withResolvers<void>()
          const fake = yield* Fake.make((response) => {
            if (beginning !== "") {
              response.writeHead(200)
              response.write(beginning)
            }
            arrived.resolve()
          })
          yield* Effect.gen(function* () {
            const model = yield* Model
            const fiber = yield* Effect.forkChild(Stream.runDrain(model.stream(Fake.request())))
            yield* Effect.promise(() => arrived.promise)

            yield* Fiber.interrupt(fiber)

            yield* Effect.promise(() => fake.closed)
          }).pipe(Effect.provide(layerModel(fake.url)))
        }
      })
  )

  it.effect("sends no key to a provider that needs none, and does not tell one that cannot be sent", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(begin(), text(0, "ok"), stop(), done))

      yield* ask(fake.url, {}, { api_key: Redacted.make("") })
      const reason = yield* askReason(fake.url, {}, { api_key: Redacted.make("line\nbreak-secret") })

      assert.notProperty(fake.received[0]?.headers, "x-api-key")
      assert.strictEqual(reason._tag, "ModelUnavailable")
      assert.notInclude(JSON.stringify(reason), "break-secret")
    })
  )

  it.effect("fails for an address that is none", () =>
    Effect.gen(function* () {
      const reason = yield* askReason("", {}, { base_url: "ftp://example.org" })

      assert.strictEqual(reason._tag, "ModelUnavailable")
    })
  )
})
