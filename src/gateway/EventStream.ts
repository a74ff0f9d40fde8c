/**
 * The port to a response that is written piece by piece (server-sent events).
 *
 * It exists because a piece of text per write through a stream of effects costs several times the write itself.
 */
import * as Context from "effect/Context"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"

export interface EventSink {
  /** Write, in order. Does nothing once the client is gone. */
  readonly write: (text: string) => void
  /** Bytes written that the client has not taken yet. */
  readonly buffered: () => number
  /** The answer is complete. */
  readonly end: () => void
}

export class EventStream extends Context.Service<
  EventStream,
  {
    /**
     * Begin a 200 response of type text/event-stream with these further headers. After it, the handler answers with an
     * empty response. When the client goes, the request's fiber is interrupted.
     */
    readonly open: (request: HttpServerRequest, headers: Readonly<Record<string, string>>) => EventSink
  }
>()("opencraw/gateway/EventStream") {}
