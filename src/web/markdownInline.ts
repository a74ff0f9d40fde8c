/**
 * What stands within one line or paragraph of markdown: emphasis, code, links.
 *
 * Owns: what counts as such markup, and which addresses may become links. HTML has no meaning here, it stays text. Pure.
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

export const inline = (text: string): ReadonlyArray<Inline> => new InlineParser(text.trim()).parse()
