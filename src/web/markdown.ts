/**
 * Markdown as a tree, for text that strangers and models write.
 *
 * Owns: what counts as a block, and reading a text that grows without reading it all again.
 * Does not own: what stands within a line (`markdownInline.ts`), nor elements (`Markdown.tsx`). HTML stays text; an image is a link
 * and loads nothing. Pure.
 */
import { type Inline, inline } from "./markdownInline.ts"

export interface ListItem {
  /** A task's box; undefined for an item that is none. */
  readonly checked: boolean | undefined
  readonly blocks: ReadonlyArray<Block>
}
export type Align = "left" | "right" | "center" | undefined
type Cells = ReadonlyArray<ReadonlyArray<Inline>>
export type Block =
  | { readonly kind: "paragraph"; readonly children: ReadonlyArray<Inline> }
  | { readonly kind: "heading"; readonly level: number; readonly children: ReadonlyArray<Inline> }
  | { readonly kind: "code"; readonly language: string; readonly text: string }
  | { readonly kind: "quote"; readonly blocks: ReadonlyArray<Block> }
  | {
      readonly kind: "list"
      /** The first number; undefined for bullets. */
      readonly start: number | undefined
      readonly items: ReadonlyArray<ListItem>
    }
  | {
      readonly kind: "table"
      readonly align: ReadonlyArray<Align>
      readonly head: Cells
      readonly rows: ReadonlyArray<Cells>
    }
  | { readonly kind: "rule" }

/** Lists and quotes within each other beyond this are text. */
const maxDepth = 6

interface Fence {
  readonly char: string
  readonly length: number
  readonly indent: number
  readonly language: string
}
interface Open {
  readonly kind: "paragraph" | "fence" | "list" | "quote" | "table"
  readonly lines: Array<string>
  /** A fence that is open: of this block, or within this list. */
  fence: Fence | undefined
}

const fenceStart = /^( {0,3})(`{3,}|~{3,})([^`]*)$/
const headingLine = /^ {0,3}(#{1,6})(?:\s+(.*))?$/
const ruleLine = /^ {0,3}(?:(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,})$/
const itemStart = /^(\s*)([-*+]|\d{1,9}[.)])(?:(\s+)|$)/
const tableRule = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/

const fenceOf = (line: string): Fence | undefined => {
  const match = fenceStart.exec(line)
  if (match === null) return undefined
  const [, indent = "", marks = "", info = ""] = match
  const language = info.trim().split(/\s+/)[0] ?? ""
  return { char: marks.charAt(0), length: marks.length, indent: indent.length, language }
}
const closesFence = (line: string, fence: Fence): boolean => {
  const text = line.trim()
  return text.length >= fence.length && text === fence.char.repeat(text.length)
}
const isBullet = (line: string): boolean => /^\s*[-*+]/.test(line)
/** A heading's text without the marks that may close it. */
const withoutClosing = (text: string): string => {
  const whole = text.trimEnd()
  let end = whole.length
  while (whole[end - 1] === "#") end--
  return end === 0 || whole[end - 1] === " " ? whole.slice(0, end) : whole
}
const indentOf = (line: string): number => line.length - line.trimStart().length

/** Reads line after line. What is done never changes; what is open may still become anything of its kind. */
class BlockReader {
  readonly done: Array<Block>
  #open: Open | undefined
  readonly #depth: number

  constructor(depth: number, open?: Open) {
    this.#depth = depth
    this.done = []
    this.#open = open
  }

