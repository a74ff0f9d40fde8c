/**
 * What was spent, summed as one asks: `GET /api/v1/os/usage`.
 *
 * Owns: its parameters, and the shape of a sum on the wire. Does not own: the sums (the log), or prices (`model/catalogue`).
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as SessionKey from "#src/domain/SessionKey.ts"
import { dayOf } from "#src/domain/Usage.ts"
import { MessageLog, type UsageBy, type UsageRow } from "#src/horizons/MessageLog.ts"
import { pricedOn } from "#src/model/catalogue.ts"
import { invalid, storeUnavailable } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { sessionOf } from "./ownSessions.ts"
import type { Call, Route } from "./Routing.ts"

const bys = ["total", "day", "agent", "session", "sender", "model"] as const satisfies ReadonlyArray<UsageBy>
const isBy = (text: string): text is UsageBy => (bys as ReadonlyArray<string>).includes(text)
const known: ReadonlySet<string> = new Set([
  "by",
  "since",
  "until",
  "session_key",
  "sender",
  "agent",
  "model",
  "limit"
])
const maxPage = 1000
const dayMillis = 86_400_000

const nameOf = (day: number): string => DateTime.formatIsoDateUtc(DateTime.makeUnsafe(day * dayMillis))

/** A day's number for `2026-11-25`. */
const parseDay = (text: string): number | undefined => {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return undefined
  const at = Option.getOrUndefined(DateTime.make(`${text}T00:00:00Z`))
  const day = at === undefined ? undefined : dayOf(DateTime.toEpochMillis(at))
  // A day that a month does not have is moved into the next one.
  return day !== undefined && nameOf(day) === text ? day : undefined
}

const toSum = (by: UsageBy, row: UsageRow): typeof Api.UsageSum.Type => ({
  key:
    by === "day"
      ? nameOf(Number(row.key))
      : by === "session"
        ? SessionKey.nameOf(row.key as SessionKey.SessionKey)
        : row.key,
  calls: row.calls,
  estimated_calls: row.estimatedCalls,
  input_tokens: row.inputTokens,
  output_tokens: row.outputTokens,
  cached_tokens: row.cachedTokens,
  ...(row.unpricedCalls === row.calls ? {} : { cost_usd_micros: row.costMicros }),
  unpriced_calls: row.unpricedCalls
})

export const make = Effect.gen(function* () {
  const log = yield* MessageLog

  const read = Effect.fnUntraced(function* ({ query, principal }: Call) {
    for (const key of query.keys()) {
      if (!known.has(key)) {
        const shown = key.toWellFormed().slice(0, 100)
        return yield* invalid(shown, "this parameter is not known here", "unknown_key")
      }
    }
    const by = query.get("by") ?? "day"
    if (!isBy(by)) return yield* invalid("by", `by must be one of ${bys.join(", ")}`)
    const limit = query.get("limit") ?? "100"
    if (!/^[1-9][0-9]{0,3}$/.test(limit) || Number(limit) > maxPage) {
      return yield* invalid("limit", `limit must be from 1 to ${maxPage}`)
    }
    const day = (key: "since" | "until") => {
      const given = query.get(key)
      const parsed = given === null ? undefined : parseDay(given)
      return given !== null && parsed === undefined
        ? Effect.fail(invalid(key, `${key} must be a day, such as 2026-11-25`))
        : Effect.succeed(parsed)
    }
    const toDay = yield* day("until")
    const today = dayOf(yield* Clock.currentTimeMillis)
    const fromDay = (yield* day("since")) ?? Math.min(toDay ?? today, today) - 29
    const named = query.get("session_key")
    const session =
      named === null ? undefined : yield* Effect.fromResult(sessionOf(named, principal, { sees: true }))
    const name = (key: "sender" | "agent" | "model") => {
      const given = query.get(key)
      return given === null ? {} : { [key]: given.toWellFormed() }
    }
    const filter = {
      tenant: principal.tenant,
      fromDay,
      ...(toDay === undefined ? {} : { toDay }),
      ...(session === undefined ? {} : { session }),
      ...name("sender"),
      ...name("agent"),
      ...name("model")
    }
    const ask = (of: UsageBy, most: number) =>
      log
        .usage({ ...filter, by: of, limit: most })
        .pipe(Effect.catchTags({ LogError: () => Effect.fail(storeUnavailable(false)) }))
    const rows = yield* ask(by, Number(limit))
    const [total] = yield* ask("total", 1)
    return HttpServerResponse.jsonUnsafe({
      by,
      since: nameOf(fromDay),
      ...(toDay === undefined ? {} : { until: nameOf(toDay) }),
      usage: rows.map((row) => toSum(by, row)),
      ...(total === undefined ? {} : { total: toSum("total", total) }),
      priced_on: pricedOn
    } satisfies typeof Api.UsageReport.Type)
  })

  const routes: ReadonlyArray<Route> = [
    { method: "GET", path: "/api/v1/os/usage", access: "read", handle: read }
  ]
  return routes
})
