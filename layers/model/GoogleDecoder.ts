/**
 * Reads one answer of the Gemini API.
 *
 * Owns: what an answer may look like on the wire, streamed or whole, and how far it may stray from the documentation. Thoughts
 * are kept apart from the text: they are never shown, and only go back to the model with the calls of their step.
 * Does not own: bytes, bounds and completeness (`AnswerDecoder`). No mark ends the stream: it is over when the bytes are, and
 * complete when a reason to stop has come before.
 */
import { ModelRejected, ModelUnavailable } from "#src/model/Model.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import { statusOf } from "./googleErrors.ts"
import { GoogleStep, type StepPart } from "./GoogleStep.ts"
import { countOf, isRecord, type Json, textOf } from "./json.ts"
import { errorText, failureReason, type Reason } from "./providerHttp.ts"

/** `model` as the provider knows it: it alone can go on from its thoughts. */
export const make = (model: string, options: AnswerDecoder.DecoderOptions): AnswerDecoder.Decoder =>
  AnswerDecoder.make(options, (answer) => speak(answer, model, options.detail))

type Part =
  | { readonly kind: "text" | "thought"; text: string; readonly signature: string }
  | { readonly kind: "call"; readonly call: AnswerDecoder.OpenCall; readonly signature: string }

const speak = (
  answer: AnswerDecoder.Answer,
  model: string,
  detail: AnswerDecoder.DecoderOptions["detail"]
): AnswerDecoder.Protocol => {
  const parts: Array<Part> = []
  const counts = { input: 0, cached: 0, said: 0, thought: 0 }

  /** A signed part stays apart: its signature is for it alone. */
  const onText = (kind: "text" | "thought", text: string, signature: string) => {
    if (text === "" && signature === "") return
    // Kept only to put signatures back in their place, but then with all the text.
    if (!answer.hold(text.length)) return
    if (kind === "text") answer.text(text)
    const last = parts.at(-1)
    if (last?.kind === kind && last.signature === "" && signature === "") last.text += text
    else parts.push({ kind, text, signature })
  }

  const onCall = (said: Json, signature: string) => {
    const name = textOf(said["name"])
    if (name === "") return answer.malformed("a tool call without a name")
    const call = answer.openCall()
    if (call === undefined) return
    const args = said["args"]
    call.id = textOf(said["id"]).slice(0, 200)
    call.name = name
    call.arguments = isRecord(args) ? JSON.stringify(args) : textOf(args)
    if (answer.hold(call.arguments.length)) parts.push({ kind: "call", call, signature })
  }

  const onPart = (said: Json) => {
    const signature = textOf(said["thoughtSignature"])
    if (!answer.hold(signature.length)) return
    if (isRecord(said["functionCall"])) return onCall(said["functionCall"], signature)
    onText(said["thought"] === true ? "thought" : "text", textOf(said["text"]), signature)
  }

  const onCandidate = (candidate: Json) => {
    const content = isRecord(candidate["content"]) ? candidate["content"]["parts"] : undefined
    if (Array.isArray(content)) {
      for (const part of content) if (isRecord(part)) onPart(part)
    }
    const reason = textOf(candidate["finishReason"])
    if (reason === "" || reason === "FINISH_REASON_UNSPECIFIED") return
    const words = textOf(candidate["finishMessage"])
    const told = detail(words === "" ? `the model ended with ${reason}` : `${reason}: ${words}`)
    const wrong = brokenReason(reason, told)
    if (wrong !== undefined) return answer.fail(wrong)
    if (malformed.has(reason)) return answer.malformed(told)
    answer.finished(endReason(reason))
  }

  /** All counts are totals so far, and a later chunk that lacks one takes nothing back. */
  const onUsage = (said: unknown) => {
    if (!isRecord(said)) return
    const prompt = countOf(said["promptTokenCount"]) ?? 0
    counts.input = Math.max(counts.input, prompt + (countOf(said["toolUsePromptTokenCount"]) ?? 0))
    counts.cached = Math.max(counts.cached, countOf(said["cachedContentTokenCount"]) ?? 0)
    counts.said = Math.max(counts.said, countOf(said["candidatesTokenCount"]) ?? 0)
    counts.thought = Math.max(counts.thought, countOf(said["thoughtsTokenCount"]) ?? 0)
    const outputTokens = counts.said + counts.thought
    // No call is free: zeros are a server that does not count.
    if (counts.input + outputTokens === 0) return
    answer.usage({
      inputTokens: counts.input,
      outputTokens,
      cachedTokens: counts.cached,
      ...(counts.thought === 0 ? {} : { reasoningTokens: counts.thought }),
      estimated: false
    })
  }

  const onItem = (item: Json) => {
    if (item["error"] !== undefined && item["error"] !== null) {
      return answer.fail(errorReason(item["error"], detail))
    }
    const candidates: unknown = item["candidates"]
    const first: unknown = Array.isArray(candidates) ? candidates[0] : undefined
    if (isRecord(first)) onCandidate(first)
    const feedback = item["promptFeedback"]
    // The prompt itself was refused: nothing has been or will be said.
    if (isRecord(feedback) && textOf(feedback["blockReason"]) !== "") answer.finished("filtered")
    onUsage(item["usageMetadata"])
  }

  /** The whole step in the order it was written, when something of it was signed. */
  const continuation = (calls: ReadonlyArray<AnswerDecoder.OpenCall>) => {
    if (parts.every(({ signature }) => signature === "")) return undefined
    const kept = parts.flatMap((part): ReadonlyArray<StepPart> => {
      const signed = part.signature === "" ? {} : { signature: part.signature }
      switch (part.kind) {
        case "text":
          return [{ type: "text", text: part.text, ...signed }]
        case "thought":
          // What is thought without a signature is of no use to anybody.
          return part.signature === "" ? [] : [{ type: "thought", text: part.text, ...signed }]
        case "call":
          return calls.includes(part.call) ? [{ type: "call", id: part.call.id, ...signed }] : []
      }
    })
    return new GoogleStep(model, kept)
  }

  return { onItem, continuation }
}

