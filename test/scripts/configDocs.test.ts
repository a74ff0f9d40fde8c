import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../../scripts/configDocs.ts", import.meta.url))

describe("docs/configuration.md", () => {
  it("lists every key and variable as the Schemas have them (else run node scripts/configDocs.ts)", () => {
    const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" })

    assert.strictEqual(stderr, "")
    assert.strictEqual(status, 0)
  })
})
