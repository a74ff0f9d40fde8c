/**
 * Named moments at which a test may kill the process, to show that nothing is lost there.
 *
 * Owns: the names, and a hook that does nothing unless a composition replaces it.
 */
import * as Context from "effect/Context"

export type FailpointName =
  /** The message is durable; its sender has not been told. */
  | "before-ack"
  /** The sender has been told; no run has begun. */
  | "after-ack"
  /** Part of the answer has been streamed. */
  | "mid-stream"
  /** A block of the answer is durable; it has not left. */
  | "after-block"
  /** The step that asks for tools is durable; none has started. */
  | "after-step"
  /** A tool has had its effect; its result is not durable. */
  | "after-tool"
  /** The answer is durable; nobody has seen it. */
  | "after-final"
  /** A send has begun; its receipt is not durable. */
  | "mid-send"

/** Called at each moment. Must return at once. */
export const Failpoint = Context.Reference<(name: FailpointName) => void>("opencraw/domain/Failpoint", {
  defaultValue: () => () => {}
})
