/** `[runtime]`: which composition runs, and where its data is. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import type { Setting } from "./Setting.ts"
import { withDefault } from "./schema.ts"

export const RuntimeSettingsSchema = Schema.Struct({
  mode: withDefault(
    Schema.Literals(["dev", "prod"]),
    "dev",
    "dev: embedded stores; prod: named ones, nothing falls back"
  ),
  data_dir: Schema.optionalKey(Schema.String).annotate({
    description: "Private folder for everything durable; by default ~/.opencraw"
  })
})
export type RuntimeSettings = typeof RuntimeSettingsSchema.Type

export class Runtime extends Context.Service<Runtime, Setting<RuntimeSettings>>()(
  "opencraw/setting/RuntimeSettings/Runtime"
) {}
