/** Rows of `chunking`: the exact cuts. */
import { chunk, type ChunkMode } from "#src/outbound/chunk.ts"
import { compare, type Row, type Verdict } from "./Row.ts"

export const topic = "chunking"

interface Input {
  readonly op: ChunkMode
  readonly text: string
  readonly limit: number
}

/**
 * Declined: rows whose expected parts tear a character of two UTF-16 units, such as chunking-014. A torn half is not
 * text that a channel can carry, so we cut before the character (.decisions/0001).
 */
const tearsCharacter = (text: string, parts: ReadonlyArray<string>) =>
  text.isWellFormed() && !parts.every((part) => part.isWellFormed())

export const run = async ({ input, expected }: Row<Input, ReadonlyArray<string>>): Promise<Verdict> => {
  const parts = chunk(input.text, { limit: input.limit, mode: input.op })
  if (!tearsCharacter(input.text, expected)) return compare(parts, expected)
  if (tearsCharacter(input.text, parts)) return { ok: false, actual: parts }
  return {
    ok: true,
    skip: "the row tears a character of two UTF-16 units; we keep it whole (.decisions/0001)"
  }
}
