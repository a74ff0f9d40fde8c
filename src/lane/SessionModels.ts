/**
 * The model that a session's people chose, and the `/model` command that sets it.
 *
 * Owns: the choices in memory (few sessions have one) and in step with the log, and which models a run wishes for.
 * Does not own: the command's words (`modelCommand`), nor what happens when a model fails (`model/Failover`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type AgentSettings, Agents } from "#src/agent/AgentSettings.ts"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import * as Commands from "#src/command/Commands.ts"
import { agentOf, placeOf, type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { chainOf, isAllowed } from "#src/model/modelRef.ts"
import { ModelRules } from "#src/model/ModelSettings.ts"
import { Providers } from "#src/model/ProviderSettings.ts"
import { eachSession } from "#src/session/eachSession.ts"
import { chooseModel, inlineModel, modelCommand, modelUsage } from "./modelCommand.ts"

/** What a run asks, in order. */
export interface Wish {
  readonly model: string
  readonly fallbacks: ReadonlyArray<string>
  /** A person chose it, for the session or for the message: then no other model answers. */
  readonly isChosen: boolean
  /** The choice is not allowed any more. */
  readonly isRefused: boolean
}

export class SessionModels extends Context.Service<
  SessionModels,
  {
    /** `perMessage`: what the message's sender chose for it alone. */
    readonly wishOf: (
      session: SessionKey,
      agent: AgentSettings & { readonly model: string },
      perMessage: string | undefined
    ) => Wish
    /** A `/model` in front of a text: the model it means for the agent of the session; undefined when it means none. */
    readonly inline: (text: string, session: SessionKey) => string | undefined
    /** The session is deleted, and its choice with it. */
    readonly forget: (session: SessionKey) => void
    /** Another node may have changed what sessions keep: it is read again. */
    readonly reload: Effect.Effect<void, MessageLog.LogError>
    /** The session was made with these settings, which the log has already. */
    readonly adopt: (session: SessionKey, settings: Readonly<Record<string, string>>) => void
  }
>()("opencraw/lane/SessionModels") {}

const name = "model"
const none: ReadonlyArray<string> = []

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const commands = yield* Commands.Commands
  const configured = yield* Agents
  const agents = yield* ProjectAgents
  const rules = yield* ModelRules
  const providers = yield* Providers
  let kept = new Map<SessionKey, string>()

  const reload = Effect.map(
    eachSession(log.tenants({ having: "settings" }), (page) => log.settings({ name, ...page })),
    (rows) => {
      kept = new Map(rows.map(({ session, value }) => [session, value]))
    }
  )
  yield* reload

  const settingsOf = (session: SessionKey) => agents.of(tenantOf(session))[agentOf(session)]

  const presentOf = (settings: AgentSettings | undefined, chosen?: string) => {
    const { model = "", fallbacks = none } = settings ?? {}
    return { model, fallbacks, chosen, rules: rules.get(), providers: providers.get() }
  }

  const inlineFor = (text: string, settings: AgentSettings | undefined): string | undefined => {
    const written = inlineModel(text)
    if (written === undefined) return undefined
    const choice = chooseModel(written.raw, presentOf(settings))
    // A guess would take the first word of a plain sentence for a model.
    return "model" in choice && !choice.isGuess ? choice.model : undefined
  }

  const run = Effect.fn("SessionModels.run")(
    function* (rest: string, { session }: Commands.CommandContext) {
      const before = kept.get(session)
      const { chosen, answer } = modelCommand(rest, presentOf(settingsOf(session), before))
      if (chosen !== before) {
        const at = yield* Clock.currentTimeMillis
        const place = placeOf(session)
        yield* log.commit({ _tag: "KeepSetting", place, name, value: chosen, at })
        if (chosen === undefined) kept.delete(session)
        else kept.set(session, chosen)
      }
      return answer
    },
    Effect.catchTags({
      LogError: ({ message }) =>
        Effect.fail(new Commands.CommandError({ message: `Nothing was changed: ${message}.` }))
    })
  )

  yield* commands.register({
    name: "model",
    aliases: [],
    about: "Which model answers in this session, or one message",
    usage: modelUsage,
    access: "owner",
    // Which agent is meant is not known here; a reference that none can use is told when the command runs.
    inline: (text) => {
      const written = inlineModel(text)
      const isOne = Object.values(configured.get()).some((agent) => inlineFor(text, agent) !== undefined)
      return isOne ? written?.text : undefined
    },
    run
  })

  return SessionModels.of({
    wishOf: (session, { model, fallbacks = none }, perMessage) => {
      const { allow } = rules.get()
      const chosen = perMessage ?? kept.get(session)
      if (chosen !== undefined) {
        const isRefused = chosen !== model && !isAllowed(chosen, allow)
        return { model: chosen, fallbacks: none, isChosen: true, isRefused }
      }
      const rest = fallbacks.length === 0 ? none : chainOf({ primary: model, fallbacks, allow }).slice(1)
      return { model, fallbacks: rest, isChosen: false, isRefused: false }
    },
    inline: (text, session) => inlineFor(text, settingsOf(session)),
    forget: (session) => void kept.delete(session),
    reload,
    adopt: (session, { [name]: chosen }) => {
      if (chosen === undefined) kept.delete(session)
      else kept.set(session, chosen)
    }
  })
})

export const layer = Layer.effect(SessionModels, make)
