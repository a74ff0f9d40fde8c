/** Failover through the real adapters, against a provider of all dialects that we did not write. Real sockets, a short clock. */
import { LLMock } from "@copilotkit/aimock"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Anthropic from "#layers/model/Anthropic.ts"
import * as Google from "#layers/model/Google.ts"
import * as OpenAiChat from "#layers/model/OpenAiChat.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as Test from "#layers/Test.ts"
import { Failover } from "#src/model/Failover.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import { ModelHealth } from "#src/model/ModelHealth.ts"
import * as Models from "#src/model/Models.ts"
import * as Fake from "./fakeProvider.ts"

const peer = (tell: (mock: LLMock) => void) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const mock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 9 })
      tell(mock)
      await mock.start()
      return mock
    }),
    (mock) => Effect.promise(() => mock.stop())
  )

const dialects = { openai: "/v1", anthropic: "/v1", google: "/v1beta", openrouter: "/api/v1" } as const
type Dialect = keyof typeof dialects
const others: Readonly<Record<Dialect, Dialect>> = {
  openai: "anthropic",
  anthropic: "google",
  google: "openrouter",
  openrouter: "openai"
}

/** Each of the built-in providers, its address the fake's; openai with two credentials besides. */
const configOf = (mock: LLMock, impatient?: Dialect) => ({
  providers: Object.fromEntries(
    Object.entries(dialects).map(([name, path]) => [
      name,
      {
        base_url: mock.url + path,
        api_key: `key-of-${name}`,
        // Patient, so that a busy machine is not taken for a silent provider.
        idle_timeout_ms: name === impatient ? 300 : 20_000,
        ...(name === "openai"
          ? {
              profiles: { work: { api_key: "key-work" }, spare: { api_key: "key-spare" } },
              profile_order: ["work", "spare"]
            }
          : {})
      }
    ])
  ),
  models: { attempts: 2, retry_min_ms: 5, retry_max_ms: 2000 }
})

const layerOf = (mock: LLMock, impatient?: Dialect) => layerOn(configOf(mock, impatient))

const layerOn = (config: Readonly<Record<string, unknown>>) => {
  const settings = Settings.layerFrom(config).pipe(Layer.orDie)
  return Test.layerFailover(config).pipe(
    Layer.provideMerge(
      Layer.provide(
        Models.layer.pipe(
          Layer.provide(Layer.mergeAll(OpenAiChat.layer, Anthropic.layer, Google.layer)),
          Layer.provide(ModelKinds.layer)
        ),
        settings
      )
    ),
    Layer.provideMerge(Layer.succeed(Logger.CurrentLoggers, new Set()))
  )
}

/** The text of one step of a run that wishes for these models. */
const answerOf = (text: string, chain: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const run = (yield* Failover).open({ session: "s", chain, deadlineAt: () => now + 60_000 })
    let written = ""
    const result = yield* Effect.result(
      Stream.runForEach(
        run.stream(
          { messages: [{ role: "user", text }], tools: [], params: {} },
          { hasGiven: () => written !== "", restart: () => {}, promptTokens: () => 0 }
        ),
        (event) => Effect.sync(() => void (written += event._tag === "Text" ? event.text : ""))
      )
    )
    const causes = run.attempts(now).map(({ model, profile, reason }) => [model, profile, reason])
    return { written, causes, result, change: run.change() }
  })

