import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Demo from "#layers/model/Demo.ts"
import type { ModelEvent, ModelRequest } from "#src/model/Model.ts"

const tool = (name: string) => ({ name, description: "", parameters: { type: "object" } })
const tools = ["time.now", "fs.read", "fs.list", "fs.search"].map(tool)

const ask = (text: string, over: Partial<ModelRequest> = {}) =>
  Stream.runCollect(
    Demo.answer({ model: "demo/demo", messages: [{ role: "user", text }], tools, params: {}, ...over })
  )

const calls = (events: ReadonlyArray<ModelEvent>) =>
  events.flatMap((event) =>
    event._tag === "Call" ? [[event.call.name, JSON.parse(event.call.arguments)]] : []
  )

const written = (events: ReadonlyArray<ModelEvent>) =>
  events.map((event) => (event._tag === "Text" ? event.text : "")).join("")

describe("Demo", () => {
  it.effect(
    "says what it is, which line to set, and what was asked, in several pieces and always the same",
    () =>
      Effect.gen(function* () {
        const events = yield* ask("Good morning, everyone")

        assert.include(written(events), "demo model")
        assert.include(written(events), 'general.model = "provider/model"')
        assert.include(written(events), "Good morning, everyone")
        assert.isAbove(events.length, 3)
        assert.deepStrictEqual(yield* ask("Good morning, everyone"), events)
      })
  )

  it.effect("calls the tool that is plainly asked for", () =>
    Effect.gen(function* () {
      const expected: ReadonlyArray<readonly [string, ReadonlyArray<unknown>]> = [
        ["What time is it?", [["time.now", {}]]],
        ["what's the time in Europe/Paris?", [["time.now", { timezone: "Europe/Paris" }]]],
        ["please list files", [["fs.list", { path: "." }]]],
        ["List the files in notes/2026.", [["fs.list", { path: "notes/2026" }]]],
        ["read notes.md", [["fs.read", { path: "notes.md" }]]],
        ['Read the file "my notes.md", please', [["fs.read", { path: "my notes.md" }]]],
        ["search for invoices", [["fs.search", { query: "invoices" }]]],
        ['search for "two words"!', [["fs.search", { query: "two words" }]]],
        [
          "what time is it, and list files",
          [
            ["time.now", {}],
            ["fs.list", { path: "." }]
          ]
        ],
        ["I read a good book", []],
        ["time flies", []]
      ]
      for (const [text, wanted] of expected) {
        const events = yield* ask(text)

        assert.deepStrictEqual(calls(events), wanted, text)
        assert.deepInclude(events.at(-1), { _tag: "End", reason: wanted.length > 0 ? "calls" : "stop" })
      }
    })
  )

  it.effect("says which tool is missing instead of calling it", () =>
    Effect.gen(function* () {
      const events = yield* ask("read notes.md", { tools: [] })

      assert.deepStrictEqual(calls(events), [])
      assert.include(written(events), "fs.read")
    })
  )

  it.effect("answers from the results of this turn, not of an earlier one", () =>
    Effect.gen(function* () {
      const past = [
        { role: "user", text: "read notes.md" },
        { role: "assistant", text: "", calls: [{ id: "x", name: "fs.read", arguments: "{}" }] },
        { role: "tool", callId: "x", name: "fs.read", text: "milk and bread" }
      ] as const

      const now = yield* ask("", { messages: past })
      const later = yield* ask("", { messages: [...past, { role: "user", text: "thank you" }] })

      assert.include(written(now), "milk and bread")
      assert.notInclude(written(later), "milk and bread")
      assert.include(written(later), "thank you")
    })
  )

  it.effect("answers an enormous message briefly", () =>
    Effect.gen(function* () {
      const events = yield* ask("🦀".repeat(1_000_000))

      assert.isBelow(written(events).length, 3_000)
      assert.isTrue(written(events).isWellFormed())
    })
  )

  it.effect("answers a prompt without a user's message", () =>
    Effect.gen(function* () {
      const events = yield* ask("", { messages: [] })

      assert.deepInclude(events.at(-1), { _tag: "End", reason: "stop" })
    })
  )
})
