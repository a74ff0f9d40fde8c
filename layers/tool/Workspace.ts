/**
 * Opens files and folders below a workspace, and nothing else.
 *
 * Owns: containment at the moment of opening. Each name is opened from its parent's open handle and never through a link, so a
 * parent that is swapped for a link meanwhile changes nothing. A link is read, and walked from the root again if it stays inside.
 * Does not own: what a path may look like (`workspacePath`), nor what is done with the content.
 *
 * Only Linux can walk from handles. macOS opens by path with a flag that refuses a link in any place, which is as good. Elsewhere
 * a name is opened by its path and compared with what stands at its real path: links are found, but another program that may write
 * to the workspace and swaps a folder at the right instants, twice, can win. We have no tool that makes links.
 */
import { constants, existsSync } from "node:fs"
import { type FileHandle, lstat, open, opendir, readlink, realpath, stat } from "node:fs/promises"
import * as path from "node:path"

/** An open folder. Whoever opened it closes its handle. */
export interface Folder {
  readonly kind: "folder"
  readonly handle: FileHandle
  readonly root: string
  /** By its real path; only where handles cannot be walked from. */
  readonly real: string
}

/** An open regular file that has no other name anywhere. */
export interface OpenFile {
  readonly kind: "file"
  readonly handle: FileHandle
  readonly size: number
}

/** Why something was not opened, in words for the model. */
export interface Refusal {
  readonly kind: "refused"
  readonly why: string
}

const refused = (why: string): Refusal => ({ kind: "refused", why })

interface Link {
  readonly kind: "link"
  readonly target: string
}

/** Handles as starting points: Linux. */
const canWalkHandles: boolean = process.platform === "linux" && existsSync("/proc/self/fd")

/** macOS: O_NOFOLLOW_ANY, which Node does not name. It must not be joined with O_NOFOLLOW. */
const noFollowAny = 0x20000000
// Windows has neither flag; its links are caught by the comparison after opening.
const noFollow = process.platform === "darwin" ? noFollowAny : (constants.O_NOFOLLOW ?? 0)
const noBlock = constants.O_NONBLOCK ?? 0
const folderFlags = constants.O_RDONLY | noFollow | (constants.O_DIRECTORY ?? 0)
const fileFlags = constants.O_RDONLY | noFollow | noBlock

const maxLinks = 16

/** Entries of one folder that are read at most. */
export const maxEntries = 5_000

export interface Workspace {
  /** Open what the names lead to. The names are those of `workspacePath`. */
  readonly open: (names: ReadonlyArray<string>) => Promise<Folder | OpenFile | Refusal>
  /** Open one entry of an open folder; `undefined` for a link and for what cannot be opened. Never rejects. */
  readonly tryOpenIn: (folder: Folder, name: string) => Promise<Folder | OpenFile | undefined>
  /** The folder's entries by name, at most `most` of them; `isAll` tells whether that is all. */
  readonly entries: (
    folder: Folder,
    most: number
  ) => Promise<{ readonly entries: ReadonlyArray<Entry>; readonly isAll: boolean }>
}

export interface Entry {
  readonly name: string
  readonly kind: "folder" | "file" | "link" | "other"
}

