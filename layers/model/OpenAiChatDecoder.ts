/**
 * Reads one chat-completion answer.
 *
 * Owns: what an answer may look like on the wire, streamed or whole, and how far it may stray from the documentation.
 * Does not own: bytes, bounds and completeness (`AnswerDecoder`).
 */
import { ModelRateLimited, ModelRejected, ModelUnavailable } from "#src/model/Model.ts"
import type { Usage } from "#src/domain/Usage.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import { countOf, isRecord, type Json, textOf } from "./json.ts"
import { errorText, type Reason, statusReason } from "./providerHttp.ts"

export const make = (options: AnswerDecoder.DecoderOptions): AnswerDecoder.Decoder =>
  AnswerDecoder.make(options, (answer) => speak(answer, options.detail))

const speak = (
  answer: AnswerDecoder.Answer,
  detail: AnswerDecoder.DecoderOptions["detail"]
): AnswerDecoder.Protocol => {
  const { calls } = answer
  const byIndex = new Map<number, AnswerDecoder.OpenCall>()

  const onText = (content: unknown) => {
    if (typeof content === "string") answer.text(content)
    else if (Array.isArray(content)) {
      for (const part of content) if (isRecord(part)) onText(part["text"])
    }
  }

  /** Which call a piece belongs to: by its index, else by its id, else by its place, else the newest. */
  const callOf = (piece: Json, position: number, pieces: number): AnswerDecoder.OpenCall | undefined => {
    const fn = isRecord(piece["function"]) ? piece["function"] : piece
    const id = textOf(piece["id"])
    const hasName = textOf(fn["name"]) !== ""
    const index = typeof piece["index"] === "number" ? piece["index"] : undefined
    const known =
      index !== undefined
        ? byIndex.get(index)
        : id !== ""
          ? calls.find((call) => call.id === id)
          : hasName
            ? undefined
            : pieces > 1
              ? calls[position]
              : calls.at(-1)
    // Some servers number every call 0: another id together with a name is another call.
    const isOther = known !== undefined && hasName && id !== "" && known.id !== "" && known.id !== id
    if (known !== undefined && !isOther) return known
    const call = answer.openCall()
    if (call !== undefined && index !== undefined) byIndex.set(index, call)
    return call
  }

  const onCalls = (pieces: ReadonlyArray<unknown>) => {
    for (const [position, piece] of pieces.entries()) {
      if (!isRecord(piece)) continue
      const call = callOf(piece, position, pieces.length)
      if (call === undefined) return
      const fn = isRecord(piece["function"]) ? piece["function"] : piece
      if (call.id === "") call.id = textOf(piece["id"]).slice(0, 200)
      if (call.name === "") call.name = textOf(fn["name"])
      const args = fn["arguments"]
      const text = typeof args === "string" ? args : isRecord(args) ? JSON.stringify(args) : ""
      if (!answer.hold(text.length)) return
      call.arguments += text
    }
  }

  const onItem = (item: Json) => {
    if (item["error"] !== undefined && item["error"] !== null)
      return answer.fail(errorReason(item["error"], detail))
    const choices = item["choices"]
    if (Array.isArray(choices)) {
      const choice: unknown = choices.length > 1 ? (choices.find(isFirstChoice) ?? choices[0]) : choices[0]
      if (isRecord(choice)) onChoice(choice)
    }
    const usage = isRecord(item["usage"]) ? usageOf(item["usage"]) : undefined
    if (usage !== undefined) answer.usage(usage)
  }

  const onChoice = (choice: Json) => {
    const delta = isRecord(choice["delta"]) ? choice["delta"] : choice["message"]
    if (isRecord(delta)) {
      onText(delta["content"])
      if (delta["refusal"] !== undefined) onText(delta["refusal"])
      if (Array.isArray(delta["tool_calls"])) onCalls(delta["tool_calls"])
      else if (isRecord(delta["function_call"])) onCalls([{ index: 0, function: delta["function_call"] }])
    }
    const reason = choice["finish_reason"]
    if (typeof reason !== "string" || reason === "") return
    if (reason === "error")
      return answer.fail(new ModelUnavailable({ detail: "the provider gave up within its answer" }))
    answer.finished(endReason(reason))
  }

  return { onItem }
}

const isFirstChoice = (choice: unknown): boolean => isRecord(choice) && choice["index"] === 0

const endReason = (said: string): "stop" | "length" | "filtered" => {
  if (said === "length" || said === "max_tokens") return "length"
  return said === "content_filter" ? "filtered" : "stop"
}

const usageOf = (said: Json): Usage | undefined => {
  const inputTokens = countOf(said["prompt_tokens"])
  const outputTokens = countOf(said["completion_tokens"])
  if (inputTokens === undefined && outputTokens === undefined) return undefined
  const details = isRecord(said["prompt_tokens_details"]) ? said["prompt_tokens_details"] : {}
  return {
    inputTokens: inputTokens ?? 0,
    outputTokens: outputTokens ?? 0,
    cachedTokens: countOf(details["cached_tokens"]) ?? 0,
    estimated: false
  }
}

/** An error that came with status 200, inside the stream or in place of it. */
const errorReason = (error: unknown, detail: (text: string) => string): Reason => {
  const said = isRecord(error) ? error : {}
  const code = Number(said["code"] ?? said["status"])
  const text = detail(errorText(error))
  if (Number.isInteger(code) && code >= 400 && code <= 599) return statusReason(code, text)
  const kind = `${textOf(said["type"])} ${textOf(said["code"])}`
  if (/rate_?limit/i.test(kind)) return new ModelRateLimited({})
  if (/invalid_request/i.test(kind)) return new ModelRejected({ status: 400, detail: text })
  return new ModelUnavailable({ detail: text })
}
