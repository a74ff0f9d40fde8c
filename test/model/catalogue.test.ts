import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as Usage from "#src/domain/Usage.ts"
import { costOf, estimate, known, priced, priceOf } from "#src/model/catalogue.ts"

const counts = (inputTokens: number, outputTokens: number, more: Partial<Usage.Usage> = {}): Usage.Usage => ({
  inputTokens,
  outputTokens,
  cachedTokens: 0,
  estimated: false,
  ...more
})
const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

describe("the catalogue", () => {
  it("knows the common models, their releases, and no others", () => {
    assert.strictEqual(known("anthropic/claude-sonnet-4-5")?.window, 200_000)
    assert.deepStrictEqual(
      known("anthropic/claude-sonnet-4-5-20250929"),
      known("anthropic/claude-sonnet-4-5")
    )
    assert.deepStrictEqual(known("openai/gpt-5-2025-08-07"), known("openai/gpt-5"))
    assert.deepStrictEqual(known("google/gemini-3.8-flash")?.window, 1_048_576)
    assert.deepStrictEqual(known("google/gemini-flash-latest"), undefined)
    for (const model of ["openai/gpt-5-turbo", "fake/gpt-5", "gpt-5", "openai/", "", "toString", "__proto__"])
      assert.isUndefined(known(model), model)
  })

  it("prices a call in whole millionths of a dollar: what the cache gave and took apart from the rest", () => {
    const price = { input: 2, output: 10, cached: 0.1, written: 2.5 }
    assert.strictEqual(
      costOf(counts(1000, 100, { cachedTokens: 600, writtenTokens: 300 }), price),
      100 * 2 + 600 * 0.1 + 300 * 2.5 + 100 * 10
    )
    assert.strictEqual(costOf(counts(1000, 0, { cachedTokens: 600 }), { input: 2, output: 10 }), 2000)
    assert.strictEqual(costOf(counts(1, 1), { input: 0.05, output: 0.4 }), 0)
    assert.strictEqual(costOf(counts(7, 0), { input: 0.1, output: 0.4 }), 1)
  })

  it("prices a whole call higher when its prompt is long, where the provider does", () => {
    const { price } = known("openai/gpt-6-sol")!
    assert.strictEqual(costOf(counts(272_000, 10), price), 272_000 * 2 + 100)
    assert.strictEqual(costOf(counts(272_001, 10), price), 272_001 * 4 + 150)
    const gemini = known("google/gemini-2.5-pro")!.price
    assert.strictEqual(costOf(counts(200_000, 100), gemini), 250_000 + 1000)
    assert.strictEqual(
      costOf(counts(300_000, 100, { cachedTokens: 100_000 }), gemini),
      500_000 + 25_000 + 1500
    )
  })

  it("lets an operator's price go first, and leaves a price that nobody knows unknown, never zero", () => {
    const own = { "openai/gpt-5": { input: 1, output: 1 }, "mine/m": { input: 3, output: 3 } }
    assert.strictEqual(priceOf("openai/gpt-5", own)?.input, 1)
    assert.strictEqual(priceOf("mine/m", own)?.input, 3)
    assert.isUndefined(priceOf("mine/other", own))
    assert.notProperty(priced(counts(10, 10, { costMicros: 5 }), undefined), "costMicros")
    assert.isUndefined(estimate(10, 10, undefined))
    assert.strictEqual(priced(counts(10, 10), known("demo/demo")!.price).costMicros, 0)
  })

  it.prop(
    "estimates at least what a call costs",
    [upTo(400_000), upTo(400_000), upTo(100_000), upTo(100_000)] as const,
    ([prompt, read, most, less]) => {
      const price = known("openai/gpt-6.2-sol")!.price
      const cachedTokens = Math.min(read, prompt)
      const used = counts(prompt, Math.min(most, less), { cachedTokens })
      assert.isAtLeast(estimate(prompt, Math.max(most, less), price)!, costOf(used, price))
    }
  )

  it.prop(
    "sums money as a sum that is known only when each part is",
    {
      parts: Arbitrary.array(
        Arbitrary.schema(Schema.Struct({ tokens: upTo(1000), isKnown: Schema.Boolean })),
        { maxLength: 8 }
      )
    },
    ({ parts }) => {
      const sum = parts
        .map(({ tokens, isKnown }) => counts(tokens, 0, isKnown ? { costMicros: tokens } : {}))
        .reduce(Usage.add, Usage.none)
      const tokens = parts.reduce((all, part) => all + part.tokens, 0)
      assert.strictEqual(sum.inputTokens, tokens)
      assert.strictEqual(sum.costMicros, parts.every(({ isKnown }) => isKnown) ? tokens : undefined)
    }
  )
})
