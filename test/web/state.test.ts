import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { inlineQueue } from "#src/lane/queueCommand.ts"
import { type Frame, type HistoryRow, parseFrame } from "../../src/web/frames.ts"
import {
  type Action,
  type State,
  backoff,
  contentOf,
  initial,
  isBusy,
  isFromAnew,
  maySteer,
  reduce,
  textOf,
  unsent
} from "../../src/web/state.ts"
import { type AnswerLine, type UserLine, asRead, openLines } from "../../src/web/transcript.ts"

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

const noon: HistoryRow = { id: "m1", seq: 4, role: "assistant", content: "" }

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

describe("images of a message", () => {
  const images = [{ media_type: "image/png", bytes: 2048 }]

  it("are known by history and by frame, and a message without any has none", () => {
    const row: HistoryRow = { id: "m1", seq: 1, role: "user", content: "", client_id: "a", images }
    const shown = (action: Action) => user(after([...frames(hello), action]), "a")?.images

    assert.deepStrictEqual(shown({ type: "history", rows: [row] }), images)
    assert.deepStrictEqual(
      shown({ type: "frame", frame: { type: "user", id: "a", seq: 1, content: "", images } }),
      images
    )
    assert.isUndefined(shown({ type: "frame", frame: { type: "user", id: "a", seq: 1, content: "x" } }))
  })
})

