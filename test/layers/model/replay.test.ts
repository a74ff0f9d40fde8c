import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as providers from "#layers/model/providers.ts"
import type { Recording } from "#layers/model/recording.ts"
import * as Recorder from "#layers/model/Recorder.ts"
import { Model, type ModelRequest, type PromptMessage } from "#src/model/Model.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import * as Models from "#src/model/Models.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import { Runtime } from "#src/setting/RuntimeSettings.ts"
import * as Redacted from "effect/Redacted"
import * as Events from "./anthropicEvents.ts"
import * as Fake from "./fakeProvider.ts"
import * as Gemini from "./googleEvents.ts"
import * as Responses from "./responsesEvents.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "opencraw-record-"))),
  (made) => Effect.sync(() => fs.rmSync(made, { recursive: true, force: true }))
)

const key = "sk-test-key-1234"

/** All kinds as in production, recording into `record` when it is given. */
const layerOf = (all: Readonly<Record<string, Partial<ProviderSettings>>>, record?: string) =>
  Models.layer.pipe(
    Layer.provide(providers.layer),
    Layer.provide(ModelKinds.layer),
    Layer.provide(
      Fake.layerProviders(
        Object.fromEntries(
          Object.entries(all).map(([name, settings]) => [
            name,
            { kind: "openai-chat", idle_timeout_ms: 5000, api_key: Redacted.make(key), ...settings } as const
          ])
        )
      )
    ),
    Layer.provide(
      Layer.succeed(Runtime, {
        get: () => ({ mode: "dev" as const, ...(record === undefined ? {} : { record }) }),
        changes: Stream.empty
      })
    )
  )

const ask = (over: Partial<ModelRequest>) =>
  Effect.flatMap(Model, (model) => Effect.result(Stream.runCollect(model.stream(Fake.request(over)))))

const filesIn = (where: string) =>
  fs
    .readdirSync(where)
    .toSorted()
    .map((name) => fs.readFileSync(path.join(where, name), "utf8"))

const said = (text: string): ReadonlyArray<PromptMessage> => [{ role: "user", text }]
const tools = [{ name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }]

