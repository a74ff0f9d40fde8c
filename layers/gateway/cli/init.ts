/** `opencraw config init`: asks for what the flags do not say, and writes a file that is known to work. */
import { existsSync } from "node:fs"
import { basename, dirname, resolve } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Prompt from "effect/cli/Prompt"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Settings from "#layers/platform/Settings.ts"
import { ConfigFileError } from "#src/gateway/ConfigFile.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { type Answers, configText } from "#src/gateway/cli/configText.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import { builtIn, otherVariables, split } from "#src/model/Models.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import { startHint } from "../GatewayClient.ts"
import * as NodeConfigFile from "../NodeConfigFile.ts"
import { numberOf, print, printJson, readInput, wrong } from "./terminal.ts"

const providers: Readonly<Record<string, ProviderSettings>> = builtIn

const examples: Readonly<Record<string, string>> = {
  openai: "gpt-5",
  anthropic: "claude-sonnet-4-5",
  google: "gemini-3.8-flash",
  openrouter: "openai/gpt-5",
  ollama: "llama3.2"
}

const cancelled = new CommandFailed({ code: exitCodes.negative, message: "Nothing was written." })

/** Ask a person. Ctrl-C writes nothing. */
const ask = <A>(prompt: Prompt.Prompt<A>) =>
  Prompt.run(prompt).pipe(
    Effect.provide(NodeServices.layer),
    Effect.mapError(() => cancelled)
  )

const askModel = Effect.gen(function* () {
  const provider = yield* ask(
    Prompt.Select({
      message: "Which model provider?",
      choices: [
        { title: "openai", value: "openai" },
        { title: "anthropic", value: "anthropic" },
        { title: "google", value: "google" },
        { title: "openrouter", value: "openrouter" },
        { title: "ollama (on this machine)", value: "ollama" },
        { title: "another one that speaks the OpenAI protocol", value: "other" },
        { title: "none yet: the built-in demo", value: "demo" }
      ]
    })
  )
  if (provider === "demo") return { model: "demo/demo", baseUrl: undefined }
  const name =
    provider === "other"
      ? yield* ask(Prompt.String({ message: "A short name for it, such as mine", validate: mustBeName }))
      : provider
  const baseUrl =
    provider === "other"
      ? yield* ask(Prompt.String({ message: "Its address, up to and with /v1", validate: mustBeAddress }))
      : undefined
  const example = examples[provider]
  const model = yield* ask(
    Prompt.String({
      message: `Which model?${example === undefined ? "" : ` Such as ${example}`}`,
      validate: mustBeText
    })
  )
  return { model: `${name}/${model}`, baseUrl }
})

const mustBeText = (text: string) =>
  text.trim() === "" ? Effect.fail("it needs a name") : Effect.succeed(text.trim())

const mustBeName = (text: string) =>
  /^[A-Za-z0-9_-]+$/.test(text) ? Effect.succeed(text) : Effect.fail("letters, digits, _ and -")

const mustBeAddress = (text: string) =>
  URL.canParse(text) && /^https?:/.test(text) ? Effect.succeed(text) : Effect.fail("an http or https address")

/** The key itself, the variable that holds it, or neither where none is needed. */
const askKey = Effect.fnUntraced(function* (provider: string) {
  const variable = providers[provider]?.api_key_env
  if (provider === "ollama" || provider === "demo") return {}
  const isSet = variable !== undefined && (process.env[variable] ?? "") !== ""
  const how = yield* ask(
    Prompt.Select({
      message: "Its key?",
      choices: [
        ...(variable === undefined
          ? []
          : [
              {
                title: `from the environment variable ${variable}${isSet ? "" : " (not set here)"}`,
                value: "env"
              }
            ]),
        { title: "type it now; it is kept in the file", value: "key" },
        ...(variable === undefined ? [{ title: "it needs none", value: "none" }] : [])
      ]
    })
  )
  if (how === "none") return {}
  if (how === "env" && variable !== undefined) return { apiKeyEnv: variable }
  const key = yield* ask(Prompt.Password({ message: "Key" }))
  return { apiKey: Redacted.value(key).trim() }
})

