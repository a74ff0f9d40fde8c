import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as RecordingChannel from "#layers/channel/RecordingChannel.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import * as Channels from "#src/channel/Channels.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import { ModelUnavailable } from "#src/model/Model.ts"
import * as Outbound from "#src/outbound/Outbound.ts"
import * as Sessions from "#src/session/Sessions.ts"

const { call, fail, hang, text, wait } = ScriptedModel
const { settle } = TestSystem
const ada = "agent:main:ada" as SessionKey

const message = (id: string, channel: string): InboundMessage => ({
  identity: { channel, account: "a", conversation: "c", thread: "", externalId: id, revision: 1 },
  session: ada,
  ephemeral: false,
  sender: "ada",
  access: "owner",
  body: { text: `say ${id}` }
})
const submit = (id: string, channel = "recording-keyed") =>
  Effect.flatMap(Inbound.Inbound, (inbound) => inbound.submit(message(id, channel)))
const sent = Effect.map(RecordingChannel.Recorded, (recorded) =>
  recorded.parcels().map(({ text: one }) => one)
)
const shown = Effect.map(RecordingChannel.Recorded, (recorded) => recorded.shown())
const said = Effect.flatMap(Sessions.Sessions, (sessions) =>
  Effect.map(sessions.messages(ada, { limit: 100 }), ({ messages }) =>
    messages.filter(({ role }) => role === "assistant").map(({ content }) => content)
  )
)
/** Blocks of about a sentence. */
const blocks = { mode: "blocks", min_chars: 10, max_chars: 40, prefer: "sentence" }
/** So that a message waits for nothing but the one before it. */
const oneByOne = { queue: { mode: "followup" } }
const preview = { mode: "preview", preview_interval_ms: 1000 }
const system = (stream: Readonly<Record<string, unknown>>, script: ScriptedModel.Script = []) =>
  Effect.provide(
    TestSystem.layer({ script, config: { ...oneByOne, stream: { typing: "never", ...stream } } })
  )
/** A process on a log that outlives it. */
const on = (
  log: MessageLog.MessageLog["Service"],
  stream: Readonly<Record<string, unknown>>,
  script: ScriptedModel.Script
) =>
  Effect.provide(
    TestSystem.layerOn(Layer.succeed(MessageLog.MessageLog, log), {
      script,
      config: { ...oneByOne, stream: { typing: "never", ...stream } }
    })
  )
const recovered = Effect.gen(function* () {
  yield* (yield* Outbound.Outbound).recover
  yield* (yield* Lanes.Lanes).recover
  yield* settle
})

