import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decoder from "#layers/model/OpenAiChatDecoder.ts"
import type { ModelEvent } from "#src/model/Model.ts"
import { delta, done, event, finish } from "./fakeProvider.ts"

const newDecoder = () =>
  Decoder.make({
    toolName: (name) => name,
    madeUpId: (position) => `made_${position}`,
    takenIds: new Set(),
    detail: (text) => text.slice(0, 100)
  })

type Decoded = { readonly events: ReadonlyArray<ModelEvent>; readonly reason: string | undefined }

const decodePieces = (pieces: Iterable<Uint8Array>, isCut = false): Decoded => {
  const decoder = newDecoder()
  const events: Array<ModelEvent> = []
  for (const piece of pieces) events.push(...decoder.push(piece))
  events.push(...decoder.finish(isCut))
  return { events, reason: decoder.failure()?._tag }
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const decode = (text: string): Decoded => decodePieces([bytes(text)])

const calls = (...pieces: ReadonlyArray<unknown>): string =>
  event({ choices: [{ index: 0, delta: { tool_calls: pieces } }] })

const called = (decoded: Decoded) =>
  decoded.events.flatMap((one) =>
    one._tag === "Call" ? [[one.call.id, one.call.name, one.call.arguments]] : []
  )

const written = (decoded: Decoded) =>
  decoded.events.map((one) => (one._tag === "Text" ? one.text : "")).join("")

const ended = (decoded: Decoded) => decoded.events.at(-1)

const parallel =
  delta("Let me see ") +
  event({
    choices: [
      {
        index: 0,
        delta: {
          content: "что 🦀",
          tool_calls: [{ index: 0, id: "a", function: { name: "first", arguments: '{"x"' } }]
        }
      }
    ]
  }) +
  calls({ index: 1, id: "b", function: { name: "second", arguments: "" } }) +
  calls({ index: 0, function: { arguments: ":1}" } }, { index: 1, function: { arguments: '{"y":"é' } }) +
  calls({ index: 1, function: { arguments: '"}' } }) +
  finish("tool_calls") +
  event({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 6 } }) +
  done

