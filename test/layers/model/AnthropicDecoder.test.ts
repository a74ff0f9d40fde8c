import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decoder from "#layers/model/AnthropicDecoder.ts"
import { AnthropicStep } from "#layers/model/AnthropicStep.ts"
import type { ModelEvent } from "#src/model/Model.ts"
import { begin, call, close, done, event, open, piece, stop, text, thought } from "./anthropicEvents.ts"

type Decoded = { readonly events: ReadonlyArray<ModelEvent>; readonly reason: string | undefined }

const decodePieces = (
  pieces: Iterable<Uint8Array>,
  isCut = false,
  taken: ReadonlyArray<string> = []
): Decoded => {
  const decoder = Decoder.make("m", {
    toolName: (name) => name,
    madeUpId: (position) => `made_${position}`,
    takenIds: new Set(taken),
    detail: (text) => text.slice(0, 100)
  })
  const events: Array<ModelEvent> = []
  for (const piece of pieces) events.push(...decoder.push(piece))
  events.push(...decoder.finish(isCut))
  return { events, reason: decoder.failure()?._tag }
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const decode = (...parts: ReadonlyArray<string>): Decoded => decodePieces([bytes(parts.join(""))])

const written = ({ events }: Decoded) => events.map((one) => (one._tag === "Text" ? one.text : "")).join("")
const called = ({ events }: Decoded) =>
  events.flatMap((one) => (one._tag === "Call" ? [[one.call.id, one.call.name, one.call.arguments]] : []))
const ended = ({ events }: Decoded) => {
  const last = events.at(-1)
  return last?._tag === "End" ? last : undefined
}
const usageOf = (...parts: ReadonlyArray<string>) => ended(decode(...parts))?.usage
const endsOf = ({ events, reason }: Decoded) =>
  events.filter((one) => one._tag === "End").length + (reason === undefined ? 0 : 1)

/** Everything at once: thoughts signed and redacted, text, two calls, a ping, a block of a tool of the provider's own. */
const whole = [
  begin({ input_tokens: 5, cache_creation_input_tokens: 10, cache_read_input_tokens: 100, output_tokens: 1 }),
  event("ping"),
  thought(0, "c2ln", "Дума", "ю 🤔"),
  open(1, { type: "redacted_thinking", data: "ZGF0YQ" }),
  close(1),
  text(2, "Let me ", "see 🦀"),
  open(3, { type: "server_tool_use", id: "srv", name: "web_search", input: {} }),
  piece(3, { type: "input_json_delta", partial_json: '{"q":1}' }),
  close(3),
  call(4, "a", "first", "", '{"x"', ":1}"),
  call(5, "b", "second", '{"y":"é', '"}'),
  stop("tool_use", { output_tokens: 42 }),
  done
].join("")

describe("AnthropicDecoder", () => {
  it("gives text as it comes, calls whole and in order, and thoughts to nobody but the next step", () => {
    const decoded = decode(whole)

    assert.strictEqual(decoded.reason, undefined)
    assert.deepStrictEqual(decoded.events.slice(0, -1), [
      { _tag: "Text", text: "Let me " },
      { _tag: "Text", text: "see 🦀" },
      { _tag: "Call", call: { id: "a", name: "first", arguments: '{"x":1}' } },
      { _tag: "Call", call: { id: "b", name: "second", arguments: '{"y":"é"}' } }
    ])
    const { continuation, ...end } = ended(decoded) ?? {}
    assert.deepStrictEqual(end, {
      _tag: "End",
      reason: "calls",
      usage: { inputTokens: 115, outputTokens: 42, cachedTokens: 100, writtenTokens: 10, estimated: false }
    })
    assert.deepStrictEqual(
      continuation,
      new AnthropicStep("m", [
        { type: "thinking", thinking: "Думаю 🤔", signature: "c2ln" },
        { type: "redacted_thinking", data: "ZGF0YQ" },
        { type: "text", text: "Let me see 🦀" },
        { type: "call", id: "a" },
        { type: "call", id: "b" }
      ])
    )
  })

  it("has nothing to show again for a step without thoughts, or for an answer", () => {
    assert.notProperty(ended(decode(begin(), call(0, "a", "f"), stop("tool_use"), done)), "continuation")
    assert.notProperty(
      ended(decode(begin(), thought(0, "s", "x"), text(1, "a"), stop(), done)),
      "continuation"
    )
  })

  it("does not give a thought back that was never signed", () => {
    const decoded = decode(begin(), thought(0, "", "unsigned"), call(1, "a", "f"), stop("tool_use"), done)

    assert.notProperty(ended(decoded), "continuation")
    assert.strictEqual(written(decoded), "")
  })

  it.effect.prop(
    "gives the same events however the bytes are split",
    {
      cuts: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3_000 }))),
      crlf: Schema.Boolean
    },
    ({ cuts, crlf }) =>
      Effect.sync(() => {
        const all = bytes(crlf ? whole.replaceAll("\n", "\r\n") : whole)
        const at = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length]
        const pieces = at.slice(1).map((to, i) => all.subarray(at[i], to))

        assert.deepStrictEqual(decodePieces(pieces), decode(whole))
      }),
    { arbitrary: { runs: 300 } }
  )

  it("gives the same events byte by byte", () => {
    const all = bytes(whole)

    assert.deepStrictEqual(decodePieces(Array.from(all, (_, i) => all.subarray(i, i + 1))), decode(whole))
  })

  it("ends every truncation with one end or one reason, and never invents a call", () => {
    const all = bytes(whole)
    for (let length = 0; length < all.length; length++) {
      const decoded = decodePieces([all.subarray(0, length)], true)

      assert.strictEqual(endsOf(decoded), 1, `truncated to ${length}`)
      if (decoded.reason !== undefined) assert.isTrue(decoded.events.every((one) => one._tag === "Text"))
      else assert.deepStrictEqual(called(decoded), called(decode(whole)))
    }
  })

  it.effect.prop(
    "ends every mutation with one end or one reason, and never throws",
    {
      changes: Schema.Array(
        Schema.Tuple([
          Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3_000 })),
          Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
        ])
      )
    },
    ({ changes }) =>
      Effect.sync(() => {
        const all = bytes(whole)
        for (const [at, value] of changes) if (at < all.length) all[at] = value

        assert.strictEqual(endsOf(decodePieces([all.subarray(0, 700), all.subarray(700)])), 1)
      }),
    { arbitrary: { runs: 500 } }
  )

  it.effect.prop(
    "survives any JSON in any place of an event",
    { json: Schema.Json, other: Schema.Json },
    ({ json, other }) =>
      Effect.sync(() => {
        const decoded = decode(
          event("message_start", { message: json }),
          event("message_start", { message: { usage: other } }),
          event("content_block_start", { index: json, content_block: other }),
          ...["text", "thinking", "redacted_thinking", "tool_use"].map((type, index) =>
            event("content_block_start", {
              index,
              content_block: {
                type,
                text: json,
                thinking: json,
                data: json,
                id: json,
                name: "f",
                input: other
              }
            })
          ),
          ...["text_delta", "thinking_delta", "signature_delta", "input_json_delta"].map((type) =>
            event("content_block_delta", {
              index: 3,
              delta: { type, text: json, thinking: json, signature: json, partial_json: json }
            })
          ),
          event("content_block_delta", { delta: json }),
          event("message_delta", { delta: json, usage: other }),
          `data: ${JSON.stringify(other)}\n\n`,
          stop(),
          done
        )

        assert.strictEqual(endsOf(decoded), 1)
      }),
    { arbitrary: { runs: 300 } }
  )

  it("counts the prompt from the first event, and lets no later event take it back", () => {
    const used = (inputTokens: number, outputTokens: number, cachedTokens: number) => ({
      inputTokens,
      outputTokens,
      cachedTokens,
      estimated: false
    })
    const start = begin({ input_tokens: 5, cache_read_input_tokens: 9, output_tokens: 1 })

    assert.deepStrictEqual(usageOf(start, stop(), done), used(14, 3, 9))
    assert.deepStrictEqual(
      usageOf(
        start,
        stop("end_turn", { input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 8 }),
        done
      ),
      used(14, 8, 9)
    )
    assert.deepStrictEqual(
      usageOf(begin({ input_tokens: 0 }), stop("end_turn", { input_tokens: 6, output_tokens: 2 }), done),
      used(6, 2, 0)
    )
    assert.deepStrictEqual(
      usageOf(
        begin({ input_tokens: 5, cache_creation_input_tokens: null, cache_read_input_tokens: "x" }),
        stop("end_turn", null),
        done
      ),
      used(5, 0, 0)
    )
    assert.strictEqual(usageOf(begin(null), stop("end_turn", {}), done), undefined)
    const zeros = { input_tokens: 0, output_tokens: 0 }
    assert.strictEqual(usageOf(begin(zeros), stop("end_turn", zeros), done), undefined)
  })

  it("says why the model stopped", () => {
    const reason = (said: string) => ended(decode(begin(), text(0, "a"), stop(said), done))?.reason

    assert.deepStrictEqual(
      [
        "end_turn",
        "stop_sequence",
        "pause_turn",
        "max_tokens",
        "model_context_window_exceeded",
        "refusal",
        "new"
      ].map(reason),
      ["stop", "stop", "stop", "length", "length", "filtered", "stop"]
    )
  })

  it("takes an answer as complete by its end mark or by the model's reason, and by nothing else", () => {
    assert.strictEqual(ended(decode(begin(), text(0, "a"), done))?.reason, "stop")
    assert.strictEqual(ended(decode(begin(), text(0, "a"), stop()))?.reason, "stop")
    assert.strictEqual(ended(decode(begin(), text(0, "a"), stop("tool_use").trimEnd()))?.reason, "stop")
    assert.strictEqual(ended(decode(begin(), text(0, "a"), stop(), "data: [DONE]\n\n"))?.reason, "stop")
    assert.strictEqual(decode(begin(), text(0, "a")).reason, "ModelCutOff")
    assert.strictEqual(decode(begin(), call(0, "a", "f", "{}")).reason, "ModelCutOff")
    assert.strictEqual(decode("").reason, "ModelCutOff")
  })

  it("reads arguments that come in pieces, whole at once, or not at all", () => {
    const decoded = decode(
      begin(),
      call(0, "a", "f"),
      open(1, { type: "tool_use", id: "b", name: "g", input: { x: 1 } }),
      close(1),
      open(2, { type: "tool_use", id: "c", name: "h", input: { x: 1 } }),
      piece(2, { type: "input_json_delta", partial_json: '{"y"' }),
      piece(2, { type: "input_json_delta", partial_json: ":2}" }),
      stop("tool_use"),
      done
    )

    assert.deepStrictEqual(called(decoded), [
      ["a", "f", "{}"],
      ["b", "g", '{"x":1}'],
      ["c", "h", '{"y":2}']
    ])
  })

  it("drops a call that was cut at the output limit, and keeps it out of what is shown again", () => {
    const decoded = decode(
      begin(),
      thought(0, "s", "hm"),
      call(1, "a", "f", "{}"),
      call(2, "b", "g", '{"x'),
      stop("max_tokens"),
      done
    )

    assert.deepStrictEqual(called(decoded), [["a", "f", "{}"]])
    assert.deepInclude(ended(decoded), {
      reason: "length",
      continuation: new AnthropicStep("m", [
        { type: "thinking", thinking: "hm", signature: "s" },
        { type: "call", id: "a" }
      ])
    })
  })

  it("gives each call its own id, and one that the conversation does not hold", () => {
    const decoded = decodePieces(
      [
        bytes(begin() + call(0, "old", "f") + call(1, "", "f") + call(2, "b", "f") + call(3, "b", "f") + done)
      ],
      false,
      ["old"]
    )

    assert.deepStrictEqual(
      called(decoded).map(([id]) => id),
      ["made_0", "made_1", "b", "made_3"]
    )
  })

  it("reads blocks that are all numbered 0, that have no number, or that never began", () => {
    const bare = (type: string, more: object) => event(type, more)
    const numberedZero = decode(begin(), text(0, "a"), call(0, "x", "f", "{}"), call(0, "y", "g", "{}"), done)
    const unnumbered = decode(
      bare("content_block_start", { content_block: { type: "tool_use", id: "x", name: "f" } }),
      bare("content_block_delta", { delta: { type: "input_json_delta", partial_json: "{}" } }),
      stop("tool_use")
    )
    const unopened = decode(
      piece(0, { type: "text_delta", text: "a" }),
      piece(1, { type: "text_delta", text: "b" }),
      stop()
    )

    assert.deepStrictEqual(
      [written(numberedZero), called(numberedZero)],
      [
        "a",
        [
          ["x", "f", "{}"],
          ["y", "g", "{}"]
        ]
      ]
    )
    assert.deepStrictEqual(called(unnumbered), [["x", "f", "{}"]])
    assert.strictEqual(written(unopened), "ab")
  })

  it("passes over citations, events and blocks of later versions", () => {
    const decoded = decode(
      begin(),
      event("content_block_started_thinking_hard", { index: 9 }),
      open(0, { type: "text", text: "a" }),
      piece(0, { type: "citations_delta", citation: { cited_text: "x" } }),
      piece(0, { type: "sparkle_delta", text: "x" }),
      open(1, { type: "hologram", text: "x" }),
      close(1),
      stop(),
      done
    )

    assert.deepStrictEqual([written(decoded), decoded.reason], ["a", undefined])
  })

  it("gives the reason of an error inside the stream, after what had come", () => {
    const failing = (error: unknown) => decode(begin(), text(0, "a"), event("error", { error }))
    const reasonOf = (type: string) => failing({ type, message: "x" }).reason

    assert.strictEqual(written(failing({ type: "overloaded_error", message: "x" })), "a")
    assert.deepStrictEqual(
      {
        overloaded_error: reasonOf("overloaded_error"),
        api_error: reasonOf("api_error"),
        timeout_error: reasonOf("timeout_error"),
        rate_limit_error: reasonOf("rate_limit_error"),
        invalid_request_error: reasonOf("invalid_request_error"),
        not_found_error: reasonOf("not_found_error"),
        request_too_large: reasonOf("request_too_large"),
        billing_error: reasonOf("billing_error"),
        authentication_error: reasonOf("authentication_error"),
        permission_error: reasonOf("permission_error"),
        new_error: reasonOf("new_error")
      },
      {
        overloaded_error: "ModelUnavailable",
        api_error: "ModelUnavailable",
        timeout_error: "ModelUnavailable",
        rate_limit_error: "ModelRateLimited",
        invalid_request_error: "ModelRejected",
        not_found_error: "ModelRejected",
        request_too_large: "ModelRejected",
        billing_error: "ModelRejected",
        authentication_error: "ModelUnauthorized",
        permission_error: "ModelUnauthorized",
        new_error: "ModelUnavailable"
      }
    )
    assert.strictEqual(failing("plain words").reason, "ModelUnavailable")
    assert.strictEqual(
      decode('{"type":"error","error":{"type":"api_error","message":"x"}}').reason,
      "ModelUnavailable"
    )
  })

  it("reads a whole answer of a server that does not stream", () => {
    const decoded = decode(
      JSON.stringify({
        type: "message",
        role: "assistant",
        content: [
          { type: "thinking", thinking: "hm", signature: "s" },
          { type: "text", text: "let me see" },
          { type: "tool_use", id: "a", name: "f", input: { x: 1 } }
        ],
        stop_reason: "tool_use",
        usage: { input_tokens: 1, output_tokens: 2 }
      })
    )

    assert.strictEqual(written(decoded), "let me see")
    assert.deepStrictEqual(called(decoded), [["a", "f", '{"x":1}']])
    assert.deepInclude(ended(decoded), {
      reason: "calls",
      usage: { inputTokens: 1, outputTokens: 2, cachedTokens: 0, estimated: false }
    })
    assert.instanceOf(ended(decoded)?.continuation, AnthropicStep)
  })

  it("refuses what cannot be understood, and answers without bound", () => {
    const endless = Array.from({ length: 5 }, () =>
      piece(0, { type: "input_json_delta", partial_json: "x".repeat(1_000_000) })
    )

    assert.strictEqual(decode("data: {oops\n\n").reason, "ModelMalformed")
    assert.strictEqual(decode("data: 7\n\n").reason, "ModelMalformed")
    assert.strictEqual(decode('{"hello":"world"}').reason, "ModelMalformed")
    assert.strictEqual(
      decode(begin(), open(0, { type: "tool_use", id: "a" }), stop()).reason,
      "ModelMalformed"
    )
    assert.strictEqual(
      decode(begin(), piece(0, { type: "input_json_delta", partial_json: "{" })).reason,
      "ModelMalformed"
    )
    assert.strictEqual(
      decode(open(0, { type: "tool_use", id: "a", name: "f" }), ...endless).reason,
      "ModelMalformed"
    )
  })
})
