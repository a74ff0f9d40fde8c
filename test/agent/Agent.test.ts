import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as Agent from "#src/agent/Agent.ts"
import type { AgentSettings } from "#src/agent/AgentSettings.ts"
import type { RunEvent } from "#src/domain/RunEvent.ts"
import { local } from "#src/domain/Tenant.ts"
import * as Tools from "#src/tool/Tools.ts"
import { ModelRateLimited } from "#src/model/Model.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as Test from "#layers/Test.ts"

const settings: AgentSettings = {
  model: "test/model",
  system_prompt: "",
  tools: ["echo", "boom", "stuck", "send", "spaced"],
  ask_before: [],
  max_steps: 4,
  run_timeout_s: 60,
  max_output_chars: 1000
}

const input: Agent.RunInput = {
  tenant: local,
  agent: "main",
  session: "agent:main:main",
  settings,
  model: "test/model",
  fallbacks: [],
  prompt: [{ role: "user", text: "hi" }],
  params: {},
  pending: [],
  decided: [],
  stepsDone: 0,
  steering: { isWaiting: () => false, take: () => [] },
  cutToolText: (text) => text.slice(0, 100),
  estimateTokens: (text) => text.length
}

const tool = (name: string, run: Tools.Tool["run"], effects: Tools.Tool["effects"] = "none"): Tools.Tool => ({
  spec: { name, description: name, parameters: { type: "object" } },
  effects,
  needsWorkspace: false,
  timeoutMillis: 1000,
  run
})
const sent: Array<unknown> = []
const tools = Tools.layerRegister([
  tool("echo", (args) => Effect.succeed(JSON.stringify(args))),
  tool("boom", () => Effect.die("a bug")),
  tool("stuck", () => Effect.uninterruptible(Effect.never)),
  tool("refuse", () => new Tools.ToolError({ message: "no such file" })),
  tool("send", (args) => Effect.sync(() => (sent.push(args), "sent")), "once"),
  { ...tool("spaced", () => Effect.succeed("")), needsWorkspace: true }
])

const layer = (script: Parameters<typeof ScriptedModel.layer>[0]) =>
  Layer.mergeAll(Agent.layer, tools).pipe(
    Layer.provideMerge(
      Layer.merge(Test.layerModels({ script, config: { models: { attempts: 1 } } }), Tools.layer)
    )
  )

const continuation = { thoughts: "signed" }
const continued: ReadonlyArray<ScriptedModel.Answer> = [
  [ScriptedModel.call("echo"), { _tag: "End", reason: "calls", continuation }],
  [ScriptedModel.call("echo")],
  "done"
]

const events = (changes: Partial<Agent.RunInput> = {}) =>
  Effect.flatMap(Agent.Agent, (agent) => Stream.runCollect(agent.run({ ...input, ...changes })))
const tags = (all: ReadonlyArray<RunEvent>) => all.map((event) => event._tag)
const results = (all: ReadonlyArray<RunEvent>) =>
  all.flatMap((event) => (event._tag === "ToolFinished" ? [event.result] : []))

const { call, fail, hang, text } = ScriptedModel

