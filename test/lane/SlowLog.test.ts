import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import { LogError, MessageLog, StoreFull, type Unit } from "#src/horizons/MessageLog.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import * as Tools from "#src/tool/Tools.ts"

const ada = "agent:main:ada" as SessionKey
const { settle } = TestSystem

const submitAs = (externalId: string) =>
  Effect.flatMap(Inbound.Inbound, (inbound) =>
    inbound.submit({
      identity: {
        channel: "recording-keyed",
        account: "a",
        conversation: "c",
        thread: "",
        externalId,
        revision: 1
      },
      session: ada,
      ephemeral: false,
      sender: "ada",
      access: "owner",
      body: { text: "hi" }
    })
  )
const submit = submitAs("1")

/** The log in memory, whose units are on the disk a while before their callers hear of it. */
const slow = Layer.effectContext(
  Effect.map(Layer.build(MemoryMessageLog.layer), (context) => {
    const log = Context.get(context, MessageLog)
    return Context.add(context, MessageLog, {
      ...log,
      commit: (unit) => Effect.tap(log.commit(unit), Effect.sleep("10 millis"))
    })
  })
)

const config = { general: { model: "demo/demo", tools: ["quick", "stuck"] } }
const tool = (name: string, run: Tools.Tool["run"]): Tools.Tool => ({
  spec: { name, description: name, parameters: { type: "object" } },
  effects: "once",
  needsWorkspace: false,
  timeoutMillis: 60_000,
  run
})
const tools = [tool("quick", () => Effect.succeed("done")), tool("stuck", () => Effect.never)]
const registered = Effect.flatMap(Tools.Tools, (registry) => Effect.forEach(tools, registry.register))
const results = Effect.flatMap(MessageLog, (log) =>
  Effect.map(log.entries({ tenant: local, session: ada, limit: 100 }), (rows) =>
    rows.flatMap(({ entry }) => (entry.kind === "tool" ? [`${entry.callId} ${entry.status}`] : []))
  )
)

