/** `[usage]`: what model calls cost, and what replies say of it. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { UsageMode } from "#src/domain/Usage.ts"
import { withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

const Rate = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

/** US dollars for a million tokens. */
export const PriceSchema = Schema.Struct({
  input: Rate,
  output: Rate,
  cached: Schema.optionalKey(Rate),
  written: Schema.optionalKey(Rate)
})

export const UsageSettingsSchema = Schema.Struct({
  replies: withDefault(
    UsageMode,
    "off",
    "What replies on chat channels say below their text: nothing, tokens, or tokens and money; /usage sets it for a session"
  ),
  replies_by_channel: withDefault(
    Schema.Record(Schema.String, UsageMode),
    {},
    "The same for single channels, by name"
  ),
  prices: withDefault(
    Schema.Record(Schema.String, PriceSchema),
    {},
    "By provider/model, US dollars for a million tokens: { input = 2.0, output = 10.0, cached = 0.2, written = 2.5 }. They go before the built-in ones; a model that neither knows has no price"
  )
})
export type UsageSettings = typeof UsageSettingsSchema.Type

export class UsageRules extends Context.Service<UsageRules, Setting<UsageSettings>>()(
  "opencraw/model/UsageSettings/UsageRules"
) {}
