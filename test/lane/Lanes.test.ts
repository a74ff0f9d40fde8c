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
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { statusOf } from "#src/gateway/timeline.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import { ModelUnavailable } from "#src/model/Model.ts"
import * as Feed from "#src/outbound/Feed.ts"
import * as Outbound from "#src/outbound/Outbound.ts"
import * as Sessions from "#src/session/Sessions.ts"
import * as Tools from "#src/tool/Tools.ts"

const { call, fail, hang, text, wait } = ScriptedModel
const ada = "agent:main:ada" as SessionKey
const bob = "agent:main:bob" as SessionKey

const message = (id: string, changes: Partial<InboundMessage> = {}): InboundMessage => ({
  identity: {
    channel: "recording-keyed",
    account: "a",
    conversation: "c",
    thread: "",
    externalId: id,
    revision: 1
  },
  session: ada,
  ephemeral: false,
  sender: "ada",
  access: "owner",
  body: { text: `say ${id}` },
  ...changes
})

const submit = (id: string, changes: Partial<InboundMessage> = {}) =>
  Effect.flatMap(Inbound.Inbound, (inbound) => inbound.submit(message(id, changes)))
const said = (key: SessionKey = ada) =>
  Effect.flatMap(Sessions.Sessions, (sessions) =>
    Effect.map(sessions.messages(key, { limit: 100 }), ({ messages }) =>
      messages.map((one) => `${one.role}: ${one.content}`)
    )
  )
const outcomeOf = (id: string, key: SessionKey = ada) =>
  Effect.gen(function* () {
    const log = yield* MessageLog.MessageLog
    const row = yield* log.lookup({ tenant: local, identity: message(id, { session: key }).identity })
    return row?.outcome
  })
const listen = (key: SessionKey = ada) =>
  Effect.map(Feed.Feed, (feed) => {
    const events: Array<SessionEvent> = []
    feed.subscribe(key, (event) => void events.push(event))
    return events
  })
const to = (channel: string, id: string) => message(id, { identity: { ...message(id).identity, channel } })
const { settle } = TestSystem
/** One answer for one message, and the newest refused when there are too many, unless a test says otherwise. */
const inFollowup = (options: TestSystem.Options): TestSystem.Options => ({
  ...options,
  config: {
    ...options.config,
    queue: { mode: "followup", drop: "new", ...(options.config?.["queue"] as object | undefined) }
  }
})
const oneByOne = (options: TestSystem.Options = {}) => TestSystem.layer(inFollowup(options))
const oneByOneOn = (log: Layer.Layer<MessageLog.MessageLog>, options: TestSystem.Options) =>
  TestSystem.layerOn(log, inFollowup(options))
/** A new process on the log of an old one. */
const on = (log: MessageLog.MessageLog["Service"], options: TestSystem.Options) =>
  Effect.provide(oneByOneOn(Layer.succeed(MessageLog.MessageLog, log), options))

