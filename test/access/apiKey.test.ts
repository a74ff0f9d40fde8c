import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { idIn, textOf } from "#src/access/apiKey.ts"
import * as NodeIds from "#layers/platform/NodeIds.ts"
import { Ids } from "#src/domain/Ids.ts"

const Id = Schema.String.check(Schema.isPattern(/^[0-9a-z]{1,64}$/))
const Secret = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{16,128}$/))

describe("an API key", () => {
  it.effect.prop(
    "of any id and secret has its id, whatever stands in the secret",
    [Id, Secret],
    ([id, secret]) => Effect.sync(() => assert.strictEqual(idIn(textOf(`key_${id}`, secret)), `key_${id}`))
  )

  it.effect.prop("any other text is none, and nothing is thrown", [Schema.String], ([text]) =>
    Effect.sync(() => {
      assert.isUndefined(idIn(text))
      for (const near of [`ock_${text}`, `ock_a_${text}!`, ` ${text}`]) {
        const id = idIn(near)
        // What reads as a key is written the same again.
        if (id !== undefined) assert.strictEqual(textOf(id, near.slice(near.indexOf("_", 4) + 1)), near)
      }
    })
  )

  it.effect("that was made here reads as one; cut, spelled otherwise or wrapped it does not", () =>
    Effect.gen(function* () {
      const ids = yield* Ids
      const id = ids.next("key")
      const text = textOf(id, ids.secret())

      assert.strictEqual(idIn(text), id)
      assert.match(text, /^[\w-]{60,80}$/)
      for (const wrong of [
        "",
        "ock_",
        "ock__",
        text.slice(1),
        text.slice(0, 40),
        text.toUpperCase(),
        ` ${text}`,
        `${text}\n`,
        `${text}.`,
        `"${text}"`,
        text.replace("ock_", "ock-"),
        `${text}${"a".repeat(129)}`,
        `ock_${"a".repeat(65)}_${"b".repeat(43)}`,
        `ock_é_${"b".repeat(43)}`,
        `ock_a\0_${"b".repeat(43)}`
      ]) {
        assert.isUndefined(idIn(wrong), JSON.stringify(wrong))
      }
    }).pipe(Effect.provide(NodeIds.layer))
  )
})
