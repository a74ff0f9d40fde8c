import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as SecurityPath from "../../conformance/securityPath.ts"

describe("security-path rows", () => {
  it.effect("tell what is contained from what is allowed", () =>
    Effect.gen(function* () {
      const rows: ReadonlyArray<readonly [object, string]> = [
        [{ path: "../outside.txt" }, "contained"],
        [{ path: "..%252foutside.txt" }, "contained"],
        [{ path: "workspace/../workspace-evil/x" }, "contained"],
        [{ setup: "dirlink -> ..", action: "read dirlink/outside.txt" }, "contained"],
        [{ setup: "a/link -> ../../outside.txt", action: "read a/link" }, "contained"],
        [{ setup: "hardlink of a file inside workspace", action: "read hardlink" }, "contained"],
        [{ setup: "parent directory swapped for a symlink", action: "write d/f" }, "contained"],
        [{ setup: "link -> notes.md", action: "read link" }, "allowed"],
        [{ path: "a/../notes.md" }, "allowed"],
        [{ path: "deep/er/100%.txt" }, "allowed"]
      ]
      for (const [input, expected] of rows) {
        const verdict = yield* Effect.promise(() => SecurityPath.run({ id: "", input, expected }))

        assert.deepStrictEqual(verdict, { ok: true, actual: expected }, JSON.stringify(input))
      }
    })
  )
})