describe("recording and replay", () => {
  const streams = {
    "openai-chat": Fake.delta("Grüß") + Fake.delta(" 🦀") + Fake.finish() + Fake.done,
    "openai-responses": Responses.text(0, "Grüß", " 🦀") + Responses.completed(),
    anthropic: Events.begin() + Events.text(0, "Grüß", " 🦀") + Events.stop() + Events.done,
    google: Gemini.text("Grüß") + Gemini.text(" 🦀") + Gemini.stop()
  } as const

  for (const kind of ["openai-chat", "openai-responses", "anthropic", "google"] as const) {
    it.effect(`${kind}: what was answered is answered again, without the provider`, () =>
      Effect.gen(function* () {
        const where = path.join(yield* folder, "new")
        const fake = yield* Fake.make(Fake.streams(streams[kind]))
        const live = layerOf({ live: { kind, base_url: `${fake.url}/v1` } }, where)
        const asked = { messages: said("hello"), tools, params: { temperature: 0.5 } }

        const recorded = yield* Effect.provide(ask({ ...asked, model: "live/m" }), live)
        const again = layerOf({ old: { kind: "replay", folder: where } })
        const replayed = yield* Effect.provide(ask({ ...asked, model: "old/m" }), again)

        assert.strictEqual(recorded._tag, "Success")
        assert.deepStrictEqual(replayed, recorded)
        assert.lengthOf(fake.received, 1)
      })
    )
  }

  it.effect("keeps one file for each exchange, for its owner only, and no key, wherever it was said", () =>
    Effect.gen(function* () {
      const where = path.join(yield* folder, "made", "by it")
      const fake = yield* Fake.make((response, _, position) => {
        response.writeHead(position === 0 ? 401 : 200)
        response.write(`{"error":{"message":"wrong key ${key.slice(0, 5)}`)
        setTimeout(() => response.end(`${key.slice(5)}"}}`), 20)
      })
      const live = layerOf({ live: { base_url: `${fake.url}/v1?key=${key}` } }, where)

      yield* Effect.provide(ask({ model: "live/m", messages: said(`my key is ${key}`) }), live)
      yield* Effect.provide(ask({ model: "live/m" }), live)

      const files = filesIn(where)
      assert.lengthOf(files, 2)
      for (const text of files) {
        assert.notInclude(text, key)
        assert.notInclude(text.toLowerCase(), "bearer")
        assert.include(text, "wrong key [key]")
      }
      assert.strictEqual(fs.statSync(where).mode & 0o777, 0o700)
      for (const name of fs.readdirSync(where)) {
        assert.strictEqual(fs.statSync(path.join(where, name)).mode & 0o777, 0o600)
      }
    })
  )

  it.effect("keeps failures, broken connections and what was given up, and they end the same again", () =>
    Effect.gen(function* () {
      const where = yield* folder
      const arrived = Promise.withResolvers<void>()
      const fake = yield* Fake.make((response, { body }) => {
        if (body.includes("limited")) {
          response.writeHead(429, { "retry-after": "7", "set-cookie": "secret=1" })
          return response.end('{"error":{"message":"slow down"}}')
        }
        response.writeHead(200)
        response.write(Fake.delta("half"))
        if (body.includes("broken")) return setTimeout(() => response.destroy(), 20)
        return undefined
      })
      const live = layerOf(
        { live: { base_url: `${fake.url}/v1` }, nobody: { base_url: "http://127.0.0.1:9/v1" } },
        where
      )
      const limited = yield* Effect.provide(ask({ model: "live/m", messages: said("limited") }), live)
      const broken = yield* Effect.provide(ask({ model: "live/m", messages: said("broken") }), live)
      const refused = yield* Effect.provide(ask({ model: "nobody/m", messages: said("refused") }), live)
      yield* Effect.gen(function* () {
        const model = yield* Model
        const call = model.stream(Fake.request({ model: "live/m", messages: said("silent") }))
        const fiber = yield* Effect.forkChild(Stream.runForEach(call, () => Effect.sync(arrived.resolve)))
        yield* Effect.promise(() => arrived.promise)
        yield* Fiber.interrupt(fiber)
      }).pipe(Effect.provide(live))

      const again = layerOf({ old: { kind: "replay", folder: where } })
      const replay = (text: string) =>
        Effect.map(Effect.provide(ask({ model: "old/m", messages: said(text) }), again), (result) =>
          result._tag === "Failure" ? result.failure.reason : undefined
        )

      assert.isTrue([limited, broken, refused].every(({ _tag }) => _tag === "Failure"))
      assert.deepInclude(yield* replay("limited"), { _tag: "ModelRateLimited", retryAfterMillis: 7000 })
      assert.strictEqual((yield* replay("broken"))?._tag, "ModelCutOff")
      assert.strictEqual((yield* replay("refused"))?._tag, "ModelUnavailable")
      assert.strictEqual((yield* replay("silent"))?._tag, "ModelCutOff")
      assert.notInclude(filesIn(where).join(), "secret=1")
      const ends = filesIn(where).map((text) => (JSON.parse(text) as Recording).response.end)
      assert.deepStrictEqual(ends, ["ended", "cut", "cut", "closed"])
    })
  )

  it.effect("answers equal requests in the order they were recorded, and then from the first again", () =>
    Effect.gen(function* () {
      const where = yield* folder
      const fake = yield* Fake.make((response, _, position) =>
        Fake.streams(Fake.delta(`answer ${position}`), Fake.finish())(response)
      )
      const live = layerOf({ live: { base_url: `${fake.url}/v1` } }, where)
      const twice = Effect.all([
        ask({ model: "live/m", messages: said("a") }),
        ask({ model: "live/m", messages: said("a") })
      ])
      yield* Effect.provide(twice, live)

      const texts = yield* Effect.gen(function* () {
        const found: Array<unknown> = []
        for (let n = 0; n < 3; n++) {
          const result = yield* ask({ model: "old/m", messages: said("a") })
          found.push(result._tag === "Success" ? result.success[0] : result.failure.message)
        }
        return found
      }).pipe(Effect.provide(layerOf({ old: { kind: "replay", folder: where } })))

      assert.deepStrictEqual(
        texts,
        [0, 1, 0].map((n) => ({ _tag: "Text", text: `answer ${n}` }))
      )
    })
  )

  it.effect("takes the same conversation when only the system text and what tools said differ", () =>
    Effect.gen(function* () {
      const where = yield* folder
      const fake = yield* Fake.make(Fake.streams(Fake.delta("noon"), Fake.finish()))
      const conversation = (system: string, time: string, id: string): ReadonlyArray<PromptMessage> => [
        { role: "system", text: system },
        { role: "user", text: "time?" },
        { role: "assistant", text: "", calls: [{ id, name: "time.now", arguments: "{}" }] },
        { role: "tool", callId: id, name: "time.now", text: time }
      ]
      yield* Effect.provide(
        ask({ model: "live/m", messages: conversation("be kind", "12:00", "a") }),
        layerOf({ live: { base_url: `${fake.url}/v1` } }, where)
      )
      const replayed = yield* Effect.provide(
        Effect.all([
          ask({ model: "old/m", messages: conversation("be rude", "13:00", "b") }),
          ask({ model: "old/m", messages: said("time?") })
        ]),
        layerOf({ old: { kind: "replay", folder: where } })
      )

      assert.strictEqual(replayed[0]._tag, "Success")
      const failure = replayed[1]._tag === "Failure" ? replayed[1].failure.reason : undefined
      assert.deepInclude(failure, { _tag: "ModelRejected", status: 400 })
    })
  )

  it.effect("fails typed without its folder, and tells of files that are no recordings", () =>
    Effect.gen(function* () {
      const where = yield* folder
      fs.writeFileSync(path.join(where, "a.json"), '{"v":2}')
      fs.writeFileSync(path.join(where, "b.json"), "not json")
      const layer = layerOf({
        gone: { kind: "replay", folder: path.join(where, "gone") },
        odd: { kind: "replay", folder: where }
      })
      const reasons = yield* Effect.forEach(["gone/m", "odd/m"], (model) =>
        Effect.map(ask({ model }), (result) =>
          result._tag === "Failure" ? result.failure.reason : undefined
        )
      ).pipe(Effect.provide(layer))

      assert.strictEqual(reasons[0]?._tag, "ModelUnavailable")
      assert.include(JSON.stringify(reasons[1]), "2 files are no recordings")
    })
  )

  it("harms no call when a file cannot be written, and is told once", () => {
    const troubles: Array<unknown> = []
    const recorder = Recorder.make("/dev/null/nowhere", (cause) => troubles.push(cause))
    for (let n = 0; n < 2; n++) {
      const tape = recorder.begin(
        {
          model: "m",
          request: Fake.request(),
          settings: { kind: "openai-chat", idle_timeout_ms: 1 }
        },
        { origin: "http://x", path: "/", body: "{}" }
      )
      tape.end("ended")
    }

    assert.lengthOf(troubles, 1)
  })

  it.effect("does not start when the folder cannot be made", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Effect.provide(ask({ model: "live/m" }), layerOf({}, "/dev/null/nowhere"))
      )

      assert.include(JSON.stringify(exit), "RecordingFolderUnusable")
    })
  )
})
