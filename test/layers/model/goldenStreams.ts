/**
 * Answers as each provider sends them, its oddities included, and what they mean. Written by hand after the providers' documentation
 * and habits; none is a recording of anybody's service.
 */
import type * as AnswerDecoder from "#layers/model/AnswerDecoder.ts"
import * as AnthropicDecoder from "#layers/model/AnthropicDecoder.ts"
import * as GoogleDecoder from "#layers/model/GoogleDecoder.ts"
import * as OpenAiChatDecoder from "#layers/model/OpenAiChatDecoder.ts"
import * as ResponsesDecoder from "#layers/model/ResponsesDecoder.ts"
import type { Usage } from "#src/domain/Usage.ts"

export interface Golden {
  readonly name: string
  readonly wire: "openai-chat" | "openai-responses" | "anthropic" | "google"
  readonly stream: string
  /** What a reader makes of it. */
  readonly said: {
    readonly text: string
    readonly calls?: ReadonlyArray<readonly [id: string, name: string, args: string]>
    readonly end: "stop" | "calls" | "length" | "filtered" | { readonly failure: string }
    readonly usage?: Partial<Usage>
  }
}

const options: AnswerDecoder.DecoderOptions = {
  toolName: (name) => name,
  madeUpId: (position) => `made_${position}`,
  takenIds: new Set(),
  detail: (text) => text.slice(0, 200)
}

export const decoderOf = (wire: Golden["wire"]): AnswerDecoder.Decoder => {
  switch (wire) {
    case "openai-chat":
      return OpenAiChatDecoder.make(options, { model: "m" })
    case "openai-responses":
      return ResponsesDecoder.make("m", options)
    case "anthropic":
      return AnthropicDecoder.make("m", options)
    case "google":
      return GoogleDecoder.make("m", options)
  }
}

/** Lines of data, each with its empty line. */
const data = (...items: ReadonlyArray<unknown>) =>
  items.map((item) => `data: ${typeof item === "string" ? item : JSON.stringify(item)}\n\n`).join("")

/** Events with their names. */
const events = (...items: ReadonlyArray<Readonly<Record<string, unknown>> & { readonly type: string }>) =>
  items.map((item) => `event: ${item.type}\ndata: ${JSON.stringify(item)}\n\n`).join("")

const choice = (delta: object, finish: string | null = null, more: object = {}) => ({
  id: "c1",
  object: "chat.completion.chunk",
  created: 1,
  model: "m",
  choices: [{ index: 0, delta, finish_reason: finish, ...more }]
})
const call = (index: number, id: string | undefined, name: string | undefined, args: string) => ({
  tool_calls: [
    {
      index,
      ...(id === undefined ? {} : { id, type: "function" }),
      function: { ...(name === undefined ? {} : { name }), arguments: args }
    }
  ]
})

