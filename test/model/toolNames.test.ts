import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { toolNames, wireName } from "#src/model/toolNames.ts"

const accepted = /^[a-zA-Z0-9_-]{1,64}$/

/** Names made of what is likely to collide. */
const Name = Schema.Array(
  Schema.Literals(["a", ".", "_", "__", "-", "x0123456789abcdef", "é", "🦀", " ", "B"])
)

describe("toolNames", () => {
  it("keeps accepted names, and writes a dot as two underscores", () => {
    assert.strictEqual(wireName("search"), "search")
    assert.strictEqual(wireName("get_time-2"), "get_time-2")
    assert.strictEqual(wireName("time.now"), "time__now")
    assert.strictEqual(wireName("a.b_c.d"), "a__b_c__d")
  })

  it("gives every other name a digest of itself", () => {
    for (const name of [
      "",
      "a__b",
      "a..b",
      "a_.b",
      ".a",
      "été",
      "x".repeat(65),
      "a b",
      "a.x0123456789abcdef"
    ]) {
      assert.match(wireName(name), /__x[0-9a-f]{16}$/, name)
      assert.match(wireName(name), accepted, name)
    }
  })

  it.effect.prop(
    "is one to one, accepted, and does not depend on the other names",
    { names: Schema.Array(Name) },
    ({ names }) =>
      Effect.sync(() => {
        const real = [...new Set(names.map((parts) => parts.join("")))]
        const forth = toolNames(real)
        const back = toolNames(real.toReversed())

        for (const name of real) {
          assert.match(forth.toWire(name), accepted)
          assert.strictEqual(forth.fromWire(forth.toWire(name)), name)
          assert.strictEqual(back.toWire(name), forth.toWire(name))
        }
        assert.strictEqual(new Set(real.map(forth.toWire)).size, real.length)
      })
  )

  it("does not let a dotted name take the spelling of another", () => {
    const wire = wireName("a b")

    assert.notStrictEqual(wireName(wire.replace("__x", ".x")), wire)
  })

  it("gives an unknown name back as it is", () => {
    assert.strictEqual(toolNames(["time.now"]).fromWire("other"), "other")
  })
})
