import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { local } from "#src/domain/Tenant.ts"
import { timeNow } from "#src/tool/TimeTools.ts"

const context = { tenant: local, agent: "main", session: "s" }

describe("time.now", () => {
  it.effect("tells the clock's time in UTC, or where it is asked for", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 6, 1, 12, 30))

      const utc = yield* timeNow.run({}, context)
      const paris = yield* timeNow.run({ timezone: "Europe/Paris" }, context)

      assert.strictEqual(utc, "2026-07-01T12:30:00.000Z (UTC, Wednesday)")
      assert.strictEqual(paris, "2026-07-01T14:30:00.000+02:00[Europe/Paris] (Wednesday)")
    })
  )

  it.effect("refuses what is no time zone, and arguments it does not have", () =>
    Effect.gen(function* () {
      for (const timezone of ["Mars/Olympus", "+02:00", "", "x".repeat(1_000), "Europe/Paris\n"]) {
        const error = yield* Effect.flip(timeNow.run({ timezone }, context))

        assert.include(error.message, "is not an IANA time zone")
      }
      const wrong = yield* Effect.flip(timeNow.run({ timezone: 1, zone: "UTC" }, context))

      assert.include(wrong.message, "timezone")
      assert.include(wrong.message, "zone")
    })
  )
})
