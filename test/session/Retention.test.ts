import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import { local } from "#src/domain/Tenant.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Sessions from "#src/session/Sessions.ts"

const { settle } = TestSystem
const ada = "agent:main:ada" as SessionKey

const say = (externalId: string, session = ada) =>
  Effect.gen(function* () {
    const conversation = { channel: "recording-keyed", account: "a", conversation: "c", thread: "" }
    yield* (yield* Inbound.Inbound).submit({
      identity: { ...conversation, externalId, revision: 1 },
      session,
      ephemeral: false,
      sender: "ada",
      access: "owner",
      body: { text: `say ${externalId}` }
    })
    yield* settle
  })
const listed = Effect.flatMap(Sessions.Sessions, (sessions) =>
  Effect.map(sessions.list(local, 10), (rows) => rows.map(({ place }) => place.session))
)

describe("retention", () => {
  it.effect("forgets a session when nothing was said for as long as was set, and begins it anew", () =>
    Effect.gen(function* () {
      const bob = "agent:main:bob" as SessionKey
      yield* say("1")
      yield* TestClock.adjust("2 days")
      yield* say("2", bob)
      yield* TestClock.adjust("25 hours")
      yield* settle

      assert.deepStrictEqual(yield* listed, [bob])
      yield* say("3")
      const { requests } = yield* ScriptedModel.ModelScript
      const prompt = requests().at(-1)!.messages.slice(1)
      assert.deepStrictEqual(
        prompt.map(({ text }) => text),
        ["say 3"]
      )
    }).pipe(
      Effect.provide(
        TestSystem.layer({ script: ["one", "two", "three"], config: { retention: { days: 3 } } })
      )
    )
  )

  it.effect("gives a session nothing of what one of its name had said that was forgotten elsewhere", () =>
    Effect.gen(function* () {
      yield* say("1")
      yield* TestClock.adjust("1 second")
      yield* settle
      // As another node on the same store does.
      const log = yield* MessageLog
      assert.strictEqual(yield* log.purge({ tenant: local, before: 10_000, listed: true }), 1)
      yield* say("2")
      yield* TestClock.adjust("1 second")
      yield* settle

      const { requests } = yield* ScriptedModel.ModelScript
      const said = requests().map((request) => request.messages.slice(1).map(({ text }) => text))
      assert.deepStrictEqual(said, [["say 1"], ["say 2"]])
    }).pipe(
      // Parts are waited for, so that a run begins by a unit of its own.
      Effect.provide(TestSystem.layer({ script: ["one", "two"], config: { inbound: { debounce_ms: 500 } } }))
    )
  )

  it.effect("forgets nothing unless it was set", () =>
    Effect.gen(function* () {
      yield* say("1")
      yield* TestClock.adjust("400 days")
      yield* settle

      assert.deepStrictEqual(yield* listed, [ada])
    }).pipe(Effect.provide(TestSystem.layer({ script: ["one"] })))
  )
})
