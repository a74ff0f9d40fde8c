/** Organisations, projects and users at the real doors: what a key of one project can see and change of another's. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { settle } from "#layers/Test.ts"
import { ModelScript } from "#layers/model/ScriptedModel.ts"
import type { Scope } from "#src/domain/Scope.ts"
import { GatewayApp } from "#src/gateway/GatewayApp.ts"
import { ask, bearer, connect, layer, post, refusedWith, says, token } from "./startGateway.ts"

const os = "/api/v1/os"
const acme = "acme/shop"
const sibling = "acme/lab"
const rival = "rival/shop"

const made = Effect.gen(function* () {
  for (const org of ["acme", "rival"]) assert.strictEqual((yield* post(`${os}/orgs`, { org })).status, 201)
  for (const project of [acme, sibling, rival]) {
    assert.strictEqual((yield* post(`${os}/projects`, { project })).status, 201)
  }
})

const keyIn = (project: string, scopes: ReadonlyArray<Scope>, more: Record<string, unknown> = {}) =>
  Effect.map(
    post(
      `${os}/keys`,
      { name: `${scopes.join("-")} ${Object.values(more).join(" ")}`.trim(), user: "ann", scopes, ...more },
      { "x-opencraw-project": project }
    ),
    ({ status, json, text }) => {
      assert.strictEqual(status, 201, text)
      return String(json.key)
    }
  )

/** Requests as whoever has this key. */
const as = (key: string, project?: string) => {
  const headers = {
    authorization: `Bearer ${key}`,
    ...(project === undefined ? {} : { "x-opencraw-project": project })
  }
  return {
    get: (path: string) => ask(path, { headers }),
    drop: (path: string) => ask(path, { method: "DELETE", headers }),
    post: (path: string, body: unknown, more: Record<string, string> = {}) =>
      post(path, body, { ...headers, ...more })
  }
}
const inProject = (project: string) => as(token, project)

const send = (key: string, body: Record<string, unknown>) =>
  as(key).post(`${os}/messages/send`, { session_key: "notes", content: "hello", ...body })

const lines = (key: string, session: string, project?: string) =>
  Effect.map(as(key, project).get(`${os}/sessions/${encodeURIComponent(session)}/messages`), ({ json }) =>
    (json.messages as ReadonlyArray<{ readonly content: string }>).map(({ content }) => content)
  )

