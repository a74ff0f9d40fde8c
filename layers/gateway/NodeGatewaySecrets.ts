/**
 * The gateway's secrets: what is signed (cookies and one-time codes) is signed with a key that is derived from the operator's token, so
 * that every gateway with this token knows it. Where no token is configured, both come from one key file in the data directory (0600):
 * they survive a restart and fall together when the file is deleted.
 */
import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto"
import path from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { DataDir } from "#layers/platform/DataDir.ts"
import * as keyFile from "#layers/platform/keyFile.ts"
import type { KeyFileError } from "#layers/platform/keyFile.ts"
import { GatewaySecrets } from "#src/gateway/GatewaySecrets.ts"
import { Gateway } from "#src/gateway/GatewaySettings.ts"

/** What the local command line needs to talk to its own gateway. */
export class OperatorToken extends Context.Service<
  OperatorToken,
  { readonly token: () => Redacted.Redacted }
>()("opencraw/layers/gateway/NodeGatewaySecrets/OperatorToken") {}

const keyBytes = keyFile.keyBytes
export const keyFileName = "gateway.key"

/** The key of a data directory, made when there is none. */
export const loadKey = (directory: string): Effect.Effect<Buffer, KeyFileError> =>
  keyFile.loadKey(path.join(directory, keyFileName))

const derive = (key: Buffer | string, purpose: string): Buffer =>
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
  const ownKey = derive(key, "opencraw gateway cookie")
  const ownToken = derivedToken(key)
  const token = () => {
    const configured = settings.get().token
    return configured === undefined ? ownToken : Redacted.value(configured)
  }
  const knownOf = (now: string) => ({
    token: now,
    digest: digest(now),
    signing: now === ownToken ? ownKey : derive(now, "opencraw gateway signatures")
  })
  let known = knownOf(token())
  const current = () => {
    const now = token()
    if (known.token !== now) known = knownOf(now)
    return known
  }
  const mac = (text: string) => createHmac("sha256", current().signing).update(text).digest()

  const secrets = GatewaySecrets.of({
    isToken: (candidate) => timingSafeEqual(digest(candidate), current().digest),
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