describe("Lanes", () => {
  it.effect("answers a session's messages one by one, in order", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2")
      yield* submit("3")
      yield* settle

      assert.deepStrictEqual(yield* said(), [
        "user: say 1",
        "user: say 2",
        "user: say 3",
        "assistant: one",
        "assistant: two",
        "assistant: three"
      ])
      const { requests } = yield* ScriptedModel.ModelScript
      assert.deepStrictEqual(
        requests()[2]!
          .messages.slice(1)
          .map((one) => one.text),
        ["say 1", "one", "say 2", "two", "say 3"]
      )
    }).pipe(Effect.provide(oneByOne({ script: ["one", "two", "three"] })))
  )

  it.effect("does not let a slow session hold up another", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle
      yield* submit("2", { session: bob })
      yield* settle

      assert.deepStrictEqual(yield* said(bob), ["user: say 2", "assistant: quick"])
    }).pipe(Effect.provide(oneByOne({ script: [[hang], "quick"] })))
  )

  it.effect("what is new does not wait behind all that an earlier process left open", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      const hanging = { script: () => [hang], config: { queue: { max_concurrency: 4 } } }
      yield* Effect.gen(function* () {
        for (let at = 0; at < 10; at++) {
          const session = `agent:main:old-${at}` as SessionKey
          yield* submit(`old ${at}`, { session })
        }
        yield* settle
      }).pipe(on(log, hanging))

      yield* Effect.gen(function* () {
        const found = yield* (yield* Lanes.Lanes).recover
        yield* settle
        yield* submit("new")
        yield* settle

        assert.strictEqual(found, 10)
        const { requests } = yield* ScriptedModel.ModelScript
        assert.deepStrictEqual(
          requests().map(({ messages }) => messages.at(-1)?.text),
          ["say old 0", "say old 1", "say old 2", "say new"]
        )
      }).pipe(on(log, hanging))
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  it.effect("runs at most as many at once as the budget allows", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2", { session: bob })
      yield* settle

      const { requests } = yield* ScriptedModel.ModelScript
      assert.lengthOf(requests(), 1)
    }).pipe(Effect.provide(oneByOne({ script: () => [hang], config: { queue: { max_concurrency: 1 } } })))
  )

  it.effect("refuses a message beyond the cap, typed, and stores nothing of it", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2")
      const refusal = yield* Effect.flip(submit("3"))

      assert.deepInclude(refusal, { _tag: "LaneFull", cap: 2 })
      assert.isUndefined(yield* outcomeOf("3"))
      assert.lengthOf(yield* said(), 2)
    }).pipe(Effect.provide(oneByOne({ script: () => [hang], config: { queue: { cap: 2 } } })))
  )

  it.effect("answers all of a long queue although the lane remembers only two", () =>
    Effect.gen(function* () {
      for (let count = 1; count <= 12; count++) yield* submit(String(count))
      yield* Effect.repeat(settle, { times: 5 })

      assert.deepStrictEqual(
        (yield* said()).filter((line) => line.startsWith("assistant")),
        Array.from({ length: 12 }, (_, index) => `assistant: to say ${index + 1}`)
      )
    }).pipe(
      Effect.provide(
        oneByOne({
          script: (request) => `to ${request.messages.at(-1)!.text}`,
          config: { queue: { lane_buffer: 2 } }
        })
      )
    )
  )

  it.effect("acknowledges a redelivered message again and answers it once", () =>
    Effect.gen(function* () {
      const first = yield* submit("1")
      yield* settle
      const again = yield* submit("1")
      yield* settle

      assert.deepStrictEqual(again, {
        messageId: first.messageId,
        seq: first.seq,
        duplicate: true,
        outcome: "answered"
      })
      assert.deepStrictEqual(yield* said(), ["user: say 1", "assistant: once"])
    }).pipe(Effect.provide(oneByOne({ script: ["once", "twice"] })))
  )

  it.effect("refuses an id that comes again with another text", () =>
    Effect.gen(function* () {
      yield* submit("1")
      const refusal = yield* Effect.flip(submit("1", { body: { text: "something else" } }))

      assert.strictEqual(refusal._tag, "IdReused")
    }).pipe(Effect.provide(oneByOne({ script: ["once"] })))
  )

  it.effect("keeps what was written when a run is cancelled, marked, and goes on with the next", () =>
    Effect.gen(function* () {
      const events = yield* listen()
      const first = yield* submit("1")
      yield* submit("2")
      yield* settle
      const lanes = yield* Lanes.Lanes
      assert.isTrue(yield* lanes.cancel(ada, first.messageId, "ada"))
      yield* settle

      const { messages } = yield* (yield* Sessions.Sessions).messages(ada, { limit: 10 })
      assert.deepInclude(
        messages.find((one) => one.content === "half of it"),
        { partial: "cancelled" }
      )
      assert.strictEqual(yield* outcomeOf("1"), "cancelled")
      assert.strictEqual(yield* outcomeOf("2"), "answered")
      assert.strictEqual((yield* ScriptedModel.ModelScript).interrupted(), 1)
      const told = events.find((event) => event._tag === "Outcome" && event.clientId === "1")
      assert.deepInclude(told, { outcome: "cancelled", by: "ada", partial: "half of it" })
    }).pipe(Effect.provide(oneByOne({ script: [[...text("half of it"), hang], "two"] })))
  )

  it.effect("cancels a waiting message without touching the run", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      ;(yield* ScriptedModel.ModelScript).push([wait(gate), ...text("one")], "three")
      yield* submit("1")
      const second = yield* submit("2")
      yield* submit("3")
      yield* settle
      yield* (yield* Lanes.Lanes).cancel(ada, second.messageId, "ada")
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      assert.deepStrictEqual(yield* Effect.all([outcomeOf("1"), outcomeOf("2"), outcomeOf("3")]), [
        "answered",
        "cancelled",
        "answered"
      ])
    }).pipe(Effect.provide(oneByOne()))
  )

  it.effect("stops the waiting messages and the run", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2")
      yield* settle
      yield* (yield* Lanes.Lanes).stop(ada, "ada")
      yield* settle

      assert.deepStrictEqual(yield* Effect.all([outcomeOf("1"), outcomeOf("2")]), ["cancelled", "cancelled"])
      assert.deepStrictEqual(yield* (yield* Lanes.Lanes).list, [])
    }).pipe(Effect.provide(oneByOne({ script: () => [hang] })))
  )

  it.effect(
    "goes on after two seconds without a run that ignores interruption, which can do nothing any more",
    () =>
      Effect.gen(function* () {
        const release = yield* Deferred.make<void>()
        const tools = yield* Tools.Tools
        yield* tools.register({
          spec: { name: "time.now", description: "", parameters: { type: "object" } },
          effects: "once",
          needsWorkspace: false,
          timeoutMillis: 3_600_000,
          run: () => Effect.uninterruptible(Effect.as(Deferred.await(release), "late"))
        })
        const first = yield* submit("1")
        yield* submit("2")
        yield* settle
        yield* (yield* Lanes.Lanes).cancel(ada, first.messageId, "ada")
        yield* settle
        yield* TestClock.adjust("3 seconds")
        yield* settle
        yield* Deferred.succeed(release, undefined)
        yield* settle

        assert.deepStrictEqual(yield* Effect.all([outcomeOf("1"), outcomeOf("2")]), ["cancelled", "answered"])
        const log = yield* MessageLog.MessageLog
        const entries = yield* log.entries({ tenant: local, session: ada, limit: 100 })
        const results = entries.flatMap(({ entry }) => (entry.kind === "tool" ? [entry.status] : []))
        assert.deepStrictEqual(results, ["interrupted"])
      }).pipe(Effect.provide(oneByOne({ script: [[call("time.now")], "two"] })))
  )

  it.effect("tells the sender when the model fails, and answers the next message", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2")
      yield* settle

      assert.deepStrictEqual(yield* said(), [
        "user: say 1",
        "user: say 2",
        "system: the provider failed (500)",
        "assistant: fine"
      ])
      assert.strictEqual(yield* outcomeOf("1"), "failed")
      const parcels = (yield* RecordingChannel.Recorded).parcels().map((parcel) => parcel.text)
      assert.deepStrictEqual(parcels, ["I could not answer: the provider failed (500).", "fine"])
      const { requests } = yield* ScriptedModel.ModelScript
      assert.isFalse(requests()[1]!.messages.some((one) => one.text.includes("failed")))
    }).pipe(
      Effect.provide(
        oneByOne({ script: [[fail(new ModelUnavailable({ status: 500, detail: "" }))], "fine"] })
      )
    )
  )

  it.effect("ends a run whose answer is empty as silent and sends nothing", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle

      assert.strictEqual(yield* outcomeOf("1"), "silent")
      assert.lengthOf((yield* RecordingChannel.Recorded).parcels(), 0)
    }).pipe(Effect.provide(oneByOne({ script: [""] })))
  )

  it.effect("refuses with a typed error while the disk is full, acknowledges nothing, and recovers", () =>
    Effect.gen(function* () {
      const faults = yield* MemoryMessageLog.MemoryLogFaults
      yield* faults.failNext(new MessageLog.StoreFull({}))
      const refusal = yield* Effect.flip(submit("1"))
      assert.deepInclude(refusal, { _tag: "NotAccepting", code: "store_full" })
      assert.lengthOf(yield* said(), 0)

      yield* submit("1")
      yield* settle
      assert.deepStrictEqual(yield* said(), ["user: say 1", "assistant: after all"])
    }).pipe(Effect.provide(oneByOne({ script: ["after all"] })))
  )

  it.effect("begins a run again when the store refused its answer", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      ;(yield* ScriptedModel.ModelScript).push([...text("first"), wait(gate)], "second")
      yield* submit("1")
      yield* settle
      yield* (yield* MemoryMessageLog.MemoryLogFaults).failNext(new MessageLog.StoreFull({}))
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* TestClock.adjust("1 minute")
      yield* settle

      assert.deepStrictEqual(yield* said(), ["user: say 1", "assistant: second"])
      assert.strictEqual(yield* outcomeOf("1"), "answered")
    }).pipe(Effect.provide(oneByOne()))
  )

  it.effect("leaves what does not end in time for the next process, which answers it", () =>
    Effect.gen(function* () {
      const log = yield* Effect.gen(function* () {
        yield* submit("1")
        yield* submit("2")
        yield* settle
        const draining = yield* Effect.forkChild((yield* Lanes.Lanes).drain(1000), { startImmediately: true })
        yield* TestClock.adjust("2 seconds")
        yield* settle
        assert.isDefined(draining.pollUnsafe())
        assert.isUndefined(yield* outcomeOf("1"))
        return yield* MessageLog.MessageLog
      }).pipe(Effect.provide(oneByOne({ script: () => [hang] })))

      yield* Effect.gen(function* () {
        assert.strictEqual(yield* (yield* Lanes.Lanes).recover, 1)
        yield* settle
        assert.deepStrictEqual((yield* said()).slice(2), ["assistant: one", "assistant: two"])
      }).pipe(on(log, { script: ["one", "two"] }))
    })
  )

  it.effect("goes on after the last committed step, running again only what may run twice", () =>
    Effect.gen(function* () {
      const log = yield* Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        return yield* MessageLog.MessageLog
      }).pipe(Effect.provide(oneByOne({ script: [[call("time.now", {}, "t1")], [hang]] })))

      yield* Effect.gen(function* () {
        yield* (yield* Lanes.Lanes).recover
        yield* settle
        const { requests } = yield* ScriptedModel.ModelScript
        assert.deepStrictEqual(
          requests()[0]!.messages.map((one) => one.role),
          ["system", "user", "assistant", "tool"]
        )
        const trace = yield* (yield* Sessions.Sessions).trace(local, (yield* submit("1")).messageId)
        assert.strictEqual(trace?.run?.attempt, 2)
        assert.deepStrictEqual(
          trace?.entries.map(({ entry }) => entry.kind),
          ["assistant", "tool", "assistant"]
        )
      }).pipe(on(log, { script: ["it is late"] }))
    })
  )

  it.effect("gives a message up after three attempts without progress, and says so", () =>
    Effect.gen(function* () {
      let log: MessageLog.MessageLog["Service"] | undefined
      for (let start = 1; start <= 4; start++) {
        const process = Effect.gen(function* () {
          if (log === undefined) yield* submit("1")
          else yield* (yield* Lanes.Lanes).recover
          yield* settle
          if (start === 4) assert.strictEqual(yield* outcomeOf("1"), "failed")
          return yield* MessageLog.MessageLog
        })
        log = yield* log === undefined
          ? Effect.provide(process, oneByOne({ script: () => [hang] }))
          : on(log, { script: () => [hang] })(process)
      }
    })
  )

  it.effect("says nothing durable before it is durable", () =>
    Effect.gen(function* () {
      const events = yield* listen()
      const log = yield* MessageLog.MessageLog
      const early: Array<string> = []
      const feed = yield* Feed.Feed
      feed.subscribe(ada, (event) => {
        if (event._tag !== "Message") return
        const entries = Effect.runSync(log.entries({ tenant: local, session: ada, limit: 10 }))
        if (!entries.some((row) => row.id === event.id)) early.push(event.id)
      })
      yield* submit("1")
      yield* settle

      assert.deepStrictEqual(early, [])
      assert.deepStrictEqual(
        events.map((event) => event._tag),
        ["User", "Run", "Typing", "Delta", "Message", "Outcome", "Typing", "Run"]
      )
    }).pipe(Effect.provide(oneByOne({ script: ["hello"] })))
  )
})

