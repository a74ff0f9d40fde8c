/**
 * What was done by whom: append-only.
 *
 * Owns: what an append promises and how events are read back.
 * Does not own: which acts are told (`access`, `gateway`), nor the events' words (`domain/AuditEvent`).
 *
 * In names (actors, subjects) a NUL and a lone surrogate become U+FFFD; details read back as written, lone surrogates excepted.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AuditAction, AuditEvent } from "#src/domain/AuditEvent.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { StoreBroken, StoreBusy, StoreFull } from "./MessageLog.ts"

export class AuditError extends Schema.TaggedError<AuditError>()("AuditError", {
  reason: Schema.Union([StoreFull, StoreBroken, StoreBusy])
}) {
  override get message() {
    return this.reason.message
  }
}

/** Where a page ended. */
export interface AuditCursor {
  readonly at: number
  readonly id: string
}

export interface AuditQuery {
  readonly tenant: Tenant
  readonly action?: AuditAction
  readonly actor?: string
  /** Ms since the epoch: from then on, and until before then. */
  readonly since?: number
  readonly until?: number
  /** Only events behind this one, as they are listed. */
  readonly before?: AuditCursor
  readonly limit: number
}

export class AuditLog extends Context.Service<
  AuditLog,
  {
    /** Durable when it succeeds, all or nothing. An event whose id is there already is left as it is. */
    readonly append: (events: ReadonlyArray<AuditEvent>) => Effect.Effect<void, AuditError>
    /** Newest first; of equal times the greater id first. */
    readonly list: (query: AuditQuery) => Effect.Effect<ReadonlyArray<AuditEvent>, AuditError>
  }
>()("opencraw/horizons/AuditLog") {}
