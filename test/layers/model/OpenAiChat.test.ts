import { createServer } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Model, type ModelEvent } from "#src/model/Model.ts"
import * as Fake from "./fakeProvider.ts"

const text = (events: ReadonlyArray<ModelEvent>) =>
  events.map((event) => (event._tag === "Text" ? event.text : "")).join("")

const answering = (status: number, body: string, headers: Readonly<Record<string, string>> = {}) =>
  Fake.make((response) => {
    response.writeHead(status, headers)
    response.end(body)
  })

const unusedPort = Effect.promise(
  () =>
    new Promise<number>((resolve) => {
      const server = createServer()
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
      })
    })
)

describe("OpenAiChat", () => {
  it.effect("streams text, then the end with what was used", () =>
    Effect.gen(function* () {
      const usage = { prompt_tokens: 7, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 4 } }
      const fake = yield* Fake.make(
        Fake.streams(
          Fake.delta("Hel"),
          Fake.delta("lo"),
          Fake.finish(),
          Fake.event({ choices: [], usage }),
          Fake.done
        )
      )

      const events = yield* Fake.ask(fake.url)

      assert.deepStrictEqual(events, [
        { _tag: "Text", text: "Hel" },
        { _tag: "Text", text: "lo" },
        {
          _tag: "End",
          reason: "stop",
          usage: { inputTokens: 7, outputTokens: 3, cachedTokens: 4, estimated: false }
        }
      ])
    })
  )

  it.effect("asks the configured address with the key, whether or not it ends with a slash", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(Fake.delta("ok"), Fake.finish()))

      for (const base of ["/v1", "/v1/", "/v1/chat/completions", "/v1?api-version=2"]) {
        yield* Fake.ask(fake.url, {}, { base_url: fake.url + base })
      }

      assert.deepStrictEqual(
        fake.received.map((one) => one.path),
        [
          "/v1/chat/completions",
          "/v1/chat/completions",
          "/v1/chat/completions",
          "/v1/chat/completions?api-version=2"
        ]
      )
      assert.strictEqual(fake.received[0]?.headers.authorization, "Bearer sk-test-key-1234")
    })
  )

  it.effect("sends the whole conversation, and wraps arguments that a model once garbled", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(Fake.delta("ok"), Fake.finish()))

      yield* Fake.ask(fake.url, {
        messages: [
          { role: "system", text: "be brief" },
          { role: "user", text: "time?" },
          {
            role: "assistant",
            text: "",
            calls: [
              { id: "a", name: "time.now", arguments: '{"timezone":"UTC"}' },
              { id: "b", name: "time.now", arguments: '{"timezone' }
            ]
          },
          { role: "tool", callId: "a", name: "time.now", text: "noon" }
        ],
        tools: [
          { name: "time.now", description: "the time", parameters: { type: "object", properties: {} } }
        ],
        params: { temperature: 0.5, maxOutputTokens: 9, stop: ["x"], seed: 1, topP: 0.9 }
      })

      assert.deepStrictEqual(JSON.parse(fake.received[0]?.body ?? ""), {
        model: "fake-model",
        stream: true,
        stream_options: { include_usage: true },
        temperature: 0.5,
        top_p: 0.9,
        max_tokens: 9,
        stop: ["x"],
        seed: 1,
        tools: [
          {
            type: "function",
            function: {
              name: "time__now",
              description: "the time",
              parameters: { type: "object", properties: {} }
            }
          }
        ],
        messages: [
          { role: "system", content: "be brief" },
          { role: "user", content: "time?" },
          {
            role: "assistant",
            content: null,
            tool_calls: [
              { id: "a", type: "function", function: { name: "time__now", arguments: '{"timezone":"UTC"}' } },
              {
                id: "b",
                type: "function",
                function: { name: "time__now", arguments: '{"malformed":"{\\"timezone"}' }
              }
            ]
          },
          { role: "tool", tool_call_id: "a", content: "noon" }
        ]
      })
    })
  )

  it.effect("keeps the beginning of the body from turn to turn", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(Fake.delta("ok"), Fake.finish()))
      const first = { role: "user", text: "one" } as const

      yield* Fake.ask(fake.url, { messages: [first] })
      yield* Fake.ask(fake.url, {
        messages: [first, { role: "assistant", text: "1" }, { role: "user", text: "two" }]
      })

      const [before = "", after = ""] = fake.received.map((one) => one.body)
      assert.isTrue(after.startsWith(before.slice(0, -2)))
    })
  )

  it.effect("gives calls back under the tool's real name", () =>
    Effect.gen(function* () {
      const call = { index: 0, id: "c1", type: "function", function: { name: "time__now", arguments: "{}" } }
      const fake = yield* Fake.make(
        Fake.streams(
          Fake.event({ choices: [{ index: 0, delta: { tool_calls: [call] } }] }),
          Fake.finish("tool_calls"),
          Fake.done
        )
      )

      const events = yield* Fake.ask(fake.url, {
        tools: [{ name: "time.now", description: "", parameters: { type: "object" } }]
      })

      assert.deepStrictEqual(events, [
        { _tag: "Call", call: { id: "c1", name: "time.now", arguments: "{}" } },
        { _tag: "End", reason: "calls" }
      ])
    })
  )

  it.effect("makes up the same id for the same call, and another in another step", () =>
    Effect.gen(function* () {
      const call = { index: 0, function: { name: "t", arguments: "{}" } }
      const fake = yield* Fake.make(
        Fake.streams(
          Fake.event({ choices: [{ index: 0, delta: { tool_calls: [call] } }] }),
          Fake.finish("tool_calls")
        )
      )
      const idOf = (events: ReadonlyArray<ModelEvent>) =>
        events.flatMap((e) => (e._tag === "Call" ? [e.call.id] : []))[0]

      const first = idOf(yield* Fake.ask(fake.url))
      const again = idOf(yield* Fake.ask(fake.url))
      const other = idOf(yield* Fake.ask(fake.url, { messages: [{ role: "user", text: "other" }] }))

      assert.match(first ?? "", /^call_[0-9a-f]{16}_0$/)
      assert.strictEqual(again, first)
      assert.notStrictEqual(other, first)
    })
  )

  it.effect("does not give a call an id that the conversation already holds", () =>
    Effect.gen(function* () {
      const call = { index: 0, id: "call_0", function: { name: "t", arguments: "{}" } }
      const fake = yield* Fake.make(
        Fake.streams(
          Fake.event({ choices: [{ index: 0, delta: { tool_calls: [call] } }] }),
          Fake.finish("tool_calls")
        )
      )

      const events = yield* Fake.ask(fake.url, {
        messages: [
          { role: "user", text: "again" },
          { role: "assistant", text: "", calls: [{ id: "call_0", name: "t", arguments: "{}" }] },
          { role: "tool", callId: "call_0", name: "t", text: "done" }
        ]
      })

      assert.notInclude(
        events.flatMap((e) => (e._tag === "Call" ? [e.call.id] : [])),
        "call_0"
      )
    })
  )

  it.effect("says that the provider refused the key on 401 and 403", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response, _, position) => {
        response.writeHead(position === 0 ? 401 : 403)
        response.end('{"error":{"message":"bad key sk-test-key-1234"}}')
      })

      const first = yield* Fake.askReason(fake.url)
      const second = yield* Fake.askReason(fake.url)

      assert.deepInclude(first, { _tag: "ModelUnauthorized", status: 401 })
      assert.deepInclude(second, { _tag: "ModelUnauthorized", status: 403 })
    })
  )

  it.effect("reads how long a limited caller is to wait: seconds, a date, or not said", () =>
    Effect.gen(function* () {
      const date = new Date(Date.now() + 30_000).toUTCString()
      const said = [
        { "retry-after": "7" },
        { "retry-after": date },
        { "retry-after": "soon" },
        { "retry-after-ms": "1500" },
        {}
      ]
      const fake = yield* Fake.make((response, _, position) => {
        response.writeHead(429, said[position])
        response.end("{}")
      })

      const waits: Array<number | undefined> = []
      for (let i = 0; i < said.length; i++) {
        const reason = yield* Fake.askReason(fake.url)
        assert.strictEqual(reason._tag, "ModelRateLimited")
        waits.push("retryAfterMillis" in reason ? reason.retryAfterMillis : undefined)
      }

      assert.strictEqual(waits[0], 7_000)
      assert.isTrue((waits[1] ?? 0) > 25_000 && (waits[1] ?? 0) <= 30_000)
      assert.deepStrictEqual(waits.slice(2), [undefined, 1_500, undefined])
    })
  )

  it.effect("tells the operator why a request was rejected, in one line without the key", () =>
    Effect.gen(function* () {
      const message = `no model\nfor plain.key/77, Bearer other.key, sk-anotherkey99 ${"x".repeat(5_000)}`
      const fake = yield* answering(404, JSON.stringify({ error: { message } }))

      const reason = yield* Fake.askReason(fake.url, {}, { api_key: Redacted.make("plain.key/77") })

      assert.strictEqual(reason._tag, "ModelRejected")
      const detail = "detail" in reason ? reason.detail : ""
      assert.match(detail, /^no model for \[key\], Bearer \[key\], \[key\] x+$/)
      assert.isAtMost(detail.length, 500)
    })
  )

  it.effect("says in words for a chat that the conversation is too long for the model", () =>
    Effect.gen(function* () {
      const message =
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
      const fake = yield* answering(
        400,
        JSON.stringify({ error: { message, code: "context_length_exceeded" } })
      )

      const reason = yield* Fake.askReason(fake.url)

      assert.deepInclude(reason, { _tag: "ModelRejected", status: 400, problem: "prompt_too_long" })
      assert.strictEqual(reason.message, "the conversation is too long for this model")
    })
  )

  it.effect("calls a provider that fails unavailable, also when it answers with a web page", () =>
    Effect.gen(function* () {
      const fake = yield* answering(502, "<html><body>Bad   gateway</body></html>", {
        "content-type": "text/html"
      })

      const reason = yield* Fake.askReason(fake.url)

      assert.deepInclude(reason, { _tag: "ModelUnavailable", status: 502, detail: "a web page: Bad gateway" })
    })
  )

  it.effect("does not follow a redirect, which would take the key elsewhere", () =>
    Effect.gen(function* () {
      const fake = yield* answering(302, "", { location: "http://127.0.0.1:1/" })

      const reason = yield* Fake.askReason(fake.url)

      assert.deepInclude(reason, { _tag: "ModelRejected", status: 302 })
      assert.lengthOf(fake.received, 1)
    })
  )

  it.effect("calls a provider that nobody runs unavailable", () =>
    Effect.gen(function* () {
      const port = yield* unusedPort

      const reason = yield* Fake.askReason(`http://127.0.0.1:${port}`)

      assert.strictEqual(reason._tag, "ModelUnavailable")
      assert.include("detail" in reason ? reason.detail : "", "ECONNREFUSED")
    })
  )

  it.effect("calls a provider unavailable whose certificate nobody vouches for, or who speaks no TLS", () =>
    Effect.gen(function* () {
      const fake = yield* answering(200, "")

      const reason = yield* Fake.askReason(fake.url.replace("http:", "https:"))

      assert.strictEqual(reason._tag, "ModelUnavailable")
    })
  )

  it.effect("fails for a key that cannot be sent, without telling it", () =>
    Effect.gen(function* () {
      const fake = yield* answering(200, "")

      const reason = yield* Fake.askReason(fake.url, {}, { api_key: Redacted.make("line\nbreak-secret") })

      assert.strictEqual(reason._tag, "ModelUnavailable")
      assert.notInclude(JSON.stringify(reason), "break-secret")
    })
  )

  it.effect("tells an answer that breaks off from one that ends", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response, _, position) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(Fake.delta("half"))
        if (position === 0) setTimeout(() => response.destroy(), 20)
        else response.end()
      })

      const cut = yield* Fake.askReason(fake.url)
      const short = yield* Fake.askReason(fake.url)

      assert.strictEqual(cut._tag, "ModelCutOff")
      assert.strictEqual(short._tag, "ModelCutOff")
    })
  )

  it.effect("gives what had come before the answer broke off", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(Fake.streams(Fake.delta("half")))
      const seen: Array<ModelEvent> = []

      yield* Effect.flatMap(Model, (model) =>
        model.stream(Fake.request()).pipe(
          Stream.runForEach((event) => Effect.sync(() => void seen.push(event))),
          Effect.flip
        )
      ).pipe(Effect.provide(Fake.layerModel(fake.url)))

      assert.strictEqual(text(seen), "half")
    })
  )

  it.effect("takes an answer as complete whose connection breaks after the model said why it stopped", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        response.write(Fake.delta("all") + Fake.finish())
        setTimeout(() => response.destroy(), 20)
      })

      const events = yield* Fake.ask(fake.url)

      assert.deepStrictEqual(events, [
        { _tag: "Text", text: "all" },
        { _tag: "End", reason: "stop" }
      ])
    })
  )

  it.effect("gives up on silence before the headers, and closes the socket", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make(() => {})

      const reason = yield* Effect.gen(function* () {
        const model = yield* Model
        const error = yield* Effect.flip(Stream.runDrain(model.stream(Fake.request())))
        yield* Effect.promise(() => fake.closed)
        return error.reason
      }).pipe(Effect.provide(Fake.layerModel(fake.url, { idle_timeout_ms: 1_000 })))

      assert.deepInclude(reason, { _tag: "ModelStalled", idleMillis: 1_000 })
    })
  )

  it.effect("gives up on silence within an answer, and closes the socket", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        response.write(Fake.delta("and then"))
      })

      const reason = yield* Effect.gen(function* () {
        const model = yield* Model
        const error = yield* Effect.flip(Stream.runDrain(model.stream(Fake.request())))
        yield* Effect.promise(() => fake.closed)
        return error.reason
      }).pipe(Effect.provide(Fake.layerModel(fake.url, { idle_timeout_ms: 1_000 })))

      assert.strictEqual(reason._tag, "ModelStalled")
    })
  )

  it.effect("waits as long as something comes, if only comments", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        let beats = 0
        const beat = setInterval(() => {
          if (++beats < 8) return response.write(": still here\n\n")
          clearInterval(beat)
          response.end(Fake.delta("at last") + Fake.finish())
        }, 40)
      })

      const events = yield* Fake.ask(fake.url, {}, { idle_timeout_ms: 150 })

      assert.strictEqual(text(events), "at last")
    })
  )

  it.effect("closes the socket at once when it is interrupted, before and within the answer", () =>
    Effect.gen(function* () {
      for (const begins of [false, true]) {
        const arrived = Promise.withResolvers<void>()
        const fake = yield* Fake.make((response) => {
          if (begins) {
            response.writeHead(200)
            response.write(Fake.delta("x"))
          }
          arrived.resolve()
        })
        yield* Effect.gen(function* () {
          const model = yield* Model
          const fiber = yield* Effect.forkChild(Stream.runDrain(model.stream(Fake.request())))
          yield* Effect.promise(() => arrived.promise)

          yield* Fiber.interrupt(fiber)

          yield* Effect.promise(() => fake.closed)
        }).pipe(Effect.provide(Fake.layerModel(fake.url)))
      }
    })
  )

  it.effect("closes the socket when its consumer has had enough", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        response.write(Fake.delta("one") + Fake.delta("two"))
      })

      yield* Effect.gen(function* () {
        const model = yield* Model
        const first = yield* Stream.runCollect(Stream.take(model.stream(Fake.request()), 1))

        assert.strictEqual(text(first), "one")
        yield* Effect.promise(() => fake.closed)
      }).pipe(Effect.provide(Fake.layerModel(fake.url)))
    })
  )

  it.effect("uses a connection again after a complete answer", () =>
    Effect.gen(function* () {
      const ports: Array<number | undefined> = []
      const fake = yield* Fake.make((response) => {
        ports.push(response.socket?.remotePort)
        Fake.streams(Fake.delta("x"), Fake.finish(), Fake.done)(response)
      })

      yield* Effect.gen(function* () {
        const model = yield* Model
        for (let i = 0; i < 10; i++) {
          yield* Stream.runDrain(model.stream(Fake.request()))
        }
      }).pipe(Effect.provide(Fake.layerModel(fake.url)))

      // The end of one answer may still be on its way when the next is asked for.
      assert.isAtMost(new Set(ports).size, 2)
    })
  )

  it.effect("does not read ahead without bound of a slow consumer", () =>
    Effect.gen(function* () {
      const pieces = 1_000
      let written = 0
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        const more = () => {
          while (written < pieces) {
            written += 1
            if (!response.write(Fake.delta("x".repeat(30_000)))) return response.once("drain", more)
          }
          return response.end(Fake.finish())
        }
        more()
      })

      const count = yield* Effect.gen(function* () {
        const model = yield* Model
        let seen = 0
        let writtenWhileSlow = 0
        yield* Stream.runForEach(model.stream(Fake.request()), () =>
          Effect.gen(function* () {
            if (seen++ > 0) return
            yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 300)))
            writtenWhileSlow = written
          })
        )
        assert.isBelow(writtenWhileSlow, pieces / 2)
        return seen
      }).pipe(Effect.provide(Fake.layerModel(fake.url)))

      assert.strictEqual(count, pieces + 1)
    })
  )

  it.effect("goes on reading for a slow consumer, also when what came was no event yet", () =>
    Effect.gen(function* () {
      const piece = (text: string) =>
        Fake.event({ choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: text } }] } }] })
      const fake = yield* Fake.make((response) => {
        response.writeHead(200)
        response.write(Fake.delta("first"))
        setTimeout(() => {
          response.write(piece('{"x":"') + piece("y".repeat(1_000)).repeat(1_500))
          setTimeout(() => response.end(piece('"}') + Fake.finish("tool_calls")), 50)
        }, 20)
      })

      const events = yield* Effect.gen(function* () {
        const model = yield* Model
        const seen: Array<ModelEvent> = []
        yield* Stream.runForEach(model.stream(Fake.request()), (event) =>
          Effect.promise(async () => {
            if (seen.push(event) === 1) await new Promise((resolve) => setTimeout(resolve, 200))
          })
        )
        return seen
      }).pipe(Effect.provide(Fake.layerModel(fake.url)))

      const [, call] = events
      assert.strictEqual(call?._tag === "Call" ? call.call.arguments.length : 0, 1_500_008)
    })
  )

  it.effect("reads a whole answer from a proxy that does not stream", () =>
    Effect.gen(function* () {
      const fake = yield* answering(
        200,
        JSON.stringify({
          choices: [{ index: 0, message: { role: "assistant", content: "whole" }, finish_reason: "stop" }],
          usage: { prompt_tokens: 1, completion_tokens: 2 }
        }),
        { "content-type": "application/json" }
      )

      const events = yield* Fake.ask(fake.url)

      assert.strictEqual(text(events), "whole")
      assert.deepInclude(events[1], { _tag: "End", reason: "stop" })
    })
  )

  it.effect("calls a web page in place of an answer malformed", () =>
    Effect.gen(function* () {
      const fake = yield* answering(200, "<!doctype html><title>Log in</title>")

      const reason = yield* Fake.askReason(fake.url)

      assert.strictEqual(reason._tag, "ModelMalformed")
    })
  )

  it.effect("answers many calls at once, each its own", () =>
    Effect.gen(function* () {
      const fake = yield* Fake.make((response, received) => {
        const said =
          (JSON.parse(received.body) as { messages: Array<{ content: string }> }).messages[0]?.content ?? ""
        Fake.streams(Fake.delta(said), Fake.delta(said), Fake.finish())(response)
      })

      const answers = yield* Effect.flatMap(Model, (model) =>
        Effect.forEach(
          Array.from({ length: 100 }, (_, i) => `m${i}.`),
          (said) =>
            Effect.map(
              Stream.runCollect(model.stream(Fake.request({ messages: [{ role: "user", text: said }] }))),
              (events) => text(events) === said + said
            ),
          { concurrency: "unbounded" }
        )
      ).pipe(Effect.provide(Fake.layerModel(fake.url)))

      assert.isTrue(answers.every(Boolean))
    })
  )

  it.effect("gives reasoning and signatures back with their step, and to no other model", () =>
    Effect.gen(function* () {
      const tools = [{ name: "look", description: "look", parameters: { type: "object", properties: {} } }]
      const detail = (more: object) =>
        Fake.event({
          choices: [
            { index: 0, delta: { reasoning_details: [{ type: "reasoning.text", index: 0, ...more }] } }
          ]
        })
      const sealed = { type: "reasoning.encrypted", index: 1, data: "xyz" }
      const call = {
        index: 0,
        id: "c",
        function: { name: "look", arguments: "{}" },
        extra_content: { g: "s" }
      }
      const fake = yield* Fake.make(
        Fake.streams(
          detail({ text: "Let me", format: "f" }),
          detail({ text: " see", signature: null }),
          detail({ text: "", signature: "sig" }),
          Fake.event({
            choices: [{ index: 0, delta: { reasoning_details: [sealed], tool_calls: [call] } }]
          }),
          Fake.finish("tool_calls")
        )
      )
      const asked = yield* Fake.ask(fake.url, { tools })
      const end = asked.at(-1)
      const continuation = end?._tag === "End" ? end.continuation : undefined
      const again = (model: string, id = "c") =>
        Effect.map(
          Fake.ask(fake.url, {
            model,
            tools,
            messages: [
              {
                role: "assistant",
                text: "",
                calls: [{ id, name: "look", arguments: "{}" }],
                ...(continuation === undefined ? {} : { continuation })
              }
            ]
          }),
          () => JSON.parse(fake.received.at(-1)?.body ?? "").messages[0]
        )
      const given = {
        reasoning_details: [
          { type: "reasoning.text", index: 0, text: "Let me see", format: "f", signature: "sig" },
          sealed
        ]
      }
      const same = yield* again("fake/fake-model")

      assert.deepInclude(same, given)
      assert.deepStrictEqual(same.tool_calls[0].extra_content, { g: "s" })
      for (const other of [yield* again("fake/other"), yield* again("fake/fake-model", "d")]) {
        assert.notProperty(other, "reasoning_details")
        assert.notProperty(other.tool_calls[0], "extra_content")
      }
    })
  )
})
