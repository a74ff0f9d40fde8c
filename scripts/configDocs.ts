/**
 * `node scripts/configDocs.ts`: writes `docs/configuration.md`, the inventory of keys and variables, from the Schemas.
 *
 * With `--check` it writes nothing, and exits 1 when the file is stale; a test runs that.
 */
import * as Result from "effect/Result"
import * as SchemaAST from "effect/SchemaAST"
import { readFileSync, writeFileSync } from "node:fs"
import { AgentSettingsSchema } from "#src/agent/AgentSettings.ts"
import { ConfigSchema, resolve, variables } from "#src/Config.ts"
import { ContextSettingsSchema } from "#src/context/ContextSettings.ts"
import { GatewaySettingsSchema } from "#src/gateway/GatewaySettings.ts"
import { QueueSettingsSchema } from "#src/lane/QueueSettings.ts"
import { builtIn } from "#src/model/Models.ts"
import { type ProviderSettings, ProviderSettingsSchema } from "#src/model/ProviderSettings.ts"
import { RuntimeSettingsSchema } from "#src/setting/RuntimeSettings.ts"

type Section = keyof typeof ConfigSchema.fields

interface Table {
  readonly title: string
  readonly ast: SchemaAST.AST
  readonly defaults: object
}

const { config } = Result.getOrThrow(resolve({}))
const agent: Table = {
  title: "[agents.NAME]",
  ast: AgentSettingsSchema.ast,
  defaults: { ...config.agents["main"], model: undefined }
}

// Every section of the Schema must stand here, or this does not compile.
const tables: Readonly<Record<Section, Table>> = {
  runtime: { title: "[runtime]", ast: RuntimeSettingsSchema.ast, defaults: config.runtime },
  general: { ...agent, title: "[general]" },
  agents: agent,
  providers: {
    title: "[providers.NAME]",
    ast: ProviderSettingsSchema.ast,
    defaults: { ...config.providers["demo"], kind: undefined }
  },
  gateway: { title: "[gateway]", ast: GatewaySettingsSchema.ast, defaults: config.gateway },
  queue: { title: "[queue]", ast: QueueSettingsSchema.ast, defaults: config.queue },
  context: { title: "[context]", ast: ContextSettingsSchema.ast, defaults: config.context }
}

const typeOf = (ast: SchemaAST.AST): string => {
  switch (ast._tag) {
    case "Literal":
      return `\`${String(ast.literal)}\``
    case "Union":
      return ast.types.map(typeOf).join(", ")
    case "Arrays":
      return `list of ${ast.rest.map(typeOf).join(", ")}`
    case "Declaration":
      return "secret text"
    case "String":
      return "text"
    case "Number":
      return numberOf(ast)
    default:
      return ast._tag.toLowerCase()
  }
}

const numberOf = (ast: SchemaAST.Number): string => {
  const limits = (ast.checks ?? []).map((check) => check.annotations?.["expected"])
  const range = limits
    .filter((one) => typeof one === "string" && one !== "an integer")
    .map((one) =>
      String(one)
        .replace(/^a value /, "")
        .replace("greater than or equal to", "at least")
    )
  return [limits.includes("an integer") ? "whole number" : "number", ...range].join(", ")
}

const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ")

const rowsOf = ({ ast, defaults }: Table): ReadonlyArray<string> => {
  if (ast._tag !== "Objects") throw new Error("a section is a table")
  return ast.propertySignatures.map(({ name, type }) => {
    const value: unknown = Reflect.get(defaults, name)
    const isRequired = value === undefined && !SchemaAST.isOptional(type)
    const standard = value === undefined ? (isRequired ? "required" : "") : `\`${JSON.stringify(value)}\``
    const description = SchemaAST.resolveDescription(type)
    if (description === undefined) throw new Error(`${String(name)} has no description`)
    return `| \`${String(name)}\` | ${cell(typeOf(type))} | ${cell(standard)} | ${cell(description)} |`
  })
}

const header = ["| key | type | default | |", "|---|---|---|---|"]

const sectionOf = (name: Section): ReadonlyArray<string> => {
  const table = tables[name]
  const about = SchemaAST.resolveDescription(ConfigSchema.fields[name].ast)
  const heading = [`## \`${table.title}\``, "", `${about}.`, ""]
  if (name === "general") return [...heading, "The keys are those of `[agents.NAME]`.", ""]
  return [...heading, ...header, ...rowsOf(table), ""]
}

const providerRows = Object.entries<ProviderSettings>(builtIn).map(
  ([name, { kind, base_url = "", api_key_env = "" }]) =>
    `| \`${name}\` | \`${kind}\` | ${base_url} | ${api_key_env === "" ? "" : `\`${api_key_env}\``} |`
)

const variableRows = [
  "| `OPENCRAW_CONFIG` | the configuration file |",
  ...Object.entries(variables).map(([name, path]) => `| \`${name}\` | \`${path}\` |`),
  ...Object.entries<ProviderSettings>(builtIn).flatMap(([name, { api_key_env }]) =>
    api_key_env === undefined
      ? []
      : [`| \`${api_key_env}\` | the key of provider \`${name}\`; selects no model |`]
  ),
  "| `OLLAMA_HOST` | the address of provider `ollama` |"
]

const render = (): string =>
  [
    "# Configuration",
    "",
    "Written by `node scripts/configDocs.ts` from the Schemas. Change those, not this.",
    "",
    "The file is TOML. Looked for, first found wins: `--config FILE`, the variable `OPENCRAW_CONFIG`, `./opencraw.toml`,",
    "`config.toml` in the data directory. Without any, the defaults count. Unknown keys and bad values are errors, all told at",
    "once. In any text `${NAME}` is the environment variable NAME, which must be set, and `$${NAME}` is the text `${NAME}`.",
    "",
    ...(Object.keys(tables) as ReadonlyArray<Section>).flatMap(sectionOf),
    "## Providers that exist without a section",
    "",
    "A section of the same name changes them key by key, and need not say its kind. A key's variable goes with the address beside it:",
    "with another `base_url`, name the key yourself.",
    "",
    "| name | kind | base_url | key from |",
    "|---|---|---|---|",
    ...providerRows,
    "",
    "## Environment variables",
    "",
    "They override the file. One that is empty counts as unset.",
    "",
    "| variable | sets |",
    "|---|---|",
    ...variableRows,
    ""
  ].join("\n")

const file = new URL("../docs/configuration.md", import.meta.url)
if (!process.argv.includes("--check")) writeFileSync(file, render())
else if (readFileSync(file, "utf8") !== render()) {
  console.error("docs/configuration.md is stale: run node scripts/configDocs.ts")
  process.exitCode = 1
}
