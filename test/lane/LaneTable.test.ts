import { assert, describe, it } from "@effect/vitest"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { decide, initial } from "#src/lane/decide.ts"
import { LaneTable } from "#src/lane/LaneTable.ts"
import { rowOf } from "./rows.ts"

const key = (at: number) => `agent:main:${at}` as SessionKey

describe("LaneTable", () => {
  it("gives a lane that rested the state of a new one", () => {
    const table = new LaneTable(() => 64)
    const lane = table.wake(key(1))
    lane.state = decide(lane.state, { _tag: "Arrived", message: rowOf(7), begun: false }).state

    assert.strictEqual(table.wake(key(1)), lane)
    assert.strictEqual(table.get(key(1)), lane)
    table.rest(lane)

    assert.isUndefined(table.get(key(1)))
    assert.deepStrictEqual(table.wake(key(1)).state, initial(64))
  })

  it("takes up a new size of the buffer with the next spell of work", () => {
    let buffer = 64
    const table = new LaneTable(() => buffer)
    table.rest(table.wake(key(1)))

    buffer = 2
    assert.strictEqual(table.wake(key(1)).state.buffer, 2)
  })

  it("keeps those at work, and only few that rest", () => {
    const table = new LaneTable(() => 64)
    const busy = [table.wake(key(-1)), table.wake(key(-2))]
    for (let at = 0; at < 10_000; at++) table.rest(table.wake(key(at)))

    assert.deepStrictEqual([...table.awake()], busy)
    assert.isBelow(table.size, 1100)
  })
})
