/**
 * How an accepted message ended. Each accepted message gets exactly one outcome, set once.
 *
 * Pure vocabulary.
 */
import * as Schema from "effect/Schema"

export const Outcome = Schema.Literals([
  "answered",
  "silent",
  "merged",
  "steered",
  "dropped",
  "interrupted",
  "cancelled",
  "failed",
  "expired"
])
export type Outcome = typeof Outcome.Type

/**
 * Why a run failed, in words that are safe to show to the person who wrote.
 * `code` is stable; `message` never holds a provider's body, a path or a secret.
 */
export const Failure = Schema.Struct({
  code: Schema.Literals(["model", "deadline", "steps", "output", "attempts", "internal"]),
  message: Schema.String
})
export type Failure = typeof Failure.Type
