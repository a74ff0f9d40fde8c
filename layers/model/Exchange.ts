/**
 * One request to a provider over HTTP and its streamed answer, whatever the protocol.
 *
 * Owns: the connection, the idle timeout, what a status means, and that interruption closes the socket.
 * Does not own: addresses and the body's words (each kind), or reading the answer (`AnswerDecoder`).
 *
 * The driver's callbacks fill an array that the stream pulls: no fiber step and no Effect for a single token.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
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
import type { Decoder } from "./AnswerDecoder.ts"
import * as Http from "./providerHttp.ts"
import { CurrentRecorder, type Recorder } from "./Recorder.ts"

/** Once the model has said why it stopped, usage and the end mark are not waited for longer than this. */
const finishGraceMillis = 5_000
/** After the end mark the connection is read to its end so that it can be used again, but no longer than this. */
const drainMillis = 1_000
/** So much unread by a slow consumer, and the socket is not read further. */
const maxUnreadBytes = 262_144
const maxErrorBodyChars = 16_384

/** One call as its protocol words it. */
export interface Outgoing {
  readonly origin: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: string
  /** Reads the answer: made anew for each call. */
  readonly decoder: Decoder
  /** Removes secrets from a text of the provider and cuts it. */
  readonly detail: (text: string) => string
}

/** Words a call; `undefined` when the provider's address is none, a reason when the protocol has no words for it. */
export type Prepare = (call: ProviderCall) => Outgoing | Http.Reason | undefined

const speak =
  (dispatcher: Dispatcher, prepare: Prepare, recorder: Recorder | undefined): ModelKind =>
  (call) =>
    Stream.suspend(() => {
      let exchange: Exchange | undefined
      const pull = Effect.sync(() => (exchange = open(dispatcher, call, prepare, recorder)).pull)
      // `acquireRelease` would copy the whole context to close it.
      return Stream.ensuring(
        Stream.fromPull(pull),
        Effect.sync(() => exchange?.close())
      )
    })

/** Registers a kind that is spoken over HTTP. Its connections are kept alive, and closed with the Layer. */
export const layerKind = (kind: ProviderSettings["kind"], prepare: Prepare) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const kinds = yield* ModelKinds
      const recorder = yield* CurrentRecorder
      const agent = yield* Effect.acquireRelease(
        // Time limits are ours: one for silence, none for the whole.
        Effect.sync(() => new Agent({ pipelining: 1, allowH2: false, headersTimeout: 0, bodyTimeout: 0 })),
        (agent) => Effect.promise(() => agent.destroy())
      )
      yield* kinds.register(kind, speak(agent, prepare, recorder))
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
const open = (
  dispatcher: Dispatcher,
  call: ProviderCall,
  prepare: Prepare,
  recorder: Recorder | undefined
): Exchange => {
  const { request, settings } = call
  const fail = (reason: Http.Reason): Pull => Effect.fail(new ModelError({ model: request.model, reason }))
  const outgoing = prepare(call)
  if (outgoing === undefined) {
    const detail = "base_url is missing or not an http address"
    return { pull: fail(new ModelUnavailable({ detail })), close: () => {} }
  }
  if ("_tag" in outgoing) return { pull: fail(outgoing), close: () => {} }
  const { origin, path, headers, body, decoder } = outgoing
  const tape = recorder?.begin(call, outgoing)

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
  let isWaking = false

  const abort = () => {
    isClosed = true
    tape?.end("closed")
    controller?.abort(new Error("closed"))
  }

  const next = (): Pull | undefined => {
    if (!isFilled(ready)) return ending
    const events = ready
    ready = []
    unreadBytes = 0
    return Effect.succeed(events)
  }

  /** Once the driver has handed over all that it has read: so what came together is taken together. */
  const wake = () => {
    if (isWaking || waiting === undefined) return
    isWaking = true
    queueMicrotask(() => {
      isWaking = false
      const resume = waiting
      const pull = resume === undefined ? undefined : next()
      if (resume === undefined || pull === undefined) return
      waiting = undefined
      resume(pull)
    })
  }

  const settle = (reason: Http.Reason | undefined) => {
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
    if (status >= 400) return settle(Http.refusalReason(status, errorBody, outgoing.detail, retryAfterMillis))
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
    tape?.status(code, headers)
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
    retryAfterMillis = code >= 400 ? Http.retryAfter(headers) : undefined
    if (ending !== undefined) abort()
  }

  const onBytes = (bytes: Uint8Array) => {
    tape?.bytes(bytes)
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
    tape?.end("cut", outgoing.detail(Http.errorDetail(error)))
    if (ending !== undefined) return
    if (status === 0) settle(new ModelUnavailable({ detail: outgoing.detail(Http.errorDetail(error)) }))
    else finish(true)
  }

  try {
    dispatcher.dispatch(
      { origin, path, method: "POST", headers, body },
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
          tape?.end("ended")
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

const isFilled = (events: Array<ModelEvent>): events is Events => events.length > 0
