/** What people are told of usage, in words. Pure. */
import type { Usage } from "#src/domain/Usage.ts"
import type { UsageRow } from "#src/horizons/MessageLog.ts"

/** `12.3k`. */
export const shortCount = (count: number): string => {
  if (count < 1000) return String(count)
  const [size, unit] = count < 999_500 ? [1000, "k"] : [1_000_000, "M"]
  const short = count / size
  return `${short < 99.5 ? short.toFixed(1).replace(/\.0$/, "") : Math.round(short)}${unit}`
}

/** Dollars, as exact as it takes: at least cents, and two digits of a small amount. */
export const money = (micros: number): string => {
  const dollars = micros / 1_000_000
  if (micros === 0 || dollars >= 1) return `$${dollars.toFixed(2)}`
  const digits = Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(dollars))))
  return `$${dollars.toFixed(digits)}`
}

const tokens = (
  usage: Pick<Usage, "inputTokens" | "outputTokens" | "cachedTokens">,
  isEstimate: boolean
): string => {
  const cached = usage.cachedTokens > 0 ? ` (${shortCount(usage.cachedTokens)} cached)` : ""
  const about = isEstimate ? "about " : ""
  return `${about}${shortCount(usage.inputTokens)} tokens in${cached}, ${shortCount(usage.outputTokens)} out`
}

/** The line below a reply. `share`: how much of the model's context its last call filled, from 0 to 1, when that is known. */
export const footer = (mode: "tokens" | "full", usage: Usage, share: number | undefined): string => {
  const counts = tokens(usage, usage.estimated)
  if (mode === "tokens") return `[${counts}]`
  const cost = usage.costMicros === undefined ? "price unknown" : money(usage.costMicros)
  const context = share === undefined ? "" : `, ${Math.round(100 * share)} % of the context`
  return `[${counts}, ${cost}${context}]`
}

/** `$1.23, 12k tokens in, 3k out, 5 calls`, with what is not in the money. */
export const sumLine = (row: UsageRow | undefined): string => {
  if (row === undefined) return "nothing"
  const calls = `${row.calls} ${row.calls === 1 ? "call" : "calls"}`
  const all = row.unpricedCalls === row.calls
  const unpriced =
    row.unpricedCalls === 0 || all ? "" : `, ${row.unpricedCalls} of them without a known price`
  const cost = all ? "price unknown" : money(row.costMicros)
  return `${cost} (${tokens(row, row.estimatedCalls > 0)}, ${calls}${unpriced})`
}
