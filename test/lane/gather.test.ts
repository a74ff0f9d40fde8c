import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { PartsWindow } from "#src/domain/Inbound.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import {
  gather,
  gathered,
  type GatherCommand,
  type GatherEvent,
  initial,
  isEmpty,
  windowOf
} from "#src/lane/gather.ts"
import { rowOf } from "./rows.ts"

const window: PartsWindow = { waitMs: 4, maxWaitMs: 20, maxParts: 12, maxChars: 50_000 }

// The interpreter: timers fire at their time, in the order they were armed.
const makeWorld = () => {
  let state = initial
  let now = 0
  let armed = 0
  const timers: Array<{ readonly at: number; readonly nr: number; readonly event: GatherEvent }> = []
  const flushes: Array<{ readonly at: number; readonly rows: ReadonlyArray<MessageRow> }> = []
  const perform = (command: GatherCommand) => {
    if (command._tag === "Flush") return void flushes.push({ at: now, rows: command.rows })
    const { key, generation, ms } = command
    timers.push({ at: now + ms, nr: armed++, event: { _tag: "Due", key, generation } })
  }
  const post = (event: GatherEvent) => {
    const { state: next, commands } = gather(state, event)
    state = next
    for (const command of commands) perform(command)
  }
  const until = (at: number) => {
    while (true) {
      timers.sort((a, b) => a.at - b.at || a.nr - b.nr)
      const next = timers[0]
      if (next === undefined || next.at > at) break
      timers.shift()
      now = next.at
      post(next.event)
    }
    now = at
  }
  const send = (row: MessageRow, own: PartsWindow = window, immediate = false) =>
    post({ _tag: "Part", row, window: own, immediate })
  const seqs = () => flushes.map(({ rows }) => rows.map(({ seq }) => seq))
  return { send, post, until, seqs, flushes, timers, state: () => state }
}

describe("gather", () => {
  it("makes one of what a person sends in a row, a quiet time after its last part", () => {
    const world = makeWorld()
    world.send(rowOf(1))
    world.until(3)
    world.send(rowOf(2))
    world.until(6)
    assert.deepStrictEqual(world.seqs(), [])
    world.until(7)

    assert.deepStrictEqual(world.seqs(), [[1, 2]])
    assert.isTrue(isEmpty(world.state()))
  })

  it("keeps two people, and two threads of one, apart", () => {
    const world = makeWorld()
    world.send(rowOf(1))
    world.send(rowOf(2, { sender: "bob" }))
    world.send(rowOf(3, { route: { thread: "t" } }))
    world.until(4)

    assert.deepStrictEqual(world.seqs(), [[1], [2], [3]])
  })

  it("lets media through at once, behind its sender's own parts and before those of others", () => {
    const world = makeWorld()
    world.send(rowOf(1, { sender: "bob" }))
    world.send(rowOf(2))
    world.send(rowOf(3), window, true)
    world.send(rowOf(4), { ...window, waitMs: 0 })

    assert.deepStrictEqual(world.seqs(), [[2], [3], [4]])
    world.until(4)
    assert.deepStrictEqual(world.seqs().at(-1), [1])
  })

  it("never joins unequal access, and keeps the order when it cannot join", () => {
    const world = makeWorld()
    world.send(rowOf(1))
    world.send(rowOf(2, { access: "guest" }))
    world.send(rowOf(3))
    world.until(10)

    assert.deepStrictEqual(world.seqs(), [[1], [2], [3]])
  })

  it("is full by parts and by characters, and starts anew with what does not fit", () => {
    const parts = makeWorld()
    for (let seq = 1; seq <= 5; seq++) parts.send(rowOf(seq), { ...window, maxParts: 2 })
    assert.deepStrictEqual(parts.seqs(), [
      [1, 2],
      [3, 4]
    ])

    const chars = makeWorld()
    const small = { ...window, maxChars: 9 }
    for (const [index, text] of ["aaaa", "bbbb", "c", "d".repeat(99)].entries()) {
      chars.send(rowOf(index + 1, { text }), small)
    }
    assert.deepStrictEqual(chars.seqs(), [[1, 2], [3], [4]])
  })

  it("does not wait longer than its limit for a person who goes on writing", () => {
    const world = makeWorld()
    for (let seq = 1; seq <= 10; seq++) {
      world.send(rowOf(seq))
      world.until(seq * 3)
    }
    assert.deepStrictEqual(
      world.flushes.map(({ at }) => at),
      [20]
    )
    assert.deepStrictEqual(world.seqs(), [[1, 2, 3, 4, 5, 6, 7]])
  })

  it("arms one timer when the wait is as long as the limit", () => {
    const world = makeWorld()
    world.send(rowOf(1), { ...window, waitMs: 60 })
    world.send(rowOf(2), { ...window, waitMs: 60 })
    assert.strictEqual(world.timers.length, 1)
    world.until(20)

    assert.deepStrictEqual(world.seqs(), [[1, 2]])
  })

  it("forgets what has its outcome, and lets the rest go when it is released, oldest first", () => {
    const world = makeWorld()
    world.send(rowOf(1))
    world.send(rowOf(2, { sender: "bob" }))
    world.send(rowOf(3))
    world.send(rowOf(4, { sender: "eve" }))
    world.post({ _tag: "Withdrawn", ids: new Set([rowOf(1).id, rowOf(4).id]) })
    assert.deepStrictEqual(
      gathered(world.state()).map(({ seq }) => seq),
      [2, 3]
    )
    world.post({ _tag: "Release" })
    world.until(100)

    assert.deepStrictEqual(world.seqs(), [[2], [3]])
  })

  it("takes its window from the settings of the channel", () => {
    const settings = {
      debounce_ms: 5,
      by_channel: { telegram: 300 },
      max_parts: 2,
      max_chars: 3,
      max_wait_ms: 4
    }
    assert.deepStrictEqual(windowOf(settings, "Telegram"), {
      waitMs: 300,
      maxWaitMs: 4,
      maxParts: 2,
      maxChars: 3
    })
    assert.strictEqual(windowOf(settings, "slack").waitMs, 5)
    assert.strictEqual(windowOf(settings, "slack", 0).waitMs, 0)
  })
})