describe("OpenAiChatDecoder", () => {
  it("reads lines that end with LF, CRLF or CR, comments, other fields and data of several lines", () => {
    const stream = `: hello\r\nevent: message\r\nid: 1\r\ndata: {"choices":[{"delta":\r\ndata: {"content":"a"}}]}\r\n\r\nretry: 1\n${delta("b")}${delta("c").replaceAll("\n", "\r")}data:{"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata:[DONE]\n\n`

    assert.deepStrictEqual(decode(stream), {
      events: [
        { _tag: "Text", text: "a" },
        { _tag: "Text", text: "b" },
        { _tag: "Text", text: "c" },
        { _tag: "End", reason: "stop" }
      ],
      reason: undefined
    })
    const all = bytes(stream)
    assert.deepStrictEqual(decodePieces(Array.from(all, (_, at) => all.subarray(at, at + 1))), decode(stream))
  })

  it("ignores a byte-order mark", () => {
    assert.strictEqual(written(decode(`\uFEFF${delta("a")}${finish()}`)), "a")
    assert.strictEqual(written(decode(`\uFEFF{"choices":[{"message":{"content":"a"}}]}`)), "a")
  })

  it("joins parallel calls by their index, with text beside them", () => {
    const decoded = decode(parallel)

    assert.strictEqual(written(decoded), "Let me see что 🦀")
    assert.deepStrictEqual(called(decoded), [
      ["a", "first", '{"x":1}'],
      ["b", "second", '{"y":"é"}']
    ])
    assert.deepStrictEqual(ended(decoded), {
      _tag: "End",
      reason: "calls",
      usage: { inputTokens: 5, outputTokens: 6, cachedTokens: 0, estimated: false }
    })
  })

  it.effect.prop(
    "gives the same events however the bytes are split",
    {
      cuts: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_200 }))),
      crlf: Schema.Boolean
    },
    ({ cuts, crlf }) =>
      Effect.sync(() => {
        const all = bytes(crlf ? parallel.replaceAll("\n", "\r\n") : parallel)
        const at = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length]
        const pieces = at.slice(1).map((to, i) => all.subarray(at[i], to))

        assert.deepStrictEqual(decodePieces(pieces), decode(parallel))
      }),
    { arbitrary: { runs: 300 } }
  )

  it("gives the same events byte by byte", () => {
    const all = bytes(parallel.replaceAll("\n", "\r\n"))

    assert.deepStrictEqual(decodePieces(Array.from(all, (_, i) => all.subarray(i, i + 1))), decode(parallel))
  })

  it("ends every truncation with one end or one reason, and never invents a call", () => {
    const all = bytes(parallel)
    for (let length = 0; length < all.length; length++) {
      const { events, reason } = decodePieces([all.subarray(0, length)], true)
      const ends = events.filter((one) => one._tag === "End").length

      assert.strictEqual(ends + (reason === undefined ? 0 : 1), 1, `truncated to ${length}`)
      if (reason !== undefined) assert.isTrue(events.every((one) => one._tag === "Text"))
    }
  })

  it.effect.prop(
    "ends every mutation with one end or one reason, and never throws",
    {
      changes: Schema.Array(
        Schema.Tuple([
          Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_200 })),
          Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
        ])
      )
    },
    ({ changes }) =>
      Effect.sync(() => {
        const all = bytes(parallel)
        for (const [at, value] of changes) if (at < all.length) all[at] = value

        const { events, reason } = decodePieces([all.subarray(0, 300), all.subarray(300)])

        assert.strictEqual(
          events.filter((one) => one._tag === "End").length + (reason === undefined ? 0 : 1),
          1
        )
      }),
    { arbitrary: { runs: 500 } }
  )

  it.effect.prop(
    "survives any JSON in any place of an event",
    { delta: Schema.Json, choice: Schema.Json, item: Schema.Json },
    ({ delta, choice, item }) =>
      Effect.sync(() => {
        const stream =
          event({ choices: [{ delta }] }) +
          event({ choices: [{ delta: { tool_calls: [delta, { index: 0, function: choice }] } }] }) +
          event({ choices: choice, usage: delta }) +
          event(item) +
          finish()

        const { events, reason } = decode(stream)

        assert.strictEqual(
          events.filter((one) => one._tag === "End").length + (reason === undefined ? 0 : 1),
          1
        )
      }),
    { arbitrary: { runs: 300 } }
  )

  it("joins calls without an index by id, by place, or to the newest", () => {
    const byId = decode(
      calls({ id: "a", function: { name: "f", arguments: "{" } }) +
        calls({ id: "b", function: { name: "g", arguments: "{" } }) +
        calls({ id: "a", function: { arguments: "}" } }) +
        calls({ function: { arguments: "}" } }) +
        finish("tool_calls")
    )
    const byPlace = decode(
      calls({ function: { name: "f", arguments: "{" } }, { function: { name: "g", arguments: "{" } }) +
        calls({ function: { arguments: "}" } }, { function: { arguments: "}" } }) +
        finish("tool_calls")
    )

    assert.deepStrictEqual(called(byId), [
      ["a", "f", "{}"],
      ["b", "g", "{}"]
    ])
    assert.deepStrictEqual(called(byPlace), [
      ["made_0", "f", "{}"],
      ["made_1", "g", "{}"]
    ])
  })

  it("keeps calls apart that a server all numbers 0, and gives a repeated id only once", () => {
    const decoded = decode(
      calls({ index: 0, id: "a", function: { name: "f", arguments: "{}" } }) +
        calls({ index: 0, id: "b", function: { name: "f", arguments: '{"x":1}' } }) +
        calls({ index: 1, id: "a", function: { name: "g", arguments: { y: 2 } } }) +
        finish("stop")
    )

    assert.deepStrictEqual(called(decoded), [
      ["a", "f", "{}"],
      ["b", "f", '{"x":1}'],
      ["made_2", "g", '{"y":2}']
    ])
    assert.deepInclude(ended(decoded), { reason: "calls" })
  })

  it("reads no arguments as an empty object, and the older form of a call", () => {
    const none = decode(calls({ index: 0, id: "a", function: { name: "f" } }) + finish("tool_calls"))
    const older = decode(
      event({ choices: [{ delta: { function_call: { name: "f", arguments: "{" } } }] }) +
        event({ choices: [{ delta: { function_call: { arguments: "}" } } }] }) +
        finish("function_call")
    )

    assert.deepStrictEqual(called(none), [["a", "f", "{}"]])
    assert.deepStrictEqual(called(older), [["made_0", "f", "{}"]])
  })

  it("drops a call that was cut at the output limit", () => {
    const decoded = decode(
      calls({ index: 0, id: "a", function: { name: "f", arguments: "{}" } }) +
        calls({ index: 1, id: "b", function: { name: "g", arguments: '{"x' } }) +
        finish("length")
    )

    assert.deepStrictEqual(called(decoded), [["a", "f", "{}"]])
    assert.deepStrictEqual(ended(decoded), { _tag: "End", reason: "length" })
  })

  it("takes an answer as complete by its end mark or by the model's reason, and by nothing else", () => {
    assert.deepStrictEqual(ended(decode(delta("a") + done)), { _tag: "End", reason: "stop" })
    assert.deepStrictEqual(ended(decode(delta("a") + finish())), { _tag: "End", reason: "stop" })
    assert.deepStrictEqual(ended(decode(delta("a") + finish().trimEnd())), { _tag: "End", reason: "stop" })
    assert.strictEqual(decode(delta("a")).reason, "ModelCutOff")
    assert.strictEqual(decode("").reason, "ModelCutOff")
    assert.deepStrictEqual(ended(decode(finish("content_filter"))), { _tag: "End", reason: "filtered" })
  })

  it("finds usage on the last event, on each event, or not at all", () => {
    const counts = { prompt_tokens: 1, completion_tokens: 2 }
    const usage = { inputTokens: 1, outputTokens: 2, cachedTokens: 0, estimated: false }

    assert.deepStrictEqual(ended(decode(finish("stop", { usage: counts }) + done)), {
      _tag: "End",
      reason: "stop",
      usage
    })
    assert.deepStrictEqual(
      ended(
        decode(
          event({ choices: [], usage: { ...counts, completion_tokens: 1 } }) +
            finish("stop", { usage: counts })
        )
      ),
      { _tag: "End", reason: "stop", usage }
    )
    assert.deepStrictEqual(ended(decode(finish("stop", { usage: null }))), { _tag: "End", reason: "stop" })
    assert.deepStrictEqual(ended(decode(finish("stop", { usage: { prompt_tokens: "many" } }))), {
      _tag: "End",
      reason: "stop"
    })
  })

  it("gives the reason of an error inside the stream, after what had come", () => {
    const failing = (error: unknown) => decode(delta("a") + event({ error }))

    assert.strictEqual(written(failing({ message: "x" })), "a")
    assert.strictEqual(failing({ message: "x" }).reason, "ModelUnavailable")
    assert.strictEqual(failing({ message: "x", code: 429 }).reason, "ModelRateLimited")
    assert.strictEqual(failing({ message: "x", type: "rate_limit_error" }).reason, "ModelRateLimited")
    assert.strictEqual(failing({ message: "x", code: "400" }).reason, "ModelRejected")
    assert.strictEqual(failing("plain words").reason, "ModelUnavailable")
    assert.strictEqual(decode('{"error":{"message":"no credit","code":402}}').reason, "ModelRejected")
    assert.strictEqual(decode(finish("error")).reason, "ModelUnavailable")
  })

  it("refuses what is not JSON, and events without bound", () => {
    assert.strictEqual(decode("data: {oops\n\n").reason, "ModelMalformed")
    assert.strictEqual(decode("data: 7\n\n").reason, "ModelMalformed")
    assert.strictEqual(decode('{"choices":[').reason, "ModelCutOff")
    assert.strictEqual(decode('{"hello":"world"}').reason, "ModelMalformed")
    const piece = bytes("x".repeat(1024 * 1024))
    assert.strictEqual(
      decodePieces([bytes("data: "), piece, piece, piece, piece, piece]).reason,
      "ModelMalformed"
    )
    assert.strictEqual(
      decodePieces([bytes('{"'), piece, piece, piece, piece, piece]).reason,
      "ModelMalformed"
    )
    const lines = bytes(`data: ${"x".repeat(1024 * 1024)}\n`)
    assert.strictEqual(decodePieces([lines, lines, lines, lines, lines]).reason, "ModelMalformed")
  })

  it("joins content that comes in parts, and shows a refusal", () => {
    const decoded = decode(
      event({
        choices: [
          {
            delta: {
              content: [
                { type: "text", text: "a" },
                { type: "text", text: "b" }
              ]
            }
          }
        ]
      }) +
        event({ choices: [{ delta: { content: null, refusal: "no" } }] }) +
        finish()
    )

    assert.strictEqual(written(decoded), "abno")
  })
})
