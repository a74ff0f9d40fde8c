import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RecordingChannel from "#layers/channel/RecordingChannel.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import { ModelCutOff, ModelRateLimited } from "#src/model/Model.ts"
import * as Sessions from "#src/session/Sessions.ts"
import { footer, money, shortCount } from "#src/session/usageText.ts"

const { call, fail, hang, text } = ScriptedModel
const { settle } = TestSystem
const ada = "agent:main:ada" as SessionKey

const message = (
  id: string,
  said: string,
  changes: Partial<InboundMessage> = {},
  channel = "recording-keyed"
): InboundMessage => ({
  identity: { channel, account: "a", conversation: "c", thread: "", externalId: id, revision: 1 },
  session: ada,
  ephemeral: false,
  sender: "ada",
  access: "owner",
  body: { text: said },
  ...changes
})
const say = (id: string, said: string, changes: Partial<InboundMessage> = {}) =>
  Effect.flatMap(Inbound.Inbound, (inbound) => inbound.submit(message(id, said, changes))).pipe(
    Effect.andThen(settle)
  )
const sent = Effect.map(RecordingChannel.Recorded, (recorded) =>
  recorded.parcels().map(({ text: one }) => one)
)
const sums = (by: MessageLog.UsageBy) =>
  Effect.flatMap(MessageLog.MessageLog, (log) => log.usage({ tenant: local, by, limit: 10 }))

const model = "mine/fast"
const usage = { inputTokens: 1000, outputTokens: 100, cachedTokens: 400, estimated: false }
/** 600 * 2 + 400 * 0.5 + 100 * 10 */
const cost = 2400
const answer = (said: string): ScriptedModel.Answer => [...text(said), { _tag: "End", reason: "stop", usage }]
const config = {
  general: { model },
  providers: { mine: { kind: "openai-chat", base_url: "http://127.0.0.1:1/v1" } },
  usage: { prices: { [model]: { input: 2, output: 10, cached: 0.5 } } }
}
const system = (script: ScriptedModel.Script, more: Readonly<Record<string, unknown>> = {}) =>
  Effect.provide(TestSystem.layer({ script, config: { ...config, ...more } }))

describe("what model calls cost", () => {
  it.effect("is counted for each call, by run, session, sender, model and day", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      yield* say("1", "hello")
      yield* say("2", "again", { sender: "bob" })
      const row = yield* log.lookup({ tenant: local, identity: message("1", "").identity })
      const trace = yield* log.message({ tenant: local, id: row!.id })

      assert.strictEqual(trace?.run?.usage.costMicros, 2 * cost)
      assert.deepStrictEqual(
        trace?.entries.map((entry) => entry.usage?.costMicros),
        [cost, 0, cost]
      )
      const row3 = { calls: 3, inputTokens: 3000, costMicros: 3 * cost, unpricedCalls: 0 }
      assert.containsSubset(yield* sums("session"), [{ key: ada, ...row3 }])
      assert.containsSubset(yield* sums("model"), [{ key: model, ...row3 }])
      assert.containsSubset(yield* sums("day"), [{ key: "0", ...row3 }])
      assert.deepStrictEqual(
        (yield* sums("sender")).map(({ key, calls }) => [key, calls]),
        [
          ["ada", 2],
          ["bob", 1]
        ]
      )
    }).pipe(
      system([
        [...text("let me look"), call("time.now"), { _tag: "End", reason: "calls", usage }],
        answer("noon"),
        answer("again noon")
      ])
    )
  )

  it.effect("is not known for a model without a price, and its tokens are counted all the same", () =>
    Effect.gen(function* () {
      yield* say("1", "hello")

      assert.deepStrictEqual(yield* sums("total"), [
        {
          key: "",
          calls: 1,
          estimatedCalls: 0,
          inputTokens: 1000,
          outputTokens: 100,
          cachedTokens: 400,
          costMicros: 0,
          unpricedCalls: 1
        }
      ])
    }).pipe(system([answer("hi")], { usage: {} }))
  )

  it.effect(
    "is estimated for a call that was cut off, by us or by the provider, and nothing for one that was refused",
    () =>
      Effect.gen(function* () {
        const lanes = yield* Lanes.Lanes
        yield* say("1", "hello")
        yield* lanes.stop(ada, "ada")
        yield* settle
        const stopped = yield* sums("total")
        yield* say("2", "hello")
        const broken = yield* sums("total")
        yield* say("3", "hello")

        assert.containsSubset(stopped, [{ calls: 1, estimatedCalls: 1, outputTokens: 5, unpricedCalls: 0 }])
        assert.isAbove(stopped[0]!.inputTokens, 10)
        assert.isAbove(stopped[0]!.costMicros, 50)
        assert.containsSubset(broken, [{ calls: 2, estimatedCalls: 2, outputTokens: 10 }])
        assert.deepStrictEqual(yield* sums("total"), broken)
      }).pipe(
        system([
          [...text("twenty characters..."), hang],
          [...text("twenty characters..."), fail(new ModelCutOff({}))],
          [fail(new ModelRateLimited({}))]
        ])
      )
  )

  it.effect("is known before a call as the most that it may cost, and of no call when there is none", () =>
    Effect.gen(function* () {
      const lanes = yield* Lanes.Lanes
      const more = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      push([ScriptedModel.wait(more), ...answer("hi")] as ReadonlyArray<ScriptedModel.Act>)
      yield* say("1", "hello", { body: { text: "hello", params: { maxOutputTokens: 1000 } } })
      const [lane] = yield* lanes.list
      yield* Deferred.succeed(more, undefined)
      yield* settle

      // 1,000 tokens out at most, and a prompt of a few dozen.
      assert.isTrue(lane!.mayCostMicros! > 10_000 + 2 * 10 && lane!.mayCostMicros! < 10_000 + 2 * 100)
      assert.containsSubset(yield* sums("total"), [{ costMicros: cost }])
      assert.deepStrictEqual(yield* lanes.list, [])
    }).pipe(system([]))
  )

  it.effect("stays counted when the session is deleted", () =>
    Effect.gen(function* () {
      yield* say("1", "hello")
      yield* (yield* Lanes.Lanes).stop(ada, "ada")
      yield* (yield* MessageLog.MessageLog).commit({
        _tag: "DeleteSession",
        place: { tenant: local, agent: "main", session: ada },
        at: 1
      })

      assert.containsSubset(yield* sums("total"), [{ calls: 1, costMicros: cost }])
      assert.containsSubset(yield* sums("session"), [{ key: "" }])
    }).pipe(system([answer("hi")]))
  )
})

