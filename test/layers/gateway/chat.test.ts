import { request } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import OpenAI from "openai"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { ModelScript } from "#layers/model/ScriptedModel.ts"
import { ask, chat, eventsOf, layer, says, token } from "./startGateway.ts"

const client = Effect.map(
  NodeServer.NodeServer,
  ({ url }) => new OpenAI({ apiKey: token, baseURL: `${url}/v1`, maxRetries: 0 })
)

const contentOf = (events: ReadonlyArray<string>) =>
  events
    .filter((event) => event !== "[DONE]")
    .map((event) => JSON.parse(event).choices?.[0]?.delta?.content ?? "")
    .join("")

// More than the kernel's own buffers between two sockets of this machine.
const large = Array.from({ length: 1600 }, (_, n) => `${n} `.padEnd(8000, "x"))

describe("POST /v1/chat/completions", () => {
  it.effect("answers the official client", () =>
    Effect.gen(function* () {
      const openai = yield* client
      const completion = yield* Effect.promise(() =>
        openai.chat.completions.create({ model: "opencraw", messages: [{ role: "user", content: "hello" }] })
      )

      assert.strictEqual(completion.choices[0]?.message.content, "hi there")
      assert.strictEqual(completion.choices[0]?.finish_reason, "stop")
      assert.isAbove(completion.usage?.total_tokens ?? 0, 0)
    }).pipe(Effect.provide(layer({ script: ["hi there"] })))
  )

  it.effect("streams to the official client, with usage when it asks", () =>
    Effect.gen(function* () {
      const openai = yield* client
      const chunks = yield* Effect.promise(async () => {
        const stream = await openai.chat.completions.create({
          model: "opencraw/main",
          messages: [{ role: "user", content: "hello" }],
          stream: true,
          stream_options: { include_usage: true }
        })
        return Array.fromAsync(stream)
      })

      assert.strictEqual(chunks[0]?.choices[0]?.delta.role, "assistant")
      assert.strictEqual(
        chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
        "one two three"
      )
      assert.strictEqual(chunks.at(-2)?.choices[0]?.finish_reason, "stop")
      assert.isAbove(chunks.at(-1)?.usage?.total_tokens ?? 0, 0)
    }).pipe(Effect.provide(layer({ script: [ScriptedModel.text("one ", "two ", "three")] })))
  )

  it.effect("ends a stream with [DONE] and tells the client not to send again", () =>
    Effect.gen(function* () {
      const reply = yield* chat({ ...says("hello"), stream: true })

      assert.strictEqual(reply.headers.get("content-type"), "text/event-stream; charset=utf-8")
      assert.strictEqual(reply.headers.get("x-should-retry"), "false")
      assert.match(reply.headers.get("x-request-id") ?? "", /^req_/)
      assert.strictEqual(eventsOf(reply.text).at(-1), "[DONE]")
      assert.strictEqual(contentOf(eventsOf(reply.text)), "fine")
    }).pipe(Effect.provide(layer({ script: ["fine"] })))
  )

  it.effect("gives a session of its own history by header and by user, and none to others", () =>
    Effect.gen(function* () {
      yield* chat(says("my name is Ada"), { "x-opencraw-session-key": "Notes" })
      yield* chat(says("what is my name?"), { "x-opencraw-session-key": "agent:main:notes" })
      yield* chat({ ...says("and mine?"), user: "notes" })
      const requests = (yield* ModelScript).requests()

      const texts = requests.map((request) =>
        request.messages.filter((one) => one.role !== "system").map((one) => ("text" in one ? one.text : ""))
      )
      assert.deepStrictEqual(texts[1], ["my name is Ada", "a", "what is my name?"])
      assert.deepStrictEqual(texts[2], ["and mine?"])
    }).pipe(Effect.provide(layer({ script: ["a", "b", "c"] })))
  )

  it.effect(
    "uses the request's own messages as history when it names no session, and lists no such session",
    () =>
      Effect.gen(function* () {
        yield* chat({
          temperature: 0.5,
          max_tokens: 7,
          messages: [
            { role: "system", content: "Be brief." },
            { role: "user", content: "one" },
            { role: "assistant", content: "two" },
            { role: "user", content: [{ type: "text", text: "three" }] }
          ]
        })
        const request = (yield* ModelScript).requests()[0]
        const listed = yield* ask("/api/v1/os/sessions")

        assert.deepStrictEqual(
          request?.messages
            .filter((one) => one.role !== "system")
            .map((one) => ("text" in one ? one.text : "")),
          ["one", "two", "three"]
        )
        assert.match(JSON.stringify(request?.messages[0]), /Be brief\./)
        assert.deepStrictEqual(request?.params, { temperature: 0.5, maxOutputTokens: 7 })
        assert.deepStrictEqual(listed.json, { sessions: [] })
      }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("gives the stored answer to the same Idempotency-Key, and 422 to another text", () =>
    Effect.gen(function* () {
      const headers = { "idempotency-key": "k-1" }
      const first = yield* chat(says("hello"), headers)
      const again = yield* chat(says("hello"), headers)
      const streamed = yield* chat({ ...says("hello"), stream: true }, headers)
      const other = yield* chat(says("bye"), headers)

      assert.strictEqual(first.json.choices[0].message.content, "once")
      assert.deepStrictEqual(again.json.choices, first.json.choices)
      assert.deepStrictEqual(again.json.usage, first.json.usage)
      assert.strictEqual(contentOf(eventsOf(streamed.text)), "once")
      assert.strictEqual(other.status, 422)
      assert.strictEqual(other.json.error.code, "id_reused")
      assert.strictEqual((yield* ModelScript).requests().length, 1)
    }).pipe(Effect.provide(layer({ script: ["once", "twice"] })))
  )

  it.effect("keeps a silent stream alive every 15 seconds without any limit", () =>
    Effect.gen(function* () {
      const until = yield* Deferred.make<void>()
      ;(yield* ModelScript).push([ScriptedModel.wait(until), ...ScriptedModel.text("late")])
      const asked = yield* Effect.forkChild(chat({ ...says("hello"), stream: true, user: "u" }), {
        startImmediately: true
      })
      const script = yield* ModelScript
      while (script.requests().length === 0) yield* Effect.promise(() => new Promise(setImmediate))
      yield* TestClock.adjust("46 seconds")
      yield* Deferred.succeed(until, undefined)
      const reply = yield* Fiber.join(asked)

      assert.strictEqual(reply.text.split(": keepalive\n\n").length - 1, 3)
      assert.strictEqual(contentOf(eventsOf(reply.text)), "late")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("answers 504 still_running at the wait limit while the run goes on", () =>
    Effect.gen(function* () {
      const until = yield* Deferred.make<void>()
      const script = yield* ModelScript
      script.push([ScriptedModel.wait(until), ...ScriptedModel.text("late")])
      const asked = yield* Effect.forkChild(chat({ ...says("hello"), user: "u" }), { startImmediately: true })
      while (script.requests().length === 0) yield* Effect.promise(() => new Promise(setImmediate))
      yield* TestClock.adjust("30 seconds")
      const reply = yield* Fiber.join(asked)
      const id = reply.json.error.details.message_id
      const before = yield* ask(`/api/v1/os/messages/${id}`)
      yield* Deferred.succeed(until, undefined)
      while ((yield* ask(`/api/v1/os/messages/${id}`)).json.state !== "ended") yield* Effect.yieldNow

      assert.strictEqual(reply.status, 504)
      assert.strictEqual(reply.json.error.code, "still_running")
      assert.strictEqual(reply.headers.get("x-should-retry"), "false")
      assert.strictEqual(before.json.state, "running")
      const after = yield* ask(`/api/v1/os/messages/${id}`)
      assert.strictEqual(after.json.outcome, "answered")
      assert.deepStrictEqual(
        after.json.timeline.map((step: { step: string }) => step.step),
        ["accepted", "run_started", "model", "run_ended"]
      )
    }).pipe(Effect.provide(layer({ gateway: { wait_limit_s: 30 } })))
  )

  it.effect("cancels an ephemeral run when its client goes, and lets a session's run finish", () =>
    Effect.gen(function* () {
      const script = yield* ModelScript
      const { url } = yield* NodeServer.NodeServer
      const leave = Effect.fnUntraced(function* (body: object) {
        const before = script.requests().length
        const controller = new AbortController()
        const gone = fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          signal: controller.signal,
          headers: { authorization: `Bearer ${token}` },
          body: JSON.stringify({ model: "opencraw", ...says("hello"), ...body })
        }).catch(() => "gone")
        while (script.requests().length === before) yield* Effect.promise(() => new Promise(setImmediate))
        controller.abort()
        yield* Effect.promise(() => gone)
      })
      const until = yield* Deferred.make<void>()
      script.push([ScriptedModel.hang], [ScriptedModel.wait(until), ...ScriptedModel.text("kept")])

      yield* leave({})
      while (script.interrupted() === 0) yield* Effect.promise(() => new Promise(setImmediate))
      yield* leave({ user: "ada" })
      yield* Deferred.succeed(until, undefined)
      const lines = Effect.map(
        ask("/api/v1/os/sessions/agent:main:user:ada/messages"),
        ({ json }) => json.messages
      )
      while ((yield* lines).length < 2) yield* Effect.yieldNow

      assert.strictEqual(script.interrupted(), 1)
      assert.strictEqual((yield* lines)[1].content, "kept")
    }).pipe(Effect.provide(layer()))
  )

  it.effect("gives a client that reads late the whole text, without piling it up twice", () =>
    Effect.gen(function* () {
      const { port } = yield* NodeServer.NodeServer
      const body = JSON.stringify({ model: "opencraw", ...says("hello"), stream: true, user: "late" })
      const headers = { authorization: `Bearer ${token}` }
      const read = yield* Effect.promise(
        () =>
          new Promise<() => Promise<string>>((resolve, reject) => {
            const options = { port, host: "127.0.0.1", method: "POST", path: "/v1/chat/completions", headers }
            const sent = request(options, (response) => {
              response.pause()
              resolve(async () => Buffer.concat(await response.toArray()).toString())
            })
            sent.on("error", reject)
            sent.end(body)
          })
      )
      const lines = Effect.map(
        ask("/api/v1/os/sessions/agent:main:user:late/messages"),
        ({ json }) => json.messages
      )
      while ((yield* lines).length < 2) yield* Effect.yieldNow
      const events = eventsOf(yield* Effect.promise(read))

      assert.isTrue(contentOf(events) === large.join(""))
      assert.isBelow(events.length, large.length)
      assert.strictEqual(events.at(-1), "[DONE]")
    }).pipe(
      Effect.provide(
        layer({
          script: [ScriptedModel.text(...large)],
          config: { general: { model: "demo/demo", max_output_chars: 20_000_000 } }
        })
      )
    )
  )

  it.effect("names the key of what it does not support, and what it does not accept", () =>
    Effect.gen(function* () {
      const param = (body: object) =>
        Effect.map(chat({ ...says("x"), ...body }), ({ status, json }) => [status, json.error.param])
      const messages = (...list: ReadonlyArray<unknown>) => ({ messages: list })

      assert.deepStrictEqual(yield* param({ tools: [{}] }), [400, "tools"])
      assert.deepStrictEqual(yield* param({ n: 2 }), [400, "n"])
      assert.deepStrictEqual(yield* param({ logprobs: true }), [400, "logprobs"])
      assert.deepStrictEqual(yield* param({ response_format: { type: "json_object" } }), [
        400,
        "response_format"
      ])
      assert.deepStrictEqual(yield* param({ temperature: 3 }), [400, "temperature"])
      assert.deepStrictEqual(yield* param({ max_tokens: 1.5 }), [400, "max_tokens"])
      assert.deepStrictEqual(yield* param({ seed: 2 ** 53 }), [400, "seed"])
      assert.deepStrictEqual(yield* param({ stream: "yes" }), [400, "stream"])
      assert.deepStrictEqual(yield* param(messages()), [400, "messages"])
      assert.deepStrictEqual(yield* param(messages({ role: "assistant", content: "x" })), [400, "messages"])
      assert.deepStrictEqual(
        yield* param(messages({ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] })),
        [400, "messages[0].content[0].image_url.url"]
      )
      assert.deepStrictEqual(yield* param(messages({ role: "tool", content: "x" })), [
        400,
        "messages[0].role"
      ])
      assert.deepStrictEqual(yield* param({ model: "gpt-9" }), [404, "model"])
      assert.strictEqual((yield* ModelScript).requests().length, 0)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("takes every name of an agent, ignores unknown keys and counts them", () =>
    Effect.gen(function* () {
      const names = [
        "opencraw",
        "openclaw/main",
        "agent:main",
        "default",
        "openai/default",
        "demo/demo",
        "demo",
        "MAIN"
      ]
      for (const model of names) {
        assert.strictEqual((yield* chat({ ...says("x"), model, made_up: 1, stop: null })).status, 200, model)
      }
      const metrics = yield* ask("/metrics")
      const list = yield* ask("/v1/models")
      const one = yield* ask("/v1/models/opencraw/main")
      const none = yield* ask("/v1/models/nobody")

      assert.match(metrics.text, /^opencraw_v1_unknown_keys_total \d+$/m)
      assert.deepStrictEqual(
        list.json.data.map((model: { id: string }) => model.id),
        ["opencraw", "opencraw/main"]
      )
      assert.strictEqual(one.json.id, "opencraw/main")
      assert.strictEqual(none.status, 404)
    }).pipe(Effect.provide(layer({ script: () => "ok" })))
  )
})
