/**
 * `fs.read`, `fs.list` and `fs.search`: the files of the agent's workspace, for reading only.
 *
 * Owns: the three tools, their limits and the words they answer with. A path is named as the model wrote it; the host's
 * own paths are never told.
 * Does not own: containment (`workspacePath`, `Workspace`).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { decodeArguments } from "#src/tool/arguments.ts"
import { layerRegister, type Tool, type ToolContext, ToolError } from "#src/tool/Tools.ts"
import { workspacePath } from "#src/tool/workspacePath.ts"
import * as Workspace from "./Workspace.ts"

/** Bytes that one `fs.read` gives at most. */
const maxReadBytes = 65_536
const maxListed = 500
const maxListDepth = 5
const maxFolderEntries = 5_000
const search = {
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

const wholeNumber = (minimum: number, maximum: number) =>
  Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const decodeRead = decodeArguments(
  Schema.Struct({
    path: Schema.String,
    offset: Schema.optionalKey(wholeNumber(0, Number.MAX_SAFE_INTEGER)),
    length: Schema.optionalKey(wholeNumber(1, maxReadBytes))
  })
)
const decodeList = decodeArguments(
  Schema.Struct({
    path: Schema.optionalKey(Schema.String),
    depth: Schema.optionalKey(wholeNumber(1, maxListDepth))
  })
)
const decodeSearch = decodeArguments(
  Schema.Struct({
    query: Schema.String.check(Schema.isBetweenLength(1, 200)),
    path: Schema.optionalKey(Schema.String)
  })
)

const pathParameter = { type: "string", description: 'From the workspace down, such as "notes/today.md"' }

const read: Tool = {
  spec: {
    name: "fs.read",
    description: `Read a text file of the workspace, at most ${maxReadBytes} bytes at a time.`,
    parameters: {
      type: "object",
      properties: {
        path: pathParameter,
        offset: { type: "integer", minimum: 0, description: "First byte to read, by default 0" },
        length: { type: "integer", minimum: 1, maximum: maxReadBytes, description: "Most bytes to read" }
      },
      required: ["path"],
      additionalProperties: false
    }
  },
  effects: "none",
  needsWorkspace: true,
  timeoutMillis: 10_000,
  run: Effect.fn("FileSystemTools.read")(function* (args, context) {
    const { path, offset = 0, length = maxReadBytes } = yield* decodeRead(args)
    return yield* withOpen(path, context, async (opened) => {
      if (opened.kind === "folder") return refuse("it is a folder; use fs.list")
      return readSlice(path, opened, offset, length)
    })
  })
}

const list: Tool = {
  spec: {
    name: "fs.list",
    description: `List a folder of the workspace: folders end with a slash, files have their size in bytes. At most ${maxListed} entries.`,
    parameters: {
      type: "object",
      properties: {
        path: { ...pathParameter, description: "Folder, by default the workspace itself" },
        depth: {
          type: "integer",
          minimum: 1,
          maximum: maxListDepth,
          description: "How many levels, by default 1"
        }
      },
      additionalProperties: false
    }
  },
  effects: "none",
  needsWorkspace: true,
  timeoutMillis: 10_000,
  run: Effect.fn("FileSystemTools.list")(function* (args, context) {
    const { path = ".", depth = 1 } = yield* decodeList(args)
    return yield* withOpen(path, context, async (opened, workspace, signal) => {
      if (opened.kind === "file") return refuse("it is a file; use fs.read")
      const listing: Listing = { lines: [], isAll: true }
      await listFolder(workspace, opened, "", depth, listing, signal)
      if (listing.lines.length === 0) return `${path} is empty.`
      return listing.lines.join("\n") + (listing.isAll ? "" : "\n[there is more; list a folder further down]")
    })
  })
}

const searchTool: Tool = {
  spec: {
    name: "fs.search",
    description:
      "Find text in the files of the workspace: plain text, upper and lower case alike. Answers path:line: text. Binary and very large files, links, .git and node_modules are left out.",
    parameters: {
      type: "object",
      properties: {
        query: { type: "string", minLength: 1, maxLength: 200, description: "The text to find" },
        path: { ...pathParameter, description: "Folder or file to search, by default the whole workspace" }
      },
      required: ["query"],
      additionalProperties: false
    }
  },
  effects: "none",
  needsWorkspace: true,
  timeoutMillis: 15_000,
  run: Effect.fn("FileSystemTools.search")(function* (args, context) {
    const { query, path = "." } = yield* decodeSearch(args)
    return yield* withOpen(path, context, async (opened, workspace, signal) => {
      const hunt: Hunt = {
        needle: query.toLowerCase(),
        lines: [],
        files: 0,
        bytes: 0,
        skipped: 0,
        until: performance.now() + search.millis,
        signal,
        stopped: undefined
      }
      if (opened.kind === "file") await searchFile(opened, path, hunt)
      else await searchFolder(workspace, opened, path === "." ? "" : `${path.replace(/\/+$/, "")}/`, 1, hunt)
      return told(query, hunt)
    })
  })
}

/** Registers the three tools. */
export const layer = layerRegister([read, list, searchTool])

/** What a use of an open file or folder answers: text for the model, or why not. */
type Answer = string | Workspace.Refusal

const refuse = (why: string): Workspace.Refusal => ({ kind: "refused", why })

/** Open a path of the model's, use it, and close it whatever happens. */
const withOpen = (
  path: string,
  context: ToolContext,
  use: (
    opened: Workspace.Folder | Workspace.OpenFile,
    workspace: Workspace.Workspace,
    signal: AbortSignal
  ) => Promise<Answer>
): Effect.Effect<string, ToolError> => {
  const shown = JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path)
  const toError = (why: string) => new ToolError({ message: `${shown}: ${why}` })
  if (context.workspace === undefined) {
    return Effect.fail(new ToolError({ message: "this agent has no workspace" }))
  }
  const names = workspacePath(path)
  if (Result.isFailure(names)) return Effect.fail(toError(names.failure))
  const workspace = Workspace.make(context.workspace)
  const attempt = <A>(run: (signal: AbortSignal) => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (error) => toError(reasonOf(error)) })
  return Effect.acquireUseRelease(
    attempt(() => workspace.open(names.success)),
    (opened) =>
      opened.kind === "refused"
        ? Effect.fail(toError(opened.why))
        : Effect.flatMap(
            attempt((signal) => use(opened, workspace, signal)),
            (answer) =>
              typeof answer === "string" ? Effect.succeed(answer) : Effect.fail(toError(answer.why))
          ),
    (opened) => (opened.kind === "refused" ? Effect.void : Effect.promise(() => opened.handle.close()))
  )
}

