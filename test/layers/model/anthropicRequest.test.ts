import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { namesOf } from "#layers/model/AnswerDecoder.ts"
import { AnthropicStep } from "#layers/model/AnthropicStep.ts"
import { encodeRequest } from "#layers/model/anthropicRequest.ts"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import { type Body, broken } from "./anthropicRules.ts"
import { request } from "./fakeProvider.ts"

const encode = (over: Partial<ModelRequest>): string => {
  const one = request(over)
  return encodeRequest("claude", one, namesOf(one))
}
const bodyOf = (over: Partial<ModelRequest>): Body => JSON.parse(encode(over)) as Body
const messagesOf = (...messages: ReadonlyArray<PromptMessage>) => bodyOf({ messages, tools }).messages

const tools = [{ name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }]
const ephemeral = { type: "ephemeral" }
const mark = ',"cache_control":{"type":"ephemeral"}'

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

describe("anthropic request", () => {
  it("says a whole conversation, its results in one message right after their calls", () => {
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
      params: { temperature: 0.5, maxOutputTokens: 9, stop: ["x"], seed: 1, topP: 0.9, presencePenalty: 1 }
    })

    assert.deepStrictEqual(body as unknown, {
      model: "claude",
      stream: true,
      max_tokens: 9,
      temperature: 0.5,
      top_p: 0.9,
      stop_sequences: ["x"],
      tools: [
        { name: "time__now", description: "the time", input_schema: { type: "object", properties: {} } }
      ],
      system: [{ type: "text", text: "be brief", cache_control: ephemeral }],
      messages: [
        { role: "user", content: [{ type: "text", text: "times?", cache_control: ephemeral }] },
        {
          role: "assistant",
          content: [
            { type: "text", text: "two" },
            { type: "tool_use", id: "a", name: "time__now", input: { timezone: "UTC" } },
            { type: "tool_use", id: "b", name: "time__now", input: { malformed: '{"timezone' } }
          ]
        },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: "a", content: "noon" },
            { type: "tool_result", tool_use_id: "b" },
            { type: "text", text: "and be quick", cache_control: ephemeral }
          ]
        }
      ]
    })
  })

  it("sets the limit that the API wants when nobody did, and leaves out what nobody asked for", () => {
    assert.strictEqual(
      encode({}),
      `{"model":"claude","stream":true,"max_tokens":8192,"messages":[{"role":"user","content":[{"type":"text","text":"hello"${mark}}]}]}`
    )
  })

  it.effect.prop(
    "makes of any history what the API takes",
    { system: Text, parts: Schema.Array(Part), last: Text, offers: Schema.Boolean },
    ({ system, parts, last, offers }) =>
      Effect.sync(() => {
        const messages: ReadonlyArray<PromptMessage> = [
          { role: "system", text: system },
          ...conversation(parts),
          user(last)
        ]

        assert.deepStrictEqual(broken(bodyOf({ messages, tools: offers ? tools : [] })), [])
      }),
    { arbitrary: { runs: 500 } }
  )

  it.effect.prop(
    "keeps the body's beginning byte for byte as the conversation grows, the cache marks aside",
    { system: Text, before: Schema.Array(Part), after: Schema.Array(Part) },
    ({ system, before, after }) =>
      Effect.sync(() => {
        const told = (parts: ReadonlyArray<typeof Part.Type>) =>
          encode({
            messages: [{ role: "system", text: system }, user("first"), ...conversation(parts)],
            tools
          })
        const unmarked = (text: string) => text.replaceAll(mark, "")

        const short = unmarked(told(before))

        assert.isTrue(unmarked(told([...before, ...after])).startsWith(short.slice(0, -"]}]}".length)))
      }),
    { arbitrary: { runs: 500 } }
  )

  it("marks for the cache what this prompt shares with the next, and what it shared with the one before", () => {
    const history = [user("one"), said("1"), user("two"), ...step("", "a", "b")]
    const marked = (body: Body) =>
      body.messages.flatMap(({ content }, position) =>
        content.flatMap((block, at) => (block["cache_control"] === undefined ? [] : [`${position}.${at}`]))
      )

    assert.deepStrictEqual(marked(bodyOf({ messages: history.slice(0, 1) })), ["0.0"])
    assert.deepStrictEqual(marked(bodyOf({ messages: history.slice(0, 3) })), ["0.0", "2.0"])
    assert.deepStrictEqual(marked(bodyOf({ messages: history, tools })), ["2.0", "4.1"])
  })

  it("marks the tools when there is no system text, and the system text when there is", () => {
    const system: PromptMessage = { role: "system", text: "be brief" }
    const bare = bodyOf({ tools })
    const full = bodyOf({ tools, messages: [system, user("hello"), { role: "system", text: "a late note" }] })

    assert.deepStrictEqual(bare.tools?.[0]?.["cache_control"], ephemeral)
    assert.notProperty(full.tools?.[0], "cache_control")
    assert.deepStrictEqual(full.system, [
      { type: "text", text: "be brief", cache_control: ephemeral },
      { type: "text", text: "a late note" }
    ])
  })

  it("lets a conversation begin with a person, and no person say nothing", () => {
    assert.deepStrictEqual(
      messagesOf(said("hello"), user(" ")).map(({ role, content }) => [role, content[0]?.["text"]]),
      [
        ["user", "(The conversation began before this.)"],
        ["assistant", "hello"],
        ["user", "(no text)"]
      ]
    )
  })

  it("names past calls to a model that is offered no tools, and lets it make none", () => {
    const body = bodyOf({ messages: [user("time?"), ...step("", "a"), user("thanks")] })

    assert.deepStrictEqual(body.tool_choice, { type: "none" })
    assert.deepStrictEqual(
      body.tools?.map(({ name }) => name),
      ["time__now"]
    )
  })

  it("gives each call its own id, and its result the same", () => {
    const messages = messagesOf(user("x"), ...step("", "call:1"), ...step("", "same"), ...step("", "same"))
    const ids = messages.flatMap(({ content }) =>
      content.map((block) => String(block["id"] ?? block["tool_use_id"] ?? ""))
    )

    assert.match(ids[1] ?? "", /^call_[0-9a-f]{24}$/)
    assert.deepStrictEqual(ids.slice(2), [ids[1], "same", "same", "same_2", "same_2"])
  })

  it("shows images before the text that asks about them, and one without a text", () => {
    const image = { mediaType: "image/webp", data: "UklGRg==" } as const
    const source = { type: "base64", media_type: "image/webp", data: "UklGRg==" }

    assert.deepStrictEqual(messagesOf({ role: "user", text: "what is it?", images: [image] })[0]?.content, [
      { type: "image", source },
      { type: "text", text: "what is it?", cache_control: ephemeral }
    ])
    assert.deepStrictEqual(messagesOf({ role: "user", text: "", images: [image] })[0]?.content, [
      { type: "image", source, cache_control: ephemeral }
    ])
  })

  it("asks for an answer of a form", () => {
    const schema = { type: "object", properties: {} }
    const text = encode({ params: { responseFormat: { type: "json_schema", name: "n", schema } } })

    assert.include(
      text,
      `"output_config":{"format":{"type":"json_schema","schema":${JSON.stringify(schema)}}}`
    )
  })

  describe("thinking", () => {
    const thinkingOf = (model: string, over: Partial<ModelRequest>) => {
      const one = request(over)
      return JSON.parse(encodeRequest(model, one, namesOf(one))) as Readonly<Record<string, unknown>>
    }
    const params = { thinking: "medium", temperature: 0.3, topP: 0.5, maxOutputTokens: 100 } as const

    it("is given a budget beside the output limit, and no temperature", () => {
      for (const model of ["claude-3-7-sonnet-latest", "claude-opus-4-5", "claude-sonnet-4-20250514"]) {
        const body = thinkingOf(model, { params })

        assert.deepInclude(body, {
          thinking: { type: "enabled", budget_tokens: 8192 },
          max_tokens: 8292
        })
        for (const key of ["temperature", "top_p", "output_config"]) assert.notProperty(body, key, model)
      }
    })

    it("is only told how hard where a model settles for itself how long", () => {
      for (const model of ["claude-opus-4-6", "claude-opus-4-7", "claude-sonnet-5"]) {
        assert.deepInclude(
          thinkingOf(model, { params }),
          { thinking: { type: "adaptive" }, output_config: { effort: "medium" } },
          model
        )
      }
    })

    it("is not asked for when off, nor by who did not say", () => {
      for (const one of [{}, { thinking: "off" } as const]) {
        const body = thinkingOf("claude-opus-4-5", { params: { ...one, temperature: 0.3 } })

        assert.notProperty(body, "thinking")
        assert.deepInclude(body, { temperature: 0.3 })
      }
    })

    it("goes on within a run only while the thoughts of its steps are there", () => {
      const calls = [{ id: "a", name: "time.now", arguments: "{}" }]
      const continuation = new AnthropicStep("claude-opus-4-5", [
        { type: "thinking", thinking: "hm", signature: "s" },
        { type: "call", id: "a" }
      ])
      const asked = { role: "assistant", text: "", calls } as const
      const thinks = (...messages: ReadonlyArray<PromptMessage>) =>
        thinkingOf("claude-opus-4-5", { messages, tools, params })["thinking"] !== undefined

      assert.isTrue(thinks(user("x"), { ...asked, continuation }, result("a", "noon")))
      assert.isFalse(thinks(user("x"), asked, result("a", "noon")))
      assert.isTrue(thinks(user("x"), asked, result("a", "noon"), said("Noon."), user("thanks")))
    })
  })

  describe("thoughts of a step", () => {
    const calls = [{ id: "a", name: "time.now", arguments: '{"z":1}' }]
    const parts = [
      { type: "thinking", thinking: "hm", signature: "s1" },
      { type: "text", text: "let me see" },
      { type: "redacted_thinking", data: "d" },
      { type: "call", id: "a" }
    ] as const
    const continuation = new AnthropicStep("claude", parts)
    const shown = (message: PromptMessage) =>
      messagesOf(user("x"), message, result("a", "noon"))[1]?.content.map(({ type }) => type)

    it("go back unchanged and in their place, to the model that had them", () => {
      const messages = messagesOf(
        user("x"),
        { role: "assistant", text: "let me see", calls, continuation },
        result("a", "noon")
      )

      assert.deepStrictEqual(messages[1]?.content, [
        { type: "thinking", thinking: "hm", signature: "s1" },
        { type: "text", text: "let me see" },
        { type: "redacted_thinking", data: "d" },
        { type: "tool_use", id: "a", name: "time__now", input: { z: 1 } }
      ])
    })

    it("do not go to another model, nor with a step that is not the one they belong to", () => {
      const other = new AnthropicStep("claude-2", parts)
      const without = ["text", "tool_use"]

      assert.deepStrictEqual(
        shown({ role: "assistant", text: "let me see", calls, continuation: other }),
        without
      )
      assert.deepStrictEqual(shown({ role: "assistant", text: "let me", calls, continuation }), without)
      assert.deepStrictEqual(
        shown({ role: "assistant", text: "let me see", calls, continuation: {} }),
        without
      )
      const more = [...calls, { id: "b", name: "time.now", arguments: "{}" }]
      assert.deepStrictEqual(shown({ role: "assistant", text: "let me see", calls: more, continuation }), [
        ...without,
        "tool_use"
      ])
    })
  })
})
