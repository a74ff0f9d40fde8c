import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import OpenAI from "openai"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import { ModelScript } from "#layers/model/ScriptedModel.ts"
import type { PromptMessage } from "#src/model/Model.ts"
import { ask, chat, connect, layer, post, says, token } from "./startGateway.ts"

const png = "iVBORw0KGgoAAAANSUhEUg=="
const gif = "R0lGODlhAQABAA=="
const imageUrl = (data: string, type = "image/png") => ({
  type: "image_url",
  image_url: { url: `data:${type};base64,${data}` }
})
const textPart = (text: string) => ({ type: "text", text })
const showing = (...content: ReadonlyArray<object>) => ({ messages: [{ role: "user", content }] })
const notes = { "x-opencraw-session-key": "notes" }
const image = { mediaType: "image/png", data: png } as const

describe("images over /v1", () => {
  it.effect(
    "are shown to the model, in later turns too, and told in the transcript without their bytes",
    () =>
      Effect.gen(function* () {
        const socket = yield* connect({ session_key: "agent:main:notes" })
        yield* socket.until("hello")

        const reply = yield* chat(showing(textPart("what is it?"), imageUrl(png)), notes)
        yield* chat(says("and its colour?"), notes)

        assert.strictEqual(reply.status, 200)
        const [first, second] = (yield* ModelScript).requests()
        const shown: PromptMessage = { role: "user", text: "what is it?", images: [image] }
        assert.deepInclude(first?.messages ?? [], shown)
        assert.deepInclude(second?.messages ?? [], shown)
        const note = [{ media_type: "image/png", bytes: 16 }]
        const frame = yield* socket.until("user")
        assert.deepInclude(frame, { content: "what is it?", images: note })
        const { json } = yield* ask("/api/v1/os/sessions/agent%3Amain%3Anotes/messages")
        assert.deepInclude(json.messages[0], { content: "what is it?", images: note })
        assert.notInclude(JSON.stringify(json), png)
      }).pipe(Effect.provide(layer({ script: ["a cat", "black"] })))
  )

  it.effect("may come without words, and from the official client", () =>
    Effect.gen(function* () {
      const { url } = yield* NodeServer.NodeServer
      const openai = new OpenAI({ apiKey: token, baseURL: `${url}/v1`, maxRetries: 0 })
      const completion = yield* Effect.promise(() =>
        openai.chat.completions.create({
          model: "opencraw",
          messages: [
            {
              role: "user",
              content: [{ type: "image_url", image_url: { url: `data:image/png;base64,${png}` } }]
            }
          ]
        })
      )

      assert.strictEqual(completion.choices[0]?.message.content, "a cat")
      const [request] = (yield* ModelScript).requests()
      assert.deepStrictEqual(request?.messages.at(-1), { role: "user", text: "", images: [image] })
    }).pipe(Effect.provide(layer({ script: ["a cat"] })))
  )

  it.effect("of a history that the request brings are shown where they stood", () =>
    Effect.gen(function* () {
      yield* chat({
        messages: [
          { role: "user", content: [textPart("look"), imageUrl(gif, "image/png")] },
          { role: "assistant", content: "nice" },
          { role: "user", content: "again?" }
        ]
      })

      const [request] = (yield* ModelScript).requests()
      assert.deepStrictEqual(request?.messages.slice(1), [
        { role: "user", text: "look", images: [{ mediaType: "image/gif", data: gif }] },
        { role: "assistant", text: "nice" },
        { role: "user", text: "again?" }
      ])
    }).pipe(Effect.provide(layer({ script: ["yes"] })))
  )

  it.effect(
    "of a history give way to those of the newest message, the oldest first, and are told as left out",
    () =>
      Effect.gen(function* () {
        const line = (text: string) => [
          { role: "user", content: [textPart(text), imageUrl(png)] },
          { role: "assistant", content: "ok" }
        ]
        yield* chat({
          messages: [...line("one"), ...line("two"), { role: "user", content: [imageUrl(png)] }]
        })

        const texts = (yield* ModelScript).requests()[0]?.messages.map((message) => message.text)
        assert.deepStrictEqual(texts?.slice(1), ["one\n\n[1 image was left out here]", "ok", "two", "ok", ""])
      }).pipe(Effect.provide(layer({ script: ["yes"], gateway: { max_image_bytes: 32 } })))
  )

  it.effect(
    "are refused by name when they are elsewhere, none, too many or too large, and nothing is stored",
    () =>
      Effect.gen(function* () {
        const refusal = (...content: ReadonlyArray<object>) =>
          Effect.map(chat(showing(...content), notes), ({ status, json }) => [
            status,
            json.error.code,
            json.error.param
          ])
        const at = "messages[0].content[0].image_url.url"
        const remote = { type: "image_url", image_url: { url: "https://example.org/cat.png" } }

        assert.deepStrictEqual(yield* refusal(remote), [400, "remote_image", at])
        assert.deepStrictEqual(yield* refusal(imageUrl("PHN2Zz48L3N2Zz4=", "image/svg+xml")), [
          400,
          "invalid_image",
          at
        ])
        for (const data of ["", "iVBORw0KGgo", "iVBORw0KGgo*===="]) {
          assert.deepStrictEqual(yield* refusal(imageUrl(data)), [400, "invalid_image", at])
        }
        assert.deepStrictEqual(yield* refusal(...Array.from({ length: 9 }, () => imageUrl(png))), [
          400,
          "too_many_images",
          "messages"
        ])
        const large = png.slice(0, 20) + "A".repeat(4000)
        assert.deepStrictEqual(yield* refusal(imageUrl(large)), [413, "image_too_large", "messages"])
        const { status, json } = yield* chat({
          messages: [
            { role: "assistant", content: [imageUrl(png)] },
            { role: "user", content: "x" }
          ]
        })
        assert.deepStrictEqual([status, json.error.code], [400, "unsupported_parameter"])
        assert.deepStrictEqual((yield* ask("/api/v1/os/sessions")).json.sessions, [])
      }).pipe(Effect.provide(layer({ gateway: { max_image_bytes: 2000 } })))
  )

  it.effect("do not make room for more text than a body may have", () =>
    Effect.gen(function* () {
      const { status, json } = yield* chat(says("x".repeat(3000)))

      assert.deepStrictEqual([status, json.error.code], [413, "body_too_large"])
    }).pipe(Effect.provide(layer({ gateway: { max_body_bytes: 2000, max_image_bytes: 100_000 } })))
  )
})