describe("Lanes, by queue mode", () => {
  const inMode = (mode: string, script: TestSystem.Options["script"] = []) =>
    oneByOne({ script, config: { queue: { mode, debounce_ms: 1000 } } })
  const trace = (id: string) =>
    Effect.gen(function* () {
      const log = yield* MessageLog.MessageLog
      const row = yield* log.lookup({ tenant: local, identity: message(id).identity })
      const outcome: string | undefined = row?.outcome
      return { outcome, by: row?.outcomeBy }
    })

  it.effect("steer: who waits beside a cancelled message is not lost with it", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      ;(yield* ScriptedModel.ModelScript).push([wait(gate), ...text("one")], "three")
      yield* submit("1")
      yield* settle
      const second = yield* submit("2")
      yield* submit("3")
      yield* (yield* Lanes.Lanes).cancel(ada, second.messageId, "ada")
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      const outcomes = yield* Effect.forEach(["1", "2", "3"], trace)
      assert.deepStrictEqual(
        outcomes.map((one) => one.outcome),
        ["answered", "cancelled", "answered"]
      )
    }).pipe(Effect.provide(inMode("steer")))
  )

  it.effect("collect: what came while a run went is answered together, after a quiet second", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { push, requests } = yield* ScriptedModel.ModelScript
      push([...text("one"), wait(gate)], "two and three")
      const events = yield* listen()
      yield* submit("1")
      yield* settle
      const second = yield* submit("2")
      const third = yield* submit("3")
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.lengthOf(requests(), 1)
      yield* TestClock.adjust("2 seconds")
      yield* settle

      assert.deepStrictEqual((yield* said()).slice(3), ["assistant: one", "assistant: two and three"])
      assert.deepStrictEqual(
        requests()[1]!
          .messages.slice(1)
          .map((one) => one.text),
        ["say 1", "one", "say 2", "say 3"]
      )
      assert.deepInclude(yield* trace("2"), { outcome: "merged", by: third.messageId })
      assert.deepInclude(yield* trace("3"), { outcome: "answered" })
      const answer = events.findLast((event) => event._tag === "Message")
      assert.deepInclude(answer, { answers: ["2", "3"], messageIds: [second.messageId, third.messageId] })
      const parcels = (yield* RecordingChannel.Recorded).parcels().map((parcel) => parcel.text)
      assert.deepStrictEqual(parcels, ["one", "two and three"])
      const status = statusOf((yield* (yield* Sessions.Sessions).trace(local, third.messageId))!)
      assert.deepStrictEqual(status.queue_collected_messages, [second.messageId, third.messageId])
    }).pipe(Effect.provide(inMode("collect")))
  )

  it.effect("collect: a stranger's text is never answered with an owner's", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { push } = yield* ScriptedModel.ModelScript
      push([...text("one"), wait(gate)], "two", "three")
      yield* submit("1")
      yield* settle
      yield* submit("2")
      yield* submit("3", { access: "guest", sender: "eve" })
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* settle

      assert.deepStrictEqual((yield* said()).slice(3), [
        "assistant: one",
        "assistant: two",
        "assistant: three"
      ])
    }).pipe(Effect.provide(inMode("collect")))
  )

  it.effect("steer: is read by the running agent at its next model call and answered with it", () =>
    Effect.gen(function* () {
      const { push, requests } = yield* ScriptedModel.ModelScript
      const gate = yield* Deferred.make<void>()
      push([wait(gate), call("time.now", {}, "t1")], "both answered")
      const events = yield* listen()
      const first = yield* submit("1")
      yield* settle
      yield* submit("2")
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      assert.deepStrictEqual(
        requests()[1]!
          .messages.slice(1)
          .map((one) => [one.role, one.text.slice(0, 8)]),
        [
          ["user", "say 1"],
          ["assistant", ""],
          ["tool", "Skipped:"],
          ["user", "say 2"]
        ]
      )
      assert.deepInclude(yield* trace("2"), { outcome: "steered", by: first.messageId })
      assert.deepInclude(
        events.find((event) => event._tag === "Message"),
        { answers: ["1", "2"] }
      )
      assert.deepInclude(
        events.find((event) => event._tag === "Outcome" && event.clientId === "2"),
        { outcome: "steered", by: first.messageId }
      )
      const { messages } = yield* (yield* Sessions.Sessions).messages(ada, { limit: 10 })
      assert.deepStrictEqual(messages.at(-1)?.answers, ["1", "2"])
      assert.deepStrictEqual(yield* (yield* Lanes.Lanes).list, [])
    }).pipe(Effect.provide(inMode("steer")))
  )

  it.effect(
    "steer: what an earlier process steered in is answered, live too, by the process that ends the run",
    () =>
      Effect.gen(function* () {
        const log = yield* Effect.gen(function* () {
          const { push } = yield* ScriptedModel.ModelScript
          const gate = yield* Deferred.make<void>()
          push([wait(gate), call("time.now", {}, "t1")], [call("time.now", {}, "t2")], [hang])
          yield* submit("1")
          yield* settle
          yield* submit("2")
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.strictEqual((yield* trace("2"))?.outcome, "steered")
          return yield* MessageLog.MessageLog
        }).pipe(Effect.provide(inMode("steer")))

        yield* Effect.gen(function* () {
          const events = yield* listen()
          yield* (yield* Lanes.Lanes).recover
          yield* settle

          assert.deepInclude(
            events.find((event) => event._tag === "Message"),
            { answers: ["1", "2"] }
          )
        }).pipe(on(log, { script: ["both answered"] }))
      })
  )

  it.effect("steer: the next turn's prompt begins byte for byte as this one's", () =>
    Effect.gen(function* () {
      const { push, requests } = yield* ScriptedModel.ModelScript
      const gate = yield* Deferred.make<void>()
      push([wait(gate), call("time.now", {}, "t1")], "both answered", "next")
      yield* submit("1")
      yield* settle
      yield* submit("2")
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* submit("3")
      yield* settle

      const before = requests()[1]!.messages
      assert.deepStrictEqual(requests()[2]!.messages.slice(0, before.length), [...before])
    }).pipe(Effect.provide(inMode("steer")))
  )

  it.effect("steer: what met no boundary any more is answered by one next run", () =>
    Effect.gen(function* () {
      const { push } = yield* ScriptedModel.ModelScript
      const gate = yield* Deferred.make<void>()
      push([...text("one"), wait(gate)], "the rest")
      yield* submit("1")
      yield* settle
      yield* submit("2")
      yield* submit("3")
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      assert.deepStrictEqual((yield* said()).slice(3), ["assistant: one", "assistant: the rest"])
      assert.deepStrictEqual(
        [(yield* trace("2")).outcome, (yield* trace("3")).outcome],
        ["merged", "answered"]
      )
    }).pipe(Effect.provide(inMode("steer")))
  )

  it.effect("steer: what a failed run had read is still answered", () =>
    Effect.gen(function* () {
      const { push } = yield* ScriptedModel.ModelScript
      const gate = yield* Deferred.make<void>()
      push(
        [wait(gate), call("time.now")],
        [fail(new ModelUnavailable({ status: 500, detail: "" }))],
        "after all"
      )
      yield* submit("1")
      yield* settle
      yield* submit("2")
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      assert.deepStrictEqual(
        [(yield* trace("1")).outcome, (yield* trace("2")).outcome],
        ["failed", "answered"]
      )
      assert.strictEqual((yield* said()).at(-1), "assistant: after all")
    }).pipe(Effect.provide(inMode("steer")))
  )

  it.effect("interrupt: the newest runs at once, the text so far stays, marked", () =>
    Effect.gen(function* () {
      const { push, interrupted } = yield* ScriptedModel.ModelScript
      push([...text("long story"), hang], "new topic")
      yield* submit("1")
      yield* settle
      const second = yield* submit("2")
      yield* settle

      assert.strictEqual(interrupted(), 1)
      assert.deepInclude(yield* trace("1"), { outcome: "interrupted", by: second.messageId })
      const { messages } = yield* (yield* Sessions.Sessions).messages(ada, { limit: 10 })
      assert.deepInclude(
        messages.find((one) => one.content === "long story"),
        { partial: "interrupted" }
      )
      assert.strictEqual(messages.at(-1)?.content, "new topic")
    }).pipe(Effect.provide(inMode("interrupt")))
  )

  it.effect(
    "interrupt: of many that come at once the last is answered and each of the others is interrupted",
    () =>
      Effect.gen(function* () {
        for (let count = 1; count <= 8; count++) yield* submit(String(count))
        yield* Effect.repeat(settle, { times: 3 })

        const outcomes = yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], (one) => trace(String(one)))
        assert.deepStrictEqual(
          outcomes.map((one) => one.outcome),
          [...Array.from({ length: 7 }, () => "interrupted"), "answered"]
        )
      }).pipe(Effect.provide(inMode("interrupt", (request) => `to ${request.messages.at(-1)!.text}`)))
  )

  for (const mode of ["collect", "followup", "steer", "interrupt"]) {
    it.effect(`${mode}: a restart keeps what was promised to each message`, () =>
      Effect.gen(function* () {
        const log = yield* Effect.gen(function* () {
          for (const id of ["1", "2", "3"]) yield* submit(id)
          yield* settle
          return yield* MessageLog.MessageLog
        }).pipe(Effect.provide(inMode(mode, () => [hang])))

        yield* Effect.gen(function* () {
          yield* (yield* Lanes.Lanes).recover
          for (let second = 0; second < 5; second++) {
            yield* settle
            yield* TestClock.adjust("1 second")
          }
          yield* settle
          const outcomes = yield* Effect.forEach(["1", "2", "3"], (id) =>
            Effect.map(trace(id), (one) => one.outcome)
          )
          const expected = {
            collect: ["answered", "merged", "answered"],
            followup: ["answered", "answered", "answered"],
            steer: ["answered", "merged", "answered"],
            interrupt: ["interrupted", "interrupted", "answered"]
          }
          assert.deepStrictEqual(outcomes, expected[mode as "collect"])
        }).pipe(on(log, { script: () => "done", config: { queue: { mode } } }))
      })
    )
  }
})

