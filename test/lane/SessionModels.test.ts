import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as RecordingChannel from "#layers/channel/RecordingChannel.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import { ModelRateLimited, ModelUnavailable } from "#src/model/Model.ts"
import * as Feed from "#src/outbound/Feed.ts"
import * as Sessions from "#src/session/Sessions.ts"

const { fail } = ScriptedModel
const { settle } = TestSystem
const session = "agent:main:ada" as SessionKey

let count = 0
const write = (text: string, access: "owner" | "member" = "owner") =>
  Effect.gen(function* () {
    yield* (yield* Inbound.Inbound).submit({
      identity: {
        channel: "recording-keyed",
        account: "a",
        conversation: "c",
        thread: "",
        externalId: `m${++count}`,
        revision: 1
      },
      session,
      ephemeral: false,
      sender: "ada",
      access,
      body: { text }
    })
    yield* settle
  })
const asked = Effect.map(ScriptedModel.ModelScript, ({ requests }) => requests().map(({ model }) => model))
const sent = Effect.map(RecordingChannel.Recorded, ({ parcels }) => parcels().map(({ text }) => text))

const provider = { kind: "openai-chat", base_url: "http://a.test/v1" }
const config = {
  general: { model: "a/first", fallbacks: ["b/second"] },
  providers: { a: provider, b: provider },
  models: { attempts: 1, aliases: { Quick: "b/quick" }, allow: ["a/*", "b/second", "b/quick"] }
}
const answering = ({ model }: { readonly model: string }) => `I am ${model}`
const on = (log: MessageLog.MessageLog["Service"]) =>
  Effect.provide(TestSystem.layerOn(Layer.succeed(MessageLog.MessageLog, log), { script: answering, config }))

describe("/model", () => {
  it.effect("holds for the session until it is reset, also over a restart", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      yield* Effect.gen(function* () {
        yield* write("/model quick")
        yield* write("hi")
      }).pipe(on(log))
      yield* Effect.gen(function* () {
        yield* write("hi again")
        yield* write("/model status")
        yield* write("/model default")
        yield* write("and now")

        assert.deepStrictEqual(yield* asked, ["b/quick", "a/first"])
        assert.deepStrictEqual(yield* sent, [
          "I am b/quick",
          "Model: b/quick, chosen for this session; no other answers when it fails. Its agent's own is a/first.",
          "This session answers with a/first, as its agent does.",
          "I am a/first"
        ])
      }).pipe(on(log))
      assert.deepStrictEqual(yield* log.settings({ tenant: local, name: "model", limit: 9 }), [])
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  it.effect("names what there is, and refuses what there is not", () =>
    Effect.gen(function* () {
      yield* write("/model list")
      yield* write("/model b/other")
      yield* write("/model nowhere/x")
      yield* write("/model second")
      yield* write("/model two words")
      yield* write("/model a/new", "member")

      assert.deepStrictEqual(yield* sent, [
        "a/first (the agent's own)\nb/second (fallback)\nb/quick (also called Quick)\nAlso: a/*.",
        "Nothing was changed: b/other is not allowed here. /model list shows what there is.",
        "Nothing was changed: nowhere/x is not allowed here. /model list shows what there is.",
        "This session answers with b/second from now on, and with no other when it fails. /model default goes back.",
        "Nothing was changed. Usage: /model PROVIDER/MODEL, /model list, /model status, or /model default",
        "You may not use /model here."
      ])
      assert.deepStrictEqual(yield* asked, [])
    }).pipe(Effect.provide(TestSystem.layer({ script: answering, config })))
  )

  it.effect("holds for one message in front of its text", () =>
    Effect.gen(function* () {
      yield* write("/model quick what is this?")
      yield* write("and this?")

      assert.deepStrictEqual(yield* asked, ["b/quick", "a/first"])
      const { requests } = yield* ScriptedModel.ModelScript
      assert.strictEqual(requests()[0]!.messages.at(-1)?.text, "what is this?")
    }).pipe(Effect.provide(TestSystem.layer({ script: answering, config })))
  )

  it.effect("is strict: no other model answers for a chosen one", () =>
    Effect.gen(function* () {
      yield* write("/model quick")
      yield* write("hi")

      assert.deepStrictEqual(yield* asked, ["b/quick"])
      assert.strictEqual(
        (yield* sent).at(-1),
        "I could not answer: the provider could not be reached (b/quick was chosen; /model default goes back)."
      )
    }).pipe(
      Effect.provide(
        TestSystem.layer({ script: [[fail(new ModelUnavailable({ detail: "refused" }))], "no"], config })
      )
    )
  )

  it.effect("refuses a choice that the operator has forbidden since", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      yield* write("/model quick").pipe(on(log))
      const strict = { ...config, models: { attempts: 1, allow: ["a/*"] } }
      yield* Effect.gen(function* () {
        yield* write("hi")

        assert.deepStrictEqual(yield* asked, [])
        assert.include((yield* sent).at(-1), "the model b/quick is not allowed here any more")
      }).pipe(
        Effect.provide(
          TestSystem.layerOn(Layer.succeed(MessageLog.MessageLog, log), { script: answering, config: strict })
        )
      )
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )
})

describe("An answer of another model", () => {
  it.effect("comes with one line that says so, once while it lasts and once when it is over", () =>
    Effect.gen(function* () {
      const events: Array<SessionEvent> = []
      ;(yield* Feed.Feed).subscribe(session, (event) => void events.push(event))
      yield* write("one")
      yield* write("two")
      yield* TestClock.adjust("1 minute")
      yield* write("three")

      const line = "b/second answered, because a/first could not: the provider is limiting our rate."
      assert.deepStrictEqual(yield* sent, [
        line,
        "I am b/second",
        "I am b/second",
        "The usual model answers again.",
        "I am a/first"
      ])
      const told = events.flatMap((event) =>
        event._tag === "Message" ? [[event.text, event.answers.length]] : []
      )
      assert.deepStrictEqual(told.slice(0, 2), [
        [line, 0],
        ["I am b/second", 1]
      ])
      const { requests } = yield* ScriptedModel.ModelScript
      assert.notInclude(JSON.stringify(requests()), "could not")
      const { messages } = yield* (yield* Sessions.Sessions).messages(session, { limit: 10 })
      assert.strictEqual(messages[1]?.content, line)
    }).pipe(
      Effect.provide(
        TestSystem.layer({
          script: ({ model }, position) =>
            position === 0 ? [fail(new ModelRateLimited({}))] : `I am ${model}`,
          config
        })
      )
    )
  )
})
