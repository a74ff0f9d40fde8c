import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decoder from "#layers/model/GoogleDecoder.ts"
import { GoogleStep } from "#layers/model/GoogleStep.ts"
import type { ModelEvent } from "#src/model/Model.ts"
import {
  call,
  candidate,
  chunk,
  error,
  errorInfo,
  retryInfo,
  said,
  stop,
  text,
  used
} from "./googleEvents.ts"

const decodePieces = (pieces: Iterable<Uint8Array>, isCut = false, taken: ReadonlyArray<string> = []) => {
  const decoder = Decoder.make("m", {
    toolName: (name) => name,
    madeUpId: (position) => `made_${position}`,
    takenIds: new Set(taken),
    detail: (text) => text.slice(0, 100)
  })
  const events: Array<ModelEvent> = []
  for (const piece of pieces) events.push(...decoder.push(piece))
  events.push(...decoder.finish(isCut))
  return { events, failure: decoder.failure(), reason: decoder.failure()?._tag }
}
type Decoded = ReturnType<typeof decodePieces>

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const decode = (...parts: ReadonlyArray<string>): Decoded => decodePieces([bytes(parts.join(""))])

const written = ({ events }: Decoded) => events.map((one) => (one._tag === "Text" ? one.text : "")).join("")
const called = ({ events }: Decoded) =>
  events.flatMap((one) => (one._tag === "Call" ? [[one.call.id, one.call.name, one.call.arguments]] : []))
const ended = ({ events }: Decoded) => {
  const last = events.at(-1)
  return last?._tag === "End" ? last : undefined
}
const endsOf = ({ events, reason }: Decoded) =>
  events.filter((one) => one._tag === "End").length + (reason === undefined ? 0 : 1)

/** Everything at once: thoughts signed and not, text in pieces, two calls in one chunk, counts in each. */
const whole = [
  chunk({
    ...candidate([{ text: "not signed", thought: true }]),
    usageMetadata: { promptTokenCount: 115, thoughtsTokenCount: 9 }
  }),
  said({ text: "Дума", thought: true, thoughtSignature: "c2ln" }),
  text("Let me "),
  text("see 🦀"),
  said(
    { functionCall: { id: "a", name: "first", args: { x: 1 } }, thoughtSignature: "c2lnbmVk" },
    { functionCall: { name: "second", args: { y: "é" } } }
  ),
  said({ text: "", thoughtSignature: "ZW5k" }),
  chunk(candidate([], { finishReason: "STOP" })),
  chunk({
    usageMetadata: {
      promptTokenCount: 115,
      cachedContentTokenCount: 100,
      candidatesTokenCount: 30,
      thoughtsTokenCount: 12,
      totalTokenCount: 157
    }
  })
].join("")

