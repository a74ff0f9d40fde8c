import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import * as MemoryAuditLog from "#layers/horizons/MemoryAuditLog.ts"
import * as MemoryCentralDb from "#layers/horizons/MemoryCentralDb.ts"
import { layerIds, settle } from "#layers/Test.ts"
import * as Audit from "#src/access/Audit.ts"
import * as Credentials from "#src/access/Credentials.ts"
import * as StoredKeys from "#src/access/StoredKeys.ts"
import * as Checks from "#src/check/Checks.ts"
import { local, type Tenant } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import { CentralDb } from "#src/horizons/CentralDb.ts"
import { Providers, type ProviderSettings } from "#src/model/ProviderSettings.ts"
import { eventOf } from "../contracts/AuditLog.contract.ts"

const oldKey = "11".repeat(32)
const newKey = "22".repeat(32)

/** Stores that outlive the gateways on them. */
const stores = MemoryCentralDb.layer.pipe(Layer.provideMerge(MemoryAuditLog.layer))
const gateway = (keys: string | undefined) =>
  Credentials.layer.pipe(
    Layer.provideMerge(Audit.layer),
    Layer.provideMerge(
      Layer.mergeAll(
        KeySecrets.layerKeys(keys === undefined ? undefined : Redacted.make(keys)),
        layerIds,
        Checks.layer
      )
    )
  )
const on = <A, E, R>(keys: string | undefined, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Layer.fresh(gateway(keys)))

const set = (name: string, value: string) =>
  Credentials.Credentials.use((credentials) => credentials.set(name, Redacted.make(value), "operator"))
const open = (name: string) =>
  Credentials.Credentials.use((credentials) => credentials.open(name)).pipe(
    Effect.map((value) => (value === undefined ? undefined : Redacted.value(value))),
    Effect.catch((error) => Effect.succeed(error.reason._tag))
  )
const rotate = Credentials.Credentials.use((credentials) => credentials.rotate("operator"))
const rowOf = (name: string, tenant: Tenant = local) =>
  Effect.map(
    CentralDb.use((db) => db.credentials({ tenant, name, limit: 1 })),
    ([row]) => row!
  )
const found = (name: string) =>
  Checks.Checks.use((checks) => checks.diagnose({ offline: true })).pipe(
    Effect.map((results) => results.find((one) => one.name === name))
  )

describe("Credentials", () => {
  it.effect("open for their own name and tenant only, wherever the row is moved to", () =>
    Effect.gen(function* () {
      yield* on(oldKey, Effect.andThen(set("openai", "sk-one"), set("other", "sk-two")))
      const { sealed } = yield* rowOf("openai")
      const move = (name: string) =>
        CentralDb.use((db) =>
          db.putCredential({ tenant: local, name, sealed, at: 1 }, eventOf(name, { tenant: local }))
        )
      yield* move("other")
      yield* move("moved")

      assert.strictEqual(yield* on(oldKey, open("openai")), "sk-one")
      assert.strictEqual(yield* on(oldKey, open("other")), "Tampered")
      assert.strictEqual(yield* on(oldKey, open("moved")), "Tampered")
      assert.isUndefined(yield* on(oldKey, open("none")))
      const check = yield* on(oldKey, found("credentials"))
      assert.strictEqual(check?.status, "failed")
      assert.match(check?.message ?? "", /^moved: .*\nother: /)
    }).pipe(Effect.provide(stores))
  )

  it.effect("are sealed anew with a new key, while the old one still opens what it sealed", () =>
    Effect.gen(function* () {
      for (const name of ["a", "b", "c"]) yield* on(oldKey, set(name, `sk-${name}`))
      const before = (yield* rowOf("a")).sealed.keyId
      const both = `${newKey},${oldKey}`

      assert.strictEqual(yield* on(newKey, open("a")), "KeyMissing")
      assert.strictEqual(yield* on(both, open("a")), "sk-a")
      yield* on(both, set("c", "sk-new"))
      assert.strictEqual(yield* on(both, rotate), 2)
      assert.strictEqual(yield* on(both, rotate), 0)
      assert.notStrictEqual((yield* rowOf("a")).sealed.keyId, before)
      for (const [name, value] of [
        ["a", "sk-a"],
        ["b", "sk-b"],
        ["c", "sk-new"]
      ] as const) {
        assert.strictEqual(yield* on(newKey, open(name)), value)
      }
      assert.strictEqual(yield* on(oldKey, open("a")), "KeyMissing")
      const told = yield* AuditLog.use((log) =>
        log.list({ tenant: local, action: "credential.rotated", limit: 10 })
      )
      assert.deepStrictEqual(told.map(({ subject }) => subject).toSorted(), ["a", "b"])
    }).pipe(Effect.provide(stores))
  )

  it.effect("one that is set while all are sealed anew keeps its new value", () =>
    Effect.gen(function* () {
      yield* on(oldKey, set("a", "sk-old"))
      const db = yield* CentralDb
      let meanwhile: Effect.Effect<void> = on(oldKey, set("a", "sk-new")).pipe(
        Effect.orDie,
        Effect.provideContext(yield* Effect.context<CentralDb | AuditLog>())
      )
      const slow = CentralDb.of({
        ...db,
        credentials: (page) =>
          Effect.tap(db.credentials(page), () => {
            const once = meanwhile
            meanwhile = Effect.void
            return once
          })
      })
      const both = `${newKey},${oldKey}`

      assert.strictEqual(yield* on(both, rotate).pipe(Effect.provideService(CentralDb, slow)), 0)
      assert.strictEqual(yield* on(both, open("a")), "sk-new")
    }).pipe(Effect.provide(stores))
  )

  it.effect("without a key none is kept, and what was kept is told", () =>
    Effect.gen(function* () {
      yield* on(oldKey, set("openai", "sk-one"))
      const error = yield* Effect.flip(on(undefined, set("more", "x")))
      const check = yield* on(undefined, found("credentials"))

      assert.strictEqual(error.reason._tag, "NoSecretsKey")
      assert.strictEqual(check?.status, "failed")
      assert.match(check?.message ?? "", /openai: .*OPENCRAW_SECRETS_KEY/)
      assert.strictEqual((yield* on(oldKey, found("credentials")))?.status, "ok")
    }).pipe(Effect.provide(stores))
  )
})

