/**
 * What models hold and cost: their context windows and prices, as far as they are known.
 *
 * Owns: the built-in table and the arithmetic of money. Pure.
 * Does not own: an operator's own prices (`UsageSettings`), nor what was spent (the log).
 *
 * Prices are US dollars for a million tokens, which are millionths of a dollar for one. They are those the providers published for
 * their standard tier on the day below; discounts, batch tiers, regions and tools that a provider runs are not in them.
 */
import type { Usage } from "#src/domain/Usage.ts"

export const pricedOn = "2026-11-17"

export interface Rates {
  readonly input: number
  readonly output: number
  /** Input that was read from the provider's cache; without, as any other input. */
  readonly cached?: number
  /** Input that was written to it; without, as any other input. */
  readonly written?: number
}
export interface Price extends Rates {
  /** What a whole call costs whose prompt holds more than `over` tokens. */
  readonly long?: Rates & { readonly over: number }
}
export interface Known {
  /** Tokens of prompt and answer together. */
  readonly window: number
  readonly price: Price
}

const million = 1_000_000

/** OpenAI charges a long prompt double, its answer one and a half times. */
const openai = (window: number, input: number, output: number, cached: number, written?: number): Known => ({
  window,
  price: { input, output, cached, ...(written === undefined ? {} : { written }) }
})
const openaiLong = (input: number, output: number, cached: number, written?: number): Known => {
  const { window, price } = openai(1_050_000, input, output, cached, written)
  const double = { input: 2 * input, output: 1.5 * output, cached: 2 * cached }
  const long = { over: 272_000, ...double, ...(written === undefined ? {} : { written: 2 * written }) }
  return { window, price: { ...price, long } }
}
/** Anthropic charges a quarter more for input that is kept five minutes, as ours is. */
const anthropic = (window: number, input: number, output: number, cached: number): Known => ({
  window,
  price: { input, output, cached, written: 1.25 * input }
})
/**
 * Google keeps a prompt's beginning by itself and charges nothing for that. Its rates are those of ai.google.dev/gemini-api/docs/pricing
 * for text and images. What is announced there as the price after an introduction counts from the start: an introduction is a discount.
 */
const google = (input: number, output: number, cached: number): Known => ({
  window: 1_048_576,
  price: { input, output, cached }
})
/** The pro models up to the third generation charge a long prompt double, its answer one and a half times. */
const googleLong = (input: number, output: number, cached: number): Known => {
  const { window, price } = google(input, output, cached)
  const long = { over: 200_000, input: 2 * input, output: 1.5 * output, cached: 2 * cached }
  return { window, price: { ...price, long } }
}
const free: Known = { window: 128_000, price: { input: 0, output: 0 } }

