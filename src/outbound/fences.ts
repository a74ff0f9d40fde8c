/** Code fences of Markdown text, as CommonMark reads them: what a cut must not tear open. */

export interface Fence {
  /** Index of its opening line. */
  readonly start: number
  /** Index just behind its closing line's marker; the text's length when it is never closed. */
  readonly end: number
  /** The opening line, with its indent and language. */
  readonly open: string
  /** The shortest line that closes it. */
  readonly close: string
  /** What stands behind the marker of the opening line. */
  readonly info: string
}

interface Marker {
  readonly indent: string
  readonly mark: string
  readonly rest: string
}

const markerOf = (line: string): Marker | undefined => {
  const match = /^( {0,3})(`{3,}|~{3,})(.*?)\s*$/.exec(line)
  return match === null ? undefined : { indent: match[1] ?? "", mark: match[2] ?? "", rest: match[3] ?? "" }
}

// A language may not hold a backtick, else inline code that fills a line would open a block.
const opens = ({ mark, rest }: Marker) => !(mark.startsWith("`") && rest.includes("`"))
const closes = (line: Marker, open: Marker) =>
  line.rest === "" && line.mark[0] === open.mark[0] && line.mark.length >= open.mark.length

/** True for a line that a reader could take for the beginning or end of a block. */
export const isFenceLine = (line: string): boolean => {
  const marker = markerOf(line)
  return marker !== undefined && opens(marker)
}

/** The fences that begin before `until`, in order. Reads no further than it must. */
export const fencesOf = (text: string, until: number = text.length): ReadonlyArray<Fence> => {
  const fences: Array<Fence> = []
  let open: { readonly marker: Marker; readonly start: number; readonly line: string } | undefined
  const finish = (end: number) => {
    if (open === undefined) return
    const { indent, mark, rest } = open.marker
    fences.push({ start: open.start, end, open: open.line, close: indent + mark, info: rest.trim() })
    open = undefined
  }
  for (let at = 0; at <= until && at < text.length;) {
    const newline = text.indexOf("\n", at)
    const end = newline < 0 ? text.length : newline
    const line = text.slice(at, end).trimEnd()
    const marker = markerOf(line)
    if (marker !== undefined && open === undefined && opens(marker)) open = { marker, start: at, line }
    else if (marker !== undefined && open !== undefined && closes(marker, open.marker))
      finish(at + line.length)
    at = end + 1
  }
  finish(text.length)
  return fences
}

/** The fence that a cut before `index` would tear. */
export const fenceAt = (fences: ReadonlyArray<Fence>, index: number): Fence | undefined =>
  fences.find(({ start, end }) => index > start && index < end)
