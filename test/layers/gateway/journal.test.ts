import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as TestSystem from "#layers/Test.ts"
import { ask, chat, layer, says } from "./startGateway.ts"

const journal = (query = "", key = "a") => ask(`/api/v1/os/sessions/${key}/journal${query}`)
const second = Effect.andThen(TestClock.adjust("1 second"), TestSystem.settle)

describe("GET /api/v1/os/sessions/{key}/journal", () => {
  it.effect("tells what the lane decided, page by page, and not what was said", () =>
    Effect.gen(function* () {
      yield* chat(says("a secret"), { "x-opencraw-session-key": "a" })
      yield* second
      yield* chat(says("another secret"), { "x-opencraw-session-key": "a" })
      yield* second
      const whole = yield* journal()
      const first = yield* journal("?limit=1")
      const rest = yield* journal(`?limit=1&after=${first.json.next}`)
      const end = yield* journal(`?limit=1&after=${rest.json.next}`)

      const tags = whole.json.records.map(({ event }: { event: { _tag: string } }) => event._tag)
      assert.deepStrictEqual(tags, ["Arrived", "RunEnded", "Arrived", "RunEnded"])
      assert.deepStrictEqual([...first.json.records, ...rest.json.records], whole.json.records)
      assert.notProperty(whole.json, "next")
      assert.deepStrictEqual(end.json, { records: [] })
      assert.deepStrictEqual((yield* journal("", "b")).json, { records: [] })
      assert.notInclude(JSON.stringify(whole.json), "secret")
    }).pipe(Effect.provide(layer({ script: () => "hi" })))
  )

  it.effect("refuses what it does not understand, by name, and whoever has no token", () =>
    Effect.gen(function* () {
      const unknown = yield* journal("?before=3")
      assert.deepStrictEqual([unknown.status, unknown.json.error.param], [400, "before"])
      const wrong = yield* journal("?after=x")
      assert.deepStrictEqual([wrong.status, wrong.json.error.param], [400, "after"])
      const none = yield* ask("/api/v1/os/sessions/a/journal", { headers: { authorization: "Bearer wrong" } })
      assert.strictEqual(none.status, 401)
    }).pipe(Effect.provide(layer({ script: [] })))
  )
})
