/**
 * Turns the bytes of one provider's answer into model events, whatever the protocol.
 *
 * Owns: what protocols have in common: an event stream, its events as one JSON list, or one whole JSON answer; the gathering of
 * text, calls and usage; the bounds on all of it, and what counts as a complete answer.
 * Does not own: what an item means (each protocol's own decoder), nor sockets, time and status codes (`Exchange`).
 *
 * Loose on what is not needed, and typed about what is: an answer that cannot be understood ends in a reason. It never
 * throws.
 */
import { createHash } from "node:crypto"
import { type ModelEvent, ModelCutOff, ModelMalformed, type ModelRequest } from "#src/model/Model.ts"
import { type ToolNames, toolNames } from "#src/model/toolNames.ts"
import type { Usage } from "#src/domain/Usage.ts"
import { isRecord, type Json, parse } from "./json.ts"
import { type Endpoint, type Reason, safeDetail } from "./providerHttp.ts"
import * as SseReader from "./SseReader.ts"

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

/** The tool names of a request: of the tools it offers and of its past calls. */
export const namesOf = (request: ModelRequest): ToolNames => {
  const shown = request.tools.map((tool) => tool.name)
  for (const call of callsOf(request)) shown.push(call.name)
  return toolNames(shown)
}

const callsOf = ({ messages }: ModelRequest) =>
  messages.flatMap((message) => (message.role === "assistant" ? (message.calls ?? []) : []))

/** How the answer to this request is read; `body` is the request as it is sent. */
const optionsOf = (request: ModelRequest, names: ToolNames, body: string, key: string): DecoderOptions => ({
  toolName: names.fromWire,
  takenIds: new Set(callsOf(request).map((call) => call.id)),
  // From the request, so that the same call gets the same id, and another step's call another.
  madeUpId: (position) => `call_${createHash("sha256").update(body).digest("hex").slice(0, 16)}_${position}`,
  detail: (text) => safeDetail(text, key)
})

/** What one protocol says of one call. */
export interface Wording {
  readonly endpoint: Endpoint
  readonly encode: (names: ToolNames) => string
  readonly decoder: (options: DecoderOptions) => Decoder
}

