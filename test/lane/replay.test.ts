import { assert, describe, it } from "@effect/vitest"
import type { JournalRecord } from "#src/domain/JournalRecord.ts"
import { runOf } from "#src/domain/Ids.ts"
import { decide, initial, type LaneEvent } from "#src/lane/decide.ts"
import { recordsOf, recordText, redecide } from "#src/lane/replay.ts"
import { rowOf } from "./rows.ts"

const arrived = (seq: number, given: Parameters<typeof rowOf>[1] = {}): LaneEvent => ({
  _tag: "Arrived",
  message: rowOf(seq, given),
  begun: false
})
const ended = (seq: number): LaneEvent => ({
  _tag: "RunEnded",
  runId: runOf(rowOf(seq).id),
  end: "finished"
})

/** What a lane's journal holds after these events. */
const journalOf = (events: ReadonlyArray<LaneEvent>, spell = "a"): Array<JournalRecord> => {
  let state = initial(4)
  const texts = events.map((event, n) => {
    const decision = decide(state, event)
    state = decision.state
    return recordText(spell, n, 1000 + n, 4, event, decision)
  })
  return [...recordsOf(`[${texts.join(",")}]`)]
}

const busy = [arrived(1), arrived(2), ended(1), ended(2)]

describe("replay", () => {
  it("decides a spell again: all the same", () => {
    const journal = journalOf(busy)
    const [spell, ...others] = redecide(journal)

    assert.deepStrictEqual(others, [])
    assert.deepStrictEqual(spell?.records, journal)
    assert.deepStrictEqual(
      journal.map(({ commands }) => commands.map(({ _tag }) => _tag)),
      [["Start"], [], ["Start"], []]
    )
    assert.deepInclude(spell, { skipped: undefined, isWhole: true, difference: undefined })
  })

  it("finds the first decision that is otherwise today, and goes on with the next spell", () => {
    const journal = journalOf(busy)
    const [start] = journal[2]!.commands
    journal[1] = { ...journal[1]!, commands: [start!] }
    journal[3] = { ...journal[3]!, rests: false }
    const [spell, next] = redecide([...journal, ...journalOf(busy, "b")])

    assert.deepStrictEqual(spell?.difference, {
      record: journal[1],
      today: { commands: [], rests: false }
    })
    assert.isUndefined(next?.difference)
  })

  it("finds that a lane would not rest today where it did, or the other way round", () => {
    const journal = journalOf(busy)
    const { rests: _, ...last } = journal[3]!

    assert.deepStrictEqual(redecide([...journal.slice(0, 3), last])[0]?.difference, {
      record: last,
      today: { commands: [], rests: true }
    })
  })

  it("what was lost is no difference: neither a tail, nor a beginning, nor what lies between", () => {
    const journal = journalOf(busy)
    const found = (records: ReadonlyArray<JournalRecord>) =>
      redecide(records).map(({ records: { length }, skipped, isWhole, difference }) => {
        assert.isUndefined(difference)
        return [length, skipped, isWhole]
      })

    assert.deepStrictEqual(found(journal.slice(0, 2)), [[2, undefined, false]])
    assert.deepStrictEqual(found(journal.slice(2)), [[2, "beginning", true]])
    assert.deepStrictEqual(found(journal.toSpliced(1, 1)), [
      [1, undefined, false],
      [2, "beginning", true]
    ])
    // The tail of one spell and the beginning of the next, which has as many records, are lost.
    assert.deepStrictEqual(found([...journal.slice(0, 2), ...journalOf(busy, "b").slice(2)]), [
      [2, undefined, false],
      [2, "beginning", true]
    ])
    assert.deepStrictEqual(found([]), [])
  })

  it("says what it cannot decide: another form, an event of a later version, one that is no event", () => {
    const [first, ...rest] = journalOf(busy)
    const later = redecide([{ ...first!, v: 2 }, ...rest])
    const problemOf = (event: JournalRecord["event"]) => {
      const [spell] = redecide([{ ...first!, event }])
      return spell?.difference !== undefined && "problem" in spell.difference.today
        ? spell.difference.today.problem
        : undefined
    }

    assert.deepStrictEqual(
      later.map(({ skipped, difference }) => [skipped, difference]),
      [["version", undefined]]
    )
    assert.strictEqual(problemOf({ _tag: "Teleported" }), "this event is not known")
    assert.isString(problemOf({ _tag: "Arrived", message: 7 }))
    assert.deepStrictEqual(recordsOf("[{}]"), [])
  })

  it("keeps apart what may not join: access, route, system text, model, sampling, a history of its own", () => {
    const queue = { mode: "collect", debounceMs: 0 } as const
    const others = [
      { body: { queue } },
      { body: { queue }, access: "guest" },
      { body: { queue }, route: { thread: "other" } },
      { body: { queue, system: "Whisper this secret." } },
      { body: { queue, model: "demo/other" } },
      { body: { queue, params: { temperature: 1 } } },
      { body: { queue, prior: [] } }
    ] as const
    for (const other of others) {
      const journal = journalOf([
        arrived(1),
        arrived(2, { body: { queue } }),
        arrived(3, other),
        ended(1),
        ended(2),
        ended(3)
      ])
      const [spell] = redecide(journal)

      assert.isUndefined(spell?.difference)
      assert.strictEqual(spell?.isWhole, true)
      const joins = (journal[3]!.commands[0]!["run"] as { messages: ReadonlyArray<string> }).messages.length
      assert.strictEqual(joins, other === others[0] ? 2 : 1)
      assert.notInclude(JSON.stringify(journal), "secret")
    }
  })
})