describe("images with /messages/send", () => {
  const send = (body: object) =>
    post("/api/v1/os/messages/send", { session_key: "notes", content: "", ...body })
  const dataUrl = (data: string) => `data:image/png;base64,${data}`

  it.effect("are shown to the model", () =>
    Effect.gen(function* () {
      const socket = yield* connect({ session_key: "notes" })
      const { status } = yield* send({ content: "what is it?", images: [dataUrl(png)] })
      yield* socket.until("message")

      assert.strictEqual(status, 202)
      const [request] = (yield* ModelScript).requests()
      assert.deepStrictEqual(request?.messages.at(-1), { role: "user", text: "what is it?", images: [image] })
    }).pipe(Effect.provide(layer({ script: ["a cat"] })))
  )

  it.effect("are refused by name, and make no room for text", () =>
    Effect.gen(function* () {
      const refusal = (body: object) =>
        Effect.map(send(body), ({ status, json }) => [status, json.error.code, json.error.param])

      assert.deepStrictEqual(yield* refusal({ images: "x" }), [400, "invalid_value", "images"])
      assert.deepStrictEqual(yield* refusal({ images: [1] }), [400, "invalid_value", "images[0]"])
      assert.deepStrictEqual(yield* refusal({ images: [dataUrl(png), "https://example.org/cat.png"] }), [
        400,
        "remote_image",
        "images[1]"
      ])
      assert.deepStrictEqual(yield* refusal({ images: [dataUrl("AAAA")] }), [
        400,
        "invalid_image",
        "images[0]"
      ])
      assert.deepStrictEqual(yield* refusal({ images: Array.from({ length: 9 }, () => dataUrl(png)) }), [
        400,
        "too_many_images",
        "images"
      ])
      const large = dataUrl(png.slice(0, 20) + "A".repeat(2800))
      assert.deepStrictEqual(yield* refusal({ images: [large] }), [413, "image_too_large", "images"])
      assert.deepStrictEqual(yield* refusal({ images: [] }), [400, "invalid_message", "content"])
      const long = { content: "x".repeat(1500), id: "a" }
      assert.deepStrictEqual((yield* refusal(long)).slice(0, 2), [413, "body_too_large"])
      assert.deepStrictEqual((yield* refusal({ ...long, images: [dataUrl(png)] })).slice(0, 2), [
        413,
        "body_too_large"
      ])
      assert.deepStrictEqual((yield* ask("/api/v1/os/sessions")).json.sessions, [])
    }).pipe(Effect.provide(layer({ gateway: { max_body_bytes: 1024, max_image_bytes: 2000 } })))
  )
})

