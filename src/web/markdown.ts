/**
 * Markdown as a tree, for text that strangers and models write.
 *
 * Owns: what counts as markup, which addresses may become links, and reading a text that grows without reading it all again.
 * Does not own: elements (`Markdown.tsx`). HTML has no meaning here, it stays text; an image is a link and loads nothing. Pure.
 */

export type Inline =
  | string
  | { readonly kind: "code"; readonly text: string }
  | { readonly kind: "break" }
  | { readonly kind: "strong" | "em" | "del"; readonly children: ReadonlyArray<Inline> }
  | {
      readonly kind: "link"
      readonly href: string
      readonly isImage: boolean
      readonly children: ReadonlyArray<Inline>
    }

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

const maxDepth = 6
const maxHref = 2000
/** Markup within markup beyond this is text: what draws the tree goes as deep as the tree. */
const maxNesting = 16
const maxBrackets = 50
const maxDelimiters = 50

/** The address a link may go to: http, https or mailto, whole. Undefined for all else (javascript:, data:, a path, …). */
export const safeHref = (raw: string): string | undefined => {
  // Browsers skip these inside of an address, so `java\nscript:` must not pass as something else.
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  const text = raw.replace(/[\u0000-\u0020\u007f-\u009f]/g, "")
  if (text.length > maxHref || !/^(?:https?:\/\/|mailto:)[^\s]/i.test(text)) return undefined
  try {
    return new URL(text).href
  } catch {
    return undefined
  }
}

