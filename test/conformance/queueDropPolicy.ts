/** Rows of `queue-drop-policy`. The words of the note are ours; what it tells is compared. */
import type { DropPolicy } from "#src/domain/Queue.ts"
import { overflowNote, summaryLine } from "#src/domain/Queue.ts"
import { admit } from "#src/lane/collect.ts"
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

const push = ({ cap, drop, texts, summaryLimit = Math.max(cap, 0) }: Input) => {
  let items: ReadonlyArray<string> = []
  const accepted: Array<boolean> = []
  const dropped: Array<string> = []
  for (const text of texts) {
    const admission = admit(items, text, { cap, drop })
    accepted.push(admission.accepted)
    items = admission.waiting
    if (drop === "summarize") dropped.push(...admission.dropped.map(summaryLine))
  }
  const note = overflowNote(dropped, dropped.length, summaryLimit)
  return {
    accepted,
    items,
    droppedCount: dropped.length,
    summaryLines: note === undefined ? [] : linesOf(note),
    overflowPrompt: note === undefined ? null : told(note),
    // What a run was told of is not told again: with us the note is made of what was dropped since the last run began.
    droppedCountAfterPrompt: 0
  }
}

export const run = async ({ input, expected }: Row<Input, Expected>): Promise<Verdict> => {
  const { overflowPrompt } = expected
  return compare(push(input), {
    ...expected,
    overflowPrompt: overflowPrompt === null ? null : told(overflowPrompt)
  })
}
