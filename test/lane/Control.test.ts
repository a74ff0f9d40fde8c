/** What people do to lanes while they work, and what lanes do about runs that do not get on. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import * as Checks from "#src/check/Checks.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { statusOf } from "#src/gateway/timeline.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import * as Sessions from "#src/session/Sessions.ts"
import * as Tools from "#src/tool/Tools.ts"

const { call, hang, text, wait } = ScriptedModel
const { settle } = TestSystem
const ada = "agent:main:ada" as SessionKey
const bob = "agent:main:bob" as SessionKey

const message = (id: string, words: string, session: SessionKey): InboundMessage => ({
  identity: {
    channel: "recording-keyed",
    account: "a",
    conversation: session,
    thread: "",
    externalId: id,
    revision: 1
  },
  session,
  ephemeral: false,
  sender: "ada",
  access: "owner",
  body: { text: words }
})
const submit = (id: string, words = `say ${id}`, session = ada) =>
  Effect.flatMap(Inbound.Inbound, (inbound) => inbound.submit(message(id, words, session)))
const outcomeOf = (id: string, session = ada) =>
  Effect.gen(function* () {
    const log = yield* MessageLog.MessageLog
    return (yield* log.lookup({ tenant: local, identity: message(id, "", session).identity }))?.outcome
  })
const said = Effect.flatMap(Sessions.Sessions, (sessions) =>
  Effect.map(sessions.messages(ada, { limit: 100 }), ({ messages }) => messages.map(({ content }) => content))
)
const lanes = Effect.flatMap(Lanes.Lanes, ({ list }) => list)
/** What `/ready` and `doctor` say of the lanes. */
const checked = Effect.flatMap(Checks.Checks, ({ run }) =>
  Effect.map(run, (all) => all.find(({ name }) => name === "lanes")!)
)
const config = { queue: { mode: "followup" }, stall: { long_s: 100, stalled_s: 20, stuck_s: 60 } }
const system = (script: TestSystem.Options["script"] = []) => TestSystem.layer({ script, config })
const on = (log: MessageLog.MessageLog["Service"], script: TestSystem.Options["script"] = []) =>
  Effect.provide(TestSystem.layerOn(Layer.succeed(MessageLog.MessageLog, log), { script, config }))

describe("control", () => {
  it.effect("/stop cancels what waits, then the run", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2")
      yield* settle
      yield* submit("3", "/stop")
      yield* settle

      assert.deepStrictEqual(
        [yield* outcomeOf("1"), yield* outcomeOf("2"), yield* outcomeOf("3")],
        ["cancelled", "cancelled", "answered"]
      )
      assert.include(yield* said, "Stopped.")
      assert.deepStrictEqual(yield* lanes, [])
    }).pipe(Effect.provide(system(() => [hang])))
  )

  it.effect("/steer puts its text into the running answer; alone it says how it is used", () =>
    Effect.gen(function* () {
      const { push, requests } = yield* ScriptedModel.ModelScript
      const gate = yield* Deferred.make<void>()
      push([wait(gate), call("time.now", {}, "t1")], "both")
      yield* submit("1")
      yield* settle
      yield* submit("2", "/steer rather this")
      yield* submit("3", "/steer")
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      assert.strictEqual(yield* outcomeOf("2"), "steered")
      assert.include(
        requests()[1]!.messages.map((one) => one.text),
        "rather this"
      )
      assert.include(yield* said, "Say what: /steer TEXT")
    }).pipe(Effect.provide(system()))
  )

  it.effect("aborting ends the run, and what waits goes on", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* submit("2")
      yield* settle
      const { abort } = yield* Lanes.Lanes
      assert.isTrue(yield* abort(ada, "ada"))
      yield* settle

      assert.strictEqual(yield* outcomeOf("1"), "cancelled")
      assert.strictEqual(yield* outcomeOf("2"), "answered")
      assert.isFalse(yield* abort(ada, "ada"))
    }).pipe(Effect.provide(system([[hang], "two"])))
  )

  it.effect("a paused session takes messages and answers none, over a restart, until it is resumed", () =>
    Effect.gen(function* () {
      const log = yield* Effect.gen(function* () {
        yield* submit("1")
        yield* submit("2", "/pause")
        yield* submit("3")
        yield* settle
        // What ran goes on.
        assert.strictEqual(yield* outcomeOf("1"), "answered")
        assert.isUndefined(yield* outcomeOf("3"))
        assert.deepInclude((yield* lanes)[0], { session: ada, phase: "idle", paused: true, depth: 1 })
        yield* submit("b", "say b", bob)
        yield* settle
        assert.strictEqual(yield* outcomeOf("b", bob), "answered")
        const told = yield* AuditLog.use((audit) => audit.list({ tenant: local, limit: 10 }))
        assert.deepStrictEqual(
          told.map(({ actor, action, subject }) => [actor, action, subject]),
          [["ada", "lane.paused", ada]]
        )
        return yield* MessageLog.MessageLog
      }).pipe(Effect.provide(system(["one", "to bob"])))

      yield* Effect.gen(function* () {
        yield* (yield* Lanes.Lanes).recover
        yield* submit("4")
        yield* settle
        assert.isUndefined(yield* outcomeOf("3"))
        yield* submit("5", "/resume")
        yield* settle
        assert.deepStrictEqual([yield* outcomeOf("3"), yield* outcomeOf("4")], ["answered", "answered"])
        assert.deepStrictEqual(yield* lanes, [])
        yield* submit("6")
        yield* settle
        assert.strictEqual(yield* outcomeOf("6"), "answered")
      }).pipe(on(log, ["three", "four", "six"]))
    })
  )

  it.effect(
    "a paused gateway answers nobody until it is resumed; a session that is paused itself waits on",
    () =>
      Effect.gen(function* () {
        const control = yield* Lanes.Lanes
        yield* control.pause(undefined)
        yield* control.pause(bob)
        yield* submit("1")
        yield* submit("b", "say b", bob)
        yield* settle
        assert.isTrue(control.isPaused())
        assert.isUndefined(yield* outcomeOf("1"))
        yield* control.resume(undefined)
        yield* settle

        assert.strictEqual(yield* outcomeOf("1"), "answered")
        assert.isUndefined(yield* outcomeOf("b", bob))
        yield* control.resume(bob)
        yield* settle
        assert.strictEqual(yield* outcomeOf("b", bob), "answered")
      }).pipe(Effect.provide(system(["one", "to bob"])))
  )

  it.effect(
    "lists what runs, since when, at which step and with which tools, and the oldest that waits",
    () =>
      Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* submit("2")
        yield* settle

        const [lane] = yield* lanes
        assert.deepInclude(lane, { session: ada, budget: "main", phase: "running", depth: 1, oldestAt: 0 })
        assert.deepInclude(lane?.run, { attempt: 1, beganAt: 0, step: 2, tools: [] })
      }).pipe(Effect.provide(system([[call("time.now", {}, "t")], [hang]])))
  )
})

