/** A run over each wire, as the lane steers and interrupts it: what the provider sees of that. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Test from "#layers/Test.ts"
import * as Agent from "#src/agent/Agent.ts"
import type { RunEvent } from "#src/domain/RunEvent.ts"
import { local } from "#src/domain/Tenant.ts"
import type { PromptMessage } from "#src/model/Model.ts"
import * as Tools from "#src/tool/Tools.ts"
import * as Events from "./anthropicEvents.ts"
import * as Fake from "./fakeProvider.ts"
import * as Gemini from "./googleEvents.ts"
import * as Responses from "./responsesEvents.ts"

interface Wire {
  /** The beginning of an answer: its first text. */
  readonly begin: string
  /** The rest of that answer: a call of `look`. */
  readonly asking: string
  readonly answer: string
}

const called = {
  choices: [{ index: 0, delta: { tool_calls: [{ index: 0, id: "c", function: { name: "look" } }] } }]
}

const wires: Readonly<Record<"openai-chat" | "openai-responses" | "anthropic" | "google", Wire>> = {
  "openai-chat": {
    begin: Fake.delta("Let me"),
    asking: Fake.event(called) + Fake.finish("tool_calls") + Fake.done,
    answer: Fake.delta("done") + Fake.finish() + Fake.done
  },
  "openai-responses": {
    begin: Responses.text(0, "Let me"),
    asking:
      Responses.item(1, { type: "function_call", call_id: "c", name: "look", arguments: "{}" }) +
      Responses.completed(),
    answer: Responses.text(0, "done") + Responses.completed()
  },
  anthropic: {
    begin: Events.begin() + Events.text(0, "Let me"),
    asking: Events.call(1, "c", "look", "{}") + Events.stop("tool_use") + Events.done,
    answer: Events.begin() + Events.text(0, "done") + Events.stop() + Events.done
  },
  google: {
    begin: Gemini.text("Let me"),
    asking: Gemini.call("look", {}) + Gemini.stop(),
    answer: Gemini.text("done") + Gemini.stop()
  }
}

const settings: Agent.RunInput["settings"] = {
  model: "fake/fake-model",
  system_prompt: "",
  tools: ["look"],
  ask_before: [],
  max_steps: 5,
  run_timeout_s: 60,
  max_output_chars: 1000
}

const inputWith = (steering: Agent.RunInput["steering"]): Agent.RunInput => ({
  tenant: local,
  agent: "main",
  session: "agent:main:main",
  settings,
  model: "fake/fake-model",
  fallbacks: [],
  prompt: [{ role: "user", text: "hi" }],
  params: {},
  pending: [],
  decided: [],
  stepsDone: 0,
  steering,
  cutToolText: (text) => text,
  estimateTokens: (text) => text.length
})

const look = Tools.layerRegister([
  {
    spec: { name: "look", description: "look", parameters: { type: "object", properties: {} } },
    effects: "none",
    needsWorkspace: false,
    timeoutMillis: 1000,
    run: () => Effect.succeed("seen")
  }
])

const layerOf = (url: string, kind: keyof typeof wires) =>
  Layer.merge(Agent.layer, look).pipe(
    Layer.provide(Test.layerFailover()),
    Layer.provide(Layer.merge(Fake.layerModel(url, { kind }), Tools.layer))
  )

for (const kind of ["openai-chat", "openai-responses", "anthropic", "google"] as const) {
  const wire = wires[kind]
  describe(`a run over ${kind}`, () => {
    it.effect("that is steered while it streams opens no second stream for the step", () =>
      Effect.gen(function* () {
        const inbox: Array<PromptMessage> = []
        let open = 0
        let mostOpen = 0
        let goOn: (() => void) | undefined
        const fake = yield* Fake.make((response, _, position) => {
          mostOpen = Math.max(mostOpen, ++open)
          response.on("finish", () => open--)
          if (position > 0) return Fake.streams(wire.answer)(response)
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.write(wire.begin)
          goOn = () => response.end(wire.asking)
        })

        const events: Array<RunEvent> = []
        yield* Effect.flatMap(Agent.Agent, (agent) =>
          Stream.runForEach(
            agent.run(inputWith({ isWaiting: () => inbox.length > 0, take: () => inbox.splice(0) })),
            (event) =>
              Effect.sync(() => {
                events.push(event)
                if (event._tag !== "Delta" || goOn === undefined) return
                inbox.push({ role: "user", text: "rather this" })
                goOn()
                goOn = undefined
              })
          )
        ).pipe(Effect.provide(layerOf(fake.url, kind)))

        assert.strictEqual(mostOpen, 1)
        assert.lengthOf(fake.received, 2)
        assert.notInclude(fake.received[0]?.body, "rather this")
        assert.include(fake.received[1]?.body, "rather this")
        const result = events.find((event) => event._tag === "ToolFinished")
        assert.strictEqual(result?.result.status, "skipped")
        assert.deepInclude(events.at(-1), { _tag: "Answered", text: "done" })
      })
    )

    it.effect("that is interrupted closes the provider's socket, and what was written has been told", () =>
      Effect.gen(function* () {
        const fake = yield* Fake.make((response) => {
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.write(wire.begin)
        })
        const told = Promise.withResolvers<string>()
        yield* Effect.gen(function* () {
          const agent = yield* Agent.Agent
          const run = agent.run(inputWith({ isWaiting: () => false, take: () => [] }))
          const fiber = yield* Effect.forkChild(
            Stream.runForEach(run, (event) =>
              Effect.sync(() => {
                if (event._tag === "Delta") told.resolve(event.text)
              })
            )
          )
          const text = yield* Effect.promise(() => told.promise)

          yield* Fiber.interrupt(fiber)

          yield* Effect.promise(() => fake.closed)
          assert.strictEqual(text, "Let me")
        }).pipe(Effect.provide(layerOf(fake.url, kind)))
      })
    )
  })
}
