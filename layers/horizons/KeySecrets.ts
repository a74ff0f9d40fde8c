/**
 * Secrets sealed by AES-256-GCM with keys that are at hand: of the configuration, of a program that has them (a KMS, a vault), or of a file
 * in the data directory.
 *
 * Owns: where the keys are found, their names, and the form of a sealed text. Does not own: what is sealed.
 *
 * A sealed text is 12 random bytes, the encrypted text and 16 bytes of proof, in base64url. The place it belongs to is part of the
 * proof, so that it opens nowhere else.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  timingSafeEqual
} from "node:crypto"
import { execFile } from "node:child_process"
import path from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { KeyMissing, NoSecretsKey, Secrets, SecretsError, Tampered } from "#src/horizons/Secrets.ts"
import { isKey, keysIn, SecretsPlace } from "#src/horizons/SecretsSettings.ts"
import { Runtime } from "#src/setting/RuntimeSettings.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import { loadKey } from "#layers/platform/keyFile.ts"

/** The program of `secrets.key_command` gave no key. */
export class KeyCommandFailed extends Schema.TaggedError<KeyCommandFailed>()("KeyCommandFailed", {
  program: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `secrets.key_command: ${this.program} gave no key: ${this.detail}`
  }
}

const nonceBytes = 12
const proofBytes = 16
export const fileName = "secrets.key"

interface Key {
  readonly id: string
  readonly bytes: Buffer
}

const keyOf = (bytes: Buffer): Key => ({
  id: createHash("sha256").update("opencraw secrets key").update(bytes).digest("hex").slice(0, 12),
  bytes
})

/** Keys as they are written, the present one first. */
const parse = (text: string): ReadonlyArray<Key> =>
  keysIn(text).map((key) => keyOf(Buffer.from(key, /^[0-9a-f]{64}$/i.test(key) ? "hex" : "base64")))

const digestOf = (text: string): Buffer => createHash("sha256").update(text).digest()

const bound = (place: ReadonlyArray<string>): Buffer => Buffer.from(JSON.stringify(place))

const sealWith = ({ id, bytes }: Key, text: string, place: ReadonlyArray<string>) => {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv("aes-256-gcm", bytes, nonce).setAAD(bound(place))
  const parts = [nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]
  return { keyId: id, text: Buffer.concat(parts).toString("base64url") }
}

/** Undefined when it is not what this key sealed for this place. */
const openWith = ({ bytes }: Key, text: string, place: ReadonlyArray<string>): string | undefined => {
  const all = Buffer.from(text, "base64url")
  if (all.length < nonceBytes + proofBytes) return undefined
  const cipher = createDecipheriv("aes-256-gcm", bytes, all.subarray(0, nonceBytes))
    .setAAD(bound(place))
    .setAuthTag(all.subarray(-proofBytes))
  try {
    const opened = cipher.update(all.subarray(nonceBytes, -proofBytes))
    return Buffer.concat([opened, cipher.final()]).toString("utf8")
  } catch {
    return undefined
  }
}

const refuse = (reason: SecretsError["reason"]) => Effect.fail(new SecretsError({ reason }))

/** With these keys, the present one first. */
export const make = (keys: ReadonlyArray<Key>): Secrets["Service"] =>
  Secrets.of({
    seal: (text, place) =>
      Effect.suspend(() => {
        const [present] = keys
        return present === undefined
          ? refuse(new NoSecretsKey({}))
          : Effect.succeed(sealWith(present, Redacted.value(text), place))
      }),
    open: (sealed, place) =>
      Effect.suspend(() => {
        const key = keys.find(({ id }) => id === sealed.keyId)
        if (key === undefined) return refuse(new KeyMissing({ keyId: sealed.keyId }))
        const text = openWith(key, sealed.text, place)
        return text === undefined ? refuse(new Tampered({})) : Effect.succeed(Redacted.make(text))
      }),
    keyId: () => keys[0]?.id,
    derived: (place) =>
      keys.map(({ bytes }) =>
        Redacted.make(
          createHmac("sha256", bytes).update("opencraw derived").update(bound(place)).digest("base64url")
        )
      ),
    digest: (text) => digestOf(text).toString("base64url"),
    isDigestOf: (digest, text) => {
      const known = Buffer.from(digest, "base64url")
      const own = digestOf(text)
      // Compared with something of its length where there is nothing to compare, for the same time.
      const isWhole = known.length === own.length
      return timingSafeEqual(own, isWhole ? known : digestOf("")) && isWhole
    }
  })

/** With the keys that a setting names; without any, nothing can be sealed. */
export const layerKeys = (setting: Redacted.Redacted | undefined) =>
  Layer.sync(Secrets, () => make(setting === undefined ? [] : parse(Redacted.value(setting))))

const commandMillis = 30_000
/** Enough for dozens of keys. */
const commandBytes = 16_384

/** What the command of `secrets.key_command` prints: keys, as the setting would have them. */
const commanded = ([program, ...args]: readonly [string, ...ReadonlyArray<string>]) => {
  const failed = (detail: string) => Effect.fail(new KeyCommandFailed({ program, detail }))
  return Effect.callback<string, KeyCommandFailed>((resume) => {
    const child = execFile(
      program,
      args,
      { timeout: commandMillis, maxBuffer: commandBytes, killSignal: "SIGKILL" },
      // What it printed is a secret, or was meant to be one: only what it complained of is told.
      (error, stdout, stderr) => {
        if (error === null) return resume(Effect.succeed(stdout.trim()))
        const ended = error.killed === true ? `no answer within ${commandMillis / 1000} s` : undefined
        const why = typeof error.code === "string" ? error.code : `it ended with ${String(error.code)}`
        const said = stderr.trim().split("\n").at(-1) ?? ""
        resume(failed(ended ?? (said === "" ? why : `${why}: ${said.slice(0, 500)}`)))
      }
    )
    child.stdin?.end()
    return Effect.sync(() => void child.kill("SIGKILL"))
  }).pipe(
    Effect.flatMap((printed) =>
      keysIn(printed).every(isKey)
        ? Effect.succeed(Redacted.make(printed))
        : failed(
            "what it prints is no key: 32 bytes in base64 or hex, older ones behind it with commas between"
          )
    )
  )
}

/** The keys of `[secrets]`; without any, dev keeps one in the data directory. */
export const layer = Layer.effect(
  Secrets,
  Effect.gen(function* () {
    const { key, key_command } = (yield* SecretsPlace).get()
    if (key !== undefined) return make(parse(Redacted.value(key)))
    if (key_command !== undefined) return make(parse(Redacted.value(yield* commanded(key_command))))
    if ((yield* Runtime).get().mode === "prod") return make([])
    const { path: directory } = yield* DataDir
    return make([keyOf(yield* loadKey(path.join(directory, fileName)))])
  })
)
