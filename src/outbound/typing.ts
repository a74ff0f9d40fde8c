/**
 * Shows people that an answer is being written, for as long as it is.
 *
 * Owns: when it begins and that it is shown again, since channels forget it after some seconds.
 * Does not own: the end, which is that of the fiber it is forked in.
 */
import * as Effect from "effect/Effect"
import type { Channel } from "#src/channel/Channels.ts"
import type { Route } from "#src/domain/Inbound.ts"
import type { TypingMode } from "./StreamSettings.ts"

/** What has happened: the run began, the model gave a sign of life, there is text. */
export type Sign = "began" | "alive" | "text"

const awaited: Readonly<Record<TypingMode, Sign | undefined>> = {
  never: undefined,
  instant: "began",
  thinking: "alive",
  message: "text"
}
const rank: Readonly<Record<Sign, number>> = { began: 0, alive: 1, text: 2 }

/**
 * Tell it what happens: with the sign that the mode waits for it begins, in the caller's fiber. undefined when there is nothing to
 * show, ever. A channel that fails to show it is asked again the next time.
 */
export const make = (
  channel: Channel | undefined,
  route: Route,
  mode: TypingMode,
  intervalMillis: number
): ((sign: Sign) => Effect.Effect<void>) | undefined => {
  const show = channel?.typing
  const first = awaited[mode]
  if (show === undefined || first === undefined) return undefined
  let begun = false
  const again = Effect.forever(
    Effect.andThen(Effect.ignore(Effect.timeout(show(route), intervalMillis)), Effect.sleep(intervalMillis))
  )
  return (sign) =>
    Effect.suspend(() => {
      if (begun || rank[sign] < rank[first]) return Effect.void
      begun = true
      return Effect.asVoid(Effect.forkChild(again))
    })
}
