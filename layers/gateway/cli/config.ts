/** `opencraw config show|check|keys`: what is in force, whether it is right, and what there is to set. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Settings from "#layers/platform/Settings.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import { format } from "#src/setting/Problem.ts"
import { optionsOf, print, printJson, wrong } from "./terminal.ts"

/** What is shown in place of a secret. */
const hidden = "<set, not shown>"

const withoutSecrets = (value: unknown): unknown => {
  if (Redacted.isRedacted(value)) return hidden
  if (Array.isArray(value)) return value.map(withoutSecrets)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, withoutSecrets(child)]))
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** As it would stand in the file. */
const lines = (table: Readonly<Record<string, unknown>>, path: string): ReadonlyArray<string> => {
  const entries = Object.entries(table).filter(([, value]) => value !== undefined)
  const own = entries.filter(([, value]) => !isTable(value))
  const below = entries.flatMap(([key, value]) =>
    isTable(value) ? lines(value, path === "" ? key : `${path}.${key}`) : []
  )
  if (own.length === 0) return below
  const shown = own.map(([key, value]) =>
    value === hidden ? `${key} = "..."  # ${hidden}` : `${key} = ${JSON.stringify(value)}`
  )
  return [...(path === "" ? [] : [`[${path}]`]), ...shown, "", ...below]
}

const load = (given: Given) =>
  Settings.load(optionsOf(given)).pipe(
    Effect.mapError((error) => new CommandFailed({ code: exitCodes.config, message: error.message }))
  )

const noFile = "no file: defaults and the environment"

export const show = Effect.fn("cli.config.show")(function* (given: Given) {
  const { config, file } = yield* load(given)
  const shown = withoutSecrets(config)
  if (given.values.has("json")) printJson({ file, config: shown })
  else if (isTable(shown)) print(`# ${file ?? noFile}\n\n${lines(shown, "").join("\n")}`)
  return exitCodes.ok
})

export const check = Effect.fn("cli.config.check")(function* (given: Given) {
  const isJson = given.values.has("json")
  const found = yield* Effect.result(Settings.load(optionsOf(given)))
  if (found._tag === "Failure") {
    const { message, problems, file } = found.failure
    if (isJson) printJson({ ok: false, file, problems })
    else print(`${message}\n`)
    return exitCodes.config
  }
  const { file, warnings } = found.success
  if (isJson) printJson({ ok: true, file, warnings })
  else {
    for (const warning of warnings) print(`to look at: ${format(warning)}\n`)
    print(`The configuration can be used (${file ?? noFile}).\n`)
  }
  return exitCodes.ok
})

export const keys = Effect.fn("cli.config.keys")(function* (given: Given) {
  const { sections } = yield* Effect.promise(() => import("#src/ConfigKeys.ts"))
  const wanted = given.values.get("SECTION")?.replaceAll(/[[\]]/g, "").split(".")[0]
  const all = sections()
  const chosen = all.filter(({ name }) => wanted === undefined || name === wanted)
  if (chosen.length === 0) {
    return yield* wrong(`there is no section ${wanted}; there are ${all.map(({ name }) => name).join(", ")}`)
  }
  if (given.values.has("json")) {
    printJson({ sections: chosen })
    return exitCodes.ok
  }
  for (const { title, about, keys: rows } of chosen) {
    const cells = rows.map((row) => [
      `  ${row.key}`,
      row.default ?? (row.isRequired ? "(required)" : "-"),
      row.type.replaceAll("`", ""),
      row.about
    ])
    print(`${title}  ${about}\n${render.table(["  KEY", "DEFAULT", "TYPE", ""], cells)}\n`)
  }
  return exitCodes.ok
})
