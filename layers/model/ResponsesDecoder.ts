/**
 * Reads one answer of the Responses API.
 *
 * Owns: what an answer may look like on the wire, streamed or whole, and how far it may stray from the documentation. Reasoning
 * is kept apart from the text: it is never shown, and only goes back to the model with the calls of its step.
 * Does not own: bytes, bounds and completeness (`AnswerDecoder`).
 */
import { ModelRateLimited, ModelUnauthorized, ModelUnavailable } from "#src/model/Model.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import { countOf, isRecord, type Json, textOf } from "./json.ts"
import { errorText, type Reason, statusReason } from "./providerHttp.ts"
import { ResponsesStep, type StepPart } from "./ResponsesStep.ts"

/** `model` as the provider knows it: it alone can go on from its reasoning. */
export const make = (model: string, options: AnswerDecoder.DecoderOptions): AnswerDecoder.Decoder =>
  AnswerDecoder.make(options, (answer) => speak(answer, model, options.detail))

type Item =
  | { readonly kind: "message"; text: string }
  | { readonly kind: "reasoning"; given: Json | undefined }
  | { readonly kind: "call"; readonly call: AnswerDecoder.OpenCall }
  /** Of a tool that the provider runs itself, or of a later version. */
  | { readonly kind: "other" }

const speak = (
  answer: AnswerDecoder.Answer,
  model: string,
  detail: AnswerDecoder.DecoderOptions["detail"]
): AnswerDecoder.Protocol => {
  const items: Array<Item> = []
  const byIndex = new Map<number, Item>()
  const byId = new Map<string, Item>()

  const add = <I extends Item>(place: Place, item: I): I => {
    items.push(item)
    if (place.index !== undefined) byIndex.set(place.index, item)
    if (place.id !== "") byId.set(place.id, item)
    return item
  }

  const find = ({ index, id }: Place): Item | undefined =>
    index !== undefined ? byIndex.get(index) : id !== "" ? byId.get(id) : items.at(-1)

  const onText = (message: { text: string }, text: string) => {
    // Kept only to put reasoning back in its place, but then with all the text.
    if (!answer.hold(text.length)) return
    message.text += text
    answer.text(text)
  }

  const messageAt = (place: Place) => {
    const item = find(place)
    return item?.kind === "message" ? item : add(place, { kind: "message", text: "" })
  }

  const openCall = (place: Place, said: Json) => {
    const call = answer.openCall()
    if (call === undefined) return undefined
    call.id = textOf(said["call_id"]).slice(0, 200)
    call.name = textOf(said["name"])
    return add(place, { kind: "call", call })
  }

  const setArguments = (call: AnswerDecoder.OpenCall, said: unknown) => {
    const whole = typeof said === "string" ? said : isRecord(said) ? JSON.stringify(said) : ""
    if (whole === "" || whole === call.arguments) return
    if (answer.hold(Math.max(0, whole.length - call.arguments.length))) call.arguments = whole
  }

  /** An item begins, or stands there whole. */
  const onItemSaid = (place: Place, said: Json, isWhole: boolean) => {
    const known = place.index === undefined && place.id === "" ? undefined : find(place)
    switch (said["type"]) {
      case "message": {
        const message = known?.kind === "message" ? known : add(place, { kind: "message", text: "" })
        // What has come in pieces has come already.
        if (isWhole && message.text === "") onText(message, contentText(said["content"]))
        return
      }
      case "function_call": {
        const id = textOf(said["call_id"]).slice(0, 200)
        // Some servers number every item 0: another id is another call.
        const isSame = known?.kind === "call" && (id === "" || known.call.id === "" || known.call.id === id)
        const item = isSame ? known : openCall(place, said)
        if (item === undefined) return
        if (item.call.id === "") item.call.id = id
        if (item.call.name === "") item.call.name = textOf(said["name"])
        if (isWhole && item.call.name === "") return answer.malformed("a tool call without a name")
        return setArguments(item.call, said["arguments"])
      }
      case "reasoning": {
        const item = known?.kind === "reasoning" ? known : add(place, { kind: "reasoning", given: undefined })
        if (isWhole) item.given = kept(said)
        return
      }
      default:
        if (known === undefined) add(place, { kind: "other" })
    }
  }

  /** Reasoning as it may be sent again: without what is encrypted the provider would look for it among its own. */
  const kept = (said: Json): Json | undefined => {
    const encrypted = textOf(said["encrypted_content"])
    if (encrypted === "" || !answer.hold(encrypted.length)) return undefined
    const id = textOf(said["id"])
    const summary = Array.isArray(said["summary"]) ? said["summary"] : []
    return { type: "reasoning", ...(id === "" ? {} : { id }), summary, encrypted_content: encrypted }
  }

  const onArguments = (place: Place, piece: string) => {
    const item = find(place)
    if (item?.kind === "other" || piece === "" || !answer.hold(piece.length)) return
    if (item?.kind !== "call") return answer.malformed("arguments of a tool call that never began")
    item.call.arguments += piece
  }

  const onUsage = (said: unknown) => {
    if (!isRecord(said)) return
    const inputTokens = countOf(said["input_tokens"]) ?? 0
    const outputTokens = countOf(said["output_tokens"]) ?? 0
    // No call is free: zeros are a server that does not count.
    if (inputTokens + outputTokens === 0) return
    const details = isRecord(said["input_tokens_details"]) ? said["input_tokens_details"] : {}
    const spent = isRecord(said["output_tokens_details"]) ? said["output_tokens_details"] : {}
    const reasoningTokens = countOf(spent["reasoning_tokens"]) ?? 0
    answer.usage({
      inputTokens,
      outputTokens,
      cachedTokens: countOf(details["cached_tokens"]) ?? 0,
      ...(reasoningTokens === 0 ? {} : { reasoningTokens }),
      estimated: false
    })
  }

  /** The response as it ended; `status` when its event does not say more. */
  const onEnd = (response: Json, status: unknown) => {
    if (isRecord(response["error"]) || status === "failed") {
      return answer.fail(errorReason(response["error"], detail))
    }
    // Some servers send no pieces, only the end.
    if (items.length === 0 && Array.isArray(response["output"])) {
      for (const said of response["output"]) {
        if (isRecord(said)) onItemSaid(nowhere, said, true)
      }
    }
    onUsage(response["usage"])
    if (status === "cancelled") {
      return answer.fail(new ModelUnavailable({ detail: "the provider cancelled its answer" }))
    }
    const why = isRecord(response["incomplete_details"])
      ? response["incomplete_details"]["reason"]
      : undefined
    answer.finished(status !== "incomplete" ? "stop" : why === "content_filter" ? "filtered" : "length")
    answer.end()
  }

  const onItem = (event: Json) => {
    const type = event["type"]
    const place = placeOf(event)
    switch (type) {
      case "response.output_item.added":
      case "response.output_item.done": {
        const said = event["item"]
        if (isRecord(said)) {
          const id = place.id === "" ? textOf(said["id"]) : place.id
          onItemSaid({ ...place, id }, said, type.endsWith("done"))
        }
        return
      }
      case "response.output_text.delta":
      case "response.refusal.delta":
        return onText(messageAt(place), textOf(event["delta"]))
      case "response.function_call_arguments.delta":
        return onArguments(place, textOf(event["delta"]))
      case "response.function_call_arguments.done": {
        const item = find(place)
        if (item?.kind === "call") setArguments(item.call, event["arguments"])
        return
      }
      case "response.completed":
      case "response.incomplete":
      case "response.failed":
      case "response.cancelled":
        return onEnd(isRecord(event["response"]) ? event["response"] : {}, type.slice("response.".length))
      case "error":
        return answer.fail(errorReason(event["error"] ?? event, detail))
      default:
        if (event["object"] === "response") return onEnd(event, event["status"])
        // Whatever comes later than this was written is passed over; an error is not.
        if (event["error"] !== undefined && event["error"] !== null) {
          answer.fail(errorReason(event["error"], detail))
        }
    }
  }

  /** The whole step in the order it was written, when there is reasoning that can be given back. */
  const continuation = (calls: ReadonlyArray<AnswerDecoder.OpenCall>) => {
    const parts = items.flatMap((item): ReadonlyArray<StepPart> => {
      switch (item.kind) {
        case "message":
          return [{ type: "text", text: item.text }]
        case "reasoning":
          return item.given === undefined ? [] : [{ type: "reasoning", item: item.given }]
        case "call":
          return calls.includes(item.call) ? [{ type: "call", id: item.call.id }] : []
        case "other":
          return []
      }
    })
    return parts.some(({ type }) => type === "reasoning") ? new ResponsesStep(model, parts) : undefined
  }

  return { onItem, continuation }
}

