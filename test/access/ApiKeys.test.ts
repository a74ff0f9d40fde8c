import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import * as MemoryAuditLog from "#layers/horizons/MemoryAuditLog.ts"
import * as MemoryCentralDb from "#layers/horizons/MemoryCentralDb.ts"
import * as NodeIds from "#layers/platform/NodeIds.ts"
import { ApiKeys, layer as layerApiKeys, rememberedMillis } from "#src/access/ApiKeys.ts"
import * as Audit from "#src/access/Audit.ts"
import { local } from "#src/domain/Tenant.ts"
import { CentralDb, CentralError } from "#src/horizons/CentralDb.ts"
import { StoreBusy } from "#src/horizons/MessageLog.ts"
import { eventOf } from "../contracts/AuditLog.contract.ts"

/** A store that counts, and that a test may hold up or break. */
class Fixture {
  finds = 0
  writes = 0
  away = false
  /** What each find waits for, once it has its row. */
  gate: Effect.Effect<void> = Effect.void

  readonly db = Layer.effect(
    CentralDb,
    Effect.map(MemoryCentralDb.make, (db) =>
      CentralDb.of({
        ...db,
        findKey: (id) =>
          Effect.suspend(() => {
            this.finds++
            return this.away
              ? Effect.fail(new CentralError({ reason: new StoreBusy({ detail: "away" }) }))
              : Effect.tap(db.findKey(id), () => this.gate)
          }),
        useKeys: (uses) => {
          this.writes += uses.length
          return db.useKeys(uses)
        }
      })
    )
  )
  readonly layer = layerApiKeys.pipe(
    Layer.provideMerge(Audit.layer),
    Layer.provideMerge(this.db),
    Layer.provideMerge(Layer.mergeAll(MemoryAuditLog.layer, KeySecrets.layerKeys(undefined), NodeIds.layer))
  )
}

const create = (name: string, expiresAt?: number) =>
  ApiKeys.use((keys) =>
    keys.create(local, { name, user: "ann", scopes: ["chat"], expiresAt }, "operator")
  ).pipe(Effect.map(({ key, row }) => ({ text: Redacted.value(key), id: row.id })))
const verified = (text: string) =>
  Effect.map(
    ApiKeys.use((keys) => keys.verify(text)),
    (row) => row?.name
  )

describe("ApiKeys", () => {
  it.effect("a warm key costs no query, and is looked up again after half a minute", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { text } = yield* create("ci")
      for (let n = 0; n < 50; n++) assert.strictEqual(yield* verified(text), "ci")
      assert.strictEqual(fixture.finds, 1)
      yield* TestClock.adjust(rememberedMillis)
      assert.strictEqual(yield* verified(text), "ci")
      assert.strictEqual(fixture.finds, 2)
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("a key is refused from the moment it expires, remembered or not", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { text } = yield* create("short", 10_000)
      assert.strictEqual(yield* verified(text), "short")
      yield* TestClock.adjust(9_999)
      assert.strictEqual(yield* verified(text), "short")
      yield* TestClock.adjust(1)
      assert.isUndefined(yield* verified(text))
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("what is wrong is not remembered: each costs one look, whatever is wrong", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const good = yield* create("good")
      const revoked = yield* create("revoked")
      yield* ApiKeys.use((keys) => keys.revoke(local, revoked.id, "operator"))
      yield* verified(good.text)
      const flipped = good.text.slice(0, -1) + (good.text.endsWith("A") ? "B" : "A")
      for (const wrong of ["ock_none_0123456789abcdef0123456789abcdef", flipped, revoked.text]) {
        const before = fixture.finds
        assert.isUndefined(yield* verified(wrong))
        assert.isUndefined(yield* verified(wrong))
        assert.strictEqual(fixture.finds - before, 2)
      }
      const before = fixture.finds
      assert.isUndefined(yield* verified("no key at all"))
      assert.strictEqual(yield* verified(good.text), "good")
      assert.strictEqual(fixture.finds, before)
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("a look that began before a revocation is not remembered behind it", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { text, id } = yield* create("ci")
      const read = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      fixture.gate = Effect.andThen(Deferred.succeed(read, undefined), Deferred.await(goOn))
      const early = yield* Effect.forkChild(verified(text), { startImmediately: true })
      yield* Deferred.await(read)
      fixture.gate = Effect.void
      yield* ApiKeys.use((keys) => keys.revoke(local, id, "operator"))
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(early)

      assert.isUndefined(yield* verified(text))
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("while the store is away a remembered key works, another one fails with the reason", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const warm = yield* create("warm")
      const cold = yield* create("cold")
      yield* verified(warm.text)
      fixture.away = true

      assert.strictEqual(yield* verified(warm.text), "warm")
      const error = yield* Effect.flip(verified(cold.text))
      assert.strictEqual(error.reason._tag, "StoreBusy")
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("its last use is told once in ten minutes, however often it is used", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { text, id } = yield* create("ci")
      for (let second = 0; second < 30 * 60; second += 5) {
        yield* verified(text)
        yield* TestClock.adjust("5 seconds")
      }

      assert.strictEqual(fixture.writes, 3)
      const used = (yield* CentralDb.use((db) => db.findKey(id)))?.usedAt ?? 0
      assert.isTrue(used > 19 * 60_000 && used <= 30 * 60_000, String(used))
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("is not told a use twice by a store that knows it already", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { text, id } = yield* create("ci")
      yield* CentralDb.use((db) => db.useKeys([{ tenant: local, id, at: 5 }]))
      fixture.writes = 0
      yield* verified(text)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(fixture.writes, 0)
      yield* CentralDb.use((db) =>
        db.revokeKey({ tenant: local, id, at: 6 }, eventOf("r", { tenant: local }))
      )
      assert.isFalse(yield* ApiKeys.use((keys) => keys.isValid(id)))
    }).pipe(Effect.provide(fixture.layer))
  })
})
