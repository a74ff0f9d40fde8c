/** `[project_db]`: a database for each project, which its agents and its people use by SQL. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { secret, wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const ProjectDbSettingsSchema = Schema.Struct({
  url: Schema.optionalKey(secret("project_db.url")).annotate({
    description:
      "postgres://USER:PASSWORD@HOST:PORT/DATABASE of a server that keeps a database for each project; its user needs CREATEDB and CREATEROLE. Better another server than that of postgres.url: projects share its room for locks. Without it prod has none; dev keeps a file for each project"
  }),
  prefix: withDefault(
    Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_]{0,19}$/)),
    "opencraw",
    "What the names of its databases and users on the server begin with: one for each installation"
  ),
  timeout_s: withDefault(
    wholeNumber(1),
    10,
    "Longest time of one query, or of what is executed at once, seconds"
  ),
  max_rows: withDefault(wholeNumber(1), 1000, "Most rows that one query gives"),
  max_mb: withDefault(wholeNumber(16), 256, "Most a project's database may hold, MB")
})
export type ProjectDbSettings = typeof ProjectDbSettingsSchema.Type

export class ProjectDbPlace extends Context.Service<ProjectDbPlace, Setting<ProjectDbSettings>>()(
  "opencraw/horizons/ProjectDbSettings/ProjectDbPlace"
) {}
