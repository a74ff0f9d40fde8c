/**
 * Reads one answer of the Messages API.
 *
 * Owns: what an answer may look like on the wire, streamed or whole, and how far it may stray from the documentation. Thoughts
 * are kept apart from the text: they are never shown, and only go back to the model with the calls of their step.
 * Does not own: bytes, bounds and completeness (`AnswerDecoder`).
 */
import { ModelRateLimited, ModelRejected, ModelUnauthorized, ModelUnavailable } from "#src/model/Model.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import { AnthropicStep, type StepPart } from "./AnthropicStep.ts"
import { countOf, isRecord, type Json, textOf } from "./json.ts"
import { errorText, type Reason, statusReason } from "./providerHttp.ts"

/** `model` as the provider knows it: it alone can go on from its thoughts. */
export const make = (model: string, options: AnswerDecoder.DecoderOptions): AnswerDecoder.Decoder =>
  AnswerDecoder.make(options, (answer) => speak(answer, model, options.detail))

type Block =
  | { readonly kind: "text"; text: string }
  | { readonly kind: "thinking"; text: string; signature: string }
  | { readonly kind: "redacted"; readonly data: string }
  | { readonly kind: "call"; readonly call: AnswerDecoder.OpenCall; isWhole: boolean }
  /** Of a tool that the provider runs itself, or of a later version. */
  | { readonly kind: "other" }