const chat: ReadonlyArray<Golden> = [
  {
    name: "openai: null fields, padding against eavesdroppers, usage in an event without choices",
    wire: "openai-chat",
    stream: data(
      { ...choice({ role: "assistant", content: "", refusal: null }), usage: null, obfuscation: "x1y2" },
      { ...choice({ content: "Grüß" }), usage: null, obfuscation: "a" },
      { ...choice({ content: " Gott 🦀" }), usage: null, obfuscation: "bc" },
      { ...choice({}, "stop"), usage: null },
      {
        ...choice({}),
        choices: [],
        usage: {
          prompt_tokens: 1200,
          completion_tokens: 40,
          prompt_tokens_details: { cached_tokens: 1024, audio_tokens: 0 },
          completion_tokens_details: { reasoning_tokens: 32, audio_tokens: 0 }
        }
      },
      "[DONE]"
    ),
    said: {
      text: "Grüß Gott 🦀",
      end: "stop",
      usage: { inputTokens: 1200, outputTokens: 40, cachedTokens: 1024, reasoningTokens: 32 }
    }
  },
  {
    name: "openai: parallel calls, their arguments interleaved",
    wire: "openai-chat",
    stream: data(
      choice({ role: "assistant", content: null, ...call(0, "call_a", "fs__read", "") }),
      choice(call(1, "call_b", "time__now", "")),
      choice(call(0, undefined, undefined, '{"path":')),
      choice(call(1, undefined, undefined, "{}")),
      choice(call(0, undefined, undefined, '"a.txt"}')),
      choice({}, "tool_calls"),
      "[DONE]"
    ),
    said: {
      text: "",
      calls: [
        ["call_a", "fs__read", '{"path":"a.txt"}'],
        ["call_b", "time__now", "{}"]
      ],
      end: "calls"
    }
  },
  {
    name: "openrouter: comments while it waits, reasoning in two forms, a price",
    wire: "openai-chat",
    stream:
      ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" +
      data(
        {
          ...choice({ role: "assistant", content: "", reasoning: "Let me", reasoning_details: [{}] }),
          provider: "P"
        },
        choice({
          content: "",
          reasoning: " think",
          reasoning_details: [{ type: "reasoning.text", text: " think" }]
        })
      ) +
      ": OPENROUTER PROCESSING\n\n" +
      data(
        choice({ role: "assistant", content: "Four." }),
        choice({ content: "" }, "stop", { native_finish_reason: "end_turn" }),
        {
          ...choice({ role: "assistant", content: "" }),
          usage: {
            prompt_tokens: 10,
            completion_tokens: 9,
            cost: 0.00012,
            prompt_tokens_details: { cached_tokens: 0 },
            completion_tokens_details: { reasoning_tokens: 6 }
          }
        },
        "[DONE]"
      ),
    said: {
      text: "Four.",
      end: "stop",
      usage: { inputTokens: 10, outputTokens: 9, reasoningTokens: 6 }
    }
  },
  {
    name: "openrouter: its provider fails within the answer",
    wire: "openai-chat",
    stream: data(
      choice({ content: "Half of" }),
      {
        ...choice({ content: "" }, "error"),
        error: { code: 502, message: "Provider disconnected", metadata: { provider_name: "P" } }
      },
      "[DONE]"
    ),
    said: { text: "Half of", end: { failure: "ModelUnavailable" } }
  },
  {
    name: "groq: usage in a place of its own",
    wire: "openai-chat",
    stream: data(
      { ...choice({ role: "assistant", content: "" }), x_groq: { id: "req_1" } },
      choice({ reasoning: "quick" }),
      choice({ content: "Fast." }),
      {
        ...choice({}, "stop"),
        x_groq: { id: "req_1", usage: { prompt_tokens: 5, completion_tokens: 2, queue_time: 0.01 } }
      },
      "[DONE]"
    ),
    said: { text: "Fast.", end: "stop", usage: { inputTokens: 5, outputTokens: 2 } }
  },
  {
    name: "groq: a call that its parser could not read",
    wire: "openai-chat",
    stream:
      data(choice({ role: "assistant", content: "" })) +
      'event: error\ndata: {"error":{"message":"Failed to call a function","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<fn"}}\n\n',
    said: { text: "", end: { failure: "ModelRejected" } }
  },
  {
    name: "ollama: every call is number 0 and whole, and the end is an ordinary one",
    wire: "openai-chat",
    stream: data(
      choice({ role: "assistant", content: "", reasoning: "I need two tools" }),
      choice({ role: "assistant", content: "", ...call(0, "call_x1", "time__now", "{}") }),
      choice({ role: "assistant", content: "", ...call(0, "call_x2", "fs__list", '{"path":"."}') }),
      choice({ role: "assistant", content: "" }, "stop"),
      { ...choice({}), choices: [], usage: { prompt_tokens: 30, completion_tokens: 12 } },
      "[DONE]"
    ),
    said: {
      text: "",
      calls: [
        ["call_x1", "time__now", "{}"],
        ["call_x2", "fs__list", '{"path":"."}']
      ],
      end: "calls",
      usage: { inputTokens: 30, outputTokens: 12 }
    }
  },
  {
    name: "ollama: an error that is only words",
    wire: "openai-chat",
    stream: data(choice({ content: "So" }), { error: "model runner has unexpectedly stopped" }),
    said: { text: "So", end: { failure: "ModelUnavailable" } }
  },
  {
    name: "vllm: reasoning beside the text, usage on each event, a stop reason of its own",
    wire: "openai-chat",
    stream: data(
      { ...choice({ role: "assistant", content: "" }), usage: { prompt_tokens: 8, completion_tokens: 0 } },
      { ...choice({ reasoning_content: "hm" }), usage: { prompt_tokens: 8, completion_tokens: 1 } },
      { ...choice({ reasoning: "hm", content: null }), usage: { prompt_tokens: 8, completion_tokens: 1 } },
      { ...choice({ content: "Yes" }), usage: { prompt_tokens: 8, completion_tokens: 2 } },
      {
        ...choice({ content: "" }, "stop", { stop_reason: 128009 }),
        usage: { prompt_tokens: 8, completion_tokens: 3 }
      },
      "[DONE]"
    ),
    said: { text: "Yes", end: "stop", usage: { inputTokens: 8, outputTokens: 3 } }
  },
  {
    name: "vllm: its error bare, as an event like any other",
    wire: "openai-chat",
    stream: data(choice({ content: "A" }), {
      object: "error",
      message: "This model's maximum context length is 4096 tokens",
      type: "BadRequestError",
      param: null,
      code: 400
    }),
    said: { text: "A", end: { failure: "ModelRejected" } }
  },
  {
    name: "vllm: the engine gave the request up",
    wire: "openai-chat",
    stream: data(choice({ content: "A" }), choice({}, "abort"), "[DONE]"),
    said: { text: "A", end: { failure: "ModelUnavailable" } }
  },
  {
    name: "llamacpp: thoughts in the text itself, timings, nothing counted",
    wire: "openai-chat",
    stream: data(
      choice({ role: "assistant", content: null }),
      choice({ content: "<th" }),
      choice({ content: "ink>\nThe user says hi" }),
      choice({ content: ".\n</thi" }),
      choice({ content: "nk>\n\n" }),
      choice({ content: "Hi! <think> is a tag." }),
      { ...choice({}, "stop"), timings: { predicted_n: 12, predicted_per_second: 40.5 } },
      "[DONE]"
    ),
    said: { text: "Hi! <think> is a tag.", end: "stop" }
  },
  {
    name: "llamacpp: an error in a field of its own",
    wire: "openai-chat",
    stream:
      data(choice({ content: "A" })) +
      'error: {"code":500,"message":"context shift is disabled","type":"server_error"}\n\n',
    said: { text: "A", end: { failure: "ModelUnavailable" } }
  },
  {
    name: "any server that does not stream although it was asked to",
    wire: "openai-chat",
    stream: JSON.stringify({
      object: "chat.completion",
      choices: [
        {
          index: 0,
          message: {
            role: "assistant",
            content: "Here:",
            tool_calls: [{ id: "c9", type: "function", function: { name: "f", arguments: { a: 1 } } }]
          },
          finish_reason: "tool_calls"
        }
      ],
      usage: { prompt_tokens: 1, completion_tokens: 2 }
    }),
    said: {
      text: "Here:",
      calls: [["c9", "f", '{"a":1}']],
      end: "calls",
      usage: { inputTokens: 1, outputTokens: 2 }
    }
  }
]

