/**
 * What one answer held besides text and calls, as the Messages API wants to see it again while the run goes on.
 *
 * A model that thinks before it calls tools signs its thoughts, and goes on from them only when they come back unchanged, in
 * their place. They travel as the `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import { type CommonPart, WrittenStep } from "./stepParts.ts"

export type StepPart =
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | CommonPart

export class AnthropicStep extends WrittenStep<StepPart> {}
