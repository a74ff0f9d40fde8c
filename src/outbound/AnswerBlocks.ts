/**
 * The blocks of one answer, step by step, as its text comes.
 *
 * Owns: what was written and has not left yet.
 * Does not own: committing and sending what leaves (`lane`, `Outbound`), nor the time a small block waits.
 */
import type { Channel } from "#src/channel/Channels.ts"
import { type Block, type BlockOptions, empty, finish, write } from "./blockChunker.ts"
import { coalesce, type CoalesceOptions } from "./coalesce.ts"
import type { StreamSettings } from "./StreamSettings.ts"

export interface AnswerBlocks {
  /** More text of the step: the blocks that leave now. */
  readonly write: (text: string) => ReadonlyArray<Block>
  /** Nothing came for a while: the block that waited for more. */
  readonly release: () => ReadonlyArray<Block>
  /** These could not leave: they are given again, before all else. */
  readonly giveBack: (blocks: ReadonlyArray<Block>) => void
  /** The step is over: all that is left of it. The next step begins empty. */
  readonly finish: () => ReadonlyArray<Block>
  /** A block waits to be joined with the next one. */
  readonly isHolding: () => boolean
}

/** What a channel and the operator want of blocks, together. */
export const optionsOf = (
  settings: StreamSettings,
  channel: Pick<Channel, "maxChars" | "joinedChars">
): BlockOptions & { readonly coalesce: CoalesceOptions } => {
  const { min_chars: minChars, max_chars: maxChars, prefer, tidy } = settings
  const limit = channel.maxChars
  const most = Math.max(minChars, maxChars)
  return {
    minChars,
    maxChars,
    limit,
    prefer,
    tidy,
    coalesce: {
      minChars: Math.max(settings.coalesce_chars, channel.joinedChars ?? 0),
      maxChars: Math.max(most, settings.coalesce_chars, channel.joinedChars ?? 0, 0)
    }
  }
}

export const make = ({ coalesce: joining, ...options }: ReturnType<typeof optionsOf>): AnswerBlocks => {
  const most = options.limit > 0 ? Math.min(joining.maxChars, options.limit) : joining.maxChars
  const joined = { minChars: Math.min(joining.minChars, most), maxChars: most }
  let state = empty
  let held: Block | undefined
  let returned: ReadonlyArray<Block> = []

  const leave = (next: ReadonlyArray<Block>): ReadonlyArray<Block> => {
    const coalesced = coalesce(held, next, joined)
    held = coalesced.held
    const all = [...returned, ...coalesced.blocks]
    returned = []
    return all
  }
  const release = () => {
    const waiting = held
    held = undefined
    const all = waiting === undefined ? returned : [...returned, waiting]
    returned = []
    return all
  }

  return {
    write: (text) => {
      const chunked = write(state, text, options)
      state = chunked.state
      return leave(chunked.blocks)
    },
    release,
    giveBack: (blocks) => {
      returned = blocks
    },
    finish: () => {
      const last = finish(state, options)
      state = empty
      return [...leave(last), ...release()]
    },
    isHolding: () => held !== undefined || returned.length > 0
  }
}
