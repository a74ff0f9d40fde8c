/**
 * How long what failed is left alone: a ladder that climbs with each failure and ends with the first success.
 *
 * Owns: the ladder's numbers and what a failure, a success and an operator do to it. Pure, the clock is given.
 * Does not own: what rests (`failure.reachOf`), nor keeping it (`ModelHealth`).
 */
import type { FailoverReason } from "./failure.ts"

/** What is remembered of a credential or a model. Times are ms since the epoch. */
export interface Health {
  /** Failures in a row. */
  readonly errorCount: number
  readonly counts: Readonly<Partial<Record<FailoverReason, number>>>
  readonly lastFailureAt?: number
  /** Of the newest failure. */
  readonly reason?: FailoverReason
  readonly cooldownUntil?: number
  /** Money is missing: longer than a cooldown, and only a success or its end lifts it. */
  readonly disabledUntil?: number
  readonly lastUsedAt?: number
}

export interface Ladder {
  /** Failures are counted anew when the last one is longer ago. */
  readonly failureWindowMs: number
  readonly billingBackoffMs: number
  readonly billingMaxMs: number
}

export const healthy: Health = { errorCount: 0, counts: {} }

const minute = 60_000
const hour = 60 * minute

export const standardLadder: Ladder = {
  failureWindowMs: 24 * hour,
  billingBackoffMs: 5 * hour,
  billingMaxMs: 24 * hour
}

/** After so many failures in a row: 1, 5, 25, then 60 minutes. */
export const cooldownMs = (errorCount: number): number =>
  Math.min(hour, minute * 5 ** (Math.max(1, Math.min(errorCount, 9)) - 1))

/** After so many failures for money: it doubles up to the longest. */
export const billingMs = (count: number, { billingBackoffMs, billingMaxMs }: Ladder): number => {
  const base = Math.max(minute, billingBackoffMs)
  return Math.min(Math.max(base, billingMaxMs), base * 2 ** (Math.max(1, Math.min(count, 20)) - 1))
}

/** `notBefore`: the time the provider itself named. */
export const failed = (
  health: Health,
  reason: FailoverReason,
  now: number,
  ladder: Ladder,
  notBefore = 0
): Health => {
  const isNew = health.lastFailureAt !== undefined && now - health.lastFailureAt > ladder.failureWindowMs
  const errorCount = (isNew ? 0 : health.errorCount) + 1
  const counts = isNew ? {} : health.counts
  const count = (counts[reason] ?? 0) + 1
  const next = { ...health, errorCount, counts: { ...counts, [reason]: count }, lastFailureAt: now, reason }
  return reason === "billing"
    ? { ...next, disabledUntil: now + billingMs(count, ladder) }
    : { ...next, cooldownUntil: Math.max(now + cooldownMs(errorCount), notBefore) }
}

export const succeeded = ({ lastUsedAt }: Health): Health =>
  lastUsedAt === undefined ? healthy : { ...healthy, lastUsedAt }

/** An operator's word that it may be tried again; a missing payment stays missing. */
export const cleared = ({ cooldownUntil: _cooldown, errorCount: _count, ...rest }: Health): Health => ({
  ...rest,
  errorCount: 0
})

/** When it may be used again; undefined when it never failed. */
export const unusableUntil = ({ cooldownUntil, disabledUntil }: Health): number | undefined =>
  cooldownUntil === undefined && disabledUntil === undefined
    ? undefined
    : Math.max(cooldownUntil ?? 0, disabledUntil ?? 0)

export const isUsable = (health: Health, now: number): boolean => now >= (unusableUntil(health) ?? 0)
