/**
 * The `openai-chat` kind: `POST {base_url}/chat/completions`, streamed, which most providers and local servers speak.
 *
 * Owns: the connection, the idle timeout, what a status means, and that interruption closes the socket.
 * Does not own: the body's words (`openAiChatRequest`) or reading the answer (`OpenAiChatDecoder`).
 *
 * The driver's callbacks fill an array that the stream pulls: no fiber step and no Effect for a single token.
 */
import { createHash } from "node:crypto"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Dispatcher } from "undici"
import Agent from "undici/lib/dispatcher/agent.js"
import {
  ModelError,
  type ModelEvent,
  ModelMalformed,
  ModelRejected,
  ModelStalled,
  ModelUnavailable
} from "#src/model/Model.ts"
import { type ModelKind, ModelKinds, type ProviderCall } from "#src/model/ModelKinds.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import { toolNames } from "#src/model/toolNames.ts"
import * as Decoder from "./OpenAiChatDecoder.ts"
import { encodeRequest } from "./openAiChatRequest.ts"
import * as Http from "./providerHttp.ts"

/** Once the model has said why it stopped, usage and the end mark are not waited for longer than this. */
const finishGraceMillis = 5_000
/** After the end mark the connection is read to its end so that it can be used again, but no longer than this. */
const drainMillis = 1_000
/** So much unread by a slow consumer, and the socket is not read further. */
const maxUnreadBytes = 262_144
const maxErrorBodyChars = 16_384

const speak =
  (dispatcher: Dispatcher): ModelKind =>
  (call) =>
    Stream.scoped(
      Stream.fromPull(
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => open(dispatcher, call)),
            (exchange) => Effect.sync(exchange.close)
          ),
          (exchange) => exchange.pull
        )
      )
    )

/** Registers `openai-chat`. Its connections are kept alive, and closed with the Layer. */
export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const kinds = yield* ModelKinds
    const agent = yield* Effect.acquireRelease(
      // Time limits are ours: one for silence, none for the whole.
      Effect.sync(() => new Agent({ pipelining: 1, allowH2: false, headersTimeout: 0, bodyTimeout: 0 })),
      (agent) => Effect.promise(() => agent.destroy())
    )
    yield* kinds.register("openai-chat", speak(agent))
  })
)

type Events = [ModelEvent, ...Array<ModelEvent>]
type Pull = Effect.Effect<Events, ModelError | Cause.Done>

/** One request under way. */
interface Exchange {
  readonly pull: Pull
  /** Ends it at once, whatever its state. */
  readonly close: () => void
}

/**
 * Sends the request. One long closure, because the driver's callbacks, the timer and the pull share one state, and an object
 * of it would only move every line.
 */
