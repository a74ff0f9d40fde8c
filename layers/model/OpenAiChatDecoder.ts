/**
 * Turns the bytes of one chat-completion answer into model events.
 *
 * Owns: what an answer may look like on the wire, streamed or whole, and how far it may stray from the documentation.
 * Does not own: sockets, time and status codes (`OpenAiChat`).
 *
 * Loose on what is not needed, and typed about what is: unknown fields are ignored, and an answer that cannot be
 * understood ends in a reason. It never throws.
 */
import {
  type ModelError,
  type ModelEvent,
  ModelCutOff,
  ModelMalformed,
  ModelRateLimited,
  ModelRejected,
  ModelUnauthorized,
  ModelUnavailable
} from "#src/model/Model.ts"
import type { Usage } from "#src/domain/Usage.ts"
import * as SseReader from "./SseReader.ts"

export type Reason = ModelError["reason"]

export interface DecoderOptions {
  /** The real name of a tool, from its name on the wire. */
  readonly toolName: (wire: string) => string
  /** An id for the call at this position when the provider gave none, or one that is taken. */
  readonly madeUpId: (position: number) => string
  /** Ids of calls that the prompt already holds. */
  readonly takenIds: ReadonlySet<string>
  /** Removes secrets from a text of the provider and cuts it. */
  readonly detail: (text: string) => string
}

export interface Decoder {
  /** Take the next bytes; the events that they complete, in order. */
  readonly push: (bytes: Uint8Array) => Array<ModelEvent>
  /** No more bytes come; `isCut` when the connection broke. The remaining events; then `over` or `failure` is set. */
  readonly finish: (isCut: boolean) => Array<ModelEvent>
  /** The model has said why it stopped: only bookkeeping may still come. */
  readonly isFinished: () => boolean
  /** `End` has been given: the rest does not matter. */
  readonly isOver: () => boolean
  readonly failure: () => Reason | undefined
}

/** Most characters of one event, of a whole answer that is not streamed, and of the arguments of all calls. */
const maxEventChars = 4 * 1024 * 1024
const maxCalls = 256

interface OpenCall {
  id: string
  name: string
  arguments: string
}

type EndReason = Extract<ModelEvent, { readonly _tag: "End" }>["reason"]

