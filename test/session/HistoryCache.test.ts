import { assert, describe, it } from "@effect/vitest"
import { type RunId, runId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { EntryRow } from "#src/horizons/MessageLog.ts"
import { HistoryCache } from "#src/session/HistoryCache.ts"

const key = (name: string) => `agent:main:${name}` as SessionKey
const rows = (from: number, to: number, size = 10, run?: RunId): ReadonlyArray<EntryRow> =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    id: `e${from + index}`,
    seq: from + index,
    order: from + index,
    messageId: undefined,
    clientId: undefined,
    runId: run,
    entry: { v: 1, kind: "user", text: "x".repeat(size), sender: "ada" },
    usage: undefined,
    at: 0,
    answers: undefined
  }))
const orders = (all: ReadonlyArray<EntryRow>) => all.map((row) => row.order)

describe("HistoryCache", () => {
  it("gives what was kept and what is new, the newest up to the limit", () => {
    const cache = new HistoryCache(100_000, 4)
    cache.extend(key("a"), rows(1, 3))

    assert.deepStrictEqual(orders(cache.extend(key("a"), rows(4, 5))), [2, 3, 4, 5])
    assert.strictEqual(cache.lastOrder(key("a")), 5)
  })

  it("takes what was written when it comes next, and forgets a session that began anew", () => {
    const cache = new HistoryCache(100_000, 10)
    cache.append(key("a"), rows(1, 2, 10, runId("r1")))
    cache.append(key("a"), rows(3, 3, 10, runId("r2")))
    const given = cache.endingWith(key("a"), runId("r2")) ?? []
    cache.append(key("a"), rows(5, 6))
    cache.append(key("a"), [])

    assert.deepStrictEqual(orders(given), [1, 2, 3])
    assert.isUndefined(cache.endingWith(key("a"), runId("r1")))
    assert.isUndefined(cache.endingWith(key("b"), runId("r2")))
    assert.strictEqual(cache.lastOrder(key("a")), 3)
    cache.append(key("a"), rows(1, 1, 10, runId("r3")))
    assert.deepStrictEqual(orders(cache.endingWith(key("a"), runId("r3")) ?? []), [1])
  })

  it("lets the longest unused session go when it holds too much", () => {
    const cache = new HistoryCache(3000, 10)
    cache.extend(key("a"), rows(1, 4))
    cache.extend(key("b"), rows(1, 4))
    cache.extend(key("a"), rows(5, 5))
    cache.extend(key("c"), rows(1, 4))

    assert.deepStrictEqual(
      [key("a"), key("b"), key("c")].map((one) => cache.lastOrder(one)),
      [5, 0, 4]
    )
  })

  it("does not keep a session that alone exceeds its memory, and gives it all the same", () => {
    const cache = new HistoryCache(1000, 100)

    assert.lengthOf(cache.extend(key("a"), rows(1, 20)), 20)
    assert.strictEqual(cache.lastOrder(key("a")), 0)
  })

  it("holds its bound however long one session goes on", () => {
    const cache = new HistoryCache(5000, 10)
    for (let order = 1; order <= 500; order++) cache.extend(key("a"), rows(order, order))
    cache.extend(key("b"), rows(1, 5))

    assert.strictEqual(cache.lastOrder(key("a")), 500)
    assert.strictEqual(cache.lastOrder(key("b")), 5)
  })
})
