import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import {
  type Action,
  type AnswerLine,
  type Frame,
  type HistoryRow,
  type State,
  type UserLine,
  backoff,
  initial,
  isBusy,
  parseFrame,
  reduce,
  textOf,
  unsent
} from "../../src/web/state.ts"

const after = (actions: ReadonlyArray<Action>, from: State = initial) => actions.reduce(reduce, from)
const frames = (...list: ReadonlyArray<Frame>): ReadonlyArray<Action> =>
  list.map((frame) => ({ type: "frame", frame }))
const hello: Frame = { type: "hello", session_key: "agent:main:main", seq: 0 }
const delta = (offset: number, content: string, attempt = 1, run = "r1"): Frame => ({
  type: "delta",
  run_id: run,
  attempt,
  offset,
  content
})
const write = (id: string, text: string): Action => ({ type: "write", id, text })
const message = (id: string, seq: number, content: string): Frame => ({
  type: "message",
  id,
  seq,
  content,
  answers: []
})
const texts = (state: State) => state.lines.map((line) => line.text)
const user = (state: State, id: string) =>
  state.lines.find((line): line is UserLine => line.kind === "user" && line.clientId === id)
const draftText = (state: State) => state.draft && textOf(state.draft)

/** A row as it arrives from the history or as a live frame. */
const actionOf = (row: HistoryRow, from: string): Action => {
  if (from === "history") return { type: "history", rows: [row] }
  return {
    type: "frame",
    frame:
      row.role === "user"
        ? { type: "user", id: row.client_id ?? "", seq: row.seq, content: row.content }
        : message(row.id, row.seq, row.content)
  }
}

describe("a message on its way out", () => {
  it("is shown at once and is unsent until the server has it", () => {
    const written = after([...frames(hello), write("a", "hi")])
    assert.deepStrictEqual(texts(written), ["hi"])
    assert.deepStrictEqual(
      unsent(written).map((line) => line.clientId),
      ["a"]
    )
    const acked = after(frames({ type: "ack", id: "a", seq: 1 }), written)
    assert.deepStrictEqual(unsent(acked), [])
    assert.strictEqual(user(acked, "a")?.seq, 1)
  })

  it("stays unsent over a lost connection, with its id, in order of writing", () => {
    const state = after([
      ...frames(hello),
      write("a", "1"),
      write("b", "2"),
      { type: "offline" },
      ...frames(hello)
    ])
    assert.deepStrictEqual(
      unsent(state).map((line) => line.clientId),
      ["a", "b"]
    )
  })

  it("is not sent again when the history shows that the server had it", () => {
    const state = after([
      write("a", "hi"),
      { type: "history", rows: [{ id: "e1", seq: 1, role: "user", content: "hi", client_id: "a" }] }
    ])
    assert.deepStrictEqual(unsent(state), [])
    assert.deepStrictEqual(texts(state), ["hi"])
  })

  it("that was refused says why and is sent again only on request", () => {
    const refused = after([
      write("a", "hi"),
      ...frames({ type: "refused", id: "a", code: "lane_full", message: "20 messages are waiting" })
    ])
    assert.deepStrictEqual(unsent(refused), [])
    assert.strictEqual(user(refused, "a")?.note, "20 messages are waiting")
    const again = after([{ type: "retry", id: "a", newId: "a" }], refused)
    assert.deepStrictEqual(
      unsent(again).map((line) => line.clientId),
      ["a"]
    )
    assert.strictEqual(user(again, "a")?.note, undefined)
  })

  it("says how it ended when it has no answer", () => {
    for (const outcome of ["failed", "cancelled", "interrupted", "dropped", "expired", "silent"]) {
      const state = after([write("a", "hi"), ...frames({ type: "outcome", id: "a", outcome })])
      assert.isString(user(state, "a")?.note, outcome)
    }
    const answered = after([write("a", "hi"), ...frames({ type: "outcome", id: "a", outcome: "answered" })])
    assert.strictEqual(user(answered, "a")?.note, undefined)
  })
})

