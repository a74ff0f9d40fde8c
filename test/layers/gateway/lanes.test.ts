/** What the lanes are doing, and what people do to them, over HTTP and `/ws/lanes`. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { ModelScript } from "#layers/model/ScriptedModel.ts"
import { Shutdown } from "#src/gateway/Shutdown.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { ask, connect, type Client, layer, post, type Reply, refusedWith, token } from "./startGateway.ts"

const { call, hang, wait } = ScriptedModel
const lanes = Effect.map(ask("/api/v1/os/lanes"), ({ json }) => json)
const act = (path: string) => ask(`/api/v1/os/lanes/${path}`, { method: "POST" })
const send = (id: string, session = "work") =>
  Effect.map(
    post("/api/v1/os/messages/send", { session_key: session, content: id, id }),
    ({ json }) => json.message_id as string
  )
const status = (id: string) => Effect.map(ask(`/api/v1/os/messages/${id}`), ({ json }) => json)
const cancel = (id: string) => ask(`/api/v1/os/messages/${id}/cancel`, { method: "POST" })
const codeOf = ({ status, json }: Reply) => [status, json?.error?.code]
const turns = Effect.promise(() => new Promise(setImmediate))

/** Ask until it is so: what an event leads to is done in turns of the loop, not in time. */
const until = <A, E, R>(effect: Effect.Effect<A, E, R>, fits: (value: A) => boolean) =>
  Effect.gen(function* () {
    while (true) {
      const value = yield* effect
      if (fits(value)) return value
      yield* turns
    }
  })

const queueing = { queue: { mode: "followup" } }

describe("the list of lanes", () => {
  it.effect("tells the run, its step and tools, what waits and since when", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { push } = yield* ModelScript
      push([call("time.now", {}, "t1")], [wait(gate)], "done")
      yield* TestClock.adjust("1 minute")
      yield* send("1")
      yield* until(lanes, ({ lanes }) => lanes[0]?.run?.step === 2)
      yield* send("2")
      const {
        paused,
        lanes: [lane, ...others]
      } = yield* lanes

      assert.isFalse(paused)
      assert.lengthOf(others, 0)
      assert.deepInclude(lane, {
        session_key: "agent:main:work",
        budget: "main",
        phase: "running",
        paused: false,
        depth: 1,
        oldest_at: 60_000,
        fenced: 0
      })
      assert.deepInclude(lane.run, { attempt: 1, began_at: 60_000, step: 2, tools: [] })
      yield* Deferred.succeed(gate, undefined)
      yield* until(lanes, ({ lanes }) => lanes.length === 0)
    }).pipe(Effect.provide(layer({ config: queueing })))
  )
})

describe("control over HTTP", () => {
  it.effect("stops a session's work, or aborts only its run", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* send("1"), yield* send("2")]
      const aborted = yield* act("work/abort")
      assert.deepStrictEqual([aborted.status, aborted.text], [204, ""])
      yield* until(status(one), ({ outcome }) => outcome === "cancelled")
      assert.isUndefined((yield* status(two)).outcome)

      assert.strictEqual((yield* act("work/stop")).status, 204)
      yield* until(status(two), ({ outcome }) => outcome === "cancelled")
      assert.deepStrictEqual(codeOf(yield* act("work/abort")), [404, "no_run"])
      assert.strictEqual((yield* act("work/stop")).status, 204)
    }).pipe(Effect.provide(layer({ script: () => [hang], config: queueing })))
  )

  it.effect("pauses and resumes one session, which is listed even when it does nothing", () =>
    Effect.gen(function* () {
      yield* until(status(yield* send("0")), ({ outcome }) => outcome === "answered")
      assert.strictEqual((yield* act("work/pause")).status, 204)
      assert.deepInclude((yield* lanes).lanes[0], {
        session_key: "agent:main:work",
        phase: "idle",
        paused: true
      })
      const [id, other] = [yield* send("1"), yield* send("1", "other")]
      yield* until(status(other), ({ outcome }) => outcome === "answered")
      assert.strictEqual((yield* status(id)).state, "queued")
      assert.strictEqual((yield* act("work/resume")).status, 204)
      yield* until(status(id), ({ outcome }) => outcome === "answered")
      assert.deepStrictEqual((yield* lanes).lanes, [])
    }).pipe(Effect.provide(layer({ script: () => "ok" })))
  )

  it.effect("pauses and resumes all sessions, and a check says so while it is ready all the same", () =>
    Effect.gen(function* () {
      const checked = Effect.map(ask("/api/v1/os/checks?offline=1"), ({ json }) =>
        json.checks.find(({ name }: { name: string }) => name === "lanes")
      )
      assert.strictEqual((yield* checked).status, "ok")
      assert.strictEqual((yield* act("pause")).status, 204)
      const id = yield* send("1")
      assert.isTrue((yield* lanes).paused)
      assert.deepInclude(yield* checked, {
        status: "warning",
        message: "the whole gateway is paused: opencraw lanes resume"
      })
      const ready = yield* ask("/ready")
      assert.strictEqual(ready.status, 200)
      assert.deepInclude(ready.json.checks, { name: "lanes", status: "warning" })
      assert.strictEqual((yield* status(id)).state, "queued")
      assert.strictEqual((yield* act("resume")).status, 204)
      yield* until(status(id), ({ outcome }) => outcome === "answered")
      assert.isFalse((yield* lanes).paused)
    }).pipe(Effect.provide(layer({ script: () => "ok" })))
  )

  it.effect("cancels one message: 404 when there is none, 409 when it has ended", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* send("1"), yield* send("2")]
      assert.strictEqual((yield* cancel(two)).status, 204)
      yield* until(status(two), ({ outcome }) => outcome === "cancelled")
      assert.strictEqual((yield* status(one)).state, "running")
      assert.strictEqual((yield* cancel(one)).status, 204)
      yield* until(status(one), ({ outcome }) => outcome === "cancelled")

      const again = yield* cancel(one)
      assert.deepStrictEqual(codeOf(again), [409, "already_ended"])
      assert.deepStrictEqual(again.json.error.details, { outcome: "cancelled" })
      assert.deepStrictEqual(codeOf(yield* cancel("msg_none")), [404, "not_found"])
    }).pipe(Effect.provide(layer({ script: () => [hang], config: queueing })))
  )

  it.effect("refuses what it does not know by name", () =>
    Effect.gen(function* () {
      yield* send("1")
      assert.deepStrictEqual(codeOf(yield* act("work/explode")), [400, "unknown_action"])
      assert.deepStrictEqual(codeOf(yield* act("stop")), [400, "unknown_action"])
      assert.deepStrictEqual(codeOf(yield* act("nobody/pause")), [404, "not_found"])
      assert.deepStrictEqual(codeOf(yield* act("work/pause?force=1")), [400, "unknown_key"])
      assert.deepStrictEqual(codeOf(yield* post("/api/v1/os/lanes/pause", { soon: true })), [
        400,
        "unknown_key"
      ])
      assert.strictEqual((yield* post("/api/v1/os/lanes/resume", {})).status, 204)
      assert.strictEqual((yield* ask("/api/v1/os/lanes/pause")).status, 405)
      assert.isFalse((yield* lanes).paused)
    }).pipe(Effect.provide(layer({ script: () => [hang] })))
  )

  it.effect("forgets a pause with its session", () =>
    Effect.gen(function* () {
      yield* until(status(yield* send("1")), ({ outcome }) => outcome === "answered")
      yield* act("work/pause")
      yield* ask("/api/v1/os/sessions/work", { method: "DELETE" })
      assert.deepStrictEqual((yield* lanes).lanes, [])
      yield* until(status(yield* send("2")), ({ outcome }) => outcome === "answered")
    }).pipe(Effect.provide(layer({ script: () => "ok" })))
  )
})

