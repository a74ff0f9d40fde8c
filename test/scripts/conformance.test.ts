import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../../scripts/conformance.ts", import.meta.url))
const right = { id: "right", input: { op: "text", text: "ab", limit: 0 }, expected: ["ab"] }
const wrong = { id: "wrong", input: { op: "text", text: "ab", limit: 0 }, expected: ["a"] }

// Run over files with these topics; gives the exit code and the lines.
const conformance = (topics: ReadonlyArray<object>, ...rest: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-rows-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    for (const [index, topic] of topics.entries())
      writeFileSync(join(folder, `${index}.json`), JSON.stringify(topic))
    const { status, stdout } = spawnSync(process.execPath, [script, folder, ...rest], { encoding: "utf8" })
    return { status, lines: stdout.trimEnd().split("\n") }
  })

describe("conformance", () => {
  it.effect("counts rows by topic, names a topic without an adapter, and passes", () =>
    Effect.gen(function* () {
      const { status, lines } = yield* conformance([
        { topic: "chunking", cases: [right, right] },
        { topic: "unheard-of", cases: [right] }
      ])

      assert.strictEqual(status, 0)
      assert.deepStrictEqual(lines, [
        "chunking: 2 passed, 0 failed, 0 skipped",
        "unheard-of: 1 skipped, no adapter",
        "2 passed, 0 failed, 1 skipped"
      ])
    })
  )

  it.effect("fails when a row fails, and only runs the topic it was asked for", () =>
    Effect.gen(function* () {
      const topics = [
        { topic: "chunking", cases: [wrong, right] },
        { topic: "dedupe-cache", cases: [] }
      ]
      const all = yield* conformance(topics)
      const one = yield* conformance(topics, "dedupe-cache")

      assert.strictEqual(all.status, 1)
      assert.strictEqual(all.lines.at(-1), "1 passed, 1 failed, 0 skipped")
      assert.strictEqual(one.status, 0)
    })
  )

  it("fails when the folder cannot be read", () => {
    assert.strictEqual(spawnSync(process.execPath, [script, "/nowhere"]).status, 1)
    assert.strictEqual(spawnSync(process.execPath, [script]).status, 1)
  })
})
