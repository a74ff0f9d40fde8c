/**
 * What one answer held, as the Responses API wants to see it again while the run goes on.
 *
 * Nothing is kept at the provider, so a model's reasoning comes back encrypted and is sent again in its place. It travels as the
 * `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import type { ToolCall } from "#src/domain/Tool.ts"
import type { Json } from "./json.ts"
import { type CommonPart, describes } from "./stepParts.ts"

export type StepPart = { readonly type: "reasoning"; readonly item: Json } | CommonPart

export class ResponsesStep {
  readonly model: string
  readonly parts: ReadonlyArray<StepPart>

  constructor(model: string, parts: ReadonlyArray<StepPart>) {
    this.model = model
    this.parts = parts
  }

  /** Whether this is the step that the prompt shows to this model. */
  describes(model: string, text: string, calls: ReadonlyArray<ToolCall>): boolean {
    return this.model === model && describes(this.parts, text, calls)
  }
}