describe("/ws/lanes", () => {
  const watch = connect({}, {}, "/ws/lanes")
  /** Half a second passes, and what was sent in it arrives: a ping's answer comes behind it. */
  const tick = (client: Client) =>
    Effect.andThen(
      TestClock.adjust("500 millis"),
      Effect.promise(
        () =>
          new Promise<void>((resolve) => {
            client.socket.once("pong", () => resolve())
            client.socket.ping()
          })
      )
    )

  it.effect(
    "tells at once, after each change at most twice a second, and nothing while nothing changes",
    () =>
      Effect.gen(function* () {
        const one = yield* watch
        assert.deepStrictEqual(yield* one.until("lanes"), {
          type: "lanes",
          paused: false,
          total: 0,
          lanes: []
        })
        for (let n = 0; n < 5; n++) yield* tick(one)
        assert.lengthOf(one.frames, 1)

        yield* act("pause")
        for (let n = 0; n < 10; n++) yield* send(`${n}`)
        assert.lengthOf(one.frames, 1)
        yield* tick(one)
        assert.lengthOf(one.frames, 2)
        assert.deepInclude(one.frames[1], { paused: true, total: 1 })
        assert.deepInclude(one.frames[1].lanes[0], { session_key: "agent:main:work", depth: 10 })

        const late = yield* watch
        assert.deepStrictEqual(yield* late.until("lanes"), one.frames[1])
        yield* act("work/stop")
        yield* until(lanes, ({ lanes }) => lanes.length === 0)
        yield* tick(one)
        yield* tick(late)
        for (const { frames } of [one, late]) assert.deepInclude(frames.at(-1), { total: 0, lanes: [] })
        assert.lengthOf(one.frames, 3)
        assert.lengthOf(late.frames, 2)
      }).pipe(Effect.provide(layer({ script: () => "ok", config: queueing })))
  )

  it.effect("tells the oldest of very many", () =>
    Effect.gen(function* () {
      yield* act("pause")
      for (let n = 0; n < 510; n++) {
        yield* send("1", `s${n}`)
        yield* TestClock.adjust(1)
      }
      const client = yield* watch
      const { total, lanes } = yield* client.until("lanes")
      assert.deepStrictEqual([total, lanes.length], [510, 500])
      assert.strictEqual(lanes[0].session_key, "agent:main:s0")
      assert.strictEqual(lanes.at(-1).session_key, "agent:main:s499")
    }).pipe(Effect.provide(layer({ script: () => "ok" })))
  )

  it.effect("is refused as /ws is: host, page, parameters, token; and takes no frames", () =>
    Effect.gen(function* () {
      const refused = (query: Record<string, string>, options = {}) =>
        refusedWith(query, options, "/ws/lanes")
      assert.strictEqual(yield* refused({ token }, { origin: "https://evil.test" }), 403)
      assert.strictEqual(yield* refused({ token }, { headers: { host: "evil.test" } }), 403)
      assert.strictEqual(yield* refused({ token, after: "1" }), 400)
      assert.strictEqual(yield* refused({}), 401)
      assert.strictEqual(yield* refusedWith({ token }, {}, "/ws/other"), 404)
      assert.deepStrictEqual(codeOf(yield* ask("/ws/lanes")), [426, "upgrade_required"])
      const client = yield* watch
      client.send({ type: "stop" })
      assert.strictEqual(yield* client.closed, 1008)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("closes when the gateway stops", () =>
    Effect.gen(function* () {
      const client = yield* watch
      yield* client.until("lanes")
      yield* (yield* Shutdown).finish
      assert.strictEqual(yield* client.closed, 1001)
      assert.isFalse((yield* Lanes).isPaused())
    }).pipe(Effect.provide(layer()))
  )
})
