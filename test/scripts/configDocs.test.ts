import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { render } from "../../scripts/configDocs.ts"

describe("docs/configuration.md", () => {
  it("lists every key and variable as the Schemas have them (else run node scripts/configDocs.ts)", () => {
    const written = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8")

    assert.strictEqual(written, render())
  })
})
