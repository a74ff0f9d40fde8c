import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Scripted from "#layers/model/ScriptedModel.ts"
import { Model, ModelRateLimited } from "#src/model/Model.ts"
import { request } from "./fakeProvider.ts"

const ask = Effect.flatMap(Model, (model) => Stream.runCollect(model.stream(request())))

describe("ScriptedModel", () => {
  it.effect("gives its answers in order, and remembers what it was asked", () =>
    Effect.gen(function* () {
      const script = yield* Scripted.ModelScript

      const first = yield* ask
      const second = yield* Effect.flip(ask)
      script.push("pushed")
      const third = yield* ask
      const fourth = yield* Effect.flip(ask)

      assert.deepStrictEqual(first, [
        { _tag: "Text", text: "a" },
        { _tag: "End", reason: "stop" }
      ])
      assert.strictEqual(second.reason._tag, "ModelRateLimited")
      assert.deepInclude(third[0], { text: "pushed" })
      assert.strictEqual(fourth.reason._tag, "ModelUnavailable")
      assert.lengthOf(script.requests(), 4)
    }).pipe(Effect.provide(Scripted.layer(["a", [Scripted.fail(new ModelRateLimited({}))]])))
  )

  it.effect("waits for a test, and counts the answers that were given up", () =>
    Effect.gen(function* () {
      const script = yield* Scripted.ModelScript
      const until = yield* Deferred.make<void>()
      script.push([...Scripted.text("a"), Scripted.wait(until), ...Scripted.text("b")], [Scripted.hang])

      const waiting = yield* Effect.forkChild(ask, { startImmediately: true })
      assert.isUndefined(waiting.pollUnsafe())
      yield* Deferred.succeed(until, undefined)
      const events = yield* Fiber.join(waiting)
      const hanging = yield* Effect.forkChild(ask, { startImmediately: true })
      yield* Fiber.interrupt(hanging)

      assert.lengthOf(events, 3)
      assert.strictEqual(script.interrupted(), 1)
    }).pipe(Effect.provide(Scripted.layer()))
  )
})
