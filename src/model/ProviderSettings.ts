/** `[providers.<name>]`: who answers for `name/…` models. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { secret, wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

/** `[providers.<name>.profiles.<profile>]`: one credential of several. */
export const ProfileSettingsSchema = Schema.Struct({
  api_key: Schema.optionalKey(secret("api_key")),
  api_key_env: Schema.optionalKey(Schema.String),
  api_key_stored: Schema.optionalKey(Schema.String)
})
export type ProfileSettings = typeof ProfileSettingsSchema.Type

/** Servers that speak chat completions, each in its own way. */
export const Dialect = Schema.Literals(["openai", "openrouter", "groq", "ollama", "vllm", "llamacpp"])
export type Dialect = typeof Dialect.Type

export const ProviderSettingsSchema = Schema.Struct({
  kind: Schema.Literals([
    "openai-chat",
    "openai-responses",
    "anthropic",
    "google",
    "replay",
    "demo"
  ]).annotate({
    description: "The protocol it speaks"
  }),
  base_url: Schema.optionalKey(Schema.String).annotate({
    description: "Where it is reached, up to and without /chat/completions, /responses, /messages or /models"
  }),
  api_key: Schema.optionalKey(secret("api_key")).annotate({
    description: "Its key"
  }),
  api_key_env: Schema.optionalKey(Schema.String).annotate({
    description: "Name of the environment variable that holds its key"
  }),
  api_key_stored: Schema.optionalKey(Schema.String).annotate({
    description: "Name of the stored credential that is its key (opencraw credentials set NAME)"
  }),
  profiles: Schema.optionalKey(Schema.Record(Schema.String, ProfileSettingsSchema)).annotate({
    description:
      "Several credentials by name, each with api_key, api_key_env or api_key_stored. They take turns, instead of the provider's own key; a session keeps the one that answered it"
  }),
  profile_order: Schema.optionalKey(Schema.Array(Schema.String)).annotate({
    description:
      "Names of profiles in the order in which they are used, instead of turns; others are not used"
  }),
  dialect: Schema.optionalKey(Dialect).annotate({
    description:
      "Of kind openai-chat: whose habits it has. Without it, the address tells, else what all understand"
  }),
  images: Schema.optionalKey(Schema.Boolean).annotate({
    description: "false: its models read text only, and are told in words that an image was left out"
  }),
  folder: Schema.optionalKey(Schema.String).annotate({
    description: "Of kind replay: the folder with recorded exchanges (see OPENCRAW_RECORD)"
  }),
  idle_timeout_ms: withDefault(wholeNumber(100), 120_000, "Longest silence within an answer, ms")
})
export type ProviderSettings = typeof ProviderSettingsSchema.Type

/** All providers by name, keys resolved into `api_key`. */
export class Providers extends Context.Service<
  Providers,
  Setting<Readonly<Record<string, ProviderSettings>>>
>()("opencraw/model/ProviderSettings/Providers") {}
