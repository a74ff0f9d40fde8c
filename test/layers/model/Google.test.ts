import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Test from "#layers/Test.ts"
import { local } from "#src/domain/Tenant.ts"
import * as Agent from "#src/agent/Agent.ts"
import { reasonOf } from "#src/model/failure.ts"
import { Model, type ModelEvent, type ModelRequest } from "#src/model/Model.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as Tools from "#src/tool/Tools.ts"
import * as Fake from "./fakeProvider.ts"
import { call, candidate, chunk, error, errorInfo, retryInfo, said, stop, text } from "./googleEvents.ts"
import { type Body, broken } from "./googleRules.ts"

const kind = { kind: "google" } as const
const ask = (url: string, over: Partial<ModelRequest> = {}, settings: Partial<ProviderSettings> = {}) =>
  Fake.ask(url, over, { ...kind, ...settings })
const askReason = (url: string, over: Partial<ModelRequest> = {}, settings: Partial<ProviderSettings> = {}) =>
  Fake.askReason(url, over, { ...kind, ...settings })
const layerModel = (url: string, settings: Partial<ProviderSettings> = {}) =>
  Fake.layerModel(url, { ...kind, ...settings })

const written = (events: ReadonlyArray<ModelEvent>) =>
  events.map((one) => (one._tag === "Text" ? one.text : "")).join("")

const failing = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  Fake.make((response) => {
    response.writeHead(status, headers)
    response.end(JSON.stringify(body))
  })

const exhausted = (...details: ReadonlyArray<object>) =>
  error(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your current quota, please check your plan and billing.",
    details
  )
const wrongKey = error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [
  errorInfo("API_KEY_INVALID")
])

