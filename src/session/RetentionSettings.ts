/** `[retention]`: how long what was said and done is kept. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { withDefault, wholeNumber } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const RetentionSettingsSchema = Schema.Struct({
  days: Schema.optionalKey(wholeNumber(1)).annotate({
    description:
      "Forget a session, with all that was said in it, when nothing was for so many days; by default nothing is forgotten"
  }),
  deliveries_days: withDefault(
    wholeNumber(1),
    30,
    "Forget how an answer was sent, and its copy that was, so many days after; the answer itself stays with its session"
  ),
  journal_hours: withDefault(
    wholeNumber(0),
    24,
    "How long is kept what each session's lane decided, for `opencraw replay`, without what was said; 0 keeps nothing"
  )
})
export type RetentionSettings = typeof RetentionSettingsSchema.Type

export class Retention extends Context.Service<Retention, Setting<RetentionSettings>>()(
  "opencraw/session/RetentionSettings/Retention"
) {}
