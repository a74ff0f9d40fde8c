/** `[stream]`: how answers reach people while they are written, on channels whose clients do not show text as it comes. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

/**
 * `blocks`: as several messages, each durable before it leaves. `preview`: as one message that grows, where the channel can change
 * what was sent; elsewhere as blocks.
 */
export const StreamMode = Schema.Literals(["off", "blocks", "preview"])
export type StreamMode = typeof StreamMode.Type

/** When people see that an answer is being written: never, as soon as its run begins, with the model's first sign of life, or with its first text. */
export const TypingMode = Schema.Literals(["never", "instant", "thinking", "message"])
export type TypingMode = typeof TypingMode.Type

export const StreamSettingsSchema = Schema.Struct({
  mode: withDefault(
    StreamMode,
    "off",
    "What people on chat channels get of an answer that is being written: nothing, blocks, or a message that grows (blocks where a channel cannot change messages)"
  ),
  by_channel: withDefault(
    Schema.Record(Schema.String, StreamMode),
    {},
    "The same for single channels, by name"
  ),
  min_chars: withDefault(wholeNumber(1), 800, "Characters a block has at least, the last one excepted"),
  max_chars: withDefault(
    wholeNumber(1),
    1200,
    "Characters a block has at most; never more than the channel can carry"
  ),
  prefer: withDefault(
    Schema.Literals(["paragraph", "newline", "sentence"]),
    "paragraph",
    "Where a block ends best; then at lines, sentences, words"
  ),
  tidy: withDefault(
    Schema.Boolean,
    true,
    "Part words, and lines of code, only where max_chars leaves no other choice"
  ),
  coalesce_chars: withDefault(
    wholeNumber(0),
    0,
    "Blocks of fewer characters wait for the next one and become one with it; 0 for none"
  ),
  coalesce_idle_ms: withDefault(
    wholeNumber(1),
    1000,
    "A waiting block leaves when nothing more came for so long, ms"
  ),
  human_delay: withDefault(
    Schema.Literals(["off", "natural", "custom"]),
    "off",
    "Pause between the messages of one answer: none, 800 to 2500 ms, or as set here"
  ),
  human_delay_min_ms: withDefault(wholeNumber(0), 800, "Shortest pause of a custom human_delay, ms"),
  human_delay_max_ms: withDefault(wholeNumber(0), 2500, "Longest pause of a custom human_delay, ms"),
  preview_interval_ms: withDefault(
    wholeNumber(100),
    1000,
    "A growing message is changed at most so often, ms"
  ),
  typing: withDefault(
    TypingMode,
    "instant",
    "When channels show that an answer is being written: never, as soon as its run begins, with the model's first sign of life, or with its first text"
  ),
  typing_by_channel: withDefault(
    Schema.Record(Schema.String, TypingMode),
    {},
    "The same for single channels, by name"
  ),
  typing_interval_ms: withDefault(wholeNumber(500), 6000, "How often that is shown again while it lasts, ms")
})
export type StreamSettings = typeof StreamSettingsSchema.Type

export class Streaming extends Context.Service<Streaming, Setting<StreamSettings>>()(
  "opencraw/outbound/StreamSettings/Streaming"
) {}

const own = <A>(byChannel: Readonly<Record<string, A>>, channel: string, otherwise: A): A =>
  Object.hasOwn(byChannel, channel) ? (byChannel[channel] ?? otherwise) : otherwise

export const streamModeOf = (settings: StreamSettings, channel: string): StreamMode =>
  own(settings.by_channel, channel, settings.mode)
export const typingModeOf = (settings: StreamSettings, channel: string): TypingMode =>
  own(settings.typing_by_channel, channel, settings.typing)

/** Shortest and longest pause between the messages of one answer, ms; undefined for none. */
export const humanDelayOf = (settings: StreamSettings): readonly [number, number] | undefined => {
  switch (settings.human_delay) {
    case "off":
      return undefined
    case "natural":
      return [800, 2500]
    case "custom": {
      const { human_delay_min_ms: least, human_delay_max_ms: most } = settings
      return [least, Math.max(least, most)]
    }
  }
}
