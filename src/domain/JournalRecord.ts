/**
 * One decision of a lane, as its journal keeps it: what happened, and what was to be done about it.
 *
 * Pure vocabulary. Nothing that people wrote is in it. Knows nothing of how a lane decides.
 */
import * as Schema from "effect/Schema"

/** An event or a command: `_tag`, and what it carries. */
export const Kept = Schema.StructWithRest(Schema.Struct({ _tag: Schema.String }), [
  Schema.Record(Schema.String, Schema.Unknown)
])
export type Kept = typeof Kept.Type

export const JournalRecord = Schema.Struct({
  /** Which spell of the lane: from rest to rest. */
  spell: Schema.String,
  /** Its place in the spell, from 0. */
  n: Schema.Int,
  /** Ms since the epoch. */
  at: Schema.Finite,
  /** On a spell's first: the form of its records, and how many messages the lane holds in memory. */
  v: Schema.optionalKey(Schema.Int),
  buffer: Schema.optionalKey(Schema.Int),
  event: Kept,
  commands: Schema.Array(Kept),
  /** The lane has nothing left to do. */
  rests: Schema.optionalKey(Schema.Boolean)
}).annotate({ identifier: "JournalRecord" })
export type JournalRecord = typeof JournalRecord.Type
