/**
 * Who may import whom: each rule is a function of one file's path and text, and says what is wrong with it.
 *
 * Owns: the table of the stairs and the rules.
 * Does not own: finding the files; `Stairs.test.ts` does, and shows each rule an offending sample.
 */
import { builtinModules } from "node:module"
import path from "node:path"

/** The step of each room of src. A file imports its own room or a room of a lower step. */
export const steps: ReadonlyMap<string, number> = new Map(
  [
    // `setting` is the shape that the settings of every room above share, so it stands with the words.
    ["domain", "Telemetry", "setting"],
    ["horizons", "placement", "model", "channel", "tool", "command", "hook", "check"],
    ["memory", "approval", "access", "budget", "outbound"],
    ["context"],
    ["agent", "session"],
    ["lane"],
    ["inbound"],
    ["automation", "improve"],
    ["gateway"],
    ["System"]
  ].flatMap((rooms, step) => rooms.map((room) => [room, step] as const))
)

/** Files beside the rooms that make one room together. */
const topRooms: ReadonlyMap<string, string> = new Map([
  ["Telemetry.ts", "Telemetry"],
  ["System.ts", "System"],
  ["Config.ts", "System"],
  ["ConfigKeys.ts", "System"]
])

interface Import {
  readonly specifier: string
  /** The file it names, relative to the repository; undefined for a package. */
  readonly target: string | undefined
}

/** Every module that a file names in an import, an export-from, a dynamic import or an import type. */
export const importsOf = (file: string, text: string): ReadonlyArray<Import> => {
  const code = text.replaceAll(/^\s*\/\/.*$/gm, "").replaceAll(/\/\*[\s\S]*?\*\//g, "")
  const found = [...code.matchAll(/\b(?:from|import|require)\s*\(?\s*["']([^"'\n]+)["']/g)]
  return found.map((match) => {
    const specifier = match[1] ?? ""
    if (specifier.startsWith("#")) return { specifier, target: specifier.slice(1) }
    if (!specifier.startsWith(".")) return { specifier, target: undefined }
    return { specifier, target: path.posix.join(path.posix.dirname(file), specifier) }
  })
}

const isWeb = (file: string) => file.startsWith("src/web/")
const isSrc = (file: string) => file.startsWith("src/") && !isWeb(file)
const isLayers = (file: string) => file.startsWith("layers/")

/** The room of a file of src or layers; undefined for a file that stands beside the rooms and is in no table. */
const roomOf = (file: string): string | undefined => {
  const [, first = "", second] = file.split("/")
  if (second !== undefined) return first
  return file.startsWith("src/") ? topRooms.get(first) : undefined
}

export type Rule = (file: string, text: string) => ReadonlyArray<string>

/** Makes a rule of what is wrong with one import, asked of the files that `applies` to. */
const eachImport =
  (applies: (file: string) => boolean, wrong: (file: string, found: Import) => string | undefined): Rule =>
  (file, text) =>
    applies(file)
      ? importsOf(file, text).flatMap((found) => {
          const reason = wrong(file, found)
          return reason === undefined ? [] : [`${file} imports ${found.specifier}: ${reason}`]
        })
      : []

const upward = eachImport(isSrc, (file, { target }) => {
  if (target === undefined || !isSrc(target)) return undefined
  const [from, to] = [roomOf(file), roomOf(target)]
  const [fromStep, toStep] = [steps.get(from ?? ""), steps.get(to ?? "")]
  if (fromStep === undefined) return `the room ${from ?? "of this file"} is not in the table of the stairs`
  if (toStep === undefined) return `the room ${to ?? "of that file"} is not in the table of the stairs`
  if (from === to || toStep < fromStep) return undefined
  return `${from} is on step ${fromStep}, ${to} on step ${toStep}`
})

const layersFromSrc = eachImport(isSrc, (_, { target }) =>
  target !== undefined && isLayers(target) ? "src must not know its adapters" : undefined
)

const builtins = new Set(builtinModules)
const vendorInSrc = eachImport(isSrc, (_, { specifier, target }) => {
  if (target !== undefined || specifier === "effect" || specifier.startsWith("effect/")) return undefined
  return specifier.startsWith("node:") || builtins.has(specifier)
    ? "the platform lives in layers/platform"
    : "drivers and vendors live in layers"
})

const domainAlone = eachImport(
  (file) => file.startsWith("src/domain/"),
  (_, { specifier, target }) => {
    if (target !== undefined)
      return target.startsWith("src/domain/") ? undefined : "domain imports only itself"
    return /^effect\/[A-Za-z]+$/.test(specifier) ? undefined : "domain imports only modules of effect's core"
  }
)

const barrel = eachImport(
  (file) => isSrc(file) || isLayers(file),
  (_, { specifier }) =>
    specifier === "effect" ? "the barrel triples the start-up time; import effect/Module" : undefined
)

const roomsOfLayers = eachImport(isLayers, (file, { target }) => {
  const from = roomOf(file)
  if (target === undefined || !isLayers(target) || from === undefined) return undefined
  const to = roomOf(target)
  if (to === from || to === "platform") return undefined
  return to === undefined
    ? "an adapter knows no composition"
    : "an adapter knows no other room of layers but platform"
})

const scriptsAlone = eachImport(
  (file) => !file.startsWith("scripts/") && !/^test\/scripts\/\w+\.test\.ts$/.test(file),
  (_, { target }) => (target?.startsWith("scripts/") === true ? "scripts are imported by nobody" : undefined)
)

const pageApart = eachImport(
  (file) => isWeb(file) || isSrc(file) || isLayers(file),
  (file, { specifier, target }) => {
    if (!isWeb(file))
      return target !== undefined && isWeb(target) ? "the page is imported by nobody" : undefined
    if (target !== undefined) return isWeb(target) ? undefined : "the page imports only itself"
    const own = specifier.startsWith("preact") || (specifier === "vite" && file.endsWith("/vite.config.ts"))
    return own ? undefined : "the page is made of Preact alone"
  }
)

export const rules = {
  upward,
  layersFromSrc,
  vendorInSrc,
  domainAlone,
  barrel,
  roomsOfLayers,
  scriptsAlone,
  pageApart
} satisfies Record<string, Rule>
