/**
 * What a session's onlookers see, live: the words behind the WebSocket's frames and an HTTP waiter's answer.
 *
 * `Delta`, `Tool`, `Typing` and `Run` are provisional and may be missed; `User`, `Message`, `Approval` and `Outcome` are
 * published after their commit, and the log can give them again.
 */
import type { ApprovalState } from "./Approval.ts"
import type { ApprovalId, MessageId, RunId } from "./Ids.ts"
import type { ImageNote } from "./Image.ts"
import type { Failure, Outcome } from "./Outcome.ts"
import type { Usage } from "./Usage.ts"

export type SessionEvent =
  | {
      readonly _tag: "User"
      readonly messageId: MessageId
      /** The id its client gave. */
      readonly clientId: string
      readonly seq: number
      readonly text: string
      readonly images?: ReadonlyArray<ImageNote>
    }
  /** A run's attempt starts or ends; a higher attempt voids the deltas of lower ones. */
  | {
      readonly _tag: "Run"
      readonly runId: RunId
      readonly attempt: number
      /** `parked`: it waits for a person and goes on as a new attempt. */
      readonly state: "started" | "ended" | "parked"
      /** The messages it answers. */
      readonly messageIds: ReadonlyArray<MessageId>
    }
  | { readonly _tag: "Typing"; readonly on: boolean }
  /** `offset` counts UTF-16 units of the step's text before `text`. */
  | {
      readonly _tag: "Delta"
      readonly runId: RunId
      readonly attempt: number
      readonly offset: number
      readonly text: string
    }
  | {
      readonly _tag: "Tool"
      readonly runId: RunId
      readonly callId: string
      readonly name: string
      readonly phase: "started" | "finished"
      readonly summary: string
    }
  /** A call waits for a person's decision, or no longer does. */
  | {
      readonly _tag: "Approval"
      readonly id: ApprovalId
      readonly runId: RunId
      readonly tool: string
      /** Raw JSON text, as the model wrote it. */
      readonly arguments: string
      readonly state: ApprovalState
      /** Ms since the epoch. */
      readonly expiresAt: number
    }
  /** The final answer, durable. `answers` are client ids, newest last. */
  | {
      readonly _tag: "Message"
      /** The transcript entry's id. */
      readonly id: string
      readonly runId: RunId
      readonly seq: number
      readonly answers: ReadonlyArray<string>
      readonly messageIds: ReadonlyArray<MessageId>
      readonly text: string
      readonly usage: Usage
    }
  | {
      readonly _tag: "Outcome"
      readonly messageId: MessageId
      readonly clientId: string
      readonly outcome: Outcome
      readonly by?: string
      readonly failure?: Failure
      /** What had been written when it was cut off. */
      readonly partial?: string
    }