/** A call as it is sent, with what reads its answer: the same in every protocol. */
export const outgoing = (request: ModelRequest, { endpoint, encode, decoder }: Wording) => {
  const names = namesOf(request)
  const body = encode(names)
  const options = optionsOf(request, names, body, endpoint.key)
  const { origin, path, headers } = endpoint
  return { origin, path, headers, body, decoder: decoder(options), detail: options.detail }
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

/** A call whose arguments are still coming. Once the answer is over, `id` is the one that was given out. */
export interface OpenCall {
  id: string
  name: string
  arguments: string
}

/** What a protocol fills in while it reads. */
export interface Answer {
  readonly text: (text: string) => void
  /** All calls so far, in the model's order. */
  readonly calls: ReadonlyArray<OpenCall>
  /** A further call; `undefined` when there are too many, which has failed the answer. */
  readonly openCall: () => OpenCall | undefined
  /** So many more characters are kept until the end; false when they are too many, which has failed the answer. */
  readonly hold: (chars: number) => boolean
  readonly usage: (usage: Usage) => void
  /** The model has said why it stopped. Whether it asks for tools is seen from its calls. */
  readonly finished: (reason: "stop" | "length" | "filtered") => void
  /** The protocol's end mark: nothing after it counts. */
  readonly end: () => void
  readonly fail: (reason: Reason) => void
  readonly malformed: (detail: string) => void
}

/** What one protocol makes of one answer. */
export interface Protocol {
  /** An event of the stream, or the whole answer of a server that does not stream. */
  readonly onItem: (item: Json) => void
  /** Of an answer that is over, with the calls that were given out (see `ModelEvent`). */
  readonly continuation?: (calls: ReadonlyArray<OpenCall>) => object | undefined
}

/** Most characters of one event, of a whole answer that is not streamed, and of what is held until the end. */
const maxChars = 4 * 1024 * 1024
const maxCalls = 256

/** One closure, because what a protocol fills in and what the bytes complete is one state. */
export const make = (options: DecoderOptions, speak: (answer: Answer) => Protocol): Decoder => {
  let out: Array<ModelEvent> = []
  let failure: Reason | undefined
  let isOver = false
  let finished: "stop" | "length" | "filtered" | undefined
  let usage: Usage | undefined
  let heldChars = 0
  const calls: Array<OpenCall> = []

  let mode: "unknown" | "events" | "whole" | "page" = "unknown"
  const wholeDecoder = new TextDecoder()
  let whole = ""

  const fail = (reason: Reason) => {
    failure ??= reason
  }
  const malformed = (detail: string) => fail(new ModelMalformed({ detail: options.detail(detail) }))

  const end = () => {
    if (isOver || failure !== undefined) return
    isOver = true
    // What was cut at the output limit is no call: its arguments are half a JSON text.
    const isShort = finished === "length" || finished === "filtered"
    const complete = isShort ? calls.filter((call) => isJson(call.arguments)) : calls
    const ids = new Set(options.takenIds)
    for (const [position, call] of complete.entries()) {
      if (call.id === "" || ids.has(call.id)) call.id = options.madeUpId(position)
      ids.add(call.id)
      const args = call.arguments.trim() === "" ? "{}" : call.arguments
      out.push({
        _tag: "Call",
        call: { id: call.id, name: options.toolName(call.name), arguments: args }
      })
    }
    const continuation = complete.length === 0 ? undefined : protocol.continuation?.(complete)
    out.push({
      _tag: "End",
      reason: isShort ? finished! : complete.length > 0 ? "calls" : "stop",
      ...(usage === undefined ? {} : { usage }),
      ...(continuation === undefined ? {} : { continuation })
    })
  }

  const protocol = speak({
    text: (text) => {
      if (text !== "") out.push({ _tag: "Text", text })
    },
    calls,
    openCall: () => {
      if (calls.length >= maxCalls) {
        malformed(`more than ${maxCalls} tool calls in one answer`)
        return undefined
      }
      const call: OpenCall = { id: "", name: "", arguments: "" }
      calls.push(call)
      return call
    },
    hold: (chars) => {
      heldChars += chars
      if (heldChars <= maxChars) return true
      malformed("what the answer asks of tools is too long")
      return false
    },
    usage: (counted) => {
      usage = counted
    },
    finished: (reason) => {
      finished = reason
    },
    end,
    fail,
    malformed
  })

  const onItem = (item: unknown) => {
    if (!isRecord(item)) return malformed("an event is not a JSON object")
    try {
      protocol.onItem(item)
    } catch {
      // Text can be read that is nested too deep to be written again.
      malformed("an event cannot be read")
    }
  }

  const onData = (data: string) => {
    if (failure !== undefined || isOver) return
    if (data === "[DONE]" || data.trim() === "[DONE]") return end()
    if (data.trim() === "") return
    const item = parse(data)
    if (item === undefined) return malformed(`not JSON: ${data.slice(0, 2000)}`)
    onItem(item)
  }

  const sse = SseReader.make(onData, maxChars)

  /** The first visible character tells an event stream from whole JSON and from a web page. */
  const sniff = (bytes: Uint8Array) => {
    for (const byte of bytes) {
      if (byte <= 32 || byte === 0xef || byte === 0xbb || byte === 0xbf) continue
      mode = byte === 0x7b || byte === 0x5b ? "whole" : byte === 0x3c ? "page" : "events"
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
    if (Array.isArray(item)) return endList(item)
    onItem(item)
    if (failure === undefined && finished === undefined && calls.length === 0 && out.length === 0) {
      malformed(`not an answer of a model: ${whole.slice(0, 2000)}`)
    }
    end()
  }

  /** The events of a stream as one JSON list: some servers send that in its place. */
  const endList = (items: ReadonlyArray<unknown>) => {
    for (const item of items) {
      if (failure !== undefined || isOver) return
      onItem(item)
    }
    if (finished === undefined) fail(new ModelCutOff())
    else end()
  }

  return {
    push: (bytes) => {
      if (failure !== undefined || isOver) return []
      if (mode === "unknown") sniff(bytes)
      if (mode === "whole") {
        whole += wholeDecoder.decode(bytes, { stream: true })
        if (whole.length > maxChars) malformed("the answer is too long")
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
          if (finished === undefined) fail(new ModelCutOff())
          else end()
        }
      }
      if (isCut && !isOver) fail(new ModelCutOff())
      return take()
    },
    isFinished: () => finished !== undefined,
    isOver: () => isOver,
    failure: () => failure
  }
}

const isJson = (text: string): boolean => text.trim() === "" || parse(text) !== undefined
