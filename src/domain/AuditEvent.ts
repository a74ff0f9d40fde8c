/**
 * Who did what to what, and when: the words of the audit log.
 *
 * Pure vocabulary. No event ever holds a secret: a key is named by its id, a credential by its name.
 */
import * as Schema from "effect/Schema"
import type { Tenant } from "./Tenant.ts"

export const actions = [
  "key.created",
  "key.revoked",
  "credential.set",
  "credential.deleted",
  "credential.rotated",
  "code.made",
  "signed_in",
  "auth.refused",
  "session.deleted",
  "lane.paused",
  "lane.resumed",
  "lanes.paused",
  "lanes.resumed",
  "config.written",
  "org.created",
  "project.created",
  "user.created",
  "user.role_set",
  "user.disabled",
  "user.enabled",
  "agent.set",
  "agent.deleted",
  "database.executed"
] as const
export const AuditAction = Schema.Literals(actions)
export type AuditAction = typeof AuditAction.Type

/** Facts of an event beside who and what: short, and no secret. */
export const AuditDetail = Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Finite]))
export type AuditDetail = typeof AuditDetail.Type

export interface AuditEvent {
  /** Given by whoever tells it: the same event told twice is there once. */
  readonly id: string
  readonly tenant: Tenant
  /** Ms since the epoch. */
  readonly at: number
  /** `operator`, `owner`, the id of a key, a sender in a chat, or `nobody`. */
  readonly actor: string
  readonly action: AuditAction
  /** What it was done to: an id, a name or a session key; empty for the gateway itself. */
  readonly subject: string
  readonly detail: AuditDetail
}
