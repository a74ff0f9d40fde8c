/** `[models]`: what models are called, which may be used, what they can do, and how failures are met. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"
import type { Ladder } from "./cooldown.ts"

/** What a model can do. What is not said is taken to be there. */
export const ModelFactsSchema = Schema.Struct({
  context_tokens: Schema.optionalKey(wholeNumber(1)),
  tools: Schema.optionalKey(Schema.Boolean),
  images: Schema.optionalKey(Schema.Boolean)
})
export type ModelFacts = typeof ModelFactsSchema.Type

export const ModelsSettingsSchema = Schema.Struct({
  aliases: withDefault(
    Schema.Record(Schema.String, Schema.String),
    {},
    'Short names of models: fast = "openai/gpt-5-mini"'
  ),
  allow: withDefault(
    Schema.Array(Schema.String),
    [],
    "Models that /model and fallbacks may use: provider/model or provider/*; empty for all"
  ),
  known: withDefault(
    Schema.Record(Schema.String, ModelFactsSchema),
    {},
    "By provider/model, what it can do: context_tokens, tools = false, images = false. A model that lacks what a message needs is not asked"
  ),
  attempts: withDefault(
    wholeNumber(1),
    3,
    "Most calls of one model for one step while it fails in passing, before the next is tried"
  ),
  retry_min_ms: withDefault(
    wholeNumber(0),
    1000,
    "Time before the second call, doubled for each further one, ms"
  ),
  retry_max_ms: withDefault(
    wholeNumber(0),
    30_000,
    "Longest time between two calls, ms. A provider that asks for more is left to rest, and the next is tried"
  ),
  max_wait_s: withDefault(
    wholeNumber(0),
    60,
    "Longest wait for a resting model when no other is left, seconds; never beyond the run's own deadline"
  ),
  failure_window_h: withDefault(
    wholeNumber(1),
    24,
    "Failures are counted anew when the last is longer ago, hours"
  ),
  billing_backoff_h: withDefault(
    wholeNumber(1),
    5,
    "Rest of a credential whose account is out of money, hours; doubled each time"
  ),
  billing_max_h: withDefault(wholeNumber(1), 24, "Longest such rest, hours")
})
export type ModelsSettings = typeof ModelsSettingsSchema.Type

export class ModelRules extends Context.Service<ModelRules, Setting<ModelsSettings>>()(
  "opencraw/model/ModelSettings/ModelRules"
) {}

const hour = 3_600_000

export const ladderOf = (settings: ModelsSettings): Ladder => ({
  failureWindowMs: settings.failure_window_h * hour,
  billingBackoffMs: settings.billing_backoff_h * hour,
  billingMaxMs: settings.billing_max_h * hour
})
