/**
 * One item of a session's transcript, as it is stored: `{v, kind, ...}`.
 *
 * Owns: the entry kinds of every version, and the upcast to today's when one is read.
 * Does not own: seq, order or time; the log's row carries them (`horizons/MessageLog`).
 */
import * as Schema from "effect/Schema"
import { ImageNote } from "./Image.ts"
import { Failure } from "./Outcome.ts"
import { ToolCall, ToolStatus } from "./Tool.ts"

/** What a person wrote. `sender` is who, as the channel names them. */
export const UserEntry = Schema.Struct({
  v: Schema.Literal(1),
  kind: Schema.Literal("user"),
  text: Schema.String,
  sender: Schema.String,
  images: Schema.optionalKey(Schema.Array(ImageNote))
})

/**
 * What the model wrote in one step. With `calls` the step goes on; without, it is the run's answer.
 * `partial` marks text that was cut off and by what.
 */
export const AssistantEntry = Schema.Struct({
  v: Schema.Literal(1),
  kind: Schema.Literal("assistant"),
  text: Schema.String,
  calls: Schema.optionalKey(Schema.Array(ToolCall)),
  partial: Schema.optionalKey(Schema.Literals(["interrupted", "cancelled", "failed"]))
})

/** The one result of one call. */
export const ToolEntry = Schema.Struct({
  v: Schema.Literal(1),
  kind: Schema.Literal("tool"),
  callId: Schema.String,
  name: Schema.String,
  status: ToolStatus,
  text: Schema.String
})

/** What the gateway tells the model between what people wrote: the messages that gave way, by id and in short. */
export const NoteEntry = Schema.Struct({
  v: Schema.Literal(1),
  kind: Schema.Literal("note"),
  text: Schema.String,
  dropped: Schema.Array(Schema.String)
})

/**
 * The gateway's own word to a person, such as a command's answer. Never shown to the model. With `slow` it tells that the run was found
 * too slow: that stands in its timeline only.
 */
export const NoticeEntry = Schema.Struct({
  v: Schema.Literal(1),
  kind: Schema.Literal("notice"),
  text: Schema.String,
  slow: Schema.optionalKey(Schema.Literals(["long", "stalled", "stuck"]))
})

/** A run that ended without an answer. Shown to the person, never to the model. */
export const FailureEntry = Schema.Struct({
  v: Schema.Literal(1),
  kind: Schema.Literal("failure"),
  code: Failure.fields.code,
  text: Schema.String
})

/** An entry that this binary does not know: kept as it is, shown opaque, never sent to a model. */
export const OpaqueEntry = Schema.Struct({
  v: Schema.Number,
  kind: Schema.Literal("opaque"),
  was: Schema.String,
  raw: Schema.Unknown
})

export type UserEntry = typeof UserEntry.Type
export type AssistantEntry = typeof AssistantEntry.Type
export type ToolEntry = typeof ToolEntry.Type
export type NoteEntry = typeof NoteEntry.Type
export type NoticeEntry = typeof NoticeEntry.Type
export type FailureEntry = typeof FailureEntry.Type
export type OpaqueEntry = typeof OpaqueEntry.Type

/** What may be written today. */
export type NewEntry = UserEntry | AssistantEntry | ToolEntry | NoteEntry | NoticeEntry | FailureEntry
/** What may be read. */
export type Entry = NewEntry | OpaqueEntry

const kindsOfToday = new Set(["user", "assistant", "tool", "note", "notice", "failure"])

/**
 * What was stored as an entry of today's version. Never fails: what it does not know becomes opaque.
 * Only the version and the kind are looked at: this house wrote it, and a schema over each row of each history costs more
 * than reading it.
 */
export const upcast = (stored: unknown): Entry => {
  const record = typeof stored === "object" && stored !== null ? (stored as Record<string, unknown>) : {}
  if (record["v"] === 1 && kindsOfToday.has(record["kind"] as string)) return stored as NewEntry
  return {
    v: typeof record["v"] === "number" ? record["v"] : 0,
    kind: "opaque",
    was: typeof record["kind"] === "string" ? record["kind"] : "",
    raw: stored
  }
}
