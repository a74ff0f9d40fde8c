import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { overflowNote, summaryLine } from "#src/domain/Queue.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import { mayJoin, nextRun, routeKey } from "#src/lane/collect.ts"
import { rowOf } from "./rows.ts"

describe("mayJoin", () => {
  it("asks for one route, its thread included, and equal access", () => {
    assert.isTrue(mayJoin(rowOf(1), rowOf(2, { sender: "bob" })))
    assert.isFalse(mayJoin(rowOf(1), rowOf(2, { access: "guest" })))
    for (const route of [{ channel: "x" }, { account: "x" }, { conversation: "x" }, { thread: "x" }]) {
      assert.isFalse(mayJoin(rowOf(1), rowOf(2, { route })))
    }
  })

  it("keeps apart what would lose its caller's wishes", () => {
    const warm = rowOf(1, { body: { params: { temperature: 1, seed: 2 } } })
    assert.isTrue(mayJoin(warm, rowOf(2, { body: { params: { seed: 2, temperature: 1 } } })))
    assert.isFalse(mayJoin(warm, rowOf(2)))
    assert.isFalse(mayJoin(rowOf(1), rowOf(2, { body: { system: "be brief" } })))
    assert.isFalse(mayJoin(rowOf(1, { body: { prior: [] } }), rowOf(2)))
    assert.isFalse(mayJoin(rowOf(1), rowOf(2, { body: { prior: [] } })))
  })

  it("does not take two routes for one because of how their names end", () => {
    const a = rowOf(1, { route: { account: "a", conversation: 'b","c' } })
    const b = rowOf(2, { route: { account: 'a","b', conversation: "c" } })
    assert.notStrictEqual(routeKey(a), routeKey(b))
  })
})

const Waiting = Schema.Array(
  Schema.Struct({
    thread: Schema.Literals(["", "t"]),
    access: Schema.Literals(["owner", "guest"]),
    isOdd: Schema.Literals([false, false, false, true])
  })
)
const waitingOf = (given: typeof Waiting.Type): ReadonlyArray<MessageRow> =>
  given.map(({ thread, access, isOdd }, index) =>
    rowOf(index + 1, { access, route: { thread }, body: isOdd ? { system: "other" } : {} })
  )

// All the runs that what waits becomes, when nothing more arrives.
const drainPlan = (waiting: ReadonlyArray<MessageRow>): ReadonlyArray<ReadonlyArray<MessageRow>> => {
  const runs: Array<ReadonlyArray<MessageRow>> = []
  let rest = waiting
  let singlyUpTo = 0
  for (let next = nextRun(rest); next !== undefined; next = nextRun(rest, singlyUpTo)) {
    runs.push(next.messages)
    rest = rest.slice(next.messages.length)
    singlyUpTo = next.singlyUpTo
  }
  return runs
}

describe("nextRun, again and again", () => {
  it.prop(
    "keeps the order, loses nothing, and joins only what may be joined",
    { given: Waiting },
    ({ given }) => {
      const waiting = waitingOf(given)
      const runs = drainPlan(waiting)

      assert.deepStrictEqual(runs.flat(), waiting)
      for (const run of runs) {
        assert.isNotEmpty(run)
        for (const row of run) {
          assert.strictEqual(row.access, run[0]!.access)
          assert.strictEqual(row.identity.thread, run[0]!.identity.thread)
          assert.strictEqual(row.body.system, run[0]!.body.system)
        }
      }
    },
    { arbitrary: { runs: 500 } }
  )

  it("runs singly, up to the end, what waited together and cannot be joined", () => {
    const guest = rowOf(1, { access: "guest" })
    const lengths = drainPlan([guest, rowOf(2), rowOf(3)]).map((run) => run.length)

    assert.deepStrictEqual(lengths, [1, 1, 1])
  })

  it("joins again what came after those", () => {
    const first = nextRun([rowOf(1, { access: "guest" }), rowOf(2)])
    const later = [rowOf(3), rowOf(4)]

    assert.strictEqual(first?.singlyUpTo, 2)
    assert.deepStrictEqual(nextRun([rowOf(2), ...later], 2)?.messages, [rowOf(2)])
    assert.deepStrictEqual(nextRun(later, 2)?.messages, later)
    assert.strictEqual(nextRun([]), undefined)
  })
})

describe("what a run is told of what was dropped", () => {
  it("tells of what was dropped: how many, and the newest in a line each", () => {
    assert.strictEqual(overflowNote([], 0), undefined)
    assert.match(overflowNote(["a", "b", "c"], 7, 2) ?? "", /^\[7 .*\n.*last.*\n- b\n- c$/)
    assert.notInclude(overflowNote(["a"], 1, 0) ?? "", "\n")
  })

  it.prop(
    "has summaries of one line that are text, and no longer than 160",
    { text: Schema.String },
    ({ text }) => {
      const line = summaryLine(`😀 ${text} `.repeat(40))
      assert.isAtMost(line.length, 160)
      assert.strictEqual(line.isWellFormed(), text.isWellFormed() || line.isWellFormed())
      assert.notMatch(line, /\s\s|\n/)
    }
  )

  it("never tears a character of a summary", () => {
    for (let shift = 0; shift < 3; shift++) {
      assert.isTrue(summaryLine("x".repeat(shift) + "😀".repeat(100)).isWellFormed())
    }
  })
})
