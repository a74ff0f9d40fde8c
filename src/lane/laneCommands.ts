/**
 * `/stop`, `/steer`, `/pause` and `/resume`: what people do to their session's lane in the chat.
 *
 * Does not own: what it does to the lane (`Lanes`); a text that is steered is a message (`inlineQueue`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Audit } from "#src/access/Audit.ts"
import * as Commands from "#src/command/Commands.ts"
import { nameOf } from "#src/domain/SessionKey.ts"
import type { LogError } from "#src/horizons/MessageLog.ts"
import { Lanes } from "./Lanes.ts"

export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const audit = yield* Audit
    const lanes = yield* Lanes
    const commands = yield* Commands.Commands
    const refusing = <A>(effect: Effect.Effect<A, LogError>): Effect.Effect<A, Commands.CommandError> =>
      Effect.mapError(
        effect,
        ({ message }) => new Commands.CommandError({ message: `Nothing was changed: ${message}.` })
      )

    yield* commands.register({
      name: "stop",
      aliases: ["abort"],
      about: "Cancel what waits here, then the answer that is being written",
      usage: "/stop",
      access: "member",
      run: (_, { session, sender }) => refusing(Effect.as(lanes.stop(session, sender), "Stopped."))
    })
    yield* commands.register({
      name: "steer",
      aliases: [],
      about: "Put a text into the answer that is being written, at its next step",
      usage: "/steer TEXT",
      access: "owner",
      run: () => Effect.succeed("Say what: /steer TEXT")
    })
    yield* commands.register({
      name: "pause",
      aliases: [],
      about: "Answer nothing here until /resume; messages are kept",
      usage: "/pause",
      access: "owner",
      run: (_, { tenant, session, sender }) =>
        audit
          .recorded(
            { tenant, actor: sender, action: "lane.paused", subject: nameOf(session) },
            refusing(lanes.pause(session))
          )
          .pipe(Effect.as("Paused: messages wait here until /resume."))
    })
    yield* commands.register({
      name: "resume",
      aliases: [],
      about: "Answer again, what waited first",
      usage: "/resume",
      access: "owner",
      run: (_, { tenant, session, sender }) =>
        audit
          .recorded(
            { tenant, actor: sender, action: "lane.resumed", subject: nameOf(session) },
            refusing(lanes.resume(session))
          )
          .pipe(
            Effect.map(() =>
              lanes.isPaused() ? "Resumed here, but the whole gateway is paused." : "Resumed."
            )
          )
    })
  })
)
