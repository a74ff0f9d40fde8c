import { assert, describe, it } from "@effect/vitest"
import * as Catalogue from "#src/model/catalogue.ts"
import { factsOf, lacking } from "#src/model/capability.ts"

describe("what a model is known not to have", () => {
  const model = "openai/gpt-6-sol"
  const { window } = Catalogue.known(model)!
  const request = { tools: [], messages: [] }

  it("is a larger window than is published for it, unless the operator says otherwise", () => {
    const published = factsOf(model, { known: {} })
    const said = factsOf(model, { known: { [model]: { context_tokens: window * 2 } } })

    assert.strictEqual(
      lacking(published, request, () => window),
      undefined
    )
    assert.strictEqual(
      lacking(published, request, () => window + 1),
      "window"
    )
    assert.strictEqual(
      lacking(said, request, () => window + 1),
      undefined
    )
  })

  it("is nothing for a model that nobody knows, whose prompt is not even counted", () => {
    assert.isUndefined(
      lacking(factsOf("mine/model", { known: {} }), request, () => assert.fail("the prompt was counted"))
    )
  })

  it("keeps what the operator says beside the published window", () => {
    assert.deepStrictEqual(factsOf(model, { known: { [model]: { tools: false } } }), {
      tools: false,
      context_tokens: window
    })
  })
})
