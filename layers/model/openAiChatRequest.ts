/**
 * A model request as the body of a chat-completion call.
 *
 * Owns: the wire's words and their order. The messages come last, and equal messages give equal text, so from turn to turn
 * the body's beginning stays byte for byte the same.
 */
import type { Image } from "#src/domain/Image.ts"
import type { ResponseFormat } from "#src/domain/Inbound.ts"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import type { ToolNames } from "#src/model/toolNames.ts"
import { ChatStep } from "./ChatStep.ts"
import { objectText } from "./json.ts"
import type { Words } from "./openAiDialects.ts"

export const encodeRequest = (
  model: string,
  request: ModelRequest,
  names: ToolNames,
  words: Words
): string => {
  const { params, tools } = request
  const head = JSON.stringify({
    model,
    stream: true,
    stream_options: { include_usage: true },
    temperature: params.temperature,
    top_p: params.topP,
    [words.limit]: params.maxOutputTokens,
    stop: params.stop,
    seed: params.seed,
    presence_penalty: params.presencePenalty,
    frequency_penalty: params.frequencyPenalty,
    ...(params.thinking === undefined ? {} : words.thinking(params.thinking)),
    response_format: params.responseFormat === undefined ? undefined : formatOf(params.responseFormat),
    tools:
      tools.length === 0
        ? undefined
        : tools.map((tool) => ({
            type: "function",
            function: {
              name: names.toWire(tool.name),
              description: tool.description,
              parameters: tool.parameters
            }
          }))
  })
  const messages = request.messages.map((message) => textOf(model, message, names)).join(",")
  return `${head.slice(0, -1)},"messages":[${messages}]}`
}

const formatOf = ({ type, ...schema }: ResponseFormat): unknown =>
  type === "json_object" ? { type } : { type, json_schema: schema }

/** The image in its address: nothing is loaded from elsewhere. */
export const dataUrl = ({ mediaType, data }: Image): string => `data:${mediaType};base64,${data}`

/** A session's messages are the same objects from turn to turn; most of a long prompt is encoded already. */
const encoded = new WeakMap<PromptMessage, string>()

const textOf = (model: string, message: PromptMessage, names: ToolNames): string => {
  // The wire's tool names depend on the request, so a step with calls is encoded anew.
  if (message.role === "assistant" && message.calls !== undefined) {
    return JSON.stringify(encodeMessage(model, message, names))
  }
  let text = encoded.get(message)
  if (text === undefined) {
    encoded.set(message, (text = JSON.stringify(encodeMessage(model, message, names))))
  }
  return text
}

const encodeMessage = (model: string, message: PromptMessage, names: ToolNames): unknown => {
  switch (message.role) {
    case "system":
      return { role: "system", content: message.text }
    case "user":
      return { role: "user", content: userContent(message.text, message.images ?? []) }
    case "tool":
      return { role: "tool", tool_call_id: message.callId, content: message.text }
    case "assistant": {
      if (message.calls === undefined || message.calls.length === 0) {
        return { role: "assistant", content: message.text }
      }
      const { continuation } = message
      const step =
        continuation instanceof ChatStep && continuation.describes(model, message.calls)
          ? continuation
          : undefined
      return {
        role: "assistant",
        content: message.text === "" ? null : message.text,
        reasoning_details: step === undefined || step.details.length === 0 ? undefined : step.details,
        tool_calls: message.calls.map((call) => ({
          id: call.id,
          type: "function",
          function: { name: names.toWire(call.name), arguments: objectText(call.arguments) },
          extra_content: step?.extras.get(call.id)
        }))
      }
    }
  }
}

const userContent = (text: string, images: ReadonlyArray<Image>): unknown =>
  images.length === 0
    ? text
    : [
        ...(text === "" ? [] : [{ type: "text", text }]),
        ...images.map((image) => ({ type: "image_url", image_url: { url: dataUrl(image) } }))
      ]
