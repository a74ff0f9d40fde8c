/**
 * The gateway's secrets from one key file in the data directory (0600): cookies are signed with it, and where no token is
 * configured the token is derived from it, so both survive a restart and fall together when the file is deleted.
 */
import { createHash, createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto"
import { linkSync, readFileSync, unlinkSync, writeFileSync } from "node:fs"
import path from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { DataDir } from "#layers/platform/DataDir.ts"
import { GatewaySecrets } from "#src/gateway/GatewaySecrets.ts"
import { Gateway } from "#src/gateway/GatewaySettings.ts"

/** The key file cannot be read or made. */
export class KeyFileError extends Schema.TaggedError<KeyFileError>()("KeyFileError", {
  file: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `the gateway's key file ${this.file} cannot be used: ${this.detail}`
  }
}

/** What the local command line needs to talk to its own gateway. */
export class OperatorToken extends Context.Service<
  OperatorToken,
  { readonly token: () => Redacted.Redacted }
>()("opencraw/layers/gateway/NodeGatewaySecrets/OperatorToken") {}

const keyBytes = 32
export const keyFileName = "gateway.key"

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

/** The key of a data directory, made when there is none. */
export const loadKey = (directory: string): Effect.Effect<Buffer, KeyFileError> => {
  const file = path.join(directory, keyFileName)
  return Effect.try({
    try: () => read(file) ?? create(file),
    catch: (cause) =>
      new KeyFileError({ file, detail: cause instanceof Error ? cause.message : String(cause) })
  }).pipe(
    Effect.filterOrFail(
      (key) => key.length === keyBytes,
      () => new KeyFileError({ file, detail: "it does not hold a key; delete it to get a new one" })
    )
  )
}

const derive = (key: Buffer, purpose: string): Buffer =>
  Buffer.from(hkdfSync("sha256", key, "", purpose, keyBytes))

/** The token that stands in for a configured one: the same for the same data directory. */
export const derivedToken = (key: Buffer): string =>
  derive(key, "opencraw gateway token").toString("base64url")

// Digests have one length, so comparing them tells nothing of the texts' lengths.
const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

export const make = Effect.gen(function* () {
  const { path: directory } = yield* DataDir
  const settings = yield* Gateway
  const key = yield* loadKey(directory)
  const cookieKey = derive(key, "opencraw gateway cookie")
  const ownToken = derivedToken(key)
  const token = () => {
    const configured = settings.get().token
    return configured === undefined ? ownToken : Redacted.value(configured)
  }
  let known = { token: "", digest: digest("") }
  const tokenDigest = () => {
    const now = token()
    if (known.token !== now) known = { token: now, digest: digest(now) }
    return known.digest
  }
  const mac = (text: string) => createHmac("sha256", cookieKey).update(text).digest()

  const secrets = GatewaySecrets.of({
    isToken: (candidate) => timingSafeEqual(digest(candidate), tokenDigest()),
    sign: (text) => `${text}.${mac(text).toString("base64url")}`,
    verify: (signed) => {
      const at = signed.lastIndexOf(".")
      if (at < 0) return undefined
      const text = signed.slice(0, at)
      const given = Buffer.from(signed.slice(at + 1), "base64url")
      const right = mac(text)
      return given.length === right.length && timingSafeEqual(given, right) ? text : undefined
    }
  })
  return Context.make(GatewaySecrets, secrets).pipe(
    Context.add(OperatorToken, { token: () => Redacted.make(token(), { label: "gateway.token" }) })
  )
})

export const layer = Layer.effectContext(make)