/** A system error in words that hold none of the host's paths. */
const reasonOf = (error: unknown): string => {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : ""
  switch (code) {
    case "ENOENT":
      return "it does not exist"
    case "ENOTDIR":
      return "a part of the path is a file, not a folder"
    case "EACCES":
    case "EPERM":
      return "it may not be read"
    case "ELOOP":
      return "it changed while it was opened"
    default:
      return code === "" ? "it cannot be read" : `it cannot be read (${code})`
  }
}

const readSlice = async (
  path: string,
  file: Workspace.OpenFile,
  offset: number,
  length: number
): Promise<Answer> => {
  if (offset > file.size) return refuse(`it has only ${file.size} bytes`)
  const buffer = Buffer.alloc(Math.min(length, file.size - offset))
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await file.handle.read(buffer, filled, buffer.length - filled, offset + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  const bytes = buffer.subarray(0, filled)
  const end = offset + filled < file.size ? wholeCharacters(bytes) : filled
  const text = asText(bytes.subarray(0, end))
  if (text === undefined) return `${path} is not text (${file.size} bytes); its content is not shown.`
  const next = offset + end
  const more =
    next < file.size ? `\n[bytes ${offset} to ${next} of ${file.size}; go on with offset ${next}]` : ""
  return text + more
}

/** How many of the bytes make whole UTF-8 characters: a cut may go through one. */
const wholeCharacters = (bytes: Uint8Array): number => {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if ((byte & 0xc0) === 0x80) continue
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return needs > back && bytes.length > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** `undefined` for bytes that are no text. */
const asText = (bytes: Uint8Array): string | undefined => {
  if (bytes.includes(0)) return undefined
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

interface Listing {
  readonly lines: Array<string>
  isAll: boolean
}

const listFolder = async (
  workspace: Workspace.Workspace,
  folder: Workspace.Folder,
  prefix: string,
  depth: number,
  listing: Listing,
  signal: AbortSignal
): Promise<void> => {
  const { entries, isAll } = await workspace.entries(folder, maxFolderEntries)
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
  const opened = await openQuietly(workspace, folder, entry.name)
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

/** One unreadable entry must not spoil the rest of a folder. */
const openQuietly = async (
  workspace: Workspace.Workspace,
  folder: Workspace.Folder,
  name: string
): Promise<Workspace.Folder | Workspace.OpenFile | undefined> => {
  try {
    const opened = await workspace.openIn(folder, name)
    return opened.kind === "refused" ? undefined : opened
  } catch {
    return undefined
  }
}

/** A name on one line, whatever characters it holds. */
const printable = (name: string): string => name.replace(/[\p{Cc}\u202A-\u202E\u2066-\u2069]/gu, "�")

interface Hunt {
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

const isOver = (hunt: Hunt): boolean => {
  if (hunt.signal.aborted) hunt.stopped ??= "it was interrupted"
  else if (hunt.lines.length >= search.matches) hunt.stopped ??= `there are ${search.matches} matches`
  else if (hunt.files >= search.files) hunt.stopped ??= `${search.files} files were read`
  else if (hunt.bytes >= search.bytes) hunt.stopped ??= `${search.bytes} bytes were read`
  else if (performance.now() > hunt.until) hunt.stopped ??= `${search.millis} ms had passed`
  return hunt.stopped !== undefined
}

const searchFolder = async (
  workspace: Workspace.Workspace,
  folder: Workspace.Folder,
  prefix: string,
  depth: number,
  hunt: Hunt
): Promise<void> => {
  const { entries, isAll } = await workspace.entries(folder, maxFolderEntries)
  if (!isAll) hunt.skipped += 1
  for (const entry of entries) {
    if (isOver(hunt)) return
    if (entry.kind === "link" || entry.kind === "other" || skippedFolders.has(entry.name)) continue
    if (entry.kind === "folder" && depth >= search.depth) {
      hunt.skipped += 1
      continue
    }
    const opened = await openQuietly(workspace, folder, entry.name)
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

const searchFile = async (file: Workspace.OpenFile, name: string, hunt: Hunt): Promise<void> => {
  if (file.size > search.fileBytes) {
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
    const from = Math.max(0, at - search.lineChars / 2)
    hunt.lines.push(
      `${name}:${index + 1}: ${line
        .slice(from, from + search.lineChars)
        .trim()
        .toWellFormed()}`
    )
    if (hunt.lines.length >= search.matches) return
  }
}

const told = (query: string, hunt: Hunt): string => {
  isOver(hunt)
  const notes = [
    ...(hunt.skipped > 0 ? [`${hunt.skipped} entries were left out`] : []),
    ...(hunt.stopped === undefined ? [] : [`stopped early: ${hunt.stopped}`])
  ]
  const found = hunt.lines.length === 0 ? `Nothing holds ${JSON.stringify(query)}.` : hunt.lines.join("\n")
  return notes.length === 0 ? found : `${found}\n[${notes.join("; ")}]`
}
