/** Who may pass which door with which key, at the real doors: HTTP, /v1, /ws. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import OpenAI, { AuthenticationError, PermissionDeniedError } from "openai"
import { NodeServer } from "#layers/gateway/NodeServer.ts"
import type { Scope } from "#src/domain/Scope.ts"
import { GatewayApp } from "#src/gateway/GatewayApp.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import { CentralDb } from "#src/horizons/CentralDb.ts"
import { local } from "#src/domain/Tenant.ts"
import { eventOf } from "../../contracts/AuditLog.contract.ts"
import { ask, connect, layer, post, refusedWith } from "./startGateway.ts"

const os = "/api/v1/os"

/** What is looked at of a message or an event. */
interface Told {
  readonly role: string
  readonly content: string
  readonly actor: string
  readonly action: string
}

/** A new key of these scopes; `ann` unless told otherwise. */
const keyWith = (scopes: ReadonlyArray<Scope>, more: Record<string, unknown> = {}) =>
  Effect.gen(function* () {
    const made = yield* post(`${os}/keys`, {
      name: `${scopes.join("-")} of ${String(more["user"] ?? "ann")}`,
      user: "ann",
      scopes,
      ...more
    })
    assert.strictEqual(made.status, 201, made.text)
    return { key: String(made.json.key), id: String(made.json.api_key.id) }
  })
const as = (key: string, init: RequestInit = {}) => ({
  ...init,
  headers: { ...(init.headers as Record<string, string>), authorization: `Bearer ${key}` }
})
const asJson = (key: string, method: string, body: unknown) =>
  as(key, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) })

/**
 * Written by hand, so that it does not follow the code: which of the keys c(hat), r(ead) and a(dmin) may pass. `*`: everybody, nobody
 * included.
 */
const doors: Readonly<Record<string, string>> = {
  "GET /health": "*",
  "GET /ready": "*",
  "POST /auth/code": "*",
  "GET /auth/me": "cra",
  "GET /docs": "cra",
  "GET /openapi.json": "cra",
  "GET /metrics": "ra",
  "POST /v1/chat/completions": "ca",
  "GET /v1/models": "cra",
  "GET /v1/models/:id*": "cra",
  [`GET ${os}/sessions`]: "ra",
  [`GET ${os}/sessions/:key/messages`]: "cra",
  [`GET ${os}/sessions/:key/journal`]: "ra",
  [`PATCH ${os}/sessions/:key`]: "ca",
  [`DELETE ${os}/sessions/:key`]: "ca",
  [`POST ${os}/sessions/:key/fork`]: "ca",
  [`POST ${os}/messages/send`]: "ca",
  [`GET ${os}/messages/:id`]: "cra",
  [`POST ${os}/messages/:id/cancel`]: "a",
  [`GET ${os}/channels`]: "cra",
  [`GET ${os}/approvals`]: "ra",
  [`POST ${os}/approvals/:id`]: "a",
  [`GET ${os}/models`]: "ra",
  [`GET ${os}/checks`]: "a",
  [`POST ${os}/codes`]: "",
  [`GET ${os}/lanes`]: "ra",
  [`POST ${os}/lanes/:action`]: "a",
  [`POST ${os}/lanes/:key/:action`]: "a",
  [`POST ${os}/setup`]: "a",
  [`GET ${os}/usage`]: "ra",
  [`POST ${os}/orgs`]: "a",
  [`GET ${os}/orgs`]: "a",
  [`POST ${os}/projects`]: "a",
  [`GET ${os}/projects`]: "a",
  [`POST ${os}/users`]: "a",
  [`GET ${os}/users`]: "a",
  [`PATCH ${os}/users/:id`]: "a",
  [`POST ${os}/agents`]: "a",
  [`GET ${os}/agents`]: "a",
  [`DELETE ${os}/agents/:name`]: "a",
  [`POST ${os}/database/query`]: "ra",
  [`POST ${os}/database/execute`]: "a",
  [`POST ${os}/keys`]: "a",
  [`GET ${os}/keys`]: "a",
  [`DELETE ${os}/keys/:id`]: "a",
  [`POST ${os}/credentials`]: "a",
  [`GET ${os}/credentials`]: "a",
  [`POST ${os}/credentials/rotate`]: "a",
  [`DELETE ${os}/credentials/:name`]: "a",
  [`GET ${os}/audit`]: "a"
}

