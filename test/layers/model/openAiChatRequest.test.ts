import { assert, describe, it } from "@effect/vitest"
import { encodeRequest } from "#layers/model/openAiChatRequest.ts"
import { toolNames } from "#src/model/toolNames.ts"
import { request } from "./fakeProvider.ts"

const encode = (usesNewLimit: boolean) =>
  encodeRequest("m", request({ params: { maxOutputTokens: 5 } }), toolNames([]), usesNewLimit)

describe("encodeRequest", () => {
  it("names the output limit as the provider knows it, and leaves out what nobody asked for", () => {
    const beginning = '{"model":"m","stream":true,"stream_options":{"include_usage":true}'
    const end = '"messages":[{"role":"user","content":"hello"}]}'

    assert.strictEqual(encode(false), `${beginning},"max_tokens":5,${end}`)
    assert.strictEqual(encode(true), `${beginning},"max_completion_tokens":5,${end}`)
  })
})
