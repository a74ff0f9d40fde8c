/** What a note about dropped messages tells, whatever its words: the rows' and ours alike. */

/** Its summaries, a line each. */
export const linesOf = (note: string): ReadonlyArray<string> =>
  note.split("\n").flatMap((line) => (line.startsWith("- ") ? [line.slice(2)] : []))

/** How many were dropped, and the summaries. */
export const told = (note: string): { readonly count: number; readonly lines: ReadonlyArray<string> } => ({
  count: Number(/\d+/.exec(note)?.[0] ?? 0),
  lines: linesOf(note)
})