const added = (output_index: number, item: object) => ({
  type: "response.output_item.added",
  output_index,
  item
})
const ended = (output_index: number, item: object) => ({
  type: "response.output_item.done",
  output_index,
  item
})
const outputDelta = (output_index: number, delta: string) => ({
  type: "response.output_text.delta",
  item_id: `msg_${output_index}`,
  output_index,
  content_index: 0,
  delta
})
const argumentsDelta = (output_index: number, delta: string) => ({
  type: "response.function_call_arguments.delta",
  item_id: `fc_${output_index}`,
  output_index,
  delta
})
const message = (text: string) => ({
  id: "msg_0",
  type: "message",
  role: "assistant",
  content: [{ type: "output_text", text, annotations: [] }]
})
const usage = {
  input_tokens: 100,
  output_tokens: 50,
  input_tokens_details: { cached_tokens: 64 },
  output_tokens_details: { reasoning_tokens: 40 }
}
const counted = { inputTokens: 100, outputTokens: 50, cachedTokens: 64, reasoningTokens: 40 }
const completed = (more: object = {}) => ({
  type: "response.completed",
  response: { id: "resp_1", object: "response", status: "completed", error: null, usage, ...more }
})

const responses: ReadonlyArray<Golden> = [
  {
    name: "responses: text in pieces, told again whole",
    wire: "openai-responses",
    stream: events(
      {
        type: "response.created",
        response: { id: "resp_1", object: "response", status: "in_progress" }
      },
      added(0, { id: "msg_0", type: "message", content: [] }),
      { type: "response.content_part.added", output_index: 0 },
      outputDelta(0, "Guten "),
      outputDelta(0, "Tag 🦀"),
      { type: "response.output_text.done", output_index: 0, text: "Guten Tag 🦀" },
      ended(0, message("Guten Tag 🦀")),
      completed({ output: [message("Guten Tag 🦀")] })
    ),
    said: { text: "Guten Tag 🦀", end: "stop", usage: counted }
  },
  {
    name: "responses: reasoning, then parallel calls",
    wire: "openai-responses",
    stream: events(
      added(0, { id: "rs_0", type: "reasoning", summary: [] }),
      { type: "response.reasoning_summary_text.delta", output_index: 0, delta: "two tools" },
      ended(0, { id: "rs_0", type: "reasoning", summary: [], encrypted_content: "gAAAA" }),
      added(1, { id: "fc_1", type: "function_call", call_id: "call_1", name: "fs__read", arguments: "" }),
      argumentsDelta(1, '{"path":'),
      added(2, { id: "fc_2", type: "function_call", call_id: "call_2", name: "time__now", arguments: "" }),
      argumentsDelta(2, "{}"),
      argumentsDelta(1, '"é"}'),
      { type: "response.function_call_arguments.done", output_index: 1, arguments: '{"path":"é"}' },
      ended(2, { id: "fc_2", type: "function_call", call_id: "call_2", name: "time__now", arguments: "{}" }),
      ended(1, {
        id: "fc_1",
        type: "function_call",
        call_id: "call_1",
        name: "fs__read",
        arguments: '{"path":"é"}'
      }),
      completed()
    ),
    said: {
      text: "",
      calls: [
        ["call_1", "fs__read", '{"path":"é"}'],
        ["call_2", "time__now", "{}"]
      ],
      end: "calls",
      usage: counted
    }
  },
  {
    name: "responses: a server that numbers every item 0 and tells arguments once",
    wire: "openai-responses",
    stream: events(
      added(0, { type: "message", content: [] }),
      outputDelta(0, "One moment."),
      ended(0, { type: "function_call", call_id: "a", name: "f", arguments: '{"x":1}' }),
      ended(0, { type: "function_call", call_id: "b", name: "g", arguments: "" }),
      completed({ usage: null })
    ),
    said: {
      text: "One moment.",
      calls: [
        ["a", "f", '{"x":1}'],
        ["b", "g", "{}"]
      ],
      end: "calls"
    }
  },
  {
    name: "responses: the output limit within a call",
    wire: "openai-responses",
    stream: events(
      added(0, { type: "message", content: [] }),
      outputDelta(0, "Let me"),
      added(1, { type: "function_call", call_id: "a", name: "f", arguments: "" }),
      argumentsDelta(1, '{"x'),
      {
        type: "response.incomplete",
        response: { status: "incomplete", incomplete_details: { reason: "max_output_tokens" }, usage }
      }
    ),
    said: { text: "Let me", end: "length", usage: counted }
  },
  {
    name: "responses: withheld, after a refusal in words",
    wire: "openai-responses",
    stream: events(
      { type: "response.refusal.delta", output_index: 0, delta: "I will not." },
      {
        type: "response.incomplete",
        response: { status: "incomplete", incomplete_details: { reason: "content_filter" } }
      }
    ),
    said: { text: "I will not.", end: "filtered" }
  },
  {
    name: "responses: it failed",
    wire: "openai-responses",
    stream: events(outputDelta(0, "A"), {
      type: "response.failed",
      response: { status: "failed", error: { code: "rate_limit_exceeded", message: "slow down" } }
    }),
    said: { text: "A", end: { failure: "ModelRateLimited" } }
  },
  {
    name: "responses: an error event, its facts at the top",
    wire: "openai-responses",
    stream: events({ type: "error", code: "server_error", message: "oops", param: null }),
    said: { text: "", end: { failure: "ModelUnavailable" } }
  },
  {
    name: "responses: a server that sends only the end",
    wire: "openai-responses",
    stream: events(
      completed({
        output: [
          { type: "web_search_call", id: "ws_1", status: "completed" },
          message("All at once"),
          { type: "function_call", call_id: "a", name: "f", arguments: "{}" }
        ]
      })
    ),
    said: { text: "All at once", calls: [["a", "f", "{}"]], end: "calls", usage: counted }
  },
  {
    name: "responses: a server that does not stream",
    wire: "openai-responses",
    stream: JSON.stringify({
      id: "r",
      object: "response",
      status: "completed",
      output: [message("whole")],
      usage
    }),
    said: { text: "whole", end: "stop", usage: counted }
  }
]

