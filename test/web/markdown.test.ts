import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { type Block, MarkdownText, parse } from "../../src/web/markdown.ts"
import { type Inline, safeHref } from "../../src/web/markdownInline.ts"

/** The tree as short text: `strong(a)`, `link(address|a)`, … */
const flat = (nodes: ReadonlyArray<Inline>): string =>
  nodes
    .map((node) => {
      if (typeof node === "string") return node
      if (node.kind === "code") return `code(${node.text})`
      if (node.kind === "break") return "↵"
      if (node.kind === "link")
        return `${node.isImage ? "image" : "link"}(${node.href}|${flat(node.children)})`
      return `${node.kind}(${flat(node.children)})`
    })
    .join("")
const show = (block: Block): string => {
  switch (block.kind) {
    case "paragraph":
      return `p[${flat(block.children)}]`
    case "heading":
      return `h${block.level}[${flat(block.children)}]`
    case "code":
      return `code:${block.language}[${block.text}]`
    case "quote":
      return `quote[${block.blocks.map(show).join("")}]`
    case "rule":
      return "rule"
    case "list":
      return `${block.start ?? "ul"}[${block.items
        .map(
          ({ checked, blocks }) =>
            `${checked === undefined ? "" : checked ? "x" : "o"}${blocks.map(show).join("")}`
        )
        .join(";")}]`
    case "table":
      return `table(${block.align.map((one) => one ?? "-").join()})[${[block.head, ...block.rows]
        .map((row) => row.map(flat).join("|"))
        .join(";")}]`
  }
}
const shown = (text: string) => parse(text).map(show).join(" ")

const rows: ReadonlyArray<readonly [string, string]> = [
  ["plain", "p[plain]"],
  ["a\nb\n\nc", "p[a↵b] p[c]"],
  ["**bold** *soft* _soft_ ~~gone~~ `x*y*`", "p[strong(bold) em(soft) em(soft) del(gone) code(x*y*)]"],
  ["***both***", "p[em(strong(both))]"],
  ["**a *b* c**", "p[strong(a em(b) c)]"],
  ["snake_case_name and 2 * 3 * 4", "p[snake_case_name and 2 * 3 * 4]"],
  ["**open", "p[**open]"],
  ["``a ` b``", "p[code(a ` b)]"],
  ["\\*not\\* &lt;b&gt;", "p[*not* <b>]"],
  ["# One\n## Two ##\n####### no", "h1[One] h2[Two] p[####### no]"],
  ["text\n***\nmore", "p[text] rule p[more]"],
  ["```ts\nlet a = 1\n\n<b>\n```\nafter", "code:ts[let a = 1\n\n<b>] p[after]"],
  ["```\nnot closed", "code:[not closed]"],
  ["~~~\n```\n~~~", "code:[```]"],
  ["- a\n- b\n  - c\n- d", "ul[p[a];p[b]ul[p[c]];p[d]]"],
  ["3. a\n4. b", "3[p[a];p[b]]"],
  ["- a\n\n  more\n\nafter", "ul[p[a]p[more]] p[after]"],
  ["1. x\n   ```js\n   y\n   ```\n2. z", "1[p[x]code:js[y];p[z]]"],
  ["- [ ] a\n- [x] b", "ul[op[a];xp[b]]"],
  ["in 2024\n2025. was", "p[in 2024↵2025. was]"],
  ["> a\n> > b\n\nc", "quote[p[a]quote[p[b]]] p[c]"],
  ["| a | b |\n|:--|--:|\n| 1 | `x|y` |\n| 2 |", "table(left,right)[a|b;1|code(x|y);2|]"],
  ["a | b", "p[a | b]"],
  ["[t](https://x.test/a_(b)) .", "p[link(https://x.test/a_(b)|t) .]"],
  [
    "see https://x.test/a_b_c, (https://y.test).",
    "p[see link(https://x.test/a_b_c|https://x.test/a_b_c), (link(https://y.test/|https://y.test)).]"
  ],
  ["<https://x.test>", "p[link(https://x.test/|https://x.test)]"],
  ["![cat](https://x.test/cat.png)", "p[image(https://x.test/cat.png|cat)]"],
  ["[![b](https://x.test/b)](https://y.test)", "p[link(https://y.test/|image(https://x.test/b|b))]"],
  ["<img src=x onerror=alert(1)>", "p[<img src=x onerror=alert(1)>]"],
  ["[x](javascript:alert(1))", "p[[x](javascript:alert(1))]"],
  ["[x](/local) [y](data:text/html,z) [z]", "p[[x](/local) [y](data:text/html,z) [z]]"]
]

describe("markdown", () => {
  for (const [text, tree] of rows) {
    it(`reads ${JSON.stringify(text)}`, () => assert.strictEqual(shown(text), tree))
  }

  it("lets only whole web and mail addresses become links", () => {
    assert.strictEqual(safeHref("HTTPS://Example.test/ä"), "https://example.test/%C3%A4")
    assert.strictEqual(safeHref("mailto:a@b.test"), "mailto:a@b.test")
    for (const bad of [
      "javascript:alert(1)",
      "java\nscript:alert(1)",
      "\u0001javascript:alert(1)",
      "JaVaScRiPt://x.test/%0aalert(1)",
      "data:text/html,x",
      "vbscript:x",
      "file:///etc/passwd",
      "//x.test",
      "/auth/me",
      "https://",
      "http:// ",
      `https://x.test/${"a".repeat(3000)}`
    ])
      assert.isUndefined(safeHref(bad), bad)
  })

  it.prop(
    "read piece by piece is what it is read at once, and complete blocks stay the same objects",
    {
      pieces: Schema.Array(
        Schema.Literals([
          "a",
          " ",
          "\n",
          "\n\n",
          "- ",
          "1. ",
          "**",
          "*",
          "`",
          "```",
          "> ",
          "|",
          "|-|",
          "[",
          "](https://x.test)",
          "#",
          "  ",
          "~~",
          "\\"
        ])
      )
    },
    ({ pieces }) => {
      const growing = new MarkdownText()
      let text = ""
      let before: ReadonlyArray<Block> = []
      for (const piece of pieces) {
        text += piece
        const now = growing.blocks(text)
        assert.deepStrictEqual(now, parse(text))
        // All but the last were complete; the line that came may only have changed what was open.
        for (const [index, block] of before.slice(0, -2).entries()) assert.strictEqual(now[index], block)
        before = now
      }
    }
  )

  it("begins anew when the text is another one", () => {
    const growing = new MarkdownText()
    growing.blocks("first\n\ntry")
    assert.deepStrictEqual(growing.blocks("# second"), parse("# second"))
  })

  it("never nests deeper than a browser can draw", () => {
    const depth = (value: unknown): number =>
      Array.isArray(value)
        ? value.reduce((most: number, one) => Math.max(most, depth(one)), 0)
        : typeof value === "object" && value !== null
          ? 1 + Math.max(0, ...Object.values(value).map(depth))
          : 0
    const deep = [
      "> ".repeat(5000) + "a",
      "*a ".repeat(5000) + "a* ".repeat(5000),
      "![".repeat(5000) + "](https://x.test)".repeat(5000),
      Array.from({ length: 300 }, (_, n) => `${"  ".repeat(n)}- a`).join("\n"),
      "**_".repeat(3000) + "a" + "_**".repeat(3000)
    ]
    for (const text of deep) assert.isBelow(depth(parse(text)), 60)
  })
})
