/**
 * A tool call that waits for a person's decision, and what became of it.
 *
 * Pure vocabulary. A decision is set once: the first one counts.
 */
import * as Schema from "effect/Schema"

/** `cancelled`: its run ended while it waited. */
export const ApprovalState = Schema.Literals(["pending", "approved", "denied", "expired", "cancelled"])
export type ApprovalState = typeof ApprovalState.Type

/** What ends the waiting and lets the run go on. */
export type Decision = "approved" | "denied" | "expired"

/** What a run that goes on is told: a call that has no result yet, and what was decided of it. */
export interface DecidedCall {
  readonly callId: string
  readonly decision: Decision
  /** The principal or sender who decided; absent when the time ran out. */
  readonly by: string | undefined
  /** An earlier attempt was told it already, so the call may have started. */
  readonly again: boolean
}