const Burst = Schema.Array(
  Schema.Struct({
    pause: Schema.Literals([0, 1, 2, 5, 9]),
    sender: Schema.Literals(["ada", "bob"]),
    access: Schema.Literals(["owner", "owner", "guest"]),
    size: Schema.Literals([1, 1, 3, 30]),
    waitMs: Schema.Literals([4, 4, 4, 0, 60]),
    immediate: Schema.Literals([false, false, false, true])
  })
)

describe("gather, whatever comes", () => {
  it.prop(
    "loses nothing, keeps each sender's order, joins nobody else's, and lets every part go within its limits",
    { burst: Burst },
    ({ burst }) => {
      const limits = { maxWaitMs: 20, maxParts: 3, maxChars: 12 }
      const world = makeWorld()
      const came = new Map<number, number>()
      let now = 0
      for (const [index, { pause, sender, access, size, waitMs, immediate }] of burst.entries()) {
        now += pause
        world.until(now)
        came.set(index + 1, now)
        const row = rowOf(index + 1, { sender, access, text: "x".repeat(size) })
        world.send(row, { ...limits, waitMs }, immediate)
      }
      world.until(now + 1000)

      const left = world.flushes.flatMap(({ rows }) => rows)
      assert.isTrue(isEmpty(world.state()))
      assert.strictEqual(new Set(left.map(({ seq }) => seq)).size, burst.length)
      assert.strictEqual(left.length, burst.length)
      for (const sender of ["ada", "bob"]) {
        const own = left.filter((row) => row.sender === sender).map(({ seq }) => seq)
        assert.deepStrictEqual(
          own,
          own.toSorted((a, b) => a - b)
        )
      }
      for (const { at, rows } of world.flushes) {
        assert.isAtMost(rows.length, limits.maxParts)
        const chars = rows.map(({ body }) => body.text).join("\n").length
        assert.isTrue(rows.length === 1 || chars <= limits.maxChars)
        for (const row of rows) {
          assert.strictEqual(row.sender, rows[0]!.sender)
          assert.strictEqual(row.access, rows[0]!.access)
          assert.isAtMost(at - came.get(row.seq)!, limits.maxWaitMs)
        }
      }
    },
    { arbitrary: { runs: 1000 } }
  )
})
