import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NodeConfigFile from "#layers/gateway/NodeConfigFile.ts"
import { folder } from "./startGateway.ts"

const text = `[general]\nmodel = "ollama/m"\n`

describe("writing a configuration", () => {
  it.effect("leaves a file alone that came while it was checked, and replaces it only when told to", () =>
    Effect.gen(function* () {
      const made = yield* folder
      const target = join(made, "opencraw.toml")
      const writing = {
        text,
        target,
        env: {},
        verify: () => {
          writeFileSync(target, "# another's")
          return []
        }
      }
      const error = yield* Effect.flip(NodeConfigFile.write(writing))
      assert.strictEqual(error.reason, "exists")
      assert.strictEqual(readFileSync(target, "utf8"), "# another's")
      yield* NodeConfigFile.write({ ...writing, isForced: true })
      assert.strictEqual(readFileSync(target, "utf8"), text)
      assert.deepStrictEqual(readdirSync(made), ["opencraw.toml"])
    })
  )

  it.effect("says everything that is wrong, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const made = yield* folder
      const wrong = `[queue]\ncapp = 1\n[general]\nmodel = "opnai/m"\n`
      const target = join(made, "opencraw.toml")
      const error = yield* Effect.flip(NodeConfigFile.write({ text: wrong, target, env: {} }))
      assert.strictEqual(error.reason, "unusable")
      assert.include(error.message, target)
      for (const part of ["queue.capp", "opnai"]) assert.include(error.message, part)
      assert.deepStrictEqual(readdirSync(made), [])
    })
  )
})