describe("the doors", () => {
  it.effect("each opens for the keys that it is for, and for no other", () =>
    Effect.gen(function* () {
      const { routes } = yield* GatewayApp
      const served = routes.map(({ method, path }) => `${method} ${path}`)
      assert.sameMembers(served, Object.keys(doors))
      const keys = {
        c: (yield* keyWith(["chat"])).key,
        r: (yield* keyWith(["read"])).key,
        a: (yield* keyWith(["admin"], { user: "boss" })).key,
        nobody: "ock_0_0123456789abcdef0123456789abcdef"
      }
      const passed: Record<string, string> = {}
      for (const door of Object.keys(doors)) {
        const [method = "", path = ""] = door.split(" ")
        const target = path.replaceAll(/:\w+\*?/g, "nothing")
        let through = ""
        for (const [name, key] of Object.entries(keys)) {
          const body = method === "POST" || method === "PATCH" ? "{}" : undefined
          const { status, json } = yield* ask(
            target,
            as(key, {
              method,
              headers: { "content-type": "application/json" },
              ...(body === undefined ? {} : { body })
            })
          )
          const isShut =
            status === 401 ||
            (status === 403 && ["missing_scope", "admin_only", "not_by_key"].includes(json?.error?.code))
          if (!isShut) through += name === "nobody" ? "*" : name
        }
        // Whoever redeems a wrong code is refused as nobody, whichever key they show.
        passed[door] = through === "cra*" || door === "POST /auth/code" ? "*" : through
      }

      assert.deepStrictEqual(passed, doors)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("a socket opens for chat, that of the lanes for read", () =>
    Effect.gen(function* () {
      const chat = yield* keyWith(["chat"])
      const read = yield* keyWith(["read"])
      const both = yield* keyWith(["chat", "read"], { name: "both" })

      assert.strictEqual(
        (yield* (yield* connect({ token: chat.key })).until("hello")).session_key,
        "agent:main:user:ann"
      )
      yield* (yield* connect({ token: both.key }, {}, "/ws/lanes")).until("lanes")
      yield* (yield* connect({ token: read.key }, {}, "/ws/lanes")).until("lanes")
      assert.strictEqual(yield* refusedWith({ token: read.key }), 403)
      assert.strictEqual(yield* refusedWith({ token: chat.key }, {}, "/ws/lanes"), 403)
      assert.strictEqual(yield* refusedWith({ token: chat.key, sender_id: "bob" }), 403)
      assert.strictEqual(yield* refusedWith({ token: chat.key, session_key: "agent:main:main" }), 403)
      assert.strictEqual(yield* refusedWith({ token: "ock_0_0123456789abcdef0123456789abcdef" }), 401)
    }).pipe(Effect.provide(layer()))
  )
})

describe("a key's own sessions", () => {
  it.effect("are its user's; what another user names the same is another session", () =>
    Effect.gen(function* () {
      const ann = (yield* keyWith(["chat"])).key
      const bob = (yield* keyWith(["chat"], { user: "bob" })).key
      const send = (key: string, body: object) => ask(`${os}/messages/send`, asJson(key, "POST", body))
      const sent = yield* send(ann, { session_key: "Plans", content: "of ann" })
      yield* send(bob, { session_key: "plans", content: "of bob" })
      const read = (key: string, session: string) =>
        Effect.map(
          ask(`${os}/sessions/${encodeURIComponent(session)}/messages`, as(key)),
          ({ status, json }) =>
            status === 200
              ? json.messages.filter((one: Told) => one.role === "user").map((one: Told) => one.content)
              : json.error.code
        )

      assert.strictEqual(sent.status, 202)
      assert.deepStrictEqual(yield* read(ann, "plans"), ["of ann"])
      assert.deepStrictEqual(yield* read(bob, "plans"), ["of bob"])
      assert.deepStrictEqual(yield* read(ann, "agent:main:user:ann:plans"), ["of ann"])
      assert.strictEqual(yield* read(bob, "agent:main:user:ann:plans"), "foreign_session")
      assert.strictEqual(yield* read(bob, " AGENT:main:user:ann:plans"), "foreign_session")
      assert.strictEqual(yield* read(bob, "agent:main:user:bobby"), "foreign_session")
      assert.strictEqual(yield* read(bob, "agent:main:main"), "foreign_session")
      assert.strictEqual(yield* read(bob, "agent:main:cron:daily"), "reserved_session")
      const reader = (yield* keyWith(["read"])).key
      assert.deepStrictEqual(yield* read(reader, "agent:main:user:ann:plans"), ["of ann"])
      const status = (key: string) =>
        Effect.map(ask(`${os}/messages/${sent.json.message_id}`, as(key)), (one) => one.status)
      assert.deepStrictEqual([yield* status(ann), yield* status(bob), yield* status(reader)], [200, 403, 200])
      const foreign = yield* send(bob, { session_key: "x", sender_id: "ann", content: "as ann" })
      assert.deepStrictEqual([foreign.status, foreign.json.error.code], [403, "foreign_sender"])
    }).pipe(Effect.provide(layer({ script: ["one", "two"] })))
  )

  it.effect("hold over /v1 too, by header, by user and with neither, for the official client", () =>
    Effect.gen(function* () {
      const { url } = yield* NodeServer
      const { key, id } = yield* keyWith(["chat"])
      const client = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 })
      const complete = (more: object, headers: Record<string, string> = {}) =>
        Effect.promise(() =>
          client.chat.completions
            .create(
              { model: "opencraw", messages: [{ role: "user", content: "hello" }], ...more },
              { headers }
            )
            .withResponse()
            .then(({ data, response }) => [
              data.choices[0]?.message.content,
              response.headers.get("x-opencraw-session-key")
            ])
        )

      assert.deepStrictEqual(yield* complete({ user: "Carl" }), ["one", "agent:main:user:ann:user:~43arl"])
      assert.deepStrictEqual(yield* complete({}, { "x-opencraw-session-key": "notes" }), [
        "two",
        "agent:main:user:ann:notes"
      ])
      assert.match(String((yield* complete({}))[1]), /^agent:main:ephemeral:ann:/)
      const models = yield* Effect.promise(() => client.models.list())
      assert.include(
        models.data.map((model) => model.id),
        "opencraw"
      )
      yield* ask(`${os}/keys/${id}`, { method: "DELETE" })
      const error = yield* Effect.promise(() =>
        client.models.list().then(
          () => undefined,
          (thrown: unknown) => thrown
        )
      )
      assert.instanceOf(error, AuthenticationError)
      const foreign = new OpenAI({
        apiKey: (yield* keyWith(["chat"], { name: "2" })).key,
        baseURL: `${url}/v1`,
        maxRetries: 0
      })
      const refused = yield* Effect.promise(() =>
        foreign.chat.completions
          .create(
            { model: "opencraw", messages: [{ role: "user", content: "x" }] },
            { headers: { "x-opencraw-session-key": "agent:main:main" } }
          )
          .then(
            () => undefined,
            (thrown: unknown) => thrown
          )
      )
      assert.instanceOf(refused, PermissionDeniedError)
    }).pipe(Effect.provide(layer({ script: ["one", "two", "three"] })))
  )
})

describe("a key that is not good", () => {
  it.effect("unknown, wrong, expired, revoked or no key at all: all are told the same", () =>
    Effect.gen(function* () {
      const good = yield* keyWith(["read"])
      const expired = yield* keyWith(["read"], { name: "short", expires_at: 60_000 })
      const revoked = yield* keyWith(["read"], { name: "gone" })
      yield* ask(`${os}/keys/${revoked.id}`, { method: "DELETE" })
      assert.strictEqual((yield* ask("/auth/me", as(expired.key))).status, 200)
      yield* TestClock.adjust("1 minute")
      const wrong = good.key.replace(/.$/, (last) => (last === "1" ? "2" : "1"))
      const unknown = "ock_zzzzzz_0123456789abcdef0123456789abcdef"
      const answers = []
      for (const key of [
        unknown,
        wrong,
        expired.key,
        revoked.key,
        "something",
        good.key.slice(0, -1),
        good.key.toUpperCase()
      ]) {
        const { status, headers, json } = yield* ask("/auth/me", as(key))
        const { request_id: _, ...error } = json.error
        answers.push({ status, challenge: headers.get("www-authenticate"), error })
      }

      assert.strictEqual(answers[0]?.status, 401)
      for (const answer of answers) assert.deepStrictEqual(answer, answers[0])
      assert.strictEqual((yield* ask("/auth/me", as(good.key))).status, 200)
    }).pipe(Effect.provide(layer()))
  )

  it.effect(
    "is refused at once where it was revoked, its sockets closed; elsewhere within half a minute",
    () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const here = yield* keyWith(["chat"])
        const elsewhere = yield* keyWith(["chat"], { name: "elsewhere" })
        const ends = yield* keyWith(["chat"], { name: "ends", expires_at: 20_000 })
        const sockets = yield* Effect.forEach([here, elsewhere, ends], ({ key }) => connect({ token: key }))
        yield* Effect.forEach(sockets, (socket) => socket.until("hello"))
        const status = (key: string) => Effect.map(ask("/auth/me", as(key)), (one) => one.status)
        assert.deepStrictEqual([yield* status(here.key), yield* status(elsewhere.key)], [200, 200])

        yield* ask(`${os}/keys/${here.id}`, { method: "DELETE" })
        assert.strictEqual(yield* status(here.key), 401)
        assert.strictEqual(yield* sockets[0]!.closed, 1008)
        // As another gateway would.
        yield* db.revokeKey({ tenant: local, id: elsewhere.id, at: 1 }, eventOf("other", { tenant: local }))
        assert.strictEqual(yield* status(elsewhere.key), 200)
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(yield* status(elsewhere.key), 401)
        assert.deepStrictEqual([yield* sockets[1]!.closed, yield* sockets[2]!.closed], [1008, 1008])
      }).pipe(Effect.provide(layer()))
  )
})

