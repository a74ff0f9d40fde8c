import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { type Block, type BlockOptions, empty, finish, write } from "#src/outbound/blockChunker.ts"
import { coalesce } from "#src/outbound/coalesce.ts"
import { fencesOf } from "#src/outbound/fences.ts"

const piece = Schema.Literals([
  "word",
  "A whole sentence stands here. ",
  "Version 3.14 is out! Is it? ",
  "😀😀😀",
  "unbreakable-and-longer-than-most-limits-are-in-this-test",
  " ",
  "\n",
  "\n\n",
  "\n\n\n\n",
  "\n```js\nlet x = 1\n\nlet y = (2\nlet z = 3\n```\n",
  "\n~~~\nplain text in a fence\n~~~\n",
  "\n```\n",
  "```",
  "\t"
])
const deltas = Arbitrary.array(Arbitrary.schema(piece), { maxLength: 40 })
const whole = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const options = Arbitrary.schema(
  Schema.Struct({
    minChars: whole(1, 60),
    maxChars: whole(10, 90),
    limit: whole(24, 120),
    prefer: Schema.Literals(["paragraph", "newline", "sentence"]),
    tidy: Schema.Boolean
  })
)

const cut = (parts: ReadonlyArray<string>, how: BlockOptions) => {
  let state = empty
  const blocks: Array<Block> = []
  for (const part of parts) {
    const chunked = write(state, part, how)
    state = chunked.state
    blocks.push(...chunked.blocks)
  }
  return { blocks, last: finish(state, how) }
}

const bare = (text: string) => text.replace(/\s/g, "")

describe("blocks of an answer", () => {
  it.prop(
    "stand for the whole text, in order, each part once",
    [deltas, options] as const,
    ([parts, how]) => {
      const { blocks, last } = cut(parts, how)
      const text = parts.join("")
      const sources = [...blocks, ...last].map(({ source }) => source).join("")
      assert.isTrue(text.startsWith(sources))
      assert.strictEqual(text.slice(sources.length).trim(), "")
    }
  )

  it.prop("are never longer than the limit", [deltas, options] as const, ([parts, how]) => {
    const { blocks, last } = cut(parts, how)
    for (const { text } of [...blocks, ...last]) assert.isAtMost(text.length, how.limit)
  })

  it.prop(
    "say what they stand for, but for whitespace and code that is closed and opened again",
    [deltas, options] as const,
    ([parts, how]) => {
      const { blocks, last } = cut(parts, how)
      for (const { text, source, isPatched } of [...blocks, ...last]) {
        assert.notStrictEqual(text.trim(), "")
        if (isPatched) assert.include(bare(text), bare(source))
        else assert.strictEqual(bare(text), bare(source))
      }
    }
  )

  it.prop("never tear a character", [deltas, options] as const, ([parts, how]) => {
    const { blocks, last } = cut(parts, how)
    for (const { text } of [...blocks, ...last]) assert.isTrue(text.isWellFormed())
  })

  it("wait for a good place when they are tidy, and part words at once when they are not", () => {
    const how = { minChars: 10, maxChars: 40, limit: 0, prefer: "paragraph" } as const
    const text = "some words that go on without an end"
    assert.deepStrictEqual(cut([text], { ...how, tidy: true }).blocks, [])
    assert.deepStrictEqual(
      cut([text], { ...how, tidy: false }).blocks.map((block) => block.text),
      ["some words that go on without an"]
    )
  })

  it("cut code between its lines when they are tidy, and close what they cut", () => {
    const how = { minChars: 10, maxChars: 40, limit: 60, prefer: "paragraph", tidy: true } as const
    const code = `\`\`\`js\n${"let value = 1;\n".repeat(5)}\`\`\``
    const { blocks, last } = cut([code], how)
    const texts = [...blocks, ...last].map(({ text }) => text)
    assert.deepStrictEqual(texts, [
      "```js\nlet value = 1;\nlet value = 1;\n```\n",
      "```js\nlet value = 1;\nlet value = 1;\n```\n",
      "```js\nlet value = 1;\n```"
    ])
    for (const text of texts) assert.strictEqual(fencesOf(text).length, 1)
  })

  it("do not take a number for the end of a sentence while it may go on", () => {
    const how = { minChars: 5, maxChars: 40, limit: 0, prefer: "sentence", tidy: true } as const
    assert.deepStrictEqual(cut(["Pi is 3."], how).blocks, [])
    assert.deepStrictEqual(
      cut(["Pi is 3.", "14 in short. And"], how).blocks.map(({ text }) => text),
      ["Pi is 3.14 in short."]
    )
  })
})

describe("small blocks", () => {
  const block = (text: string, isPatched = false): Block => ({
    text,
    source: `${text}\n\n`,
    gap: "\n\n",
    isPatched
  })
  const how = { minChars: 20, maxChars: 30 }

  it("are held and joined with what stood between them", () => {
    const first = coalesce(undefined, [block("One line.")], how)
    assert.deepStrictEqual(first.blocks, [])
    const second = coalesce(first.held, [block("Another line.")], how)
    assert.deepStrictEqual(second, {
      held: undefined,
      blocks: [
        {
          text: "One line.\n\nAnother line.",
          source: "One line.\n\nAnother line.\n\n",
          gap: "\n\n",
          isPatched: false
        }
      ]
    })
  })

  it("leave by themselves when the next one does not fit or belongs to other code", () => {
    const held = block("One line.")
    const long = block("a text of more than twenty characters")
    assert.deepStrictEqual(coalesce(held, [long], how), { held: undefined, blocks: [held, long] })
    const code = block("```\nx\n```", true)
    assert.deepStrictEqual(coalesce(held, [code], how), { held: code, blocks: [held] })
  })

  it("are not held at all without a size to wait for", () => {
    const one = block("One.")
    assert.deepStrictEqual(coalesce(undefined, [one], { minChars: 0, maxChars: 30 }), {
      held: undefined,
      blocks: [one]
    })
  })
})