const entities: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#39;": "'",
  "&nbsp;": "\u00a0"
}
const special = /[\\`[\]!*_~<\n]|&(?:amp|lt|gt|quot|nbsp|#39);|https?:\/\//g
const destination =
  /\(\s*(?:<([^<>\n]{0,2000})>|([^\s()<>]{0,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,2000}){0,8}))(?:\s+(?:"[^"\n]{0,500}"|'[^'\n]{0,500}'))?\s*\)/y
const autolink = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y
const bareLink = /https?:\/\/[^\s<>"'`*|\\]{1,2000}/y
const backticks = /`+/g
const isSpace = (char: string) => char === "" || /\s/.test(char)
const isPunctuation = (char: string) => /[\p{P}\p{S}]/u.test(char)
const isWord = (char: string) => /[\p{L}\p{N}]/u.test(char)

interface Delimiter {
  readonly char: string
  count: number
  /** Where its literal stands among the nodes. */
  readonly at: number
}
interface Bracket {
  readonly isImage: boolean
  readonly at: number
  /** Delimiters that were open before it. */
  readonly delimiters: number
}

/** One pass over a paragraph's text. Every loop moves on or takes something away, so the time is linear in the text. */
class InlineParser {
  readonly #text: string
  readonly #nodes: Array<Inline> = []
  readonly #depths: Array<number> = []
  #delimiters: Array<Delimiter> = []
  readonly #brackets: Array<Bracket> = []
  /** Runs of backticks by length: where they begin, last first. */
  readonly #ticks = new Map<number, Array<number>>()
  #at = 0

  constructor(text: string) {
    this.#text = text
    for (const match of text.matchAll(backticks)) {
      const found = this.#ticks.get(match[0].length)
      if (found === undefined) this.#ticks.set(match[0].length, [match.index])
      else found.push(match.index)
    }
    for (const found of this.#ticks.values()) found.reverse()
  }

  parse(): ReadonlyArray<Inline> {
    const text = this.#text
    while (this.#at < text.length) {
      special.lastIndex = this.#at
      const found = special.exec(text)
      if (found === null) break
      this.#say(text.slice(this.#at, found.index))
      this.#at = found.index
      this.#special(found[0])
    }
    this.#say(text.slice(this.#at))
    return joined(this.#nodes)
  }

  #push(node: Inline, depth: number): void {
    this.#nodes.push(node)
    this.#depths.push(depth)
  }
  #say(text: string): void {
    if (text !== "") this.#push(text, 0)
  }
  /** Take the present character as text. */
  #literal(length = 1): void {
    this.#say(this.#text.slice(this.#at, this.#at + length))
    this.#at += length
  }

  #special(found: string): void {
    switch (found) {
      case "\\":
        return this.#escape()
      case "`":
        return this.#code()
      case "\n":
        return this.#newline()
      case "<":
        return this.#auto(autolink, (match) => match[1] ?? "")
      case "!":
        if (this.#text[this.#at + 1] === "[") return this.#open(true)
        return this.#literal()
      case "[":
        return this.#open(false)
      case "]":
        return this.#close()
      case "*":
      case "_":
      case "~":
        return this.#emphasis(found)
      default:
        if (found.startsWith("http")) return this.#bare()
        this.#at += found.length
        return this.#say(entities[found] ?? found)
    }
  }

  #escape(): void {
    const next = this.#text[this.#at + 1]
    if (next === "\n") {
      this.#at += 2
      return this.#push({ kind: "break" }, 0)
    }
    if (next === undefined || !/[!-/:-@[-`{-~]/.test(next)) return this.#literal()
    this.#say(next)
    this.#at += 2
  }

  #code(): void {
    let length = 1
    while (this.#text[this.#at + length] === "`") length++
    const candidates = this.#ticks.get(length) ?? []
    while (candidates.length > 0 && (candidates.at(-1) ?? 0) < this.#at + length) candidates.pop()
    const end = candidates.pop()
    if (end === undefined) return this.#literal(length)
    const inside = this.#text.slice(this.#at + length, end).replaceAll("\n", " ")
    const isPadded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim() !== ""
    this.#push({ kind: "code", text: isPadded ? inside.slice(1, -1) : inside }, 0)
    this.#at = end + length
  }

  #newline(): void {
    const last = this.#nodes.at(-1)
    if (typeof last === "string") this.#nodes[this.#nodes.length - 1] = last.replace(/ {1,100}$/, "")
    this.#at += 1
    this.#push({ kind: "break" }, 0)
  }

  #auto(pattern: RegExp, address: (match: RegExpExecArray) => string): void {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    const href = match === null ? undefined : safeHref(address(match))
    if (match === null || href === undefined) return this.#literal()
    this.#push({ kind: "link", href, isImage: false, children: [address(match)] }, 1)
    this.#at += match[0].length
  }

  #bare(): void {
    bareLink.lastIndex = this.#at
    let found = bareLink.exec(this.#text)?.[0] ?? ""
    // What ends a sentence or closes a parenthesis around the address is not part of it.
    for (;;) {
      const last = found.at(-1) ?? ""
      const closes = last === ")" && !found.includes("(")
      if (!closes && !/[.,;:!?_~\]]/.test(last)) break
      found = found.slice(0, -1)
    }
    const href = this.#brackets.some(({ isImage }) => !isImage) ? undefined : safeHref(found)
    if (href === undefined) return this.#literal(Math.max(found.length, 4))
    this.#push({ kind: "link", href, isImage: false, children: [found] }, 1)
    this.#at += found.length
  }

  #open(isImage: boolean): void {
    if (this.#brackets.length < maxBrackets)
      this.#brackets.push({ isImage, at: this.#nodes.length, delimiters: this.#delimiters.length })
    this.#literal(isImage ? 2 : 1)
  }

  #close(): void {
    const bracket = this.#brackets.pop()
    if (bracket === undefined) return this.#literal()
    destination.lastIndex = this.#at + 1
    const match = destination.exec(this.#text)
    const href = match === null ? undefined : safeHref(match[1] ?? match[2] ?? "")
    if (match === null || href === undefined) return this.#literal()
    if (this.#depthAfter(bracket.at) >= maxNesting) return this.#literal()
    this.#delimiters.length = Math.min(this.#delimiters.length, bracket.delimiters)
    this.#wrap(bracket.at, (children) => ({
      kind: "link",
      href,
      isImage: bracket.isImage,
      children: children.length === 0 ? [href] : children
    }))
    // A link holds no link.
    if (!bracket.isImage) this.#brackets.length = 0
    this.#at += 1 + match[0].length
  }

  #depthAfter(at: number): number {
    let deepest = 0
    for (let index = at + 1; index < this.#depths.length; index++)
      deepest = Math.max(deepest, this.#depths[index] ?? 0)
    return deepest
  }

  /** Everything after the node `at` becomes the children of one node in its place. */
  #wrap(at: number, node: (children: ReadonlyArray<Inline>) => Inline): void {
    const depth = 1 + this.#depthAfter(at)
    const children = joined(this.#nodes.splice(at + 1))
    this.#depths.length = at
    this.#nodes.length = at
    this.#push(node(children), depth)
  }

  #emphasis(char: string): void {
    const text = this.#text
    let length = 1
    while (text[this.#at + length] === char) length++
    const before = text[this.#at - 1] ?? ""
    const after = text[this.#at + length] ?? ""
    const opens = !isSpace(after) && (!isPunctuation(after) || isSpace(before) || isPunctuation(before))
    const closes = !isSpace(before) && (!isPunctuation(before) || isSpace(after) || isPunctuation(after))
    const inWord = char === "_" && isWord(before) && isWord(after)
    if (inWord || (char === "~" && length !== 2)) return this.#literal(length)
    this.#at += length
    let left = length
    if (closes) left -= this.#closeAll(char, left)
    if (left === 0) return
    const at = this.#nodes.length
    this.#say(char.repeat(left))
    if (opens) this.#delimiters.push({ char, count: left, at })
  }

  #closeAll(char: string, length: number): number {
    let closed = 0
    while (closed < length) {
      const taken = this.#closeEmphasis(char, length - closed)
      if (taken === 0) break
      closed += taken
    }
    return closed
  }

  /** How many of the closing characters found an opening. */
  #closeEmphasis(char: string, length: number): number {
    const floor = this.#brackets.at(-1)?.delimiters ?? 0
    let index = this.#delimiters.length - 1
    while (index >= floor && this.#delimiters[index]?.char !== char) index--
    const opener = this.#delimiters[index]
    if (index < floor || opener === undefined) {
      // Nothing to close now means nothing to close later: the search is never repeated over the same ones.
      if (this.#delimiters.length - floor > maxDelimiters) this.#delimiters.length = floor
      return 0
    }
    this.#delimiters.length = index + 1
    const taken = Math.min(opener.count, length) >= 2 ? 2 : 1
    const kind = char === "~" ? "del" : taken === 2 ? "strong" : "em"
    if (this.#depthAfter(opener.at) >= maxNesting) {
      // Whatever is open around it would be deeper still.
      this.#delimiters.length = floor
      return 0
    }
    opener.count -= taken
    this.#wrap(opener.at, (children) => ({ kind, children }))
    if (opener.count === 0) this.#delimiters.length = index
    else {
      // What is left of the opening stands before what it opened.
      const node = this.#nodes.pop()
      const depth = this.#depths.pop()
      this.#say(char.repeat(opener.count))
      if (node !== undefined) this.#push(node, depth ?? 0)
    }
    return taken
  }
}

const joined = (nodes: ReadonlyArray<Inline>): ReadonlyArray<Inline> => {
  const out: Array<Inline> = []
  let text: Array<string> = []
  const flush = () => {
    if (text.length > 0) out.push(text.join(""))
    text = []
  }
  for (const node of nodes) {
    if (typeof node === "string") text.push(node)
    else {
      flush()
      out.push(node)
    }
  }
  flush()
  return out
}

const inline = (text: string): ReadonlyArray<Inline> => new InlineParser(text.trim()).parse()

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