describe("a run that does not get on", () => {
  it.effect("is told of as stalled, then given up and begun again: its message is answered", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle
      yield* TestClock.adjust("21 seconds")
      yield* settle
      assert.strictEqual((yield* lanes)[0]?.run?.stall, "stalled")
      const { status, message } = yield* checked
      assert.strictEqual(status, "warning")
      assert.match(message, /^no progress: agent:main:ada;/)
      yield* TestClock.adjust("40 seconds")
      yield* settle

      assert.strictEqual(yield* outcomeOf("1"), "answered")
      const trace = yield* (yield* Sessions.Sessions).trace(local, (yield* submit("1")).messageId)
      assert.strictEqual(trace?.run?.attempt, 2)
      assert.deepStrictEqual(
        statusOf(trace!).timeline.flatMap((step) => (step.step === "slow" ? [[step.ms, step.status]] : [])),
        [
          [20_000, "stalled"],
          [60_000, "stuck"]
        ]
      )
      assert.deepStrictEqual(yield* said, ["say 1", "whole"])
      assert.deepStrictEqual(yield* lanes, [])
    }).pipe(Effect.provide(system([[...text("half"), hang], "whole"])))
  )

  it.effect("is left alone while it makes progress, however long it goes on", () =>
    Effect.gen(function* () {
      const gates = yield* Effect.forEach(Array.from({ length: 8 }), () => Deferred.make<void>())
      const { push } = yield* ScriptedModel.ModelScript
      push(gates.flatMap((gate) => [wait(gate), ...text("x")]))
      yield* submit("1")
      yield* settle
      for (const gate of gates) {
        yield* TestClock.adjust("15 seconds")
        const [lane] = yield* lanes
        assert.isTrue(lane?.run?.stall === undefined || lane.run.stall === "long")
        yield* Deferred.succeed(gate, undefined)
        yield* settle
      }

      assert.strictEqual(yield* outcomeOf("1"), "answered")
      const trace = yield* (yield* Sessions.Sessions).trace(local, (yield* submit("1")).messageId)
      assert.strictEqual(trace?.run?.attempt, 1)
      assert.deepStrictEqual(
        statusOf(trace!).timeline.flatMap(({ step, status }) => (step === "slow" ? [status] : [])),
        ["long"]
      )
    }).pipe(Effect.provide(system()))
  )

  it.effect("goes on without a tool that does not even stop, and does not start it again", () =>
    Effect.gen(function* () {
      const released = yield* Deferred.make<void>()
      const deaf = Tools.layerRegister([
        {
          spec: { name: "deaf", description: "hears nothing", parameters: { type: "object" } },
          effects: "once",
          needsWorkspace: false,
          timeoutMillis: 3_600_000,
          run: () => Effect.as(Effect.uninterruptible(Deferred.await(released)), "late")
        }
      ])
      yield* Effect.gen(function* () {
        yield* submit("1")
        yield* settle
        yield* TestClock.adjust("61 seconds")
        yield* settle
        yield* TestClock.adjust("2 seconds")
        yield* settle

        assert.strictEqual(yield* outcomeOf("1"), "answered")
        yield* submit("2")
        yield* settle
        assert.strictEqual(yield* outcomeOf("2"), "answered")
        yield* Deferred.succeed(released, undefined)
        yield* settle
        assert.deepStrictEqual(yield* lanes, [])
        const trace = yield* (yield* Sessions.Sessions).trace(local, (yield* submit("1")).messageId)
        assert.lengthOf(trace?.entries.filter(({ entry }) => entry.kind === "tool") ?? [], 1)
      }).pipe(
        Effect.provide(
          Layer.provideMerge(
            deaf,
            TestSystem.layer({
              script: (request) =>
                request.messages.some((one) => one.role === "tool") ? "done" : [call("deaf", {}, "d")],
              config: { ...config, general: { model: "demo/demo", tools: ["deaf"] } }
            })
          )
        )
      )
    })
  )

  it.effect("is given up for good after three attempts without progress, and its sender is told", () =>
    Effect.gen(function* () {
      yield* submit("1")
      yield* settle
      for (let attempt = 1; attempt <= 3; attempt++) {
        yield* TestClock.adjust("61 seconds")
        yield* settle
      }

      assert.strictEqual(yield* outcomeOf("1"), "failed")
      assert.deepStrictEqual(yield* lanes, [])
    }).pipe(Effect.provide(system(() => [hang])))
  )
})
