import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import * as MemoryAuditLog from "#layers/horizons/MemoryAuditLog.ts"
import { layerIds } from "#layers/Test.ts"
import * as Audit from "#src/access/Audit.ts"
import { local } from "#src/domain/Tenant.ts"
import { AuditError, AuditLog } from "#src/horizons/AuditLog.ts"
import { StoreBusy } from "#src/horizons/MessageLog.ts"

/** A log that a test may take away. */
class Fixture {
  away = false
  appends = 0
  readonly log = Layer.effect(
    AuditLog,
    Effect.map(AuditLog, (log) =>
      AuditLog.of({
        ...log,
        append: (events) =>
          Effect.suspend(() => {
            this.appends++
            return this.away
              ? Effect.fail(new AuditError({ reason: new StoreBusy({ detail: "away" }) }))
              : log.append(events)
          })
      })
    )
  ).pipe(Layer.provide(MemoryAuditLog.layer))
  readonly audit = Layer.provide(Audit.layer, layerIds)
}

const record = (subject: string) =>
  Audit.Audit.use((audit) => audit.record({ actor: "operator", action: "lane.paused", subject }))
const told = AuditLog.use((log) => log.list({ tenant: local, limit: 100 }))
const subjects = Effect.map(told, (rows) => rows.map(({ subject }) => subject).toReversed())

describe("Audit", () => {
  it.effect("has stored an event when it says so", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      yield* record("a")
      assert.deepStrictEqual(yield* subjects, ["a"])
    }).pipe(Effect.provide(Layer.provideMerge(fixture.audit, fixture.log)))
  })

  it.effect("keeps what the store cannot take, lets its caller go on, and stores it when it can", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      fixture.away = true
      yield* record("a")
      yield* record("b")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* subjects, [])
      fixture.away = false
      yield* record("c")
      yield* TestClock.adjust("5 seconds")
      assert.sameMembers([...(yield* subjects)], ["a", "b", "c"])
      const before = fixture.appends
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fixture.appends, before)
      // When it was, not when it was stored.
      assert.deepStrictEqual(
        (yield* told).map(({ subject, at }) => [subject, at]),
        [
          ["c", 60_000],
          ["b", 0],
          ["a", 0]
        ]
      )
    }).pipe(Effect.provide(Layer.provideMerge(fixture.audit, fixture.log)))
  })

  it.effect("what was done is told, also when whoever asked has gone; what failed is not", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { recorded } = yield* Audit.Audit
      const done = yield* Deferred.make<void>()
      const act = (subject: string) => ({ actor: "operator", action: "lane.paused", subject }) as const
      const asking = yield* Effect.forkChild(recorded(act("a"), Deferred.await(done)), {
        startImmediately: true
      })
      const leaving = yield* Effect.forkChild(Fiber.interrupt(asking), { startImmediately: true })
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(leaving)
      yield* Effect.exit(recorded(act("b"), Effect.fail("no")))

      assert.deepStrictEqual(yield* subjects, ["a"])
    }).pipe(Effect.provide(Layer.provideMerge(fixture.audit, fixture.log)))
  })

  it.effect("counts who was refused, and tells a minute's count as one event", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const { refused } = yield* Audit.Audit
      for (let n = 0; n < 5000; n++) refused("key")
      refused("cookie")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(fixture.appends, 0)
      yield* TestClock.adjust("1 second")
      refused("token")
      yield* TestClock.adjust("10 minutes")

      const found = yield* told
      assert.deepStrictEqual(
        found.map(({ action, actor, detail }) => ({ action, actor, detail })),
        [
          { action: "auth.refused", actor: "nobody", detail: { token: 1 } },
          { action: "auth.refused", actor: "nobody", detail: { key: 5000, cookie: 1 } }
        ]
      )
    }).pipe(Effect.provide(Layer.provideMerge(fixture.audit, fixture.log)))
  })

  it.effect("tells what it has when it ends", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        fixture.away = true
        yield* record("kept")
        fixture.away = false
        const { refused } = yield* Audit.Audit
        refused("code")
      }).pipe(Effect.provide(fixture.audit))

      const found = yield* told
      assert.sameMembers(
        found.map(({ action }) => action),
        ["lane.paused", "auth.refused"]
      )
    }).pipe(Effect.provide(fixture.log))
  })

  it.effect("ends all the same while the store is away, and says what it could not store", () => {
    const fixture = new Fixture()
    const lines: Array<string> = []
    const logger = Logger.make(({ message, fiber }) => {
      lines.push(JSON.stringify([message, fiber.getRef(References.CurrentLogAnnotations)]))
    })
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        fixture.away = true
        yield* record("kept")
      }).pipe(Effect.provide(fixture.audit))

      assert.lengthOf(
        lines.filter((line) => line.includes("kept")),
        2
      )
      assert.deepStrictEqual(yield* subjects, [])
    }).pipe(Effect.provide(Layer.merge(fixture.log, Logger.layer([logger]))))
  })
})
