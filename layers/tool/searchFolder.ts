/**
 * Finds text in the files of a workspace for `fs.search`.
 *
 * Owns: what is looked into, the limits, and saying what was left out.
 */
import { asText, printable } from "./fileText.ts"
import * as Workspace from "./Workspace.ts"

const limits = {
  files: 2_000,
  fileBytes: 1_048_576,
  bytes: 33_554_432,
  depth: 12,
  matches: 100,
  millis: 5_000,
  lineChars: 240
}
/** Folders that hold no text of the people's own. */
const skippedFolders = new Set([".git", "node_modules"])

/** A search under way: what it looks for, what it has found and what it has used of its limits. */
export interface Hunt {
  readonly needle: string
  readonly lines: Array<string>
  files: number
  bytes: number
  skipped: number
  readonly until: number
  readonly signal: AbortSignal
  /** Which limit ended the search early. */
  stopped: string | undefined
}

/** A search for text, upper and lower case alike. */
export const begin = (query: string, signal: AbortSignal): Hunt => ({
  needle: query.toLowerCase(),
  lines: [],
  files: 0,
  bytes: 0,
  skipped: 0,
  until: performance.now() + limits.millis,
  signal,
  stopped: undefined
})

const isOver = (hunt: Hunt): boolean => {
  if (hunt.signal.aborted) hunt.stopped ??= "it was interrupted"
  else if (hunt.lines.length >= limits.matches) hunt.stopped ??= `there are ${limits.matches} matches`
  else if (hunt.files >= limits.files) hunt.stopped ??= `${limits.files} files were read`
  else if (hunt.bytes >= limits.bytes) hunt.stopped ??= `${limits.bytes} bytes were read`
  else if (performance.now() > hunt.until) hunt.stopped ??= `${limits.millis} ms had passed`
  return hunt.stopped !== undefined
}

/** Looks into every file below the folder. `prefix` is how the model wrote the way there. */
export const searchFolder = async (
  workspace: Workspace.Workspace,
  folder: Workspace.Folder,
  prefix: string,
  depth: number,
  hunt: Hunt
): Promise<void> => {
  const { entries, isAll } = await workspace.entries(folder, Workspace.maxEntries)
  if (!isAll) hunt.skipped += 1
  for (const entry of entries) {
    if (isOver(hunt)) return
    if (entry.kind === "link" || entry.kind === "other" || skippedFolders.has(entry.name)) continue
    if (entry.kind === "folder" && depth >= limits.depth) {
      hunt.skipped += 1
      continue
    }
    const opened = await workspace.tryOpenIn(folder, entry.name)
    if (opened === undefined) {
      hunt.skipped += 1
      continue
    }
    try {
      const name = `${prefix}${printable(entry.name)}`
      if (opened.kind === "file") await searchFile(opened, name, hunt)
      else await searchFolder(workspace, opened, `${name}/`, depth + 1, hunt)
    } finally {
      await opened.handle.close()
    }
  }
}

/** Looks into one file. */
export const searchFile = async (file: Workspace.OpenFile, name: string, hunt: Hunt): Promise<void> => {
  if (file.size > limits.fileBytes) {
    hunt.skipped += 1
    return
  }
  const buffer = Buffer.alloc(file.size)
  const { bytesRead } = await file.handle.read(buffer, 0, buffer.length, 0)
  hunt.files += 1
  hunt.bytes += bytesRead
  const text = asText(buffer.subarray(0, bytesRead))
  if (text === undefined) {
    hunt.skipped += 1
    return
  }
  if (!text.toLowerCase().includes(hunt.needle)) return
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const at = line.toLowerCase().indexOf(hunt.needle)
    if (at < 0) continue
    const from = Math.max(0, at - limits.lineChars / 2)
    hunt.lines.push(
      `${name}:${index + 1}: ${line
        .slice(from, from + limits.lineChars)
        .trim()
        .toWellFormed()}`
    )
    if (hunt.lines.length >= limits.matches) return
  }
}

/** What the model is told. */
export const told = (query: string, hunt: Hunt): string => {
  isOver(hunt)
  const notes = [
    ...(hunt.skipped > 0 ? [`${hunt.skipped} entries were left out`] : []),
    ...(hunt.stopped === undefined ? [] : [`stopped early: ${hunt.stopped}`])
  ]
  const found = hunt.lines.length === 0 ? `Nothing holds ${JSON.stringify(query)}.` : hunt.lines.join("\n")
  return notes.length === 0 ? found : `${found}\n[${notes.join("; ")}]`
}
