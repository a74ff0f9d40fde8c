/** What every `Model` promises, whoever speaks behind it. Each adapter runs this suite. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Model, type ModelError, type ModelEvent, type ModelRequest } from "#src/model/Model.ts"

/** What an adapter brings: how its provider is made to answer the four questions below. */
export interface ModelUnderTest {
  /** Answers `request(plain)` with text, `request(asking)` with a call of `time.now`, and its result with text. */
  readonly layer: Effect.Effect<Layer.Layer<Model>, never, Scope.Scope>
  readonly model: string
  /** Makes a model that says a first piece and then nothing; `undefined` when it cannot be silent. */
  readonly layerSilent: Effect.Effect<Layer.Layer<Model>, never, Scope.Scope> | undefined
}

export const plain = "hello there"
export const asking = "what time is it?"

const timeNow = { name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }

export const modelContract = (name: string, subject: ModelUnderTest) =>
  describe(`Model contract: ${name}`, () => {
    const request = (text: string, model = subject.model): ModelRequest => ({
      model,
      messages: [
        { role: "system", text: "be brief" },
        { role: "user", text }
      ],
      tools: [timeNow],
      params: {}
    })

    const run = <A, E>(use: (model: Model["Service"]) => Effect.Effect<A, E>) =>
      Effect.flatMap(subject.layer, (layer) => Effect.provide(Effect.flatMap(Model, use), layer))

    it.effect("gives text in pieces that are not empty, and one end after all else", () =>
      Effect.gen(function* () {
        const events = yield* run((model) => Stream.runCollect(model.stream(request(plain))))

        assert.isAbove(events.length, 1)
        assert.strictEqual(events.filter(isEnd).length, 1)
        assert.deepInclude(events.at(-1), { _tag: "End", reason: "stop" })
        assert.isTrue(events.slice(0, -1).every((event) => event._tag === "Text" && event.text !== ""))
      })
    )

    it.effect("gives a call whole, under the tool's real name, with arguments that are JSON", () =>
      Effect.gen(function* () {
        const events = yield* run((model) => Stream.runCollect(model.stream(request(asking))))

        const calls = events.flatMap((event) => (event._tag === "Call" ? [event.call] : []))
        assert.lengthOf(calls, 1)
        assert.strictEqual(calls[0]?.name, "time.now")
        assert.notStrictEqual(calls[0]?.id, "")
        assert.isObject(JSON.parse(calls[0]?.arguments ?? ""))
        assert.deepInclude(events.at(-1), { _tag: "End", reason: "calls" })
      })
    )

    it.effect("answers from a tool's result", () =>
      Effect.gen(function* () {
        const events = yield* run((model) =>
          Effect.gen(function* () {
            const first = request(asking)
            const said = yield* Stream.runCollect(model.stream(first))
            const calls = said.flatMap((event) => (event._tag === "Call" ? [event.call] : []))
            const results = calls.map(
              (call) => ({ role: "tool", callId: call.id, name: call.name, text: "noon exactly" }) as const
            )
            return yield* Stream.runCollect(
              model.stream({
                ...first,
                messages: [...first.messages, { role: "assistant", text: "", calls }, ...results]
              })
            )
          })
        )

        assert.deepInclude(events.at(-1), { _tag: "End", reason: "stop" })
        assert.include(written(events), "noon exactly")
      })
    )

    it.effect("starts anew each time a stream is run", () =>
      Effect.gen(function* () {
        const [first, second] = yield* run((model) => {
          const stream = model.stream(request(plain))
          return Effect.all([Stream.runCollect(stream), Stream.runCollect(stream)])
        })

        assert.strictEqual(written(first), written(second))
      })
    )

    it.effect("ends when its consumer has had enough", () =>
      Effect.gen(function* () {
        const events = yield* run((model) => Stream.runCollect(Stream.take(model.stream(request(plain)), 1)))

        assert.lengthOf(events, 1)
      })
    )

    if (subject.layerSilent !== undefined) {
      const layerSilent = subject.layerSilent
      it.effect("can be interrupted while it is silent", () =>
        Effect.gen(function* () {
          const spoke = Promise.withResolvers<void>()
          const fiber = yield* Effect.flatMap(Model, (model) =>
            Stream.runForEach(model.stream(request(plain)), () => Effect.sync(spoke.resolve))
          ).pipe(Effect.provide(yield* layerSilent), Effect.forkChild)
          yield* Effect.promise(() => spoke.promise)

          yield* Fiber.interrupt(fiber)

          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        })
      )
    }
  })

/** Only for models that are found by their name. */
export const routedModelContract = (name: string, layer: ModelUnderTest["layer"]) =>
  describe(`Model contract: ${name}`, () => {
    it.effect("fails for a model nobody answers for", () =>
      Effect.gen(function* () {
        for (const model of ["nobody/x", "nobody", "", "/x", "constructor/x"]) {
          const error: ModelError = yield* Effect.flatMap(Model, (one) =>
            Effect.flip(Stream.runDrain(one.stream({ model, messages: [], tools: [], params: {} })))
          ).pipe(Effect.provide(yield* layer))

          assert.strictEqual(error.reason._tag, "ModelUnknown")
          assert.strictEqual(error.model, model)
        }
      })
    )
  })

const isEnd = (event: ModelEvent) => event._tag === "End"

const written = (events: ReadonlyArray<ModelEvent>) =>
  events.map((event) => (event._tag === "Text" ? event.text : "")).join("")