describe("Agent", () => {
  it.effect("streams an answer and ends with it", () =>
    Effect.gen(function* () {
      const all = yield* events()

      assert.deepStrictEqual(tags(all), ["Delta", "Delta", "Answered"])
      assert.deepInclude(all[2], { text: "hello there" })
    }).pipe(Effect.provide(layer([text("hello ", "there")])))
  )

  it.effect("runs the tools a step asks for, in order, and answers from their results", () =>
    Effect.gen(function* () {
      const all = yield* events()

      assert.deepStrictEqual(tags(all), [
        "StepFinished",
        "ToolStarted",
        "ToolFinished",
        "ToolStarted",
        "ToolFinished",
        "Delta",
        "Answered"
      ])
      const { requests } = yield* ScriptedModel.ModelScript
      assert.deepStrictEqual(
        requests()[1]!
          .messages.slice(1)
          .map((message) => [message.role, message.text]),
        [
          ["assistant", ""],
          ["tool", '{"a":1}'],
          ["tool", '{"b":2}']
        ]
      )
    }).pipe(Effect.provide(layer([[call("echo", { a: 1 }, "c1"), call("echo", { b: 2 }, "c2")], "done"])))
  )

  it.effect("shows the model within the run what its step's end asked to see again", () =>
    Effect.gen(function* () {
      yield* events()
      const { requests } = yield* ScriptedModel.ModelScript

      assert.strictEqual(
        requests()[1]?.messages.find((message) => message.role === "assistant")?.continuation,
        continuation
      )
      assert.notProperty(requests()[2]?.messages.at(-2), "continuation")
    }).pipe(Effect.provide(layer(continued)))
  )

  it.effect("starts no tool before its consumer has taken the step", () =>
    Effect.gen(function* () {
      sent.length = 0
      const agent = yield* Agent.Agent
      const seen: Array<number> = []
      yield* agent.run(input).pipe(
        Stream.runForEach((event) =>
          Effect.sync(() => {
            if (event._tag === "StepFinished" || event._tag === "ToolStarted") seen.push(sent.length)
          })
        )
      )

      assert.deepStrictEqual(seen, [0, 0])
      assert.lengthOf(sent, 1)
    }).pipe(Effect.provide(layer([[call("send", {})], "done"])))
  )

  it.effect("gives every call exactly one result, whatever goes wrong", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(events(), { startImmediately: true })
      for (let second = 0; second < 5; second++) yield* TestClock.adjust("1 second")
      const all = yield* Fiber.join(fiber)

      assert.deepStrictEqual(
        results(all).map(({ callId, status }) => [callId, status]),
        [
          ["1", "unknown_tool"],
          ["2", "malformed_arguments"],
          ["3", "error"],
          ["4", "timeout"],
          ["5", "unknown_tool"],
          ["6", "unknown_tool"],
          ["7", "ok"]
        ]
      )
      assert.strictEqual(all.at(-1)!._tag, "Answered")
    }).pipe(
      Effect.provide(
        layer([
          [
            call("nowhere", {}, "1"),
            call("echo", "{not json", "2"),
            call("boom", {}, "3"),
            call("stuck", {}, "4"),
            call("refuse", {}, "5"),
            call("spaced", {}, "6"),
            call("echo", "", "7")
          ],
          "done"
        ])
      )
    )
  )

  it.effect("offers a tool that needs a workspace only to an agent that has one", () =>
    Effect.gen(function* () {
      yield* events()
      yield* events({ settings: { ...settings, workspace: "/srv" } })

      const { requests } = yield* ScriptedModel.ModelScript
      const offered = requests().map((request) => request.tools.map((spec) => spec.name).includes("spaced"))
      assert.deepStrictEqual(offered, [false, true])
    }).pipe(Effect.provide(layer(["a", "b"])))
  )

  it.effect("stops after its steps", () =>
    Effect.gen(function* () {
      const all = yield* events()

      assert.deepInclude(all.at(-1), { _tag: "Failed" })
      assert.lengthOf(
        all.filter((event) => event._tag === "StepFinished"),
        4
      )
    }).pipe(Effect.provide(layer(() => [call("echo")])))
  )

  it.effect("counts steps of earlier attempts", () =>
    Effect.gen(function* () {
      const all = yield* events({ stepsDone: 3 })

      assert.lengthOf(
        all.filter((event) => event._tag === "StepFinished"),
        1
      )
    }).pipe(Effect.provide(layer(() => [call("echo")])))
  )

  it.effect("stops when the answer grows too long, keeping what was written", () =>
    Effect.gen(function* () {
      const all = yield* events({ settings: { ...settings, max_output_chars: 10 } })
      const last = all.at(-1)!

      assert.deepInclude(last, { _tag: "Failed" })
      assert.strictEqual(last._tag === "Failed" && last.failure.code, "output")
    }).pipe(Effect.provide(layer([text("12345678", "90123456", "more")])))
  )

  it.effect("asks the model again only when the last tool's result was taken in", () =>
    Effect.gen(function* () {
      const taken = yield* Deferred.make<void>()
      const agent = yield* Agent.Agent
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(agent.run(input), (event) =>
          event._tag === "ToolFinished" ? Deferred.await(taken) : Effect.void
        )
      )
      yield* Effect.repeat(Effect.yieldNow, { times: 100 })
      const { requests } = yield* ScriptedModel.ModelScript
      assert.lengthOf(requests(), 1)

      yield* Deferred.succeed(taken, undefined)
      yield* Fiber.join(fiber)
      assert.lengthOf(requests(), 2)
    }).pipe(Effect.provide(layer([[call("echo")], "done"])))
  )

  it.effect("ends at its deadline although the model hangs, keeping what was written", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(events(), { startImmediately: true })
      yield* TestClock.adjust("61 seconds")
      const all = yield* Fiber.join(fiber)

      assert.deepInclude(all.at(-1), { _tag: "Failed", partial: "so far" })
      const { interrupted } = yield* ScriptedModel.ModelScript
      assert.strictEqual(interrupted(), 1)
    }).pipe(Effect.provide(layer([[...text("so far"), hang]])))
  )

  it.effect("ends with the model's failure in words that are safe to show", () =>
    Effect.gen(function* () {
      const all = yield* events()

      assert.deepInclude(all.at(-1), {
        _tag: "Failed",
        failure: { code: "model", message: "the provider is limiting our rate" },
        partial: "half"
      })
    }).pipe(Effect.provide(layer([[...text("half"), fail(new ModelRateLimited({}))]])))
  )

  it.effect("closes the model's stream when it is interrupted", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(events(), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)

      const { interrupted } = yield* ScriptedModel.ModelScript
      assert.strictEqual(interrupted(), 1)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }).pipe(Effect.provide(layer([[hang]])))
  )

  it.effect("after a restart runs again what may run twice, and tells of what may not", () =>
    Effect.gen(function* () {
      sent.length = 0
      const pending = [
        { id: "1", name: "send", arguments: "{}" },
        { id: "2", name: "echo", arguments: '{"a":1}' }
      ]
      const all = yield* events({
        pending,
        stepsDone: 1,
        prompt: [
          { role: "user", text: "hi" },
          { role: "assistant", text: "", calls: pending },
          { role: "tool", callId: "1", name: "send", text: "placeholder" },
          { role: "tool", callId: "2", name: "echo", text: "placeholder" }
        ]
      })

      assert.deepStrictEqual(
        results(all).map(({ status }) => status),
        ["uncertain", "ok"]
      )
      assert.lengthOf(sent, 0)
      const { requests } = yield* ScriptedModel.ModelScript
      const told = requests()[0]!.messages.filter((message) => message.role === "tool")
      assert.lengthOf(told, 2)
      assert.strictEqual(told[1]!.text, '{"a":1}')
    }).pipe(Effect.provide(layer(["done"])))
  )

  it.effect("after a restart a call behind one without a result has not started, and starts", () =>
    Effect.gen(function* () {
      sent.length = 0
      const pending = [
        { id: "1", name: "echo", arguments: "{}" },
        { id: "2", name: "send", arguments: "{}" }
      ]
      const all = yield* events({ pending, stepsDone: 1 })

      assert.deepStrictEqual(
        results(all).map(({ status }) => status),
        ["ok", "ok"]
      )
      assert.lengthOf(sent, 1)
    }).pipe(Effect.provide(layer(["done"])))
  )

  const asking = { settings: { ...settings, ask_before: ["send"] }, stepsDone: 1 }
  const toSend = [
    { id: "1", name: "send", arguments: "{}" },
    { id: "2", name: "echo", arguments: "{}" }
  ]
  const decision = (was: "approved" | "denied" | "expired", again = false) => ({
    pending: toSend,
    decided: [{ callId: "1", decision: was, by: "ada", again }]
  })

  it.effect("ends before a call that somebody has to be asked for, with nothing of it begun", () =>
    Effect.gen(function* () {
      sent.length = 0
      const all = yield* events(asking)

      assert.deepStrictEqual(tags(all), ["StepFinished", "ToolStarted", "ToolFinished", "ApprovalNeeded"])
      assert.lengthOf(sent, 0)
    }).pipe(
      Effect.provide(layer([[call("echo", {}, "0"), call("send", {}, "1"), call("echo", {}, "2")], "done"]))
    )
  )

  it.effect("asks for no call that cannot be made", () =>
    Effect.gen(function* () {
      const all = yield* events(asking)

      assert.deepStrictEqual(
        results(all).map(({ status }) => status),
        ["malformed_arguments", "unknown_tool"]
      )
    }).pipe(
      Effect.provide(
        layer([[{ _tag: "Call", call: { id: "1", name: "send", arguments: "{" } }, call("gone")], "done"])
      )
    )
  )

  it.effect("makes an approved call once, and goes on with those behind it", () =>
    Effect.gen(function* () {
      sent.length = 0
      const all = yield* events({ ...asking, ...decision("approved") })

      assert.deepStrictEqual(
        results(all).map(({ status }) => status),
        ["ok", "ok"]
      )
      assert.lengthOf(sent, 1)
    }).pipe(Effect.provide(layer(["done"])))
  )

  it.effect("does not make an approved call again that an earlier attempt may have made", () =>
    Effect.gen(function* () {
      sent.length = 0
      const all = yield* events({ ...asking, ...decision("approved", true) })

      assert.deepStrictEqual(
        results(all).map(({ status }) => status),
        ["uncertain", "ok"]
      )
      assert.lengthOf(sent, 0)
    }).pipe(Effect.provide(layer(["done"])))
  )

  for (const was of ["denied", "expired"] as const) {
    it.effect(`tells the model of a call that was ${was}, and makes it not`, () =>
      Effect.gen(function* () {
        sent.length = 0
        const all = yield* events({ ...asking, ...decision(was) })

        assert.deepStrictEqual(
          results(all).map(({ status }) => status),
          ["denied", "ok"]
        )
        assert.lengthOf(sent, 0)
        assert.strictEqual(all.at(-1)?._tag, "Answered")
      }).pipe(Effect.provide(layer(["done"])))
    )
  }

  it.effect("asks again for a call of a later step, whatever its id", () =>
    Effect.gen(function* () {
      sent.length = 0
      const all = yield* events({ ...asking, ...decision("approved") })

      assert.strictEqual(all.at(-1)?._tag, "ApprovalNeeded")
      assert.lengthOf(sent, 1)
    }).pipe(Effect.provide(layer([[call("send", {}, "1")], "done"])))
  )

  it.effect(
    "reads what people write meanwhile before its next model call, and skips tools that have not started",
    () =>
      Effect.gen(function* () {
        const written: Array<string> = []
        const steering = {
          isWaiting: () => written.length > 0,
          take: () => written.splice(0).map((one) => ({ role: "user" as const, text: one }))
        }
        const agent = yield* Agent.Agent
        const all: Array<RunEvent> = []
        yield* agent.run({ ...input, steering }).pipe(
          Stream.runForEach((event) =>
            Effect.sync(() => {
              all.push(event)
              if (event._tag === "ToolStarted") written.push("wait, use the other one")
            })
          )
        )

        assert.deepStrictEqual(
          results(all).map(({ callId, status }) => [callId, status]),
          [
            ["1", "ok"],
            ["2", "skipped"]
          ]
        )
        const { requests } = yield* ScriptedModel.ModelScript
        assert.deepStrictEqual(
          requests()[1]!
            .messages.slice(2)
            .map((one) => [one.role, one.text.slice(0, 8)]),
          [
            ["tool", "{}"],
            ["tool", "Skipped:"],
            ["user", "wait, us"]
          ]
        )
      }).pipe(Effect.provide(layer([[call("echo", {}, "1"), call("echo", {}, "2")], "done"])))
  )

  it.effect("estimates tokens when the provider reports none", () =>
    Effect.gen(function* () {
      const last = (yield* events()).at(-1)!

      assert.deepInclude(last, {
        usage: { inputTokens: 2, outputTokens: 5, cachedTokens: 0, estimated: true }
      })
    }).pipe(Effect.provide(layer([[...text("hello"), { _tag: "End", reason: "stop" }]])))
  )
})
