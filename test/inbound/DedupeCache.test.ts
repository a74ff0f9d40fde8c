import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { DedupeCache } from "#src/inbound/DedupeCache.ts"

describe("DedupeCache", () => {
  it("gives back what was remembered, until the time is over since its last sight", () => {
    const cache = new DedupeCache<string>({ ttlMillis: 1000, maxSize: 10 })
    cache.remember("a", "msg_1", 0)

    assert.strictEqual(cache.check("a", 999), "msg_1")
    assert.strictEqual(cache.check("a", 1998), "msg_1")
    assert.strictEqual(cache.check("a", 2998), undefined)
    assert.strictEqual(cache.check("A", 1998), undefined)
  })

  it("drops the key that was seen longest ago when it is full", () => {
    const cache = new DedupeCache<number>({ ttlMillis: 1000, maxSize: 2 })
    cache.remember("a", 1, 0)
    cache.remember("b", 2, 1)
    cache.check("a", 2)

    cache.remember("c", 3, 3)

    assert.deepStrictEqual([cache.check("a", 4), cache.check("b", 4), cache.check("c", 4)], [1, undefined, 3])
  })

  it("forgets on demand and never remembers an empty key", () => {
    const cache = new DedupeCache<number>({ ttlMillis: 1000, maxSize: 2 })
    cache.remember("a", 1, 0)
    cache.remember("", 2, 0)
    cache.forget("a")

    assert.strictEqual(cache.check("a", 1), undefined)
    assert.strictEqual(cache.check("", 1), undefined)
    assert.strictEqual(cache.size, 0)
  })

  const steps = Schema.Array(
    Schema.Struct({
      key: Schema.Literals(["a", "b", "c", "d", "e"]),
      wait: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 }))
    })
  )
  it.prop("never holds more than its size, and hits only what is young enough", { steps }, ({ steps }) => {
    const cache = new DedupeCache<number>({ ttlMillis: 100, maxSize: 3 })
    const last = new Map<string, number>()
    let now = 0
    for (const { key, wait } of steps) {
      now += wait
      const hit = cache.check(key, now)
      const before = last.get(key)
      if (hit !== undefined) assert.isTrue(before !== undefined && now - before < 100)
      else cache.remember(key, now, now)
      last.set(key, now)
      assert.isTrue(cache.size <= 3)
    }
  })
})
