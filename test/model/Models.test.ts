import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Model, type ModelEvent, type ModelRequest, withoutImages } from "#src/model/Model.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import * as Models from "#src/model/Models.ts"
import { Providers, type ProviderSettings } from "#src/model/ProviderSettings.ts"

const section = (over: Partial<ProviderSettings> = {}): ProviderSettings => ({
  kind: "openai-chat",
  idle_timeout_ms: 1_000,
  ...over
})

const problems = (configured: Readonly<Record<string, ProviderSettings>>, ...models: ReadonlyArray<string>) =>
  Models.unusable(configured, models).map((one) => one.problem)

describe("Models", () => {
  it.effect("asks the provider before the first slash for all that stands after it", () =>
    Effect.gen(function* () {
      const asked: Array<ModelKinds.ProviderCall> = []
      const end: ModelEvent = { _tag: "End", reason: "stop" }
      const layer = Models.layer.pipe(
        Layer.provide(
          ModelKinds.layerRegister("openai-chat", (call) => {
            asked.push(call)
            return Stream.make(end)
          })
        ),
        Layer.provide(ModelKinds.layer),
        Layer.provide(Layer.succeed(Providers, { get: () => ({}), changes: Stream.empty }))
      )

      yield* Effect.flatMap(Model, (model) =>
        Stream.runDrain(
          model.stream({ model: "openrouter/meta/llama-4", messages: [], tools: [], params: {} })
        )
      ).pipe(Effect.provide(layer))

      assert.deepStrictEqual(
        asked.map((call) => [call.model, call.settings.base_url]),
        [["meta/llama-4", "https://openrouter.ai/api/v1"]]
      )
    })
  )

  it.effect("pays with the profile that the request names, and knows no other", () =>
    Effect.gen(function* () {
      const keys: Array<string> = []
      const identities = new Set<ProviderSettings>()
      const end: ModelEvent = { _tag: "End", reason: "stop" }
      const profiles = {
        work: { api_key: Redacted.make("key-work") },
        spare: { api_key: Redacted.make("key-spare") }
      }
      const mine = section({ base_url: "http://a.test/v1", api_key: Redacted.make("key-own"), profiles })
      const layer = Models.layer.pipe(
        Layer.provide(
          ModelKinds.layerRegister("openai-chat", ({ settings }) => {
            keys.push(settings.api_key === undefined ? "" : Redacted.value(settings.api_key))
            identities.add(settings)
            return Stream.make(end)
          })
        ),
        Layer.provide(ModelKinds.layer),
        Layer.provide(Layer.succeed(Providers, { get: () => ({ mine }), changes: Stream.empty }))
      )
      const ask = (profile?: string) =>
        Effect.flatMap(Model, (model) =>
          Stream.runDrain(
            model.stream({
              model: "mine/x",
              ...(profile === undefined ? {} : { profile }),
              messages: [],
              tools: [],
              params: {}
            })
          )
        )

      const unknown = yield* Effect.gen(function* () {
        for (const profile of [undefined, "work", "spare", "work"]) yield* ask(profile)
        return yield* Effect.flip(ask("constructor"))
      }).pipe(Effect.provide(layer))

      assert.deepStrictEqual(keys, ["key-own", "key-work", "key-spare", "key-work"])
      assert.strictEqual(identities.size, 3)
      assert.strictEqual(unknown.reason._tag, "ModelUnknown")
    })
  )

  it("knows its providers without a section, and completes a section for one of them", () => {
    const all = Models.withBuiltIn({ openai: section({ idle_timeout_ms: 7_000 }) })

    assert.deepStrictEqual(Object.keys(all).sort(), [
      "anthropic",
      "demo",
      "google",
      "groq",
      "llamacpp",
      "ollama",
      "openai",
      "openrouter",
      "vllm"
    ])
    assert.deepStrictEqual(all["openai"], {
      kind: "openai-chat",
      base_url: "https://api.openai.com/v1",
      api_key_env: "OPENAI_API_KEY",
      idle_timeout_ms: 7_000
    })
    assert.deepStrictEqual(Models.withBuiltIn(all), all)
  })

  it("does not send a usual key to an unusual address", () => {
    const all = Models.withBuiltIn({ openai: section({ base_url: "http://127.0.0.1:1/v1" }) })

    assert.isUndefined(all["openai"]?.api_key_env)
  })

  it("tells at start which models cannot be used, each once", () => {
    const key = Redacted.make("k")

    assert.deepStrictEqual(problems({}, "demo/demo", "ollama/llama"), [])
    assert.deepStrictEqual(problems({}, "gpt", "/x", "x/", "", "nobody/x", "nobody/x", "constructor/x"), [
      "malformed",
      "malformed",
      "malformed",
      "malformed",
      "unknown_provider",
      "unknown_provider"
    ])
    assert.deepStrictEqual(problems({}, "anthropic/claude"), ["no_key"])
    assert.deepStrictEqual(
      problems({ anthropic: section({ kind: "anthropic", api_key: key }) }, "anthropic/claude"),
      []
    )
    assert.deepStrictEqual(problems({ r: section({ kind: "openai-responses" }) }, "r/x"), ["no_address"])
    assert.deepStrictEqual(problems({ r: section({ kind: "replay" }) }, "r/x"), ["no_folder"])
    assert.deepStrictEqual(problems({ r: section({ kind: "replay", folder: "/r" }) }, "r/x"), [])
    assert.deepStrictEqual(problems({}, "openai/gpt"), ["no_key"])
    assert.deepStrictEqual(problems({ openai: section({ api_key: key }) }, "openai/gpt"), [])
    assert.deepStrictEqual(
      problems({ openai: section({ base_url: "http://127.0.0.1:1/v1" }) }, "openai/gpt"),
      []
    )
    assert.deepStrictEqual(problems({ mine: section() }, "mine/x"), ["no_address"])
    assert.deepStrictEqual(problems({ mine: section({ base_url: "127.0.0.1/v1" }) }, "mine/x"), [
      "bad_address"
    ])
    assert.deepStrictEqual(problems({ mine: section({ base_url: "file:///x" }) }, "mine/x"), ["bad_address"])
  })

  it("says in its error what to do", () => {
    const [problem] = Models.unusable({ r: section({ kind: "replay" }) }, ["r/x"])

    assert.include(problem?.message, "providers.r.folder")
    assert.include(Models.unusable({}, ["openai/gpt"])[0]?.message, "OPENAI_API_KEY")
  })

  it("tells a model that reads text only that images were left out", () => {
    const image = { mediaType: "image/png", data: "iVBORw0KGgo=" } as const
    const request: ModelRequest = {
      model: "m",
      messages: [
        { role: "user", text: "these", images: [image, image] },
        { role: "assistant", text: "nice" }
      ],
      tools: [],
      params: {}
    }

    assert.deepStrictEqual(withoutImages(request).messages, [
      { role: "user", text: "these\n\n[2 images were left out here]" },
      { role: "assistant", text: "nice" }
    ])
  })

  it.effect("shows images to the models of a provider unless it says that they read text only", () =>
    Effect.gen(function* () {
      const seen: Array<ModelRequest> = []
      const providers = { eye: section(), blind: section({ images: false }) }
      const layer = Models.layer.pipe(
        Layer.provide(
          ModelKinds.layerRegister("openai-chat", ({ request }) => {
            seen.push(request)
            return Stream.make<[ModelEvent]>({ _tag: "End", reason: "stop" })
          })
        ),
        Layer.provide(ModelKinds.layer),
        Layer.provide(Layer.succeed(Providers, { get: () => providers, changes: Stream.empty }))
      )
      const image = { mediaType: "image/png", data: "iVBORw0KGgo=" } as const
      for (const model of ["eye/x", "blind/x"]) {
        yield* Effect.flatMap(Model, (one) =>
          Stream.runDrain(
            one.stream({
              model,
              messages: [{ role: "user", text: "", images: [image] }],
              tools: [],
              params: {}
            })
          )
        ).pipe(Effect.provide(layer))
      }

      assert.deepStrictEqual(
        seen.map(({ messages }) => messages),
        [
          [{ role: "user", text: "", images: [image] }],
          [{ role: "user", text: "[1 image was left out here]" }]
        ]
      )
    })
  )
})
