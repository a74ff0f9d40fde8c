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
  }),
  record: Schema.optionalKey(Schema.String).annotate({
    description:
      "Folder that every exchange with a provider is written to, prompts and answers included, keys not: for providers of kind replay"
  })
})
export type RuntimeSettings = typeof RuntimeSettingsSchema.Type

export class Runtime extends Context.Service<Runtime, Setting<RuntimeSettings>>()(
  "opencraw/setting/RuntimeSettings/Runtime"
) {}
