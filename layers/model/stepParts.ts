/** Whether a step as its provider wrote it is the one that a prompt shows. */
import type { ToolCall } from "#src/domain/Tool.ts"

/** What all protocols have in a step; thoughts are each protocol's own. */
export type CommonPart =
  | { readonly type: "text"; readonly text: string }
  /** A call, by the id under which it was given out. */
  | { readonly type: "call"; readonly id: string }

/** A step as one model wrote it, part by part; what a protocol's own parts are is the protocol's. */
export class WrittenStep<Part extends { readonly type: string }> {
  readonly model: string
  readonly parts: ReadonlyArray<Part>

  constructor(model: string, parts: ReadonlyArray<Part>) {
    this.model = model
    this.parts = parts
  }

  /** Whether this is the step that the prompt shows to this model. */
  describes(model: string, text: string, calls: ReadonlyArray<ToolCall>): boolean {
    return this.model === model && describes(this.parts, text, calls)
  }
}

/** The same text, and the same calls in the same order. */
const describes = (
  parts: ReadonlyArray<CommonPart | { readonly type: string }>,
  text: string,
  calls: ReadonlyArray<ToolCall>
): boolean => {
  let said = ""
  const ids: Array<string> = []
  for (const part of parts) {
    if (part.type === "text" && "text" in part) said += part.text
    else if (part.type === "call" && "id" in part) ids.push(part.id)
  }
  return (
    said === text && ids.length === calls.length && calls.every(({ id }, position) => id === ids[position])
  )
}