/** The provider withholds what was or would be said. */
const withheld = new Set([
  "SAFETY",
  "RECITATION",
  "LANGUAGE",
  "BLOCKLIST",
  "PROHIBITED_CONTENT",
  "SPII",
  "ESCALATION",
  "MODEL_ARMOR",
  "PUP_LIMITED_DISABLED",
  "IMAGE_SAFETY",
  "IMAGE_PROHIBITED_CONTENT",
  "IMAGE_RECITATION"
])

/** What the model wrote is no answer, and no call that could be run. */
const malformed = new Set([
  "MALFORMED_FUNCTION_CALL",
  "MALFORMED_RESPONSE",
  "UNEXPECTED_TOOL_CALL",
  "TOO_MANY_TOOL_CALLS"
])

const brokenReason = (said: string, detail: string): Reason | undefined => {
  if (said === "OTHER") return new ModelUnavailable({ detail })
  return said === "MISSING_THOUGHT_SIGNATURE" ? new ModelRejected({ status: 400, detail }) : undefined
}

/** `CONTINUATION`: the limit of one request. */
const endReason = (said: string): "stop" | "length" | "filtered" => {
  if (said === "MAX_TOKENS" || said === "CONTINUATION") return "length"
  return withheld.has(said) ? "filtered" : "stop"
}

/** An error that came with status 200, inside the stream or in place of it. */
const errorReason = (error: unknown, detail: AnswerDecoder.DecoderOptions["detail"]): Reason => {
  const text = detail(errorText(error))
  const status = statusOf(error)
  return status === undefined ? new ModelUnavailable({ detail: text }) : failureReason(status, error, text)
}