export const make = (configured: string, walksHandles: boolean = canWalkHandles): Workspace => {
  const pathIn = (folder: Folder, name: string): string =>
    walksHandles ? `/proc/self/fd/${folder.handle.fd}/${name}` : path.join(folder.real, name)
  const pathOf = (folder: Folder): string =>
    walksHandles ? `/proc/self/fd/${folder.handle.fd}` : folder.real

  const openRoot = async (): Promise<Folder | Refusal> => {
    const real = await realpath(configured)
    const handle = await open(real, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0))
    const info = await handle.stat()
    if (info.isDirectory()) return { kind: "folder", handle, root: real, real }
    await handle.close()
    return refused("the workspace is not a folder")
  }

  const openEntry = async (folder: Folder, name: string): Promise<Folder | OpenFile | Link | Refusal> => {
    if (process.platform === "win32" && name.includes(":")) return refused("it holds a colon")
    const at = pathIn(folder, name)
    // Looked at first, so that a pipe or a device is never even opened; trusted only after the handle has said the same.
    const before = await lstat(at)
    if (before.isSymbolicLink()) return { kind: "link", target: await readlink(at) }
    if (!before.isFile() && !before.isDirectory()) return refused("it is neither a file nor a folder")
    const handle = await open(at, before.isDirectory() ? folderFlags : fileFlags)
    try {
      const info = await handle.stat()
      const isKnown = walksHandles || (await isSame(handle, folder.root, at))
      if (isKnown && info.isDirectory()) {
        return { kind: "folder", handle, root: folder.root, real: path.join(folder.real, name) }
      }
      // A file with a second name may be a file from outside: the two cannot be told apart.
      if (isKnown && info.isFile() && info.nlink === 1) return { kind: "file", handle, size: info.size }
      await handle.close()
      if (!isKnown) return refused("it changed while it was opened")
      return refused(
        info.isFile() ? "it has a second name outside our sight (a hard link)" : "it is not a regular file"
      )
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** One walk from the root. A link ends it with the names to walk instead. */
  const walk = async (
    names: ReadonlyArray<string>
  ): Promise<
    Folder | OpenFile | Refusal | { readonly kind: "again"; readonly names: ReadonlyArray<string> }
  > => {
    let at = await openRoot()
    for (const [position, name] of names.entries()) {
      if (at.kind === "refused") return at
      const parent = at
      const next = await openEntry(parent, name).finally(() => parent.handle.close())
      if (next.kind === "refused") return next
      const rest = names.slice(position + 1)
      if (next.kind === "link") {
        const roots = [parent.root, path.resolve(configured)]
        const target = behindLink(roots, names.slice(0, position), next.target, rest)
        return target === undefined
          ? refused("it is a link that leaves the workspace")
          : { kind: "again", names: target }
      }
      if (next.kind === "file") {
        if (rest.length === 0) return next
        await next.handle.close()
        return refused("a part of the path is a file, not a folder")
      }
      at = next
    }
    return at
  }

  return {
    open: async (names) => {
      let todo = names
      for (let links = 0; links <= maxLinks; links++) {
        const end = await walk(todo)
        if (end.kind !== "again") return end
        todo = end.names
      }
      return refused("it is a link to too many links")
    },
    tryOpenIn: async (folder, name) => {
      try {
        const next = await openEntry(folder, name)
        return next.kind === "folder" || next.kind === "file" ? next : undefined
      } catch {
        return undefined
      }
    },
    entries: async (folder, most) => {
      const found: Array<Entry> = []
      let isAll = true
      // Iterating closes the listing, also when it is left early.
      for await (const entry of await opendir(pathOf(folder))) {
        if (found.length >= most) {
          isAll = false
          break
        }
        found.push({
          name: entry.name,
          kind: entry.isDirectory()
            ? "folder"
            : entry.isFile()
              ? "file"
              : entry.isSymbolicLink()
                ? "link"
                : "other"
        })
      }
      if (!walksHandles && !(await isSame(folder.handle, folder.root, folder.real))) {
        return { entries: [], isAll: false }
      }
      found.sort((a, b) => (a.name < b.name ? -1 : 1))
      return { entries: found, isAll }
    }
  }
}

/** True when the handle is the thing that stands at this path, and the path really is inside, before and after the look. */
const isSame = async (handle: FileHandle, root: string, at: string): Promise<boolean> => {
  const real = await realpath(at)
  if (real !== root && !real.startsWith(root + path.sep)) return false
  const [there, here] = await Promise.all([stat(real, { bigint: true }), handle.stat({ bigint: true })])
  return there.ino === here.ino && there.dev === here.dev && (await realpath(at)) === real
}

/** The names to walk instead of a link, or `undefined` when it leaves the root. */
const behindLink = (
  roots: ReadonlyArray<string>,
  before: ReadonlyArray<string>,
  target: string,
  rest: ReadonlyArray<string>
): ReadonlyArray<string> | undefined => {
  const root = roots.find((one) => target === one || target.startsWith(one + path.sep))
  if (path.isAbsolute(target) && root === undefined) return undefined
  const names = root === undefined ? [...before] : []
  for (const name of (root === undefined ? target : target.slice(root.length)).split(path.sep)) {
    if (name === "" || name === ".") continue
    if (name !== "..") names.push(name)
    else if (names.pop() === undefined) return undefined
  }
  return [...names, ...rest]
}
