import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { decodeStrict } from "#src/setting/decodeStrict.ts"
import { mergePatch } from "#src/setting/mergePatch.ts"
import { format, nearest, pathOf, tableKeysOf } from "#src/setting/Problem.ts"
import { secret, wholeNumber, withDefault } from "#src/setting/schema.ts"
import { substitute } from "#src/setting/substitute.ts"

const decode = decodeStrict(
  Schema.Struct({
    queue: Schema.Struct({
      mode: withDefault(Schema.Literals(["collect", "followup"]), "followup", "how"),
      cap: withDefault(wholeNumber(1), 20, "how many"),
      words: Schema.optionalKey(Schema.Array(Schema.String)),
      key: Schema.optionalKey(secret("queue.key"))
    }),
    lanes: Schema.optionalKey(Schema.Record(Schema.String, Schema.Struct({ size: Schema.Finite })))
  })
)
const told = (input: unknown) =>
  Result.match(decode(input), { onSuccess: () => [], onFailure: (problems) => problems.map(format) })

describe("decodeStrict", () => {
  it("tells every problem at once, with its path, its reason and what was meant", () => {
    const problems = told({
      queue: { mode: "folowup", cpa: 3, cap: 0, words: ["a", 5], key: 7 },
      lanes: { "a b": {}, c: "x" },
      extra: 1
    })

    assert.deepStrictEqual(problems.toSorted(), [
      "extra: unknown key (known: queue, lanes)",
      'lanes."a b".size: is missing',
      "lanes.c: must be a table",
      "queue.cap: must be greater than or equal to 1",
      "queue.cpa: unknown key (did you mean cap?)",
      "queue.key: must be text",
      "queue.mode: must be one of collect, followup (did you mean followup?)",
      "queue.words[1]: must be text"
    ])
  })

  it("refuses keys that reach a prototype, also where any key is allowed", () => {
    for (const name of ["__proto__", "constructor", "prototype"]) {
      const input: unknown = JSON.parse(`{"queue":{},"lanes":{"${name}":{"size":1}}}`)

      assert.deepStrictEqual(told(input), [`lanes.${name}: is a reserved name`])
    }
    assert.strictEqual(Reflect.get({}, "size"), undefined)
  })

  it("never repeats a value", () => {
    const text = told({
      queue: { mode: "hunter2", key: ["hunter2"], cap: "hunter2", hunter: "hunter2" }
    }).join()

    assert.notInclude(text, "hunter2")
  })

  it("does not follow a document that is nested without end", () => {
    const deep: unknown = JSON.parse("[".repeat(5000) + "]".repeat(5000))

    assert.lengthOf(told({ queue: {}, lanes: deep }), 1)
  })
})

describe("substitute", () => {
  it("replaces once, keeps the escaped and the foreign, and names every missing variable", () => {
    const env = { A: "one", LOOP: "${A}", EMPTY: "" }

    assert.deepStrictEqual(
      substitute({ a: ["${A}-$${A}", "${lower}", 5], b: "${LOOP}" }, env),
      Result.succeed({ a: ["one-${A}", "${lower}", 5], b: "${A}" })
    )
    const failed = substitute({ a: ["${NOPE}"], "b.c": { d: "${EMPTY}${toString}${NOPE}" } }, env)
    assert.isTrue(Result.isFailure(failed))
    assert.deepStrictEqual(Result.isFailure(failed) ? failed.failure : [], [
      { variable: "NOPE", path: "a[0]" },
      { variable: "EMPTY", path: '"b.c".d' },
      { variable: "NOPE", path: '"b.c".d' }
    ])
  })
})

describe("mergePatch", () => {
  it("merges tables, deletes by null, replaces the rest and changes neither side", () => {
    const base = { a: { b: 1, c: [1] }, d: 1 }

    assert.deepStrictEqual(mergePatch(base, { a: { c: [2], e: { f: null } }, d: null }), {
      a: { b: 1, c: [2], e: {} }
    })
    assert.deepStrictEqual(base, { a: { b: 1, c: [1] }, d: 1 })
    assert.strictEqual(mergePatch({ a: 1 }, 5), 5)
  })

  it("ignores keys that reach a prototype, at every depth", () => {
    const patch: unknown = JSON.parse(
      '{"__proto__":{"polluted":1},"a":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"b":1}}'
    )

    const merged = mergePatch({}, patch)

    assert.deepStrictEqual(merged, { a: { b: 1 } })
    assert.strictEqual(Reflect.get({}, "polluted"), undefined)
    assert.strictEqual(Object.getPrototypeOf(merged), Object.prototype)
  })
})

describe("a path", () => {
  it("can be read back, up to the first list", () => {
    const path = pathOf(["a", 'odd."key', "b-c", 2, "d"])

    assert.strictEqual(path, 'a."odd.\\"key".b-c[2].d')
    assert.deepStrictEqual(tableKeysOf(path), ["a", 'odd."key', "b-c"])
  })
})

describe("nearest", () => {
  it("finds a slip of the finger and does not guess beyond it", () => {
    const keys = ["port", "token", "max_body_bytes"]

    assert.strictEqual(nearest("prot", keys), "port")
    assert.strictEqual(nearest("Tokn", keys), "token")
    assert.strictEqual(nearest("max_body_size", keys), "max_body_bytes")
    assert.strictEqual(nearest("colour", keys), undefined)
    assert.strictEqual(nearest("x".repeat(10_000), keys), undefined)
  })
})
