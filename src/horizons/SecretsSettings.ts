/** `[secrets]`: what credentials are encrypted with. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { secret } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const SecretsSettingsSchema = Schema.Struct({
  key: Schema.optionalKey(secret("secrets.key")).annotate({
    description:
      "The key that stored credentials are encrypted with: 32 bytes in base64 or hex. Older keys behind it, with commas between, still open what they encrypted. Without it, dev makes one in the data directory and prod stores no credential"
  }),
  key_command: Schema.optionalKey(Schema.NonEmptyArray(Schema.String)).annotate({
    description:
      "A program and its arguments, run once at the start, which prints what secrets.key would say: the way to a KMS or a vault. No shell reads it"
  })
})
export type SecretsSettings = typeof SecretsSettingsSchema.Type

export class SecretsPlace extends Context.Service<SecretsPlace, Setting<SecretsSettings>>()(
  "opencraw/horizons/SecretsSettings/SecretsPlace"
) {}

const keyBytes = 32

/** Does it read as one key of 32 bytes? */
export const isKey = (text: string): boolean =>
  /^[0-9a-f]{64}$/i.test(text) ||
  (/^[\w+/-]+={0,2}$/.test(text) && Math.floor((text.replace(/=+$/, "").length * 6) / 8) === keyBytes)

/** The keys of the setting, the present one first. */
export const keysIn = (setting: string): ReadonlyArray<string> => setting.split(",").map((key) => key.trim())
