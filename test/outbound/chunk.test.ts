import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { chunk } from "#src/outbound/chunk.ts"
import { fencesOf } from "#src/outbound/fences.ts"

const piece = Schema.Literals([
  "word",
  "a much longer run of words",
  "(in parentheses here)",
  "(",
  ")",
  "😀😀😀",
  "unbreakable-and-longer-than-most-limits-are-in-this-test",
  " ",
  "\n",
  "\n",
  "\n\n",
  "\n```js\nlet x = 1\n\nlet y = (2\n```\n",
  "\n~~~\nplain\n~~~\n",
  "\n```\n",
  "```npm i``` inline",
  " ```js",
  "x```",
  "\r\n"
])
const anyDocument = Arbitrary.map(Arbitrary.array(Arbitrary.schema(piece), { maxLength: 30 }), (all) =>
  all.join("")
)
// A language too long for the limit becomes content, which has its own test.
const documents = Arbitrary.filter(anyDocument, (text) => fencesOf(text).every(({ info }) => info.length < 4))
const limits = Schema.Int.check(Schema.isBetween({ minimum: 16, maximum: 90 }))

const isBalanced = (text: string) =>
  fencesOf(text).every(({ start, end, open, close }) => {
    const closing = (text.slice(start, end).split("\n").at(-1) ?? "").trim()
    return end - start > open.length && closing.startsWith(close.trim()) && /^(`+|~+)$/.test(closing)
  })
const bare = (text: string) => text.replace(/\s/g, "")
// The text without the lines that open or close a block.
const content = (text: string) => {
  let left = text
  for (const { start, end, open } of fencesOf(text).toReversed()) {
    const lines = text.slice(start, end).split("\n")
    const inner = isBalanced(text.slice(start, end)) ? lines.slice(1, -1) : lines.slice(1)
    assert.strictEqual(lines[0]?.trimEnd(), open)
    left = left.slice(0, start) + inner.join("\n") + left.slice(end)
  }
  return bare(left)
}

describe("chunk", () => {
  it.prop(
    "plain parts stay within the limit and lose only whitespace",
    { text: documents, limit: limits },
    ({ text, limit }) => {
      for (const mode of ["text", "paragraph"] as const) {
        const parts = chunk(text, { limit, mode })
        assert.isTrue(
          parts.every((part) => part.length <= limit && part.isWellFormed()),
          mode
        )
        assert.strictEqual(bare(parts.join("")), bare(text), mode)
      }
    }
  )

  it.prop(
    "markdown parts stay within the limit, are balanced and lose only whitespace",
    {
      text: documents,
      limit: limits
    },
    ({ text, limit }) => {
      for (const mode of ["markdown", "markdown-paragraph"] as const) {
        const parts = chunk(text, { limit, mode })
        assert.isTrue(
          parts.every((part) => part.length <= limit && part.isWellFormed()),
          mode
        )
        // A block the writer never closed stays open, in the last part only.
        assert.isTrue(parts.slice(0, -1).every(isBalanced), mode)
        if (isBalanced(text)) assert.isTrue(parts.every(isBalanced), mode)
        assert.strictEqual(parts.map(content).join(""), content(text), mode)
      }
    }
  )

  it("keeps a block within the limit whose opening line alone is too long", () => {
    const text = `\`\`\`${"language".repeat(4)}\nlet x = 1\n\`\`\``

    const parts = chunk(text, { limit: 20, mode: "markdown" })

    assert.isTrue(parts.every((part) => part.length <= 20 && isBalanced(part)))
    assert.strictEqual(parts.map(content).join(""), bare(`${"language".repeat(4)}let x = 1`))
  })

  it("never tears a character of two units", () => {
    assert.deepStrictEqual(chunk("aaaaaaaaa😀bbbb", { limit: 10, mode: "text" }), ["aaaaaaaaa", "😀bbbb"])
    assert.deepStrictEqual(chunk("😀😀", { limit: 1, mode: "markdown" }), ["😀", "😀"])
  })

  it("does not take inline code that begins with three backticks for a block", () => {
    assert.deepStrictEqual(chunk("```npm i``` and\nmore words", { limit: 16, mode: "markdown" }), [
      "```npm i``` and",
      "more words"
    ])
  })

  it("does not begin a part with what would read as a new block", () => {
    assert.deepStrictEqual(chunk("aaaa bbbb ```js cccc", { limit: 14, mode: "markdown" }), [
      "aaaa",
      "bbbb ```js",
      "cccc"
    ])
  })

  it("gives one part without a limit and none for no text", () => {
    assert.deepStrictEqual(chunk("abc def", { limit: 0, mode: "markdown" }), ["abc def"])
    assert.deepStrictEqual(chunk("", { limit: 5, mode: "text" }), [])
  })
})