const builtIn: Readonly<Record<string, Known>> = {
  "openai/gpt-6.2-sol": openaiLong(2, 10, 0.1, 2.5),
  "openai/gpt-6.1-sol": openaiLong(2, 10, 0.1, 2.5),
  "openai/gpt-6-sol": openaiLong(2, 10, 0.2, 2.5),
  "openai/gpt-6-luna": openaiLong(0.1, 0.5, 0.01, 0.125),
  "openai/gpt-6-astra": openaiLong(10, 50, 1, 12.5),
  "openai/gpt-5.6-sol": openaiLong(4, 20, 0.4),
  "openai/gpt-5.6-terra": openaiLong(2, 12, 0.2),
  "openai/gpt-5.6-luna": openaiLong(0.2, 1.2, 0.02),
  "openai/gpt-5.5": openaiLong(5, 30, 0.5),
  "openai/gpt-5.4": openaiLong(2.5, 15, 0.25),
  "openai/gpt-5.4-mini": openai(400_000, 0.75, 4.5, 0.075),
  "openai/gpt-5.4-nano": openai(400_000, 0.2, 1.25, 0.02),
  "openai/gpt-5.2": openai(400_000, 1.75, 14, 0.175),
  "openai/gpt-5.1": openai(400_000, 1.25, 10, 0.125),
  "openai/gpt-5": openai(400_000, 1.25, 10, 0.125),
  "openai/gpt-5-mini": openai(400_000, 0.25, 2, 0.025),
  "openai/gpt-5-nano": openai(400_000, 0.05, 0.4, 0.005),
  "openai/gpt-4.1": openai(1_047_576, 2, 8, 0.5),
  "openai/gpt-4.1-mini": openai(1_047_576, 0.4, 1.6, 0.1),
  "openai/gpt-4.1-nano": openai(1_047_576, 0.1, 0.4, 0.025),
  "openai/gpt-4o": openai(128_000, 2.5, 10, 1.25),
  "openai/gpt-4o-mini": openai(128_000, 0.15, 0.6, 0.075),
  "openai/o3": openai(200_000, 2, 8, 0.5),
  "openai/o4-mini": openai(200_000, 1.1, 4.4, 0.275),
  "anthropic/claude-fable-5-1": anthropic(million, 10, 50, 0.25),
  "anthropic/claude-fable-5": anthropic(million, 10, 50, 1),
  "anthropic/claude-opus-5-5": anthropic(million, 4, 20, 0.2),
  "anthropic/claude-opus-5": anthropic(million, 5, 25, 0.5),
  "anthropic/claude-opus-4-8": anthropic(million, 5, 25, 0.5),
  "anthropic/claude-opus-4-7": anthropic(million, 5, 25, 0.5),
  "anthropic/claude-opus-4-6": anthropic(million, 5, 25, 0.5),
  "anthropic/claude-opus-4-5": anthropic(200_000, 5, 25, 0.5),
  "anthropic/claude-sonnet-5-5": anthropic(million, 2, 10, 0.1),
  "anthropic/claude-sonnet-5": anthropic(million, 2, 10, 0.2),
  "anthropic/claude-sonnet-4-6": anthropic(million, 3, 15, 0.3),
  "anthropic/claude-sonnet-4-5": anthropic(200_000, 3, 15, 0.3),
  "anthropic/claude-haiku-5-5": {
    window: million,
    price: {
      ...anthropic(million, 0.1, 0.5, 0.01).price,
      long: { over: 100_000, input: 0.5, output: 2.5, cached: 0.05, written: 0.625 }
    }
  },
  "anthropic/claude-haiku-4-5": anthropic(200_000, 1, 5, 0.1),
  "google/gemini-4-argon": google(4, 20, 0.2),
  "google/gemini-4-carbon": google(4, 20, 0.2),
  "google/gemini-4-neon": google(3, 15, 0.15),
  "google/gemini-4-hydrogen": google(1.5, 7.5, 0.075),
  "google/gemini-3.8-flash": google(1.5, 7.5, 0.15),
  "google/gemini-3.7-flash": google(1.5, 7.5, 0.15),
  "google/gemini-3.6-flash": google(1.5, 7.5, 0.15),
  "google/gemini-3.5-flash": google(1.5, 9, 0.15),
  "google/gemini-3.5-flash-lite": google(0.3, 2.5, 0.03),
  "google/gemini-3.1-pro-preview": googleLong(2, 12, 0.2),
  "google/gemini-3.1-flash-lite": google(0.25, 1.5, 0.025),
  "google/gemini-3-flash-preview": google(0.5, 3, 0.05),
  "google/gemini-2.5-pro": googleLong(1.25, 10, 0.125),
  "google/gemini-2.5-flash": google(0.3, 2.5, 0.03),
  "google/gemini-2.5-flash-lite": google(0.1, 0.4, 0.01),
  "demo/demo": free
}

/** A release of a model costs what the model costs: `-20251001`, `-2026-04-20`, `-latest`. */
const release = /-(?:\d{8}|\d{4}-\d\d-\d\d|latest)$/

const own = <A>(table: Readonly<Record<string, A>>, model: string): A | undefined =>
  Object.hasOwn(table, model) ? table[model] : undefined

/** What the built-in table knows of a `provider/model`, or of the model that it is a release of. */
export const known = (model: string): Known | undefined =>
  own(builtIn, model) ?? own(builtIn, model.replace(release, ""))

/** The price of a `provider/model`: the operator's own, else the built-in one; undefined when neither knows it. */
export const priceOf = (model: string, owners: Readonly<Record<string, Price>>): Price | undefined =>
  own(owners, model) ?? known(model)?.price

/** What a call costs, in whole millionths of a dollar. */
export const costOf = (usage: Usage, price: Price): number => {
  const { inputTokens, outputTokens, cachedTokens, writtenTokens = 0 } = usage
  const { long } = price
  const rates: Rates = long !== undefined && inputTokens > long.over ? long : price
  const plain = Math.max(0, inputTokens - cachedTokens - writtenTokens)
  return Math.round(
    plain * rates.input +
      cachedTokens * (rates.cached ?? rates.input) +
      writtenTokens * (rates.written ?? rates.input) +
      outputTokens * rates.output
  )
}

/** The same usage with its price, where that is known. */
export const priced = (usage: Usage, price: Price | undefined): Usage => {
  const { costMicros: _unpriced, ...counts } = usage
  return price === undefined ? counts : { ...counts, costMicros: costOf(usage, price) }
}

/**
 * What a call may cost, before it is made: with a prompt of so many tokens and the longest answer it may give. Nothing of the prompt
 * is taken to be in a cache. undefined when the price is not known.
 */
export const estimate = (
  promptTokens: number,
  maxOutputTokens: number,
  price: Price | undefined
): number | undefined =>
  price === undefined
    ? undefined
    : costOf(
        { inputTokens: promptTokens, outputTokens: maxOutputTokens, cachedTokens: 0, estimated: true },
        price
      )
