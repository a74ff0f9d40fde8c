import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { Secrets } from "#src/horizons/Secrets.ts"

const key = "ab".repeat(32)
const withKeys = (keys: string) => KeySecrets.layerKeys(Redacted.make(keys))
const seal = (text: string, place: ReadonlyArray<string> = ["p"]) =>
  Secrets.use((secrets) => secrets.seal(Redacted.make(text), place))
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-secrets-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)
const inFolder = (path: string, config: Readonly<Record<string, unknown>> = {}) =>
  KeySecrets.layer.pipe(
    Layer.provide(Layer.merge(Layer.succeed(DataDir)({ path }), Layer.orDie(Settings.layerFrom(config))))
  )

describe("KeySecrets", () => {
  it.effect.prop(
    "opens what it sealed, for the same place",
    [Schema.String, Schema.Array(Schema.String)],
    ([text, place]) =>
      Effect.gen(function* () {
        const wellFormed = text.toWellFormed()
        const secrets = yield* Secrets
        const sealed = yield* secrets.seal(Redacted.make(wellFormed), place)
        const other = yield* Effect.flip(secrets.open(sealed, [...place, ""]))

        assert.strictEqual(Redacted.value(yield* secrets.open(sealed, place)), wellFormed)
        assert.strictEqual(other.reason._tag, "Tampered")
      }).pipe(Effect.provide(withKeys(key)))
  )

  it.live(
    "a program may have the keys: it is asked once, and what it says wrong is told without what it printed",
    () =>
      Effect.gen(function* () {
        const path = yield* folder
        const node = process.execPath
        const asked = (...command: ReadonlyArray<string>) =>
          seal("x").pipe(Effect.provide(inFolder(path, { secrets: { key_command: command } })))
        const { keyId } = yield* asked(node, "-e", `console.log("${key},${"cd".repeat(32)}\\n")`)
        const own = yield* seal("x").pipe(Effect.provide(withKeys(key)))
        const refused = [
          ["no-such-program"],
          [node, "-e", 'console.log("s3cret"); console.error("one\\ntoken expired"); process.exit(3)'],
          [node, "-e", 'console.log("s3cret")'],
          [node, "-e", 'console.log("s3cret".repeat(10000))']
        ]
        const messages: Array<string> = []
        for (const command of refused) messages.push((yield* Effect.flip(asked(...command))).message)

        assert.strictEqual(keyId, own.keyId)
        assert.match(messages[0] ?? "", /no-such-program gave no key: ENOENT/)
        assert.match(messages[1] ?? "", /gave no key: it ended with 3: token expired/)
        assert.match(messages[2] ?? "", /what it prints is no key/)
        assert.match(messages[3] ?? "", /MAXBUFFER/)
        assert.notInclude(messages.join(), "s3cret")
      }).pipe(Effect.scoped)
  )

  it.effect("no place can be spelled as another", () =>
    Effect.gen(function* () {
      const secrets = yield* Secrets
      const sealed = yield* seal("x", ["a", "b,c"])
      for (const place of [
        ["a,b", "c"],
        ["a", "b", "c"],
        ['a","b', "c"],
        ["ab", ",c"]
      ]) {
        assert.strictEqual((yield* Effect.flip(secrets.open(sealed, place))).reason._tag, "Tampered")
      }
    }).pipe(Effect.provide(withKeys(key)))
  )

  it.effect("notices every changed byte, and never seals the same twice", () =>
    Effect.gen(function* () {
      const secrets = yield* Secrets
      const sealed = yield* seal("sk-secret")
      const bytes = Buffer.from(sealed.text, "base64url")
      for (let at = 0; at < bytes.length; at++) {
        const changed = Buffer.from(bytes)
        changed[at]! ^= 1
        const error = yield* Effect.flip(
          secrets.open({ ...sealed, text: changed.toString("base64url") }, ["p"])
        )
        assert.strictEqual(error.reason._tag, "Tampered")
      }
      for (const text of ["", "AAAA", sealed.text.slice(0, -4)]) {
        assert.strictEqual(
          (yield* Effect.flip(secrets.open({ ...sealed, text }, ["p"]))).reason._tag,
          "Tampered"
        )
      }
      assert.notStrictEqual((yield* seal("sk-secret")).text, sealed.text)
      assert.notInclude(sealed.text, Buffer.from("sk-secret").toString("base64url"))
    }).pipe(Effect.provide(withKeys(key)))
  )

  it.effect("takes a key in hex and in base64 of both alphabets, and knows it by the same name", () =>
    Effect.gen(function* () {
      const bytes = Buffer.from("fb".repeat(32), "hex")
      const names = yield* Effect.forEach(
        [
          bytes.toString("hex"),
          bytes.toString("base64"),
          bytes.toString("base64url"),
          ` ${bytes.toString("hex")} , ${key}`
        ],
        (keys) =>
          Effect.provide(
            Effect.map(Secrets, (secrets) => secrets.keyId()),
            Layer.fresh(withKeys(keys))
          )
      )
      assert.strictEqual(new Set(names).size, 1)
      assert.notInclude(bytes.toString("hex"), names[0] ?? "")
    })
  )

  it.effect("in dev keeps a key of its own in the data directory, for its owner only", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const sealed = yield* Effect.provide(seal("x"), inFolder(path))
      const file = join(path, "secrets.key")

      assert.strictEqual(statSync(file).mode & 0o777, 0o600)
      const text = yield* Effect.provide(
        Secrets.use((secrets) => secrets.open(sealed, ["p"])),
        Layer.fresh(inFolder(path))
      )
      assert.strictEqual(Redacted.value(text), "x")
      // The file's key may be named in the configuration as any other.
      const named = yield* Effect.provide(
        Secrets.use((secrets) => secrets.open(sealed, ["p"])),
        inFolder(path, { secrets: { key: `${key},${readFileSync(file, "utf8").trim()}` } })
      )
      assert.strictEqual(Redacted.value(named), "x")
      writeFileSync(file, "no key\n")
      const error = yield* Effect.flip(Effect.provide(seal("x"), Layer.fresh(inFolder(path))))
      assert.strictEqual(error._tag, "KeyFileError")
    })
  )

  it.effect("a digest is known again, and no other text has it", () =>
    Effect.gen(function* () {
      const { digest, isDigestOf } = yield* Secrets
      assert.isTrue(isDigestOf(digest("a"), "a"))
      for (const wrong of [digest("b"), "", "a", `${digest("a")}AA`]) assert.isFalse(isDigestOf(wrong, "a"))
    }).pipe(Effect.provide(withKeys(key)))
  )
})
