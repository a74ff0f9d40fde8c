/**
 * What a model is told about a tool, what it asks for, and what it gets back.
 *
 * Pure vocabulary: shared by `model` (shows specs), `tool` (runs calls) and `agent` (joins them).
 */
import * as Schema from "effect/Schema"

/**
 * What running a tool twice does: `none` changes nothing outside, `idempotent` may be repeated,
 * `once` must never be repeated, so recovery reports an interrupted call as uncertain instead.
 */
export const Effects = Schema.Literals(["none", "idempotent", "once"])
export type Effects = typeof Effects.Type

/** What the model is shown. `parameters` is a JSON Schema object. */
export interface ToolSpec {
  readonly name: string
  readonly description: string
  readonly parameters: Readonly<Record<string, unknown>>
}

/** A call as the model wrote it. `arguments` is raw JSON text: it may be malformed. */
export const ToolCall = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  arguments: Schema.String
})
export type ToolCall = typeof ToolCall.Type

/** How a call ended. Every call of a transcript has exactly one result. */
export const ToolStatus = Schema.Literals([
  "ok",
  "error",
  "unknown_tool",
  "malformed_arguments",
  "timeout",
  "interrupted",
  "skipped",
  "denied",
  "uncertain"
])
export type ToolStatus = typeof ToolStatus.Type

export const ToolResult = Schema.Struct({
  callId: Schema.String,
  name: Schema.String,
  status: ToolStatus,
  text: Schema.String
})
export type ToolResult = typeof ToolResult.Type
