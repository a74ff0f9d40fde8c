/** `[context]`: how much of a session's past a model call is given. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const ContextSettingsSchema = Schema.Struct({
  max_prompt_tokens: withDefault(wholeNumber(256), 32_000, "Most tokens of a prompt, by our estimate"),
  min_recent_messages: withDefault(
    wholeNumber(1),
    4,
    "Newest messages that are kept even when they exceed the budget"
  ),
  max_tool_chars: withDefault(wholeNumber(100), 16_000, "Most characters of one tool result in a prompt")
})
export type ContextSettings = typeof ContextSettingsSchema.Type

export class ContextWindow extends Context.Service<ContextWindow, Setting<ContextSettings>>()(
  "opencraw/context/ContextSettings/ContextWindow"
) {}
