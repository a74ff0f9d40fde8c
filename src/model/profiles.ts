/**
 * In which order the credentials of one provider are used.
 *
 * Owns: the order and who is left out. Pure.
 */
import { type Health, isUsable, unusableUntil } from "./cooldown.ts"

/** A credential as far as the order looks at it. */
export interface Profile {
  readonly name: string
  readonly type: "oauth" | "token" | "api_key"
  /** False for an empty one, which is never used. */
  readonly hasSecret: boolean
  /** When a token ends, ms since the epoch. */
  readonly expiresAt?: number
}

export interface ProfileWishes {
  readonly profiles: ReadonlyArray<Profile>
  /** What the operator wrote; profiles that it does not name are not used. */
  readonly order?: ReadonlyArray<string>
  /** The session's own, for a warm prompt cache: it comes first. */
  readonly preferred?: string
  readonly healthOf: (name: string) => Health
  readonly now: number
}

const rank = { oauth: 0, token: 1, api_key: 2 } as const

/** Names, the first to be used first: those at rest last, the one that is back soonest before the others. */
export const orderProfiles = (wishes: ProfileWishes): ReadonlyArray<string> => {
  const { profiles, order, preferred, healthOf, now } = wishes
  const usable = profiles.filter((profile) => isValid(profile, now))
  const chosen =
    order === undefined
      ? usable
      : [...new Set(order)].flatMap((name) => usable.find((profile) => profile.name === name) ?? [])
  const awake = chosen.filter(({ name }) => isUsable(healthOf(name), now))
  const resting = chosen
    .filter((profile) => !awake.includes(profile))
    .toSorted((a, b) => (unusableUntil(healthOf(a.name)) ?? 0) - (unusableUntil(healthOf(b.name)) ?? 0))
  // Without an order of the operator they take turns: the one used longest ago comes next.
  const inTurn =
    order === undefined
      ? awake.toSorted(
          (a, b) =>
            rank[a.type] - rank[b.type] ||
            (healthOf(a.name).lastUsedAt ?? 0) - (healthOf(b.name).lastUsedAt ?? 0)
        )
      : awake
  const names = [...inTurn, ...resting].map(({ name }) => name)
  return preferred !== undefined && names.includes(preferred)
    ? [preferred, ...names.filter((name) => name !== preferred)]
    : names
}

const isValid = ({ type, hasSecret, expiresAt }: Profile, now: number): boolean =>
  hasSecret && !(type === "token" && expiresAt !== undefined && now >= expiresAt)
