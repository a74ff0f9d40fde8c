/** What model calls used: tokens, and money where the price is known. Pure vocabulary. */
import * as Schema from "effect/Schema"

export const Usage = Schema.Struct({
  inputTokens: Schema.Number,
  outputTokens: Schema.Number,
  cachedTokens: Schema.Number,
  /** True when the provider reported none and the counts are our estimate. */
  estimated: Schema.Boolean,
  /** Whole millionths of a US dollar. Absent when a price is not known: unknown is never zero. */
  costMicros: Schema.optionalKey(Schema.Int)
})
export type Usage = typeof Usage.Type

export const none: Usage = {
  inputTokens: 0,
  outputTokens: 0,
  cachedTokens: 0,
  estimated: false,
  costMicros: 0
}

export const add = (a: Usage, b: Usage): Usage => ({
  inputTokens: a.inputTokens + b.inputTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  cachedTokens: a.cachedTokens + b.cachedTokens,
  estimated: a.estimated || b.estimated,
  ...(a.costMicros === undefined || b.costMicros === undefined
    ? {}
    : { costMicros: a.costMicros + b.costMicros })
})

/** What a session's replies say of their usage: nothing, tokens, or tokens and money. */
export const UsageMode = Schema.Literals(["off", "tokens", "full"])
export type UsageMode = typeof UsageMode.Type

const dayMillis = 86_400_000

/** The day of a time, counted from 1970-01-01 in UTC: what usage is summed by. */
export const dayOf = (at: number): number => Math.floor(at / dayMillis)
/** `2026-11-25` for a day's number. */
export const dayName = (day: number): string => new Date(day * dayMillis).toISOString().slice(0, 10)
/** A day's number for `2026-11-25`; undefined for anything else. */
export const parseDay = (text: string): number | undefined => {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return undefined
  const at = Date.parse(`${text}T00:00:00Z`)
  return Number.isNaN(at) || dayName(dayOf(at)) !== text ? undefined : dayOf(at)
}
