/**
 * Rows about paths that try to leave a workspace, run through the fs tools against a real folder.
 *
 * "allowed": `fs.read` gives the file's content. "contained": nothing from outside was given by any of the three tools, under
 * 0, 1 and 2 rounds of percent-decoding, and nothing outside was created or changed. There is no writing tool: a row about
 * writing asks the same door that a writing tool would have to use, and then checks that nothing was written.
 */
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve, sep } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as FileSystemTools from "#layers/tool/FileSystemTools.ts"
import * as Tools from "#src/tool/Tools.ts"
import { startSwapping } from "../layers/tool/swapping.ts"
import { local } from "#src/domain/Tenant.ts"
import type { Row, Verdict } from "./Row.ts"

export const topic = "security-path"

/** Content of no file inside. */
const secret = "OUTSIDE-4d1f"
const inside = "INSIDE-77aa"

interface Sandbox {
  readonly base: string
  readonly root: string
}

export const run = async (row: Row): Promise<Verdict> => {
  const base = realpathSync(mkdtempSync(join(tmpdir(), "opencraw-path-")))
  const sandbox: Sandbox = { base, root: join(base, "workspace") }
  try {
    for (const folder of ["workspace/a/b", "workspace-evil", "outside"])
      mkdirSync(join(base, folder), { recursive: true })
    for (const file of ["outside.txt", "x", "workspace-evil/x", "outside/f"])
      writeFileSync(join(base, file), secret)
    writeFileSync(join(sandbox.root, "notes.md"), inside)
    const verdict = await judge(sandbox, row)
    return verdict
  } finally {
    rmSync(base, { recursive: true, force: true })
  }
}

const judge = async (sandbox: Sandbox, row: Row): Promise<Verdict> => {
  const input = (typeof row.input === "object" && row.input !== null ? row.input : {}) as Record<
    string,
    unknown
  >
  const verdict = (actual: string): Verdict => ({ ok: actual === row.expected, actual })
  if (typeof input["path"] === "string") {
    if (row.expected === "allowed") putInside(sandbox, input["path"])
    return verdict(await checkContained(sandbox, input["path"]))
  }
  const { setup, action } = input
  if (typeof setup !== "string" || typeof action !== "string") return skipped("neither a path nor a setup")
  if (setup.includes("swapped")) return verdict(await underSwap(sandbox))
  const path = prepare(sandbox, setup, action)
  return path === undefined
    ? skipped(`no such setup here: ${setup}`)
    : verdict(await checkContained(sandbox, path))
}

const skipped = (skip: string): Verdict => ({ ok: false, actual: undefined, skip })

/** What the tools make of a path: its own content, or nothing from outside. */
export const checkContained = async (
  sandbox: Sandbox,
  path: string
): Promise<"allowed" | "contained" | "escaped"> => {
  const before = outsideState(sandbox)
  let reading = path
  let isRead = false
  for (let round = 0; round <= 2; round++) {
    for (const [tool, args] of [
      ["fs.read", { path: reading }],
      ["fs.list", { path: reading, depth: 5 }],
      ["fs.search", { path: reading, query: secret.slice(0, 7) }]
    ] as const) {
      const answer = await call(sandbox, tool, args)
      if (answer === undefined) continue
      if (answer.includes(secret) || /^root:.*:0:0:/m.test(answer) || answer.includes("workspace-evil"))
        return "escaped"
      if (tool === "fs.read" && round === 0) isRead = true
      if (tool === "fs.read" && !answer.includes(inside)) return "escaped"
    }
    const decoded = percentDecoded(reading)
    if (decoded === reading) break
    reading = decoded
  }
  if (outsideState(sandbox) !== before) return "escaped"
  return isRead ? "allowed" : "contained"
}

const percentDecoded = (text: string): string =>
  text.replace(/%([0-9a-f]{2})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))

const layer = Layer.provideMerge(FileSystemTools.layer, Tools.layer)

/** The tool's answer, or `undefined` when it refused. A crash is neither: it rejects. */
const call = ({ root }: Sandbox, name: string, args: unknown): Promise<string | undefined> =>
  Effect.runPromise(
    Effect.flatMap(Tools.Tools, (tools) => {
      const tool = tools.find(name)
      if (tool === undefined) return Effect.die(new Error(`no tool ${name}`))
      return tool
        .run(args, { tenant: local, agent: "main", session: "conformance", workspace: root })
        .pipe(Effect.match({ onSuccess: (answer): string | undefined => answer, onFailure: () => undefined }))
    }).pipe(Effect.provide(layer))
  )

const putInside = ({ root }: Sandbox, path: string): void => {
  const target = resolve(root, path)
  if (!target.startsWith(root + sep)) return
  mkdirSync(dirname(target), { recursive: true })
  writeFileSync(target, inside)
}

/** Names, sizes and times of everything beside the workspace. */
const outsideState = ({ base }: Sandbox): string =>
  readdirSync(base, { recursive: true, encoding: "utf8" })
    .filter((name) => name !== "workspace" && !name.startsWith(`workspace${sep}`))
    .sort()
    .map((name) => {
      const info = statSync(join(base, name))
      return `${name} ${info.size} ${info.mtimeMs}`
    })
    .join("\n")

/** Sets the row's links up; the path that its action names. */
const prepare = ({ base, root }: Sandbox, setup: string, action: string): string | undefined => {
  const named = /^(?:read|write|list|open)\s+(\S+)/.exec(action)?.[1]
  const link = /^(\S+)\s*->\s*(\S+)/.exec(setup)
  if (link !== null) {
    const [, name = "", target = ""] = link
    mkdirSync(dirname(join(root, name)), { recursive: true })
    symlinkSync(target, join(root, name))
    return named ?? name
  }
  if (/hard ?link/i.test(setup)) {
    // A file of our own stands for the system's: linking that one would need its file system.
    linkSync(join(base, "outside.txt"), join(root, "hardlink"))
    return "hardlink"
  }
  return undefined
}

/** Reads `d/f` 1,000 times while `d` is now a folder inside, now a link to one outside. */
const underSwap = async (sandbox: Sandbox): Promise<string> => {
  const { base, root } = sandbox
  mkdirSync(join(root, "d"))
  writeFileSync(join(root, "d", "f"), inside)
  symlinkSync(join(base, "outside"), join(base, "lure"))
  const stop = await startSwapping(base, root)
  try {
    for (let i = 0; i < 1_000; i++) {
      const answer = await call(sandbox, "fs.read", { path: "d/f" })
      if (answer !== undefined && answer !== inside) return "escaped"
    }
    return "contained"
  } finally {
    await stop()
  }
}
