/**
 * A session as people and agents read it.
 *
 * Owns: listing, reading and forgetting sessions, and the history a run is given.
 * Does not own: what is stored (`horizons`), nor how much of it a model sees (`context`).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { MessageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { EntryRow, LogError, MessageTrace, SessionRow } from "#src/horizons/MessageLog.ts"

/** One line of a conversation as a person reads it: no tool calls, no bookkeeping. */
export interface TranscriptMessage {
  readonly id: string
  readonly seq: number
  /** `system` is the gateway's own word, such as why there is no answer. */
  readonly role: "user" | "assistant" | "system"
  readonly content: string
  /** On a user's message: the id its client gave. */
  readonly clientId: string | undefined
  /** On an answer: the client ids it answers, newest last. */
  readonly answers: ReadonlyArray<string> | undefined
  /** Set when the text was cut off, and by what. */
  readonly partial: "interrupted" | "cancelled" | "failed" | undefined
  readonly createdAt: number
}

export class Sessions extends Context.Service<
  Sessions,
  {
    /** Listed sessions, latest first. */
    readonly list: (limit: number) => Effect.Effect<ReadonlyArray<SessionRow>, LogError>
    readonly find: (key: SessionKey) => Effect.Effect<SessionRow | undefined, LogError>
    /** The conversation by seq, oldest first, after `after`. `next` is where to go on, absent at the end. */
    readonly messages: (
      key: SessionKey,
      query: { readonly after?: number; readonly limit: number }
    ) => Effect.Effect<
      { readonly messages: ReadonlyArray<TranscriptMessage>; readonly next: number | undefined },
      LogError
    >
    readonly trace: (id: MessageId) => Effect.Effect<MessageTrace | undefined, LogError>
    /** What a run of this session is given, oldest first, at most `limit` entries. */
    readonly history: (key: SessionKey, limit: number) => Effect.Effect<ReadonlyArray<EntryRow>, LogError>
    /** Forget it; messages still open end as cancelled. False when there was none. Stop its lane first. */
    readonly remove: (key: SessionKey) => Effect.Effect<boolean, LogError>
  }
>()("opencraw/session/Sessions") {}
