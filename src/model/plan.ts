/**
 * Which model and credential a run asks next.
 *
 * Owns: that each candidate is tried at most once, in which order, when a run waits and when it gives up. Pure: the clock, the
 * health of candidates and the random number are given.
 * Does not own: calling anybody (`Failover`), nor remembering health (`ModelHealth`).
 */
import { type Backoff, delayOf } from "#src/domain/Backoff.ts"
import { type FailoverReason, isTransient } from "./failure.ts"

/** One model with one credential. */
export interface Candidate {
  /** `provider/model`. */
  readonly model: string
  /** Undefined for the provider's own key. */
  readonly profile: string | undefined
}

/** What became of a candidate, for the operator's log and the words to the person. */
export interface Attempt extends Candidate {
  /** `resting`: it was not asked because it had failed before. */
  readonly kind: "failed" | "resting"
  readonly reason: FailoverReason
  /** Safe to log. */
  readonly detail: string
  /** In words that are safe in a chat. */
  readonly told: string
  readonly restsUntil?: number
}

export interface Plan {
  /** In the order of preference. */
  readonly candidates: ReadonlyArray<Candidate>
  /** Positions that are used up. */
  readonly spent: ReadonlySet<number>
  readonly attempts: ReadonlyArray<Attempt>
}

/** How a candidate is now. */
export interface Condition {
  /** It may not be asked before. */
  readonly restsUntil: number
  readonly reason: FailoverReason
  /** Its provider did not ask to be left alone: it may be asked when nobody else is left. */
  readonly isLastResort: boolean
}

export interface Limits {
  readonly now: number
  /** When the run ends in any case. */
  readonly deadlineAt: number
  readonly maxWaitMs: number
}

export type Next =
  | { readonly _tag: "Try"; readonly position: number }
  | { readonly _tag: "Wait"; readonly until: number }
  | { readonly _tag: "GiveUp" }

export const initial = (candidates: ReadonlyArray<Candidate>): Plan => ({
  candidates,
  spent: new Set(),
  attempts: []
})

/** `conditionOf` is undefined for a candidate that may be asked now. */
export const next = (
  { candidates, spent }: Plan,
  conditionOf: (candidate: Candidate) => Condition | undefined,
  { now, deadlineAt, maxWaitMs }: Limits
): Next => {
  let lastResort: number | undefined
  let soonest = Infinity
  for (const [position, candidate] of candidates.entries()) {
    if (spent.has(position)) continue
    const condition = conditionOf(candidate)
    if (condition === undefined || condition.restsUntil <= now) return { _tag: "Try", position }
    if (condition.isLastResort) lastResort ??= position
    soonest = Math.min(soonest, condition.restsUntil)
  }
  if (lastResort !== undefined) return { _tag: "Try", position: lastResort }
  return soonest - now <= maxWaitMs && soonest < deadlineAt
    ? { _tag: "Wait", until: soonest }
    : { _tag: "GiveUp" }
}

/** The candidate has failed for good: it is not asked again in this run. */
export const spend = (plan: Plan, position: number, attempt: Omit<Attempt, keyof Candidate>): Plan => ({
  ...plan,
  spent: new Set([...plan.spent, position]),
  attempts: [...plan.attempts, { ...plan.candidates[position]!, ...attempt }]
})

/** What a failed call means for the candidate. */
export type Verdict =
  /** Ask the same one again. */
  | { readonly _tag: "Retry"; readonly delayMs: number }
  /** Go on to the next. */
  | { readonly _tag: "Advance" }
  /** Nobody else would do better: the person is told. */
  | { readonly _tag: "Surface" }

export interface FailedCall {
  readonly reason: FailoverReason | undefined
  /** Calls of this candidate in this step, this one included. */
  readonly calls: number
  readonly retryAfterMs: number | undefined
  /** It has cost a whole silence: nobody should sit through another one. */
  readonly wasSilent: boolean
  /** The person has seen text of this step, which cannot be taken back. */
  readonly hasGiven: boolean
}

export const judge = (
  { reason, calls, retryAfterMs, wasSilent, hasGiven }: FailedCall,
  backoff: Backoff,
  random: number,
  { now, deadlineAt }: Pick<Limits, "now" | "deadlineAt">
): Verdict => {
  if (reason === undefined || hasGiven) return { _tag: "Surface" }
  if (!isTransient(reason) || wasSilent || calls >= backoff.attempts) return { _tag: "Advance" }
  if ((retryAfterMs ?? 0) > backoff.maxDelayMs) return { _tag: "Advance" }
  const delayMs = delayOf(backoff, calls, random, retryAfterMs)
  return now + delayMs < deadlineAt ? { _tag: "Retry", delayMs } : { _tag: "Advance" }
}