describe("two projects", () => {
  it.effect("have sessions, messages and answers of their own under the same names", () =>
    Effect.gen(function* () {
      yield* made
      const keys = {
        home: yield* keyIn("local/default", ["chat", "read"]),
        acme: yield* keyIn(acme, ["chat", "read"]),
        rival: yield* keyIn(rival, ["chat", "read"])
      }
      const chat = (key: string, text: string) =>
        as(key).post(
          "/v1/chat/completions",
          { model: "opencraw", ...says(text) },
          { "x-opencraw-session-key": "notes", "idempotency-key": "same" }
        )
      const answers = yield* Effect.forEach(Object.entries(keys), ([name, key]) => chat(key, `from ${name}`))

      // The same idempotency key with another text would be refused within one project.
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        [200, 200, 200]
      )
      for (const [name, key] of Object.entries(keys)) {
        const [said] = yield* lines(key, "agent:main:user:ann:notes")
        assert.strictEqual(said, `from ${name}`)
        const { json } = yield* as(key).get(`${os}/sessions`)
        assert.deepStrictEqual(
          json.sessions.map(({ session_key: session }: { session_key: string }) => session),
          ["agent:main:user:ann:notes"]
        )
      }
      assert.deepStrictEqual(
        answers.map(({ headers }) => headers.get("x-opencraw-session-key")),
        Array(3).fill("agent:main:user:ann:notes")
      )
    }).pipe(Effect.provide(layer({ script: ["one", "two", "three"] })))
  )

  it.effect("see and change nothing of each other's", () =>
    Effect.gen(function* () {
      yield* made
      const admins = { acme: yield* keyIn(acme, ["admin"]), rival: yield* keyIn(rival, ["admin"]) }
      const sent = yield* send(admins.acme, { id: "m1" })
      assert.strictEqual(sent.status, 202, sent.text)
      const id = String(sent.json.message_id)
      const other = as(admins.rival)
      const session = "agent%3Amain%3Anotes"

      assert.strictEqual((yield* other.get(`${os}/messages/${id}`)).status, 404)
      assert.strictEqual((yield* other.post(`${os}/messages/${id}/cancel`, {})).status, 404)
      assert.deepStrictEqual((yield* other.get(`${os}/sessions`)).json.sessions, [])
      assert.deepStrictEqual((yield* other.get(`${os}/sessions/${session}/messages`)).json.messages, [])
      assert.deepStrictEqual((yield* other.get(`${os}/sessions/${session}/journal`)).json.records, [])
      assert.strictEqual((yield* other.drop(`${os}/sessions/${session}`)).status, 404)
      assert.strictEqual((yield* other.post(`${os}/sessions/${session}/fork`, {})).status, 404)
      assert.strictEqual((yield* other.post(`${os}/lanes/${session}/stop`, {})).status, 404)
      assert.deepStrictEqual((yield* other.get(`${os}/usage?by=session`)).json.usage, [])
      assert.deepStrictEqual((yield* other.get(`${os}/approvals`)).json.approvals, [])
      const events = (yield* other.get(`${os}/audit`)).json.events as ReadonlyArray<{ action: string }>
      assert.deepStrictEqual(
        events.map(({ action }) => action),
        ["key.created"]
      )
      // A full name of another project is a name like any other to who may not act there.
      const spelled = encodeURIComponent(`${acme}/agent:main:notes`)
      assert.deepStrictEqual((yield* other.get(`${os}/sessions/${spelled}/messages`)).json.messages, [])
      assert.deepStrictEqual(yield* lines(admins.acme, "notes"), ["hello", "one"])
    }).pipe(Effect.provide(layer({ script: ["one"] })))
  )

  it.effect("are told apart on sockets, and each looks on at its own lanes", () =>
    Effect.gen(function* () {
      yield* made
      const [one, two] = [yield* keyIn(acme, ["chat", "read"]), yield* keyIn(rival, ["chat", "read"])]
      const [mine, theirs] = [
        yield* connect({ token: one, session_key: "talk" }),
        yield* connect({ token: two, session_key: "talk" })
      ]
      assert.strictEqual((yield* mine.until("hello")).session_key, "agent:main:user:ann:talk")
      yield* theirs.until("hello")
      mine.send({ type: "message", id: "same", content: "hello" })
      yield* mine.until("message")
      theirs.send({ type: "message", id: "same", content: "other words" })
      const answer = yield* theirs.until("message")

      assert.strictEqual(answer.content, "two")
      assert.deepStrictEqual(
        theirs.frames.filter(({ type }) => type === "message" || type === "user").length,
        1
      )
      const all = yield* (yield* connect({}, {}, "/ws/lanes")).until("lanes")
      assert.deepStrictEqual(all.lanes, [])
      assert.strictEqual(yield* refusedWith({ token: one, project: rival }), 403)
      assert.strictEqual(yield* refusedWith({ token, project: "no/where" }), 404)
      assert.strictEqual(yield* refusedWith({ token, project: "nowhere" }), 400)
      const own = yield* connect({ project: acme })
      assert.strictEqual((yield* own.until("hello")).session_key, "agent:main:webchat:dm:operator")
    }).pipe(Effect.provide(layer({ script: ["one", "two"] })))
  )

  it.effect("a paused lane is listed to its project and to who runs all, by the name each may use", () =>
    Effect.gen(function* () {
      yield* made
      const admin = yield* keyIn(acme, ["admin"])
      yield* send(admin, { id: "m1" })
      const paused = yield* as(admin).post(`${os}/lanes/notes/pause`, {})
      assert.strictEqual(paused.status, 204, paused.text)
      const namesOf = (reply: {
        readonly json: { readonly lanes: ReadonlyArray<{ session_key: string }> }
      }) => reply.json.lanes.map(({ session_key: session }) => session)

      assert.deepStrictEqual(namesOf(yield* as(admin).get(`${os}/lanes`)), ["agent:main:notes"])
      assert.deepStrictEqual(namesOf(yield* ask(`${os}/lanes`)), [`${acme}/agent:main:notes`])
      assert.deepStrictEqual(namesOf(yield* inProject(acme).get(`${os}/lanes`)), ["agent:main:notes"])
      assert.deepStrictEqual(namesOf(yield* inProject(sibling).get(`${os}/lanes`)), [])
      const home = yield* keyIn("local/default", ["read"])
      assert.deepStrictEqual(namesOf(yield* as(home).get(`${os}/lanes`)), [])
      // Whoever sees all names it as it is shown.
      const full = encodeURIComponent(`${acme}/agent:main:notes`)
      assert.strictEqual((yield* post(`${os}/lanes/${full}/resume`, {})).status, 204)
      yield* send(admin, { id: "m2", content: "/pause" })
      yield* settle
      yield* as(admin).post(`${os}/lanes/notes/resume`, {})
      const audit = (yield* as(admin).get(`${os}/audit`)).json.events as ReadonlyArray<Record<string, string>>
      const told = audit.flatMap(({ action, subject }) => (action === "lane.paused" ? [subject] : []))
      assert.deepStrictEqual(told, ["agent:main:notes", "agent:main:notes"])
      const whoResumed = audit.flatMap(({ action, actor }) => (action === "lane.resumed" ? [actor] : []))
      assert.lengthOf(whoResumed, 2)
      assert.strictEqual(whoResumed.at(-1), "operator")
      assert.deepStrictEqual(namesOf(yield* ask(`${os}/lanes`)), [])
    }).pipe(Effect.provide(layer({ script: ["one"] })))
  )
})

