/**
 * What a run shows on its channel before it has ended: that somebody writes, blocks of the answer, or a message that grows.
 *
 * Owns: which of these a channel gets, and when a small block has waited long enough.
 * Does not own: cutting (`outbound/AnswerBlocks`), changing a message (`outbound/Draft`), nor what is committed (`RunDriver`).
 *
 * Its work is forked in the run's own fiber, so it ends with the run.
 */
import * as Effect from "effect/Effect"
import type { Channel } from "#src/channel/Channels.ts"
import type { Route } from "#src/domain/Inbound.ts"
import type { LogError } from "#src/horizons/MessageLog.ts"
import * as AnswerBlocks from "#src/outbound/AnswerBlocks.ts"
import type { Block } from "#src/outbound/blockChunker.ts"
import { chunk } from "#src/outbound/chunk.ts"
import * as Draft from "#src/outbound/Draft.ts"
import { streamModeOf, type StreamSettings, typingModeOf } from "#src/outbound/StreamSettings.ts"
import * as typing from "#src/outbound/typing.ts"

export interface LiveAnswer {
  /** Something happened that people may see as writing. */
  readonly sign: (sign: typing.Sign) => Effect.Effect<void>
  /** A piece of the step's text came; `soFar` is all of it. Blocks that leave with it are durable when this succeeds. */
  readonly wrote: (piece: string, soFar: string) => Effect.Effect<void, LogError>
  /** The step is over: the texts of it that are still to be sent; undefined when its answer is sent as a whole. */
  readonly rest: () => ReadonlyArray<string> | undefined
  /** Nothing is shown any more. Gives the channel's name of the message that the answer is to become. */
  readonly settle: Effect.Effect<string | undefined>
}

export interface LiveOptions {
  readonly channel: Channel | undefined
  readonly route: Route
  readonly settings: StreamSettings
  /** The message that an earlier attempt showed. */
  readonly draft: string | undefined
  /** False when a message may not be shown yet, since earlier ones are still on their way. */
  readonly mayShow: boolean
  /** Make what `take` gives durable and send it. What could not be stored is given back. */
  readonly send: (
    take: () => ReadonlyArray<Block>,
    giveBack: (blocks: ReadonlyArray<Block>) => void
  ) => Effect.Effect<void, LogError>
  /** Remember the message for a later attempt. */
  readonly keep: (draft: string) => Effect.Effect<void, LogError>
}

/** A block's text as it is sent: the whitespace around it says nothing between two messages. */
export const sent = ({ text }: Block): string => text.replace(/^\n+/, "").trimEnd()

/** undefined when the channel shows nothing of a run but its answer. */
export const make = (options: LiveOptions): LiveAnswer | undefined => {
  const { channel, route, settings } = options
  if (channel === undefined || channel.streams === true) return undefined
  const shows = typing.make(channel, route, typingModeOf(settings, channel.name), settings.typing_interval_ms)
  const mode = streamModeOf(settings, channel.name)
  if (mode === "off") return shows === undefined ? undefined : { ...nothing, sign: shows }
  const sign = shows ?? nothing.sign
  return mode === "preview" && channel.editing !== undefined
    ? { ...preview(options, channel.editing, channel.maxChars), sign }
    : { ...inBlocks(options, channel), sign }
}

const nothing: LiveAnswer = {
  sign: () => Effect.void,
  wrote: () => Effect.void,
  rest: () => undefined,
  settle: Effect.succeed(undefined)
}

const preview = (
  { route, settings, draft: ref, mayShow, keep }: LiveOptions,
  editing: Draft.DraftOptions["editing"],
  limit: number
): LiveAnswer => {
  const draft = Draft.make({
    editing,
    route,
    intervalMillis: settings.preview_interval_ms,
    head: (text) => chunk(text, { limit, mode: "markdown" })[0] ?? "",
    ref,
    onPosted: (posted) =>
      Effect.catch(keep(posted), (error) =>
        Effect.logWarning(
          "a growing message is not remembered; after a restart it stays as it is",
          error.message
        )
      )
  })
  return {
    ...nothing,
    wrote: (_, soFar) => (mayShow ? draft.show(soFar) : Effect.void),
    settle: draft.settle
  }
}

const inBlocks = ({ settings, send }: LiveOptions, channel: Channel): LiveAnswer => {
  const blocks = AnswerBlocks.make(AnswerBlocks.optionsOf(settings, channel))
  let pieces = 0
  let isWatched = false
  const release = send(blocks.release, blocks.giveBack)

  /** Lets a small block go when nothing has come behind it for a while. */
  const watch: Effect.Effect<void> = Effect.suspend(() => {
    const before = pieces
    return Effect.andThen(
      Effect.sleep(settings.coalesce_idle_ms),
      Effect.suspend(() => {
        if (!blocks.isHolding()) {
          isWatched = false
          return Effect.void
        }
        // A store that refuses for now is asked again, and the step's own unit holds it at the latest.
        return pieces === before ? Effect.andThen(Effect.ignore(release), watch) : watch
      })
    )
  })

  return {
    ...nothing,
    wrote: (piece) =>
      Effect.suspend(() => {
        pieces++
        return Effect.flatMap(
          send(() => blocks.write(piece), blocks.giveBack),
          () => {
            if (isWatched || !blocks.isHolding()) return Effect.void
            isWatched = true
            return Effect.asVoid(Effect.forkChild(watch))
          }
        )
      }),
    rest: () => blocks.finish().map(sent)
  }
}