/** Which item an event is about: by its position, else by its id, else the newest. */
interface Place {
  readonly index: number | undefined
  readonly id: string
}

const nowhere: Place = { index: undefined, id: "" }

const placeOf = (event: Json): Place => ({
  index: typeof event["output_index"] === "number" ? event["output_index"] : undefined,
  id: textOf(event["item_id"])
})

const contentText = (content: unknown): string => {
  if (typeof content === "string") return content
  if (!Array.isArray(content)) return ""
  return content
    .map((part) => (isRecord(part) ? textOf(part["text"]) || textOf(part["refusal"]) : ""))
    .join("")
}

/** An error that came with status 200, inside the stream or in place of it. */
const errorReason = (error: unknown, detail: (text: string) => string): Reason => {
  const said = isRecord(error) ? error : {}
  const text = detail(
    error === undefined || error === null ? "the provider gave no reason" : errorText(error)
  )
  const code = `${textOf(said["code"])} ${said["type"] === "error" ? "" : textOf(said["type"])}`
  if (/rate_?limit|insufficient_quota/i.test(code)) return new ModelRateLimited({})
  if (/invalid_api_key|authentication|permission/i.test(code)) return new ModelUnauthorized({ status: 401 })
  if (/invalid|context_length|image|unsupported/i.test(code)) return statusReason(400, text)
  const status = Number(said["code"] ?? said["status"])
  return Number.isInteger(status) && status >= 400 && status <= 599
    ? statusReason(status, text)
    : new ModelUnavailable({ detail: text })
}
