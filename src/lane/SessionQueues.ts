/**
 * What sessions keep of their queue's settings, and the `/queue` command that sets it.
 *
 * Owns: the settings in memory (few sessions have any) and in step with the log.
 * Does not own: what they mean (`domain/Queue`) and the command's words (`queueCommand`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Commands from "#src/command/Commands.ts"
import { parseDirective, type QueueOverrides } from "#src/domain/Queue.ts"
import { placeOf, type SessionKey } from "#src/domain/SessionKey.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { eachSession } from "#src/session/eachSession.ts"
import { inlineQueue, queueCommand, queueUsage } from "./queueCommand.ts"
import { Queue, queueConfig } from "./QueueSettings.ts"

export class SessionQueues extends Context.Service<
  SessionQueues,
  {
    /** What the session keeps; empty for most. */
    readonly get: (session: SessionKey) => QueueOverrides
    /** The session was made with these settings, which the log has already. */
    readonly adopt: (session: SessionKey, overrides: QueueOverrides) => void
    /** The session is deleted, and what it kept with it. */
    readonly forget: (session: SessionKey) => void
    /** Another node may have changed what sessions keep: it is read again. */
    readonly reload: Effect.Effect<void, MessageLog.LogError>
  }
>()("opencraw/lane/SessionQueues") {}

const nothing: QueueOverrides = {}

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const commands = yield* Commands.Commands
  const queue = yield* Queue
  let kept = new Map<SessionKey, QueueOverrides>()

  const reload = Effect.map(
    eachSession(log.tenants({ having: "queues" }), (page) => log.queues({ ...page })),
    (rows) => {
      kept = new Map(rows.map(({ session, overrides }) => [session, overrides]))
    }
  )
  yield* reload

  const get = (session: SessionKey): QueueOverrides => kept.get(session) ?? nothing

  const adopt = (session: SessionKey, overrides: QueueOverrides) => {
    if (Object.keys(overrides).length === 0) kept.delete(session)
    else kept.set(session, overrides)
  }

  const run = Effect.fn("SessionQueues.run")(
    function* (rest: string, { session, route }: Commands.CommandContext) {
      const present = { config: queueConfig(queue.get()), channel: route.channel, stored: get(session) }
      const { overrides, changed, answer } = queueCommand(parseDirective(`/queue ${rest}`), present)
      if (changed) {
        const place = placeOf(session)
        yield* log.commit({ _tag: "KeepQueue", place, overrides, at: yield* Clock.currentTimeMillis })
        adopt(session, overrides)
      }
      return answer
    },
    Effect.catchTags({
      LogError: ({ message }) =>
        Effect.fail(new Commands.CommandError({ message: `Nothing was changed: ${message}.` }))
    })
  )

  yield* commands.register({
    name: "queue",
    aliases: [],
    about: "How this session takes messages that come while it is busy",
    usage: queueUsage,
    access: "owner",
    inline: (text) => inlineQueue(text)?.text,
    run
  })

  return SessionQueues.of({ get, adopt, forget: (session) => void kept.delete(session), reload })
})

export const layer = Layer.effect(SessionQueues, make)
