import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { namesOf } from "#layers/model/AnswerDecoder.ts"
import { GoogleStep } from "#layers/model/GoogleStep.ts"
import { encodeRequest } from "#layers/model/googleRequest.ts"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import { request } from "./fakeProvider.ts"
import { type Body, broken } from "./googleRules.ts"

const newest = "gemini-3.8-flash"

const encode = (over: Partial<ModelRequest>, model = newest): string => {
  const one = request(over)
  return encodeRequest(model, one, namesOf(one))
}
const bodyOf = (over: Partial<ModelRequest>, model = newest): Body => JSON.parse(encode(over, model)) as Body
const contentsOf = (...messages: ReadonlyArray<PromptMessage>) => bodyOf({ messages, tools }).contents

const tools = [{ name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }]
const unsigned = { thoughtSignature: "skip_thought_signature_validator" }

const user = (text: string): PromptMessage => ({ role: "user", text })
const said = (text: string): PromptMessage => ({ role: "assistant", text })
const result = (callId: string, text: string): PromptMessage => ({
  role: "tool",
  callId,
  name: "time.now",
  text
})
const step = (text: string, ...ids: ReadonlyArray<string>): ReadonlyArray<PromptMessage> => [
  { role: "assistant", text, calls: ids.map((id) => ({ id, name: "time.now", arguments: "{}" })) },
  ...ids.map((id) => result(id, `of ${id}`))
]

const Text = Schema.Literals(["", " ", "\n", "word", "more words 🦀"])
const Id = Schema.Literals(["a", "b", "call:1|x", "", "ü"])
/** What a history is made of. */
const Part = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("user"), text: Text }),
  Schema.Struct({ kind: Schema.Literal("said"), text: Text }),
  Schema.Struct({ kind: Schema.Literal("step"), text: Text, ids: Schema.NonEmptyArray(Id) })
])
const conversation = (parts: ReadonlyArray<typeof Part.Type>): ReadonlyArray<PromptMessage> =>
  parts.flatMap((part): ReadonlyArray<PromptMessage> => {
    switch (part.kind) {
      case "user":
        return [user(part.text)]
      case "said":
        return [said(part.text)]
      case "step":
        return step(part.text, ...new Set(part.ids))
    }
  })