const plain: ProviderSettings = { kind: "openai-chat", base_url: "http://a", idle_timeout_ms: 1000 }
const configured: Readonly<Record<string, ProviderSettings>> = {
  plain,
  stored: { ...plain, api_key_stored: "one" },
  shared: {
    ...plain,
    profiles: {
      work: { api_key_stored: "one" },
      spare: { api_key_stored: "two" },
      own: { api_key: Redacted.make("k") }
    }
  }
}
const withProviders = (providers: typeof configured) =>
  StoredKeys.layer.pipe(
    Layer.provide(Layer.succeed(Providers, { get: () => providers, changes: Stream.succeed(providers) })),
    Layer.provideMerge(gateway(oldKey))
  )
const keys = Effect.map(Providers, (providers) => {
  const { stored, shared } = providers.get()
  const value = (key: Redacted.Redacted | undefined) => (key === undefined ? undefined : Redacted.value(key))
  return [
    value(stored?.api_key),
    ...Object.values(shared?.profiles ?? {}).map((profile) => value(profile.api_key))
  ]
})

describe("StoredKeys", () => {
  it.effect("gives providers and profiles their stored keys, and leaves the others as they are", () =>
    Effect.gen(function* () {
      yield* on(oldKey, Effect.andThen(set("one", "sk-1"), set("two", "sk-2")))
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* keys, ["sk-1", "sk-1", "sk-2", "k"])
        assert.strictEqual((yield* Providers).get()["plain"], plain)
        assert.strictEqual((yield* found("stored keys"))?.status, "ok")
      }).pipe(Effect.provide(withProviders(configured)))
    }).pipe(Effect.provide(stores))
  )

  it.effect("a credential that is set counts at once; one that another gateway set within a minute", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* keys, [undefined, undefined, undefined, "k"])
        const check = yield* found("stored keys")
        assert.strictEqual(check?.status, "failed")
        assert.match(check?.message ?? "", /one: .*opencraw credentials set one/)

        yield* set("one", "sk-1")
        yield* settle
        assert.deepStrictEqual(yield* keys, ["sk-1", "sk-1", undefined, "k"])
        yield* on(oldKey, set("two", "sk-2"))
        yield* settle
        assert.deepStrictEqual(yield* keys, ["sk-1", "sk-1", undefined, "k"])
        const before = (yield* Providers).get()
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* keys, ["sk-1", "sk-1", "sk-2", "k"])
        assert.strictEqual((yield* Providers).get()["plain"], before["plain"])
        const settled = (yield* Providers).get()
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual((yield* Providers).get(), settled)
        yield* Credentials.Credentials.use((credentials) => credentials.remove("one", "operator"))
        yield* settle
        assert.deepStrictEqual(yield* keys, [undefined, undefined, "sk-2", "k"])
      }).pipe(Effect.provide(withProviders(configured)))
    }).pipe(Effect.provide(stores))
  )

  it.effect("asks the store for nothing when no provider has a stored key", () =>
    Effect.gen(function* () {
      const db = yield* CentralDb
      let asked = 0
      const counting = CentralDb.of({
        ...db,
        credentials: (page) => {
          asked++
          return db.credentials(page)
        }
      })
      yield* Effect.gen(function* () {
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual((yield* Providers).get(), { plain })
      }).pipe(Effect.provide(withProviders({ plain })), Effect.provideService(CentralDb, counting))

      assert.strictEqual(asked, 0)
    }).pipe(Effect.provide(stores))
  )
})
