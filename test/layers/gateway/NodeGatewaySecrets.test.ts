import fs from "node:fs"
import path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as NodeGatewaySecrets from "#layers/gateway/NodeGatewaySecrets.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { GatewaySecrets } from "#src/gateway/GatewaySecrets.ts"
import { folder } from "./startGateway.ts"

const open = (directory: string, config: object = {}) =>
  Effect.map(
    Layer.build(
      NodeGatewaySecrets.layer.pipe(
        Layer.provide(Layer.succeed(DataDir)(DataDir.of({ path: directory }))),
        Layer.provide(Settings.layerFrom(config))
      )
    ),
    (built) => ({
      secrets: Context.get(built, GatewaySecrets),
      token: Redacted.value(Context.get(built, NodeGatewaySecrets.OperatorToken).token())
    })
  )

describe("NodeGatewaySecrets", () => {
  it.effect("keeps token and signatures over a restart, in a private file", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const first = yield* open(directory)
      const signed = first.secrets.sign("v1.owner.1.x")
      const second = yield* open(directory)
      const file = path.join(directory, NodeGatewaySecrets.keyFileName)

      assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600)
      assert.deepStrictEqual(fs.readdirSync(directory), [NodeGatewaySecrets.keyFileName])
      assert.isAtLeast(first.token.length, 40)
      assert.isTrue(second.secrets.isToken(first.token))
      assert.strictEqual(second.secrets.verify(signed), "v1.owner.1.x")
    })
  )

  it.effect("refuses other tokens, changed texts and the signatures of another gateway", () =>
    Effect.gen(function* () {
      const { secrets, token } = yield* open(yield* folder)
      const other = yield* open(yield* folder)
      const signed = secrets.sign("v1.owner.1.x")

      assert.isFalse(secrets.isToken(""))
      assert.isFalse(secrets.isToken(token.slice(1)))
      assert.isUndefined(secrets.verify(signed.replace("owner", "admin")))
      assert.isUndefined(secrets.verify(signed.slice(0, -1)))
      assert.isUndefined(secrets.verify(""))
      assert.isUndefined(other.secrets.verify(signed))
    })
  )

  it.effect("prefers the configured token", () =>
    Effect.gen(function* () {
      const { secrets, token } = yield* open(yield* folder, { gateway: { token: "my own" } })

      assert.strictEqual(token, "my own")
      assert.isTrue(secrets.isToken("my own"))
    })
  )

  it.effect("signs alike wherever the configured token is the same, and with another token otherwise", () =>
    Effect.gen(function* () {
      const withToken = (token: string) =>
        Effect.flatMap(folder, (made) => open(made, { gateway: { token } }))
      const one = yield* withToken("a shared token")
      const two = yield* withToken("a shared token")
      const other = yield* withToken("another token")
      const signed = one.secrets.sign("v1.owner.1.x")

      assert.strictEqual(two.secrets.verify(signed), "v1.owner.1.x")
      assert.isUndefined(other.secrets.verify(signed))
    })
  )

  it.effect("says that a broken key file must be deleted", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      fs.writeFileSync(path.join(directory, NodeGatewaySecrets.keyFileName), "short")
      const error = yield* NodeGatewaySecrets.loadKey(directory).pipe(Effect.flip)

      assert.match(error.message, /delete it/)
    })
  )
})
