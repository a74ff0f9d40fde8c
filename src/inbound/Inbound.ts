/**
 * The one way in: admits a message, makes it durable, and wakes its lane.
 *
 * Owns: the promise that what is acknowledged is in the log exactly once, and that each refusal is typed.
 * Does not own: how it is answered (`lane`), nor who may write (`gateway` and the channels, until `access` comes).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { MessageId } from "#src/domain/Ids.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import type { Outcome } from "#src/domain/Outcome.ts"

/** The session's queue is full: nothing was stored; the sender may try again after `retryAfterMillis`. */
export class LaneFull extends Schema.TaggedError<LaneFull>()("LaneFull", {
  cap: Schema.Number,
  retryAfterMillis: Schema.Number
}) {
  override get message() {
    return `this session already has ${this.cap} messages waiting`
  }
}
/** The same message id came before with another text. */
export class IdReused extends Schema.TaggedError<IdReused>()("IdReused", { messageId: Schema.String }) {
  override get message() {
    return "this message id was used before for another text"
  }
}
/** The message cannot be taken as it is (empty, too long, no such agent). `param` names what is wrong. */
export class MessageRejected extends Schema.TaggedError<MessageRejected>()("MessageRejected", {
  param: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}
/** Not now: the store is full or broken, or the gateway is stopping. Nothing was acknowledged. */
export class NotAccepting extends Schema.TaggedError<NotAccepting>()("NotAccepting", {
  code: Schema.Literals(["store_full", "store_unavailable", "shutting_down"]),
  retryAfterMillis: Schema.Number
}) {
  override get message() {
    return this.code === "shutting_down" ? "the gateway is stopping" : "the message could not be stored"
  }
}
export type Refusal = LaneFull | IdReused | MessageRejected | NotAccepting

export interface Accepted {
  readonly messageId: MessageId
  /** Its place in the session's transcript. */
  readonly seq: number
  /** True when the very same message had been accepted before; `outcome` is what it has become by now. */
  readonly duplicate: boolean
  readonly outcome: Outcome | undefined
}

export class Inbound extends Context.Service<
  Inbound,
  {
    /** Take a message in. Durable when it succeeds; nothing is stored when it fails. Idempotent by identity and body. */
    readonly submit: (message: InboundMessage) => Effect.Effect<Accepted, Refusal>
    /** Take nothing in any more: every later `submit` fails with `NotAccepting`. For shutdown. */
    readonly stop: Effect.Effect<void>
  }
>()("opencraw/inbound/Inbound") {}
