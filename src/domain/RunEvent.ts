/**
 * What a run says while it goes: the whole vocabulary between the agent and the lane.
 *
 * The order is a contract. `StepFinished` comes before any of its tools starts, each call then gives one
 * `ToolStarted` (unless it never starts) and exactly one `ToolFinished`, and the stream ends with exactly one of `Answered`,
 * `Failed` or `ApprovalNeeded`. The agent goes on only when its consumer asks for the next event, so what the consumer
 * commits while it handles an event is durable before the agent's next act.
 */
import type { Failure } from "./Outcome.ts"
import type { ToolCall, ToolResult } from "./Tool.ts"
import type { Usage } from "./Usage.ts"

export type RunEvent =
  /** Text as it arrives. Provisional: the step's text is the truth. */
  | { readonly _tag: "Delta"; readonly text: string }
  /** Another model than `from` answers; comes before the step's end that it made. `why` is safe in a chat. */
  | { readonly _tag: "ModelChanged"; readonly from: string; readonly to: string; readonly why: string }
  /** A model call ended by asking for tools. */
  | {
      readonly _tag: "StepFinished"
      readonly text: string
      readonly calls: ReadonlyArray<ToolCall>
      readonly usage: Usage
    }
  | { readonly _tag: "ToolStarted"; readonly call: ToolCall }
  | { readonly _tag: "ToolFinished"; readonly result: ToolResult }
  /** Before this call a person has to be asked: the run ends here for now, and goes on as a new attempt once it is decided. */
  | { readonly _tag: "ApprovalNeeded"; readonly call: ToolCall }
  /** The run's answer; `usage` is that of its last step. */
  | { readonly _tag: "Answered"; readonly text: string; readonly usage: Usage }
  /** The run ended without an answer; `partial` is what its last step had written. */
  | { readonly _tag: "Failed"; readonly failure: Failure; readonly partial: string; readonly usage: Usage }
