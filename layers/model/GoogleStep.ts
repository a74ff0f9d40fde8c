/**
 * What one answer held, as the Gemini API wants to see it again while the run goes on.
 *
 * A model that thinks signs parts of its answer, and goes on from its thoughts only when the signatures come back unchanged, each with
 * its part. They travel as the `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import type { ToolCall } from "#src/domain/Tool.ts"
import { type CommonPart, describes } from "./stepParts.ts"

export type StepPart = (CommonPart | { readonly type: "thought"; readonly text: string }) & {
  readonly signature?: string
}

export class GoogleStep {
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