describe("a call that somebody has to be asked for", () => {
  const doors: Array<unknown> = []
  const door = Tools.layerRegister([
    {
      spec: { name: "door.open", description: "Opens a door", parameters: { type: "object" } },
      effects: "once",
      needsWorkspace: false,
      timeoutMillis: 60_000,
      run: (args) =>
        Effect.as(
          Effect.sync(() => doors.push(args)),
          "open"
        )
    }
  ])
  const config = (changes: Readonly<Record<string, unknown>> = {}) => ({
    general: { model: "demo/demo", tools: ["door.open", "time.now"], ask_before: ["door.open"] },
    ...changes
  })
  const system = (script: TestSystem.Options["script"], changes: Readonly<Record<string, unknown>> = {}) =>
    Layer.provideMerge(door, oneByOne({ script: script ?? [], config: config(changes) }))
  const goesOn = (log: MessageLog.MessageLog["Service"], script: TestSystem.Options["script"]) =>
    Effect.provide(
      Layer.provideMerge(
        door,
        oneByOneOn(Layer.succeed(MessageLog.MessageLog, log), {
          script: script ?? [],
          config: config()
        })
      )
    )
  const asks = [[call("door.open", { door: 1 }, "d1")], "the door is done"]
  const waiting = (key: SessionKey = ada) =>
    Effect.flatMap(MessageLog.MessageLog, (log) => log.approvals({ tenant: local, session: key, limit: 9 }))
  const phase = Effect.map(
    Effect.flatMap(Lanes.Lanes, ({ list }) => list),
    ([lane]) => lane?.phase
  )
  const statuses = (id: string) =>
    Effect.map(
      Effect.flatMap(Sessions.Sessions, (sessions) =>
        Effect.flatMap(submit(id), (m) => sessions.trace(local, m.messageId))
      ),
      (found) => found?.entries.flatMap(({ entry }) => (entry.kind === "tool" ? [entry.status] : []))
    )
  const decide = (decision: "approved" | "denied", id?: string) =>
    Effect.gen(function* () {
      const [row] = yield* waiting()
      return yield* (yield* Lanes.Lanes).resolve(
        local,
        id === undefined ? row!.id : (id as never),
        decision,
        "ada"
      )
    })
  const fresh = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.andThen(
      Effect.sync(() => (doors.length = 0)),
      effect
    )

  it.effect("parks its run, asks in words, and gives the permit to others", () =>
    fresh(
      Effect.gen(function* () {
        const events = yield* listen()
        yield* submit("1")
        yield* settle

        assert.strictEqual(yield* phase, "parked")
        assert.lengthOf(doors, 0)
        const [row] = yield* waiting()
        assert.deepInclude(row, { tool: "door.open", arguments: '{"door":1}', callId: "d1" })
        const asked = events.find((event) => event._tag === "Approval")
        assert.deepInclude(asked, { id: row!.id, state: "pending" })
        const [parcel] = (yield* RecordingChannel.Recorded).parcels()
        assert.include(parcel?.text, `/approve ${row!.id}`)
        const { push } = yield* ScriptedModel.ModelScript
        push("hello bob")
        yield* submit("2", { session: bob })
        yield* settle
        assert.strictEqual(yield* outcomeOf("2", bob), "answered")
      })
    ).pipe(Effect.provide(system([asks[0]!], { queue: { max_concurrency: 1 } })))
  )

  it.effect("is made once when it is approved, by a command too, and the answer follows", () =>
    fresh(
      Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        yield* submit("2", { body: { text: "/approve" } })
        yield* settle

        assert.deepStrictEqual(doors, [{ door: 1 }])
        assert.deepStrictEqual(yield* statuses("1"), ["ok"])
        assert.strictEqual(yield* outcomeOf("1"), "answered")
        assert.include((yield* said()).at(-1), "the door is done")
        assert.deepStrictEqual(yield* waiting(), [])
        assert.deepStrictEqual(yield* (yield* Lanes.Lanes).list, [])
      })
    ).pipe(Effect.provide(system(asks)))
  )

  it.effect("is not made when it is denied; the model is told and answers", () =>
    fresh(
      Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        assert.strictEqual(yield* decide("denied"), "denied")
        yield* settle

        assert.lengthOf(doors, 0)
        assert.deepStrictEqual(yield* statuses("1"), ["denied"])
        assert.strictEqual(yield* outcomeOf("1"), "answered")
      })
    ).pipe(Effect.provide(system(asks)))
  )

  it.effect("expires when nobody decides", () =>
    fresh(
      Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        yield* TestClock.adjust("59 seconds")
        yield* settle
        assert.strictEqual(yield* phase, "parked")
        yield* TestClock.adjust("1 second")
        yield* settle

        assert.lengthOf(doors, 0)
        assert.deepStrictEqual(yield* statuses("1"), ["denied"])
        assert.strictEqual(yield* outcomeOf("1"), "answered")
      })
    ).pipe(Effect.provide(system(asks, { approval: { timeout_s: 60 } })))
  )

  it.effect("is decided once: a second decision changes nothing, and a stranger's none", () =>
    fresh(
      Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        const [row] = yield* waiting()
        yield* submit("2", { access: "member", body: { text: `/approve ${row!.id}` } })
        yield* settle
        assert.lengthOf(yield* waiting(), 1)
        assert.strictEqual(yield* decide("denied"), "denied")
        assert.strictEqual(yield* decide("approved", row!.id), "denied")
        assert.isUndefined(yield* decide("approved", "nobody"))
        yield* settle

        assert.lengthOf(doors, 0)
      })
    ).pipe(Effect.provide(system(asks)))
  )

  it.effect("is given up when a newer message interrupts its run, which runs at once", () =>
    fresh(
      Effect.gen(function* () {
        const events = yield* listen()
        yield* submit("1")
        yield* settle
        const [row] = yield* waiting()
        yield* submit("2", { body: { text: "/queue interrupt never mind" } })
        yield* settle

        assert.strictEqual(yield* outcomeOf("1"), "interrupted")
        assert.strictEqual(yield* decide("approved", row!.id), "cancelled")
        assert.deepInclude(
          events.findLast((event) => event._tag === "Approval"),
          { id: row!.id, state: "cancelled" }
        )
        yield* settle
        assert.lengthOf(doors, 0)
        assert.deepStrictEqual(yield* statuses("1"), ["interrupted"])
        assert.include((yield* said()).at(-1), "the door is done")
      })
    ).pipe(Effect.provide(system(asks)))
  )

  it.effect("lets other messages queue behind it, in every other mode, and they run after it", () =>
    fresh(
      Effect.gen(function* () {
        const { push } = yield* ScriptedModel.ModelScript
        push("to the second", "to the third")
        yield* submit("1")
        yield* settle
        yield* submit("2", { body: { text: "/queue followup second" } })
        yield* submit("3", { body: { text: "/queue followup third" } })
        yield* settle
        assert.isUndefined(yield* outcomeOf("2"))
        yield* decide("approved")
        yield* settle

        assert.deepStrictEqual((yield* said()).slice(-3), [
          "assistant: the door is done",
          "assistant: to the second",
          "assistant: to the third"
        ])
      })
    ).pipe(Effect.provide(system(asks)))
  )

  it.effect(
    "still waits after a restart, with the time that is left, and is made once when approved then",
    () =>
      fresh(
        Effect.gen(function* () {
          const log = yield* Effect.gen(function* () {
            yield* submit("1")
            yield* settle
            return yield* MessageLog.MessageLog
          }).pipe(Effect.provide(system([asks[0]!])))

          yield* Effect.gen(function* () {
            yield* (yield* Lanes.Lanes).recover
            yield* settle
            assert.strictEqual(yield* phase, "parked")
            yield* decide("approved")
            yield* settle
            assert.deepStrictEqual(doors, [{ door: 1 }])
            assert.strictEqual(yield* outcomeOf("1"), "answered")
          }).pipe(goesOn(log, ["done"]))
        })
      )
  )

  it.effect("expires after a restart too", () =>
    fresh(
      Effect.gen(function* () {
        const log = yield* Effect.gen(function* () {
          yield* submit("1")
          yield* settle
          return yield* MessageLog.MessageLog
        }).pipe(Effect.provide(system([asks[0]!])))

        yield* TestClock.adjust("3599 seconds")
        yield* Effect.gen(function* () {
          yield* (yield* Lanes.Lanes).recover
          yield* settle
          assert.strictEqual(yield* phase, "parked")
          yield* TestClock.adjust("1 second")
          yield* settle
          assert.deepStrictEqual(yield* statuses("1"), ["denied"])
        }).pipe(goesOn(log, ["done"]))
      })
    )
  )

  it.effect("that was approved and may have been made when the process died is not made again", () =>
    fresh(
      Effect.gen(function* () {
        const log = yield* Effect.gen(function* () {
          yield* submit("1")
          yield* settle
          const log = yield* MessageLog.MessageLog
          const [row] = yield* waiting()
          const { place, runId, id } = row!
          // The process dies between the start of the resumed attempt and the tool's result.
          yield* log.commit({ _tag: "Decide", place, approvalId: id, decision: "approved", by: "ada", at: 1 })
          const messageIds = [(yield* submit("1")).messageId]
          yield* log.commit({ _tag: "Start", place, runId, messageIds, at: 2 })
          return log
        }).pipe(Effect.provide(system([asks[0]!])))

        yield* Effect.gen(function* () {
          yield* (yield* Lanes.Lanes).recover
          yield* settle
          assert.lengthOf(doors, 0)
          assert.deepStrictEqual(yield* statuses("1"), ["uncertain"])
          assert.strictEqual(yield* outcomeOf("1"), "answered")
        }).pipe(goesOn(log, ["done"]))
      })
    )
  )
})