const keyGiven = Effect.fnUntraced(function* ({ values }: Given) {
  const apiKey = values.get("api-key")
  const apiKeyEnv = values.get("api-key-env")
  if (apiKey !== undefined && apiKeyEnv !== undefined) {
    return yield* wrong("give --api-key or --api-key-env, not both")
  }
  if (apiKey !== "-") return { apiKey, apiKeyEnv }
  const read = (yield* readInput).trim()
  return read === "" ? yield* wrong("standard input holds no key") : { apiKey: read, apiKeyEnv: undefined }
})

const answersOf = Effect.fnUntraced(function* (given: Given) {
  const { values } = given
  const isAsking = process.stdin.isTTY && process.stdout.isTTY
  const port = yield* numberOf(given, "port", 0)
  const key = yield* keyGiven(given)
  const asked =
    values.has("model") || !isAsking
      ? { model: values.get("model"), baseUrl: values.get("base-url") }
      : yield* askModel
  const { model, baseUrl } = asked
  if (model !== undefined && split(model) === undefined) {
    return yield* wrong("--model must read provider/model, such as openai/gpt-5")
  }
  if (model === undefined && (key.apiKey ?? key.apiKeyEnv ?? baseUrl) !== undefined) {
    return yield* wrong("a key or an address needs --model PROVIDER/MODEL")
  }
  const provider = model === undefined ? "demo" : (split(model)?.provider ?? "")
  const mustAsk = isAsking && key.apiKey === undefined && key.apiKeyEnv === undefined
  const keyAsked = mustAsk ? yield* askKey(provider) : {}
  if (isAsking && !values.has("channel")) {
    yield* ask(
      Prompt.Select({
        message: "Where do people write first?",
        choices: [{ title: "webchat: the gateway's own page and this terminal", value: "webchat" }]
      })
    )
  }
  return { model, baseUrl, port, ...key, ...keyAsked } satisfies Answers
})

/** A variable that is not set here may well be set for the gateway: its absence is told, and no reason to refuse. */
const environment = (answers: Answers) => {
  const usual = providers[split(answers.model ?? "")?.provider ?? ""]?.api_key_env
  const variable = answers.apiKeyEnv ?? usual
  const other = answers.apiKeyEnv === undefined && usual !== undefined ? otherVariables[usual] : undefined
  const isSet = [variable, other].some((name) => name !== undefined && (process.env[name] ?? "") !== "")
  return answers.apiKey !== undefined || variable === undefined || isSet
    ? { env: process.env, missing: undefined }
    : { env: { ...process.env, [variable]: "set later" }, missing: variable }
}

const notWritten = (error: ConfigFileError) => {
  switch (error.reason) {
    case "exists":
      return new CommandFailed({
        code: exitCodes.dataDir,
        message: `${error.message}; --force replaces it, --file FILE writes another.`
      })
    case "not_writable":
      return new CommandFailed({ code: exitCodes.dataDir, message: `${error.message}.` })
    case "unusable":
      return new CommandFailed({ code: exitCodes.config, message: `${error.message}\nNothing was written.` })
  }
}

export const init = Effect.fn("cli.config.init")(function* (given: Given) {
  const target = resolve(given.values.get("file") ?? Settings.fileName)
  const isForced = given.values.has("force")
  if (!isForced && existsSync(target)) {
    return yield* notWritten(
      new ConfigFileError({ reason: "exists", file: target, problems: [], detail: "" })
    )
  }
  const answers = yield* answersOf(given)
  const { env, missing } = environment(answers)
  yield* NodeConfigFile.write({ text: configText(answers), target, env, isForced }).pipe(
    Effect.mapError(notWritten)
  )
  if (given.values.has("json")) {
    printJson({
      file: target,
      ...(missing === undefined ? {} : { missing_variable: missing })
    })
    return exitCodes.ok
  }
  print(`Written: ${target} (only you can read it)\n`)
  if (missing !== undefined) {
    print(`Before the gateway starts, set the environment variable ${missing}.\n`)
  }
  const isFound = basename(target) === Settings.fileName && dirname(target) === process.cwd()
  print(
    `Start: ${startHint}${isFound ? "" : `${startHint === "npm start" ? " --" : ""} --config ${target}`}\n`
  )
  return exitCodes.ok
})