const anthropic: ReadonlyArray<Golden> = [
  {
    name: "anthropic: pings, thoughts, text and calls",
    wire: "anthropic",
    stream: events(
      {
        type: "message_start",
        message: {
          usage: {
            input_tokens: 3,
            cache_read_input_tokens: 90,
            cache_creation_input_tokens: 7,
            output_tokens: 1
          }
        }
      },
      {
        type: "content_block_start",
        index: 0,
        content_block: { type: "thinking", thinking: "", signature: "" }
      },
      { type: "ping" },
      { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "…" } },
      { type: "content_block_delta", index: 0, delta: { type: "signature_delta", signature: "sig" } },
      { type: "content_block_stop", index: 0 },
      { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "Moment, ü" } },
      { type: "content_block_stop", index: 1 },
      {
        type: "content_block_start",
        index: 2,
        content_block: { type: "tool_use", id: "toolu_1", name: "fs__read", input: {} }
      },
      { type: "content_block_delta", index: 2, delta: { type: "input_json_delta", partial_json: "" } },
      {
        type: "content_block_delta",
        index: 2,
        delta: { type: "input_json_delta", partial_json: '{"path":"a' }
      },
      {
        type: "content_block_delta",
        index: 2,
        delta: { type: "input_json_delta", partial_json: '"}' }
      },
      { type: "content_block_stop", index: 2 },
      { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 25 } },
      { type: "message_stop" }
    ),
    said: {
      text: "Moment, ü",
      calls: [["toolu_1", "fs__read", '{"path":"a"}']],
      end: "calls",
      usage: { inputTokens: 100, outputTokens: 25, cachedTokens: 90 }
    }
  },
  {
    name: "anthropic: overloaded within the answer",
    wire: "anthropic",
    stream: events(
      { type: "message_start", message: { usage: { input_tokens: 3, output_tokens: 1 } } },
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Wel" } },
      { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }
    ),
    said: { text: "Wel", end: { failure: "ModelUnavailable" } }
  }
]