const pathsOf = (mock: LLMock) => mock.getRequests().map(({ path }) => path)
describe("Failover against another's fake", () => {
  for (const dialect of ["openai", "anthropic", "google", "openrouter"] as const) {
    const own = `${dialect}/own`
    const next = `${others[dialect]}/next`
    const isOwn = { model: "own" }
    const fine = (mock: LLMock) => mock.on({ model: "next" }, { content: "from the next" })

    it.live(`${dialect}: waits as long as a 429 asks, and asks the same model again`, () =>
      Effect.gen(function* () {
        const mock = yield* peer((mock) =>
          mock
            .on(
              { ...isOwn, sequenceIndex: 0 },
              { error: { message: "slow down" }, status: 429, retryAfter: 1 }
            )
            .on(isOwn, { content: "from its own" })
        )
        const began = Date.now()

        const { written, change } = yield* answerOf("hi", [own, next]).pipe(Effect.provide(layerOf(mock)))

        assert.strictEqual(written, "from its own")
        assert.isUndefined(change)
        assert.lengthOf(pathsOf(mock), 2)
        assert.isAtLeast(Date.now() - began, 950, "not before the named time")
      })
    )

    const chaos = {
      "a limit that stays": [{ rateLimitRate: 1 }, "rate_limit"],
      "an answer that is none": [{ malformedRate: 1 }, "timeout"],
      "a connection that breaks": [{ disconnectRate: 1 }, "timeout"],
      "a failing server": [{ dropRate: 1 }, "server_error"],
      silence: [{ latencyMs: 10_000 }, "timeout"]
    } as const
    for (const [what, [fault, reason]] of Object.entries(chaos)) {
      it.live(`${dialect}: ${what} leads to the next model`, () =>
        Effect.gen(function* () {
          const mock = yield* peer((mock) => fine(mock.on(isOwn, { content: "never" }, { chaos: fault })))

          const { written, causes, change } = yield* answerOf("hi", [own, next]).pipe(
            Effect.provide(layerOf(mock, what === "silence" ? dialect : undefined))
          )

          assert.strictEqual(written, "from the next")
          assert.strictEqual(change?.to, next)
          assert.strictEqual(causes[0]?.[0], own)
          assert.strictEqual(causes[0]?.[2], reason)
        })
      )
    }

    it.live(`${dialect}: a stream that breaks after its first words is not begun again`, () =>
      Effect.gen(function* () {
        const mock = yield* peer((mock) =>
          fine(
            mock.on(
              isOwn,
              { content: "one two three four five six seven eight nine ten eleven twelve thirteen fourteen" },
              { truncateAfterChunks: 6, latency: 5 }
            )
          )
        )

        const { written, result } = yield* answerOf("hi", [own, next]).pipe(Effect.provide(layerOf(mock)))

        assert.isNotEmpty(written)
        assert.strictEqual(result._tag, "Failure")
        assert.lengthOf(pathsOf(mock), 1)
      })
    )

    it.live(
      `${dialect}: an unknown model, a refused key and a missing payment lead on, a bad request does not`,
      () =>
        Effect.gen(function* () {
          const mock = yield* peer((mock) =>
            fine(
              mock
                .on(
                  { model: "gone" },
                  { error: { message: "model not found", type: "not_found_error" }, status: 404 }
                )
                .on(
                  { model: "locked" },
                  { error: { message: "no", type: "authentication_error" }, status: 401 }
                )
                .on({ model: "broke" }, { error: { message: "credit balance is too low" }, status: 400 })
                .on({ model: "odd" }, { error: { message: "temperature is odd" }, status: 400 })
            )
          )
          const ask = (model: string) =>
            answerOf("hi", [`${dialect}/${model}`, next]).pipe(Effect.provide(layerOf(mock)))

          const reasons = yield* Effect.forEach(["gone", "locked", "broke"], (model) =>
            Effect.map(ask(model), ({ written, causes }) => [written, causes[0]?.[2]])
          )
          const odd = yield* ask("odd")

          assert.deepStrictEqual(reasons, [
            ["from the next", "model_not_found"],
            ["from the next", "auth"],
            ["from the next", "billing"]
          ])
          assert.strictEqual(odd.written, "")
          assert.strictEqual(odd.result._tag === "Failure" && odd.result.failure._tag, "ModelError")
        })
    )
  }

  it.live("asks with each credential of a provider before the next model, and rests what was refused", () =>
    Effect.gen(function* () {
      const mock = yield* peer((mock) =>
        mock
          .on({ model: "own", sequenceIndex: 0 }, { error: { message: "invalid key" }, status: 401 })
          .on({ model: "own" }, { content: "from the spare" })
      )

      yield* Effect.gen(function* () {
        const first = yield* answerOf("hi", ["openai/own", "anthropic/next"])
        const second = yield* answerOf("hi", ["openai/own", "anthropic/next"])
        const resting = (yield* ModelHealth).resting(Date.now())

        assert.deepStrictEqual([first.written, second.written], ["from the spare", "from the spare"])
        assert.deepStrictEqual(first.causes, [["openai/own", "work", "auth"]])
        assert.deepStrictEqual(second.causes, [])
        assert.deepStrictEqual(
          resting.map(({ provider, profile, reason }) => [provider, profile, reason]),
          [["openai", "work", "auth"]]
        )
      }).pipe(Effect.provide(layerOf(mock)))
    })
  )

  it.live("a connection that nobody takes leads to the next model", () =>
    Effect.gen(function* () {
      const url = yield* Effect.scoped(
        Effect.map(
          peer(() => {}),
          (gone) => gone.url
        )
      )
      const mock = yield* peer((mock) => mock.on({ model: "next" }, { content: "from the next" }))
      const config = configOf(mock)
      const openai = { ...config.providers["openai"], base_url: `${url}/v1` }
      const broken = { ...config, providers: { ...config.providers, openai } }
      const { written, causes } = yield* answerOf("hi", ["openai/own", "anthropic/next"]).pipe(
        Effect.provide(layerOn(broken))
      )

      assert.strictEqual(written, "from the next")
      assert.strictEqual(causes[0]?.[2], "timeout")
    })
  )

  for (const kind of ["openai-chat", "anthropic", "google"] as const) {
    it.live(`${kind}: an interrupted run closes its socket and asks nobody else`, () =>
      Effect.gen(function* () {
        const asked: Array<string> = []
        // This one is ours: it tells when its client hangs up.
        const fake = yield* Fake.make((_, { body }) => void asked.push(body))
        const provider = { kind, base_url: `${fake.url}/v1`, api_key: "key" }
        const config = { providers: { a: provider, b: provider } }
        yield* Effect.gen(function* () {
          const run = yield* Effect.forkChild(answerOf("hi", ["a/own", "b/next"]), { startImmediately: true })
          while (asked.length === 0) yield* Effect.sleep(1)
          yield* Fiber.interrupt(run)
          yield* Effect.promise(() => fake.closed)
        }).pipe(Effect.provide(layerOn(config)))

        assert.lengthOf(asked, 1)
      })
    )
  }
})