describe("streamed text", () => {
  it("grows by its deltas and gives way to the final message", () => {
    const streaming = after(frames(hello, delta(0, "Hel"), delta(3, "lo")))
    assert.strictEqual(draftText(streaming), "Hello")
    assert.isTrue(isBusy(streaming))
    const done = after(frames(message("m1", 2, "Hello!")), streaming)
    assert.strictEqual(done.draft, undefined)
    assert.isFalse(isBusy(done))
    assert.deepStrictEqual(texts(done), ["Hello!"])
  })

  it("of a lower attempt is void", () => {
    const state = after(frames(hello, delta(0, "old", 1), delta(0, "new", 2), delta(3, "stale", 1)))
    assert.strictEqual(draftText(state), "new")
  })

  it("of a lower attempt is void already when the next attempt starts", () => {
    const state = after(
      frames(hello, delta(0, "old", 1), { type: "run", run_id: "r1", attempt: 2, state: "started" })
    )
    assert.strictEqual(state.draft, undefined)
  })

  it("that comes twice counts once", () => {
    const state = after(frames(hello, delta(0, "Hel"), delta(3, "lo"), delta(3, "lo")))
    assert.strictEqual(draftText(state), "Hello")
  })

  it("with a hole shows that something is missing", () => {
    const state = after(frames(hello, delta(0, "Hel"), delta(10, "world"), delta(15, "!")))
    assert.strictEqual(draftText(state), "… world!")
  })

  it("of the step after a tool begins anew and keeps the earlier step", () => {
    const tool: Frame = {
      type: "tool",
      run_id: "r1",
      call_id: "c1",
      name: "time.now",
      phase: "started",
      summary: "UTC"
    }
    const calling = after(frames(hello, delta(0, "Let me look."), tool))
    assert.strictEqual(calling.activity, "time.now: UTC")
    const state = after(frames({ ...tool, phase: "finished" }, delta(0, "It is noon.")), calling)
    assert.strictEqual(draftText(state), "It is noon.")
    assert.deepStrictEqual(state.draft?.earlier, ["Let me look."])
    assert.strictEqual(state.activity, undefined)
  })

  it("that arrives after the final message is ignored", () => {
    const state = after(frames(hello, delta(0, "Hi"), message("m1", 2, "Hi"), delta(2, "late")))
    assert.strictEqual(state.draft, undefined)
  })

  it("that was cut off stays, marked, until the history has it in its place", () => {
    const cut = after([
      write("a", "hi"),
      ...frames(hello, { type: "ack", id: "a", seq: 1 }, delta(0, "I thin")),
      ...frames({ type: "outcome", id: "a", outcome: "cancelled" }),
      write("b", "again"),
      ...frames({ type: "ack", id: "b", seq: 3 })
    ])
    assert.deepStrictEqual(texts(cut), ["hi", "I thin", "again"])
    assert.strictEqual((cut.lines[1] as AnswerLine).cutOff, "cancelled")
    const rows: ReadonlyArray<HistoryRow> = [
      { id: "e2", seq: 2, role: "assistant", content: "I thin", partial: "cancelled" }
    ]
    assert.deepStrictEqual(texts(after([{ type: "history", rows }], cut)), ["hi", "I thin", "again"])
  })
})

describe("what is seen", () => {
  it("counts a message that is sent again once", () => {
    const state = after(
      frames(hello, message("m1", 2, "one"), message("m1", 2, "one"), message("m2", 4, "two"))
    )
    assert.deepStrictEqual(texts(state), ["one", "two"])
    assert.strictEqual(state.seen, 4)
  })

  it("does not let a message that is sent again end the run of now", () => {
    const state = after(
      frames(hello, message("m1", 2, "one"), delta(0, "tw", 1, "r2"), message("m1", 2, "one"))
    )
    assert.strictEqual(draftText(state), "tw")
  })

  it("does not move past an answer that is still missing when a later message is acknowledged", () => {
    const state = after([write("b", "two"), ...frames(hello, { type: "ack", id: "b", seq: 9 })])
    assert.strictEqual(state.seen, 0)
  })

  it("has the messages of other sockets in their place", () => {
    const state = after(
      frames(hello, message("m1", 4, "answer"), { type: "user", id: "x", seq: 3, content: "from elsewhere" })
    )
    assert.deepStrictEqual(texts(state), ["from elsewhere", "answer"])
  })

  it.prop(
    "is the same lines in the same order, however history and frames overlap and repeat",
    [
      Schema.Array(
        Schema.Struct({
          at: Schema.Literals([0, 1, 2, 3, 4, 5]),
          from: Schema.Literals(["history", "frame"])
        })
      )
    ],
    ([steps]) => {
      const rows: ReadonlyArray<HistoryRow> = [0, 1, 2, 3, 4, 5].map((index) =>
        index % 2 === 0
          ? { id: `e${index}`, seq: index + 1, role: "user", content: `u${index}`, client_id: `c${index}` }
          : { id: `e${index}`, seq: index + 1, role: "assistant", content: `a${index}` }
      )
      const state = after(steps.flatMap(({ at, from }) => (rows[at] ? [actionOf(rows[at], from)] : [])))
      const expected = rows
        .filter((_, index) => steps.some(({ at }) => at === index))
        .map((row) => row.content)
      assert.deepStrictEqual(texts(state), expected)
    }
  )
})

describe("the connection", () => {
  it("waits longer after each failure, within bounds", () => {
    for (let attempt = 0; attempt < 100; attempt++) {
      assert.isAtMost(backoff(attempt, 0.999), 18_750)
      assert.isAtLeast(backoff(attempt, 0), 300)
    }
    assert.isBelow(backoff(0, 0.5), backoff(3, 0.5))
  })

  it("ignores frames that are no frames and types it does not know", () => {
    for (const text of ["", "null", "[]", "1", "{", `{"typ":1}`])
      assert.strictEqual(parseFrame(text), undefined)
    const unknown = parseFrame(`{"type":"novelty","x":1}`)
    assert.isDefined(unknown)
    if (unknown !== undefined) assert.deepStrictEqual(after(frames(unknown)), initial)
  })
})
