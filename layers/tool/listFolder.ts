/**
 * Lists a folder of a workspace for `fs.list`.
 *
 * Owns: the listing's lines and their limit. An entry that cannot be opened is listed as such and spoils nothing.
 */
import { printable } from "./fileText.ts"
import * as Workspace from "./Workspace.ts"

export const maxListed = 500

export interface Listing {
  readonly lines: Array<string>
  isAll: boolean
}

/** Adds the folder's entries in order of their names, `depth` levels deep. Stops early when interrupted. */
export const listFolder = async (
  workspace: Workspace.Workspace,
  folder: Workspace.Folder,
  prefix: string,
  depth: number,
  listing: Listing,
  signal: AbortSignal
): Promise<void> => {
  const { entries, isAll } = await workspace.entries(folder, Workspace.maxEntries)
  if (!isAll) listing.isAll = false
  for (const entry of entries) {
    if (signal.aborted) return
    if (listing.lines.length >= maxListed) {
      listing.isAll = false
      return
    }
    const name = `${prefix}${printable(entry.name)}`
    if (entry.kind === "link") listing.lines.push(`${name} (link)`)
    else if (entry.kind === "other") listing.lines.push(`${name} (not a file)`)
    else await listEntry(workspace, folder, entry, name, depth, listing, signal)
  }
}

const listEntry = async (
  workspace: Workspace.Workspace,
  folder: Workspace.Folder,
  entry: Workspace.Entry,
  name: string,
  depth: number,
  listing: Listing,
  signal: AbortSignal
): Promise<void> => {
  if (entry.kind === "folder" && depth === 1) return void listing.lines.push(`${name}/`)
  const opened = await workspace.tryOpenIn(folder, entry.name)
  if (opened === undefined) return void listing.lines.push(`${name} (not readable)`)
  try {
    if (opened.kind === "file") listing.lines.push(`${name} ${opened.size}`)
    else {
      listing.lines.push(`${name}/`)
      await listFolder(workspace, opened, `${name}/`, depth - 1, listing, signal)
    }
  } finally {
    await opened.handle.close()
  }
}
