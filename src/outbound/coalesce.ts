/**
 * Joins small blocks of an answer, so that a person is not sent one line at a time.
 *
 * Owns: which blocks may become one, and how long one is held for the next.
 * Does not own: where blocks are cut (`blockChunker`), nor the time they wait (the lane, which says when nothing has come for a while).
 */
import type { Block } from "./blockChunker.ts"

export interface CoalesceOptions {
  /** A block of at least as many characters is not held; 0 holds none. */
  readonly minChars: number
  /** Longest joined block. */
  readonly maxChars: number
}

export interface Coalesced {
  readonly held: Block | undefined
  readonly blocks: ReadonlyArray<Block>
}

/** The blocks that leave now, and the one that waits for what comes next. */
export const coalesce = (
  held: Block | undefined,
  next: ReadonlyArray<Block>,
  { minChars, maxChars }: CoalesceOptions
): Coalesced => {
  const blocks: Array<Block> = []
  let waiting = held
  for (const block of next) {
    const joined = waiting === undefined ? block : join(waiting, block, maxChars)
    if (joined === undefined && waiting !== undefined) blocks.push(waiting)
    waiting = joined ?? block
    if (waiting.text.length < minChars) continue
    blocks.push(waiting)
    waiting = undefined
  }
  return { held: waiting, blocks }
}

/** undefined when they stay apart: a code block was cut between them, or they are too long together. */
const join = (a: Block, b: Block, maxChars: number): Block | undefined =>
  a.isPatched || b.isPatched || a.text.length + a.gap.length + b.text.length > maxChars
    ? undefined
    : { text: a.text + a.gap + b.text, source: a.source + b.source, gap: b.gap, isPatched: false }
