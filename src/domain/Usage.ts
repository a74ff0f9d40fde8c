/** Tokens that model calls used. Pure vocabulary; all counts are tokens. */
import * as Schema from "effect/Schema"

export const Usage = Schema.Struct({
  inputTokens: Schema.Number,
  outputTokens: Schema.Number,
  cachedTokens: Schema.Number,
  /** True when the provider reported none and the counts are our estimate. */
  estimated: Schema.Boolean
})
export type Usage = typeof Usage.Type

export const none: Usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, estimated: false }

export const add = (a: Usage, b: Usage): Usage => ({
  inputTokens: a.inputTokens + b.inputTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  cachedTokens: a.cachedTokens + b.cachedTokens,
  estimated: a.estimated || b.estimated
})