describe("a full session", () => {
  const full = (drop: string, script: TestSystem.Options["script"] = []) =>
    oneByOne({ script, config: { queue: { drop, cap: 3 } } })
  const busy = Effect.gen(function* () {
    const gate = yield* Deferred.make<void>()
    const { push } = yield* ScriptedModel.ModelScript
    push([...text("one"), wait(gate)])
    yield* submit("1")
    yield* settle
    for (const id of ["2", "3", "4", "5"]) yield* submit(id)
    return Deferred.succeed(gate, undefined)
  })

  it.effect("old: the oldest waiting give way and their senders are told once, in words", () =>
    Effect.gen(function* () {
      const events = yield* listen()
      const go = yield* busy
      ;(yield* ScriptedModel.ModelScript).push("four", "five")
      yield* go
      yield* settle

      assert.deepStrictEqual((yield* said()).slice(5), [
        "assistant: one",
        "assistant: four",
        "assistant: five"
      ])
      assert.deepStrictEqual(yield* Effect.forEach(["1", "2", "3", "4", "5"], (id) => outcomeOf(id)), [
        "answered",
        "dropped",
        "dropped",
        "answered",
        "answered"
      ])
      const told = events.filter((event) => event._tag === "Outcome" && event.outcome === "dropped")
      assert.lengthOf(told, 2)
      const parcels = (yield* RecordingChannel.Recorded).parcels().map((parcel) => parcel.text)
      assert.lengthOf(
        parcels.filter((one) => one.includes("dropped")),
        2
      )
      assert.deepStrictEqual(
        parcels.filter((one) => !one.includes("dropped")),
        ["one", "four", "five"]
      )
    }).pipe(Effect.provide(full("old")))
  )

  it.effect("summarize: the next run is told in short what gave way, and later turns keep it", () =>
    Effect.gen(function* () {
      const go = yield* busy
      const { push, requests } = yield* ScriptedModel.ModelScript
      push("four", "five")
      yield* go
      yield* settle

      const log = yield* MessageLog.MessageLog
      const row = yield* log.lookup({ tenant: local, identity: message("4").identity })
      const status = statusOf((yield* log.message({ tenant: local, id: row!.id }))!)
      assert.lengthOf(status.queue_dropped_messages ?? [], 2)
      const prompt = requests()[1]!.messages.map((one) => one.text)
      assert.deepStrictEqual([prompt[1], prompt[2], prompt.at(-1)], ["say 1", "one", "say 4"])
      assert.include(prompt[3], "say 2")
      assert.include(prompt[3], "say 3")
      assert.deepStrictEqual(
        requests()[2]!
          .messages.slice(0, prompt.length)
          .map((one) => one.text),
        prompt
      )
    }).pipe(Effect.provide(full("summarize")))
  )

  it.effect("new: the newest is refused with its typed reason", () =>
    Effect.gen(function* () {
      const gate = yield* Effect.exit(busy)

      assert.isTrue(gate._tag === "Failure")
      assert.isUndefined(yield* outcomeOf("4"))
    }).pipe(Effect.provide(full("new", () => [hang])))
  )
})

