import { assert, describe, it } from "@effect/vitest"
import { runId } from "#src/domain/Ids.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import { deadBytes, Outbox, slowBytes } from "#src/gateway/Outbox.ts"

const run = runId("run_1")
const delta = (offset: number, text: string): SessionEvent => ({
  _tag: "Delta",
  runId: run,
  attempt: 1,
  offset,
  text
})
const message = (seq: number, text: string): SessionEvent => ({
  _tag: "Message",
  id: `e${seq}`,
  runId: run,
  seq,
  answers: [],
  messageIds: [],
  text,
  usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0, estimated: false }
})

/** A connection whose peer takes nothing until it is told to. */
const make = (isNews: (event: SessionEvent) => boolean = () => true) => {
  const sent: Array<{ type: string; content: string; offset: number }> = []
  const state = { buffered: 0, peak: 0, closed: 0 }
  const outbox = new Outbox(
    {
      send: (text) => {
        sent.push(JSON.parse(text))
        state.buffered += text.length
        state.peak = Math.max(state.peak, state.buffered)
      },
      buffered: () => state.buffered,
      pause: () => undefined,
      resume: () => undefined,
      close: (code) => void (state.closed = code)
    },
    isNews
  )
  const drain = () => {
    state.buffered = 0
    outbox.drained()
  }
  return { outbox, sent, state, drain }
}

const chunk = "x".repeat(10_000)

describe("Outbox", () => {
  it("joins the deltas of a slow reader, drops what would be too much, and sends the newest when it has caught up", () => {
    const { outbox, sent, state, drain } = make()
    for (let n = 0; n < 1000; n++) outbox.event(delta(n * chunk.length, chunk))
    const before = sent.length
    drain()

    assert.isAtMost(state.peak, slowBytes + 100_000)
    assert.strictEqual(sent.length, before + 1)
    const last = sent.at(-1)
    assert.strictEqual((last?.offset ?? 0) + (last?.content.length ?? 0), 1000 * chunk.length)
    assert.strictEqual(state.closed, 0)
  })

  it("sends no stale deltas behind the message that holds their text", () => {
    const { outbox, sent, state, drain } = make()
    state.buffered = slowBytes + 1
    outbox.event(delta(0, "late"))
    outbox.event(message(1, "late and whole"))
    drain()

    assert.deepStrictEqual(
      sent.map((frame) => frame.type),
      ["message"]
    )
  })

  it("closes with 1013 when even messages pile up, and keeps nothing more", () => {
    const { outbox, state } = make()
    for (let seq = 1; seq <= 2000; seq++) outbox.event(message(seq, chunk))

    assert.strictEqual(state.closed, 1013)
    assert.isAtMost(state.peak, deadBytes + 20_000)
  })

  it("holds events while the past is told, then sends only what is news, in order", () => {
    const { outbox, sent } = make((event) => event._tag !== "Message" || event.seq > 2)
    outbox.hold()
    outbox.hold()
    outbox.event(message(2, "told by the replay"))
    outbox.event(message(3, "three"))
    outbox.release()
    assert.deepStrictEqual(sent, [])
    outbox.release()
    outbox.event(message(4, "four"))

    assert.deepStrictEqual(
      sent.map((frame) => frame.content),
      ["three", "four"]
    )
  })
})
