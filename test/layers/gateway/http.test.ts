import { createServer, request as rawRequest } from "node:http"
import { connect as connectTcp } from "node:net"
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import { Auth } from "#src/gateway/Auth.ts"
import { GatewayApp } from "#src/gateway/GatewayApp.ts"
import { Checks } from "#src/check/Checks.ts"
import { ModelHealth } from "#src/model/ModelHealth.ts"
import { ask, chat, connect, layer, post, refusedWith, says } from "./startGateway.ts"

const messagesOf = (key: string) => ask(`/api/v1/os/sessions/${encodeURIComponent(key)}/messages`)

/** Without the operator's token, and with headers that `fetch` would not send. */
const stranger = (target: string, headers: Record<string, string> = {}, method = "GET", body?: string) =>
  Effect.gen(function* () {
    const { port } = yield* NodeServer.NodeServer
    return yield* Effect.promise(
      () =>
        new Promise<{ status: number; headers: Record<string, unknown>; body: string }>((resolve, reject) => {
          const sent = rawRequest({ port, host: "127.0.0.1", path: target, method, headers }, (response) => {
            let text = ""
            response.on("data", (data) => (text += data))
            response.on("end", () =>
              resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text })
            )
          })
          sent.on("error", reject)
          sent.end(body)
        })
    )
  })