  /** The blocks of the end: what is open, with one more line that is not complete. Changes nothing. */
  peek(line: string): ReadonlyArray<Block> {
    const copy = this.#open && { ...this.#open, lines: [...this.#open.lines] }
    const ahead = new BlockReader(this.#depth, copy)
    if (line !== "") ahead.line(line)
    ahead.end()
    return ahead.done
  }

  end(): void {
    const open = this.#open
    this.#open = undefined
    if (open !== undefined) this.done.push(...build(open, this.#depth))
  }

  line(line: string): void {
    const open = this.#open
    if (open !== undefined && this.#goesOn(open, line)) return
    if (line.trim() === "") return this.end()
    const fence = fenceOf(line)
    if (fence !== undefined) return this.#begin("fence", undefined, fence)
    const heading = headingLine.exec(line)
    if (heading !== null) {
      const [, marks = "", text = ""] = heading
      return this.#whole({ kind: "heading", level: marks.length, children: inline(withoutClosing(text)) })
    }
    if (ruleLine.test(line)) return this.#whole({ kind: "rule" })
    if (/^ {0,3}>/.test(line)) return this.#begin("quote", line)
    const item = itemStart.exec(line)
    // Within a paragraph only a 1 begins a list: a number at the start of a line is mostly just a number.
    if (item !== null && (open?.kind !== "paragraph" || isBullet(line) || /^1[.)]/.test(item[2] ?? ""))) {
      const inner = fenceOf(line.slice(item[0].length))
      return this.#begin("list", line, inner)
    }
    if (open?.kind === "paragraph") return void open.lines.push(line)
    this.#begin("paragraph", line)
  }

  #begin(kind: Open["kind"], line: string | undefined, fence?: Fence): void {
    this.end()
    this.#open = { kind, lines: line === undefined ? [] : [line], fence }
  }
  #whole(block: Block): void {
    this.end()
    this.done.push(block)
  }

  #goesOn(open: Open, line: string): boolean {
    switch (open.kind) {
      case "fence":
        if (open.fence !== undefined && closesFence(line, open.fence)) this.end()
        else open.lines.push(line)
        return true
      case "list":
        return listGoesOn(open, line)
      case "quote":
        if (!/^ {0,3}>/.test(line)) return false
        open.lines.push(line)
        return true
      case "table":
        if (!line.includes("|")) return false
        open.lines.push(line)
        return true
      case "paragraph": {
        const [head = ""] = open.lines
        const isTable =
          open.lines.length === 1 &&
          head.includes("|") &&
          line.length < 2000 &&
          tableRule.test(line) &&
          cellsOf(head).length === cellsOf(line).length
        if (isTable) this.#open = { kind: "table", lines: [head, line], fence: undefined }
        return isTable
      }
    }
  }
}

const listGoesOn = (open: Open, line: string): boolean => {
  const first = open.lines[0] ?? ""
  if (open.fence !== undefined) {
    if (closesFence(line, open.fence)) open.fence = undefined
    open.lines.push(line)
    return true
  }
  const isBlank = line.trim() === ""
  const indent = indentOf(line) - indentOf(first)
  const item = ruleLine.test(line) && indent < 2 ? null : itemStart.exec(line)
  const isItem = item !== null && (indent >= 2 || isBullet(line) === isBullet(first))
  const afterBlank = (open.lines.at(-1) ?? "").trim() === ""
  const isLazy =
    !afterBlank &&
    item === null &&
    !ruleLine.test(line) &&
    !headingLine.test(line) &&
    fenceOf(line) === undefined
  if (!isBlank && indent < 2 && !isItem && !isLazy) return false
  if (!isBlank && (indent >= 2 || isItem))
    open.fence = fenceOf((item === null ? line : line.slice(item[0].length)).trim())
  open.lines.push(line)
  return true
}

const build = (open: Open, depth: number): ReadonlyArray<Block> => {
  const { lines } = open
  switch (open.kind) {
    case "fence": {
      const { indent, language } = open.fence ?? { indent: 0, language: "" }
      const strip = (line: string) => line.slice(Math.min(indent, indentOf(line)))
      return [{ kind: "code", language, text: lines.map(strip).join("\n") }]
    }
    case "paragraph":
      return [{ kind: "paragraph", children: inline(lines.join("\n")) }]
    case "quote":
      return [
        {
          kind: "quote",
          blocks: nested(
            lines.map((line) => line.replace(/^ {0,3}> ?/, "")),
            depth
          )
        }
      ]
    case "table":
      return [table(lines)]
    case "list":
      return [list(lines, depth)]
  }
}

