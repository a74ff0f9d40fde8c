/**
 * Names of durable things, and the one place that makes new ones.
 *
 * Owns: the branded id words and the port that issues fresh ids.
 * Does not own: randomness and time; the platform brings them (`layers/platform`).
 */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"

/** An accepted message (an inbox row). */
export const MessageId = Schema.String.pipe(Schema.brand("MessageId"))
export type MessageId = typeof MessageId.Type

/** One agent execution. Derived from the message that starts it, so a decision needs no randomness. */
export const RunId = Schema.String.pipe(Schema.brand("RunId"))
export type RunId = typeof RunId.Type

/** One outbox row. */
export const DeliveryId = Schema.String.pipe(Schema.brand("DeliveryId"))
export type DeliveryId = typeof DeliveryId.Type

/** A tool call that waits for a person's decision. */
export const ApprovalId = Schema.String.pipe(Schema.brand("ApprovalId"))
export type ApprovalId = typeof ApprovalId.Type

export const messageId = (value: string): MessageId => value as MessageId
export const runId = (value: string): RunId => value as RunId
export const deliveryId = (value: string): DeliveryId => value as DeliveryId
export const approvalId = (value: string): ApprovalId => value as ApprovalId

/** The run that a message starts. The same message always names the same run. */
export const runOf = (message: MessageId): RunId =>
  runId(`run_${message.startsWith("msg_") ? message.slice(4) : message}`)

export class Ids extends Context.Service<
  Ids,
  {
    /** A fresh id `prefix_…`: unique, and ordered by time of making within one process. */
    readonly next: (prefix: string) => string
    /** An unguessable secret of at least 128 bits, safe in a URL. */
    readonly secret: () => string
  }
>()("opencraw/domain/Ids") {}
