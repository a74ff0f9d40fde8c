/**
 * What a session's replies say of their usage, and the `/usage` command.
 *
 * Owns: the modes that sessions keep, in memory (few keep any) and in step with the log.
 * Does not own: the sums (the log), prices (`model/catalogue`), nor the words (`usageText`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Commands from "#src/command/Commands.ts"
import { placeOf, type SessionKey } from "#src/domain/SessionKey.ts"
import { dayOf, type UsageMode } from "#src/domain/Usage.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { UsageRules } from "#src/model/UsageSettings.ts"
import { eachSession } from "./eachSession.ts"
import { sumLine } from "./usageText.ts"

export class SessionUsage extends Context.Service<
  SessionUsage,
  {
    /** What replies in this session on this channel say: as the session keeps it, else as the operator set it. */
    readonly modeOf: (session: SessionKey, channel: string) => UsageMode
    /** The session is deleted, and what it kept with it. */
    readonly forget: (session: SessionKey) => void
    /** Another node may have changed what sessions keep: it is read again. */
    readonly reload: Effect.Effect<void, MessageLog.LogError>
    /** The session was made with these settings, which the log has already. */
    readonly adopt: (session: SessionKey, settings: Readonly<Record<string, string>>) => void
  }
>()("opencraw/session/SessionUsage") {}

const name = "usage"
const usage = "/usage [off|tokens|full|reset|cost]"
const modes: ReadonlyArray<string> = ["off", "tokens", "full"] satisfies ReadonlyArray<UsageMode>
const isMode = (word: string): word is UsageMode => modes.includes(word)

const words: Readonly<Record<UsageMode, string>> = {
  off: "Replies say nothing of their usage",
  tokens: "Replies say their tokens",
  full: "Replies say their tokens and what they cost"
}

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const commands = yield* Commands.Commands
  const rules = yield* UsageRules
  let kept = new Map<SessionKey, UsageMode>()

  const reload = Effect.map(
    eachSession(log.tenants({ having: "settings" }), (page) => log.settings({ name, ...page })),
    (rows) => {
      kept = new Map(rows.flatMap(({ session, value }) => (isMode(value) ? [[session, value] as const] : [])))
    }
  )
  yield* reload

  const modeOf = (session: SessionKey, channel: string): UsageMode => {
    const { replies, replies_by_channel: byChannel } = rules.get()
    const ofChannel = Object.hasOwn(byChannel, channel) ? byChannel[channel] : undefined
    return kept.get(session) ?? ofChannel ?? replies
  }

  const keep = Effect.fnUntraced(function* (
    { session, route }: Commands.CommandContext,
    mode: UsageMode | undefined
  ) {
    const place = placeOf(session)
    const at = yield* Clock.currentTimeMillis
    yield* log.commit({ _tag: "KeepSetting", place, name, value: mode, at })
    if (mode === undefined) kept.delete(session)
    else kept.set(session, mode)
    const told = `${words[modeOf(session, route.channel)]}.`
    return mode === undefined ? `This session keeps no usage setting of its own. ${told}` : told
  })

  const cost = Effect.fnUntraced(function* ({ tenant, session }: Commands.CommandContext) {
    const today = dayOf(yield* Clock.currentTimeMillis)
    const sum = (query: { readonly session?: SessionKey; readonly fromDay?: number }) =>
      Effect.map(log.usage({ tenant, by: "total", limit: 1, ...query }), ([row]) => sumLine(row))
    return [
      `This session: ${yield* sum({ session })}`,
      `Everybody today (UTC): ${yield* sum({ fromDay: today })}`,
      `Everybody in the last 30 days: ${yield* sum({ fromDay: today - 29 })}`
    ].join("\n")
  })

  const run = Effect.fn("SessionUsage.run")(
    function* (rest: string, context: Commands.CommandContext) {
      const word = rest.trim().toLowerCase()
      if (word === "") return `${words[modeOf(context.session, context.route.channel)]}. Usage: ${usage}`
      if (word === "cost") return yield* cost(context)
      if (word === "reset" || isMode(word)) return yield* keep(context, isMode(word) ? word : undefined)
      return `Nothing was changed: that is none of off, tokens, full, reset and cost. Usage: ${usage}`
    },
    Effect.catchTags({
      LogError: ({ message }) =>
        Effect.fail(new Commands.CommandError({ message: `That did not work: ${message}.` }))
    })
  )

  yield* commands.register({
    name: "usage",
    aliases: [],
    about: "What replies say of tokens and money, and what was spent",
    usage,
    access: "owner",
    run
  })

  return SessionUsage.of({
    modeOf,
    forget: (session) => void kept.delete(session),
    reload,
    adopt: (session, { [name]: mode = "" }) => {
      if (isMode(mode)) kept.set(session, mode)
      else kept.delete(session)
    }
  })
})

export const layer = Layer.effect(SessionUsage, make)
