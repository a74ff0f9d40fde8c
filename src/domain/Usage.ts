/** Tokens that model calls used. Pure vocabulary; all counts are tokens. */
import * as Schema from "effect/Schema"

export const Usage = Schema.Struct({
  inputTokens: Schema.Number,
  outputTokens: Schema.Number,
  /** Of the input: read from the provider's cache. */
  cachedTokens: Schema.Number,
  /** Of the output: thoughts. Absent when the provider counted none. */
  reasoningTokens: Schema.optionalKey(Schema.Number),
  /** True when the provider reported none and the counts are our estimate. */
  estimated: Schema.Boolean
})
export type Usage = typeof Usage.Type

export const none: Usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, estimated: false }

export const add = (a: Usage, b: Usage): Usage => {
  const reasoningTokens = (a.reasoningTokens ?? 0) + (b.reasoningTokens ?? 0)
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    ...(reasoningTokens === 0 ? {} : { reasoningTokens }),
    estimated: a.estimated || b.estimated
  }
}
