import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"
import { local } from "#src/domain/Tenant.ts"
import { ask, chat, layer, post, says } from "./startGateway.ts"

const system = layer({
  script: ({ messages }) => {
    const asked = messages.at(-1)?.text ?? ""
    return asked === "wait" ? [ScriptedModel.hang] : `re ${asked}`
  }
})

const pathOf = (key: string) => `/api/v1/os/sessions/${encodeURIComponent(key)}`
const fork = (key: string, body: object = {}) => post(`${pathOf(key)}/fork`, body)
const say = (session: string, text: string) => chat(says(text), { "x-opencraw-session-key": session })
const lines = (key: string, query = "") =>
  Effect.map(ask(`${pathOf(key)}/messages${query}`), ({ json }) => json.messages)
const texts = (key: string, query = "") =>
  Effect.map(lines(key, query), (found) => found.map((line: { content: string }) => line.content))
const refusal = (key: string, body: object) =>
  Effect.map(fork(key, body), ({ status, json }) => [status, json.error.code, json.error.param])

describe("POST /api/v1/os/sessions/:key/fork", () => {
  it.effect(
    "answers a new turn with the history up to the fork and nothing later; the original goes on",
    () =>
      Effect.gen(function* () {
        yield* say("plan", "one")
        yield* say("plan", "two")
        yield* say("plan", "three")
        const made = yield* fork("plan", { at: 3, session_key: "other" })
        const before = yield* lines("plan")
        const shared = yield* lines("other")
        yield* say("other", "four")
        yield* say("plan", "five")
        const prompts = (yield* ScriptedModel.ModelScript).requests().map(({ messages }) => messages)
        const bytes = (messages: ReadonlyArray<unknown>) => JSON.stringify(messages)
        const [second, third, inFork, inOriginal] = prompts.slice(1)

        assert.deepStrictEqual([made.status, made.json], [201, { session_key: "agent:main:other", seq: 4 }])
        assert.deepStrictEqual(shared, before.slice(0, 4))
        // The prompt of turn three without its own message is what was said up to the fork.
        assert.strictEqual(bytes(inFork!.slice(0, -1)), bytes(third!.slice(0, -1)))
        assert.isTrue(bytes(inFork!).startsWith(bytes(second!).slice(0, -1)))
        assert.notInclude(bytes(inFork!), "three")
        assert.notInclude(bytes(inOriginal!), "four")
        assert.deepStrictEqual(yield* texts("other"), ["one", "re one", "two", "re two", "four", "re four"])
        assert.deepStrictEqual(yield* texts("other", "?before=6&limit=2"), ["re two", "four"])
        assert.deepStrictEqual((yield* lines("plan")).slice(0, 6), before)
      }).pipe(Effect.provide(system))
  )

  it.effect("of a paused session is paused, at once as after a restart, until somebody resumes it", () =>
    Effect.gen(function* () {
      yield* say("plan", "one")
      yield* post("/api/v1/os/lanes/plan/pause", {})
      const made = (yield* fork("plan")).json.session_key
      const paused = Effect.map(ask("/api/v1/os/lanes"), ({ json }) =>
        json.lanes.map((lane: { session_key: string; paused: boolean }) => [lane.session_key, lane.paused])
      )
      const kept = yield* (yield* MessageLog).settings({ tenant: local, name: "paused", limit: 9 })
      const both = yield* paused
      yield* post(`/api/v1/os/lanes/${encodeURIComponent(made)}/resume`, {})

      assert.deepStrictEqual(both, [
        ["agent:main:plan", true],
        [made, true]
      ])
      assert.deepStrictEqual(
        kept.map(({ session }) => session),
        ["agent:main:plan", made]
      )
      assert.deepStrictEqual(yield* paused, [["agent:main:plan", true]])
      yield* say(made, "two")
      assert.deepStrictEqual(yield* texts(made), ["one", "re one", "two", "re two"])
    }).pipe(Effect.provide(system))
  )

  it.effect("keeps the original's model and queue, and lists where it came from", () =>
    Effect.gen(function* () {
      yield* say("plan", "one")
      yield* say("plan", "/queue steer")
      yield* say("plan", "/usage tokens")
      const made = (yield* fork("plan")).json.session_key
      yield* say(made, "/queue")
      const { sessions } = (yield* ask("/api/v1/os/sessions")).json
      const listed = (key: string) => sessions.find((row: { session_key: string }) => row.session_key === key)
      const log = yield* MessageLog

      assert.match(made, /^agent:main:plan:fork_\w+$/)
      assert.match((yield* texts(made)).at(-1), /steer/)
      assert.deepStrictEqual(listed(made).forked_from, { session_key: "agent:main:plan", seq: 2 })
      assert.strictEqual(listed(made).opening, "one")
      assert.notProperty(listed("agent:main:plan"), "forked_from")
      const kept = yield* log.settings({ tenant: local, name: "usage", limit: 9 })
      assert.deepStrictEqual(
        kept.map(({ session }) => session),
        ["agent:main:plan", made]
      )
      const again = (yield* fork(made)).json.session_key
      assert.match(again, /^agent:main:plan:fork_\w+$/)

      // A key that is free again has nothing of what was kept under it.
      yield* ask(pathOf(again), { method: "DELETE" })
      yield* say(again, "/queue")
      assert.notMatch((yield* texts(again)).at(-1), /steer/)
    }).pipe(Effect.provide(system))
  )

  it.effect("refuses by name what there is not, what is taken and what it does not know", () =>
    Effect.gen(function* () {
      yield* say("plan", "one")

      assert.deepStrictEqual(yield* refusal("none", {}), [404, "not_found", undefined])
      assert.deepStrictEqual(yield* refusal("plan", { at: 9 }), [404, "no_such_turn", "at"])
      assert.deepStrictEqual(yield* refusal("plan", { session_key: "plan" }), [
        409,
        "session_taken",
        "session_key"
      ])
      assert.deepStrictEqual(yield* refusal("plan", { at: 0 }), [400, "invalid_value", "at"])
      assert.deepStrictEqual(yield* refusal("plan", { at: "2" }), [400, "invalid_value", "at"])
      assert.deepStrictEqual(yield* refusal("plan", { session_key: "agent:" }), [
        400,
        "invalid_value",
        "session_key"
      ])
      assert.deepStrictEqual(yield* refusal("plan", { seq: 2 }), [400, "unknown_key", "seq"])
      // A name that is made behind this one would be longer than any session's may be.
      const long = `agent:main:${"n".repeat(500)}`
      yield* say(long, "one")
      assert.deepStrictEqual(yield* refusal(long, {}), [400, "invalid_value", "session_key"])
      assert.strictEqual((yield* post(`${pathOf("plan")}/fork?at=2`, {})).status, 400)
    }).pipe(Effect.provide(system))
  )

  it.effect("does not delete, nor stop, a session whose words its forks share", () =>
    Effect.gen(function* () {
      yield* say("plan", "one")
      const made = (yield* fork("plan")).json.session_key
      yield* post("/api/v1/os/messages/send", { session_key: "plan", content: "wait", id: "w" })
      const remove = (key: string) => ask(pathOf(key), { method: "DELETE" })
      const refused = yield* remove("plan")

      assert.deepStrictEqual(
        [refused.status, refused.json.error.code, refused.json.error.details],
        [409, "session_shared", { forks: [made] }]
      )
      assert.isTrue((yield* lines("plan")).at(-1).open)
      assert.strictEqual((yield* remove(made)).status, 204)
      assert.strictEqual((yield* remove("plan")).status, 204)
      assert.deepStrictEqual(yield* texts("plan"), [])
    }).pipe(Effect.provide(system))
  )
})
