/** The models as an operator sees them: who answers with which, and what is left alone after failures. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { type AgentSettings, Agents } from "#src/agent/AgentSettings.ts"
import { ModelHealth, type Resting } from "#src/model/ModelHealth.ts"
import { ModelRules } from "#src/model/ModelSettings.ts"
import { profilesOf, settingsOf } from "#src/model/Models.ts"
import { Providers } from "#src/model/ProviderSettings.ts"
import type * as Api from "./apiSchemas.ts"

type Agent = readonly [string, AgentSettings]

/** As the API tells it. */
export const restingOf = ({
  provider,
  model,
  profile,
  state,
  reason,
  until
}: Resting): typeof Api.Resting.Type => ({
  provider,
  ...(model === undefined ? {} : { model }),
  ...(profile === undefined ? {} : { profile }),
  state,
  reason,
  until: DateTime.formatIso(DateTime.makeUnsafe(until))
})

const named = (agents: ReadonlyArray<Agent>, names: (agent: AgentSettings) => boolean) =>
  agents.filter(([, agent]) => names(agent)).map(([name]) => name)

/** An effect that looks each time it runs. */
export const modelsNow = Effect.gen(function* () {
  const agents = yield* Agents
  const rules = yield* ModelRules
  const providers = yield* Providers
  const health = yield* ModelHealth

  const isAwake = (model: string, now: number): boolean => {
    const profiles = profilesOf(settingsOf(providers.get(), model) ?? { kind: "demo", idle_timeout_ms: 0 })
    const credentials = profiles.length === 0 ? [undefined] : profiles.map(({ name }) => name)
    return credentials.some((profile) => health.conditionOf({ model, profile }, now) === undefined)
  }

  return Effect.map(Clock.currentTimeMillis, (now) => {
    const all = Object.entries(agents.get())
    const { aliases } = rules.get()
    const names = new Set([
      ...all.flatMap(([, { model, fallbacks = [] }]) => [
        ...(model === undefined ? [] : [model]),
        ...fallbacks
      ]),
      ...Object.values(aliases)
    ])
    const models = [...names].map((model): typeof Api.Model.Type => ({
      model,
      first_of: named(all, (agent) => agent.model === model),
      fallback_of: named(all, ({ fallbacks = [] }) => fallbacks.includes(model)),
      aliases: Object.keys(aliases).filter((alias) => aliases[alias] === model),
      state: isAwake(model, now) ? "ready" : "resting"
    }))
    return { models, resting: health.resting(now).map(restingOf) }
  })
})
