/** A call that waits for a decision, as the API and the sockets tell it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { ask, connect, layer, post } from "./startGateway.ts"

const { call } = ScriptedModel
const asking = layer({
  script: [[call("time.now", { zone: "UTC" }, "t1")], "it is late"],
  config: { general: { model: "demo/demo", ask_before: ["time.now"] } }
})
const pending = Effect.map(ask("/api/v1/os/approvals"), ({ json }) => json.approvals)
const decide = (id: string, decision: unknown) => post(`/api/v1/os/approvals/${id}`, { decision })

describe("a call that waits for a decision", () => {
  it.effect("is told to sockets, listed, and goes on when it is approved", () =>
    Effect.gen(function* () {
      const socket = yield* connect({ session_key: "main" })
      socket.send({ type: "message", id: "a", content: "what time is it?" })
      const asked = yield* socket.until("approval")
      yield* socket.until((frame) => frame.type === "run" && frame.state === "parked")
      const [listed] = yield* pending

      assert.deepInclude(asked, { tool: "time.now", arguments: '{"zone":"UTC"}', state: "pending" })
      assert.deepInclude(listed, { id: asked.id, session_key: "agent:main:main", state: "pending" })
      const decided = yield* decide(asked.id, "approve")
      assert.deepStrictEqual([decided.status, decided.json], [200, { state: "approved" }])
      const answer = yield* socket.until("message")
      assert.strictEqual(answer.content, "it is late")
      assert.isDefined(socket.frames.find((frame) => frame.type === "approval" && frame.state === "approved"))
      assert.deepStrictEqual(yield* pending, [])
    }).pipe(Effect.provide(asking))
  )

  it.effect("is told to a socket that comes later", () =>
    Effect.gen(function* () {
      const first = yield* connect({ session_key: "main" })
      first.send({ type: "message", id: "a", content: "what time is it?" })
      const asked = yield* first.until("approval")
      const late = yield* connect({ session_key: "main", after: "0" })

      assert.strictEqual((yield* late.until("approval")).id, asked.id)
    }).pipe(Effect.provide(asking))
  )

  it.effect("is decided once; another decision is 409, an unknown one 404, a wrong one 400", () =>
    Effect.gen(function* () {
      const socket = yield* connect({ session_key: "main" })
      socket.send({ type: "message", id: "a", content: "what time is it?" })
      const { id } = yield* socket.until("approval")
      const wrong = yield* decide(id, "maybe")
      const unknown = yield* decide("apr_none", "deny")
      const denied = yield* decide(id, "deny")
      const late = yield* decide(id, "approve")
      const again = yield* decide(id, "deny")

      assert.deepStrictEqual([wrong.status, wrong.json.error.param], [400, "decision"])
      assert.strictEqual(unknown.status, 404)
      assert.deepStrictEqual([denied.status, denied.json.state], [200, "denied"])
      assert.deepStrictEqual(
        [late.status, late.json.error.code, late.json.error.details],
        [409, "already_decided", { state: "denied" }]
      )
      assert.strictEqual(again.status, 200)
      yield* socket.until("message")
    }).pipe(Effect.provide(asking))
  )
})
