/**
 * A key in a file of its own (0600), made when there is none.
 *
 * Owns: that a crash never leaves half a key, and that of two processes one makes it. Does not own: what the key is for.
 */
import { randomBytes } from "node:crypto"
import { linkSync, readFileSync, unlinkSync, writeFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** The key file cannot be read or made. */
export class KeyFileError extends Schema.TaggedError<KeyFileError>()("KeyFileError", {
  file: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `the key file ${this.file} cannot be used: ${this.detail}`
  }
}

export const keyBytes = 32

const hasCode = (cause: unknown, code: string): boolean =>
  cause instanceof Error && "code" in cause && cause.code === code

const read = (file: string): Buffer | undefined => {
  try {
    return Buffer.from(readFileSync(file, "utf8").trim(), "base64url")
  } catch (cause) {
    if (hasCode(cause, "ENOENT")) return undefined
    throw cause
  }
}

// Written aside and linked into place: a crash never leaves half a key, and of two processes one wins.
const create = (file: string): Buffer => {
  const aside = `${file}.${randomBytes(6).toString("hex")}`
  writeFileSync(aside, `${randomBytes(keyBytes).toString("base64url")}\n`, { mode: 0o600, flag: "wx" })
  try {
    linkSync(aside, file)
  } catch (cause) {
    if (!hasCode(cause, "EEXIST")) throw cause
  } finally {
    unlinkSync(aside)
  }
  return read(file) ?? Buffer.alloc(0)
}

/** The key in this file, made when there is none. */
export const loadKey = (file: string): Effect.Effect<Buffer, KeyFileError> =>
  Effect.try({
    try: () => read(file) ?? create(file),
    catch: (cause) =>
      new KeyFileError({ file, detail: cause instanceof Error ? cause.message : String(cause) })
  }).pipe(
    Effect.filterOrFail(
      (key) => key.length === keyBytes,
      () => new KeyFileError({ file, detail: "it does not hold a key; delete it to get a new one" })
    )
  )
