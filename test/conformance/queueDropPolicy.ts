/** Rows of `queue-drop-policy`: a session with a run under way is filled. The words of the note are ours; what it tells is compared. */
import * as Effect from "effect/Effect"
import { type DropPolicy, overflowNote, summaryLine } from "#src/domain/Queue.ts"
import { rowOf } from "../lane/rows.ts"
import { busySession } from "./busySession.ts"
import { linesOf, told } from "./queueNotes.ts"
import { compare, type Row, type Verdict } from "./Row.ts"

export const topic = "queue-drop-policy"

interface Input {
  readonly op: "push"
  readonly cap: number
  readonly drop: DropPolicy
  readonly texts: ReadonlyArray<string>
  readonly summaryLimit?: number
}

interface Expected {
  readonly overflowPrompt: string | null
}

const push = async ({ cap, drop, texts, summaryLimit = Math.max(cap, 0) }: Input) => {
  const arriving = texts.map((text, index) => rowOf(index + 2, { text }))
  const { accepted, waiting, runs } = await Effect.runPromise(busySession(arriving, { cap, drop }))
  const dropped = runs[0]?.dropped ?? []
  // The log's own limit of lines is fixed (.decisions/0006); the row's is handed to the function that writes them.
  const note = overflowNote(dropped.map(summaryLine), dropped.length, summaryLimit)
  return {
    accepted,
    items: waiting,
    droppedCount: dropped.length,
    summaryLines: note === undefined ? [] : linesOf(note),
    overflowPrompt: note === undefined ? null : told(note),
    droppedCountAfterPrompt: runs.slice(1).reduce((sum, run) => sum + run.dropped.length, 0)
  }
}

export const run = async ({ input, expected }: Row<Input, Expected>): Promise<Verdict> => {
  const { overflowPrompt } = expected
  return compare(await push(input), {
    ...expected,
    overflowPrompt: overflowPrompt === null ? null : told(overflowPrompt)
  })
}