describe("an answer in blocks", () => {
  it.effect("leaves while it is written, and what arrives is the answer, each part once", () =>
    Effect.gen(function* () {
      const more = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      push([...text("The first sentence. ", "And the sec"), wait(more), ...text("ond one. ", "End")])
      yield* submit("1")
      yield* settle
      const early = yield* sent
      yield* Deferred.succeed(more, undefined)
      yield* settle

      assert.deepStrictEqual(early, ["The first sentence."])
      assert.deepStrictEqual(yield* sent, ["The first sentence.", "And the second one.", "End"])
      assert.deepStrictEqual(yield* said, ["The first sentence. And the second one. End"])
    }).pipe(system(blocks))
  )

  it.effect("is sent as a whole where nothing was asked for, and where a channel shows text by itself", () =>
    Effect.gen(function* () {
      const channels = yield* Channels.Channels
      yield* channels.register({ ...channels.find("recording-keyed")!, streams: true })
      yield* submit("1")
      yield* submit("2", "recording-probe")
      yield* settle

      const answer = "The first sentence. And the second one. End"
      assert.deepStrictEqual(yield* sent, [answer, answer])
    }).pipe(
      system({ ...blocks, by_channel: { "recording-probe": "off" } }, [
        text("The first sentence. ", "And the second one. ", "End"),
        text("The first sentence. ", "And the second one. ", "End")
      ])
    )
  )

  it.effect("also gives what was said before tools, and waits for no tool with it", () =>
    Effect.gen(function* () {
      const stopped = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      push([...text("Let me look."), call("time.now")], [wait(stopped), ...text("It is noon.")])
      yield* submit("1")
      yield* settle
      const early = yield* sent
      yield* Deferred.succeed(stopped, undefined)
      yield* settle

      assert.deepStrictEqual(early, ["Let me look."])
      assert.deepStrictEqual(yield* sent, ["Let me look.", "It is noon."])
    }).pipe(system(blocks))
  )

  for (const repeats of [true, false]) {
    it.effect(
      `goes on behind what had left when its process dies, also when the model ${repeats ? "repeats it" : "does not repeat it"}`,
      () =>
        Effect.gen(function* () {
          const log = yield* MessageLog.MessageLog
          const first = yield* Effect.gen(function* () {
            yield* submit("1")
            yield* settle
            return yield* sent
          }).pipe(on(log, blocks, [[...text("The first sentence. ", "And the sec"), hang]]))
          const second = yield* Effect.gen(function* () {
            yield* recovered
            const asked = (yield* ScriptedModel.ModelScript).requests().at(-1)!.messages
            return { parcels: yield* sent, said: yield* said, asked: asked.slice(-2) }
          }).pipe(
            on(log, blocks, [
              repeats ? text("The first ", "sentence. ", "And a second one.") : text("And ", "a second one.")
            ])
          )

          assert.deepStrictEqual(first, ["The first sentence."])
          assert.deepStrictEqual(second.parcels, ["And a second one."])
          assert.deepStrictEqual(second.said, ["The first sentence. And a second one."])
          assert.deepStrictEqual(second.asked[0], { role: "assistant", text: "The first sentence. " })
          assert.strictEqual(second.asked[1]?.role, "user")
        }).pipe(Effect.provide(MemoryMessageLog.layer))
    )
  }

  it.effect("is not sent again when it was complete but for its end", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      yield* Effect.andThen(submit("1"), settle).pipe(
        on(log, blocks, [[...text("The first sentence. ", "X"), hang]])
      )
      const second = yield* Effect.gen(function* () {
        yield* recovered
        return { parcels: yield* sent, said: yield* said }
      }).pipe(on(log, blocks, [text("The first sentence.")]))

      assert.deepStrictEqual(second, { parcels: [], said: ["The first sentence. "] })
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  it.effect("keeps in the transcript what had left when it fails or is cancelled before it goes on", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      yield* Effect.andThen(submit("1"), settle).pipe(
        on(log, blocks, [[...text("The first sentence. ", "X"), hang]])
      )
      const row = yield* log.lookup({ tenant: local, identity: message("1", "recording-keyed").identity })
      yield* Effect.gen(function* () {
        yield* (yield* Lanes.Lanes).cancel(ada, row!.id, "ada")
        yield* settle
      }).pipe(on(log, blocks, []))
      const rows = yield* log.history({ tenant: local, session: ada, limit: 10 })

      assert.deepStrictEqual(rows.at(-1)?.entry, {
        v: 1,
        kind: "assistant",
        text: "The first sentence. ",
        partial: "cancelled"
      })
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  it.effect("stays, and is followed by the failure, when the model fails in the middle", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle

      assert.deepStrictEqual(yield* sent, [
        "The first sentence.",
        "I could not answer: the provider could not be reached."
      ])
    }).pipe(
      system(blocks, [
        [...text("The first sentence. ", "And the sec"), fail(new ModelUnavailable({ detail: "gone" }))]
      ])
    )
  )

  it.effect("is kept while the store refuses, and goes on once it does not", () =>
    Effect.gen(function* () {
      const more = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      const faults = yield* MemoryMessageLog.MemoryLogFaults
      push(
        [...text("The first sentence. ", "And"), wait(more), ...text(" the second one. ", "X")],
        text("The first sentence. And another end.")
      )
      yield* submit("1")
      yield* settle
      yield* faults.failNext(new MessageLog.StoreFull({}))
      yield* Deferred.succeed(more, undefined)
      yield* settle
      yield* TestClock.adjust("1 minute")
      yield* settle

      assert.deepStrictEqual(yield* sent, ["The first sentence.", "And another end."])
      assert.deepStrictEqual(yield* said, ["The first sentence. And another end."])
    }).pipe(system(blocks))
  )

  it.effect("joins small blocks, and lets one go when nothing comes behind it for a while", () =>
    Effect.gen(function* () {
      const more = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      push([...text("First of all. ", "Then this too. ", "And"), wait(more), ...text(" the end.")])
      yield* submit("1")
      yield* settle
      const early = yield* sent
      yield* TestClock.adjust(999)
      const still = yield* sent
      yield* TestClock.adjust(1001)
      yield* settle
      const later = yield* sent
      yield* Deferred.succeed(more, undefined)
      yield* settle

      assert.deepStrictEqual([early, still], [[], []])
      assert.deepStrictEqual(later, ["First of all. Then this too."])
      assert.deepStrictEqual(yield* sent, ["First of all. Then this too.", "And the end."])
    }).pipe(system({ ...blocks, coalesce_chars: 30, coalesce_idle_ms: 1000 }))
  )

  it.effect("pauses between its messages as a person would, and not before the first", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle
      const first = yield* sent
      yield* TestClock.adjust(799)
      const early = yield* sent
      yield* TestClock.adjust(10_000)
      yield* settle
      const parcels = (yield* RecordingChannel.Recorded).parcels()

      assert.deepStrictEqual([first, early], [["The first sentence."], ["The first sentence."]])
      assert.lengthOf(parcels, 3)
      for (const [index, { at }] of parcels.entries()) {
        if (index > 0)
          assert.isTrue(at - parcels[index - 1]!.at >= 800 && at - parcels[index - 1]!.at <= 2500)
      }
    }).pipe(
      system({ ...blocks, human_delay: "natural" }, [
        text("The first sentence. ", "And the second one. ", "End")
      ])
    )
  )
})

