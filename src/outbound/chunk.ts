/**
 * Cuts an answer into parts that a channel can carry.
 *
 * Owns: where a text may be cut. No part is longer than the limit, nothing but whitespace at a cut is lost, a cut
 * code block is closed and opened again, parentheses are kept whole where there is another place, and a character
 * of two UTF-16 units is never torn.
 * Does not own: the limits (channels) nor when parts are committed (`lane`).
 */
import { fenceAt, fencesOf, isFenceLine, type Fence } from "./fences.ts"

/**
 * `text`: plain text. `markdown`: keeps code blocks whole or balanced. `paragraph` and `markdown-paragraph`: a part
 * for each paragraph, those that are too long cut like `text` or `markdown`.
 */
export type ChunkMode = "text" | "markdown" | "paragraph" | "markdown-paragraph"

export interface ChunkOptions {
  /** Longest part, UTF-16 units; 0 or less means no limit. Under about ten, a code block cannot be kept within it. */
  readonly limit: number
  readonly mode: ChunkMode
}

/** The parts of `text`, in order; none for an empty text. Pure: the same text is always cut at the same places. */
export const chunk = (text: string, { limit, mode }: ChunkOptions): ReadonlyArray<string> => {
  if (text === "") return []
  if (limit <= 0) return [text]
  switch (mode) {
    case "text":
      return plain(text, limit)
    case "markdown":
      return markdown(text, limit)
    case "paragraph":
      return paragraphs(text).flatMap((one) => plain(one, limit))
    case "markdown-paragraph":
      return paragraphs(text).flatMap((one) => markdown(one, limit))
  }
}

const plain = (text: string, limit: number): ReadonlyArray<string> => {
  const parts: Array<string> = []
  let rest = text
  while (rest.length > limit) {
    const found = softCut(rest, limit, () => true)
    const cut = found > 0 ? found : hardCut(rest, limit)
    const part = rest.slice(0, cut).trimEnd()
    if (part !== "") parts.push(part)
    rest = rest.slice(cut).trimStart()
  }
  return rest === "" ? parts : [...parts, rest]
}

const markdown = (text: string, limit: number): ReadonlyArray<string> => {
  const parts: Array<string> = []
  let rest = text
  while (rest.length > limit) {
    const fences = fencesOf(rest, limit)
    const found = softCut(rest, limit, (at) => fenceAt(fences, at) === undefined && !makesFence(rest, at))
    const cut = found > 0 ? found : wholeLine(rest, hardCut(rest, limit), 1)
    const fence = fenceAt(fences, cut)
    const [part, next] =
      fence === undefined
        ? [rest.slice(0, cut), behind(rest, cut).replace(/^\n+/, "")]
        : cutFence(rest, fence, limit)
    if (part !== "") parts.push(part)
    rest = next
  }
  return rest === "" ? parts : [...parts, rest]
}

/**
 * The best cut before `limit`: the last line's end, else the last whitespace, outside of parentheses and where `allowed`;
 * 0 or less when there is none. An unclosed parenthesis holds until its text ends.
 */
const softCut = (text: string, limit: number, allowed: (index: number) => boolean): number => {
  let depth = 0
  let line = -1
  let space = -1
  for (let index = 0; index < limit; index++) {
    const unit = text[index] ?? ""
    if (unit === "(") depth += allowed(index) ? 1 : 0
    else if (unit === ")") depth -= depth > 0 && allowed(index) ? 1 : 0
    else if (depth === 0 && /\s/.test(unit) && allowed(index)) {
      if (unit === "\n") line = index
      else space = index
    }
  }
  return line > 0 ? line : space
}

// A cut at `limit` or, where that would tear a character, before it (behind it when it is the first).
const hardCut = (text: string, limit: number): number => {
  const before = text.charCodeAt(limit - 1)
  const after = text.charCodeAt(limit)
  const tears = before >= 0xd800 && before < 0xdc00 && after >= 0xdc00 && after < 0xe000
  if (!tears) return limit
  return limit > 1 ? limit - 1 : limit + 1
}

// The one separator at a cut goes; more may belong to the text's shape.
const behind = (text: string, cut: number): string => text.slice(/\s/.test(text[cut] ?? "") ? cut + 1 : cut)

// A cut inside a line must not leave a piece that reads as the edge of a code block where there was none.
const makesFence = (text: string, cut: number): boolean => {
  if (text[cut] === "\n" || text[cut - 1] === "\n") return false
  const begin = text.lastIndexOf("\n", cut - 1) + 1
  const end = text.indexOf("\n", cut)
  return (
    isFenceLine(text.slice(begin, cut)) ||
    isFenceLine(behind(text.slice(0, end < 0 ? text.length : end), cut).trimEnd())
  )
}

// The nearest cut at or before `cut` that makes no fence, but not under `least`.
const wholeLine = (text: string, cut: number, least: number): number => {
  for (let at = cut; at >= least; at--) {
    if (hardCut(text, at) === at && !makesFence(text, at)) return at
  }
  return cut
}

/** A part that ends within `fence`, and the rest that opens it again. */
const cutFence = (rest: string, fence: Fence, limit: number): readonly [string, string] => {
  const newline = rest.indexOf("\n", fence.start)
  const content = newline < 0 ? rest.length : newline + 1
  const least = content + (hardCut(rest, content + 1) === content + 1 ? 1 : 2)
  const roomy = limit - fence.close.length
  const again = (cut: number): readonly [string, string] => {
    const part = rest.slice(0, cut)
    return [
      part.endsWith("\n") ? part + fence.close : `${part}\n${fence.close}`,
      `${fence.open}\n${behind(rest, cut)}`
    ]
  }
  const line = rest.lastIndexOf("\n", roomy - 1) + 1
  if (line >= least && line > content) return again(line)
  if (least < roomy) return again(wholeLine(rest, hardCut(rest, roomy - 1), least))
  if (fence.start > 0) return [rest.slice(0, fence.start).trimEnd(), rest.slice(fence.start)]
  if (fence.info !== "" && 2 * fence.close.length + 4 <= limit) {
    // The opening line alone is too long: what it says becomes the block's first line.
    return ["", `${fence.close}\n${fence.info}\n${rest.slice(content)}`]
  }
  return again(Math.max(hardCut(rest, limit), Math.min(least, rest.length)))
}

const paragraphs = (text: string): ReadonlyArray<string> => {
  const lines = text.replace(/\r\n?/g, "\n")
  const fences = fencesOf(lines)
  const parts: Array<string> = []
  let from = 0
  for (const blank of lines.matchAll(/\n(?:[\t ]*\n)+/g)) {
    if (fenceAt(fences, blank.index) !== undefined) continue
    parts.push(lines.slice(from, blank.index))
    from = blank.index + blank[0].length
  }
  parts.push(lines.slice(from))
  return parts.map((part) => part.trimEnd()).filter((part) => part.trim() !== "")
}