describe("/queue", () => {
  const typed = (id: string, words: string, changes: Partial<InboundMessage> = {}) =>
    submit(id, { body: { text: words }, ...changes })

  it.effect("is answered at once while a run goes, starts no run and is never told to the model", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { push, requests } = yield* ScriptedModel.ModelScript
      push([...text("one"), wait(gate)], "two")
      yield* submit("1")
      yield* settle
      yield* typed("q", "/queue interrupt cap:5")
      yield* settle
      assert.strictEqual(yield* outcomeOf("q"), "answered")
      assert.include((yield* said()).at(-1), "interrupt")
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* submit("2")
      yield* settle

      assert.deepStrictEqual(
        requests()[1]!
          .messages.slice(1)
          .map((one) => one.text),
        ["say 1", "one", "say 2"]
      )
      const parcels = (yield* RecordingChannel.Recorded).parcels().map((parcel) => parcel.text)
      assert.include(parcels[0], "interrupt")
    }).pipe(Effect.provide(oneByOne()))
  )

  it.effect("holds for its session, over a restart, until it is reset", () =>
    Effect.gen(function* () {
      const log = yield* Effect.gen(function* () {
        yield* typed("q", "/queue interrupt")
        yield* settle
        return yield* MessageLog.MessageLog
      }).pipe(Effect.provide(oneByOne()))

      yield* Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        yield* submit("2")
        yield* settle
        assert.strictEqual(yield* outcomeOf("1"), "interrupted")
        yield* typed("r", "/queue reset")
        yield* settle
        yield* submit("3")
        yield* settle
        assert.isUndefined(yield* outcomeOf("2"))
      }).pipe(on(log, { script: () => [hang] }))
    })
  )

  it.effect("within a text holds for that message, and the agent is given the text without it", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle
      yield* typed("2", "/queue interrupt no, the other one")
      yield* settle

      assert.strictEqual(yield* outcomeOf("1"), "interrupted")
      const { requests } = yield* ScriptedModel.ModelScript
      assert.strictEqual(requests().at(-1)!.messages.at(-1)!.text, "no, the other one")
    }).pipe(Effect.provide(oneByOne({ script: () => [hang] })))
  )

  it.effect("is not for strangers", () =>
    Effect.gen(function* () {
      yield* typed("q", "/queue interrupt", { access: "guest", sender: "eve" })
      yield* settle

      assert.include((yield* said()).at(-1), "may not")
      yield* submit("1")
      yield* settle
      yield* submit("2")
      yield* settle
      assert.isUndefined(yield* outcomeOf("1"))
    }).pipe(Effect.provide(oneByOne({ script: () => [hang] })))
  )

  it.effect("that a killed process left open is carried out by the next one, not answered by a model", () =>
    Effect.gen(function* () {
      const memory = yield* Effect.gen(function* () {
        const log = yield* MessageLog.MessageLog
        // As a process that dies between accepting and answering leaves it.
        const stuck = MessageLog.MessageLog.of({
          ...log,
          commit: (unit) => (unit._tag === "Finish" ? Effect.never : log.commit(unit))
        })
        yield* Effect.gen(function* () {
          yield* typed("q", "/queue steer")
          yield* settle
        }).pipe(on(stuck, {}))
        return log
      }).pipe(Effect.provide(oneByOne()))

      yield* Effect.gen(function* () {
        yield* (yield* Lanes.Lanes).recover
        yield* settle
        assert.strictEqual(yield* outcomeOf("q"), "answered")
        assert.lengthOf((yield* ScriptedModel.ModelScript).requests(), 0)
      }).pipe(on(memory, {}))
    })
  )
})

