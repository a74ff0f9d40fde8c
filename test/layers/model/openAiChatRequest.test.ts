import { assert, describe, it } from "@effect/vitest"
import { encodeRequest } from "#layers/model/openAiChatRequest.ts"
import { wordsOf } from "#layers/model/openAiDialects.ts"
import { addressOf } from "#layers/model/providerHttp.ts"
import type { ModelRequest } from "#src/model/Model.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import { toolNames } from "#src/model/toolNames.ts"
import { request } from "./fakeProvider.ts"

const words = (settings: Partial<ProviderSettings>) => {
  const whole = {
    kind: "openai-chat",
    base_url: "http://127.0.0.1:9/v1",
    idle_timeout_ms: 1,
    ...settings
  } as const
  return wordsOf(whole, addressOf(whole)!)
}

const encode = (settings: Partial<ProviderSettings>, over: Partial<ModelRequest> = {}) =>
  encodeRequest("m", request(over), toolNames([]), words(settings))

const limited = (settings: Partial<ProviderSettings>) => encode(settings, { params: { maxOutputTokens: 5 } })

describe("encodeRequest", () => {
  it("names the output limit as the provider knows it, and leaves out what nobody asked for", () => {
    const beginning = '{"model":"m","stream":true,"stream_options":{"include_usage":true}'
    const end = '"messages":[{"role":"user","content":"hello"}]}'

    assert.strictEqual(limited({}), `${beginning},"max_tokens":5,${end}`)
    for (const base_url of ["https://api.openai.com/v1", "https://api.groq.com/openai/v1"]) {
      assert.strictEqual(limited({ base_url }), `${beginning},"max_completion_tokens":5,${end}`)
    }
  })
})