const speak = (
  answer: AnswerDecoder.Answer,
  model: string,
  detail: AnswerDecoder.DecoderOptions["detail"]
): AnswerDecoder.Protocol => {
  const blocks: Array<Block> = []
  const byIndex = new Map<number, Block>()
  const counts = { uncached: 0, written: 0, read: 0, output: 0 }

  const add = <B extends Block>(index: number | undefined, block: B): B => {
    blocks.push(block)
    if (index !== undefined) byIndex.set(index, block)
    return block
  }

  const onText = (block: { text: string }, text: string) => {
    // Kept only to put thoughts back in their place, but then with all the text.
    if (!answer.hold(text.length)) return
    block.text += text
    answer.text(text)
  }

  const onThought = (block: { text: string }, text: string) => {
    if (answer.hold(text.length)) block.text += text
  }

  const openCall = (index: number | undefined, content: Json) => {
    const name = textOf(content["name"])
    if (name === "") return answer.malformed("a tool call without a name")
    const call = answer.openCall()
    if (call === undefined) return
    call.id = textOf(content["id"]).slice(0, 200)
    call.name = name
    const input = content["input"]
    const isWhole = isRecord(input) && Object.keys(input).length > 0
    if (isWhole) {
      call.arguments = JSON.stringify(input)
      answer.hold(call.arguments.length)
    }
    add(index, { kind: "call", call, isWhole })
  }

  const onStart = (index: number | undefined, content: Json) => {
    switch (content["type"]) {
      case "text":
        return onText(add(index, { kind: "text", text: "" }), textOf(content["text"]))
      case "thinking": {
        const signature = textOf(content["signature"])
        return onThought(add(index, { kind: "thinking", text: "", signature }), textOf(content["thinking"]))
      }
      case "redacted_thinking": {
        const data = textOf(content["data"])
        if (answer.hold(data.length)) add(index, { kind: "redacted", data })
        return
      }
      case "tool_use":
        return openCall(index, content)
      default:
        add(index, { kind: "other" })
    }
  }

  /** The block that a piece belongs to: by its index, else the newest. One that never began, or is of another kind, begins. */
  const onDelta = (index: number | undefined, delta: Json) => {
    const block = index === undefined ? blocks.at(-1) : byIndex.get(index)
    switch (delta["type"]) {
      case "text_delta":
        return onText(
          block?.kind === "text" ? block : add(index, { kind: "text", text: "" }),
          textOf(delta["text"])
        )
      case "thinking_delta":
        return onThought(thought(index, block), textOf(delta["thinking"]))
      case "signature_delta":
        thought(index, block).signature = textOf(delta["signature"])
        return
      case "input_json_delta": {
        const piece = textOf(delta["partial_json"])
        if (block?.kind === "other" || piece === "" || !answer.hold(piece.length)) return
        if (block?.kind !== "call") return answer.malformed("arguments of a tool call that never began")
        if (block.isWhole) block.call.arguments = ""
        block.isWhole = false
        block.call.arguments += piece
      }
    }
  }

  const thought = (index: number | undefined, block: Block | undefined) =>
    block?.kind === "thinking" ? block : add(index, { kind: "thinking", text: "", signature: "" })

  /** All counts are totals so far, and a later event that lacks one or says 0 takes nothing back. */
  const onUsage = (said: unknown) => {
    if (!isRecord(said)) return
    counts.uncached = Math.max(counts.uncached, countOf(said["input_tokens"]) ?? 0)
    counts.written = Math.max(counts.written, countOf(said["cache_creation_input_tokens"]) ?? 0)
    counts.read = Math.max(counts.read, countOf(said["cache_read_input_tokens"]) ?? 0)
    counts.output = Math.max(counts.output, countOf(said["output_tokens"]) ?? 0)
    const inputTokens = counts.uncached + counts.written + counts.read
    // No call is free: zeros are a server that does not count.
    if (inputTokens + counts.output === 0) return
    answer.usage({
      inputTokens,
      outputTokens: counts.output,
      cachedTokens: counts.read,
      ...(counts.written === 0 ? {} : { writtenTokens: counts.written }),
      estimated: false
    })
  }

  const onStop = (reason: unknown) => {
    if (typeof reason === "string" && reason !== "") answer.finished(endReason(reason))
  }

  const onWhole = (message: Json) => {
    const content = message["content"]
    if (Array.isArray(content)) {
      for (const block of content) if (isRecord(block)) onStart(undefined, block)
    }
    onUsage(message["usage"])
    onStop(message["stop_reason"])
  }

  const onItem = (item: Json) => {
    const index = typeof item["index"] === "number" ? item["index"] : undefined
    switch (item["type"]) {
      case "message_start":
        if (isRecord(item["message"])) onUsage(item["message"]["usage"])
        return
      case "content_block_start":
        if (isRecord(item["content_block"])) onStart(index, item["content_block"])
        return
      case "content_block_delta":
        if (isRecord(item["delta"])) onDelta(index, item["delta"])
        return
      case "message_delta":
        onUsage(item["usage"])
        if (isRecord(item["delta"])) onStop(item["delta"]["stop_reason"])
        return
      case "message_stop":
        return answer.end()
      case "message":
        return onWhole(item)
      default:
        // Whatever comes later than this was written is passed over, as the API asks for; an error is not.
        if (item["error"] !== undefined && item["error"] !== null) {
          answer.fail(errorReason(item["error"], detail))
        }
    }
  }

  /** The whole step in the order it was written, when there were thoughts that can be given back. */
  const continuation = (calls: ReadonlyArray<AnswerDecoder.OpenCall>) => {
    const parts = blocks.flatMap((block): ReadonlyArray<StepPart> => {
      switch (block.kind) {
        case "text":
          return [{ type: "text", text: block.text }]
        case "thinking":
          // Without its signature it would be refused.
          return block.signature === ""
            ? []
            : [{ type: "thinking", thinking: block.text, signature: block.signature }]
        case "redacted":
          return [{ type: "redacted_thinking", data: block.data }]
        case "call":
          return calls.includes(block.call) ? [{ type: "call", id: block.call.id }] : []
        case "other":
          return []
      }
    })
    const hasThoughts = parts.some(({ type }) => type === "thinking" || type === "redacted_thinking")
    return hasThoughts ? new AnthropicStep(model, parts) : undefined
  }

  return { onItem, continuation }
}

const endReason = (said: string): "stop" | "length" | "filtered" => {
  if (said === "max_tokens" || said === "model_context_window_exceeded") return "length"
  return said === "refusal" ? "filtered" : "stop"
}

/** An error that came with status 200, inside the stream or in place of it. */
const errorReason = (error: unknown, detail: (text: string) => string): Reason => {
  const text = detail(errorText(error))
  switch (isRecord(error) ? error["type"] : undefined) {
    case "authentication_error":
      return new ModelUnauthorized({ status: 401 })
    case "permission_error":
      return new ModelUnauthorized({ status: 403 })
    case "rate_limit_error":
      return new ModelRateLimited({})
    case "invalid_request_error":
      return statusReason(400, text)
    case "billing_error":
      return new ModelRejected({ status: 402, detail: text })
    case "not_found_error":
      return new ModelRejected({ status: 404, detail: text })
    case "request_too_large":
      return statusReason(413, text)
    case "overloaded_error":
      return new ModelUnavailable({ status: 529, detail: text })
    case "timeout_error":
      return new ModelUnavailable({ status: 504, detail: text })
    case "api_error":
      return new ModelUnavailable({ status: 500, detail: text })
    default:
      return new ModelUnavailable({ detail: text })
  }
}