const chunk = (parts: ReadonlyArray<object>, more: object = {}, usageMetadata: object = {}) => ({
  candidates: [{ content: { parts, role: "model" }, index: 0, ...more }],
  usageMetadata: { promptTokenCount: 40, totalTokenCount: 40, ...usageMetadata },
  modelVersion: "gemini-3.8-flash",
  responseId: "r1"
})
const ends = (finishReason: string) => ({ finishReason })

const google: ReadonlyArray<Golden> = [
  {
    name: "google: text with counts in each chunk, the signature in an empty part at the end",
    wire: "google",
    stream: data(
      chunk([{ text: "Grüß" }], {}, { thoughtsTokenCount: 30 }),
      chunk([{ text: " Gott 🦀" }], {}, { candidatesTokenCount: 2, thoughtsTokenCount: 30 }),
      chunk([{ text: "", thoughtSignature: "EqQFCqEF" }], ends("STOP"), {
        candidatesTokenCount: 5,
        thoughtsTokenCount: 30,
        cachedContentTokenCount: 32,
        promptTokensDetails: [{ modality: "TEXT", tokenCount: 40 }]
      })
    ),
    said: {
      text: "Grüß Gott 🦀",
      end: "stop",
      usage: { inputTokens: 40, outputTokens: 35, cachedTokens: 32, reasoningTokens: 30 }
    }
  },
  {
    name: "google: thoughts told, then two calls in one chunk, the first signed, none with an id",
    wire: "google",
    stream: data(
      chunk([{ text: "**Two tools**", thought: true }]),
      chunk([{ text: "One moment." }]),
      chunk([
        { functionCall: { name: "fs__read", args: { path: "é" } }, thoughtSignature: "CsYB" },
        { functionCall: { name: "time__now", args: {} } }
      ]),
      chunk([{ text: "" }], ends("STOP"), { candidatesTokenCount: 20 })
    ),
    said: {
      text: "One moment.",
      calls: [
        ["made_0", "fs__read", '{"path":"é"}'],
        ["made_1", "time__now", "{}"]
      ],
      end: "calls",
      usage: { inputTokens: 40, outputTokens: 20 }
    }
  },
  {
    name: "google: a call without arguments, its id given, counts in a chunk of their own at the end",
    wire: "google",
    stream: data(chunk([{ functionCall: { id: "fc_1", name: "time__now" } }], ends("STOP")), {
      usageMetadata: { promptTokenCount: 41, candidatesTokenCount: 9 }
    }),
    said: {
      text: "",
      calls: [["fc_1", "time__now", "{}"]],
      end: "calls",
      usage: { inputTokens: 41, outputTokens: 9 }
    }
  },
  {
    name: "google: the output limit, all of it spent on thoughts",
    wire: "google",
    stream: data({
      candidates: [{ content: { role: "model" }, finishReason: "MAX_TOKENS", index: 0 }],
      usageMetadata: { promptTokenCount: 8, thoughtsTokenCount: 15, totalTokenCount: 23 }
    }),
    said: { text: "", end: "length", usage: { inputTokens: 8, outputTokens: 15, reasoningTokens: 15 } }
  },
  {
    name: "google: withheld within the answer",
    wire: "google",
    stream: data(chunk([{ text: "The recipe" }]), {
      candidates: [{ finishReason: "SAFETY", index: 0, safetyRatings: [{ blocked: true }] }]
    }),
    said: { text: "The recipe", end: "filtered", usage: { inputTokens: 40 } }
  },
  {
    name: "google: the prompt was refused, and there are no candidates",
    wire: "google",
    stream: data({ promptFeedback: { blockReason: "PROHIBITED_CONTENT" }, modelVersion: "m" }),
    said: { text: "", end: "filtered" }
  },
  {
    name: "google: a call that its parser could not read",
    wire: "google",
    stream: data(
      chunk([{ text: "Let me" }]),
      chunk([], { ...ends("MALFORMED_FUNCTION_CALL"), finishMessage: "Malformed function call: print(" })
    ),
    said: { text: "Let me", end: { failure: "ModelMalformed" } }
  },
  {
    name: "google: overloaded within the answer",
    wire: "google",
    stream: data(chunk([{ text: "Wel" }]), {
      error: { code: 503, message: "The model is overloaded.", status: "UNAVAILABLE" }
    }),
    said: { text: "Wel", end: { failure: "ModelUnavailable" } }
  },
  {
    name: "google: a list, because what was asked of the stream got lost on the way",
    wire: "google",
    stream: `[${[chunk([{ text: "All " }]), chunk([{ text: "at once" }], ends("STOP"))].map((one) => JSON.stringify(one, null, 2)).join("\n,\r\n")}\n]\n`,
    said: { text: "All at once", end: "stop", usage: { inputTokens: 40 } }
  },
  {
    name: "google: an error in a list, with status 200",
    wire: "google",
    stream: JSON.stringify([{ error: { code: 429, message: "exhausted", status: "RESOURCE_EXHAUSTED" } }]),
    said: { text: "", end: { failure: "ModelRateLimited" } }
  }
]

export const goldenStreams: ReadonlyArray<Golden> = [...chat, ...responses, ...anthropic, ...google]
