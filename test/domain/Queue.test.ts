import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import {
  inboundDebounceMs,
  longestDebounceMs,
  normalizeDrop,
  normalizeMode,
  parseDirective,
  parseMillis,
  resolve,
  resolveWithSources
} from "#src/domain/Queue.ts"

describe("normalizeMode and normalizeDrop", () => {
  it("know words, not names that every object has", () => {
    assert.strictEqual(normalizeMode(" Follow-Up "), "followup")
    assert.strictEqual(normalizeMode("steer-backlog"), "steer")
    assert.strictEqual(normalizeMode("constructor"), undefined)
    assert.strictEqual(normalizeDrop("__proto__"), undefined)
  })
})

describe("parseMillis", () => {
  it("reads lengths of time; a bare number is ms", () => {
    assert.deepStrictEqual(
      ["500", "500ms", "0.5s", "2m", "1h", "1D", "0"].map(parseMillis),
      [500, 500, 500, 120_000, 3_600_000, 86_400_000, 0]
    )
    assert.deepStrictEqual(["", "s", "-5", "1w", "1e3", "5 s", "9".repeat(400)].map(parseMillis), [
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined
    ])
  })
})

describe("parseDirective", () => {
  it("leaves what stands around it as it was written", () => {
    const { rest, overrides } = parseDirective("look at\n\n  this:\n/queue steer cap:3\n  code  here")

    assert.strictEqual(rest, "look at\n\n  this:\ncode  here")
    assert.deepStrictEqual(overrides, { mode: "steer", cap: 3 })
  })

  it("tells which options mean nothing", () => {
    const { unclear, overrides } = parseDirective("/queue debounce:soon cap=2.5 drop:all steer")

    assert.deepStrictEqual(unclear, ["debounce:soon", "drop:all"])
    assert.deepStrictEqual(overrides, { mode: "steer", cap: 2 })
  })

  it("is not found within a word or a path", () => {
    for (const text of ["a/queue steer", "/queues steer", "/queue/x", "see /queue-steer"]) {
      assert.deepStrictEqual(parseDirective(text), {
        found: false,
        rest: text,
        overrides: {},
        reset: false,
        unclear: []
      })
    }
  })

  it("is quick on a megabyte of anything", () => {
    for (const filler of ["\n", " ", "/queue ", "steer ", ":"]) {
      const text = `${filler.repeat(1_000_000 / filler.length)}x /queue steer`
      assert.isTrue(parseDirective(text).found || filler === ":")
    }
  })

  it.prop("never fails, and adds nothing to a text", { text: Schema.String }, ({ text }) => {
    const { found, rest } = parseDirective(text)
    if (!found) assert.strictEqual(rest, text)
    assert.isAtMost(rest.length, text.length)
  })
})

describe("resolve", () => {
  const config = {
    mode: "followup",
    debounceMs: 10,
    cap: 5,
    drop: "old",
    byChannel: { slack: "interrupt" },
    debounceMsByChannel: { slack: 20 }
  } as const

  it("takes the nearest wish for each setting by itself, and says whose it was", () => {
    assert.deepStrictEqual(
      resolveWithSources(config, "slack", { cap: 7, mode: "collect" }, { mode: "steer" }),
      {
        choice: { mode: "steer", debounceMs: 20, cap: 7, drop: "old" },
        sources: { mode: "message", debounceMs: "channel", cap: "session", drop: "configuration" }
      }
    )
    assert.deepStrictEqual(resolveWithSources({}, "slack").sources, {
      mode: "default",
      debounceMs: "default",
      cap: "default",
      drop: "default"
    })
  })

  it("keeps every number where it can be used", () => {
    assert.deepStrictEqual(resolve({}, "x", { debounceMs: 1e15, cap: -4.5 }), {
      mode: "collect",
      debounceMs: longestDebounceMs,
      cap: 1,
      drop: "summarize"
    })
    assert.strictEqual(inboundDebounceMs({ byChannel: { Slack: 30 } }, "slack "), 30)
  })

  it("is not fooled by a channel named like a property of every object", () => {
    assert.strictEqual(resolve({ byChannel: {} }, "constructor").mode, "collect")
  })
})