describe("a message that grows", () => {
  const editing = "recording-editing"

  it.effect("is changed at most once in an interval, and becomes the answer", () =>
    Effect.gen(function* () {
      const steps = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>(), Deferred.make<void>()])
      const { push } = yield* ScriptedModel.ModelScript
      push([
        ...text("One"),
        wait(steps[0]),
        ...text(" two", " three"),
        wait(steps[1]),
        ...text(" four"),
        wait(steps[2]),
        ...text(" five.")
      ])
      yield* submit("1", editing)
      yield* settle
      yield* Deferred.succeed(steps[0], undefined)
      yield* settle
      const soon = yield* shown
      yield* TestClock.adjust(1000)
      yield* settle
      yield* Deferred.succeed(steps[1], undefined)
      yield* settle
      const later = yield* shown
      yield* Deferred.succeed(steps[2], undefined)
      yield* settle

      assert.deepStrictEqual(soon, [{ ref: "post-1", texts: ["One"] }])
      assert.deepStrictEqual(later, [{ ref: "post-1", texts: ["One", "One two three"] }])
      assert.deepStrictEqual(yield* shown, [
        { ref: "post-1", texts: ["One", "One two three", "One two three four five."] }
      ])
      assert.deepStrictEqual(yield* sent, [])
      assert.deepStrictEqual(yield* said, ["One two three four five."])
    }).pipe(system(preview))
  )

  it.effect("is the one that the next process goes on to change", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      yield* Effect.andThen(submit("1", editing), settle).pipe(on(log, preview, [[...text("One two"), hang]]))
      yield* recovered.pipe(on(log, preview, ["Another answer."]))
      const row = yield* log.lookup({ tenant: local, identity: message("1", editing).identity })
      const trace = yield* log.message({ tenant: local, id: row!.id })

      assert.deepStrictEqual(
        trace?.deliveries.map(({ text: one, edits }) => [one, edits]),
        [["Another answer.", "post-1"]]
      )
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  it.effect("is given up when its channel refuses, and the answer is sent by itself", () =>
    Effect.gen(function* () {
      const more = yield* Deferred.make<void>()
      const recorded = yield* RecordingChannel.Recorded
      const { push } = yield* ScriptedModel.ModelScript
      const refused = new Channels.SendError({ channel: editing, kind: "permanent", detail: "not here" })
      recorded.failNext(editing, refused, false)
      push([...text("One"), wait(more), ...text(" two.")])
      yield* submit("1", editing)
      yield* settle
      yield* TestClock.adjust("1 minute")
      yield* Deferred.succeed(more, undefined)
      yield* settle

      assert.deepStrictEqual(yield* shown, [])
      assert.deepStrictEqual(yield* sent, ["One two."])
    }).pipe(system(preview))
  )

  it.effect("is replaced by a message of its own when it may not be changed any more", () =>
    Effect.gen(function* () {
      const more = yield* Deferred.make<void>()
      const recorded = yield* RecordingChannel.Recorded
      const { push } = yield* ScriptedModel.ModelScript
      push([...text("One"), wait(more), ...text(" two.")])
      yield* submit("1", editing)
      yield* settle
      recorded.failNext(
        editing,
        new Channels.SendError({ channel: editing, kind: "permanent", detail: "too old" }),
        false
      )
      yield* Deferred.succeed(more, undefined)
      yield* settle

      assert.deepStrictEqual(yield* sent, ["One two."])
    }).pipe(system(preview))
  )

  it.effect("is blocks where a channel cannot change what it has sent", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle

      assert.deepStrictEqual(yield* sent, ["The first sentence.", "And the second one."])
    }).pipe(system({ ...blocks, mode: "preview" }, [text("The first sentence. ", "And the second one.")]))
  )
})

describe("typing", () => {
  const at = Effect.map(RecordingChannel.Recorded, (recorded) => recorded.typing().map((one) => one.at))
  const talking = Effect.gen(function* () {
    const steps = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>(), Deferred.make<void>()])
    const { push } = yield* ScriptedModel.ModelScript
    push([wait(steps[0]), call("time.now")], [wait(steps[1]), ...text("It is"), wait(steps[2])])
    yield* submit("1")
    for (const step of steps) {
      yield* settle
      yield* TestClock.adjust(7000)
      yield* Deferred.succeed(step, undefined)
    }
    yield* settle
    yield* TestClock.adjust(60_000)
    return yield* at
  })

  it.effect("is shown from the run's beginning to its end, again and again", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* talking, [0, 6000, 12_000, 18_000])
    }).pipe(system({ typing: "instant" }))
  )

  it.effect("is shown from the model's first sign of life on", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* talking, [7000, 13_000, 19_000])
    }).pipe(system({ typing: "thinking" }))
  )

  it.effect("is shown from the first text on", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* talking, [14_000, 20_000])
    }).pipe(system({ typing: "message" }))
  )

  it.effect("is not shown to people who do not want it", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* talking, [])
    }).pipe(system({ typing: "instant", typing_by_channel: { "recording-keyed": "never" } }))
  )
})
