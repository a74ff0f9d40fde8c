import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ContextSettings } from "#src/context/ContextSettings.ts"
import { cutToolText, estimateTokens, maxEntries, shape, shownImages } from "#src/context/window.ts"
import type { Entry } from "#src/domain/Entry.ts"
import { runId } from "#src/domain/Ids.ts"
import type { EntryRow } from "#src/horizons/MessageLog.ts"
import type { PromptMessage } from "#src/model/Model.ts"

const settings: ContextSettings = { max_prompt_tokens: 1000, min_recent_messages: 2, max_tool_chars: 200 }

const rows = (entries: ReadonlyArray<readonly [run: string, entry: Entry]>): ReadonlyArray<EntryRow> =>
  entries.map(([run, entry], index) => ({
    id: `e${index}`,
    seq: index + 1,
    order: index + 1,
    messageId: undefined,
    clientId: undefined,
    runId: runId(run),
    entry,
    usage: undefined,
    at: 0,
    answers: undefined
  }))
const user = (text: string): Entry => ({ v: 1, kind: "user", text, sender: "ada" })
const answer = (text: string): Entry => ({ v: 1, kind: "assistant", text })
const step = (...ids: ReadonlyArray<string>): Entry => ({
  v: 1,
  kind: "assistant",
  text: "",
  calls: ids.map((id) => ({ id, name: "time.now", arguments: "{}" }))
})
const result = (callId: string, text: string): Entry => ({
  v: 1,
  kind: "tool",
  callId,
  name: "time.now",
  status: "ok",
  text
})
const turns = (count: number, size: number) =>
  Array.from({ length: count }, (_, index) => [
    [`r${index}`, user(`${index} `.padEnd(size, "q"))] as const,
    [`r${index}`, answer(`${index} `.padEnd(size, "a"))] as const
  ]).flat()

const tokens = (messages: ReadonlyArray<PromptMessage>) =>
  messages.reduce((sum, message) => sum + estimateTokens(message.text), 0)

