/**
 * Cuts an answer into blocks while it is being written, for channels that cannot show text as it comes.
 *
 * Owns: when there is enough for a block and where it ends. A block is not cut before `minChars` nor grows beyond `maxChars`; a cut
 * stands at a paragraph, line, sentence or word, in this order of preference, else anywhere but within a character. A code block
 * that must be cut is closed, and opened again in the next block.
 * Does not own: joining small blocks (`coalesce`), sending them (`Outbound`), nor cutting whole answers (`chunk`).
 *
 * Pure: the sources of all blocks, joined with what is left, are the text that was written.
 */
import { type Fence, fenceAt, fencesOf } from "./fences.ts"

export interface BlockOptions {
  readonly minChars: number
  /** Of the text that goes into a block, UTF-16 units. Not under `minChars`. */
  readonly maxChars: number
  /** Longest block, with what closes and opens its code again; 0 for none. Goes before all else. */
  readonly limit: number
  /** The best place to end a block. `newline` waits for `maxChars` rather than part a line. */
  readonly prefer: "paragraph" | "newline" | "sentence"
  /** Wait for a good place: until `maxChars` no words are parted, and code is cut between its lines. */
  readonly tidy: boolean
}

export interface Block {
  /** As it is sent. */
  readonly text: string
  /** The part of the answer that it stands for, with the whitespace around it that is not sent. */
  readonly source: string
  /** Whitespace between it and what comes next. */
  readonly gap: string
  /** A code block was cut before or behind it. */
  readonly isPatched: boolean
}

export interface ChunkerState {
  readonly rest: string
  /** Units at the beginning of `rest` that open a code block again and are no text of the answer. */
  readonly opened: number
  /** Whitespace that no block has taken. */
  readonly skipped: string
}

export interface Chunked {
  readonly state: ChunkerState
  readonly blocks: ReadonlyArray<Block>
}

export const empty: ChunkerState = { rest: "", opened: 0, skipped: "" }

/** More of the answer has come: the blocks that are complete with it. */
export const write = (state: ChunkerState, text: string, options: BlockOptions): Chunked => {
  const rest = state.rest + text
  const sizes = sizesOf(options)
  return rest.length < sizes.min
    ? { state: { ...state, rest }, blocks: [] }
    : cutAll({ ...state, rest }, sizes)
}

/** Nothing more comes: everything that is left. Whitespace alone is no block. */
export const finish = (state: ChunkerState, options: BlockOptions): ReadonlyArray<Block> => {
  const sizes = { ...sizesOf(options), min: 1, isLast: true }
  const { state: left, blocks } = cutAll(state, sizes)
  return left.rest.slice(left.opened).trim() === "" ? blocks : [...blocks, whole(left)]
}

interface Sizes extends Pick<BlockOptions, "prefer" | "tidy" | "limit"> {
  readonly min: number
  readonly max: number
  readonly isLast: boolean
}

const sizesOf = ({ minChars, maxChars, limit, prefer, tidy }: BlockOptions): Sizes => {
  const least = Math.max(1, Math.floor(minChars))
  const most = Math.max(least, Math.floor(maxChars))
  const max = limit > 0 ? Math.min(most, limit) : most
  return { min: Math.min(least, max), max, limit: limit > 0 ? limit : Infinity, prefer, tidy, isLast: false }
}

const whole = ({ rest, opened, skipped }: ChunkerState): Block => ({
  text: rest,
  source: skipped + rest.slice(opened),
  gap: "",
  isPatched: opened > 0
})

const cutAll = (from: ChunkerState, sizes: Sizes): Chunked => {
  const blocks: Array<Block> = []
  let state = from
  const isEnough = ({ rest }: ChunkerState) =>
    sizes.isLast ? rest.length > sizes.max : rest.length >= sizes.min
  while (isEnough(state)) {
    const cut = findCut(state.rest, sizes)
    if (cut === undefined) break
    const { block, next } = take(state, cut)
    if (block !== undefined) blocks.push(block)
    state = next
    // What is left was looked at with the window of the block before: it waits for more, unless it is too long already.
    if (block !== undefined && state.rest.length < sizes.max) break
  }
  return { state, blocks }
}

interface Cut {
  readonly at: number
  /** The code block that the cut tears. */
  readonly fence?: Fence
}

