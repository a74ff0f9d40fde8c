/**
 * The channels people write on. Starts empty: an adapter registers its channel by a Layer.
 *
 * Owns: the registry, and what a channel promises to `outbound`.
 * Does not own: admission (`inbound`) or the order and retry of deliveries (`outbound`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { DeliveryId } from "#src/domain/Ids.ts"
import type { Route } from "#src/domain/Inbound.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"

/** A send did not happen, or may not have. */
export class SendError extends Schema.TaggedError<SendError>()("SendError", {
  channel: Schema.String,
  /** `permanent`: never will. `transient`: not sent, try again. `uncertain`: it may have been sent. */
  kind: Schema.Literals(["permanent", "transient", "uncertain"]),
  detail: Schema.String,
  retryAfterMillis: Schema.optionalKey(Schema.Number)
}) {
  override get message() {
    return `${this.channel}: ${this.detail}`
  }
}

/** One outbox row, on its way out. `id` is the idempotency key of a keyed channel. */
export interface Parcel {
  readonly id: DeliveryId
  readonly session: SessionKey
  readonly route: Route
  readonly text: string
}

/**
 * `keyed`: the far side drops a repeat by the parcel's id. `probe`: can be asked whether it arrived.
 * `blind`: neither, so a send begun without a receipt is uncertain.
 */
export type DeliveryKind = "keyed" | "probe" | "blind"

/** What a channel can do to a message that it has sent. */
export interface Editing {
  /** Send a text whose end is not known yet. Gives the far side's name for the message. */
  readonly post: (route: Route, text: string) => Effect.Effect<string, SendError>
  /** Make this the message's text. The same again changes nothing; `permanent` when there is no such message any more. */
  readonly change: (route: Route, ref: string, text: string) => Effect.Effect<void, SendError>
}

export interface Channel {
  readonly name: string
  readonly delivery: DeliveryKind
  /** Longest text of one message, UTF-16 units; 0 means no limit. */
  readonly maxChars: number
  /** True when its people see in their client that a message failed; otherwise they are told in words. */
  readonly showsOutcomes: boolean
  /** True when its people's clients confirm by themselves, and ask for what they missed when they come back. */
  readonly confirmsLater: boolean
  /** True when its people's clients show text as it comes, by themselves: then nothing is sent before the answer. */
  readonly streams?: boolean
  /**
   * Hand a parcel over. Succeeds with the far side's receipt, or with `undefined` when the receipt comes later
   * (the person's client confirms by itself).
   */
  readonly send: (parcel: Parcel) => Effect.Effect<string | undefined, SendError>
  /** Show for some seconds that an answer is being written. May fail; nothing depends on it. Absent where a channel cannot. */
  readonly typing?: (route: Route) => Effect.Effect<void, SendError>
  /** Present when messages can be changed after they were sent. */
  readonly editing?: Editing
  /** Its people are better served by fewer messages: blocks under this size are joined first. */
  readonly joinedChars?: number
}

export class Channels extends Context.Service<
  Channels,
  {
    readonly register: (channel: Channel) => Effect.Effect<void>
    readonly find: (name: string) => Channel | undefined
    readonly all: () => ReadonlyArray<Channel>
  }
>()("opencraw/channel/Channels") {}

export const layer = Layer.sync(Channels, () => {
  const byName = new Map<string, Channel>()
  return Channels.of({
    register: (channel) => Effect.sync(() => void byName.set(channel.name, channel)),
    find: (name) => byName.get(name),
    all: () => [...byName.values()]
  })
})
