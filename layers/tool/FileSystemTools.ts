/**
 * `fs.read`, `fs.list` and `fs.search`: the files of the agent's workspace, for reading only.
 *
 * Owns: the three tools, their limits and the words they answer with. A path is named as the model wrote it; the host's
 * own paths are never told.
 * Does not own: containment (`workspacePath`, `Workspace`), nor walking through folders (`listFolder`, `searchFolder`).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { decodeArguments } from "#src/tool/arguments.ts"
import { layerRegister, type Tool, type ToolContext, ToolError } from "#src/tool/Tools.ts"
import { workspacePath } from "#src/tool/workspacePath.ts"
import { asText } from "./fileText.ts"
import { listFolder, type Listing, maxListed } from "./listFolder.ts"
import { begin, searchFile, searchFolder, told } from "./searchFolder.ts"
import * as Workspace from "./Workspace.ts"

/** Bytes that one `fs.read` gives at most. */
const maxReadBytes = 65_536
const maxListDepth = 5

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
      const hunt = begin(query, signal)
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
  const start = offset > 0 ? firstCharacter(buffer) : 0
  const bytes = buffer.subarray(0, filled)
  const end = offset + filled < file.size ? wholeCharacters(bytes) : filled
  const text = asText(bytes.subarray(start, end))
  if (text === undefined) return `${path} is not text (${file.size} bytes); its content is not shown.`
  const next = offset + end
  const more =
    next < file.size ? `\n[bytes ${offset} to ${next} of ${file.size}; go on with offset ${next}]` : ""
  return text + more
}

/** Where the first character begins: an offset may point into one. */
const firstCharacter = (bytes: Uint8Array): number => {
  const at = bytes.subarray(0, 4).findIndex((byte) => (byte & 0xc0) !== 0x80)
  return Math.max(at, 0)
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
