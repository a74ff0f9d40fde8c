import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as TestSystem from "#layers/Test.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import { MessageLog, StoreBusy } from "#src/horizons/MessageLog.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import { recordsOf, redecide } from "#src/lane/replay.ts"
import * as Sessions from "#src/session/Sessions.ts"

const { settle } = TestSystem
const ada = "agent:main:ada" as SessionKey

const say = (externalId: string) =>
  Effect.gen(function* () {
    const conversation = { channel: "recording-keyed", account: "a", conversation: "c", thread: "" }
    yield* (yield* Inbound.Inbound).submit({
      identity: { ...conversation, externalId, revision: 1 },
      session: ada,
      ephemeral: false,
      sender: "ada",
      access: "owner",
      body: { text: `a secret in ${externalId}` }
    })
    yield* settle
  })
const second = Effect.andThen(TestClock.adjust("1 second"), settle)
const rows = Effect.flatMap(MessageLog, (log) => log.journal({ tenant: local, session: ada, limit: 100 }))
const spells = Effect.map(rows, (kept) => redecide(kept.flatMap((row) => recordsOf(row.records))))
const eventsOf = ({ records }: ReturnType<typeof redecide>[number]) => records.map(({ event }) => event._tag)

const script = ["one", "two", "three", "four"]

describe("a lane's journal", () => {
  it.effect("is written a second later, all of it at once, and is decided again without a difference", () =>
    Effect.gen(function* () {
      yield* say("1")
      yield* say("2")
      assert.deepStrictEqual(yield* rows, [])
      yield* second
      yield* say("3")
      yield* second

      const kept = yield* rows
      assert.deepStrictEqual(
        kept.map(({ seq, at }) => [seq, at]),
        [
          [1, 1000],
          [2, 2000]
        ]
      )
      const found = yield* spells
      assert.deepStrictEqual(found.map(eventsOf), [
        ["Arrived", "RunEnded"],
        ["Arrived", "RunEnded"],
        ["Arrived", "RunEnded"]
      ])
      assert.isTrue(found.every(({ difference, isWhole }) => difference === undefined && isWhole))
      assert.notInclude(JSON.stringify(kept), "secret")
    }).pipe(Effect.provide(TestSystem.layer({ script })))
  )

  it.effect("loses what the log does not take, and nothing else", () =>
    Effect.gen(function* () {
      const { failAll, recover } = yield* MemoryMessageLog.MemoryLogFaults
      yield* say("1")
      yield* failAll(new StoreBusy({ detail: "asked for" }))
      yield* second
      yield* recover
      yield* say("2")
      yield* second

      assert.deepStrictEqual((yield* spells).map(eventsOf), [["Arrived", "RunEnded"]])
    }).pipe(Effect.provide(TestSystem.layer({ script })))
  )

  it.effect("is written when the gateway stops", () =>
    Effect.gen(function* () {
      const log = yield* Layer.build(MemoryMessageLog.layer)
      yield* Effect.provide(say("1"), TestSystem.layerOn(Layer.succeedContext(log), { script }))

      const found = yield* Effect.provideContext(spells, Context.pick(MessageLog)(log))
      assert.deepStrictEqual(found.map(eventsOf), [["Arrived", "RunEnded"]])
    })
  )

  it.effect("is kept for the hours that were set, and goes with its session", () =>
    Effect.gen(function* () {
      yield* say("1")
      yield* second
      assert.strictEqual((yield* rows).length, 1)
      yield* TestClock.adjust("4 hours")
      yield* settle
      assert.deepStrictEqual(yield* rows, [])

      yield* say("2")
      yield* second
      assert.strictEqual((yield* rows).length, 1)
      yield* (yield* Sessions.Sessions).remove(ada)
      assert.deepStrictEqual(yield* rows, [])
    }).pipe(Effect.provide(TestSystem.layer({ script, config: { retention: { journal_hours: 3 } } })))
  )

  it.effect("is not kept when that is turned off", () =>
    Effect.gen(function* () {
      yield* say("1")
      yield* second

      assert.deepStrictEqual(yield* rows, [])
    }).pipe(Effect.provide(TestSystem.layer({ script, config: { retention: { journal_hours: 0 } } })))
  )
})
