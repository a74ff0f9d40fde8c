import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { ask, chat, layer, says } from "./startGateway.ts"

const model = "openai/gpt-6-sol"
const answer: ScriptedModel.Answer = [
  ...ScriptedModel.text("hi"),
  {
    _tag: "End",
    reason: "stop",
    usage: { inputTokens: 1000, outputTokens: 100, cachedTokens: 500, estimated: false }
  }
]
/** 500 * 2 + 500 * 0.2 + 100 * 10 */
const cost = 2100
const system = layer({
  script: () => answer,
  config: { general: { model }, providers: { openai: { kind: "openai-chat", api_key: "k" } } }
})
const usage = (query: string) => ask(`/api/v1/os/usage${query}`)
const sum = (key: string, calls: number) => ({
  key,
  calls,
  estimated_calls: 0,
  input_tokens: 1000 * calls,
  output_tokens: 100 * calls,
  cached_tokens: 500 * calls,
  cost_usd_micros: cost * calls,
  unpriced_calls: 0
})

describe("GET /api/v1/os/usage", () => {
  it.effect("sums what was spent, day by day or by what is asked for", () =>
    Effect.gen(function* () {
      yield* chat(says("one"), { "x-opencraw-session-key": "a" })
      yield* TestClock.adjust("1 day")
      yield* chat(says("two"), { "x-opencraw-session-key": "a" })
      yield* chat(says("three"), { "x-opencraw-session-key": "b" })
      const days = yield* usage("")
      const sessions = yield* usage("?by=session&limit=1")
      const models = yield* usage("?by=model")
      const first = yield* usage("?by=total&since=1970-01-01&until=1970-01-01")
      const ofB = yield* usage("?by=day&session_key=b")
      const nobody = yield* usage("?sender=nobody")

      assert.deepStrictEqual(days.json.usage, [sum("1970-01-02", 2), sum("1970-01-01", 1)])
      assert.deepStrictEqual(days.json.total, sum("", 3))
      assert.deepStrictEqual(sessions.json.usage, [sum("agent:main:a", 2)])
      assert.deepStrictEqual(models.json.usage, [sum(model, 3)])
      assert.deepStrictEqual(first.json.usage, [sum("", 1)])
      assert.deepStrictEqual(ofB.json.usage, [sum("1970-01-02", 1)])
      assert.deepStrictEqual(nobody.json.usage, [])
      assert.notProperty(nobody.json, "total")
    }).pipe(Effect.provide(system))
  )

  it.effect("refuses what it does not understand, by name", () =>
    Effect.gen(function* () {
      for (const [query, param] of [
        ["?by=week", "by"],
        ["?since=yesterday", "since"],
        ["?until=2026-02-30", "until"],
        ["?limit=0", "limit"],
        ["?limit=1001", "limit"],
        ["?days=7", "days"]
      ]) {
        const reply = yield* usage(query ?? "")
        assert.deepStrictEqual([reply.status, reply.json.error.param], [400, param])
      }
    }).pipe(Effect.provide(system))
  )

  it.effect("tells a message's money in its timeline", () =>
    Effect.gen(function* () {
      yield* chat(says("one"), { "x-opencraw-session-key": "a" })
      const { json } = yield* ask("/api/v1/os/sessions/a/messages")
      const status = yield* ask(`/api/v1/os/messages/${json.messages[0].id}`)

      assert.containsSubset(status.json.timeline, [
        { step: "model", tokens: { input: 1000, output: 100, estimated: false }, cost_usd_micros: cost }
      ])
    }).pipe(Effect.provide(system))
  )
})
