import { assert, describe, it } from "@effect/vitest"
import * as ChatView from "#src/gateway/cli/ChatView.ts"

/** A terminal: the screen, what was sent, what ended. */
const terminal = () => {
  let state = ChatView.initial
  const screen: Array<string> = []
  const sent: Array<object> = []
  const ended: Array<ChatView.Ending> = []
  const take = (step: ChatView.Step) => {
    state = step.state
    screen.push(step.print)
    sent.push(...step.send)
    ended.push(...step.ended)
  }
  return {
    write: (id: string, text: string) => take(ChatView.written(state, id, text)),
    receive: (...frames: ReadonlyArray<ChatView.Frame>) => {
      for (const frame of frames) take(ChatView.received(state, frame))
    },
    lose: (isFirst: boolean) => take(ChatView.lost(state, isFirst)),
    screen: () => screen.join(""),
    sent,
    ended,
    seen: () => state.seen
  }
}

const delta = (offset: number, content: string, attempt = 1): ChatView.Frame => ({
  type: "delta",
  run_id: "r",
  attempt,
  offset,
  content
})
const hello = (seq: number): ChatView.Frame => ({ type: "hello", seq })
const ack = (id: string): ChatView.Frame => ({ type: "ack", id, message_id: `msg_${id}`, seq: 1 })
const answer = (content: string, answers: ReadonlyArray<string> = ["m1"], seq = 2): ChatView.Frame => ({
  type: "message",
  id: `ent_${seq}`,
  seq,
  answers,
  content
})
const outcome = (id: string, what: string, more: Partial<ChatView.Frame> = {}): ChatView.Frame => ({
  type: "outcome",
  id,
  outcome: what,
  ...more
})

describe("a conversation in a terminal", () => {
  it("streams an answer, ends it with the final text, confirms it, and tells how it ended", () => {
    const t = terminal()
    t.receive(hello(0))
    t.write("m1", "hi")
    t.receive(ack("m1"), delta(0, "Hel"), delta(3, "lo"), answer("Hello you"), outcome("m1", "answered"))

    assert.strictEqual(t.screen(), "Hello you\n")
    assert.deepInclude(t.sent, { type: "message", id: "m1", content: "hi" })
    assert.deepInclude(t.sent, { type: "received", id: "ent_2" })
    assert.deepStrictEqual(t.ended, [
      { id: "m1", messageId: "msg_m1", outcome: "answered", content: "Hello you", reason: undefined }
    ])
  })

  it("sends again after each greeting what has not ended, so that an outcome it missed is told", () => {
    const t = terminal()
    t.write("m1", "one")
    t.write("m2", "two")
    t.receive(hello(0), ack("m1"), answer("done"), outcome("m1", "answered"))
    t.sent.length = 0
    t.lose(true)
    t.receive(hello(1), ack("m2"), outcome("m2", "failed"))

    assert.deepStrictEqual(t.sent, [{ type: "message", id: "m2", content: "two" }])
    assert.include(t.screen(), "connecting again")
    assert.deepStrictEqual(
      t.ended.map(({ id, outcome: how }) => [id, how]),
      [
        ["m1", "answered"],
        ["m2", "failed"]
      ]
    )
  })

  it("says once that the gateway is away", () => {
    const t = terminal()
    t.lose(true)
    t.lose(false)
    t.lose(false)
    assert.strictEqual(t.screen().match(/away/g)?.length, 1)
  })

  it("begins again when a higher attempt voids what was shown, and drops the void one's late text", () => {
    const t = terminal()
    t.write("m1", "hi")
    t.receive(delta(0, "Wro"), delta(0, "Right", 2), delta(3, "ng"), answer("Right."))
    assert.strictEqual(t.screen(), "Wro\nRight.\n")
  })

  it("marks a gap, and shows the whole text once it is final", () => {
    const t = terminal()
    t.write("m1", "hi")
    t.receive(delta(0, "ab"), delta(10, "kl"), answer("abcdefghijkl"))
    assert.strictEqual(t.screen(), "ab\n… kl\nabcdefghijkl\n")
  })

  it("prints no text twice when deltas overlap", () => {
    const t = terminal()
    t.write("m1", "hi")
    t.receive(delta(0, "abc"), delta(1, "bcde"), delta(0, "abcdef"), answer("abcdef"))
    assert.strictEqual(t.screen(), "abcdef\n")
  })

  it("shows tools on lines of their own, and the next step's text after them", () => {
    const t = terminal()
    t.write("m1", "hi")
    t.receive(
      delta(0, "Let me look."),
      { type: "tool", run_id: "r", name: "time.now", phase: "started" },
      { type: "tool", run_id: "r", name: "time.now", phase: "finished" },
      delta(0, "It is late."),
      answer("It is late.")
    )
    assert.strictEqual(t.screen(), "Let me look.\n  · time.now\nIt is late.\n")
  })

  it("shows what others say in the session, and not its own words again", () => {
    const t = terminal()
    t.write("m1", "mine")
    t.receive(
      { type: "user", id: "m1", seq: 1, content: "mine" },
      { type: "user", id: "x", seq: 2, content: "theirs" }
    )
    assert.strictEqual(t.screen(), "> theirs\n")
  })

  it("tells a refusal, a failure and a stop, and that such a message is done", () => {
    const t = terminal()
    for (const id of ["a", "b", "c"]) t.write(id, id)
    t.receive(
      { type: "refused", id: "a", code: "lane_full", message: "too many messages wait" },
      outcome("b", "failed", { failure: { code: "upstream", message: "the provider failed" } }),
      outcome("c", "cancelled", { by: "operator" })
    )
    assert.deepStrictEqual(
      t.ended.map(({ id, outcome: how, reason }) => [id, how, reason]),
      [
        ["a", "refused", "too many messages wait"],
        ["b", "failed", "the provider failed"],
        ["c", "cancelled", "by operator"]
      ]
    )
    assert.include(t.screen(), "! not taken: too many messages wait")
  })

  it("takes an answer to several messages as the end of each, whichever comes first, outcome or text", () => {
    const t = terminal()
    t.write("m1", "a")
    t.write("m2", "b")
    t.receive(outcome("m1", "merged"), answer("both", ["m1", "m2"]), outcome("m2", "answered"))
    assert.deepStrictEqual(
      t.ended.map(({ id, content }) => [id, content]),
      [
        ["m1", "both"],
        ["m2", "both"]
      ]
    )
  })

  it("goes on from the highest place it was told", () => {
    const t = terminal()
    t.receive(hello(7), answer("x", [], 9), hello(12))
    assert.strictEqual(t.seen(), 9)
  })

  it("lets nobody's text steer the terminal", () => {
    const t = terminal()
    t.receive(
      hello(0),
      { type: "user", id: "x", seq: 1, content: "a\u001b[2Jb\u0007" },
      delta(0, "\u001b]0;x\u0007")
    )
    assert.notInclude(t.screen(), "\u0007")
    assert.notInclude(t.screen(), "\u001b")
  })

  it("reads nothing from what is no frame", () => {
    for (const text of ["", "null", "[]", "{}", '{"type":1}', "{"])
      assert.isUndefined(ChatView.readFrame(text))
    assert.deepStrictEqual(ChatView.readFrame('{"type":"new","extra":1}'), { type: "new" })
  })
})
