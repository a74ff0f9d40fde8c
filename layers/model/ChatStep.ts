/**
 * What one chat-completion answer held besides text and calls, as some providers want to see it again while the run goes on.
 *
 * OpenRouter tells reasoning in parts, and others sign each call; models that reason lose their thread, or refuse to go on, when it
 * does not come back. It travels as the `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import type { ToolCall } from "#src/domain/Tool.ts"
import type { Json } from "./json.ts"

export class ChatStep {
  readonly model: string
  /** `reasoning_details` of the message, their pieces joined. */
  readonly details: ReadonlyArray<Json>
  /** `extra_content` of each call, by the id under which it was given out. */
  readonly extras: ReadonlyMap<string, Json>
  readonly #ids: ReadonlyArray<string>

  constructor(
    model: string,
    details: ReadonlyArray<Json>,
    calls: ReadonlyArray<{ readonly id: string; readonly extra: Json | undefined }>
  ) {
    this.model = model
    this.details = details
    this.extras = new Map(calls.flatMap(({ id, extra }) => (extra === undefined ? [] : [[id, extra]])))
    this.#ids = calls.map(({ id }) => id)
  }

  /** Whether this is the step that the prompt shows to this model: the same calls in the same order. */
  describes(model: string, calls: ReadonlyArray<ToolCall>): boolean {
    return (
      this.model === model &&
      calls.length === this.#ids.length &&
      calls.every(({ id }, position) => id === this.#ids[position])
    )
  }
}

const joined = ["text", "summary"]

/** One more part of `reasoning_details`: a piece of the part before it, or a part of its own. */
export const addDetail = (details: Array<Json>, said: Json): void => {
  const last = details.at(-1)
  const isPiece =
    last !== undefined &&
    last["type"] === said["type"] &&
    last["index"] === said["index"] &&
    joined.some((key) => typeof last[key] === "string" || typeof said[key] === "string")
  if (!isPiece) return void details.push(said)
  const whole: Record<string, unknown> = { ...last }
  for (const [key, value] of Object.entries(said)) {
    if (value === null || value === undefined) continue
    const before = whole[key]
    whole[key] =
      joined.includes(key) && typeof value === "string" && typeof before === "string" ? before + value : value
  }
  details[details.length - 1] = whole
}
