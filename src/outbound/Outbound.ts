/**
 * The one way out: what was committed to the outbox reaches its channel.
 *
 * Owns: order per route, retry, uncertainty, dead letters and redelivery.
 * Does not own: cutting an answer into parts or committing it (`lane`), nor wire formats (channel adapters).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { DeliveryRow } from "#src/horizons/MessageLog.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"

export class Outbound extends Context.Service<
  Outbound,
  {
    /** Committed outbox rows are ready: send them, in order per route. Returns at once. */
    readonly wake: (rows: ReadonlyArray<DeliveryRow>) => Effect.Effect<void>
    /** The person's own client has the answer (transcript entry id). False when nothing waited for that. Idempotent. */
    readonly confirm: (session: SessionKey, entryId: string) => Effect.Effect<boolean>
    /** Rows of the session that were not confirmed yet, oldest first, none older than 7 days. */
    readonly waiting: (session: SessionKey) => Effect.Effect<ReadonlyArray<DeliveryRow>>
  }
>()("opencraw/outbound/Outbound") {}
