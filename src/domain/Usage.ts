/** What model calls used: tokens, and money where the price is known. Pure vocabulary. */
import * as Schema from "effect/Schema"

export const Usage = Schema.Struct({
  inputTokens: Schema.Number,
  outputTokens: Schema.Number,
  /** Of the input: read from the provider's cache. */
  cachedTokens: Schema.Number,
  /** Of the output: thoughts. Absent when the provider counted none. */
  reasoningTokens: Schema.optionalKey(Schema.Number),
  /** Of the input: written to the provider's cache. Absent when the provider counted none. */
  writtenTokens: Schema.optionalKey(Schema.Number),
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

export const add = (a: Usage, b: Usage): Usage => {
  const reasoningTokens = (a.reasoningTokens ?? 0) + (b.reasoningTokens ?? 0)
  const writtenTokens = (a.writtenTokens ?? 0) + (b.writtenTokens ?? 0)
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    ...(reasoningTokens === 0 ? {} : { reasoningTokens }),
    ...(writtenTokens === 0 ? {} : { writtenTokens }),
    estimated: a.estimated || b.estimated,
    ...(a.costMicros === undefined || b.costMicros === undefined
      ? {}
      : { costMicros: a.costMicros + b.costMicros })
  }
}

/** What a session's replies say of their usage: nothing, tokens, or tokens and money. */
export const UsageMode = Schema.Literals(["off", "tokens", "full"])
export type UsageMode = typeof UsageMode.Type

const dayMillis = 86_400_000

/** The day of a time, counted from 1970-01-01 in UTC: what usage is summed by. */
export const dayOf = (at: number): number => Math.floor(at / dayMillis)
