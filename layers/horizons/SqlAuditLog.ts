/** The audit log in the database that holds the log. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { AuditError, AuditLog } from "#src/horizons/AuditLog.ts"
import { insertEvent, listEvents } from "./sqlAudit.ts"
import { SqlStore } from "./SqlStore.ts"

const failing = <A>(effect: Effect.Effect<A, AuditError["reason"]>): Effect.Effect<A, AuditError> =>
  Effect.mapError(effect, (reason) => new AuditError({ reason }))

export const make = Effect.gen(function* () {
  const { unit, read } = yield* SqlStore
  return AuditLog.of({
    append: (events) => {
      const [first] = events
      if (first === undefined) return Effect.void
      const { org, project } = first.tenant
      return failing(
        unit(`${org}\n${project}\naudit`, function* () {
          for (const event of events) yield* insertEvent(event)
          return Result.succeed(undefined)
        })
      )
    },
    list: (query) => failing(read(() => listEvents(query)))
  })
})

export const layer = Layer.effect(AuditLog, make)
