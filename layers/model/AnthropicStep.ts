/**
 * What one answer held besides text and calls, as the Messages API wants to see it again while the run goes on.
 *
 * A model that thinks before it calls tools signs its thoughts, and goes on from them only when they come back unchanged, in
 * their place. They travel as the `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import type { ToolCall } from "#src/domain/Tool.ts"

export type StepPart =
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | { readonly type: "text"; readonly text: string }
  /** A call, by the id under which it was given out. */
  | { readonly type: "call"; readonly id: string }

export class AnthropicStep {
  readonly model: string
  readonly parts: ReadonlyArray<StepPart>

  constructor(model: string, parts: ReadonlyArray<StepPart>) {
    this.model = model
    this.parts = parts
  }

  /** Whether this is the step that the prompt shows to this model: the same text and the same calls in the same order. */
  describes(model: string, text: string, calls: ReadonlyArray<ToolCall>): boolean {
    let said = ""
    const ids: Array<string> = []
    for (const part of this.parts) {
      if (part.type === "text") said += part.text
      else if (part.type === "call") ids.push(part.id)
    }
    return (
      this.model === model &&
      said === text &&
      ids.length === calls.length &&
      calls.every(({ id }, position) => id === ids[position])
    )
  }
}