describe("the context window", () => {
  it("gives a short session whole, after the system text", () => {
    const prompt = shape(
      "be kind",
      rows([
        ["r1", user("hi")],
        ["r1", answer("hello")],
        ["r2", user("again")]
      ]),
      "r2",
      settings
    )

    assert.deepStrictEqual(prompt, [
      { role: "system", text: "be kind" },
      { role: "user", text: "hi" },
      { role: "assistant", text: "hello" },
      { role: "user", text: "again" }
    ])
  })

  it("keeps a step and its results together, and cuts long results", () => {
    const prompt = shape(
      "s",
      rows([
        ["r1", user("when?")],
        ["r1", step("a", "b")],
        ["r1", result("b", "x".repeat(500))],
        ["r1", result("a", "noon")]
      ]),
      "r1",
      settings
    )

    assert.deepStrictEqual(
      prompt.slice(2).map((message) => message.role),
      ["assistant", "tool", "tool"]
    )
    assert.deepInclude(prompt[3], { role: "tool", callId: "a", text: "noon" })
    assert.isBelow(prompt[4]!.text.length, 260)
    assert.include(prompt[4]!.text, "300 characters left out")
  })

  it("gives a call whose result is missing a result all the same", () => {
    const prompt = shape(
      "s",
      rows([
        ["r1", user("when?")],
        ["r1", step("a")]
      ]),
      "r1",
      settings
    )

    assert.deepInclude(prompt.at(-1), { role: "tool", callId: "a" })
  })

  it("tells results apart when a provider uses a call id again in a later step", () => {
    const prompt = shape(
      "s",
      rows([
        ["r1", user("q")],
        ["r1", step("c")],
        ["r1", result("c", "first")],
        ["r1", step("c")],
        ["r1", result("c", "second")]
      ]),
      "r1",
      settings
    )

    assert.deepStrictEqual(
      prompt.flatMap((message) => (message.role === "tool" ? [message.text] : [])),
      ["first", "second"]
    )
  })

  it("never tells a model of failures or of entries it does not know", () => {
    const prompt = shape(
      "s",
      rows([
        ["r1", user("q")],
        ["r1", { v: 1, kind: "failure", code: "model", text: "no" }],
        ["r1", { v: 9, kind: "opaque", was: "new", raw: {} }]
      ]),
      "r1",
      settings
    )

    assert.lengthOf(prompt, 2)
  })

  it("stays within the budget and begins with a person's message", () => {
    const prompt = shape("s", rows(turns(40, 200)), "r39", settings)

    assert.isAtMost(tokens(prompt), settings.max_prompt_tokens)
    assert.strictEqual(prompt[1]?.role, "user")
  })

  it("keeps what is being answered even when it alone exceeds the budget", () => {
    const history = rows([
      ...turns(3, 100),
      ["now", user("y".repeat(9000))],
      ["now", step("a")],
      ["now", result("a", "ok")]
    ])

    const prompt = shape("s", history, "now", settings)

    assert.isTrue(prompt.some((message) => message.role === "user" && message.text.startsWith("yyy")))
  })

  it("keeps the prompt's beginning byte-identical for most turns of a long session", () => {
    let same = 0
    const all = rows(turns(300, 60))
    let before: ReadonlyArray<PromptMessage> = []
    for (let turn = 30; turn < 300; turn++) {
      const prompt = shape("s", all.slice(0, turn * 2 - 1).slice(-maxEntries), `r${turn - 1}`, settings)
      if (JSON.stringify(prompt.slice(0, before.length)) === JSON.stringify(before)) same++
      before = prompt
    }

    assert.isAbove(same / 270, 0.8)
  })

  it("cuts tool texts between characters, never within one", () => {
    const cut = cutToolText("😀".repeat(300), 101)

    assert.isTrue(cut.isWellFormed())
  })

  it.effect.prop(
    "gives each call one result, directly behind its step, whatever the history",
    {
      kinds: Arbitrary.schema(
        Schema.Array(Schema.Literals(["turn", "step", "halfStep", "failure"])).check(
          Schema.isBetweenLength(1, 60)
        )
      )
    },
    ({ kinds }) =>
      Effect.sync(() => {
        const history = rows(
          kinds.flatMap((kind, index): ReadonlyArray<readonly [string, Entry]> => {
            const run = `r${index}`
            if (kind === "turn")
              return [
                [run, user("q".repeat(90))],
                [run, answer("a".repeat(90))]
              ]
            if (kind === "failure")
              return [
                [run, user("q")],
                [run, { v: 1, kind: "failure", code: "model", text: "n" }]
              ]
            const calls: ReadonlyArray<readonly [string, Entry]> = [
              [run, user("q")],
              [run, step("a", "b")],
              [run, result("a", "one")]
            ]
            return kind === "step" ? [...calls, [run, result("b", "two")], [run, answer("done")]] : calls
          })
        )

        const prompt = shape("s", history.slice(-maxEntries), `r${kinds.length - 1}`, settings)

        for (let index = 0; index < prompt.length; index++) {
          const message = prompt[index]!
          if (message.role !== "assistant" || message.calls === undefined) continue
          const results = prompt.slice(index + 1, index + 1 + message.calls.length)
          assert.deepStrictEqual(
            results.map((one) => (one.role === "tool" ? one.callId : one.role)),
            message.calls.map((call) => call.id)
          )
        }
        assert.strictEqual(
          prompt.filter((message) => message.role === "tool").length,
          prompt.reduce(
            (sum, message) => sum + (message.role === "assistant" ? (message.calls?.length ?? 0) : 0),
            0
          )
        )
      }),
    { arbitrary: { runs: 300, size: 60 } }
  )

  describe("images", () => {
    const shown = (text: string, ...bytes: ReadonlyArray<number>): Entry => ({
      v: 1,
      kind: "user",
      text,
      sender: "ada",
      images: bytes.map((count) => ({ mediaType: "image/png", bytes: count }))
    })
    const image = { mediaType: "image/png", data: "iVBORw0KGgo=" } as const

    it("are shown as they were sent; those that are not at hand are told as left out", () => {
      const history = rows([
        ["r1", shown("old", 9, 9)],
        ["r1", answer("nice")],
        ["r2", shown("", 9)]
      ])

      const prompt = shape(
        "s",
        history,
        "r2",
        { ...settings, max_prompt_tokens: 8000 },
        new Map([["e2", [image]]])
      )

      assert.deepStrictEqual(prompt.slice(1), [
        { role: "user", text: "old\n\n[2 images were left out here]" },
        { role: "assistant", text: "nice" },
        { role: "user", text: "", images: [image] }
      ])
    })

    it("are chosen newest first, whole messages, up to eight images and sixteen megabytes", () => {
      const many = Array.from({ length: 12 }, (_, index) => [`r${index}`, shown("x", 1)] as const)
      const heavy = Array.from({ length: 5 }, (_, index) => [`r${index}`, shown("x", 5_000_000)] as const)

      assert.deepStrictEqual(shownImages(rows(many)), ["e11", "e10", "e9", "e8", "e7", "e6", "e5", "e4"])
      assert.deepStrictEqual(shownImages(rows(heavy)), ["e4", "e3", "e2"])
      assert.deepStrictEqual(shownImages(rows([["r1", user("x")]])), [])
    })

    it("count against the budget", () => {
      const history = rows([
        ["r1", shown("first", 9)],
        ["r1", answer("a")],
        ["r2", user("b")],
        ["r2", answer("c")],
        ["r3", user("d")]
      ])
      const first = (text: string, images: ReadonlyMap<string, ReadonlyArray<typeof image>>) =>
        shape("s", history, "r3", settings, images).some((message) => message.text.startsWith(text))

      assert.isTrue(first("first", new Map()))
      assert.isFalse(first("first", new Map([["e0", [image]]])))
    })
  })
})
