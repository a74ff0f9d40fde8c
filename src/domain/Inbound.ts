/**
 * A message on its way in: what a channel hands over to be accepted.
 *
 * Pure vocabulary. Knows nothing of wire formats, storage or models.
 */
import * as Schema from "effect/Schema"
import { AssistantEntry, UserEntry } from "./Entry.ts"
import { QueueMode } from "./Queue.ts"
import type { SessionKey } from "./SessionKey.ts"

/** How much a sender may do; only messages of equal access are ever joined. */
export const Access = Schema.Literals(["owner", "member", "guest"])
export type Access = typeof Access.Type

/** Where a message came from and where its answer goes. */
export const Route = Schema.Struct({
  channel: Schema.String,
  account: Schema.String,
  conversation: Schema.String,
  thread: Schema.String
})
export type Route = typeof Route.Type

/**
 * What makes a message the same message when a channel redelivers it: unique per tenant.
 * `revision` rises with each edit.
 */
export interface Identity extends Route {
  readonly externalId: string
  readonly revision: number
}

/** Sampling wishes of the caller, passed on to the model as they are. */
export const ModelParams = Schema.Struct({
  temperature: Schema.optionalKey(Schema.Number),
  topP: Schema.optionalKey(Schema.Number),
  maxOutputTokens: Schema.optionalKey(Schema.Number),
  stop: Schema.optionalKey(Schema.Array(Schema.String)),
  seed: Schema.optionalKey(Schema.Number),
  presencePenalty: Schema.optionalKey(Schema.Number),
  frequencyPenalty: Schema.optionalKey(Schema.Number)
})
export type ModelParams = typeof ModelParams.Type

/** How long a part waits for its sender's next one, and when a batch of parts is full. */
export const PartsWindow = Schema.Struct({
  /** Quiet time after a part, ms; 0 lets every message through at once. */
  waitMs: Schema.Number,
  /** Longest time of a batch's first part, ms. */
  maxWaitMs: Schema.Number,
  maxParts: Schema.Number,
  /** Of the joined text, UTF-16 units. */
  maxChars: Schema.Number
})
export type PartsWindow = typeof PartsWindow.Type

/** What the message says and what else its sender asked for. Stored with it as one JSON value. */
export const MessageBody = Schema.Struct({
  text: Schema.String,
  /** The client's own system text: appended to the agent's, never replacing it. */
  system: Schema.optionalKey(Schema.String),
  params: Schema.optionalKey(ModelParams),
  /** `provider/model` that its sender chose for this message. */
  model: Schema.optionalKey(Schema.String),
  /** How the session's lane takes it, as settled when it was accepted. Not part of what makes it the same message. */
  queue: Schema.optionalKey(
    Schema.Struct({
      mode: QueueMode,
      /** Quiet time before a busy lane drains in collect mode, ms. */ debounceMs: Schema.Number,
      /** Present when it waits for its sender's next part: what was read back from the log is joined by the same rule. */
      parts: Schema.optionalKey(PartsWindow)
    })
  ),
  /** It is a command: answered by the gateway at once, never by a model. */
  command: Schema.optionalKey(Schema.Boolean),
  /** An ephemeral session's history, as the caller sent it, oldest first. */
  prior: Schema.optionalKey(Schema.Array(Schema.Union([UserEntry, AssistantEntry])))
})
export type MessageBody = typeof MessageBody.Type

export interface InboundMessage {
  readonly identity: Identity
  readonly session: SessionKey
  /** Unlisted, and purged after a day: a request that brought its own history. */
  readonly ephemeral: boolean
  readonly sender: string
  readonly access: Access
  readonly body: MessageBody
  /** The channel's own position, committed with the message, for channels that do not redeliver. */
  readonly cursor?: string
}
