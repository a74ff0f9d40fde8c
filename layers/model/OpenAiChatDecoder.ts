/**
 * Reads one chat-completion answer.
 *
 * Owns: what an answer may look like on the wire, streamed or whole, and how far it may stray from the documentation.
 * Does not own: bytes, bounds and completeness (`AnswerDecoder`).
 */
import { ModelRateLimited, ModelUnavailable } from "#src/model/Model.ts"
import type { Usage } from "#src/domain/Usage.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import { addDetail, ChatStep } from "./ChatStep.ts"
import { countOf, isRecord, type Json, textOf } from "./json.ts"
import { errorText, type Reason, statusReason } from "./providerHttp.ts"
import * as ThoughtTags from "./thoughtTags.ts"

/**
 * `mayThinkAloud`: thoughts may stand at the beginning of the text, between tags, and are not part of the answer. `model` as the
 * provider knows it: it alone can go on from its reasoning.
 */
export const make = (
  options: AnswerDecoder.DecoderOptions,
  { mayThinkAloud = true, model = "" }: { readonly mayThinkAloud?: boolean; readonly model?: string } = {}
): AnswerDecoder.Decoder =>
  AnswerDecoder.make(options, (answer) => speak(answer, options.detail, mayThinkAloud, model))

const speak = (
  answer: AnswerDecoder.Answer,
  detail: AnswerDecoder.DecoderOptions["detail"],
  mayThinkAloud: boolean,
  model: string
): AnswerDecoder.Protocol => {
  const { calls } = answer
  const details: Array<Json> = []
  const extras = new Map<AnswerDecoder.OpenCall, Json>()
  let thoughts = mayThinkAloud ? ThoughtTags.make(answer.text) : undefined
  const byIndex = new Map<number, AnswerDecoder.OpenCall>()

  const onText = (content: unknown) => {
    if (typeof content === "string") {
      if (thoughts === undefined) return answer.text(content)
      thoughts.push(content)
      if (thoughts.isPast()) thoughts = undefined
    } else if (Array.isArray(content)) {
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
      const extra = piece["extra_content"]
      if (isRecord(extra) && answer.hold(JSON.stringify(extra).length)) extras.set(call, extra)
    }
  }

  const onDetails = (said: ReadonlyArray<unknown>) => {
    for (const one of said) {
      if (isRecord(one) && answer.hold(JSON.stringify(one).length)) addDetail(details, one)
    }
  }

  const onItem = (item: Json) => {
    // vLLM once sent its error bare, as an event like any other.
    const error = item["object"] === "error" ? item : item["error"]
    if (error !== undefined && error !== null) return answer.fail(errorReason(error, detail))
    // Groq tells usage, and what went wrong, in a place of its own.
    const groq = item["x_groq"]
    if (isRecord(groq)) onGroq(groq)
    const choices = item["choices"]
    if (Array.isArray(choices)) {
      const choice: unknown = choices.length > 1 ? (choices.find(isFirstChoice) ?? choices[0]) : choices[0]
      if (isRecord(choice)) onChoice(choice)
    }
    onUsage(item["usage"])
  }

  const onUsage = (said: unknown) => {
    const usage = isRecord(said) ? usageOf(said) : undefined
    if (usage !== undefined) answer.usage(usage)
  }

  const onGroq = (said: Json) => {
    if (said["error"] !== undefined && said["error"] !== null) {
      return answer.fail(errorReason(said["error"], detail))
    }
    onUsage(said["usage"])
  }

  const onChoice = (choice: Json) => {
    const delta = isRecord(choice["delta"]) ? choice["delta"] : choice["message"]
    if (isRecord(delta)) {
      onText(delta["content"])
      if (delta["refusal"] !== undefined) onText(delta["refusal"])
      if (Array.isArray(delta["reasoning_details"])) onDetails(delta["reasoning_details"])
      if (Array.isArray(delta["tool_calls"])) onCalls(delta["tool_calls"])
      else if (isRecord(delta["function_call"])) onCalls([{ index: 0, function: delta["function_call"] }])
    }
    const reason = choice["finish_reason"]
    if (typeof reason !== "string" || reason === "") return
    thoughts?.end()
    if (reason === "error" || reason === "abort")
      return answer.fail(new ModelUnavailable({ detail: "the provider gave up within its answer" }))
    answer.finished(endReason(reason))
  }

  const continuation = (given: ReadonlyArray<AnswerDecoder.OpenCall>) =>
    details.length === 0 && extras.size === 0
      ? undefined
      : new ChatStep(
          model,
          details,
          given.map((call) => ({ id: call.id, extra: extras.get(call) }))
        )

  return { onItem, continuation }
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
  const spent = isRecord(said["completion_tokens_details"]) ? said["completion_tokens_details"] : {}
  const reasoningTokens = countOf(spent["reasoning_tokens"]) ?? 0
  return {
    inputTokens: inputTokens ?? 0,
    outputTokens: outputTokens ?? 0,
    cachedTokens: countOf(details["cached_tokens"]) ?? countOf(said["prompt_cache_hit_tokens"]) ?? 0,
    ...(reasoningTokens === 0 ? {} : { reasoningTokens }),
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
  if (/invalid_request|context_length|context_size/i.test(kind)) return statusReason(400, text)
  return new ModelUnavailable({ detail: text })
}
