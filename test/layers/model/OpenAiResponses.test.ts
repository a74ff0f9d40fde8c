import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { namesOf } from "#layers/model/AnswerDecoder.ts"
import { encodeRequest } from "#layers/model/responsesRequest.ts"
import { Model, type ModelEvent, type ModelRequest, type PromptMessage } from "#src/model/Model.ts"
import * as Fake from "./fakeProvider.ts"
import { completed, item, piece, text } from "./responsesEvents.ts"

const kind = "openai-responses"
const tools = [{ name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }]
const bodyOf = (over: Partial<ModelRequest>, model = "m") => {
  const one = Fake.request(over)
  return JSON.parse(encodeRequest(model, one, namesOf(one))) as Readonly<Record<string, unknown>>
}
const callsOf = (events: ReadonlyArray<ModelEvent>) =>
  events.flatMap((event) => (event._tag === "Call" ? [event.call] : []))

describe("OpenAiResponses", () => {
  it.effect("asks the configured address with the key", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(text(0, "ok"), completed()))

      for (const base of ["/v1", "/v1/", "/v1/responses", "/v1?api-version=2"]) {
        yield* Fake.ask(fake.url, {}, { kind, base_url: fake.url + base })
      }

      assert.deepStrictEqual(
        fake.received.map((one) => one.path),
        ["/v1/responses", "/v1/responses", "/v1/responses", "/v1/responses?api-version=2"]
      )
      assert.strictEqual(fake.received[0]?.headers.authorization, "Bearer sk-test-key-1234")
    })
  )

  it("says a whole conversation, and asks the provider to keep none of it", () => {
    const messages: ReadonlyArray<PromptMessage> = [
      { role: "system", text: "be brief" },
      { role: "user", text: "time?", images: [{ mediaType: "image/png", data: "iVBORw0KGgo=" }] },
      {
        role: "assistant",
        text: "Moment.",
        calls: [
          { id: "a", name: "time.now", arguments: "{}" },
          { id: "b", name: "time.now", arguments: '{"zone' }
        ]
      },
      { role: "tool", callId: "a", name: "time.now", text: "noon" },
      { role: "tool", callId: "b", name: "time.now", text: "no" },
      { role: "assistant", text: "Noon." },
      { role: "user", text: "thanks" }
    ]

    const body = bodyOf({ messages, tools, params: { temperature: 0.5, topP: 0.9, maxOutputTokens: 9 } })

    assert.deepStrictEqual(body, {
      model: "m",
      stream: true,
      store: false,
      temperature: 0.5,
      top_p: 0.9,
      max_output_tokens: 9,
      tools: [
        {
          type: "function",
          name: "time__now",
          description: "the time",
          parameters: { type: "object", properties: {} },
          strict: false
        }
      ],
      input: [
        { role: "system", content: "be brief" },
        {
          role: "user",
          content: [
            { type: "input_text", text: "time?" },
            { type: "input_image", image_url: "data:image/png;base64,iVBORw0KGgo=", detail: "auto" }
          ]
        },
        { role: "assistant", content: "Moment." },
        { type: "function_call", call_id: "a", name: "time__now", arguments: "{}" },
        { type: "function_call", call_id: "b", name: "time__now", arguments: '{"malformed":"{\\"zone"}' },
        { type: "function_call_output", call_id: "a", output: "noon" },
        { type: "function_call_output", call_id: "b", output: "no" },
        { role: "assistant", content: "Noon." },
        { role: "user", content: "thanks" }
      ]
    })
  })

  it("asks for thoughts, a form, and reasoning to give back where a model has any", () => {
    const encrypted = ["reasoning.encrypted_content"]
    const schema = { type: "object" }

    assert.deepInclude(bodyOf({ params: { thinking: "high" } }), {
      reasoning: { effort: "high" },
      include: encrypted
    })
    const off = bodyOf({ params: { thinking: "off" } }, "gpt-5")
    assert.deepInclude(off, { reasoning: { effort: "none" } })
    assert.notProperty(off, "include")
    for (const model of ["gpt-5", "gpt-5-mini", "o3", "openai/gpt-6"]) {
      assert.deepInclude(bodyOf({}, model), { include: encrypted }, model)
    }
    for (const model of ["gpt-4o", "gpt-5-chat-latest", "m"]) assert.notProperty(bodyOf({}, model), "include")
    assert.deepInclude(bodyOf({ params: { responseFormat: { type: "json_object" } } }), {
      text: { format: { type: "json_object" } }
    })
    const responseFormat = { type: "json_schema", name: "n", schema, strict: true } as const
    assert.deepInclude(bodyOf({ params: { responseFormat } }), {
      text: { format: { type: "json_schema", name: "n", schema, strict: true } }
    })
  })

  it.effect("gives reasoning back with its step, in its place, and to no other model", () =>
    Effect.gen(function* () {
      const reasoning = { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "gAAA" }
      const call = { type: "function_call", call_id: "c", name: "time__now", arguments: "{}" }
      const fake = yield* Fake.make(
        Fake.streams(item(0, reasoning), text(1, "Moment."), item(2, call), completed())
      )

      const events = yield* Fake.ask(fake.url, { tools }, { kind })

      const end = events.at(-1)
      const continuation = end?._tag === "End" ? end.continuation : undefined
      assert.isDefined(continuation)
      const step: PromptMessage = {
        role: "assistant",
        text: "Moment.",
        calls: callsOf(events),
        ...(continuation === undefined ? {} : { continuation })
      }
      const said = { role: "assistant", content: "Moment." }
      assert.deepStrictEqual(bodyOf({ messages: [step], tools }, "fake-model")["input"], [
        reasoning,
        said,
        call
      ])
      assert.deepStrictEqual(bodyOf({ messages: [step], tools }, "other")["input"], [said, call])
      const changed = { ...step, text: "Other." } as PromptMessage
      assert.deepStrictEqual(bodyOf({ messages: [changed], tools }, "fake-model")["input"], [
        { role: "assistant", content: "Other." },
        call
      ])
    })
  )

  it.effect("closes the socket at once when it is interrupted, before and within the answer", () =>
    Effect.gen(function* () {
      for (const beginning of ["", piece(0, "x")]) {
        const arrived = Promise.withResolvers<void>()
        const fake = yield* Fake.make((response) => {
          if (beginning !== "") {
            response.writeHead(200)
            response.write(beginning)
          }
          arrived.resolve()
        })
        yield* Effect.gen(function* () {
          const model = yield* Model
          const fiber = yield* Effect.forkChild(Stream.runDrain(model.stream(Fake.request())))
          yield* Effect.promise(() => arrived.promise)

          yield* Fiber.interrupt(fiber)

          yield* Effect.promise(() => fake.closed)
        }).pipe(Effect.provide(Fake.layerModel(fake.url, { kind })))
      }
    })
  )

  it.effect("fails for an address that is none", () =>
    Effect.gen(function* () {
      const reason = yield* Fake.askReason("", {}, { kind, base_url: "ftp://example.org" })

      assert.strictEqual(reason._tag, "ModelUnavailable")
    })
  )
})
