/** Rows of `stream-block-chunker`: what each delta completes, and what the end leaves. */
import { type Block, type BlockOptions, empty, finish, write } from "#src/outbound/blockChunker.ts"
import { compare, type Row, type Verdict } from "./Row.ts"

export const topic = "stream-block-chunker"

interface Input {
  readonly config: {
    readonly minChars: number
    readonly maxChars: number
    readonly breakPreference?: BlockOptions["prefer"]
  }
  readonly deltas: ReadonlyArray<string>
}
interface Expected {
  readonly emittedAfterEachDelta: ReadonlyArray<ReadonlyArray<string>>
  readonly emittedAtEnd: ReadonlyArray<string>
}

const texts = (blocks: ReadonlyArray<Block>) => blocks.map(({ text }) => text)

/** The gateway that was observed is not tidy, and knows no limit beside the block's own size. */
export const run = async ({ input, expected }: Row<Input, Expected>): Promise<Verdict> => {
  const { minChars, maxChars, breakPreference: prefer = "paragraph" } = input.config
  const options = { minChars, maxChars, prefer, limit: 0, tidy: false }
  let state = empty
  const emittedAfterEachDelta = input.deltas.map((delta) => {
    const chunked = write(state, delta, options)
    state = chunked.state
    return texts(chunked.blocks)
  })
  return compare({ emittedAfterEachDelta, emittedAtEnd: texts(finish(state, options)) }, expected)
}