describe("acting in a project", () => {
  it.effect("is for who runs all; a key acts in its own", () =>
    Effect.gen(function* () {
      yield* made
      const admin = yield* keyIn(acme, ["admin"])
      const homeAdmin = yield* keyIn("local/default", ["admin"], { user: "boss" })
      const homeReader = yield* keyIn("local/default", ["read"])
      const statusAs = (key: string, project: string) =>
        Effect.map(as(key, project).get("/auth/me"), ({ status, json }) => [status, json.error?.code])

      assert.deepStrictEqual(yield* statusAs(admin, acme), [200, undefined])
      assert.deepStrictEqual(yield* statusAs(admin, sibling), [403, "foreign_tenant"])
      assert.deepStrictEqual(yield* statusAs(admin, "local/default"), [403, "foreign_tenant"])
      assert.deepStrictEqual(yield* statusAs(homeReader, acme), [403, "foreign_tenant"])
      assert.deepStrictEqual(yield* statusAs(homeAdmin, acme), [200, undefined])
      assert.deepStrictEqual(yield* statusAs(token, "no/where"), [404, "no_such_project"])
      for (const wrong of ["acme", "acme/", "a/b/c", "Acme/shop", "acme/sh op"]) {
        assert.deepStrictEqual(yield* statusAs(token, wrong), [400, "invalid_project"], wrong)
      }
      const { json } = yield* inProject(acme).get("/auth/me")
      assert.strictEqual(json.principal.project, acme)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("shuts what all share to the keys of a project, and nothing else", () =>
    Effect.gen(function* () {
      yield* made
      const admin = yield* keyIn(acme, ["admin"])
      const { routes } = yield* GatewayApp
      const shut: Array<string> = []
      for (const { method, path, access } of routes) {
        if (access === "open") continue
        const target = path.replaceAll(/:\w+\*?/g, "nothing")
        const body = method === "POST" || method === "PATCH" ? { body: "{}" } : {}
        const { json } = yield* ask(target, {
          method,
          headers: { ...bearer, authorization: `Bearer ${admin}`, "content-type": "application/json" },
          ...body
        })
        if (json?.error?.code === "installation_only") shut.push(`${method} ${path}`)
      }

      // Written by hand, so that it does not follow the code.
      assert.sameMembers(shut, [
        "GET /metrics",
        `GET ${os}/checks`,
        `POST ${os}/codes`,
        `POST ${os}/setup`,
        `POST ${os}/lanes/:action`,
        `POST ${os}/orgs`,
        `GET ${os}/orgs`,
        `POST ${os}/projects`,
        `GET ${os}/projects`,
        `POST ${os}/credentials`,
        `GET ${os}/credentials`,
        `POST ${os}/credentials/rotate`,
        `DELETE ${os}/credentials/:name`
      ])
    }).pipe(Effect.provide(layer()))
  )
})

describe("users", () => {
  it.effect("have the keys that their role allows, and none while they are disabled", () =>
    Effect.gen(function* () {
      yield* made
      const admin = as(yield* keyIn(acme, ["admin"], { user: "boss" }))
      const bob = yield* admin.post(`${os}/users`, { id: "bob", role: "viewer", email: "bob@example.com" })
      const mayNot = yield* admin.post(`${os}/keys`, { name: "bob", scopes: ["chat"] })
      const change = (id: string, body: object) =>
        ask(`${os}/users/${id}`, {
          method: "PATCH",
          headers: { ...bearer, "content-type": "application/json", "x-opencraw-project": sibling },
          body: JSON.stringify(body)
        })
      // Of the organisation, from any of its projects.
      const member = yield* change("bob", { role: "member" })
      const key = String((yield* admin.post(`${os}/keys`, { name: "bob", scopes: ["chat"] })).json.key)
      const socket = yield* connect({ token: key })
      yield* socket.until("hello")
      const status = Effect.map(as(key).get("/auth/me"), (reply) => reply.status)
      const before = yield* status
      const off = yield* change("bob", { disabled: true })
      const during = yield* status
      const listed = (yield* admin.get(`${os}/keys`)).json.keys as ReadonlyArray<{
        name: string
        state: string
      }>
      const another = yield* admin.post(`${os}/keys`, { name: "bob 2", user: "bob", scopes: ["chat"] })
      const closed = yield* socket.closed
      yield* change("bob", { disabled: false })

      assert.deepStrictEqual([bob.status, bob.json.role, bob.json.email], [201, "viewer", "bob@example.com"])
      assert.deepStrictEqual([mayNot.status, mayNot.json.error.code], [409, "role_too_low"])
      assert.deepStrictEqual([member.status, member.json.role], [200, "member"])
      assert.deepStrictEqual([before, during, yield* status], [200, 401, 200])
      assert.isNumber(off.json.disabled_at)
      assert.strictEqual(closed, 1008)
      assert.strictEqual(listed.find(({ name }) => name === "bob")?.state, "disabled")
      assert.deepStrictEqual([another.status, another.json.error.code], [409, "user_disabled"])
      const { users } = (yield* admin.get(`${os}/users`)).json
      assert.deepStrictEqual(
        users.map(({ id, role }: { id: string; role: string }) => `${id} ${role}`),
        ["bob member", "boss admin"]
      )
      const told = (yield* admin.get(`${os}/audit`)).json.events as ReadonlyArray<{ action: string }>
      assert.includeMembers(
        told.map(({ action }) => action),
        ["user.created"]
      )
    }).pipe(Effect.provide(layer()))
  )

  it.effect("of the first organisation are not to be touched from its other projects", () =>
    Effect.gen(function* () {
      yield* post(`${os}/projects`, { project: "local/lab" })
      yield* keyIn("local/default", ["admin"], { user: "boss" })
      const lab = yield* keyIn("local/lab", ["admin"], { user: "labs" })
      const change = yield* ask(`${os}/users/boss`, {
        method: "PATCH",
        headers: { authorization: `Bearer ${lab}`, "content-type": "application/json" },
        body: JSON.stringify({ disabled: true })
      })
      const create = yield* as(lab).post(`${os}/users`, { id: "eve", role: "admin" })

      assert.deepStrictEqual([change.status, change.json.error.code], [403, "installation_only"])
      assert.deepStrictEqual([create.status, create.json.error.code], [403, "installation_only"])
      const { users } = (yield* ask(`${os}/users`)).json
      assert.deepStrictEqual(
        users.map(({ id, disabled_at: at }: { id: string; disabled_at?: number }) => [id, at]),
        [
          ["boss", undefined],
          ["labs", undefined]
        ]
      )
    }).pipe(Effect.provide(layer()))
  )

  it.effect("bad names, roles and changes are refused by name, and change nothing", () =>
    Effect.gen(function* () {
      yield* made
      const refused = (path: string, body: object) =>
        Effect.map(post(path, body), ({ status, json }) => [status, json.error?.code, json.error?.param])
      const patch = (id: string, body: object) =>
        Effect.map(
          ask(`${os}/users/${id}`, {
            method: "PATCH",
            headers: { ...bearer, "content-type": "application/json" },
            body: JSON.stringify(body)
          }),
          ({ status, json }) => [status, json.error?.param]
        )

      assert.deepStrictEqual(yield* refused(`${os}/orgs`, { org: "Acme" }), [400, "invalid_value", "org"])
      assert.deepStrictEqual(yield* refused(`${os}/orgs`, { org: "acme" }), [409, "org_exists", "org"])
      assert.deepStrictEqual(yield* refused(`${os}/orgs`, { org: "x", names: "y" }), [
        400,
        "unknown_key",
        "names"
      ])
      assert.deepStrictEqual(yield* refused(`${os}/projects`, { project: acme }), [
        409,
        "project_exists",
        "project"
      ])
      assert.deepStrictEqual((yield* refused(`${os}/projects`, { project: "no/where" })).slice(0, 1), [404])
      assert.deepStrictEqual(yield* refused(`${os}/projects`, { project: "acme" }), [
        400,
        "invalid_value",
        "project"
      ])
      assert.deepStrictEqual(yield* refused(`${os}/users`, { id: "operator" }), [400, "invalid_value", "id"])
      assert.deepStrictEqual(yield* refused(`${os}/users`, { id: "ann", role: "king" }), [
        400,
        "invalid_value",
        "role"
      ])
      assert.deepStrictEqual(yield* refused(`${os}/users`, { id: "ann", email: "nobody" }), [
        400,
        "invalid_value",
        "email"
      ])
      assert.deepStrictEqual(yield* patch("nobody", { role: "admin" }), [404, undefined])
      assert.deepStrictEqual(yield* patch("ann", {}), [400, "disabled"])
      assert.deepStrictEqual(yield* patch("ann", { role: "admin", disabled: true }), [400, "disabled"])
      assert.deepStrictEqual((yield* ask(`${os}/users`)).json.users, [])
      const { orgs } = (yield* ask(`${os}/orgs?limit=2`)).json
      assert.deepStrictEqual(
        orgs.map(({ org }: { org: string }) => org),
        ["acme", "local"]
      )
      assert.strictEqual((yield* ask(`${os}/projects?after=x`)).status, 400)
    }).pipe(Effect.provide(layer()))
  )
})

describe("agents of a project", () => {
  it.effect("stand before those of the configuration, in this project only, from the next run on", () =>
    Effect.gen(function* () {
      yield* made
      const admin = as(yield* keyIn(acme, ["admin"]))
      const model = yield* ModelScript
      const told = (name: string) =>
        Effect.map(
          admin.post("/v1/chat/completions", { model: `opencraw/${name}`, user: name, ...says("hello") }),
          ({ status }) => [status, JSON.stringify(model.requests().at(-1)?.messages[0])]
        )
      const set = (name: string, settings: unknown, more: object = {}) =>
        admin.post(`${os}/agents`, { name, settings, ...more })
      const before = yield* told("helper")
      const one = yield* set("helper", { system_prompt: "You help." })
      const own = yield* told("helper")
      const main = yield* set("main", { system_prompt: "You are main here.", tools: [] })
      const here = yield* told("main")
      const elsewhere = yield* post("/v1/chat/completions", {
        model: "opencraw",
        user: "x",
        ...says("hello")
      })
      const models = (yield* admin.get("/v1/models")).json.data.map(({ id }: { id: string }) => id)
      const others = (yield* ask("/v1/models")).json.data.map(({ id }: { id: string }) => id)
      const stale = yield* set("helper", {}, { revision: 7 })
      const dropped = yield* admin.drop(`${os}/agents/helper`)
      const after = yield* admin.post(`${os}/messages/send`, {
        session_key: "agent:helper:x",
        content: "hello"
      })

      assert.strictEqual(before[0], 404)
      assert.deepStrictEqual([one.status, one.json, main.status], [200, { name: "helper", revision: 1 }, 200])
      assert.deepStrictEqual([own[0], here[0], elsewhere.status], [200, 200, 200])
      assert.include(String(own[1]), "You help.")
      assert.include(String(here[1]), "You are main here.")
      assert.include(
        String(JSON.stringify(model.requests().at(-1)?.messages[0])),
        "You are a helpful assistant"
      )
      assert.include(models, "opencraw/helper")
      assert.notInclude(others, "opencraw/helper")
      assert.deepStrictEqual([stale.status, stale.json.error.code], [409, "agent_changed"])
      assert.deepStrictEqual([dropped.status, after.status], [204, 400])
      const listed = (yield* admin.get(`${os}/agents`)).json.agents
      assert.deepStrictEqual(
        listed.map(({ name, settings }: { name: string; settings: object }) => [name, settings]),
        [["main", { system_prompt: "You are main here.", tools: [] }]]
      )
    }).pipe(Effect.provide(layer({ script: ["1", "2", "3", "4"] })))
  )

  it.effect("are refused with every problem, and then nothing is changed", () =>
    Effect.gen(function* () {
      const refused = (body: object) =>
        Effect.map(post(`${os}/agents`, body), ({ status, json }) => [
          status,
          json.error.param,
          (json.error.details?.problems ?? []).map(({ path }: { path: string }) => path)
        ])

      assert.deepStrictEqual(yield* refused({ name: "a", settings: { modle: "x", workspace: "/" } }), [
        400,
        "settings",
        ["modle", "workspace"]
      ])
      assert.deepStrictEqual(
        yield* refused({
          name: "a",
          settings: { model: "nobody/x", fallbacks: ["demo/demo", "x"], tools: ["time.now", "time.new"] }
        }),
        [400, "settings", ["tools[1]", "model", "fallbacks[1]"]]
      )
      assert.deepStrictEqual(yield* refused({ name: "A b", settings: {} }), [400, "name", ["name"]])
      assert.deepStrictEqual(yield* refused({ name: "a" }), [400, "settings", [""]])
      assert.deepStrictEqual(yield* refused({ name: "a", settings: {}, revision: -1 }), [400, "revision", []])
      assert.deepStrictEqual((yield* ask(`${os}/agents`)).json.agents, [])
      assert.strictEqual((yield* ask(`${os}/agents/a`, { method: "DELETE" })).status, 404)
    }).pipe(Effect.provide(layer()))
  )
})
