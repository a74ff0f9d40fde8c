/**
 * The audit log over HTTP: `GET /api/v1/os/audit`, newest first.
 *
 * Owns: its parameters, and the shape of an event on the wire. Does not own: the log (`AuditLog`).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type AuditAction, actions } from "#src/domain/AuditEvent.ts"
import { type AuditCursor, AuditLog } from "#src/horizons/AuditLog.ts"
import { type ApiError, invalid, storeUnavailable } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { json } from "./osRoutes.ts"
import { known, limitOf } from "./pages.ts"
import type { Call, Route } from "./Routing.ts"

const parameters = ["action", "actor", "since", "until", "before", "limit"]
const isAction = (text: string): text is AuditAction => (actions as ReadonlyArray<string>).includes(text)

const timeOf = (query: URLSearchParams, key: "since" | "until"): Result.Result<object, ApiError> => {
  const given = query.get(key)
  if (given === null) return Result.succeed({})
  return /^\d{1,15}$/.test(given)
    ? Result.succeed({ [key]: Number(given) })
    : Result.fail(invalid(key, `${key} must be a time, ms since 1970`))
}

const cursorOf = (given: string): AuditCursor | undefined => {
  const [, at, id] = /^(\d{1,15})\.(.+)$/s.exec(given) ?? []
  return at === undefined || id === undefined ? undefined : { at: Number(at), id }
}

export const make = Effect.gen(function* () {
  const log = yield* AuditLog

  const list = Effect.fnUntraced(function* ({ query, principal }: Call) {
    yield* Effect.fromResult(known(query, parameters))
    const limit = yield* Effect.fromResult(limitOf(query.get("limit")))
    const action = query.get("action")
    if (action !== null && !isAction(action)) {
      return yield* invalid("action", `action must be one of ${actions.join(", ")}`)
    }
    const actor = query.get("actor")
    const given = query.get("before")
    const before = given === null ? undefined : cursorOf(given)
    if (given !== null && before === undefined) {
      return yield* invalid("before", "before must be the next of an earlier page")
    }
    const events = yield* log
      .list({
        tenant: principal.tenant,
        limit,
        ...(action === null ? {} : { action }),
        ...(actor === null ? {} : { actor }),
        ...(before === undefined ? {} : { before }),
        ...(yield* Effect.fromResult(timeOf(query, "since"))),
        ...(yield* Effect.fromResult(timeOf(query, "until")))
      })
      .pipe(Effect.mapError(() => storeUnavailable(false)))
    const last = events.length < limit ? undefined : events.at(-1)
    return json({
      events: events.map(({ tenant: _, ...event }) => event),
      ...(last === undefined ? {} : { next: `${last.at}.${last.id}` })
    } satisfies typeof Api.AuditPage.Type)
  })

  const routes: ReadonlyArray<Route> = [
    { method: "GET", path: "/api/v1/os/audit", access: "admin", handle: list }
  ]
  return routes
})
