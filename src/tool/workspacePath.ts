/**
 * A path as a model wrote it, as names below the workspace.
 *
 * Owns: what may be written at all. It is pure: nothing here looks at a disk.
 * Does not own: links and races, which only the open call can see (`layers/tool/Workspace.ts`).
 *
 * Nothing is ever decoded or expanded: a name is used as written or refused. Spellings that another program would turn
 * into a way out are refused as well, so that a name is harmless wherever it is passed on.
 */
import * as Result from "effect/Result"

/** The names from the workspace down, empty for the workspace itself; or why the path is refused. */
export const workspacePath = (path: string): Result.Result<ReadonlyArray<string>, string> => {
  if (path.length > maxPathChars) return Result.fail("the path is too long")
  if (!path.isWellFormed()) return Result.fail("the path is not valid text")
  if (/[\p{Cc}\u202A-\u202E\u2066-\u2069\u200E\u200F\uFEFF]/u.test(path)) {
    return Result.fail("the path holds control characters")
  }
  const plain = resolve(path)
  if (Result.isFailure(plain)) return plain
  for (const other of readings(path)) {
    const disguised = resolve(other)
    if (Result.isFailure(disguised)) return Result.fail(`${disguised.failure}, in disguise`)
    if (disguised.success.length > plain.success.length)
      return Result.fail("the path holds a separator in disguise")
  }
  return plain
}

const maxPathChars = 4_096
const maxNameBytes = 255
const maxDepth = 64

/** Names that stand for devices on some systems, whatever their extension. */
const device = /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\..*)?$/i

const resolve = (path: string): Result.Result<ReadonlyArray<string>, string> => {
  if (path.includes("\\")) return Result.fail("the path holds a backslash")
  if (path.includes("\0")) return Result.fail("the path holds control characters")
  if (path.startsWith("/")) return Result.fail("the path is absolute; write it from the workspace down")
  if (/^[a-z]:/i.test(path)) return Result.fail("the path names a drive")
  if (/^[a-z][a-z0-9+.-]*:\//i.test(path) || /^file:/i.test(path))
    return Result.fail("the path is an address")
  if (/^~[\w-]*(?:\/|$)/.test(path)) return Result.fail("the path names a home folder")
  const names: Array<string> = []
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue
    if (name === "..") {
      if (names.pop() === undefined) return Result.fail("the path leaves the workspace")
      continue
    }
    // Some systems drop dots and blanks at a name's end, and would read these as "..".
    if (/^[. ]+$/.test(name)) return Result.fail("the path holds a name of dots")
    if (device.test(name.trimEnd())) return Result.fail("the path names a device")
    if (bytesOf(name) > maxNameBytes) return Result.fail("the path holds a name that is too long")
    names.push(name)
    if (names.length > maxDepth) return Result.fail("the path is too deep")
  }
  return Result.succeed(names)
}

/** UTF-8 bytes of a well-formed text. */
const bytesOf = (text: string): number => {
  let bytes = 0
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}

/** What other programs might read in the path: wide letters as plain ones, and percent signs decoded up to three times. */
const readings = (path: string): ReadonlyArray<string> => {
  const found = new Set<string>()
  let reading = path
  for (let round = 0; round < 3; round++) {
    found.add(reading.normalize("NFKC"))
    const decoded = percentDecode(reading)
    if (decoded === reading) break
    found.add(decoded)
    reading = decoded
  }
  found.add(reading.normalize("NFKC"))
  found.delete(path)
  return [...found]
}

/**
 * Each `%XX` as its character, `%uXXXX` likewise. Two bytes that begin with C0 or C1 are an overlong spelling of an ASCII character;
 * lax decoders accept them.
 */
const percentDecode = (text: string): string =>
  text
    .replace(/%c([01])%([0-9a-f]{2})/gi, (_, high: string, low: string) =>
      String.fromCharCode((Number(high) << 6) | (Number.parseInt(low, 16) & 0x3f))
    )
    .replace(/%e0%80%([0-9a-f]{2})/gi, (_, low: string) =>
      String.fromCharCode(Number.parseInt(low, 16) & 0x3f)
    )
    .replace(/%u([0-9a-f]{4})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    .replace(/%([0-7][0-9a-f])/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
