/**
 * What a run's earlier attempts have left in the log, and what its messages say to the model. Pure.
 */
import type { MessageBody } from "#src/domain/Inbound.ts"
import type { RunId } from "#src/domain/Ids.ts"
import type { ToolCall } from "#src/domain/Tool.ts"
import type * as MessageLog from "#src/horizons/MessageLog.ts"
import type { PromptMessage } from "#src/model/Model.ts"

/** What earlier attempts of a run committed: how many steps, and the calls of the last one that have no result. */
export interface Earlier {
  readonly steps: number
  readonly pending: ReadonlyArray<ToolCall>
}

export const nothingEarlier: Earlier = { steps: 0, pending: [] }

export const leftBehind = (run: RunId, history: ReadonlyArray<MessageLog.EntryRow>): Earlier => {
  let steps = 0
  let calls: ReadonlyArray<ToolCall> = []
  let answered = new Set<string>()
  for (const { entry, runId } of history) {
    if (runId !== run) continue
    if (entry.kind === "assistant") {
      if (entry.calls !== undefined) steps++
      calls = entry.calls ?? []
      answered = new Set()
    } else if (entry.kind === "tool") {
      answered.add(entry.callId)
    }
  }
  return { steps, pending: calls.filter((call) => !answered.has(call.id)) }
}

/** What a person said, with the images they showed. */
export const saidBy = ({ text, images }: Pick<MessageBody, "text" | "images">): PromptMessage =>
  images === undefined ? { role: "user", text } : { role: "user", text, images }

/** An ephemeral request's own history, between the system text and its message. */
export const withPrior = (
  prompt: ReadonlyArray<PromptMessage>,
  prior: NonNullable<MessageBody["prior"]>
): ReadonlyArray<PromptMessage> => [
  ...prompt.slice(0, 1),
  ...prior.map((entry): PromptMessage =>
    entry.kind === "user" ? saidBy(entry) : { role: "assistant", text: entry.text }
  ),
  ...prompt.slice(1)
]