describe("a message on its way out", () => {
  it("is shown at once and is unsent until the server has it", () => {
    const written = after([...frames(hello), write("a", "hi")])
    assert.deepStrictEqual(texts(written), ["hi"])
    assert.deepStrictEqual(
      unsent(written).map((line) => line.clientId),
      ["a"]
    )
    const acked = after(frames({ type: "ack", id: "a", message_id: "msg", seq: 1 }), written)
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
    const use = { callId: "c1", name: "time.now", summary: "UTC" }
    assert.deepStrictEqual(calling.tools, [{ ...use, result: undefined }])
    const state = after(
      frames({ ...tool, phase: "finished", summary: "ok" }, delta(0, "It is noon.")),
      calling
    )
    assert.strictEqual(draftText(state), "It is noon.")
    assert.deepStrictEqual(state.draft?.earlier, ["Let me look."])
    assert.deepStrictEqual(state.tools, [{ ...use, result: "ok" }])
    const answered = after(frames(message("m1", 4, "It is noon.")), state)
    assert.deepStrictEqual((answered.lines[0] as AnswerLine).tools, [{ ...use, result: "ok" }])
    assert.deepStrictEqual(answered.tools, [])
    const again = after([{ type: "history", rows: [{ ...noon, content: "It is noon." }] }], answered)
    assert.lengthOf((again.lines[0] as AnswerLine).tools, 1)
  })

  it("that arrives after the final message is ignored", () => {
    const state = after(frames(hello, delta(0, "Hi"), message("m1", 2, "Hi"), delta(2, "late")))
    assert.strictEqual(state.draft, undefined)
  })

  it("that was cut off stays, marked, until the history has it in its place", () => {
    const cut = after([
      write("a", "hi"),
      ...frames(hello, { type: "ack", id: "a", message_id: "msg", seq: 1 }, delta(0, "I thin")),
      ...frames({ type: "outcome", id: "a", outcome: "cancelled" }),
      write("b", "again"),
      ...frames({ type: "ack", id: "b", message_id: "msg", seq: 3 })
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
    const state = after([
      write("b", "two"),
      ...frames(hello, { type: "ack", id: "b", message_id: "msg", seq: 9 })
    ])
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

describe("where a message stands", () => {
  const ack = (id: string, seq: number): Frame => ({ type: "ack", id, message_id: `msg_${id}`, seq })
  const waiting = (state: State) => openLines(state.lines).map((line) => line.clientId)
  const three = [
    write("a", "1"),
    write("b", "2"),
    write("c", "3"),
    ...frames(hello, ack("a", 1), ack("b", 2), ack("c", 3), delta(0, "so"))
  ]

  it("is open until it is answered, cancelled or failed, in order", () => {
    const state = after(three)
    assert.deepStrictEqual(waiting(state), ["a", "b", "c"])
    const taken = after(frames({ type: "outcome", id: "b", outcome: "cancelled", by: "owner" }), state)
    assert.deepStrictEqual(waiting(taken), ["a", "c"])
    assert.strictEqual(user(taken, "b")?.note, "Cancelled: by owner")
    const answered = after(frames({ ...message("m1", 4, "so it is"), answers: ["a"] } as Frame), taken)
    assert.deepStrictEqual(waiting(answered), ["c"])
  })

  it("taking back one that waits leaves the answer that is being written", () => {
    const state = after([...three, ...frames({ type: "outcome", id: "c", outcome: "cancelled" })])
    assert.strictEqual(draftText(state), "so")
    const stopped = after(frames({ type: "outcome", id: "a", outcome: "cancelled" }), state)
    assert.strictEqual(draftText(stopped), undefined)
  })

  it("tells of what went into another's answer how, and not by which id", () => {
    const state = after([
      ...three,
      ...frames(
        { type: "outcome", id: "b", outcome: "steered", by: "msg_a" },
        { type: "outcome", id: "c", outcome: "merged", by: "msg_a" }
      )
    ])
    assert.strictEqual(user(state, "b")?.note, "Read by the running answer")
    assert.strictEqual(user(state, "c")?.note, "Answered together")
    assert.deepStrictEqual(waiting(state), ["a"])
    assert.strictEqual(draftText(state), "so")
  })

  it("is what the history says after a reload, with the server's id of each", () => {
    const row = (id: string, seq: number, open?: boolean): HistoryRow => ({
      id: `msg_${id}`,
      seq,
      role: "user",
      content: id,
      client_id: id,
      ...(open !== undefined && { open })
    })
    const state = after([{ type: "newest", rows: [row("a", 1), row("b", 2, true)] }])
    assert.deepStrictEqual(waiting(state), ["b"])
    assert.strictEqual(user(state, "b")?.messageId, "msg_b")
  })
})

describe("the order that is read", () => {
  const of = (rows: ReadonlyArray<HistoryRow>) => asRead(after([{ type: "newest", rows }]).lines)
  const asks = (seq: number, open = false): HistoryRow => ({
    id: `m${seq}`,
    seq,
    role: "user",
    content: `u${seq}`,
    client_id: `c${seq}`,
    open
  })
  const says = (seq: number, ...answers: ReadonlyArray<number>): HistoryRow => ({
    id: `e${seq}`,
    seq,
    role: answers.length === 0 ? "system" : "assistant",
    content: `a${seq}`,
    answers: answers.map((one) => `c${one}`)
  })
  const read = (rows: ReadonlyArray<HistoryRow>) => {
    const { said, waiting } = of(rows)
    return `${said.map((line) => line.text).join(" ")} | ${waiting.map((line) => line.text).join(" ")}`.trim()
  }

  it("has each answer behind its own message, and behind the running one those that wait", () => {
    const three = [asks(1), asks(2), asks(3)]
    assert.strictEqual(read([...three, says(4, 1), says(5, 2), says(6, 3)]), "u1 a4 u2 a5 u3 a6 |")
    assert.strictEqual(read([asks(1), asks(2, true), asks(3, true), says(4, 1)]), "u1 a4 u2 | u3")
    assert.strictEqual(read([...three, says(4, 1, 2, 3)]), "u1 u2 u3 a4 |")
    assert.strictEqual(read([...three, says(4), says(5), says(6, 2)]), "u1 a4 a5 u2 a6 u3 |")
    assert.strictEqual(read([asks(1), says(2, 1), asks(3), asks(4, true), asks(5, true)]), "u1 a2 u3 u4 | u5")
    // One that was taken back while it waited stands where it was.
    assert.strictEqual(read([...three, says(4, 1), says(5, 3)]), "u1 a4 u2 u3 a5 |")
  })

  it.prop(
    "leaves nothing out and doubles nothing",
    {
      kinds: Schema.Array(
        Schema.Struct({ asks: Schema.Boolean, open: Schema.Boolean, of: Schema.Literals([0, 1, 2, 3, 5]) })
      )
    },
    ({ kinds }) => {
      const rows = kinds.map((kind, index) =>
        kind.asks ? asks(index + 1, kind.open) : kind.of === 0 ? says(index + 1) : says(index + 1, kind.of)
      )
      const { said, waiting } = of(rows)
      const all = [...said, ...waiting].map((line) => line.seq ?? 0)
      assert.deepStrictEqual(
        all.toSorted((a, b) => a - b),
        rows.map((row) => row.seq)
      )
    }
  )
})

describe("a page of history before the first line", () => {
  const row = (seq: number): HistoryRow => ({ id: `e${seq}`, seq, role: "assistant", content: `a${seq}` })

  it("comes above, says where to go on, and leaves what is being written alone", () => {
    const newest = after([
      { type: "newest", rows: [row(5), row(6)], earlier: 5 },
      ...frames(hello, delta(0, "mid"))
    ])
    assert.strictEqual(newest.earlier, 5)
    assert.strictEqual(newest.seen, 6)
    const older = after([{ type: "older", rows: [row(3), row(4)] }], newest)
    assert.deepStrictEqual(texts(older), ["a3", "a4", "a5", "a6"])
    assert.deepStrictEqual([older.earlier, older.seen, draftText(older)], [undefined, 6, "mid"])
  })
})

describe("a session that was deleted elsewhere", () => {
  const rows: ReadonlyArray<HistoryRow> = [
    { id: "m1", seq: 1, role: "user", content: "q", client_id: "c1" },
    { id: "e2", seq: 2, role: "assistant", content: "a" }
  ]
  const before = after([
    { type: "newest", rows },
    write("d", "not accepted"),
    ...frames({ ...hello, seq: 2 } as Frame)
  ])

  it("is known by frames that take another line's place", () => {
    const anew: ReadonlyArray<Frame> = [
      hello,
      { type: "ack", id: "d", message_id: "m9", seq: 1 },
      { type: "user", id: "other", seq: 1, content: "x" },
      message("e9", 2, "x"),
      message("e9", 1, "x")
    ]
    for (const frame of anew) assert.isTrue(isFromAnew(before, frame), JSON.stringify(frame))
    const usual: ReadonlyArray<Frame> = [
      { ...hello, seq: 2 } as Frame,
      { type: "user", id: "c1", seq: 1, content: "q" },
      { type: "ack", id: "d", message_id: "m3", seq: 3 },
      message("e2", 2, "a"),
      delta(0, "x")
    ]
    for (const frame of usual) assert.isFalse(isFromAnew(before, frame), JSON.stringify(frame))
  })

  it("leaves only what was never accepted", () => {
    const state = after([{ type: "forgotten" }], before)
    assert.deepStrictEqual(texts(state), ["not accepted"])
    assert.deepStrictEqual([state.seen, state.loaded], [0, false])
  })
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

describe("a message that steers", () => {
  const line = (text: string) => user(after([{ type: "write", id: "s", text, steers: true }]), "s")

  it.prop(
    "is read by the server as steering, and as the text that its line shows",
    [Schema.String],
    ([drawn]) => {
      const text = drawn.trim()
      if (!maySteer(text)) return
      const shown = line(text)
      assert.isDefined(shown)
      if (shown === undefined) return
      const read = inlineQueue(contentOf(shown))
      assert.deepStrictEqual(read, { text, overrides: { mode: "steer" }, reset: false })
    }
  )

  it("may begin with words that /queue would take for settings", () => {
    for (const text of ["reset it", "collect the rest", "cap:3 is too low", "drop:old", "two\nlines"]) {
      assert.strictEqual(inlineQueue(contentOf({ text, steers: true }))?.text, text)
    }
  })

  it("is no command, and none that says itself how it is queued", () => {
    for (const text of ["", "  ", "/stop", " /stop now", "so /queue collect", "a\n/QUEUE: x"]) {
      assert.isFalse(maySteer(text), text)
    }
  })

  it("is sent the same again", () => {
    const state = after([{ type: "write", id: "s", text: "left", steers: true }])
    assert.deepStrictEqual(unsent(state).map(contentOf), ["left\n/queue steer"])
  })
})
