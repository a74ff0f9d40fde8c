import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MessageLog, StoreBroken, StoreFull } from "#src/horizons/MessageLog.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import { acceptOf, acme, messageLogContract } from "../../contracts/MessageLog.contract.ts"
import { messageLogMembers } from "../../contracts/MessageLog.members.ts"

messageLogContract("MemoryMessageLog", MemoryMessageLog.layer)
messageLogMembers("MemoryMessageLog", MemoryMessageLog.layer)

describe("MemoryMessageLog", () => {
  it.effect("fails the next commits as a test asks, stores nothing of them, and goes on", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const faults = yield* MemoryMessageLog.MemoryLogFaults
      const reason = (id: string) =>
        Effect.map(Effect.result(log.commit(acceptOf(id))), (result) =>
          result._tag === "Failure" ? result.failure.reason._tag : "stored"
        )
      yield* faults.failNext(new StoreFull({}), 2)
      const next = [yield* reason("m1"), yield* reason("m2"), yield* reason("m3")]
      yield* faults.failAll(new StoreBroken({ detail: "gone" }))
      const all = [yield* reason("m4"), yield* reason("m5")]
      yield* faults.recover

      assert.deepStrictEqual(next, ["StoreFull", "StoreFull", "stored"])
      assert.deepStrictEqual(all, ["StoreBroken", "StoreBroken"])
      assert.strictEqual(yield* reason("m6"), "stored")
      assert.deepStrictEqual(
        (yield* log.open({ tenant: acme, limit: 10 })).map(({ id }) => String(id)),
        ["m3", "m6"]
      )
    }).pipe(Effect.provide(MemoryMessageLog.layer))
  )
})