/** Deeper than anybody writes, everything is one paragraph. */
const nested = (lines: ReadonlyArray<string>, depth: number): ReadonlyArray<Block> => {
  if (depth >= maxDepth) return [{ kind: "paragraph", children: inline(lines.join("\n")) }]
  const reader = new BlockReader(depth + 1)
  for (const line of lines) reader.line(line)
  reader.end()
  return reader.done
}

const list = (lines: ReadonlyArray<string>, depth: number): Block => {
  const base = indentOf(lines[0] ?? "")
  const items: Array<{ readonly lines: Array<string>; readonly width: number }> = []
  for (const line of lines) {
    const match = itemStart.exec(line)
    const [all = "", , marker = "", gap = ""] = match ?? []
    if (match !== null && indentOf(line) < base + 2) {
      // A gap of five and more belongs to the text (code); what is written there is shown as it is.
      const width = gap.length > 4 || gap === "" ? base + marker.length + 1 : all.length
      items.push({ lines: [line.slice(Math.min(width, line.length))], width })
    } else {
      const item = items.at(-1)
      item?.lines.push(line.slice(Math.min(item.width, indentOf(line))))
    }
  }
  const number = /^\s*(\d+)/.exec(lines[0] ?? "")?.[1]
  return {
    kind: "list",
    start: number === undefined ? undefined : Number(number),
    items: items.map((item) => {
      const task = /^\[([ xX])\]\s+/.exec(item.lines[0] ?? "")
      const [first = "", ...rest] = item.lines
      return {
        checked: task === null ? undefined : task[1] !== " ",
        blocks: nested(task === null ? item.lines : [first.slice(task[0].length), ...rest], depth)
      }
    })
  }
}

/** The cells of a row; a pipe behind a backslash or in code is text. */
const cellsOf = (line: string): ReadonlyArray<string> => {
  const cells: Array<string> = []
  let cell = ""
  let inCode = false
  for (const part of line.trim().split(/(\\\||\||`)/)) {
    if (part === "`") inCode = !inCode
    if (part === "|" && !inCode) {
      cells.push(cell)
      cell = ""
    } else cell += part === "\\|" ? "|" : part
  }
  cells.push(cell)
  if (cells[0]?.trim() === "") cells.shift()
  if (cells.length > 1 && cells.at(-1)?.trim() === "") cells.pop()
  return cells
}

const table = (lines: ReadonlyArray<string>): Block => {
  const [head = "", rule = "", ...rows] = lines
  const align = cellsOf(rule).map((cell): Align => {
    const text = cell.trim()
    if (text.startsWith(":") && text.endsWith(":")) return "center"
    return text.endsWith(":") ? "right" : text.startsWith(":") ? "left" : undefined
  })
  const row = (line: string) => {
    const cells = cellsOf(line)
    return align.map((_, index) => inline(cells[index] ?? ""))
  }
  return { kind: "table", align, head: row(head), rows: rows.map(row) }
}

/** A text that grows. What its complete blocks are is decided once; only the last one is read again. */
export class MarkdownText {
  #reader = new BlockReader(0)
  #text = ""
  /** Everything before it is lines that were read. */
  #read = 0

  /** The blocks of `text`. Those that are complete are the very objects of the time before. */
  blocks(text: string): ReadonlyArray<Block> {
    if (!text.startsWith(this.#text)) {
      this.#reader = new BlockReader(0)
      this.#read = 0
    }
    this.#text = text
    for (let end = text.indexOf("\n", this.#read); end >= 0; end = text.indexOf("\n", this.#read)) {
      this.#reader.line(text.slice(this.#read, end).replace(/\r$/, "").replaceAll("\t", "    "))
      this.#read = end + 1
    }
    return [...this.#reader.done, ...this.#reader.peek(text.slice(this.#read).replaceAll("\t", "    "))]
  }
}

/** The blocks of a text that is whole. */
export const parse = (text: string): ReadonlyArray<Block> => new MarkdownText().blocks(text)