describe("/api/v1/os/keys", () => {
  it.effect("tells a key once, and lists it without", () =>
    Effect.gen(function* () {
      const made = yield* post(`${os}/keys`, { name: "ci", scopes: ["read", "chat"], expires_at: 9_000_000 })
      const listed = yield* ask(`${os}/keys`)
      yield* ask("/auth/me", as(made.json.key))
      yield* TestClock.adjust("1 minute")
      const used = yield* ask(`${os}/keys`)

      assert.strictEqual(made.headers.get("cache-control"), "no-store")
      assert.deepStrictEqual(made.json.api_key.scopes, ["chat", "read"])
      assert.notInclude(listed.text, made.json.key.slice(-16))
      assert.deepStrictEqual(listed.json.keys, [made.json.api_key])
      assert.strictEqual(used.json.keys[0].last_used_at, 0)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("refuses what is wrong by name, and what cannot be twice", () =>
    Effect.gen(function* () {
      const create = (body: unknown) =>
        Effect.map(post(`${os}/keys`, body), ({ status, json }) => [
          status,
          json.error?.param ?? json.error?.code
        ])
      yield* keyWith(["chat"], { name: "taken" })

      assert.deepStrictEqual(yield* create({ scopes: ["chat"] }), [400, "name"])
      assert.deepStrictEqual(yield* create({ name: " a", scopes: ["chat"], user: "a" }), [400, "name"])
      assert.deepStrictEqual(yield* create({ name: "a\u0000", scopes: ["chat"], user: "a" }), [400, "name"])
      assert.deepStrictEqual(yield* create({ name: "a".repeat(101), scopes: ["chat"], user: "a" }), [
        400,
        "name"
      ])
      assert.deepStrictEqual(yield* create({ name: "Not A User", scopes: ["chat"] }), [400, "user"])
      assert.deepStrictEqual(yield* create({ name: "owner", scopes: ["chat"] }), [400, "user"])
      assert.deepStrictEqual(yield* create({ name: "a", scopes: [] }), [400, "scopes"])
      assert.deepStrictEqual(yield* create({ name: "a", scopes: ["chat", "write"] }), [400, "scopes"])
      assert.deepStrictEqual(yield* create({ name: "a", scopes: "chat" }), [400, "scopes"])
      assert.deepStrictEqual(yield* create({ name: "a", scopes: ["chat"], expires_at: 0 }), [
        400,
        "expires_at"
      ])
      assert.deepStrictEqual(yield* create({ name: "a", scopes: ["chat"], expires_at: 1.5 }), [
        400,
        "expires_at"
      ])
      assert.deepStrictEqual(yield* create({ name: "a", scopes: ["chat"], scope: 1 }), [400, "scope"])
      assert.deepStrictEqual(yield* create({ name: "taken", scopes: ["chat"], user: "a" }), [409, "name"])
      const revoke = (id: string) =>
        Effect.map(ask(`${os}/keys/${id}`, { method: "DELETE" }), ({ status }) => status)
      const { id } = yield* keyWith(["read"])
      assert.deepStrictEqual(
        [yield* revoke(id), yield* revoke(id), yield* revoke("key_none")],
        [204, 409, 404]
      )
    }).pipe(Effect.provide(layer()))
  )

  it.effect("who did what is told, by the key that did it, without a secret", () =>
    Effect.gen(function* () {
      const admin = yield* keyWith(["admin"])
      yield* ask(`${os}/keys`, asJson(admin.key, "POST", { name: "ci", scopes: ["chat"] }))
      yield* ask(`${os}/credentials`, asJson(admin.key, "POST", { name: "openai", value: "sk-very-secret" }))
      yield* post(`${os}/messages/send`, { session_key: "gone", content: "x" })
      yield* ask(`${os}/sessions/gone`, { method: "DELETE" })
      yield* post(`${os}/lanes/pause`, {})
      yield* post(`${os}/lanes/resume`, {})
      const code = yield* post(`${os}/codes`, {})
      yield* post("/auth/code", { code: code.json.code })
      yield* post("/auth/code", { code: "wrong" })
      for (const key of ["nonsense", "ock_0_0123456789abcdef0123456789abcdef"])
        yield* ask("/auth/me", as(key))
      yield* TestClock.adjust("1 minute")
      const page = yield* ask(`${os}/audit`)

      assert.deepStrictEqual(
        page.json.events.map((one: Told) => [one.actor === admin.id ? "the key" : one.actor, one.action]),
        [
          ["nobody", "auth.refused"],
          ["owner", "signed_in"],
          ["operator", "code.made"],
          ["operator", "lanes.resumed"],
          ["operator", "lanes.paused"],
          ["operator", "session.deleted"],
          ["the key", "credential.set"],
          ["the key", "key.created"],
          ["operator", "key.created"]
        ]
      )
      assert.deepStrictEqual(page.json.events[0].detail, { code: 1, token: 1, key: 1 })
      assert.notInclude(page.text, "sk-very-secret")
      assert.notInclude(page.text, admin.key.slice(-16))
      const log = yield* AuditLog
      assert.lengthOf(yield* log.list({ tenant: local, limit: 100 }), 9)
      const some = yield* ask(`${os}/audit?action=key.created&limit=1`)
      const rest = yield* ask(`${os}/audit?action=key.created&limit=1&before=${some.json.next}`)
      assert.deepStrictEqual([some.json.events[0].actor, rest.json.events[0].actor], [admin.id, "operator"])
      for (const [query, param] of [
        ["action=x", "action"],
        ["before=x", "before"],
        ["since=-1", "since"],
        ["limit=0", "limit"],
        ["who=x", "who"]
      ]) {
        assert.strictEqual((yield* ask(`${os}/audit?${query}`)).json.error.param, param)
      }
    }).pipe(Effect.provide(layer({ script: ["one"] })))
  )
})

describe("/api/v1/os/credentials", () => {
  it.effect("are kept sealed, listed without their value, and forgotten", () =>
    Effect.gen(function* () {
      const set = (body: unknown) => Effect.map(post(`${os}/credentials`, body), (reply) => reply.status)
      assert.strictEqual(yield* set({ name: "openai", value: "sk-very-secret" }), 204)
      const listed = yield* ask(`${os}/credentials`)
      const [row] = yield* CentralDb.use((db) => db.credentials({ tenant: local, limit: 10 }))

      assert.deepStrictEqual(listed.json.credentials, [
        { name: "openai", key_id: row?.sealed.keyId, created_at: 0, updated_at: 0 }
      ])
      assert.notInclude(JSON.stringify(row) + listed.text, "sk-very-secret")
      assert.deepStrictEqual(
        [
          yield* set({ name: "a", value: "two words" }),
          yield* set({ name: "a", value: "" }),
          yield* set({ name: "", value: "x" }),
          yield* set({ name: "a", value: "x", more: 1 })
        ],
        [400, 400, 400, 400]
      )
      const remove = Effect.map(ask(`${os}/credentials/openai`, { method: "DELETE" }), ({ status }) => status)
      assert.deepStrictEqual([yield* remove, yield* remove], [204, 404])
    }).pipe(Effect.provide(layer()))
  )
})