describe("wishes over /v1", () => {
  const provider = { kind: "openai-chat", base_url: "http://127.0.0.1:9/v1" }
  const using = (kind: string, thinking?: string) => ({
    general: { model: "fake/x", ...(thinking === undefined ? {} : { thinking }) },
    providers: { fake: { ...provider, kind } }
  })
  const schema = { type: "object", properties: {}, additionalProperties: false }
  const json_schema = { name: "person", schema, strict: true }

  it.effect("for thoughts and a form reach the model; the agent's own level is what others get", () =>
    Effect.gen(function* () {
      yield* chat({
        ...says("a"),
        reasoning_effort: "none",
        response_format: { type: "json_schema", json_schema }
      })
      yield* chat({ ...says("b"), reasoning_effort: "low", response_format: { type: "json_object" } })
      yield* chat({ ...says("c"), response_format: { type: "text" } })

      const params = (yield* ModelScript).requests().map((request) => request.params)
      assert.deepStrictEqual(params, [
        { thinking: "off", responseFormat: { type: "json_schema", ...json_schema } },
        { thinking: "low", responseFormat: { type: "json_object" } },
        { thinking: "high" }
      ])
    }).pipe(Effect.provide(layer({ script: ["1", "2", "3"], config: using("openai-chat", "high") })))
  )

  it.effect("that cannot be read are refused by name", () =>
    Effect.gen(function* () {
      const param = (wish: object) =>
        Effect.map(chat({ ...says("a"), ...wish }), ({ status, json }) => [status, json.error.param])

      assert.deepStrictEqual(yield* param({ reasoning_effort: "extreme" }), [400, "reasoning_effort"])
      assert.deepStrictEqual(yield* param({ response_format: "json" }), [400, "response_format"])
      assert.deepStrictEqual(yield* param({ response_format: { type: "xml" } }), [
        400,
        "response_format.type"
      ])
      for (const [wrong, at] of [
        [{ name: "a b", schema }, "name"],
        [{ name: "a", schema: [] }, "schema"],
        [{ name: "a", schema, strict: 1 }, "strict"],
        [{ name: "a", schema, description: 1 }, "description"]
      ] as const) {
        assert.deepStrictEqual(
          yield* param({ response_format: { type: "json_schema", json_schema: wrong } }),
          [400, `response_format.json_schema.${at}`]
        )
      }
    }).pipe(Effect.provide(layer({ config: using("openai-chat") })))
  )

  it.effect("that google has words for are passed on", () =>
    Effect.gen(function* () {
      const wish = { response_format: { type: "json_object" }, stop: ["x"], presence_penalty: 1, seed: 1 }

      assert.strictEqual((yield* chat({ ...says("a"), ...wish })).status, 200)

      assert.deepStrictEqual(
        (yield* ModelScript).requests().map(({ params }) => params),
        [{ responseFormat: { type: "json_object" }, stop: ["x"], presencePenalty: 1, seed: 1 }]
      )
    }).pipe(Effect.provide(layer({ script: ["fine"], config: using("google") })))
  )

  it.effect.each([
    ["anthropic", { response_format: { type: "json_object" } }, "response_format"],
    ["anthropic", { presence_penalty: 1 }, "presence_penalty"],
    ["openai-responses", { stop: ["x"] }, "stop"],
    ["openai-responses", { frequency_penalty: 0.5 }, "frequency_penalty"]
  ] as const)("that %s has no words for are refused by name", ([kind, wish, param]) =>
    Effect.gen(function* () {
      const refused = yield* chat({ ...says("a"), ...wish })
      const taken = yield* chat({ ...says("a"), presence_penalty: 0, seed: 1, temperature: 1 })

      assert.deepStrictEqual(
        [refused.status, refused.json.error.code, refused.json.error.param],
        [400, "unsupported_parameter", param]
      )
      assert.strictEqual(taken.status, 200)
    }).pipe(Effect.provide(layer({ script: ["fine"], config: using(kind) })))
  )
})
