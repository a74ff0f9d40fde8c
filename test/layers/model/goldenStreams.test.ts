import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ModelEvent } from "#src/model/Model.ts"
import { decoderOf, type Golden, goldenStreams } from "./goldenStreams.ts"

const encoded = (text: string): Uint8Array => new TextEncoder().encode(text)

const read = (wire: Golden["wire"], pieces: Iterable<Uint8Array>, isCut = false) => {
  const decoder = decoderOf(wire)
  const events: Array<ModelEvent> = []
  for (const piece of pieces) events.push(...decoder.push(piece))
  events.push(...decoder.finish(isCut))
  return { events, failure: decoder.failure()?._tag }
}

const endings = ({ events, failure }: ReturnType<typeof read>): number =>
  events.filter(({ _tag }) => _tag === "End").length + (failure === undefined ? 0 : 1)

const position = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))
const byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const which = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: goldenStreams.length - 1 }))

describe("golden streams", () => {
  it.each(goldenStreams.map((golden) => [golden.name, golden] as const))(
    "%s",
    (_, { wire, stream, said }) => {
      const { events, failure } = read(wire, [encoded(stream)])

      const text = events.map((event) => (event._tag === "Text" ? event.text : "")).join("")
      const calls = events.flatMap((event): NonNullable<Golden["said"]["calls"]> =>
        event._tag === "Call" ? [[event.call.id, event.call.name, event.call.arguments]] : []
      )
      const end = events.at(-1)
      assert.strictEqual(text, said.text)
      assert.deepStrictEqual(calls, said.calls ?? [])
      assert.deepStrictEqual<Golden["said"]["end"] | { failure: undefined }>(
        end?._tag === "End" ? end.reason : { failure },
        said.end
      )
      const usage = end?._tag === "End" ? end.usage : undefined
      if (said.usage === undefined) assert.isUndefined(usage)
      else assert.deepInclude(usage, said.usage)
    }
  )

  it.effect.prop(
    "are read the same however their bytes are split",
    { at: which, cuts: Schema.Array(position), crlf: Schema.Boolean },
    ({ at, cuts, crlf }) =>
      Effect.sync(() => {
        const { wire, stream } = goldenStreams[at]!
        const bytes = encoded(crlf ? stream.replaceAll("\n", "\r\n") : stream)
        const edges = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
        const pieces = edges.slice(1).map((to, i) => bytes.subarray(edges[i], to))

        assert.deepStrictEqual(read(wire, pieces), read(wire, [encoded(stream)]))
      }),
    { arbitrary: { runs: 1000 } }
  )

  it("are read the same byte by byte", () => {
    for (const { name, wire, stream } of goldenStreams) {
      const bytes = encoded(stream)
      const single = Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))

      assert.deepStrictEqual(read(wire, single), read(wire, [bytes]), name)
    }
  })

  it("end with one end or one reason wherever they break off, and no call is made up", () => {
    for (const { name, wire, stream } of goldenStreams) {
      const bytes = encoded(stream)
      const whole = read(wire, [bytes])
      for (let length = 0; length < bytes.length; length++) {
        const cut = read(wire, [bytes.subarray(0, length)], true)

        assert.strictEqual(endings(cut), 1, `${name}, cut at ${length}`)
        for (const event of cut.events) {
          if (event._tag === "Call") assert.deepInclude(whole.events, event, `${name}, cut at ${length}`)
        }
      }
    }
  })

  it.effect.prop(
    "end with one end or one reason however they are damaged",
    { at: which, changes: Schema.Array(Schema.Tuple([position, byte])), cuts: Schema.Array(position) },
    ({ at, changes, cuts }) =>
      Effect.sync(() => {
        const { wire, stream } = goldenStreams[at]!
        const bytes = encoded(stream)
        for (const [where, value] of changes) bytes[where % bytes.length] = value
        const edges = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
        const pieces = edges.slice(1).map((to, i) => bytes.subarray(edges[i], to))
        const damaged = read(wire, pieces)

        assert.strictEqual(endings(damaged), 1)
        assert.deepStrictEqual(damaged, read(wire, [bytes]))
      }),
    { arbitrary: { runs: 2000 } }
  )

  it.effect.prop(
    "end with one end or one reason when lines are lost, doubled or come in another order",
    { at: which, order: Schema.Array(position) },
    ({ at, order }) =>
      Effect.sync(() => {
        const { wire, stream } = goldenStreams[at]!
        const parts = stream.split(/(?<=\n\n)/)
        const shuffled = order.map((index) => parts[index % parts.length]!).join("")

        assert.strictEqual(endings(read(wire, [encoded(shuffled)], true)), 1)
      }),
    { arbitrary: { runs: 1000 } }
  )
})
