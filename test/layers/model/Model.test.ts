import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Demo from "#layers/model/Demo.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import * as Models from "#src/model/Models.ts"
import { asking, modelContract, routedModelContract } from "../../contracts/Model.contract.ts"
import * as Events from "./anthropicEvents.ts"
import { type Body, broken } from "./anthropicRules.ts"
import * as Fake from "./fakeProvider.ts"
import * as Gemini from "./googleEvents.ts"
import * as GeminiRules from "./googleRules.ts"
import * as Responses from "./responsesEvents.ts"

const layerDemo = Effect.succeed(
  Layer.provideMerge(Models.layer, Demo.layer).pipe(
    Layer.provide(ModelKinds.layer),
    Layer.provide(Fake.layerProviders({}))
  )
)

modelContract("Demo", { layer: layerDemo, model: "demo/demo", layerSilent: undefined })
routedModelContract("Models", layerDemo)

modelContract("ScriptedModel", {
  layer: Effect.succeed(
    ScriptedModel.layer(({ messages }) => {
      const last = messages.at(-1)
      if (last?.role === "tool") return `it is ${last.text}`
      return last?.text === asking ? [ScriptedModel.call("time.now")] : ScriptedModel.text("good ", "day")
    })
  ),
  model: "any/model",
  layerSilent: Effect.succeed(ScriptedModel.layer([[...ScriptedModel.text("one"), ScriptedModel.hang]]))
})

modelContract("OpenAiChat", {
  layer: Effect.map(
    Fake.make((response, received) => {
      const { messages } = JSON.parse(received.body) as { messages: Array<{ role: string; content: string }> }
      const last = messages.at(-1)
      const call = { index: 0, id: "c", function: { name: "time__now", arguments: "{}" } }
      if (last?.role === "tool") Fake.streams(Fake.delta(last.content), Fake.finish(), Fake.done)(response)
      else if (last?.content !== asking) Fake.streams(Fake.delta("hi"), Fake.finish(), Fake.done)(response)
      else {
        Fake.streams(
          Fake.event({ choices: [{ delta: { tool_calls: [call] } }] }),
          Fake.finish("tool_calls")
        )(response)
      }
    }),
    (fake) => Fake.layerModel(fake.url)
  ),
  model: "fake/fake-model",
  layerSilent: Effect.map(
    Fake.make((response) => {
      response.writeHead(200)
      response.write(Fake.delta("one"))
    }),
    (fake) => Fake.layerModel(fake.url)
  )
})

modelContract("OpenAiResponses", {
  layer: Effect.map(
    Fake.make((response, received) => {
      const { input } = JSON.parse(received.body) as { input: Array<Readonly<Record<string, unknown>>> }
      const last = input.at(-1) ?? {}
      const call = { type: "function_call", call_id: "c", name: "time__now", arguments: "{}" }
      if (last["type"] === "function_call_output") {
        Fake.streams(Responses.text(0, String(last["output"])), Responses.completed())(response)
      } else if (last["content"] !== asking) {
        Fake.streams(Responses.text(0, "hi"), Responses.completed())(response)
      } else Fake.streams(Responses.item(0, call), Responses.completed())(response)
    }),
    (fake) => Fake.layerModel(fake.url, { kind: "openai-responses" })
  ),
  model: "fake/fake-model",
  layerSilent: Effect.map(
    Fake.make((response) => {
      response.writeHead(200)
      response.write(Responses.piece(0, "one"))
    }),
    (fake) => Fake.layerModel(fake.url, { kind: "openai-responses" })
  )
})

modelContract("Anthropic", {
  layer: Effect.map(
    Fake.make((response, received) => {
      const body = JSON.parse(received.body) as Body
      const wrong = broken(body)
      const last = body.messages.at(-1)?.content.at(-1) ?? {}
      if (wrong.length > 0) {
        response.writeHead(400)
        response.end(JSON.stringify({ type: "error", error: { message: wrong.join() } }))
      } else if (last["text"] === asking) {
        const call = Events.call(0, "toolu_1", "time__now", "{}")
        Fake.streams(Events.begin(), call, Events.stop("tool_use"), Events.done)(response)
      } else {
        const text = last["type"] === "tool_result" ? `it is ${String(last["content"])}` : "hi"
        Fake.streams(Events.begin(), Events.text(0, text), Events.stop(), Events.done)(response)
      }
    }),
    (fake) => Fake.layerModel(fake.url, { kind: "anthropic" })
  ),
  model: "fake/fake-model",
  layerSilent: Effect.map(
    Fake.make((response) => {
      response.writeHead(200)
      response.write(Events.begin() + Events.piece(0, { type: "text_delta", text: "one" }))
    }),
    (fake) => Fake.layerModel(fake.url, { kind: "anthropic" })
  )
})

modelContract("Google", {
  layer: Effect.map(
    Fake.make((response, received) => {
      const body = JSON.parse(received.body) as GeminiRules.Body
      const wrong = GeminiRules.broken(body)
      const last = body.contents.at(-1)?.parts.at(-1) ?? {}
      if (wrong.length > 0) {
        response.writeHead(400)
        response.end(
          JSON.stringify({ error: { code: 400, message: wrong.join(), status: "INVALID_ARGUMENT" } })
        )
      } else if (last["text"] === asking) {
        Fake.streams(Gemini.call("time__now", {}), Gemini.stop())(response)
      } else {
        const result = last["functionResponse"]
        const text = result === undefined ? "hi" : `it is ${JSON.stringify(result)}`
        Fake.streams(Gemini.text(text), Gemini.stop())(response)
      }
    }),
    (fake) => Fake.layerModel(fake.url, { kind: "google" })
  ),
  model: "fake/gemini-3.8-flash",
  layerSilent: Effect.map(
    Fake.make((response) => {
      response.writeHead(200)
      response.write(Gemini.text("one"))
    }),
    (fake) => Fake.layerModel(fake.url, { kind: "google" })
  )
})
