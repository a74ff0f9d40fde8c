import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { StreamedText } from "#src/gateway/StreamedText.ts"

const Words = Schema.Array(Schema.Literals(["a", "b", "ab", "\u{1f600}", " "]))
const Cuts = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })))

describe("StreamedText", () => {
  it.prop(
    "sends the final text exactly once, whatever deltas of it were lost, repeated or cut anew",
    { words: Words, cuts: Cuts },
    ({ words, cuts }) => {
      const whole = words.join("")
      const text = new StreamedText()
      let sent = ""
      for (const [index, cut] of cuts.entries()) {
        const from = Math.min(cut, whole.length)
        const piece = text.delta(from, whole.slice(from, from + (index % 4)))
        assert.notStrictEqual(piece._tag, "Contradiction")
        if (piece._tag === "Send") sent += piece.text
        assert.isTrue(whole.startsWith(sent))
      }
      const rest = text.final(whole)
      if (rest._tag === "Send") sent += rest.text

      assert.strictEqual(sent, whole)
    }
  )

  it.prop(
    "never goes on after text that is not the answer's beginning",
    { said: Words, answer: Words },
    ({ said, answer }) => {
      const text = new StreamedText()
      const [wrong, right] = [said.join(""), answer.join("")]
      text.delta(0, wrong)
      const end = text.final(right)

      assert.strictEqual(end._tag === "Contradiction", !right.startsWith(wrong))
    }
  )

  it("separates a step's words from the answer after its tools", () => {
    const text = new StreamedText()
    const pieces = [text.delta(0, "Looking.")]
    text.endStep()
    text.endStep()
    pieces.push(text.delta(0, "Fo"), text.final("Found"))

    assert.deepStrictEqual(
      pieces.map((piece) => (piece._tag === "Send" ? piece.text : "")),
      ["Looking.", "\n\nFo", "und"]
    )
  })
})