export const make = (options: DecoderOptions): Decoder => {
  let out: Array<ModelEvent> = []
  let failure: Reason | undefined
  let isOver = false
  let finishReason: string | undefined
  let usage: Usage | undefined
  let callChars = 0
  const calls: Array<OpenCall> = []
  const byIndex = new Map<number, OpenCall>()

  let mode: "unknown" | "events" | "whole" | "page" = "unknown"
  const wholeDecoder = new TextDecoder()
  let whole = ""

  const fail = (reason: Reason) => {
    failure ??= reason
  }
  const malformed = (detail: string) => fail(new ModelMalformed({ detail }))

  const end = () => {
    if (isOver || failure !== undefined) return
    isOver = true
    // What was cut at the output limit is no call: its arguments are half a JSON text.
    const isShort = endReason(finishReason, false) !== "stop"
    const complete = isShort ? calls.filter((call) => isJson(call.arguments)) : calls
    const ids = new Set(options.takenIds)
    for (const [position, call] of complete.entries()) {
      const id = call.id === "" || ids.has(call.id) ? options.madeUpId(position) : call.id
      ids.add(id)
      const args = call.arguments.trim() === "" ? "{}" : call.arguments
      out.push({ _tag: "Call", call: { id, name: options.toolName(call.name), arguments: args } })
    }
    const reason = endReason(finishReason, complete.length > 0)
    out.push(usage === undefined ? { _tag: "End", reason } : { _tag: "End", reason, usage })
  }

  const onText = (content: unknown) => {
    if (typeof content === "string") {
      if (content !== "") out.push({ _tag: "Text", text: content })
    } else if (Array.isArray(content)) {
      for (const part of content) if (isRecord(part)) onText(part["text"])
    }
  }

  /** Which call a piece belongs to: by its index, else by its id, else by its place, else the newest. */
  const callOf = (piece: Json, position: number, pieces: number): OpenCall | undefined => {
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
    if (calls.length >= maxCalls) return undefined
    const call: OpenCall = { id: "", name: "", arguments: "" }
    calls.push(call)
    if (index !== undefined) byIndex.set(index, call)
    return call
  }

  const onCalls = (pieces: ReadonlyArray<unknown>) => {
    for (const [position, piece] of pieces.entries()) {
      if (!isRecord(piece)) continue
      const call = callOf(piece, position, pieces.length)
      if (call === undefined) return malformed(`more than ${maxCalls} tool calls in one answer`)
      const fn = isRecord(piece["function"]) ? piece["function"] : piece
      if (call.id === "") call.id = textOf(piece["id"]).slice(0, 200)
      if (call.name === "") call.name = textOf(fn["name"])
      const args = fn["arguments"]
      const text = typeof args === "string" ? args : isRecord(args) ? JSON.stringify(args) : ""
      callChars += text.length
      if (callChars > maxEventChars) return malformed("the arguments of the tool calls are too long")
      call.arguments += text
    }
  }

  const onItem = (item: unknown) => {
    if (!isRecord(item)) return malformed("an event is not a JSON object")
    if (item["error"] !== undefined && item["error"] !== null)
      return fail(errorReason(item["error"], options.detail))
    const choices = item["choices"]
    if (Array.isArray(choices)) {
      const choice: unknown = choices.length > 1 ? (choices.find(isFirstChoice) ?? choices[0]) : choices[0]
      if (isRecord(choice)) onChoice(choice)
    }
    if (isRecord(item["usage"])) usage = usageOf(item["usage"]) ?? usage
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
      return fail(new ModelUnavailable({ detail: "the provider gave up within its answer" }))
    finishReason = reason
  }

  const onData = (data: string) => {
    if (failure !== undefined || isOver) return
    if (data === "[DONE]" || data.trim() === "[DONE]") return end()
    if (data.trim() === "") return
    const item = parse(data)
    if (item === undefined) return malformed(options.detail(`not JSON: ${data.slice(0, 2000)}`))
    onItem(item)
  }

  const sse = SseReader.make(onData, maxEventChars)

  /** The first visible character tells an event stream from a whole JSON answer and from a web page. */
  const sniff = (bytes: Uint8Array) => {
    for (const byte of bytes) {
      if (byte <= 32 || byte === 0xef || byte === 0xbb || byte === 0xbf) continue
      mode = byte === 0x7b ? "whole" : byte === 0x3c ? "page" : "events"
      return
    }
  }

  const take = (): Array<ModelEvent> => {
    const events = out
    out = []
    return events
  }

  const endWhole = () => {
    whole += wholeDecoder.decode()
    const item = parse(whole.replace(/^\uFEFF/, ""))
    if (item === undefined) return fail(new ModelCutOff())
    onItem(item)
    if (failure === undefined && finishReason === undefined && calls.length === 0 && out.length === 0) {
      malformed(options.detail(`not a chat completion: ${whole.slice(0, 2000)}`))
    }
    end()
  }

  return {
    push: (bytes) => {
      if (failure !== undefined || isOver) return []
      if (mode === "unknown") sniff(bytes)
      if (mode === "whole") {
        whole += wholeDecoder.decode(bytes, { stream: true })
        if (whole.length > maxEventChars) malformed("the answer is too long")
      } else if (mode === "page") {
        malformed("a web page instead of an answer; check base_url")
      } else if (!sse.push(bytes)) {
        malformed("an event is too long")
      }
      return take()
    },
    finish: (isCut) => {
      if (failure !== undefined || isOver) return []
      if (mode === "whole") endWhole()
      else {
        sse.end()
        if (failure === undefined && !isOver) {
          if (finishReason === undefined) fail(new ModelCutOff())
          else end()
        }
      }
      if (isCut && !isOver) fail(new ModelCutOff())
      return take()
    },
    isFinished: () => finishReason !== undefined,
    isOver: () => isOver,
    failure: () => failure
  }
}

type Json = Readonly<Record<string, unknown>>

const isRecord = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isFirstChoice = (choice: unknown): boolean => isRecord(choice) && choice["index"] === 0

const textOf = (value: unknown): string => (typeof value === "string" ? value : "")

/** `undefined` for what is not JSON. */
const parse = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

const isJson = (text: string): boolean => text.trim() === "" || parse(text) !== undefined

const endReason = (said: string | undefined, hasCalls: boolean): EndReason => {
  if (said === "length" || said === "max_tokens") return "length"
  if (said === "content_filter") return "filtered"
  return hasCalls ? "calls" : "stop"
}

const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined

const usageOf = (said: Json): Usage | undefined => {
  const inputTokens = count(said["prompt_tokens"])
  const outputTokens = count(said["completion_tokens"])
  if (inputTokens === undefined && outputTokens === undefined) return undefined
  const details = isRecord(said["prompt_tokens_details"]) ? said["prompt_tokens_details"] : {}
  return {
    inputTokens: inputTokens ?? 0,
    outputTokens: outputTokens ?? 0,
    cachedTokens: count(details["cached_tokens"]) ?? 0,
    estimated: false
  }
}

/** The reason of an HTTP status that is not 2xx. */
export const statusReason = (status: number, detail: string, retryAfterMillis?: number): Reason => {
  if (status === 401 || status === 403) return new ModelUnauthorized({ status })
  if (status === 429) {
    return new ModelRateLimited(retryAfterMillis === undefined ? {} : { retryAfterMillis })
  }
  if (status >= 500 || status === 408) return new ModelUnavailable({ status, detail })
  return new ModelRejected({ status, detail })
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

/** What a provider's error object or body says, in one line. */
export const errorText = (error: unknown): string => {
  if (typeof error === "string") return error
  if (isRecord(error)) {
    if (typeof error["message"] === "string") return error["message"]
    if (error["error"] !== undefined) return errorText(error["error"])
    if (typeof error["detail"] === "string") return error["detail"]
  }
  return JSON.stringify(error) ?? ""
}
