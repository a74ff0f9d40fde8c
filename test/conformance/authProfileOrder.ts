/** Rows of `auth-profile-order`. Our profiles have one place; where a row has two that disagree, the adapter looks for it. */
import { type Health, healthy } from "#src/model/cooldown.ts"
import { orderProfiles, type Profile } from "#src/model/profiles.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "auth-profile-order"

interface Stored {
  readonly type: Profile["type"]
  readonly provider: string
  readonly key?: string
  readonly token?: string
  readonly access?: string
  readonly refresh?: string
  readonly expires?: number
}

interface Input {
  readonly provider?: string
  readonly preferred?: string
  readonly config?: {
    readonly auth?: {
      readonly order?: Readonly<Record<string, ReadonlyArray<string>>>
      readonly profiles?: Readonly<Record<string, { readonly provider: string; readonly mode: string }>>
    }
  }
  readonly store: {
    readonly profiles: Readonly<Record<string, Stored>>
    readonly order?: Readonly<Record<string, ReadonlyArray<string>>>
    readonly usageStats?: Readonly<
      Record<
        string,
        { readonly cooldownUntil?: number; readonly disabledUntil?: number; readonly lastUsed?: number }
      >
    >
  }
}

/** The rows' times are offsets from now. */
const now = 1_000_000_000_000

const secretOf = ({ type, key, token, access, refresh }: Stored): string | undefined =>
  type === "api_key" ? key : type === "token" ? token : access?.trim() ? access : refresh

export const run = async ({ input, expected }: Row<Input>) => {
  const provider = input.provider ?? "p1"
  const { profiles: written = {}, order: configured } = input.config?.auth ?? {}
  const isMeant = (name: string, { type, provider: own }: Stored) => {
    const wish = written[name]
    if (own !== provider || (wish !== undefined && wish.provider !== provider)) return false
    return wish === undefined || wish.mode === type || (wish.mode === "oauth" && type === "token")
  }
  const named = Object.keys(written).filter((name) => written[name]?.provider === provider)
  const order = input.store.order?.[provider] ?? configured?.[provider]
  const profiles = Object.entries(input.store.profiles)
    .filter(([name, stored]) => isMeant(name, stored))
    .filter(([name]) => order !== undefined || named.length === 0 || named.includes(name))
    .map(([name, stored]) => ({
      name,
      type: stored.type,
      hasSecret: (secretOf(stored) ?? "").trim() !== "",
      ...(stored.expires === undefined ? {} : { expiresAt: now + stored.expires })
    }))
  const healthOf = (name: string): Health => {
    const { cooldownUntil, disabledUntil, lastUsed } = input.store.usageStats?.[name] ?? {}
    return {
      ...healthy,
      ...(cooldownUntil === undefined ? {} : { cooldownUntil: now + cooldownUntil }),
      ...(disabledUntil === undefined ? {} : { disabledUntil: now + disabledUntil }),
      ...(lastUsed === undefined ? {} : { lastUsedAt: now + lastUsed })
    }
  }
  return compare(
    orderProfiles({
      profiles,
      healthOf,
      now,
      ...(order === undefined ? {} : { order }),
      ...(input.preferred === undefined ? {} : { preferred: input.preferred })
    }),
    expected
  )
}