describe("google request", () => {
  it("says a whole conversation, the results of a step in one turn and in the order of its calls", () => {
    const body = bodyOf({
      messages: [
        { role: "system", text: "be brief" },
        user("times?"),
        {
          role: "assistant",
          text: "two",
          calls: [
            { id: "a", name: "time.now", arguments: '{"timezone":"UTC"}' },
            { id: "b", name: "time.now", arguments: '{"timezone' }
          ]
        },
        result("a", "noon"),
        result("b", ""),
        user("and be quick")
      ],
      tools,
      params: {
        temperature: 0.5,
        topP: 0.9,
        maxOutputTokens: 9,
        stop: ["x"],
        seed: 7,
        presencePenalty: 1,
        frequencyPenalty: 0
      }
    })

    const name = "time__now"
    assert.deepStrictEqual(body as unknown, {
      systemInstruction: { parts: [{ text: "be brief" }] },
      tools: [
        {
          functionDeclarations: [
            {
              name,
              description: "the time",
              parametersJsonSchema: { type: "object", properties: {} }
            }
          ]
        }
      ],
      generationConfig: {
        temperature: 0.5,
        topP: 0.9,
        maxOutputTokens: 9,
        stopSequences: ["x"],
        presencePenalty: 1,
        seed: 7
      },
      contents: [
        { role: "user", parts: [{ text: "times?" }] },
        {
          role: "model",
          parts: [
            { text: "two" },
            { functionCall: { id: "a", name, args: { timezone: "UTC" } }, ...unsigned },
            { functionCall: { id: "b", name, args: { malformed: '{"timezone' } } }
          ]
        },
        {
          role: "user",
          parts: [
            { functionResponse: { id: "a", name, response: { output: "noon" } } },
            { functionResponse: { id: "b", name, response: { output: "" } } },
            { text: "and be quick" }
          ]
        }
      ]
    })
  })

  it("leaves out what nobody asked for, and what the API cannot take", () => {
    const plain = '{"contents":[{"role":"user","parts":[{"text":"hello"}]}]}'

    assert.strictEqual(encode({}), plain)
    assert.strictEqual(
      encode({ params: { stop: [], presencePenalty: 0, frequencyPenalty: 0, seed: 2 ** 40 } }),
      plain
    )
  })

  it.effect.prop(
    "makes of any history what the API takes",
    { system: Text, parts: Schema.Array(Part), last: Text, offers: Schema.Boolean, isOld: Schema.Boolean },
    ({ system, parts, last, offers, isOld }) =>
      Effect.sync(() => {
        const messages: ReadonlyArray<PromptMessage> = [
          { role: "system", text: system },
          ...conversation(parts),
          user(last)
        ]
        const body = bodyOf({ messages, tools: offers ? tools : [] }, isOld ? "gemini-2.5-pro" : newest)

        assert.deepStrictEqual(broken(body, !isOld), [])
      }),
    { arbitrary: { runs: 500 } }
  )

  it.effect.prop(
    "keeps the body's beginning byte for byte as the conversation grows",
    { system: Text, before: Schema.Array(Part), after: Schema.Array(Part) },
    ({ system, before, after }) =>
      Effect.sync(() => {
        const told = (parts: ReadonlyArray<typeof Part.Type>) =>
          encode({
            messages: [{ role: "system", text: system }, user("first"), ...conversation(parts)],
            tools
          })

        assert.isTrue(told([...before, ...after]).startsWith(told(before).slice(0, -"]}]}".length)))
      }),
    { arbitrary: { runs: 500 } }
  )

  it("joins what one side says in a row, and lets a conversation begin with a person", () => {
    assert.deepStrictEqual(contentsOf(said("hello"), said(""), said("there"), user(" "), user("x")), [
      { role: "user", parts: [{ text: "(The conversation began before this.)" }] },
      { role: "model", parts: [{ text: "hello" }, { text: "there" }] },
      { role: "user", parts: [{ text: "(no text)" }, { text: "x" }] }
    ])
  })

  it("names past calls to a model that is offered no tools, and lets it make none", () => {
    const body = bodyOf({ messages: [user("time?"), ...step("", "a", "b"), user("thanks")] })

    assert.deepStrictEqual(body.toolConfig, { functionCallingConfig: { mode: "NONE" } })
    assert.deepStrictEqual(body.tools, [{ functionDeclarations: [{ name: "time__now" }] }])
    assert.notProperty(bodyOf({ tools }), "toolConfig")
  })

  it("shows images before the text that asks about them, and tells of one that moves", () => {
    const image = { mediaType: "image/webp", data: "UklGRg==" } as const
    const shown = { inlineData: { mimeType: "image/webp", data: "UklGRg==" } }
    const moving = { mediaType: "image/gif", data: "R0lGODlh" } as const
    const partsOf = (text: string, ...images: ReadonlyArray<typeof image | typeof moving>) =>
      contentsOf({ role: "user", text, images })[0]?.parts

    assert.deepStrictEqual(partsOf("what is it?", image), [shown, { text: "what is it?" }])
    assert.deepStrictEqual(partsOf("", image), [shown])
    assert.deepStrictEqual(partsOf("and this?", image, moving), [
      shown,
      { text: "and this?\n\n[1 image was left out here]" }
    ])
    assert.deepStrictEqual(partsOf("", moving), [{ text: "[1 image was left out here]" }])
  })

  it("asks for an answer of a form", () => {
    const schema = { type: "object", properties: {} }

    assert.deepStrictEqual(
      bodyOf({ params: { responseFormat: { type: "json_schema", name: "n", schema } } }).generationConfig,
      { responseMimeType: "application/json", responseJsonSchema: schema }
    )
    assert.deepStrictEqual(bodyOf({ params: { responseFormat: { type: "json_object" } } }).generationConfig, {
      responseMimeType: "application/json"
    })
  })

  it("words how much to think as each generation understands it", () => {
    const asked = (model: string, thinking: "off" | "low" | "medium" | "high") =>
      bodyOf({ params: { thinking } }, model).generationConfig?.["thinkingConfig"]
    const low = { thinkingLevel: "low" }
    const minimal = { thinkingLevel: "minimal" }

    assert.deepStrictEqual(asked("gemini-2.5-flash", "medium"), { thinkingBudget: 8192 })
    assert.deepStrictEqual(asked("gemini-2.5-flash-lite", "off"), { thinkingBudget: 0 })
    assert.deepStrictEqual(asked("models/gemini-2.5-pro", "off"), { thinkingBudget: 128 })
    for (const model of [
      "gemini-3.1-pro-preview",
      "gemini-3.8-flash",
      "gemini-4-argon",
      "gemini-flash-latest"
    ]) {
      assert.deepStrictEqual(
        [asked(model, "off"), asked(model, "high")],
        [low, { thinkingLevel: "high" }],
        model
      )
    }
    for (const model of ["gemini-3-flash-preview", "gemini-3.6-flash", "gemini-3.5-flash-lite"]) {
      assert.deepStrictEqual([asked(model, "off"), asked(model, "low")], [minimal, low], model)
    }
    // Neither thinks.
    for (const model of ["gemini-2.0-flash", "gemma-3-27b-it"]) assert.isUndefined(asked(model, "off"), model)
    assert.notProperty(bodyOf({}), "generationConfig")
  })

  describe("a step", () => {
    const calls = [
      { id: "a", name: "time.now", arguments: '{"z":1}' },
      { id: "b", name: "time.now", arguments: "{}" }
    ]
    const parts = [
      { type: "thought", text: "hm", signature: "s0" },
      { type: "text", text: "let me " },
      { type: "text", text: "see", signature: "s1" },
      { type: "call", id: "a", signature: "s2" },
      { type: "call", id: "b" },
      { type: "text", text: "", signature: "s3" }
    ] as const
    const continuation = new GoogleStep(newest, parts)
    const asked = { role: "assistant", text: "let me see", calls, continuation } as const
    const shown = (message: PromptMessage, model = newest) =>
      bodyOf({ messages: [user("x"), message, result("a", "noon"), result("b", "one")], tools }, model)
        .contents[1]?.parts
    const callPart = (id: string, args: object) => ({ functionCall: { id, name: "time__now", args } })

    it("goes back as it came, each signature in its place, to the model that wrote it", () => {
      assert.deepStrictEqual(shown(asked), [
        { text: "hm", thought: true, thoughtSignature: "s0" },
        { text: "let me " },
        { text: "see", thoughtSignature: "s1" },
        { ...callPart("a", { z: 1 }), thoughtSignature: "s2" },
        callPart("b", {}),
        { text: "", thoughtSignature: "s3" }
      ])
    })

    it("goes without them to another model, or when it is not the step they belong to", () => {
      const without = [{ text: "let me see" }, { ...callPart("a", { z: 1 }), ...unsigned }, callPart("b", {})]
      const other = new GoogleStep("gemini-3.5-flash", parts)

      assert.deepStrictEqual(shown({ ...asked, continuation: other }), without)
      assert.deepStrictEqual(shown({ ...asked, continuation: {} }), without)
      assert.deepStrictEqual(shown({ ...asked, text: "let me" }), [{ text: "let me" }, ...without.slice(1)])
    })

    it("has what stands for a lost signature only for models that want one, on its first call", () => {
      const bare = { role: "assistant", text: "", calls } as const
      const plain = [callPart("a", { z: 1 }), callPart("b", {})]
      const marked = [{ ...plain[0], ...unsigned }, plain[1]]

      for (const model of ["gemini-2.5-flash", "gemini-2.0-flash", "gemma-3-27b-it"]) {
        assert.deepStrictEqual<unknown>(shown(bare, model), plain, model)
      }
      for (const model of [newest, "gemini-4-argon", "gemini-flash-latest"]) {
        assert.deepStrictEqual<unknown>(shown(bare, model), marked, model)
      }
    })
  })
})
