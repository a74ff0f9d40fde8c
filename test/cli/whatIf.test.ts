import { assert, describe, it } from "@effect/vitest"
import { promptOf, shown, turnsOf, wrap } from "#src/gateway/cli/whatIf.ts"

type Message = Parameters<typeof turnsOf>[0][number]

let seq = 0
const line = (role: Message["role"], content: string, more: Partial<Message> = {}): Message => ({
  id: `m${++seq}`,
  seq,
  role,
  content,
  created_at: 0,
  ...more
})

describe("what-if", () => {
  it("takes each whole answer with what was written for it, and the history as it was", () => {
    const turns = turnsOf([
      line("user", "one"),
      line("assistant", "1"),
      line("user", "two"),
      line("user", "and this", { images: [{ media_type: "image/png", bytes: 3 }] }),
      line("assistant", "half", { partial: "interrupted" }),
      line("system", "I could not answer"),
      line("assistant", "2"),
      line("user", "three")
    ])

    assert.deepStrictEqual(turns, [
      { before: [], asked: "one", was: "1" },
      {
        before: [
          { role: "user", text: "one" },
          { role: "assistant", text: "1" }
        ],
        asked: "two\n\nand this\n\n[1 image was left out here]",
        was: "2"
      }
    ])
    assert.deepStrictEqual(promptOf("be kind", turns[1]!), [
      { role: "system", text: "be kind" },
      { role: "user", text: "one" },
      { role: "assistant", text: "1" },
      { role: "user", text: "two\n\nand this\n\n[1 image was left out here]" }
    ])
  })

  it("breaks lines between words, long words anywhere, and never within a character", () => {
    assert.deepStrictEqual(wrap("one two three\n\nfour", 8), ["one two", "three", "", "four"])
    assert.deepStrictEqual(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"])
    assert.deepStrictEqual(wrap("🦀🦀🦀", 2), ["🦀🦀", "🦀"])
    assert.deepStrictEqual(wrap("a\u001b[2Jb", 80), ["a\uFFFD[2Jb"])
  })

  it("shows both answers beside each other, or below where there is no room", () => {
    const turn = { asked: "why?", was: "because of the one thing and the other" }
    const now = { text: "no idea", ms: 12.4, tokens: { input: 5, output: 2 }, failure: "it broke off" }
    const names = { was: "was", now: "now: a/b" }

    assert.strictEqual(
      shown(turn, now, names, 63),
      [
        "> why?",
        "",
        "[was]                          | [now: a/b]",
        "because of the one thing and   | no idea",
        "the other                      | (it broke off)",
        "                               | (5 tokens in, 2 out, 12 ms)",
        ""
      ].join("\n")
    )
    assert.strictEqual(
      shown({ asked: "a", was: "b" }, { text: "c", ms: 1 }, names, 40),
      "> a\n\n[was]\nb\n\n[now: a/b]\nc\n(1 ms)\n"
    )
  })
})
