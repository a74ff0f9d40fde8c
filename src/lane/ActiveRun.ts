/**
 * A run while it goes on: what its lane, its driver and who looks on know of it, in memory.
 *
 * Owns: the state of one attempt, and what is read off it.
 * Does not own: changing it (`RunDriver`), nor what is durable of it (the log).
 */
import * as Semaphore from "effect/Semaphore"
import type { Fence } from "#src/domain/Bucket.ts"
import type { ApprovalId, MessageId, RunId } from "#src/domain/Ids.ts"
import type { RunEvent } from "#src/domain/RunEvent.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { ToolCall } from "#src/domain/Tool.ts"
import * as Usage from "#src/domain/Usage.ts"
import type * as MessageLog from "#src/horizons/MessageLog.ts"
import type { Run } from "./decide.ts"
import type * as LiveAnswer from "./LiveAnswer.ts"
import type { Wish } from "./SessionModels.ts"
import type { Pace } from "./stall.ts"

/** A run that goes on now: what its driver and its lane both know of it. */
export interface ActiveRun {
  run: Run
  readonly place: MessageLog.Place
  attempt: number
  /** When this attempt began, ms since the epoch. */
  beganAt: number
  /** Steps that are committed, those of earlier attempts too. */
  steps: number
  /** What it has said so far, counted: who watches for progress looks whether it rises. */
  events: number
  /** What who watches saw of it last. */
  pace: Pace | undefined
  /** Ended from outside: it may not commit, start a tool or send a delta any more. */
  closed: boolean
  /** Its last unit is on the way: the message comes, and the text so far is void. */
  ending: boolean
  /** It has stopped before a call, and waits for a person. */
  parked: Parked | undefined
  /** Text of the step under way. */
  partial: string
  /** Calls of the last committed step that have no result yet. */
  pending: ReadonlyArray<ToolCall>
  usage: Usage.Usage
  /** About how many tokens the prompt of the model call under way holds; undefined between calls. */
  asked: (() => number) | undefined
  /** What its channel shows before it has ended. */
  live: LiveAnswer.LiveAnswer | undefined
  /** Which models it asks; undefined before it has begun. */
  wish: Wish | undefined
  /** Another model than wished for answers, and why. */
  changed: Extract<RunEvent, { readonly _tag: "ModelChanged" }> | undefined
  /** Steering: offered by the lane, then read by the step under way, then committed with it. */
  inbox: ReadonlyArray<MessageLog.MessageRow>
  taken: ReadonlyArray<MessageLog.MessageRow>
  hasSteered: boolean
  /** Told of messages whose steering is committed. */
  readonly onSteered: (ids: ReadonlyArray<MessageId>) => void
  /** See `writingOf`; made when it is first asked for. */
  writing: Semaphore.Semaphore | undefined
}

/** A run that has committed its question and waits for the decision, `millis` at most. */
export interface Parked {
  readonly _tag: "Parked"
  readonly approvalId: ApprovalId
  readonly millis: number
}

/** How a run's fiber ends. `retry`: the store refused its work for now and its messages are still open. */
export type End = "finished" | "retry" | Parked

/** What an onlooker who comes late has missed of a run. */
export interface Progress {
  readonly runId: RunId
  readonly attempt: number
  /** Text of the step under way. */
  readonly text: string
  /** Calls that have no result yet. */
  readonly tools: ReadonlyArray<ToolCall>
}

/** Undefined while the run has not started, and from the moment on that its end is being committed. */
export const progressOf = (active: ActiveRun): Progress | undefined =>
  active.attempt === 0 || active.closed || active.ending
    ? undefined
    : { runId: active.run.runId, attempt: active.attempt, text: active.partial, tools: active.pending }

/** `fence`: what it stores is stored under it, whatever its node owns by then. */
export const activate = (
  run: Run,
  fence?: Fence,
  onSteered: ActiveRun["onSteered"] = () => {}
): ActiveRun => ({
  run,
  place: fence === undefined ? run.messages[0]!.place : { ...run.messages[0]!.place, fence },
  attempt: 0,
  beganAt: 0,
  steps: 0,
  events: 0,
  pace: undefined,
  closed: false,
  ending: false,
  parked: undefined,
  partial: "",
  pending: [],
  usage: Usage.none,
  asked: undefined,
  live: undefined,
  wish: undefined,
  changed: undefined,
  inbox: [],
  taken: [],
  hasSteered: false,
  onSteered,
  writing: undefined
})

/** Held while a unit of the run is on its way, so that who ends it from outside sees what it has committed. */
export const writingOf = (active: ActiveRun): Semaphore.Semaphore => {
  active.writing ??= Semaphore.makeUnsafe(1)
  return active.writing
}

/** The model that answers: the wished-for one, until another takes its place. */
export const modelOf = ({ changed, wish }: ActiveRun): string => changed?.to ?? wish?.model ?? ""

export const routeOf = (run: Run): MessageLog.NewDelivery["route"] => {
  const { channel, account, conversation, thread } = run.messages.at(-1)!.identity
  return { channel, account, conversation, thread }
}

/** What the step under way has read beside the run's own messages, for the unit that commits it. */
export const steeringOf = (active: ActiveRun): { readonly steering?: MessageLog.Steering } =>
  active.taken.length === 0
    ? {}
    : {
        steering: {
          messageIds: active.taken.map((message) => message.id),
          by: active.run.messages.at(-1)!.id
        }
      }

/** What an onlooker is told of an approval. */
export const approvalEvent = (row: MessageLog.ApprovalRow): SessionEvent => ({
  _tag: "Approval",
  id: row.id,
  runId: row.runId,
  tool: row.tool,
  arguments: row.arguments,
  state: row.state,
  expiresAt: row.expiresAt
})