describe("Outbound", () => {
  it.effect("tries a transient failure again, in order, and sends nothing twice", () =>
    Effect.gen(function* () {
      const recorded = yield* RecordingChannel.Recorded
      recorded.failNext(
        "recording-keyed",
        new Channels.SendError({ channel: "x", kind: "transient", detail: "later" }),
        false
      )
      yield* submit("1")
      yield* submit("2")
      yield* settle
      assert.lengthOf(recorded.parcels(), 0)
      yield* TestClock.adjust("2 seconds")
      yield* settle

      assert.deepStrictEqual(
        recorded.parcels().map((parcel) => parcel.text),
        ["one", "two"]
      )
    }).pipe(Effect.provide(oneByOne({ script: ["one", "two"] })))
  )

  it.effect("buries a refused part and sends the rest", () =>
    Effect.gen(function* () {
      const recorded = yield* RecordingChannel.Recorded
      recorded.failNext(
        "recording-keyed",
        new Channels.SendError({ channel: "x", kind: "permanent", detail: "gone" }),
        false
      )
      const first = yield* submit("1")
      yield* submit("2")
      yield* settle

      assert.deepStrictEqual(
        recorded.parcels().map((parcel) => parcel.text),
        ["two"]
      )
      const trace = yield* (yield* Sessions.Sessions).trace(local, first.messageId)
      assert.strictEqual(trace?.deliveries[0]?.state, "dead")
    }).pipe(Effect.provide(oneByOne({ script: ["one", "two"] })))
  )

  for (const [channel, arrives, expected] of [
    ["recording-keyed", true, ["sent", 1]],
    ["recording-probe", true, ["sent", 1]],
    ["recording-blind", true, ["uncertain", 1]]
  ] as const) {
    it.effect(`knows what to do on ${channel} when a send has no receipt`, () =>
      Effect.gen(function* () {
        const recorded = yield* RecordingChannel.Recorded
        recorded.failNext(
          channel,
          new Channels.SendError({ channel, kind: "uncertain", detail: "cut off" }),
          arrives
        )
        const inbound = yield* Inbound.Inbound
        const accepted = yield* inbound.submit(to(channel, "1"))
        yield* settle
        yield* TestClock.adjust("1 minute")
        yield* settle

        const trace = yield* (yield* Sessions.Sessions).trace(local, accepted.messageId)
        assert.deepStrictEqual([trace?.deliveries[0]?.state, recorded.parcels().length], [...expected])
      }).pipe(Effect.provide(oneByOne({ script: ["one"] })))
    )
  }

  it.effect("sends after a restart what an earlier process had committed and not sent", () =>
    Effect.gen(function* () {
      const log = yield* Effect.gen(function* () {
        const recorded = yield* RecordingChannel.Recorded
        recorded.failNext(
          "recording-keyed",
          new Channels.SendError({ channel: "x", kind: "transient", detail: "later" }),
          false
        )
        yield* submit("1")
        yield* settle
        return yield* MessageLog.MessageLog
      }).pipe(Effect.provide(oneByOne({ script: ["one"] })))

      yield* Effect.gen(function* () {
        assert.strictEqual(yield* (yield* Outbound.Outbound).recover, 1)
        yield* settle
        const parcels = (yield* RecordingChannel.Recorded).parcels()
        assert.deepStrictEqual(
          parcels.map((parcel) => parcel.text),
          ["one"]
        )
      }).pipe(on(log, {}))
    })
  )

  it.effect("cuts a long answer into parts the channel takes, in order", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle

      const parcels = (yield* RecordingChannel.Recorded).parcels()
      assert.isAbove(parcels.length, 2)
      assert.isTrue(parcels.every((parcel) => parcel.text.length <= 4000))
      assert.strictEqual(parcels.map((parcel) => parcel.text).join(" "), "word ".repeat(2000).trim())
    }).pipe(Effect.provide(oneByOne({ script: ["word ".repeat(2000).trim()] })))
  )
})
