/**
 * What one answer held, as the Gemini API wants to see it again while the run goes on.
 *
 * A model that thinks signs parts of its answer, and goes on from its thoughts only when the signatures come back unchanged, each with
 * its part. They travel as the `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import { type CommonPart, WrittenStep } from "./stepParts.ts"

export type StepPart = (CommonPart | { readonly type: "thought"; readonly text: string }) & {
  readonly signature?: string
}

export class GoogleStep extends WrittenStep<StepPart> {}
