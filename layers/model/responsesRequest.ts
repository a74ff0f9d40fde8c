/**
 * A model request as the body of a call of the Responses API.
 *
 * Owns: the wire's words and their order. The conversation comes last, and equal messages give equal text, so from turn to turn
 * the body's beginning stays byte for byte the same. Nothing is kept at the provider: each call brings the whole conversation.
 *
 * What this API has no word for is left out: `stop`, `seed` and the presence and frequency penalties.
 */
import type { ResponseFormat } from "#src/domain/Inbound.ts"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import type { ToolNames } from "#src/model/toolNames.ts"
import { objectText } from "./json.ts"
import { dataUrl } from "./openAiChatRequest.ts"
import { ResponsesStep } from "./ResponsesStep.ts"

export const encodeRequest = (model: string, request: ModelRequest, names: ToolNames): string => {
  const { params, tools } = request
  const { thinking, responseFormat } = params
  const head = JSON.stringify({
    model,
    stream: true,
    store: false,
    temperature: params.temperature,
    top_p: params.topP,
    max_output_tokens: params.maxOutputTokens,
    reasoning: thinking === undefined ? undefined : { effort: thinking === "off" ? "none" : thinking },
    include: reasons(model, thinking) ? ["reasoning.encrypted_content"] : undefined,
    text: responseFormat === undefined ? undefined : { format: formatOf(responseFormat) },
    tools:
      tools.length === 0
        ? undefined
        : tools.map((tool) => ({
            type: "function",
            name: names.toWire(tool.name),
            description: tool.description,
            parameters: tool.parameters,
            // Strict would demand schemas that no tool of ours is written in.
            strict: false
          }))
  })
  const input = request.messages.flatMap((message) => itemsOf(model, message, names)).join(",")
  return `${head.slice(0, -1)},"input":[${input}]}`
}

/** Reasoning may only be asked for where there is any: a model without it refuses the request. */
const reasons = (model: string, thinking: ModelRequest["params"]["thinking"]): boolean =>
  thinking === undefined
    ? /^(?:[\w-]+\/)?(?:o[1-9]|gpt-[5-9](?!\S*-chat)|codex)/.test(model)
    : thinking !== "off"

const formatOf = (format: ResponseFormat): unknown =>
  format.type === "json_schema" ? { ...format, strict: format.strict ?? false } : format

/** A session's messages are the same objects from turn to turn; most of a long prompt is encoded already. */
const encoded = new WeakMap<PromptMessage, ReadonlyArray<string>>()

const itemsOf = (model: string, message: PromptMessage, names: ToolNames): ReadonlyArray<string> => {
  // The wire's tool names depend on the request, and thoughts on the model.
  if (message.role === "assistant" && message.calls !== undefined) return stepItems(model, message, names)
  let items = encoded.get(message)
  if (items === undefined) {
    items = plainItems(message).map((item) => JSON.stringify(item))
    encoded.set(message, items)
  }
  return items
}

const plainItems = (message: PromptMessage): ReadonlyArray<unknown> => {
  switch (message.role) {
    case "system":
      return [{ role: "system", content: message.text }]
    case "user": {
      const images = message.images ?? []
      if (images.length === 0) return [{ role: "user", content: message.text }]
      const text = message.text === "" ? [] : [{ type: "input_text", text: message.text }]
      const shown = images.map((image) => ({
        type: "input_image",
        image_url: dataUrl(image),
        detail: "auto"
      }))
      return [{ role: "user", content: [...text, ...shown] }]
    }
    case "tool":
      return [{ type: "function_call_output", call_id: message.callId, output: message.text }]
    case "assistant":
      return message.text === "" ? [] : [{ role: "assistant", content: message.text }]
  }
}

type Step = Extract<PromptMessage, { readonly role: "assistant" }>

const stepItems = (model: string, message: Step, names: ToolNames): ReadonlyArray<string> => {
  const { text, calls = [], continuation } = message
  const callItems = calls.map((call) =>
    JSON.stringify({
      type: "function_call",
      call_id: call.id,
      name: names.toWire(call.name),
      arguments: objectText(call.arguments)
    })
  )
  const said = (words: string) =>
    words === "" ? [] : [JSON.stringify({ role: "assistant", content: words })]
  if (!(continuation instanceof ResponsesStep && continuation.describes(model, text, calls))) {
    return [...said(text), ...callItems]
  }
  let next = 0
  return continuation.parts.flatMap((part) => {
    switch (part.type) {
      case "reasoning":
        return [JSON.stringify(part.item)]
      case "text":
        return said(part.text)
      case "call":
        return callItems.slice(next, ++next)
    }
  })
}
