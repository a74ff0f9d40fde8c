/**
 * `node scripts/configDocs.ts`: writes `docs/configuration.md`, the inventory of keys and variables, from the Schemas.
 *
 * With `--check` it writes nothing, and exits 1 when the file is stale; a test runs that.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { variables } from "#src/Config.ts"
import { type ConfigKey, type ConfigSection, sections } from "#src/ConfigKeys.ts"
import { defaultMaxTokens } from "#layers/model/anthropicRequest.ts"
import { builtIn, otherVariables } from "#src/model/Models.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"

const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ")

const rowOf = ({ key, type, default: value, isRequired, about }: ConfigKey): string => {
  const standard = value === undefined ? (isRequired ? "required" : "") : `\`${value}\``
  return `| \`${key}\` | ${cell(type)} | ${cell(standard)} | ${cell(about)} |`
}

const header = ["| key | type | default | |", "|---|---|---|---|"]

const sectionOf = ({ name, title, about, keys }: ConfigSection): ReadonlyArray<string> => {
  const heading = [`## \`${title}\``, "", `${about}.`, ""]
  if (name === "general") return [...heading, "The keys are those of `[agents.NAME]`.", ""]
  return [...heading, ...header, ...keys.map(rowOf), ""]
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
  ...Object.entries(otherVariables).map(
    ([name, other]) => `| \`${other}\` | the same as \`${name}\`, where that is not set |`
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
    ...sections().flatMap(sectionOf),
    "## Providers that exist without a section",
    "",
    "A section of the same name changes them key by key, and need not say its kind. A key's variable goes with the address beside it:",
    "with another `base_url`, name the key yourself.",
    "",
    "| name | kind | base_url | key from |",
    "|---|---|---|---|",
    ...providerRows,
    "",
    "## Kinds of providers",
    "",
    "`openai-chat` is what most providers and local servers speak. Where they differ, the address tells whose habits are meant, or",
    "`dialect` does: how the output limit and a thinking level are named. Thoughts that a local server leaves in the text, between",
    "`<think>` and `</think>` at its beginning, are taken out.",
    "",
    "`openai-responses` is OpenAI's newer protocol. Nothing is kept at the provider: each call brings the whole conversation, and a",
    "model's reasoning goes back to it, encrypted, while a run goes on.",
    "",
    "`anthropic` is the Messages API; its address may end with `/v1` or not, or with `/messages`. An answer has at most",
    `${defaultMaxTokens} tokens unless the request says otherwise; what is thought comes on top. The provider's prompt cache is used: tools,`,
    "system text and the conversation so far are marked for it.",
    "",
    "`google` is the Gemini API; its address may end with its version or not. `models/` in front of a model's name is understood. What",
    "is thought counts towards the output limit. The provider keeps a prompt's beginning by itself.",
    "",
    "`replay` answers from `folder`, where `OPENCRAW_RECORD` had kept exchanges: see operations.md.",
    "",
    "| | `openai-chat` | `openai-responses` | `anthropic` | `google` |",
    "|---|---|---|---|---|",
    "| images | yes | yes | yes | all but GIF, which is told in words |",
    "| `thinking`, `reasoning_effort` | as the dialect says it; `off` asks for none | `reasoning.effort`; `off` asks for none | a budget of 2,048, 8,192 or 24,576 tokens up to Claude 4.5, later ones are told the effort; `off` asks for nothing | a budget of 2,048, 8,192 or 24,576 tokens for Gemini 2.5, later ones are told the level; `off` asks for the least that the model can |",
    "| `response_format` | passed on | passed on | `json_schema` only | passed on; beside tools only from Gemini 3 on |",
    "| `stop` | passed on | refused | passed on | passed on |",
    "| penalties other than 0 | passed on | refused | refused | passed on; Gemini 2.5 knows none |",
    "| `seed` | passed on | left out | left out | passed on |",
    "",
    "What is refused is 400 naming the key, over `/v1`, before anything is stored.",
    "",
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
