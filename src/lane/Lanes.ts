/**
 * The lanes: one actor per session that keeps order and drives its runs.
 *
 * Owns: the interpreter of `decide`, and the promise that each accepted message ends with exactly one outcome.
 * Does not own: what a lane decides (`decide`), how an answer is thought of (`agent`) or sent (`outbound`).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { MessageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"

export interface LaneInfo {
  readonly session: SessionKey
  readonly phase: "idle" | "running" | "parked" | "waiting"
  /** Messages waiting in memory. */
  readonly depth: number
  /** Runs that were told to stop and have not. */
  readonly fenced: number
}

export class Lanes extends Context.Service<
  Lanes,
  {
    /** The one door: an accepted message goes to its lane. Returns at once. */
    readonly send: (key: SessionKey, message: MessageRow) => Effect.Effect<void>
    /** Cancel the waiting messages, then the run. Returns the messages it reached. */
    readonly stop: (key: SessionKey, by: string) => Effect.Effect<ReadonlyArray<MessageId>>
    /** Cancel one message: a waiting one leaves the queue, a running one's run is interrupted. False when it has ended. */
    readonly cancel: (key: SessionKey, message: MessageId, by: string) => Effect.Effect<boolean>
    readonly list: Effect.Effect<ReadonlyArray<LaneInfo>>
    /** Start no run any more, wait for the running ones up to `graceMillis`, then leave the rest for the next start. */
    readonly drain: (graceMillis: number) => Effect.Effect<void>
  }
>()("opencraw/lane/Lanes") {}