describe("who may ask", () => {
  it.effect("answers strangers only health, readiness and the page", () =>
    Effect.gen(function* () {
      for (const open of ["/health", "/ready", "/"]) {
        assert.strictEqual((yield* stranger(open)).status, 200, open)
      }
      const closed = ["/metrics", "/v1/models", "/api/v1/os/sessions", "/openapi.json", "/docs", "/auth/me"]
      for (const target of closed) {
        const reply = yield* stranger(target)
        assert.strictEqual(reply.status, 401, target)
        assert.strictEqual(JSON.parse(reply.body).error.code, "unauthenticated")
      }
      const wrong = yield* stranger("/metrics", { authorization: "Bearer nope" })
      assert.strictEqual(wrong.status, 401)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("refuses foreign hosts and pages everywhere, and takes those that are allowed", () =>
    Effect.gen(function* () {
      const { port } = yield* NodeServer.NodeServer
      const status = (headers: Record<string, string>) =>
        Effect.map(stranger("/health", headers), (r) => r.status)

      assert.strictEqual(yield* status({ host: `evil.test:${port}` }), 403)
      assert.strictEqual(yield* status({ host: "10.0.0.1" }), 403)
      assert.strictEqual(yield* status({ host: `LOCALHOST:${port}` }), 200)
      assert.strictEqual(yield* status({ host: `[::1]:${port}` }), 200)
      assert.strictEqual(yield* status({ host: "chat.example.com" }), 200)
      assert.strictEqual(yield* status({ origin: "https://evil.test" }), 403)
      assert.strictEqual(yield* status({ origin: "null" }), 403)
      assert.strictEqual(yield* status({ origin: `http://localhost:${port}` }), 200)
      assert.strictEqual(yield* status({ origin: "http://localhost:1" }), 403)
      assert.strictEqual(yield* status({ origin: "https://chat.example.com" }), 200)
    }).pipe(Effect.provide(layer({ gateway: { allowed_hosts: ["chat.example.com"] } })))
  )

  it.effect(
    "exchanges a code once for a cookie that opens the API and the socket, from our own page only",
    () =>
      Effect.gen(function* () {
        const { url, port } = yield* NodeServer.NodeServer
        const code = (yield* post("/api/v1/os/codes", {})).json.code
        const json = { "content-type": "application/json" }
        const redeem = stranger("/auth/code", json, "POST", JSON.stringify({ code }))
        const first = yield* redeem
        const second = yield* redeem
        const cookie = String(first.headers["set-cookie"]).split(";")[0] ?? ""
        const me = yield* stranger("/auth/me", { cookie })
        const send = JSON.stringify({ session_key: "x", content: "hi" })
        const change = (origin: Record<string, string>) =>
          Effect.map(
            stranger("/api/v1/os/messages/send", { ...json, cookie, ...origin }, "POST", send),
            (r) => r.status
          )

        assert.strictEqual(first.status, 204)
        assert.match(String(first.headers["set-cookie"]), /HttpOnly; SameSite=Strict; Path=\//)
        assert.strictEqual(second.status, 401)
        assert.deepStrictEqual(JSON.parse(me.body), {
          principal: { id: "owner", admin: true, scopes: ["admin"], senders: ["owner"] },
          model: "demo/demo",
          demo: true,
          setting: 'general.model = "provider/model" (or OPENCRAW_MODEL=provider/model)'
        })
        assert.strictEqual(yield* change({}), 403)
        assert.strictEqual(yield* change({ origin: "http://localhost:1" }), 403)
        assert.strictEqual(yield* change({ origin: url }), 202)
        assert.strictEqual((yield* stranger("/auth/me", { cookie: `${cookie}x` })).status, 401)
        assert.strictEqual(yield* refusedWith({}, { headers: { cookie } }), 403)
        assert.strictEqual(
          yield* refusedWith({ sender_id: "ada" }, { headers: { cookie }, origin: url }),
          403
        )
        const ownPage = { headers: { cookie }, origin: `http://127.0.0.1:${port}` }
        const hello = yield* Effect.flatMap(connect({ token: "" }, ownPage), (socket) =>
          socket.until("hello")
        )
        assert.strictEqual(hello.sender_id, "owner")
        yield* TestClock.adjust("31 days")
        assert.strictEqual((yield* stranger("/auth/me", { cookie })).status, 401)
      }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("forgets a code after ten minutes, and stops listening to somebody who guesses", () =>
    Effect.gen(function* () {
      const auth = yield* Auth
      const old = yield* auth.newCode
      yield* TestClock.adjust("10 minutes")
      const tries = []
      for (let n = 0; n < 10; n++)
        tries.push((yield* post("/auth/code", { code: n === 0 ? old : "guess" })).status)
      const fresh = yield* auth.newCode
      const locked = yield* post("/auth/code", { code: fresh })
      yield* TestClock.adjust("10 minutes")
      const later = yield* post("/auth/code", { code: yield* auth.newCode })

      assert.deepStrictEqual([...new Set(tries)], [401])
      assert.strictEqual(locked.status, 429)
      assert.isNotNull(locked.headers.get("retry-after"))
      assert.strictEqual(later.status, 204)
    }).pipe(Effect.provide(layer()))
  )
})

describe("every response", () => {
  it.effect("carries a request id, security headers and the one error body", () =>
    Effect.gen(function* () {
      const reply = yield* ask("/v1/nothing")

      assert.strictEqual(reply.status, 404)
      assert.deepStrictEqual(Object.keys(reply.json.error), ["message", "type", "code", "request_id"])
      assert.strictEqual(reply.json.error.request_id, reply.headers.get("x-request-id"))
      assert.match(
        reply.headers.get("content-security-policy") ?? "",
        /default-src 'self'.*frame-ancestors 'none'/
      )
      assert.strictEqual(reply.headers.get("x-content-type-options"), "nosniff")
      assert.strictEqual(reply.headers.get("referrer-policy"), "no-referrer")
      assert.strictEqual((yield* ask("/health", { method: "DELETE" })).headers.get("allow"), "GET")
      assert.strictEqual((yield* ask("/ws")).status, 426)
      assert.strictEqual((yield* ask("/api/v1/os/sessions/%zz/messages")).status, 400)
      assert.strictEqual((yield* stranger("/health", { upgrade: "h2c", connection: "upgrade" })).status, 200)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("of the page is a file of its folder with its type, and nothing outside", () =>
    Effect.gen(function* () {
      const index = yield* stranger("/")
      const script = yield* stranger("/assets/main-a1b2c3d4.js")

      assert.strictEqual(index.headers["content-type"], "text/html; charset=utf-8")
      assert.strictEqual(index.headers["cache-control"], "no-cache")
      assert.match(String(script.headers["cache-control"]), /immutable/)
      const escapes = [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/link.txt",
        "/assets",
        "/index.html%00.js",
        "//etc/passwd",
        "/.%2e/secret.txt"
      ]
      for (const target of escapes) {
        const reply = yield* stranger(target)
        assert.include([400, 404], reply.status, target)
        assert.notInclude(reply.body, "secret")
      }
      const head = yield* stranger("/", {}, "HEAD")
      assert.deepStrictEqual([head.status, head.body], [200, ""])
    }).pipe(Effect.provide(layer()))
  )
})

describe("readiness", () => {
  it.effect("names the demo model and what to set, and fails with a failing check", () =>
    Effect.gen(function* () {
      const ready = yield* stranger("/ready")
      const checks = yield* Checks
      yield* checks.register({
        name: "disk",
        run: Effect.succeed({ status: "failed", message: "/secret/path is full" })
      })
      yield* TestClock.adjust("2 seconds")
      const failing = yield* stranger("/ready")

      assert.deepInclude(JSON.parse(ready.body), { status: "ready", model: "demo/demo", demo: true })
      assert.match(ready.body, /general\.model/)
      assert.strictEqual(failing.status, 503)
      assert.deepInclude(JSON.parse(failing.body).checks, { name: "disk", status: "failed" })
      assert.notInclude(failing.body, "/secret/path")
    }).pipe(Effect.provide(layer()))
  )
})

describe("a deleted session", () => {
  it.effect("forgets the model that was chosen in it", () =>
    Effect.gen(function* () {
      const send = (content: string, id: string) =>
        Effect.gen(function* () {
          const { json } = yield* post("/api/v1/os/messages/send", { session_key: "notes", content, id })
          const status = ask(`/api/v1/os/messages/${json.message_id}`)
          while ((yield* status).json.state !== "ended") yield* Effect.yieldNow
        })
      yield* send("/model demo/other", "c1")
      yield* send("hi", "m1")
      yield* ask("/api/v1/os/sessions/notes", { method: "DELETE" })
      yield* send("hi again", "m2")

      const { requests } = yield* ScriptedModel.ModelScript
      assert.deepStrictEqual(
        requests().map(({ model }) => model),
        ["demo/other", "demo/demo"]
      )
    }).pipe(Effect.provide(layer({ script: () => "fine" })))
  )
})

describe("models at rest", () => {
  const provider = { kind: "openai-chat", base_url: "http://a.test/v1" }
  const config = {
    general: { model: "a/first", fallbacks: ["b/second"] },
    providers: { a: provider, b: { ...provider, profiles: { work: { api_key: "key-of-work" } } } },
    models: { attempts: 1, aliases: { quick: "b/second" } }
  }

  it.effect("are told by readiness, the API and the metrics, without a key", () =>
    Effect.gen(function* () {
      const before = yield* ask("/api/v1/os/models")
      const health = yield* ModelHealth
      const now = yield* Clock.currentTimeMillis
      health.failed({ model: "a/first", profile: undefined }, "rate_limit", now)
      health.failed({ model: "b/second", profile: "work" }, "billing", now)
      const after = yield* ask("/api/v1/os/models")
      const ready = yield* stranger("/ready")
      const metrics = yield* ask("/metrics")

      assert.deepStrictEqual(before.json, {
        models: [
          { model: "a/first", first_of: ["main"], fallback_of: [], aliases: [], state: "ready" },
          { model: "b/second", first_of: [], fallback_of: ["main"], aliases: ["quick"], state: "ready" }
        ],
        resting: []
      })
      const resting = [
        {
          provider: "a",
          model: "a/first",
          state: "cooling",
          reason: "rate_limit",
          until: "1970-01-01T00:01:00.000Z"
        },
        {
          provider: "b",
          profile: "work",
          state: "disabled",
          reason: "billing",
          until: "1970-01-01T05:00:00.000Z"
        }
      ]
      assert.deepStrictEqual(after.json.resting, resting)
      assert.deepStrictEqual(
        after.json.models.map((one: { readonly state: string }) => one.state),
        ["resting", "resting"]
      )
      assert.strictEqual(ready.status, 200)
      assert.deepStrictEqual(JSON.parse(ready.body).resting, resting)
      assert.match(metrics.text, /opencraw_models_resting\{state="disabled"\} 1/)
      assert.notInclude(JSON.stringify([after.json, ready.body]), "key-of-work")
      assert.strictEqual((yield* stranger("/api/v1/os/models")).status, 401)
    }).pipe(Effect.provide(layer({ config })))
  )
})

describe("our own API", () => {
  it.effect("sends a message once, tells what became of it, pages through it, and forgets the session", () =>
    Effect.gen(function* () {
      const send = post("/api/v1/os/messages/send", { session_key: "Notes", content: "hi", id: "m1" })
      const first = yield* send
      const again = yield* send
      const status = ask(`/api/v1/os/messages/${first.json.message_id}`)
      while ((yield* status).json.state !== "ended") yield* Effect.yieldNow
      const done = yield* status
      const page = yield* ask("/api/v1/os/sessions/notes/messages?limit=1")
      const rest = yield* ask(`/api/v1/os/sessions/notes/messages?after=${page.json.next}`)
      const listed = yield* ask("/api/v1/os/sessions")
      const removed = yield* ask("/api/v1/os/sessions/agent%3Amain%3Anotes", { method: "DELETE" })
      const missing = yield* ask("/api/v1/os/sessions/notes", { method: "DELETE" })

      assert.strictEqual(first.status, 202)
      assert.deepInclude(first.json, { seq: 1, duplicate: false })
      assert.deepStrictEqual(again.json, { ...first.json, duplicate: true })
      assert.deepInclude(done.json, { outcome: "answered", client_id: "m1", session_key: "agent:main:notes" })
      assert.deepInclude(page.json.messages[0], { role: "user", content: "hi", client_id: "m1", seq: 1 })
      assert.deepInclude(rest.json.messages[0], { role: "assistant", content: "ok", answers: ["m1"], seq: 2 })
      assert.strictEqual(listed.json.sessions[0].session_key, "agent:main:notes")
      assert.deepStrictEqual([removed.status, missing.status], [204, 404])
      assert.deepStrictEqual((yield* messagesOf("notes")).json.messages, [])
      assert.strictEqual((yield* ask(`/api/v1/os/messages/${first.json.message_id}`)).status, 404)
      const channels = yield* ask("/api/v1/os/channels")
      assert.deepInclude(channels.json.channels, { name: "webchat", delivery: "keyed", max_chars: 0 })
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("names a session, lists it by its title or its first words, and reads it from its end", () =>
    Effect.gen(function* () {
      const send = (id: string, content: string) =>
        Effect.gen(function* () {
          const { json } = yield* post("/api/v1/os/messages/send", { session_key: "garden", content, id })
          while ((yield* ask(`/api/v1/os/messages/${json.message_id}`)).json.state !== "ended")
            yield* Effect.yieldNow
        })
      const rename = (body: unknown, key = "Garden") =>
        Effect.map(
          ask(`/api/v1/os/sessions/${key}`, {
            method: "PATCH",
            headers: { "content-type": "application/json" },
            body: JSON.stringify(body)
          }),
          ({ status, json }) => (status < 400 ? status : [status, json.error.param])
        )
      const listed = Effect.map(ask("/api/v1/os/sessions"), ({ json }) => json.sessions[0])
      const before = (query: string) =>
        Effect.map(ask(`/api/v1/os/sessions/garden/messages?${query}`), ({ json }) => [
          json.messages.map((line: { seq: number }) => line.seq),
          json.previous
        ])

      assert.strictEqual(yield* rename({ title: "Nothing yet" }).pipe(Effect.map(String)), "404,")
      yield* send("m1", `  Roses\nand ${"tulips ".repeat(40)}`)
      yield* send("m2", "and then?")
      const untitled = yield* listed
      assert.isUndefined(untitled.title)
      assert.match(untitled.opening, /^Roses and tulips .{1,110}$/)

      assert.strictEqual(yield* rename({ title: "  My \n garden " }), 204)
      assert.strictEqual((yield* listed).title, "My garden")
      assert.strictEqual(yield* rename({ title: " " }), 204)
      assert.isUndefined((yield* listed).title)
      assert.deepStrictEqual(yield* rename({ title: "x".repeat(201) }), [400, "title"])
      assert.deepStrictEqual(yield* rename({ title: 7 }), [400, "title"])
      assert.deepStrictEqual(yield* rename({ name: "x" }), [400, "name"])

      assert.deepStrictEqual(yield* before("before=999999999999999&limit=3"), [[2, 3, 4], 2])
      assert.deepStrictEqual(yield* before("before=2&limit=3"), [[1], undefined])
      const both = yield* ask("/api/v1/os/sessions/garden/messages?before=2&after=1")
      assert.deepStrictEqual([both.status, both.json.error.param], [400, "before"])
    }).pipe(Effect.provide(layer({ script: ["ok", "ok"] })))
  )

  it.effect("tells with an answer which tools its run used, from both ends", () =>
    Effect.gen(function* () {
      yield* chat({ ...says("what time is it?"), user: "ann" })
      const tools = (query: string) =>
        Effect.map(ask(`/api/v1/os/sessions/user:ann/messages?${query}`), ({ json }) =>
          json.messages.map((line: { tools?: unknown }) => line.tools)
        )
      const used = [
        { name: "time.now", status: "ok" },
        { name: "nothing.such", status: "unknown_tool" }
      ]

      assert.deepStrictEqual(yield* tools("limit=10"), [undefined, used])
      assert.deepStrictEqual(yield* tools("before=99&limit=1"), [used])
    }).pipe(
      Effect.provide(
        layer({ script: [[ScriptedModel.call("time.now"), ScriptedModel.call("nothing.such")], "noon"] })
      )
    )
  )

  it.effect("says which messages have no outcome yet", () =>
    Effect.gen(function* () {
      yield* post("/api/v1/os/messages/send", { session_key: "slow", content: "1", id: "m1" })
      yield* post("/api/v1/os/messages/send", { session_key: "slow", content: "2", id: "m2" })
      const open = (yield* messagesOf("slow")).json.messages

      assert.deepStrictEqual(
        open.map((line: { open?: boolean }) => line.open),
        [true, true]
      )
    }).pipe(Effect.provide(layer({ script: [[ScriptedModel.hang]] })))
  )

  it.effect("names the unknown key, the unknown parameter and the bad value", () =>
    Effect.gen(function* () {
      const send = (body: object) =>
        Effect.map(post("/api/v1/os/messages/send", body), ({ status, json }) => [status, json.error.param])
      const get = (target: string) =>
        Effect.map(ask(target), ({ status, json }) => [status, json.error.param])

      assert.deepStrictEqual(yield* send({ session_key: "a", content: "b", contents: "c" }), [
        400,
        "contents"
      ])
      assert.deepStrictEqual(yield* send({ session_key: "a" }), [400, "content"])
      assert.deepStrictEqual(yield* send({ session_key: 1, content: "b" }), [400, "session_key"])
      assert.deepStrictEqual(yield* send({ session_key: "agent:", content: "b" }), [400, "session_key"])
      assert.deepStrictEqual(yield* get("/api/v1/os/sessions?limit=0"), [400, "limit"])
      assert.deepStrictEqual(yield* get("/api/v1/os/sessions?limt=1"), [400, "limt"])
      assert.deepStrictEqual(yield* get("/api/v1/os/sessions/x/messages?after=1e3"), [400, "after"])
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is documented route by route, as OpenAPI and as a page without scripts", () =>
    Effect.gen(function* () {
      const { routes } = yield* GatewayApp
      const document = (yield* ask("/openapi.json")).json
      const page = yield* ask("/docs")

      const documented = Object.entries(document.paths).flatMap(([path, item]) =>
        Object.keys(item as object).map((method) => `${method.toUpperCase()} ${path}`)
      )
      const served = routes.map(({ method, path }) => `${method} ${path.replace(/:(\w+)\*?/g, "{$1}")}`)
      assert.sameMembers(documented, served)
      assert.strictEqual(document.openapi, "3.1.0")
      assert.strictEqual(page.headers.get("content-type"), "text/html; charset=utf-8")
      assert.include(page.text, "/api/v1/os/messages/send")
      assert.notInclude(page.text, "<script")
      const described = (path: string, method: string) => document.paths[path][method].description
      assert.match(described("/api/v1/os/messages/send", "post"), /Needs the scope chat\.$/)
      assert.match(described("/api/v1/os/usage", "get"), /Needs the scope read\.$/)
      assert.match(described("/api/v1/os/keys", "post"), /Needs the scope admin\.$/)
      assert.deepStrictEqual(document.paths["/health"].get.security, [])
      assert.deepStrictEqual(document.paths["/metrics"].get.security, [
        { bearer: ["read", "admin"] },
        { cookie: ["read", "admin"] }
      ])
    }).pipe(Effect.provide(layer()))
  )
})

describe("hostile bodies", () => {
  const targets = ["/v1/chat/completions", "/api/v1/os/messages/send", "/auth/code"]

  it.effect("are 400, 413 or 415, never more, and the gateway goes on", () =>
    Effect.gen(function* () {
      const rows: ReadonlyArray<readonly [string, ReadonlyArray<number>]> = [
        ['{"__proto__":{"polluted":1}}', [400]],
        ['{"a":{"__proto__":{"polluted":1}}}', [400]],
        ['{"agents":{"__proto__":null}}', [400]],
        ['{"prototype":{"polluted":1}}', [400]],
        ['["__proto__"]', [400]],
        ['{"path":"__proto__.polluted","value":1}', [400]],
        ['{"toString":null}', [400]],
        ['{"hasOwnProperty":1}', [400]],
        ['{"a":1,"a":2}', [400]],
        ['{"n":9007199254740993}', [400]],
        ['{"s":"\\ud800"}', [400]],
        ['{"s":"a\\u0000b"}', [400]],
        ["{'a':1}", [400]],
        ["NaN", [400]],
        ["", [400]],
        ["[]", [400]],
        ["null", [400]],
        ["[".repeat(200) + "]".repeat(200), [400]],
        ["[".repeat(500_000), [400]],
        [`{${Array.from({ length: 200_000 }, (_, n) => `"k${n}":1`).join(",")}}`, [400, 413]],
        ["x".repeat(2_000_000), [413]]
      ]
      for (const target of targets) {
        for (const [body, expected] of rows) {
          const reply = yield* post(target, body)
          assert.include(expected, reply.status, `${target} ${body.slice(0, 40)}`)
          assert.isString(reply.json.error.code)
        }
      }
      assert.isUndefined(({} as { polluted?: unknown }).polluted)
      assert.strictEqual((yield* chat(says("still there?"))).status, 200)
    }).pipe(Effect.provide(layer({ script: ["yes"] })))
  )

  it.effect("are refused when compressed, chunked beyond the limit, or of another type", () =>
    Effect.gen(function* () {
      const { port } = yield* NodeServer.NodeServer
      const bomb = gzipSync(Buffer.alloc(10_000_000))
      const gzip = yield* ask("/v1/chat/completions", {
        method: "POST",
        headers: { "content-encoding": "gzip", "content-type": "application/json" },
        body: new Uint8Array(bomb)
      })
      const form = yield* post("/api/v1/os/messages/send", "a=b", { "content-type": "text/plain" })
      const lenient = yield* post(
        "/v1/chat/completions",
        JSON.stringify({ ...says("x"), model: "opencraw" }),
        { "content-type": "text/plain" }
      )
      const chunked = yield* Effect.promise(
        () =>
          new Promise<number>((resolve) => {
            const sent = rawRequest(
              {
                port,
                host: "127.0.0.1",
                method: "POST",
                path: "/auth/code",
                headers: { "content-type": "application/json" }
              },
              (response) => resolve(response.statusCode ?? 0)
            )
            sent.on("error", () => undefined)
            for (let n = 0; n < 40; n++) sent.write("x".repeat(65_536))
          })
      )

      assert.strictEqual(gzip.status, 415)
      assert.strictEqual(form.status, 415)
      assert.strictEqual(lenient.status, 200)
      assert.strictEqual(chunked, 413)
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("keep what was said as valid text", () =>
    Effect.gen(function* () {
      yield* post(
        "/v1/chat/completions",
        '{"model":"opencraw","user":"u","messages":[{"role":"user","content":"a\\ud800b\\u0000c"}]}'
      )
      const { json } = yield* messagesOf("user:u")

      assert.isTrue(json.messages[0].content.isWellFormed())
      assert.match(json.messages[0].content, /^a\ufffdb/)
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("that trickle in are cut off with 408 while others are served", () =>
    Effect.gen(function* () {
      const { port } = yield* NodeServer.NodeServer
      const trickled = yield* Effect.promise(
        () =>
          new Promise<string>((resolve) => {
            const socket = connectTcp(port, "127.0.0.1")
            let text = ""
            socket.on("data", (data) => (text += data))
            socket.on("close", () => resolve(text))
            socket.on("error", () => undefined)
            socket.write(
              "POST /auth/code HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
            )
          })
      )

      assert.match(trickled, /^HTTP\/1\.1 408/)
      assert.strictEqual((yield* ask("/health")).status, 200)
    }).pipe(Effect.provide(layer({ server: { limits: { request: 150, headers: 100, checkEvery: 50 } } })))
  )
})

describe("the server", () => {
  it.effect("says which port is in use and what to do", () =>
    Effect.gen(function* () {
      const other = createServer()
      yield* Effect.promise(() => new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve)))
      const port = (other.address() as { port: number }).port
      const error = yield* Layer.build(layer({ gateway: { port } })).pipe(Effect.flip)
      other.close()

      assert.instanceOf(error, NodeServer.PortInUse)
      assert.match((error as Error).message, /gateway\.port/)
    }).pipe(Effect.scoped)
  )
})
