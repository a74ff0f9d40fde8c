import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { workspacePath } from "#src/tool/workspacePath.ts"

const names = (path: string) => Result.getOrElse(workspacePath(path), () => "refused")

describe("workspacePath", () => {
  it("gives the names from the workspace down", () => {
    assert.deepStrictEqual(names("notes.md"), ["notes.md"])
    assert.deepStrictEqual(names("./a//b/./c/"), ["a", "b", "c"])
    assert.deepStrictEqual(names("a/../notes.md"), ["notes.md"])
    assert.deepStrictEqual(names("."), [])
    assert.deepStrictEqual(names(""), [])
  })

  it("allows ordinary names of any language", () => {
    for (const name of [
      "a..b",
      "файл.txt",
      "space name.txt",
      ".env.example",
      "100%.txt",
      "50%25 off.md",
      "日本語.md",
      "e\u0301te.md",
      "👩‍👩‍👧.png",
      "12:30 notes.md",
      "-rf",
      "console.log",
      "~$draft.docx",
      "a~",
      "...txt",
      'what?*<>|".md'
    ]) {
      assert.deepStrictEqual(names(`dir/${name}`), ["dir", name], name)
    }
  })

  it("refuses ways out, and what others might read as one", () => {
    for (const path of [
      "/etc/passwd",
      "//etc/passwd",
      "..",
      "../x",
      "a/../../x",
      "~",
      "~/.ssh/id_rsa",
      "~root/x",
      "file:///etc/passwd",
      "FILE:x",
      "http://host/x",
      "C:\\x",
      "c:x",
      "\\\\host\\share",
      "a\\b",
      "a\0b",
      "a\nb",
      "\u202Ex",
      "\uD800",
      "..%2fx",
      "..%252fx",
      "..%25252fx",
      "%2e%2e/x",
      "%c0%ae%c0%ae/x",
      "..%c0%afx",
      "%u002e%u002e/x",
      "a%2fb",
      "a%00b",
      "．．/x",
      "..／x",
      "a＼b",
      "... ",
      "a/.. /b",
      "CON",
      "a/nul.txt",
      "com1",
      "LPT9.log",
      "x".repeat(256),
      "é".repeat(128),
      "a/".repeat(65),
      "x/".repeat(4_000)
    ]) {
      assert.strictEqual(names(path), "refused", path)
    }
  })

  const Piece = Schema.Literals([
    "..",
    ".",
    "/",
    "\\",
    "a",
    "%2e",
    "%2f",
    "%5c",
    "%25",
    "．",
    "／",
    " ",
    "~",
    ":",
    "\0",
    "C",
    "con",
    "%c0%ae"
  ])

  it.effect.prop(
    "never gives a name that leads anywhere but down",
    { pieces: Schema.Array(Piece) },
    ({ pieces }) =>
      Effect.sync(() => {
        const given = names(pieces.join(""))
        if (given === "refused") return
        for (const name of given) {
          assert.notMatch(name, /^$|^\.{1,2}$|[/\\\0]/)
        }
      })
  )
})