const take = (
  { rest, opened, skipped }: ChunkerState,
  { at, fence }: Cut
): { readonly block: Block | undefined; readonly next: ChunkerState } => {
  const part = rest.slice(0, at)
  if (fence !== undefined) {
    const block = {
      text: `${part}${part.endsWith("\n") ? "" : "\n"}${fence.close}\n`,
      source: skipped + part.slice(opened),
      gap: "",
      isPatched: true
    }
    const again = `${fence.open}\n`
    return { block, next: { rest: again + rest.slice(at), opened: again.length, skipped: "" } }
  }
  const behind = /^\s?\n*/.exec(rest.slice(at))?.[0] ?? ""
  const source = skipped + part.slice(opened) + behind
  const next = { rest: rest.slice(at + behind.length), opened: 0, skipped: "" }
  if (part.trim() !== "") return { block: { text: part, source, gap: behind, isPatched: opened > 0 }, next }
  return { block: undefined, next: { ...next, skipped: source } }
}

const findCut = (rest: string, sizes: Sizes): Cut | undefined => {
  const { min, max, prefer, tidy } = sizes
  const window = rest.slice(0, max)
  const isFull = rest.length >= max
  let fences: ReadonlyArray<Fence> | undefined
  const isSafe = (at: number) => fenceAt((fences ??= fencesOf(rest)), at) === undefined
  if (prefer === "paragraph") {
    const at = lastOf(window, "\n\n", min, (index) => isSafe(index) || isSafe(index + 1))
    if (at !== undefined) return { at: isSafe(at) ? at : at + 1 }
  }
  if (prefer !== "sentence") {
    const at = lastOf(window, "\n", min, isSafe)
    if (at !== undefined) return { at }
  }
  if (prefer !== "newline") {
    const at = lastSentence(rest, window, min, tidy, isSafe)
    if (at !== undefined) return { at }
  }
  if (!isFull && (tidy || prefer === "newline")) return undefined
  for (let at = window.length - 1; at >= min; at--) {
    if (isSpace(window, at) && isSafe(at)) return { at }
  }
  if (!isFull) return undefined
  const fence = fenceAt((fences ??= fencesOf(rest)), max)
  return fence === undefined ? { at: hardCut(rest, max) } : cutFence(rest, fence, sizes)
}

const lastOf = (
  window: string,
  mark: string,
  least: number,
  isGood: (at: number) => boolean
): number | undefined => {
  let at = window.lastIndexOf(mark)
  while (at >= least) {
    if (isGood(at)) return at
    at = window.lastIndexOf(mark, at - 1)
  }
  return undefined
}

/** Behind the last sentence. What looks like one at the very end may go on ("3." and then "14"), so who is tidy waits. */
const lastSentence = (
  rest: string,
  window: string,
  least: number,
  tidy: boolean,
  isSafe: (at: number) => boolean
): number | undefined => {
  const text = tidy ? rest : window
  for (let at = window.length - 1; at >= least; at--) {
    const unit = window[at]
    if (unit !== "." && unit !== "!" && unit !== "?") continue
    const isEnd = at + 1 === text.length ? !tidy : isSpace(text, at + 1)
    if (isEnd && isSafe(at + 1)) return at + 1
  }
  return undefined
}

const isSpace = (text: string, at: number): boolean => /\s/.test(text[at] ?? "")

/** At `at` or, where that would tear a character of two units, before it; behind it when it is the first. */
const hardCut = (text: string, at: number): number => {
  const isTorn = (text.charCodeAt(at - 1) & 0xfc00) === 0xd800 && (text.charCodeAt(at) & 0xfc00) === 0xdc00
  if (!isTorn) return at
  return at > 1 ? at - 1 : at + 1
}

const cutFence = (rest: string, fence: Fence, { max, limit, tidy }: Sizes): Cut => {
  const line = rest.indexOf("\n", fence.start)
  const content = line < 0 ? rest.length : line + 1
  // What closes it must fit too, and what opens it again must leave room for text.
  const room = Math.min(max, limit - fence.close.length - 2)
  const at = hardCut(rest, room)
  const isWorthIt = fence.open.length + 1 < room - 1 && at > content
  if (isWorthIt) {
    const lineEnd = tidy ? rest.lastIndexOf("\n", room - 1) + 1 : 0
    return { at: lineEnd > content ? lineEnd : at, fence }
  }
  const before = rest.slice(0, fence.start)
  return before.trim() === "" ? { at: hardCut(rest, max) } : { at: before.trimEnd().length }
}
