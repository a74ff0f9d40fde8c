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

  it("asks for thoughts as each server knows them", () => {
    const asked = (settings: Partial<ProviderSettings>, thinking: "off" | "high") => {
      const { model, stream, stream_options, messages, ...rest } = JSON.parse(
        encode(settings, { params: { thinking } })
      ) as Readonly<Record<string, unknown>>
      assert.isDefined(model ?? stream ?? stream_options ?? messages)
      return rest
    }

    assert.deepStrictEqual(asked({}, "high"), { reasoning_effort: "high" })
    assert.deepStrictEqual(asked({ base_url: "https://api.openai.com/v1" }, "off"), {
      reasoning_effort: "none"
    })
    assert.deepStrictEqual(asked({ base_url: "https://openrouter.ai/api/v1" }, "high"), {
      reasoning: { effort: "high" }
    })
    assert.deepStrictEqual(asked({ base_url: "https://openrouter.ai/api/v1" }, "off"), {
      reasoning: { enabled: false }
    })
    assert.deepStrictEqual(asked({ dialect: "vllm" }, "high"), {
      reasoning_effort: "high",
      chat_template_kwargs: { enable_thinking: true }
    })
    assert.deepStrictEqual(asked({ dialect: "vllm" }, "off"), {
      chat_template_kwargs: { enable_thinking: false }
    })
    assert.deepStrictEqual(asked({ dialect: "llamacpp" }, "high"), {
      chat_template_kwargs: { enable_thinking: true, reasoning_effort: "high" }
    })
    assert.deepStrictEqual(
      asked({ dialect: "openrouter" }, "off"),
      asked({ base_url: "https://openrouter.ai/v1" }, "off")
    )
  })

  it("shows images in the address itself, and asks for a form", () => {
    const image = { mediaType: "image/png", data: "iVBORw0KGgo=" } as const
    const url = "data:image/png;base64,iVBORw0KGgo="
    const responseFormat = { type: "json_schema", name: "n", schema: { type: "object" } } as const
    const body = JSON.parse(
      encode(
        {},
        {
          messages: [
            { role: "user", text: "what is it?", images: [image, image] },
            { role: "user", text: "", images: [image] }
          ],
          params: { responseFormat }
        }
      )
    ) as Readonly<Record<string, unknown>>

    assert.deepStrictEqual(body["messages"], [
      {
        role: "user",
        content: [
          { type: "text", text: "what is it?" },
          { type: "image_url", image_url: { url } },
          { type: "image_url", image_url: { url } }
        ]
      },
      { role: "user", content: [{ type: "image_url", image_url: { url } }] }
    ])
    assert.deepStrictEqual(body["response_format"], {
      type: "json_schema",
      json_schema: { name: "n", schema: { type: "object" } }
    })
    assert.include(
      encode({}, { params: { responseFormat: { type: "json_object" } } }),
      '"response_format":{"type":"json_object"}'
    )
  })
})
