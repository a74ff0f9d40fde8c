/**
 * The port to the configuration's file, for the one change that the gateway makes to it: writing the first one.
 *
 * Does not own: what stands in it (`cli/configText`), nor reading it at the next start (`layers/platform/Settings`).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { format } from "#src/setting/Problem.ts"

/** Why nothing was written. */
export class ConfigFileError extends Schema.TaggedError<ConfigFileError>()("ConfigFileError", {
  /** `exists`: there is one, which was left alone. `unusable`: a gateway could not start with it. */
  reason: Schema.Literals(["exists", "unusable", "not_writable"]),
  file: Schema.String,
  /** For `unusable`, everything that is wrong. No value is repeated. */
  problems: Schema.Array(
    Schema.Struct({
      path: Schema.String,
      problem: Schema.String,
      hint: Schema.optionalKey(Schema.String)
    })
  ),
  /** For `not_writable`, what the system said, such as EACCES. */
  detail: Schema.String
}) {
  override get message() {
    switch (this.reason) {
      case "exists":
        return `${this.file} exists already. It was left alone`
      case "not_writable":
        return `${this.file} cannot be written (${this.detail})`
      case "unusable":
        return [
          `the configuration ${this.file} cannot be used:`,
          ...this.problems.map((one) => `  ${format(one)}`)
        ].join("\n")
    }
  }
}

/** `none`: started without a file, and there is none. `written`: there is one by now; it counts after a restart. */
export type ConfigFileState = "none" | "written" | "in_force"

export class ConfigFile extends Context.Service<
  ConfigFile,
  {
    readonly state: Effect.Effect<ConfigFileState>
    /**
     * Write the first file, for its owner only, where the next start looks for it. The text is checked as a start would check it,
     * and it must make the main agent use `model`. Never replaces a file. Gives its path.
     */
    readonly create: (text: string, model: string) => Effect.Effect<string, ConfigFileError>
  }
>()("opencraw/gateway/ConfigFile") {}