const open = (dispatcher: Dispatcher, call: ProviderCall): Exchange => {
  const { request, settings } = call
  const fail = (reason: Decoder.Reason): Pull => Effect.fail(new ModelError({ model: request.model, reason }))
  const endpoint = endpointOf(settings)
  if (endpoint === undefined) {
    const detail = "base_url is missing or not an http address"
    return { pull: fail(new ModelUnavailable({ detail })), close: () => {} }
  }
  const { body, options } = prepare(call, endpoint)
  const decoder = Decoder.make(options)

  let controller: Dispatcher.DispatchController | undefined
  let status = 0
  let retryAfterMillis: number | undefined
  let errorBody = ""
  let ready: Array<ModelEvent> = []
  let unreadBytes = 0
  let isPaused = false
  let isClosed = false
  /** Set once nothing more will be ready: how the stream ends. */
  let ending: Pull | undefined
  let waiting: ((pull: Pull) => void) | undefined

  const abort = () => {
    isClosed = true
    controller?.abort(new Error("closed"))
  }

  const next = (): Pull | undefined => {
    if (!isFilled(ready)) return ending
    const events = ready
    ready = []
    unreadBytes = 0
    return Effect.succeed(events)
  }

  const wake = () => {
    if (waiting === undefined) return
    const pull = next()
    if (pull === undefined) return
    const resume = waiting
    waiting = undefined
    resume(pull)
  }

  const settle = (reason: Decoder.Reason | undefined) => {
    if (ending !== undefined) return
    clearTimeout(timer)
    ending = reason === undefined ? Cause.done() : fail(reason)
    wake()
  }

  const deliver = (events: Array<ModelEvent>) => {
    if (ready.length === 0) ready = events
    else for (const event of events) ready.push(event)
  }

  /** No more bytes: because the answer ended, or because the connection broke. */
  const finish = (isCut: boolean) => {
    if (ending !== undefined) return
    if (status >= 400)
      return settle(
        Decoder.statusReason(status, Http.bodyDetail(errorBody, options.detail), retryAfterMillis)
      )
    deliver(decoder.finish(isCut))
    settle(decoder.failure())
  }

  const onSilence = () => {
    if (isPaused) return void timer.refresh()
    if (decoder.isFinished() || status >= 400) finish(true)
    else settle(new ModelStalled({ idleMillis: settings.idle_timeout_ms }))
    abort()
  }
  let timer = setTimeout(onSilence, settings.idle_timeout_ms)
  let isFinishing = false

  const onStatus = (code: number, headers: Http.Headers) => {
    status = code
    if (code >= 300 && code < 400) {
      settle(
        new ModelRejected({
          status: code,
          detail: "it redirects elsewhere; set base_url to the final address"
        })
      )
    } else if (Http.isCompressed(headers)) {
      settle(new ModelMalformed({ detail: "the answer is compressed although that was not asked for" }))
    }
    retryAfterMillis = code === 429 ? Http.retryAfter(headers) : undefined
    if (ending !== undefined) abort()
  }

  const onBytes = (bytes: Uint8Array) => {
    if (ending !== undefined) return
    timer.refresh()
    if (status >= 400) {
      errorBody += Buffer.from(bytes).toString("utf8")
      if (errorBody.length > maxErrorBodyChars) {
        finish(true)
        abort()
      }
      return
    }
    deliver(decoder.push(bytes))
    const reason = decoder.failure()
    if (reason !== undefined) {
      settle(reason)
      abort()
      return
    }
    if (decoder.isOver()) return settle(undefined)
    if (decoder.isFinished() && !isFinishing) {
      isFinishing = true
      clearTimeout(timer)
      timer = setTimeout(onSilence, Math.min(settings.idle_timeout_ms, finishGraceMillis))
    }
    unreadBytes += bytes.length
    if (waiting !== undefined) wake()
    else if (unreadBytes > maxUnreadBytes && !isPaused) {
      isPaused = true
      controller?.pause()
    }
  }

  const onError = (error: Error) => {
    isClosed = true
    if (ending !== undefined) return
    if (status === 0) settle(new ModelUnavailable({ detail: options.detail(Http.errorDetail(error)) }))
    else finish(true)
  }

  try {
    dispatcher.dispatch(
      { origin: endpoint.origin, path: endpoint.path, method: "POST", headers: endpoint.headers, body },
      {
        onRequestStart: (started) => {
          controller = started
          if (isClosed) abort()
        },
        onResponseStart: (_, code, headers) => {
          if (code >= 200) onStatus(code, headers)
        },
        onResponseData: (_, bytes) => onBytes(bytes),
        onResponseEnd: () => {
          isClosed = true
          finish(false)
        },
        onResponseError: (_, error) => onError(error)
      }
    )
  } catch (error) {
    // The driver refuses what cannot be sent, such as a key with a line break.
    onError(error instanceof Error ? error : new Error(String(error)))
  }

  /** The consumer is back: whatever there is to read, even if no event is ready, may come again. */
  const readOn = () => {
    if (!isPaused) return
    isPaused = false
    unreadBytes = 0
    timer.refresh()
    controller?.resume()
  }

  const pull: Pull = Effect.suspend(() => {
    readOn()
    return (
      next() ??
      Effect.callback<Events, ModelError | Cause.Done>((resume) => {
        waiting = resume
        return Effect.sync(() => {
          waiting = undefined
        })
      })
    )
  })

  const close = () => {
    clearTimeout(timer)
    if (isClosed) return
    if (!decoder.isOver()) return abort()
    setTimeout(() => {
      if (!isClosed) abort()
    }, drainMillis).unref()
  }

  return { pull, close }
}

interface Endpoint {
  readonly origin: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly key: string
  readonly usesNewLimit: boolean
}

const endpoints = new WeakMap<ProviderSettings, Endpoint>()

const endpointOf = (settings: ProviderSettings): Endpoint | undefined => {
  const known = endpoints.get(settings)
  if (known !== undefined) return known
  const base = settings.base_url ?? ""
  const url = URL.canParse(base) ? new URL(base) : undefined
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) return undefined
  const path = url.pathname.replace(/\/+$/, "")
  const key = settings.api_key === undefined ? "" : Redacted.value(settings.api_key).trim()
  const endpoint: Endpoint = {
    origin: url.origin,
    path: (path.endsWith("/chat/completions") ? path : `${path}/chat/completions`) + url.search,
    headers: {
      "content-type": "application/json",
      accept: "text/event-stream",
      "user-agent": "opencraw",
      ...(key === "" ? {} : { authorization: `Bearer ${key}` })
    },
    key,
    usesNewLimit: url.hostname === "api.openai.com"
  }
  endpoints.set(settings, endpoint)
  return endpoint
}

const prepare = (
  { model, request }: ProviderCall,
  endpoint: Endpoint
): { readonly body: string; readonly options: Decoder.DecoderOptions } => {
  const takenIds = new Set<string>()
  const shown = request.tools.map((tool) => tool.name)
  for (const message of request.messages) {
    if (message.role !== "assistant" || message.calls === undefined) continue
    for (const call of message.calls) {
      takenIds.add(call.id)
      shown.push(call.name)
    }
  }
  const names = toolNames(shown)
  const body = encodeRequest(model, request, names, endpoint.usesNewLimit)
  return {
    body,
    options: {
      toolName: names.fromWire,
      takenIds,
      // From the request, so that the same call gets the same id, and another step's call another.
      madeUpId: (position) =>
        `call_${createHash("sha256").update(body).digest("hex").slice(0, 16)}_${position}`,
      detail: (text) => Http.safeDetail(text, endpoint.key)
    }
  }
}

const isFilled = (events: Array<ModelEvent>): events is Events => events.length > 0