describe("Lanes on a log that takes its time", () => {
  it.effect("a tool's result on its way to the disk is the call's only one when its run is cancelled", () =>
    Effect.gen(function* () {
      yield* registered
      yield* Effect.forkChild(submit)
      while ((yield* results).length === 0) {
        yield* settle
        yield* TestClock.adjust("1 millis")
      }
      yield* (yield* Lanes.Lanes).stop(ada, "ada")
      yield* Effect.repeat(Effect.andThen(settle, TestClock.adjust("10 millis")), { times: 10 })

      assert.deepStrictEqual(yield* results, ["call_quick ok"])
      assert.isEmpty(yield* (yield* Lanes.Lanes).list)
    }).pipe(Effect.provide(TestSystem.layerOn(slow, { script: [[ScriptedModel.call("quick")]], config })))
  )

  it.effect("a run that is cancelled before it starts again leaves no call without a result", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const faults = yield* MemoryMessageLog.MemoryLogFaults
      yield* Effect.gen(function* () {
        yield* registered
        yield* submit
        yield* settle
      }).pipe(
        Effect.provide(
          TestSystem.layerOn(Layer.succeed(MessageLog, log), {
            script: [[ScriptedModel.call("stuck")]],
            config
          })
        )
      )
      yield* Effect.gen(function* () {
        const lanes = yield* Lanes.Lanes
        yield* faults.failAll(new StoreFull({}))
        yield* lanes.recover
        yield* settle
        yield* lanes.stop(ada, "ada")
        yield* settle
        yield* faults.recover
        yield* Effect.repeat(Effect.andThen(settle, TestClock.adjust("5 seconds")), { times: 3 })
      }).pipe(Effect.provide(TestSystem.layerOn(Layer.succeed(MessageLog, log), { config })))

      assert.deepStrictEqual(yield* results, ["call_stuck interrupted"])
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )

  const single = { queue: { mode: "followup" } }
  /** An earlier process has accepted these and begun the first; the next one reads slowly. */
  const afterRestart = <A, E>(
    script: ReadonlyArray<ScriptedModel.Answer>,
    then: (
      log: MessageLog["Service"]
    ) => Effect.Effect<A, E, Inbound.Inbound | Lanes.Lanes | ScriptedModel.ModelScript>
  ) =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* Effect.gen(function* () {
        yield* submitAs("1")
        yield* submitAs("2")
        yield* settle
      }).pipe(
        Effect.provide(
          TestSystem.layerOn(Layer.succeed(MessageLog, log), {
            script: [[ScriptedModel.hang]],
            config: single
          })
        )
      )
      const late = Layer.succeed(MessageLog, {
        ...log,
        open: (query) => Effect.delay(log.open(query), "10 millis")
      })
      return yield* Effect.gen(function* () {
        yield* (yield* Lanes.Lanes).recover
        return yield* then(log)
      }).pipe(Effect.provide(TestSystem.layerOn(late, { script, config: single })))
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  const passTime = Effect.repeat(Effect.andThen(settle, TestClock.adjust("100 millis")), { times: 20 })

  it.effect("a message that comes while its session is being taken up is answered behind what was open", () =>
    afterRestart(
      ["one", "two", "three"],
      Effect.fnUntraced(function* (log) {
        yield* submitAs("3")
        yield* passTime

        const { requests } = yield* ScriptedModel.ModelScript
        const prompts = requests().map(({ messages }) => messages.slice(1).map(({ text }) => text))
        assert.deepStrictEqual(prompts, [["hi"], ["hi", "one", "hi"], ["hi", "one", "hi", "two", "hi"]])
        assert.isEmpty(yield* log.open({ tenant: local, session: ada, limit: 10 }))
      })
    )
  )

  it.effect("a stop that comes while a session is being taken up ends all of it", () =>
    afterRestart(
      [],
      Effect.fnUntraced(function* (log) {
        const lanes = yield* Lanes.Lanes
        yield* settle
        yield* Effect.forkChild(lanes.stop(ada, "ada"))
        yield* passTime

        assert.isEmpty(yield* log.open({ tenant: local, session: ada, limit: 10 }))
        const entries = yield* log.entries({ tenant: local, session: ada, limit: 10 })
        const ends = yield* Effect.forEach(entries, ({ messageId }) =>
          messageId === undefined
            ? Effect.succeed(undefined)
            : Effect.map(log.message({ tenant: local, id: messageId }), (trace) => trace?.message.outcome)
        )
        assert.deepStrictEqual(
          ends.filter((outcome) => outcome !== undefined),
          ["cancelled", "cancelled"]
        )
      })
    )
  )

  it.effect("the next run waits until the end of a cancelled one is in the log", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const disk = { isFull: false }
      const filling = Layer.succeed(MessageLog, {
        ...log,
        commit: (unit: Unit) =>
          disk.isFull && unit._tag === "Finish"
            ? Effect.fail(new LogError({ reason: new StoreFull({}) }))
            : log.commit(unit)
      } as typeof log)
      const runsBegun = Effect.map(log.open({ tenant: local, session: ada, limit: 10 }), (rows) =>
        rows.flatMap(({ identity, runId }) => (runId === undefined ? [] : [identity.externalId]))
      )
      yield* Effect.gen(function* () {
        yield* registered
        yield* submit
        yield* settle
        yield* submitAs("2")
        disk.isFull = true
        const lanes = yield* Lanes.Lanes
        const [first] = yield* log.open({ tenant: local, session: ada, limit: 1 })
        yield* lanes.cancel(ada, first!.id, "ada")
        yield* Effect.repeat(Effect.andThen(settle, TestClock.adjust("1 seconds")), { times: 5 })
        assert.deepStrictEqual(yield* runsBegun, ["1"])

        disk.isFull = false
        yield* Effect.repeat(Effect.andThen(settle, TestClock.adjust("1 seconds")), { times: 40 })
        assert.isEmpty(yield* log.open({ tenant: local, session: ada, limit: 10 }))
      }).pipe(
        Effect.provide(
          TestSystem.layerOn(filling, { script: [[ScriptedModel.call("stuck")], "two"], config })
        )
      )
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )
})
