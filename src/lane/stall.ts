/**
 * Whether a run is too slow, by its progress. Pure.
 *
 * Owns: the classes and their thresholds. Arrivals do not count: only what the run itself says.
 * Does not own: looking (`Lanes`), nor giving a stuck run up (`decide`).
 */
import type { NoticeEntry } from "#src/domain/Entry.ts"
import type { StallSettings } from "./QueueSettings.ts"

/** `long`: it goes on, but for long. `stalled`: it has said nothing for a while. `stuck`: for so long that it is given up. */
export type StallClass = NonNullable<NoticeEntry["slow"]>

/** What was seen of a run when it was looked at last. */
export interface Pace {
  /** How much it had said. */
  readonly events: number
  /** Since when it has said nothing more, ms since the epoch. */
  readonly since: number
  readonly stall: StallClass | undefined
}

/** A run as it is now. */
export interface Seen {
  readonly events: number
  readonly beganAt: number
}

export const pace = (
  before: Pace | undefined,
  { events, beganAt }: Seen,
  now: number,
  settings: StallSettings
): Pace => {
  const since = before === undefined ? beganAt : before.events === events ? before.since : now
  return { events, since, stall: classOf(now - since, now - beganAt, settings) }
}

const classOf = (silent: number, running: number, settings: StallSettings): StallClass | undefined => {
  if (silent >= settings.stuck_s * 1000) return "stuck"
  if (silent >= settings.stalled_s * 1000) return "stalled"
  return running >= settings.long_s * 1000 ? "long" : undefined
}
