/** Finds the line of a TOML text that sets a key, for an error message. */

/**
 * The line (from 1) where `path` (`queue.cap`, `agents.main.tools[2]`) is set, or else the header of its table.
 * Reads headers and `key = value` lines only, so a key inside an inline table gives the line of that table.
 */
export const lineOf = (text: string, path: string): number | undefined => {
  if (path === "") return undefined
  const wanted = path.replace(/\[\d+\].*$/, "")
  let table = ""
  let best: { readonly line: number; readonly length: number } | undefined
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[+\s*([^\]]+?)\s*\]+/.exec(line)?.[1]
    const key = /^\s*([A-Za-z0-9_."'-]+)\s*=/.exec(line)?.[1]
    if (header !== undefined) table = header
    const here = header ?? (key === undefined ? undefined : table === "" ? key : `${table}.${key}`)
    if (here === undefined || !(wanted === here || wanted.startsWith(`${here}.`))) continue
    if (best === undefined || here.length > best.length) best = { line: index + 1, length: here.length }
  }
  return best?.line
}