describe("GoogleDecoder", () => {
  it("gives text as it comes, calls whole and in order, and thoughts to nobody but the next step", () => {
    const decoded = decode(whole)

    assert.strictEqual(decoded.reason, undefined)
    assert.deepStrictEqual(decoded.events.slice(0, -1), [
      { _tag: "Text", text: "Let me " },
      { _tag: "Text", text: "see 🦀" },
      { _tag: "Call", call: { id: "a", name: "first", arguments: '{"x":1}' } },
      { _tag: "Call", call: { id: "made_1", name: "second", arguments: '{"y":"é"}' } }
    ])
    const { continuation, ...end } = ended(decoded) ?? {}
    assert.deepStrictEqual(end, {
      _tag: "End",
      reason: "calls",
      usage: {
        inputTokens: 115,
        outputTokens: 42,
        cachedTokens: 100,
        reasoningTokens: 12,
        estimated: false
      }
    })
    assert.deepStrictEqual(
      continuation,
      new GoogleStep("m", [
        { type: "thought", text: "Дума", signature: "c2ln" },
        { type: "text", text: "Let me see 🦀" },
        { type: "call", id: "a", signature: "c2lnbmVk" },
        { type: "call", id: "made_1" },
        { type: "text", text: "", signature: "ZW5k" }
      ])
    )
  })

  it("keeps a signature with its part: signed text is not joined with what stands beside it", () => {
    const decoded = decode(
      text("a"),
      said({ text: "b", thoughtSignature: "s1" }),
      text("c"),
      text("d"),
      call("f", {}, { thoughtSignature: "s2" }),
      stop()
    )

    assert.deepInclude(ended(decoded)?.continuation, {
      parts: [
        { type: "text", text: "a" },
        { type: "text", text: "b", signature: "s1" },
        { type: "text", text: "cd" },
        { type: "call", id: "made_0", signature: "s2" }
      ]
    })
  })

  it("has nothing to show again for a step without signatures, or for an answer", () => {
    const thought = said({ text: "hm", thought: true })
    assert.notProperty(ended(decode(thought, call("f", {}), stop())), "continuation")
    assert.notProperty(ended(decode(said({ text: "a", thoughtSignature: "s" }), stop())), "continuation")
  })

  it.effect.prop(
    "gives the same events however the bytes are split",
    { cuts: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3_000 }))) },
    ({ cuts }) =>
      Effect.sync(() => {
        const all = bytes(whole)
        const at = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length]
        const pieces = at.slice(1).map((to, i) => all.subarray(at[i], to))

        assert.deepStrictEqual(decodePieces(pieces), decode(whole))
      }),
    { arbitrary: { runs: 300 } }
  )

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

        assert.strictEqual(endsOf(decodePieces([all.subarray(0, 400), all.subarray(400)])), 1)
      }),
    { arbitrary: { runs: 500 } }
  )

  it.effect.prop(
    "survives any JSON in any place of a chunk, as an event and in a list",
    { json: Schema.Json, other: Schema.Json },
    ({ json, other }) =>
      Effect.sync(() => {
        const chunks = [
          { candidates: json },
          { candidates: [json] },
          { candidates: [{ content: json, finishMessage: other }] },
          candidate([{ text: json, thought: other, thoughtSignature: json }]),
          candidate([{ functionCall: json }]),
          candidate([{ functionCall: { name: "f", args: json, id: other }, thoughtSignature: other }]),
          { candidates: [{ content: { parts: json }, finishReason: other }] },
          { promptFeedback: json },
          { promptFeedback: { blockReason: other }, usageMetadata: json },
          { usageMetadata: { promptTokenCount: json, thoughtsTokenCount: other } },
          json
        ]
        const events = chunks.map((one) => `data: ${JSON.stringify(one)}\n\n`)

        assert.strictEqual(endsOf(decode(...events, stop())), 1)
        for (const one of chunks) {
          assert.strictEqual(endsOf(decode(JSON.stringify([one, candidate([])]))), 1)
          assert.strictEqual(endsOf(decode(`data: ${JSON.stringify({ error: one })}\n\n`)), 1)
        }
        assert.strictEqual(endsOf(decode(JSON.stringify({ error: { details: json, code: other } }))), 1)
      }),
    { arbitrary: { runs: 300 } }
  )

  it("does not throw at what is nested too deep to be written again", () => {
    const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`

    assert.strictEqual(
      decode(
        `data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":${deep}}}]}}]}\n\n`
      ).reason,
      "ModelMalformed"
    )
    assert.strictEqual(decode(`data: {"error":${deep}}\n\n`).reason, "ModelUnavailable")
    assert.strictEqual(
      decode(`data: ${'{"error":'.repeat(100_000)}1${"}".repeat(100_000)}\n\n`).reason,
      "ModelUnavailable"
    )
  })

  it("says why the model stopped", () => {
    const reason = (said: string) => {
      const decoded = decode(text("a"), stop(said))
      return ended(decoded)?.reason ?? decoded.reason
    }
    const reasons = (...all: ReadonlyArray<string>) => all.map(reason)

    assert.deepStrictEqual(reasons("STOP", "A_NEW_ONE"), ["stop", "stop"])
    assert.deepStrictEqual(reasons("MAX_TOKENS", "CONTINUATION"), ["length", "length"])
    for (const one of ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE"]) {
      assert.strictEqual(reason(one), "filtered", one)
    }
    assert.deepStrictEqual(reasons("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"), [
      "ModelMalformed",
      "ModelMalformed",
      "ModelMalformed"
    ])
    assert.deepStrictEqual(reasons("OTHER", "MISSING_THOUGHT_SIGNATURE", "FINISH_REASON_UNSPECIFIED"), [
      "ModelUnavailable",
      "ModelRejected",
      "ModelCutOff"
    ])
  })

  it("tells what a malformed call looked like", () => {
    const decoded = decode(
      chunk(candidate([], { finishReason: "MALFORMED_FUNCTION_CALL", finishMessage: "Malformed: print(f(" }))
    )

    assert.deepInclude(decoded.failure, {
      _tag: "ModelMalformed",
      detail: "MALFORMED_FUNCTION_CALL: Malformed: print(f("
    })
  })

  it("takes a prompt that is refused for an answer that is withheld", () => {
    const decoded = decode(
      chunk({ promptFeedback: { blockReason: "PROHIBITED_CONTENT" }, usageMetadata: { promptTokenCount: 7 } })
    )

    assert.deepStrictEqual(decoded.events, [
      {
        _tag: "End",
        reason: "filtered",
        usage: { inputTokens: 7, outputTokens: 0, cachedTokens: 0, estimated: false }
      }
    ])
    assert.strictEqual(
      ended(decode(chunk({ promptFeedback: { safetyRatings: [] } }), text("a"), stop()))?.reason,
      "stop"
    )
  })

  it("takes the end of the bytes for the end, once the model has said why it stopped", () => {
    assert.strictEqual(ended(decode(text("a"), stop()))?.reason, "stop")
    assert.strictEqual(ended(decode(text("a"), stop().trimEnd()))?.reason, "stop")
    assert.strictEqual(ended(decodePieces([bytes(text("a") + stop())], true))?.reason, "stop")
    assert.strictEqual(decode(text("a")).reason, "ModelCutOff")
    assert.strictEqual(decode(call("f", {})).reason, "ModelCutOff")
    assert.strictEqual(decode("").reason, "ModelCutOff")
    // Some models say so with each chunk.
    assert.strictEqual(written(decode(text("a"), stop(), text("b"), stop())), "ab")
  })

  it("counts what each chunk tells as totals, thoughts as output, and takes nothing back", () => {
    const usageOf = (...all: ReadonlyArray<unknown>) =>
      ended(decode(...all.map((usageMetadata) => chunk({ usageMetadata })), stop("STOP", null)))?.usage
    const totals = { inputTokens: 12, outputTokens: 7, cachedTokens: 5, reasoningTokens: 4, estimated: false }

    assert.deepStrictEqual(
      usageOf(
        { promptTokenCount: 10, cachedContentTokenCount: 5 },
        { promptTokenCount: 10, toolUsePromptTokenCount: 2, thoughtsTokenCount: 4 },
        { promptTokenCount: 10, candidatesTokenCount: 3 },
        { promptTokenCount: null, candidatesTokenCount: "x" }
      ),
      totals
    )
    assert.isUndefined(usageOf({}, null, { promptTokenCount: 0, candidatesTokenCount: 0 }))
  })

  it("drops no whole call at the output limit", () => {
    const decoded = decode(call("f", { x: 1 }), stop("MAX_TOKENS"))

    assert.deepStrictEqual(called(decoded), [["made_0", "f", '{"x":1}']])
    assert.strictEqual(ended(decoded)?.reason, "length")
  })

  it("gives each call its own id, and one that the conversation does not hold", () => {
    const decoded = decodePieces(
      [bytes(["old", "", "b", "b"].map((id) => said({ functionCall: { id, name: "f" } })).join("") + stop())],
      false,
      ["old"]
    )

    assert.deepStrictEqual(called(decoded), [
      ["made_0", "f", "{}"],
      ["made_1", "f", "{}"],
      ["b", "f", "{}"],
      ["made_3", "f", "{}"]
    ])
  })

  it("gives the reason of an error inside the stream, after what had come", () => {
    const failing = (code: number, status: string, details: ReadonlyArray<object> = []) =>
      decode(text("a"), chunk(error(code, status, "no", details)))
    const reasonOf = (code: number, status: string) => failing(code, status).reason

    assert.strictEqual(written(failing(503, "UNAVAILABLE")), "a")
    assert.deepStrictEqual(
      [
        reasonOf(400, "INVALID_ARGUMENT"),
        reasonOf(401, "UNAUTHENTICATED"),
        reasonOf(403, "PERMISSION_DENIED"),
        reasonOf(404, "NOT_FOUND"),
        reasonOf(429, "RESOURCE_EXHAUSTED"),
        reasonOf(500, "INTERNAL"),
        reasonOf(503, "UNAVAILABLE"),
        reasonOf(504, "DEADLINE_EXCEEDED")
      ],
      [
        "ModelRejected",
        "ModelUnauthorized",
        "ModelUnauthorized",
        "ModelRejected",
        "ModelRateLimited",
        "ModelUnavailable",
        "ModelUnavailable",
        "ModelUnavailable"
      ]
    )
    // Codes of another counting: the name tells.
    assert.strictEqual(reasonOf(8, "RESOURCE_EXHAUSTED"), "ModelRateLimited")
    assert.strictEqual(reasonOf(0, "constructor"), "ModelUnavailable")
    assert.deepInclude(failing(429, "RESOURCE_EXHAUSTED", [{ reason: 1 }, retryInfo("1.5s")]).failure, {
      _tag: "ModelRateLimited",
      retryAfterMillis: 1500
    })
    assert.strictEqual(
      failing(400, "INVALID_ARGUMENT", [errorInfo("API_KEY_INVALID")]).reason,
      "ModelUnauthorized"
    )
    assert.strictEqual(
      decode(JSON.stringify(error(429, "RESOURCE_EXHAUSTED", "no"))).reason,
      "ModelRateLimited"
    )
    assert.strictEqual(decode('data: {"error":"plain words"}\n\n').reason, "ModelUnavailable")
  })

  it("reads a list in place of an event stream, and a whole answer", () => {
    const chunks = [
      candidate([{ text: "one " }]),
      candidate([{ text: "two" }]),
      { ...candidate([], { finishReason: "STOP" }), usageMetadata: used }
    ]
    const list = JSON.stringify(chunks, null, 2)
    const usage = { inputTokens: 7, outputTokens: 3 }

    assert.strictEqual(written(decode(list)), "one two")
    assert.deepInclude(ended(decode(list)), { reason: "stop" })
    assert.deepInclude(ended(decode(list))?.usage, usage)
    assert.deepInclude(ended(decode(JSON.stringify(chunks[2])))?.usage, usage)
    assert.strictEqual(decode(list.slice(0, -1)).reason, "ModelCutOff")
    assert.strictEqual(decode(JSON.stringify(chunks.slice(0, 2))).reason, "ModelCutOff")
    assert.strictEqual(decode("[]").reason, "ModelCutOff")
    assert.strictEqual(decode("[1]").reason, "ModelMalformed")
    const failed = JSON.stringify([error(429, "RESOURCE_EXHAUSTED", "no", [retryInfo("34.074824224s")])])
    assert.deepInclude(decode(failed).failure, { _tag: "ModelRateLimited", retryAfterMillis: 34_075 })
  })

  it("passes over what it does not know: grounding, code that ran elsewhere, other candidates", () => {
    const decoded = decode(
      said({ executableCode: { code: "1" } }, { codeExecutionResult: { output: "1" } }, { hologram: {} }),
      chunk({
        candidates: [{ content: { parts: [{ text: "a" }] } }, { content: { parts: [{ text: "b" }] } }]
      }),
      chunk({ candidates: [{ groundingMetadata: { webSearchQueries: ["x"] }, citationMetadata: {} }] }),
      chunk({ modelVersion: "m" }),
      stop()
    )

    assert.deepStrictEqual([written(decoded), decoded.reason], ["a", undefined])
  })

  it("refuses what cannot be understood, and answers without bound", () => {
    const endless = Array.from({ length: 5 }, () => text("x".repeat(1_000_000)))

    assert.strictEqual(decode("data: {oops\n\n").reason, "ModelMalformed")
    assert.strictEqual(decode("data: 7\n\n").reason, "ModelMalformed")
    assert.strictEqual(decode('{"hello":"world"}').reason, "ModelMalformed")
    assert.strictEqual(decode("<html>").reason, "ModelMalformed")
    assert.strictEqual(decode(said({ functionCall: { args: {} } }), stop()).reason, "ModelMalformed")
    assert.strictEqual(decode(...endless, stop()).reason, "ModelMalformed")
    const many = Array.from({ length: 257 }, () => ({ functionCall: { name: "f" } }))
    assert.strictEqual(decode(said(...many), stop()).reason, "ModelMalformed")
  })
})
