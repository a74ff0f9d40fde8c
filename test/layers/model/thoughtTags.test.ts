import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as ThoughtTags from "#layers/model/thoughtTags.ts"

const read = (pieces: ReadonlyArray<string>): string => {
  let text = ""
  const tags = ThoughtTags.make((piece) => (text += piece))
  for (const piece of pieces) tags.push(piece)
  tags.end()
  return text
}

const Fragment = Schema.Literals([
  "<think>",
  "</think>",
  "<th",
  "ink>",
  "</",
  "think>",
  " ",
  "\n",
  "word",
  "<",
  ">"
])

describe("thought tags", () => {
  it("take out what stands between them at the beginning, and nothing later", () => {
    assert.strictEqual(read(["<think>hm</think>\n\nYes"]), "Yes")
    assert.strictEqual(read(["\n <think>hm</think>Yes"]), "Yes")
    assert.strictEqual(read(["Yes <think>hm</think>"]), "Yes <think>hm</think>")
    assert.strictEqual(read(["<think>a</think>b<think>c</think>"]), "b<think>c</think>")
    assert.strictEqual(read(["<think>never ends"]), "")
    assert.strictEqual(read(["<thinker>"]), "<thinker>")
    assert.strictEqual(read(["<th"]), "<th")
    assert.strictEqual(read(["  plain"]), "  plain")
  })

  it.effect.prop(
    "give the same text in whatever pieces it comes",
    { fragments: Schema.Array(Fragment) },
    ({ fragments }) =>
      Effect.sync(() => {
        const whole = fragments.join("")

        assert.strictEqual(read(fragments), read([whole]))
        assert.strictEqual(read(Array.from(whole)), read([whole]))
      }),
    { arbitrary: { runs: 1000 } }
  )
})
