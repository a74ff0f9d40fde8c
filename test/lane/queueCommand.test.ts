import { assert, describe, it } from "@effect/vitest"
import { parseDirective, type QueueOverrides } from "#src/domain/Queue.ts"
import { inlineQueue, largestSessionCap, queueCommand } from "#src/lane/queueCommand.ts"

const say = (text: string, stored: QueueOverrides = {}) =>
  queueCommand(parseDirective(text), {
    config: { mode: "followup", byChannel: { slack: "collect" } },
    channel: "slack",
    stored
  })

describe("queueCommand", () => {
  it("keeps what it is told beside what was kept, and says where each setting comes from", () => {
    assert.deepStrictEqual(say("/queue steer debounce:500", { cap: 3 }), {
      overrides: { mode: "steer", debounceMs: 500, cap: 3 },
      changed: true,
      answer:
        "Queue mode: steer (this session), debounce 500 ms (this session), cap 3 (this session), drop summarize (default)"
    })
  })

  it("says once what is the same for all", () => {
    assert.strictEqual(
      say("/queue steer debounce:500ms cap:20 drop:old").answer,
      "Queue mode: steer, debounce 500 ms, cap 20, drop old (this session)"
    )
  })

  it("alone only tells", () => {
    const { overrides, changed, answer } = say("/queue", { drop: "new" })

    assert.deepStrictEqual(overrides, { drop: "new" })
    assert.isFalse(changed)
    assert.strictEqual(
      answer,
      "Queue mode: collect (this channel), debounce 1000 ms (default), cap 20 (default), drop new (this session)"
    )
  })

  it("forgets everything on reset and default", () => {
    for (const text of ["/queue reset", "/queue default", "/queue: RESET"]) {
      const { overrides, changed, answer } = say(text, { mode: "steer", cap: 3 })
      assert.deepStrictEqual(overrides, {})
      assert.isTrue(changed)
      assert.match(answer, /^This session keeps no queue settings of its own\. Queue mode: collect/)
    }
    assert.isFalse(say("/queue reset").changed)
  })

  it("changes nothing when a part of it means nothing, and says which", () => {
    for (const [text, what] of [
      ["/queue steer cap:0", "cap:0 means nothing"],
      ["/queue banana", "banana is no queue mode"],
      ["/queue steer debounce:2d", "at most a day"],
      [`/queue cap:${largestSessionCap + 1}`, "at most 1000"],
      ["/queue steer drop:everything debounce:soon", "drop:everything means nothing; debounce:soon means"]
    ] as const) {
      const { overrides, changed, answer } = say(text, { mode: "collect" })
      assert.deepStrictEqual(overrides, { mode: "collect" })
      assert.isFalse(changed)
      assert.match(answer, /^Nothing was changed: .*Usage: \/queue/)
      assert.include(answer, what)
    }
  })

  it("repeats no more of a word than fits a line", () => {
    assert.isBelow(say(`/queue ${"x".repeat(5000)}`).answer.length, 300)
  })
})

describe("inlineQueue", () => {
  it("holds for one message, and is taken out of its text", () => {
    assert.deepStrictEqual(inlineQueue("stop that /queue interrupt and do this"), {
      text: "stop that and do this",
      overrides: { mode: "interrupt" },
      reset: false
    })
    assert.deepStrictEqual(inlineQueue("hello /queue reset"), { text: "hello", overrides: {}, reset: true })
  })

  it("is none when nothing else is said, or when it says nothing", () => {
    for (const text of [
      "/queue steer",
      "/queue",
      "what does /queue do?",
      "hi",
      "/queue cap:0 hi",
      "a /queue steer cap:0 b"
    ]) {
      assert.strictEqual(inlineQueue(text), undefined, text)
    }
  })
})
