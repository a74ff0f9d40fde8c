/**
 * How long a caller waits before it tries again. Pure: the random number and the far side's wish are given.
 *
 * Owns: the ladder, its limits, and that nobody is asked again before the time it named.
 */
export interface Backoff {
  /** Most calls, the first included. */
  readonly attempts: number
  readonly minDelayMs: number
  readonly maxDelayMs: number
  /** Share by which a delay may differ from the ladder's, 0 to 1. */
  readonly jitter: number
}

const standard: Backoff = { attempts: 3, minDelayMs: 300, maxDelayMs: 30_000, jitter: 0 }

/** Wishes made usable: at least one call, whole milliseconds, a longest delay that is not below the shortest. */
export const backoff = (wishes: Partial<Backoff> = {}): Backoff => {
  const minDelayMs = Math.round(limited(wishes.minDelayMs, standard.minDelayMs, 0, Infinity))
  const maxDelayMs = Math.round(limited(wishes.maxDelayMs, standard.maxDelayMs, 0, Infinity))
  return {
    attempts: Math.max(1, Math.round(limited(wishes.attempts, standard.attempts, 1, Infinity))),
    minDelayMs,
    maxDelayMs: Math.max(minDelayMs, maxDelayMs),
    jitter: limited(wishes.jitter, standard.jitter, 0, 1)
  }
}

const limited = (value: number | undefined, standing: number, least: number, most: number): number =>
  value === undefined || !Number.isFinite(value) ? standing : Math.min(Math.max(value, least), most)

/**
 * Milliseconds before the call behind failure number `failures` (from 1). `random` is in [0, 1). What the far side asked for
 * (`retryAfterMs`) is a floor that jitter only adds to, as far as the longest delay allows.
 */
export const delayOf = (
  { minDelayMs, maxDelayMs, jitter }: Backoff,
  failures: number,
  random: number,
  retryAfterMs?: number
): number => {
  const isAsked = retryAfterMs !== undefined && Number.isFinite(retryAfterMs)
  const base = Math.min(
    isAsked ? Math.max(retryAfterMs, minDelayMs) : minDelayMs * 2 ** (failures - 1),
    maxDelayMs
  )
  const spread = base * jitter
  const delay = isAsked ? Math.ceil(base + random * spread) : Math.round(base + (random * 2 - 1) * spread)
  return Math.min(Math.max(delay, minDelayMs), maxDelayMs)
}