describe("/usage", () => {
  it.effect("lets a session's replies say their tokens, or also their money, until it is turned off", () =>
    Effect.gen(function* () {
      yield* say("1", "/usage tokens")
      yield* say("2", "hello")
      yield* say("3", "/usage full")
      yield* say("4", "hello")
      yield* say("5", "/usage off")
      yield* say("6", "hello")
      const texts = yield* sent
      const { messages } = yield* (yield* Sessions.Sessions).messages(ada, { limit: 100 })

      assert.deepStrictEqual(texts, [
        "Replies say their tokens.",
        "one\n\n[1k tokens in (400 cached), 100 out]",
        "Replies say their tokens and what they cost.",
        "two\n\n[1k tokens in (400 cached), 100 out, $0.0024]",
        "Replies say nothing of their usage.",
        "three"
      ])
      // Only what the model wrote is kept, so that it never reads such a line.
      assert.deepStrictEqual(
        messages.filter(({ role }) => role === "assistant").map(({ content }) => content),
        ["one", "two", "three"]
      )
    }).pipe(system([answer("one"), answer("two"), answer("three")]))
  )

  it.effect("is kept over a restart, an explicit off too, and forgotten by reset", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      const on = (script: ScriptedModel.Script) =>
        Effect.provide(
          TestSystem.layerOn(Layer.succeed(MessageLog.MessageLog, log), {
            script,
            config: {
              ...config,
              usage: { ...config.usage, replies_by_channel: { "recording-keyed": "full" } }
            }
          })
        )
      yield* say("1", "/usage off").pipe(on([]))
      const second = yield* Effect.andThen(say("2", "hello"), sent).pipe(on([answer("one")]))
      const third = yield* Effect.andThen(
        say("3", "/usage reset"),
        Effect.andThen(say("4", "hello"), sent)
      ).pipe(on([answer("two")]))

      assert.deepStrictEqual(second, ["one"])
      assert.deepStrictEqual(third, [
        "This session keeps no usage setting of its own. Replies say their tokens and what they cost.",
        "two\n\n[1k tokens in (400 cached), 100 out, $0.0024]"
      ])
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  it.effect("tells what was spent, and what it does not know", () =>
    Effect.gen(function* () {
      yield* say("1", "hello")
      yield* say("2", "hello", { session: "agent:main:bob" as SessionKey })
      yield* say("3", "/usage cost")
      yield* say("4", "/usage dollars")

      const texts = yield* sent
      assert.strictEqual(
        texts[2],
        [
          "This session: $0.0024 (1k tokens in (400 cached), 100 out, 1 call)",
          "Everybody today (UTC): $0.0048 (2k tokens in (800 cached), 200 out, 2 calls)",
          "Everybody in the last 30 days: $0.0048 (2k tokens in (800 cached), 200 out, 2 calls)"
        ].join("\n")
      )
      assert.include(texts[3], "Nothing was changed")
    }).pipe(system([answer("one"), answer("two")]))
  )

  it.effect("is for owners", () =>
    Effect.gen(function* () {
      yield* say("1", "/usage full", { access: "member" })

      assert.deepStrictEqual(yield* sent, ["You may not use /usage here."])
    }).pipe(system([]))
  )

  it.effect("puts its line behind the last block of an answer, never into one that has left", () =>
    Effect.gen(function* () {
      const more = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      push([
        ...text("The first sentence. "),
        ScriptedModel.wait(more),
        ...text("And the rest."),
        { _tag: "End", reason: "stop", usage }
      ])
      yield* say("1", "hello")
      yield* Deferred.succeed(more, undefined)
      yield* settle

      assert.deepStrictEqual(yield* sent, [
        "The first sentence.",
        "And the rest.\n\n[1k tokens in (400 cached), 100 out]"
      ])
    }).pipe(
      system([], {
        stream: { mode: "blocks", min_chars: 10, max_chars: 40, prefer: "sentence" },
        usage: { replies: "tokens" }
      })
    )
  )
})

describe("words of usage", () => {
  it("are short and as exact as it takes", () => {
    assert.deepStrictEqual([0, 999, 1000, 12_345, 99_950, 123_456, 999_600, 2_500_000].map(shortCount), [
      "0",
      "999",
      "1k",
      "12.3k",
      "100k",
      "123k",
      "1M",
      "2.5M"
    ])
    assert.deepStrictEqual([0, 3, 42, 1234, 45_678, 999_999, 1_234_567].map(money), [
      "$0.00",
      "$0.000003",
      "$0.000042",
      "$0.0012",
      "$0.046",
      "$1.00",
      "$1.23"
    ])
    const used = { ...usage, estimated: true }
    assert.strictEqual(
      footer("full", used, 0.123),
      "[about 1k tokens in (400 cached), 100 out, price unknown, 12 % of the context]"
    )
  })
})
