/**
 * `opencraw what-if`: asks another model, or the same one under another system text, what was asked in a session, and shows both answers.
 *
 * Reads the session from the running gateway and calls the provider itself, without tools: it changes nothing and does nothing
 * twice. An answer that fails is told in its place, and the next turn is asked.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { eachPage } from "#layers/gateway/cli/sessions.ts"
import { numberOf, optionsOf, print, printJson, wrong } from "#layers/gateway/cli/terminal.ts"
import * as GatewayClient from "#layers/gateway/GatewayClient.ts"
import * as providers from "#layers/model/providers.ts"
import * as Settings from "#layers/platform/Settings.ts"
import type { AgentSettings } from "#src/agent/AgentSettings.ts"
import { agentOf, canonical } from "#src/domain/SessionKey.ts"
import type * as Api from "#src/gateway/apiSchemas.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as WhatIf from "#src/gateway/cli/whatIf.ts"
import { Model } from "#src/model/Model.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import * as Models from "#src/model/Models.ts"

const configFailed = (message: string) => new CommandFailed({ code: exitCodes.config, message })

interface Question {
  readonly model: string
  readonly system: string
  readonly agent: AgentSettings
}

/** Whom to ask, and under which system text. */
const questionOf = Effect.fnUntraced(function* (given: Given, loaded: Settings.LoadedConfig) {
  const { agents, providers: configured } = loaded.config
  const key = yield* Effect.fromResult(
    Result.mapError(canonical(given.values.get("KEY") ?? "", "main"), (error) => wrong(error.message))
  )
  const agent = agents[agentOf(key)]
  if (agent === undefined) return yield* wrong(`there is no agent ${agentOf(key)} in this configuration`)
  const model = given.values.get("model") ?? agent.model
  if (model === undefined) return yield* wrong("--model is needed: the agent has none of its own")
  const [problem] = Models.unusable(configured, [model])
  if (problem !== undefined) return yield* configFailed(problem.message)
  const provider = Models.settingsOf(configured, model)
  if (provider !== undefined && Models.isStored(provider)) {
    return yield* configFailed(
      `model "${model}": its key is a stored credential, which only the gateway reads: name another model, or a provider with api_key or api_key_env`
    )
  }
  return { model, system: given.values.get("system") ?? agent.system_prompt, agent } satisfies Question
})

const ask = Effect.fnUntraced(function* ({ model, system, agent }: Question, turn: WhatIf.Turn) {
  const began = performance.now()
  let text = ""
  let tokens: WhatIf.Answer["tokens"]
  const result = yield* (yield* Model)
    .stream({
      model,
      messages: WhatIf.promptOf(system, turn),
      tools: [],
      params: agent.thinking === undefined ? {} : { thinking: agent.thinking }
    })
    .pipe(
      Stream.runForEach((event) =>
        Effect.sync(() => {
          if (event._tag === "Text") text += event.text
          if (event._tag === "End" && event.usage !== undefined) {
            tokens = { input: event.usage.inputTokens, output: event.usage.outputTokens }
          }
        })
      ),
      Effect.result
    )
  return {
    text,
    ms: performance.now() - began,
    ...(tokens === undefined ? {} : { tokens }),
    ...(Result.isFailure(result) ? { failure: result.failure.reason.message } : {})
  } satisfies WhatIf.Answer
})

const defaultColumns = 120

export const whatIf = Effect.fn("whatIf")(function* (given: Given) {
  const { values } = given
  if (!values.has("model") && !values.has("system")) {
    return yield* wrong("say what is to be otherwise: --model PROVIDER/MODEL, --system TEXT, or both")
  }
  const last = yield* numberOf(given, "last", 1)
  const loaded = yield* Settings.load(optionsOf(given)).pipe(
    Effect.mapError((error) => configFailed(error.message))
  )
  const question = yield* questionOf(given, loaded)
  const client = yield* GatewayClient.connect(optionsOf(given))
  const messages: Array<typeof Api.TranscriptMessage.Type> = []
  yield* eachPage(client, values.get("KEY") ?? "", (page) => void messages.push(...page))
  const turns = WhatIf.turnsOf(messages).slice(last === undefined ? 0 : -last)
  const isJson = values.has("json")
  const found: Array<WhatIf.Answer & Pick<WhatIf.Turn, "asked" | "was">> = []
  yield* Effect.forEach(turns, (turn) =>
    Effect.map(ask(question, turn), (now) => {
      found.push({ asked: turn.asked, was: turn.was, ...now })
      if (isJson) return
      const names = { was: "was", now: `now: ${question.model}` }
      print(`${WhatIf.shown(turn, now, names, process.stdout.columns ?? defaultColumns)}\n`)
    })
  ).pipe(
    Effect.provide(
      Models.layer.pipe(
        Layer.provide(providers.layer),
        Layer.provide(ModelKinds.layer),
        Layer.provide(Settings.fromLoaded(loaded))
      )
    ),
    Effect.catchTags({
      RecordingFolderUnusable: (error) =>
        Effect.fail(new CommandFailed({ code: exitCodes.dataDir, message: error.message }))
    })
  )
  if (isJson) {
    const told = found.map(({ text, ...one }) => ({ ...one, now: text }))
    printJson({ model: question.model, system: question.system, turns: told })
  } else if (found.length === 0) print("Nothing in this session has been answered yet.\n")
  return found.length > 0 && found.every(({ failure }) => failure === undefined)
    ? exitCodes.ok
    : exitCodes.negative
})
