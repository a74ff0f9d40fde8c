/** `[postgres]`: the database that prod keeps everything durable in. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { secret, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const PostgresSettingsSchema = Schema.Struct({
  url: Schema.optionalKey(secret("postgres.url")).annotate({
    description:
      "postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require; prod needs it, dev never uses it"
  }),
  schema: withDefault(
    Schema.String.check(Schema.isPattern(/^[a-z_][a-z0-9_]{0,62}$/)),
    "opencraw",
    "The schema its tables are in; made when it is missing"
  )
})
export type PostgresSettings = typeof PostgresSettingsSchema.Type

export class PostgresPlace extends Context.Service<PostgresPlace, Setting<PostgresSettings>>()(
  "opencraw/horizons/PostgresSettings/PostgresPlace"
) {}