describe("Google", () => {
  it.effect("streams text, then the end with what was used, without waiting for an end mark", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(text("Hel"), text("lo"), stop()))

      const began = Date.now()
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
      assert.isBelow(Date.now() - began, 3_000)
    })
  )

  it.effect("asks the configured address with the key in a header, however the address is written", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(text("ok"), stop()))
      const bases = [
        "",
        "/",
        "/v1beta",
        "/v1beta/",
        "/v1beta/models",
        "/proxy",
        "/v1/publishers/google",
        "/v1?a=b"
      ]

      for (const base of bases) yield* ask(fake.url, {}, { base_url: fake.url + base })
      for (const model of ["models/gemini-2.5-pro", "../x?y#z", "a\ud800"]) {
        yield* ask(fake.url, { model: `fake/${model}` })
      }

      const method = "models/fake-model:streamGenerateContent?alt=sse"
      assert.deepStrictEqual(
        fake.received.map((one) => one.path),
        [
          `/v1beta/${method}`,
          `/v1beta/${method}`,
          `/v1beta/${method}`,
          `/v1beta/${method}`,
          `/v1beta/${method}`,
          `/proxy/v1beta/${method}`,
          `/v1/publishers/google/${method}`,
          "/v1/models/fake-model:streamGenerateContent?a=b&alt=sse",
          "/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
          "/v1/models/..%2Fx%3Fy%23z:streamGenerateContent?alt=sse",
          "/v1/models/a%EF%BF%BD:streamGenerateContent?alt=sse"
        ]
      )
      const [first] = fake.received
      assert.strictEqual(first?.headers["x-goog-api-key"], "sk-test-key-1234")
      assert.isUndefined(first?.headers.authorization)
      assert.notInclude(JSON.stringify([first?.path, first?.body]), "sk-test")
    })
  )

  it.effect("gives calls back under the tool's real name, with an id where none was given", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(call("time__now", {}), call("time__now", { z: 1 }), stop()))
      const asking = { tools: [{ name: "time.now", description: "", parameters: { type: "object" } }] }

      const events = yield* ask(fake.url, asking)
      const again = yield* ask(fake.url, asking)

      const calls = events.flatMap((one) => (one._tag === "Call" ? [one.call] : []))
      assert.deepStrictEqual(
        calls.map(({ name, arguments: args }) => [name, args]),
        [
          ["time.now", "{}"],
          ["time.now", '{"z":1}']
        ]
      )
      assert.match(calls[0]?.id ?? "", /^call_[0-9a-f]{16}_0$/)
      assert.notStrictEqual(calls[0]?.id, calls[1]?.id)
      assert.deepStrictEqual(again, events)
      assert.deepInclude(events.at(-1), { _tag: "End", reason: "calls" })
    })
  )

  it.effect("lets a run go on from its thoughts, which nobody else sees, also when a person steers it", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response, received) => {
        const body = JSON.parse(received.body) as Body
        const wrong = broken(body)
        if (wrong.length > 0) {
          response.writeHead(400)
          return response.end(JSON.stringify(error(400, "INVALID_ARGUMENT", wrong.join())))
        }
        if (body.contents.length === 1) {
          return Fake.streams(
            said({ text: "they want the time", thought: true }),
            text("One "),
            text("moment."),
            call("time__now", {}, { thoughtSignature: "c2lnbmVk" }),
            said({ text: "", thoughtSignature: "ZW5k" }),
            stop()
          )(response)
        }
        const shown = body.contents[1]?.parts.map((part) => [Object.keys(part)[0], part["thoughtSignature"]])
        const isWhole =
          JSON.stringify(shown) ===
          JSON.stringify([
            ["text", undefined],
            ["functionCall", "c2lnbmVk"],
            ["text", "ZW5k"]
          ])
        const asked = body.contents.at(-1)?.parts.map((part) => Object.keys(part)[0])
        return Fake.streams(text(isWhole ? `It is noon (${String(asked)}).` : "lost it"), stop())(response)
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
            model: "fake/gemini-4-argon",
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

      assert.deepInclude(events.at(-1), { _tag: "Answered", text: "It is noon (functionResponse,text)." })
      assert.deepInclude(
        events.find((one) => one._tag === "StepFinished"),
        { text: "One moment." }
      )
      assert.notInclude(JSON.stringify(events), "they want")
    })
  )

  it.effect("says that the key was refused, also when that is told as a bad request", () =>
    Effect.gen(function* () {
      const wrong = yield* askReason((yield* failing(400, wrongKey)).url)
      const listed = yield* askReason((yield* failing(400, [wrongKey])).url)
      const leaked = yield* askReason(
        (yield* failing(403, error(403, "PERMISSION_DENIED", "Your API key was reported as leaked."))).url
      )

      assert.deepInclude(wrong, { _tag: "ModelUnauthorized", status: 400, isRetryable: false })
      assert.deepInclude(listed, {
        _tag: "ModelUnauthorized",
        detail: "API key not valid. Please pass a valid API key."
      })
      assert.deepInclude(leaked, { _tag: "ModelUnauthorized", status: 403 })
      assert.deepStrictEqual([wrong, listed, leaked].map(reasonOf), ["auth", "auth", "auth"])
    })
  )

  it.effect("reads how long a limited caller is to wait from the body when no header says it", () =>
    Effect.gen(function* () {
      const inBody = yield* failing(
        429,
        exhausted(errorInfo("RATE_LIMIT_EXCEEDED"), retryInfo("34.074824224s"))
      )
      const inHeader = yield* failing(429, exhausted(retryInfo("34s")), { "retry-after": "7" })
      const tooLong = yield* failing(429, [exhausted(retryInfo("999999999s"))])
      const odd = yield* failing(429, exhausted(retryInfo("soon"), retryInfo("-3s"), retryInfo("1e9s")))
      const reasons = yield* Effect.forEach([inBody, inHeader, tooLong, odd], ({ url }) => askReason(url))

      assert.deepStrictEqual(
        reasons.map((one) => one._tag === "ModelRateLimited" && one.retryAfterMillis),
        [34_075, 7_000, 86_400_000, undefined]
      )
      assert.deepStrictEqual(reasons.map(reasonOf), ["rate_limit", "rate_limit", "rate_limit", "rate_limit"])
    })
  )

  it.effect("calls a provider that is overloaded or fails unavailable, so that it is tried again", () =>
    Effect.gen(function* () {
      const overloaded = yield* askReason(
        (yield* failing(503, error(503, "UNAVAILABLE", "The model is overloaded.", [retryInfo("2s")]))).url
      )
      const broken = yield* askReason((yield* failing(500, error(500, "INTERNAL", "An internal error"))).url)

      assert.deepInclude(overloaded, {
        _tag: "ModelUnavailable",
        status: 503,
        retryAfterMillis: 2_000,
        isRetryable: true
      })
      assert.deepInclude(broken, { _tag: "ModelUnavailable", status: 500, detail: "An internal error" })
    })
  )

  it.effect("tells the operator why a request was rejected, and names a prompt that is too long", () =>
    Effect.gen(function* () {
      const key = `AIza${"x".repeat(35)}`
      const rejected = yield* askReason(
        (yield* failing(400, error(400, "INVALID_ARGUMENT", `topP: 9 > 1, key sk-test-key-1234, or ${key}`)))
          .url
      )
      const tooLong = yield* askReason(
        (yield* failing(
          400,
          error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1234567) exceeds the maximum number of tokens allowed (1048576)."
          )
        )).url
      )
      const gone = yield* askReason(
        (yield* failing(404, error(404, "NOT_FOUND", "models/gemini-1 is not found for API version v1beta")))
          .url
      )

      assert.deepInclude(rejected, {
        _tag: "ModelRejected",
        status: 400,
        detail: "topP: 9 > 1, key [key], or [key]"
      })
      assert.deepInclude(tooLong, { _tag: "ModelRejected", status: 400, problem: "prompt_too_long" })
      assert.deepStrictEqual([rejected, tooLong, gone].map(reasonOf), [
        undefined,
        undefined,
        "model_not_found"
      ])
    })
  )

  it.effect("gives what had come before an error within the answer", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(text("half"), chunk(exhausted(retryInfo("3s")))))
      const seen: Array<ModelEvent> = []

      const failure = yield* Effect.flatMap(Model, (model) =>
        model.stream(Fake.request()).pipe(
          Stream.runForEach((one) => Effect.sync(() => void seen.push(one))),
          Effect.flip
        )
      ).pipe(Effect.provide(layerModel(fake.url)))

      assert.strictEqual(written(seen), "half")
      assert.deepInclude(failure.reason, { _tag: "ModelRateLimited", retryAfterMillis: 3_000 })
    })
  )

  it.effect("reads the list that comes when what was asked of the stream gets lost on the way", () =>
    Effect.gen(function* () {
      const chunks = [
        candidate([{ text: "all " }]),
        candidate([{ text: "at once" }], { finishReason: "STOP" })
      ]
      const fake = yield* failing(200, chunks, { "content-type": "application/json" })

      assert.strictEqual(written(yield* ask(fake.url)), "all at once")
    })
  )

  it.effect("tells an answer that breaks off from one that is silent", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response, _, position) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(text("half"))
        if (position === 0) setTimeout(() => response.destroy(), 20)
        if (position === 1) response.end()
      })

      const cut = yield* askReason(fake.url)
      const ended = yield* askReason(fake.url)
      const silent = yield* askReason(fake.url, {}, { idle_timeout_ms: 100 })

      assert.deepStrictEqual([cut._tag, ended._tag], ["ModelCutOff", "ModelCutOff"])
      assert.deepInclude(silent, { _tag: "ModelStalled", idleMillis: 100 })
    })
  )

  it.effect("closes the socket at once when it is interrupted, before the answer and within it", () =>
    Effect.gen(function* () {
      for (const beginning of ["", text("x"), said({ text: "hm", thought: true })]) {
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
      const fake = yield* Fake.make(Fake.streams(text("ok"), stop()))

      yield* ask(fake.url, {}, { api_key: Redacted.make("") })
      const reason = yield* askReason(fake.url, {}, { api_key: Redacted.make("line\nbreak-secret") })

      assert.notProperty(fake.received[0]?.headers, "x-goog-api-key")
      assert.strictEqual(reason._tag, "ModelUnavailable")
      assert.notInclude(JSON.stringify(reason), "break-secret")
    })
  )

  it.effect("fails for an address that is none", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        (yield* askReason("", {}, { base_url: "ftp://example.org" }))._tag,
        "ModelUnavailable"
      )
    })
  )

  it.effect("reads Google's failures on the wire of OpenAI, which it speaks as well", () =>
    Effect.gen(function* () {
      const openai = { kind: "openai-chat" } as const
      const wrong = yield* Fake.askReason((yield* failing(400, [wrongKey])).url, {}, openai)
      const limited = yield* Fake.askReason(
        (yield* failing(429, [exhausted(retryInfo("5s"))])).url,
        {},
        openai
      )

      assert.strictEqual(wrong._tag, "ModelUnauthorized")
      assert.deepInclude(limited, { _tag: "ModelRateLimited", retryAfterMillis: 5_000 })
    })
  )
})
