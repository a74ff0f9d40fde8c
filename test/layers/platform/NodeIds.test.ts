import { assert, describe, it } from "@effect/vitest"
import { make } from "#layers/platform/NodeIds.ts"

describe("NodeIds", () => {
  it("makes unique ids that sort by the order of their making, also when the clock steps back", () => {
    let now = 1_000_000
    const ids = make(() => now)
    const made: Array<string> = []
    for (let round = 0; round < 3000; round++) {
      made.push(ids.next("msg"))
      if (round % 7 === 0) now += 1
      if (round % 100 === 0) now -= 50
    }

    assert.strictEqual(new Set(made).size, made.length)
    assert.deepStrictEqual(made.toSorted(), made)
    assert.isTrue(made.every((id) => /^msg_[0-9a-z]{26}$/.test(id)))
  })

  it("keeps the order when a millisecond is full", () => {
    const ids = make(() => 5)
    let before = ids.next("x")
    for (let index = 0; index < 32 ** 4 + 10; index++) {
      const next = ids.next("x")
      if (next <= before) assert.fail(`${next} after ${before}`)
      before = next
    }
  })

  it("makes secrets of 256 bits that can stand in a URL", () => {
    const { secret } = make()

    assert.match(secret(), /^[A-Za-z0-9_-]{43}$/)
    assert.notStrictEqual(secret(), secret())
  })
})
