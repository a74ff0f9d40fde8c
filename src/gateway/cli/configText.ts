/** The text of a first configuration file, from a few answers. Pure; whether it is right is for the reader of files to say. */

import { builtIn } from "#src/model/Models.ts"

export interface Answers {
  /** `provider/model`; undefined leaves it to the built-in demo. */
  readonly model: string | undefined
  readonly apiKey: string | undefined
  readonly apiKeyEnv: string | undefined
  readonly baseUrl: string | undefined
  readonly port: number | undefined
}

// TOML's basic strings are JSON's, but for two escapes that JSON does not use either.
const quoted = (text: string): string => JSON.stringify(text).replaceAll("\u007f", "\\u007f")

const bare = (key: string): string => (/^[A-Za-z0-9_-]+$/.test(key) ? key : quoted(key))

export const configText = ({ model, apiKey, apiKeyEnv, baseUrl, port }: Answers): string => {
  const provider = model?.split("/")[0] ?? ""
  const section = [
    // A provider that we do not know needs an address, and this is what most of them speak.
    ...(baseUrl === undefined || Object.hasOwn(builtIn, provider) ? [] : [`kind = "openai-chat"`]),
    ...(baseUrl === undefined ? [] : [`base_url = ${quoted(baseUrl)}`]),
    ...(apiKey === undefined ? [] : [`api_key = ${quoted(apiKey)}`]),
    ...(apiKeyEnv === undefined ? [] : [`api_key_env = ${quoted(apiKeyEnv)}`])
  ]
  return [
    "# Every key: opencraw config keys. After a change: opencraw config check.",
    "",
    "[general]",
    model === undefined
      ? '# model = "provider/model"       # without one, the built-in demo answers'
      : `model = ${quoted(model)}`,
    '# system_prompt = "..."          # what the agent is told first',
    '# workspace = "/srv/shared"      # what its file tools may read',
    ...(section.length === 0 ? [] : ["", `[providers.${bare(provider)}]`, ...section]),
    "",
    "[gateway]",
    port === undefined ? "# port = 3000" : `port = ${port}`,
    "",
    "# People write on webchat: the gateway's own page, and opencraw chat. It needs no setting.",
    ""
  ].join("\n")
}
