/**
 * What every CentralDb promises, whatever it is built on, with the audit log that its changes are told to. Each adapter runs it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import { local, type Tenant } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import { CentralDb, type CentralError, type NewApiKey } from "#src/horizons/CentralDb.ts"
import { acme, eventOf, rival, sibling, tenants } from "./AuditLog.contract.ts"

export const keyOf = (id: string, more: Partial<NewApiKey> = {}): NewApiKey => ({
  tenant: acme,
  id,
  name: `name of ${id}`,
  user: "ann",
  scopes: ["chat"],
  digest: `digest-of-${id}`,
  createdAt: 1000,
  expiresAt: undefined,
  ...more
})

const create = (
  id: string,
  more: Partial<NewApiKey> = {},
  event = eventOf(`made-${id}`, { tenant: more.tenant ?? acme })
) => CentralDb.use((db) => db.createKey(keyOf(id, more), event))
const revoke = (id: string, tenant: Tenant = acme, event = eventOf(`revoked-${id}`, { tenant })) =>
  CentralDb.use((db) => db.revokeKey({ tenant, id, at: 5000 }, event))
const put = (
  name: string,
  text: string,
  more: {
    readonly tenant?: Tenant
    readonly revision?: number
    readonly event?: AuditEvent
    readonly at?: number
  } = {}
) =>
  CentralDb.use((db) =>
    db.putCredential(
      {
        tenant: more.tenant ?? acme,
        name,
        sealed: { keyId: "k1", text },
        at: more.at ?? 1000,
        ...(more.revision === undefined ? {} : { revision: more.revision })
      },
      more.event ?? eventOf(`put-${name}-${text}`.slice(0, 200), { tenant: more.tenant ?? acme })
    )
  )
const ids = (tenant: Tenant = acme) =>
  CentralDb.use((db) => db.keys({ tenant, limit: 1000 })).pipe(Effect.map((rows) => rows.map(({ id }) => id)))
const credentials = (tenant: Tenant = acme) =>
  CentralDb.use((db) => db.credentials({ tenant, limit: 1000 })).pipe(
    Effect.map((rows) => rows.map(({ name, sealed }) => [name, sealed.text]))
  )
const told = (tenant: Tenant = acme) =>
  AuditLog.use((log) => log.list({ tenant, limit: 1000 })).pipe(
    Effect.map((rows) => rows.map(({ id }) => id))
  )
/** What became of it: `done`, or the reason's name. */
const end = <A, R>(effect: Effect.Effect<A, CentralError, R>) =>
  Effect.map(Effect.result(effect), (result) =>
    result._tag === "Failure" ? result.failure.reason._tag : "done"
  )

/** The organisations and projects of the suite, as often as it is asked for. Their events are the installation's. */
export const tenantsThere = Effect.gen(function* () {
  const db = yield* CentralDb
  for (const tenant of tenants) {
    const { org, project } = tenant
    const event = (what: string) => eventOf(`made-${what}`, { tenant: local })
    yield* Effect.ignore(db.createOrg({ org, name: org, createdAt: 1000 }, event(org)))
    const made = { tenant, name: project, createdAt: 1000 }
    yield* Effect.ignore(db.createProject(made, event(`${org}-${project}`)))
  }
})

export const centralDbContract = <E>(name: string, bare: Layer.Layer<CentralDb | AuditLog, E>) =>
  describe(`CentralDb ${name}`, () => {
    const layer = Layer.effectDiscard(tenantsThere).pipe(Layer.provideMerge(bare))

    it.effect("begins with the one organisation and project of a single team", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        assert.deepStrictEqual(yield* db.orgs({ limit: 10 }), [{ org: "local", name: "local", createdAt: 0 }])
        assert.deepStrictEqual(yield* db.projects({ limit: 10 }), [
          { tenant: local, name: "default", createdAt: 0 }
        ])
        assert.deepStrictEqual([yield* db.hasProject(local), yield* db.hasProject(acme)], [true, false])
        assert.deepStrictEqual(yield* db.users({ org: "local", limit: 10 }), [])
      }).pipe(Effect.provide(bare))
    )

    it.effect("an organisation and a project are made once, by one of many, with its event", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const many = <A>(each: (n: number) => Effect.Effect<A, CentralError>) =>
          Effect.forEach(Array.from({ length: 8 }), (_, n) => end(each(n)), { concurrency: "unbounded" })
        const org = (n: number) =>
          db.createOrg({ org: "acme", name: `N ${n}`, createdAt: n }, eventOf(`o${n}`, { tenant: local }))
        const project = (n: number) =>
          db.createProject(
            { tenant: acme, name: `P ${n}`, createdAt: n },
            eventOf(`p${n}`, { tenant: local })
          )
        const early = yield* end(project(99))
        const orgs = yield* many(org)
        const projects = yield* many(project)

        assert.strictEqual(early, "NoSuchOrg")
        assert.deepStrictEqual(orgs.toSorted(), [...Array(7).fill("OrgExists"), "done"])
        assert.deepStrictEqual(projects.toSorted(), [...Array(7).fill("ProjectExists"), "done"])
        assert.lengthOf(yield* told(local), 2)
        assert.isTrue(yield* db.hasProject(acme))
        assert.isFalse(yield* db.hasProject(sibling))
      }).pipe(Effect.provide(bare))
    )

    it.effect("lists organisations and projects by name, page by page", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const first = yield* db.projects({ limit: 2 })
        const rest = yield* db.projects({ limit: 10, after: first[1]!.tenant })

        assert.deepStrictEqual(
          [...first, ...rest].map(({ tenant }) => tenant),
          [sibling, acme, local, rival]
        )
        assert.deepStrictEqual(
          (yield* db.orgs({ limit: 2, after: "acme" })).map(({ org }) => org),
          ["local", "rival"]
        )
        assert.deepStrictEqual(yield* db.projects({ limit: 10, after: rival }), [])
      }).pipe(Effect.provide(layer))
    )

    it.effect("a user is an organisation's: made once, changed, found by no other", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const ann = {
          org: "acme",
          id: "ann",
          role: "member",
          email: "ann@example.com",
          createdAt: 7
        } as const
        const made = yield* end(db.createUser(ann, eventOf("u1")))
        const again = yield* end(db.createUser({ ...ann, role: "admin" }, eventOf("u2")))
        const nowhere = yield* end(db.createUser({ ...ann, org: "nowhere" }, eventOf("u3")))
        const foreign = yield* end(db.changeUser({ org: "rival", id: "ann", role: "viewer" }, eventOf("u4")))
        const viewer = yield* db.changeUser({ org: "acme", id: "ann", role: "viewer" }, eventOf("u5"))
        const off = yield* db.changeUser({ org: "acme", id: "ann", disabledAt: 9 }, eventOf("u6"))
        const on = yield* db.changeUser({ org: "acme", id: "ann", disabledAt: undefined }, eventOf("u7"))
        yield* db.createUser({ ...ann, id: "bob", email: undefined }, eventOf("u8"))

        assert.deepStrictEqual(
          [made, again, nowhere, foreign],
          ["done", "UserExists", "NoSuchOrg", "NoSuchUser"]
        )
        assert.deepStrictEqual(viewer, { ...ann, role: "viewer", disabledAt: undefined })
        assert.deepStrictEqual(off, { ...ann, role: "viewer", disabledAt: 9 })
        assert.deepStrictEqual(on, viewer)
        assert.deepStrictEqual(
          (yield* db.users({ org: "acme", limit: 10 })).map(({ id }) => id),
          ["ann", "bob"]
        )
        assert.deepStrictEqual(
          (yield* db.users({ org: "acme", after: "ann", limit: 10 })).map(({ id, email }) => [id, email]),
          [["bob", undefined]]
        )
        assert.deepStrictEqual(yield* db.users({ org: "rival", limit: 10 }), [])
        assert.sameMembers([...(yield* told())], ["u1", "u5", "u6", "u7", "u8"])
      }).pipe(Effect.provide(layer))
    )

    it.effect("an agent is its project's: set, changed by its revision, listed, deleted", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        let events = 0
        const put = (name: string, settings: string, more: { tenant?: Tenant; revision?: number } = {}) => {
          const { tenant = acme, revision } = more
          const agent = { tenant, name, settings, at: 10 + events }
          return db.putAgent(
            revision === undefined ? agent : { ...agent, revision },
            eventOf(`a${events++}`, { tenant })
          )
        }
        const drop = (name: string, tenant: Tenant) =>
          db.deleteAgent({ tenant, name }, eventOf(`d${events++}`, { tenant }))
        const first = yield* put("helper", "{}", { revision: 0 })
        const again = yield* end(put("helper", "{}", { revision: 0 }))
        const changed = yield* put("helper", '{"model":"a/b"}', { revision: 1 })
        const homeless = yield* end(put("x", "{}", { tenant: { org: "acme", project: "nowhere" } }))
        yield* put("helper", "{}", { tenant: rival })
        yield* put("aide", '{"system_prompt":"ä\\u0000"}', { tenant: sibling })
        yield* put("zoe", "{}")
        const all = yield* db.allAgents({ limit: 2 })
        const rest = yield* db.allAgents({ limit: 10, after: all[1]! })
        const foreign = yield* end(drop("zoe", rival))
        yield* drop("helper", acme)
        const gone = yield* end(drop("helper", acme))
        const anew = yield* put("helper", "{}", { revision: 0 })

        assert.deepStrictEqual([first, again, changed, homeless], [1, "AgentChanged", 2, "NoSuchProject"])
        assert.deepStrictEqual([foreign, gone, anew], ["NoSuchAgent", "NoSuchAgent", 1])
        assert.deepStrictEqual(
          [...all, ...rest].map(({ tenant, name }) => `${tenant.org}/${tenant.project} ${name}`),
          ["acme/lab aide", "acme/shop helper", "acme/shop zoe", "rival/shop helper"]
        )
        assert.strictEqual(all[1]?.settings, '{"model":"a/b"}')
        assert.deepStrictEqual(
          (yield* db.agents({ tenant: acme, limit: 1 })).map(({ name, revision }) => [name, revision]),
          [["helper", 1]]
        )
        assert.deepStrictEqual(
          (yield* db.agents({ tenant: acme, after: "helper", limit: 9 })).map(({ name }) => name),
          ["zoe"]
        )
      }).pipe(Effect.provide(layer))
    )

    it.effect("a key needs its project, and what its user may do", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const nowhere = { org: "acme", project: "nowhere" }
        const homeless = yield* end(create("key_0", { tenant: nowhere }, eventOf("e0")))
        yield* create("key_1", { user: "new", scopes: ["read", "chat"] })
        yield* create("key_2", { user: "boss", scopes: ["admin"], tenant: sibling })
        const low = yield* end(create("key_3", { user: "new", scopes: ["admin"] }))
        yield* db.changeUser({ org: "acme", id: "new", disabledAt: 5 }, eventOf("off"))
        const disabled = yield* end(create("key_4", { user: "new" }))
        const shut = yield* db.findKey("key_1")
        const listed = yield* db.keys({ tenant: acme, limit: 10 })
        yield* db.changeUser({ org: "acme", id: "new", disabledAt: undefined }, eventOf("on"))
        const open = yield* db.findKey("key_1")
        // A user of the same name elsewhere is somebody else.
        const other = yield* end(create("key_5", { user: "new", scopes: ["admin"], tenant: rival }))

        assert.deepStrictEqual(
          [homeless, low, disabled, other],
          ["NoSuchProject", "RoleTooLow", "UserDisabled", "done"]
        )
        assert.deepStrictEqual(
          [shut?.userDisabledAt, listed[0]?.userDisabledAt, open?.userDisabledAt],
          [5, 5, undefined]
        )
        assert.deepStrictEqual(
          (yield* db.users({ org: "acme", limit: 10 })).map(({ id, role }) => [id, role]),
          [
            ["boss", "admin"],
            ["new", "member"]
          ]
        )
      }).pipe(Effect.provide(layer))
    )

    it.effect("gives a key back as it was made, by its id alone", () =>
      Effect.gen(function* () {
        const made = keyOf("key_1", { scopes: ["chat", "admin"], expiresAt: 9000 })
        yield* CentralDb.use((db) => db.createKey(made, eventOf("e")))

        const found = yield* CentralDb.use((db) => db.findKey("key_1"))
        assert.deepStrictEqual(found, {
          ...made,
          revokedAt: undefined,
          usedAt: undefined,
          userDisabledAt: undefined
        })
        assert.isUndefined(yield* CentralDb.use((db) => db.findKey("key_2")))
        assert.isUndefined(yield* CentralDb.use((db) => db.findKey("KEY_1")))
      }).pipe(Effect.provide(layer))
    )

    it.effect("a name is one key's until that is revoked", () =>
      Effect.gen(function* () {
        yield* create("key_1", { name: "ci" })
        const second = yield* end(create("key_2", { name: "ci" }))
        const otherCase = yield* end(create("key_3", { name: "CI" }))
        yield* revoke("key_1")
        const third = yield* end(create("key_4", { name: "ci" }))

        assert.deepStrictEqual([second, otherCase, third], ["KeyNameTaken", "done", "done"])
        assert.deepStrictEqual(yield* ids(), ["key_1", "key_3", "key_4"])
        assert.sameMembers([...(yield* told())], ["made-key_1", "made-key_3", "made-key_4", "revoked-key_1"])
      }).pipe(Effect.provide(layer))
    )

    it.effect("of many that make a key of one name at the same time, one does", () =>
      Effect.gen(function* () {
        const ends = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, n) => `key_${n}`),
          (id) => end(create(id, { name: "ci" })),
          { concurrency: "unbounded" }
        )

        assert.lengthOf(
          ends.filter((one) => one === "done"),
          1
        )
        assert.lengthOf(
          ends.filter((one) => one === "KeyNameTaken"),
          19
        )
        assert.lengthOf(yield* ids(), 1)
        assert.lengthOf(yield* told(), 1)
      }).pipe(Effect.provide(layer))
    )

    it.effect("a one-time code is used once, by one of many, and forgotten when it has ended", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const use = (id: string, now: number) => db.useCode({ id, endsAt: 5000, now })
        const many = yield* Effect.forEach(Array.from({ length: 10 }), () => use("one", 1000), {
          concurrency: "unbounded"
        })
        const other = yield* use("ONE", 1000)
        const again = yield* use("one", 4999)
        // Whoever asks has seen that it had ended.
        const forgotten = yield* use("one", 5000)

        assert.lengthOf(
          many.filter((isFirst) => isFirst),
          1
        )
        assert.deepStrictEqual([other, again, forgotten], [true, false, true])
      }).pipe(Effect.provide(layer))
    )

    it.effect("a key is revoked once, and stays so", () =>
      Effect.gen(function* () {
        yield* create("key_1")
        const events = ["a", "b", "c", "d"].map((id) => eventOf(id))
        const ends = yield* Effect.forEach(events, (event) => end(revoke("key_1", acme, event)), {
          concurrency: "unbounded"
        })
        const later = yield* Effect.flip(
          CentralDb.use((db) => db.revokeKey({ tenant: acme, id: "key_1", at: 9000 }, eventOf("late")))
        )

        assert.deepStrictEqual(ends.toSorted(), ["KeyRevoked", "KeyRevoked", "KeyRevoked", "done"])
        assert.deepInclude(later.reason, { _tag: "KeyRevoked", at: 5000 })
        assert.strictEqual((yield* CentralDb.use((db) => db.findKey("key_1")))?.revokedAt, 5000)
        assert.lengthOf(yield* told(), 2)
        assert.strictEqual(yield* end(revoke("key_2")), "NoSuchKey")
      }).pipe(Effect.provide(layer))
    )

    it.effect("the last use of a key only moves forward", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        yield* create("key_1")
        yield* create("key_2")
        const used = (id: string, at: number) => ({ tenant: acme, id, at })
        yield* db.useKeys([used("key_1", 700), used("key_2", 0), used("key_9", 1)])
        yield* db.useKeys([used("key_1", 600)])
        yield* db.useKeys([])

        const rows = yield* db.keys({ tenant: acme, limit: 10 })
        assert.deepStrictEqual(
          rows.map(({ id, usedAt }) => [id, usedAt]),
          [
            ["key_1", 700],
            ["key_2", 0]
          ]
        )
      }).pipe(Effect.provide(layer))
    )

    it.effect("lists keys and credentials page by page, in the order of their bytes", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const names = ["b", "a", "Z", "é", "\u{1F600}", "\uFFFD", "aa", "10", "9"]
        for (const one of names) {
          yield* create(one)
          yield* put(one, "x")
        }
        const read = Effect.fnUntraced(function* (
          page: (after: string | undefined) => Effect.Effect<ReadonlyArray<string>, CentralError>
        ) {
          const found: Array<string> = []
          let next = yield* page(undefined)
          while (next.length > 0) {
            found.push(...next)
            next = yield* page(next.at(-1))
          }
          return found
        })
        const of = (after: string | undefined) => ({
          tenant: acme,
          limit: 2,
          ...(after === undefined ? {} : { after })
        })
        const inOrder = ["10", "9", "Z", "a", "aa", "b", "é", "\uFFFD", "\u{1F600}"]

        const keys = yield* read((after) =>
          Effect.map(db.keys(of(after)), (rows) => rows.map(({ id }) => id))
        )
        const kept = yield* read((after) =>
          Effect.map(db.credentials(of(after)), (rows) => rows.map((row) => row.name))
        )
        assert.deepStrictEqual(keys, inOrder)
        assert.deepStrictEqual(kept, inOrder)
        assert.deepStrictEqual(yield* db.keys({ tenant: acme, limit: 0 }), [])
        assert.lengthOf(yield* db.credentials({ tenant: acme, limit: 1e12 }), names.length)
      }).pipe(Effect.provide(layer))
    )

    it.effect("a credential is set, set again, and forgotten", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        const first = yield* put("openai", "one")
        const second = yield* put("openai", "two", { at: 2000 })
        const [row] = yield* db.credentials({ tenant: acme, name: "openai", limit: 1 })
        const remove = (event: AuditEvent) => db.deleteCredential({ tenant: acme, name: "openai" }, event)
        const ends = [yield* end(remove(eventOf("gone"))), yield* end(remove(eventOf("again")))]
        const anew = yield* put("openai", "three")

        assert.deepStrictEqual([first, second, anew], [1, 2, 1])
        assert.deepStrictEqual(row, {
          tenant: acme,
          name: "openai",
          sealed: { keyId: "k1", text: "two" },
          revision: 2,
          createdAt: 1000,
          updatedAt: 2000
        })
        assert.deepStrictEqual(ends, ["done", "NoSuchCredential"])
        assert.notInclude(yield* told(), "again")
        assert.deepStrictEqual(yield* credentials(), [["openai", "three"]])
      }).pipe(Effect.provide(layer))
    )

    it.effect("with a revision it is set only when nobody has set it meanwhile", () =>
      Effect.gen(function* () {
        const none = yield* end(put("a", "never", { revision: 1 }))
        yield* put("a", "one")
        const ends = yield* Effect.forEach(["x", "y", "z"], (text) => end(put("a", text, { revision: 1 })), {
          concurrency: "unbounded"
        })

        assert.strictEqual(none, "CredentialChanged")
        assert.deepStrictEqual(ends.toSorted(), ["CredentialChanged", "CredentialChanged", "done"])
        assert.lengthOf(yield* told(), 2)
      }).pipe(Effect.provide(layer))
    )

    it.effect("writers that set one credential at once each have their revision", () =>
      Effect.gen(function* () {
        const revisions = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, n) => `v${n}`),
          (text) => put("a", text),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          revisions.toSorted((a, b) => a - b),
          Array.from({ length: 20 }, (_, n) => n + 1)
        )
      }).pipe(Effect.provide(layer))
    )

    it.effect(
      "keeps what is large and what is strange; a NUL and half a character become U+FFFD in names",
      () =>
        Effect.gen(function* () {
          const big = "s".repeat(1_000_000)
          yield* put("big", big, { event: eventOf("big") })
          yield* create("key_1", { name: "a\0b\uD800", user: "\u{1F600} \u202E" })
          yield* put("c\0d", "x", { event: eventOf("nul") })
          const taken = yield* end(create("key_2", { name: "a\uFFFDb\uFFFD" }))
          const found = yield* CentralDb.use((db) => db.findKey("key_1"))
          const [byNul] = yield* CentralDb.use((db) =>
            db.credentials({ tenant: acme, name: "c\0d", limit: 1 })
          )

          assert.deepStrictEqual([found?.name, found?.user], ["a\uFFFDb\uFFFD", "\u{1F600} \u202E"])
          assert.strictEqual(taken, "KeyNameTaken")
          assert.strictEqual(byNul?.name, "c\uFFFDd")
          assert.deepStrictEqual((yield* credentials()).find(([key]) => key === "big")?.[1], big)
        }).pipe(Effect.provide(layer))
    )

    it.effect("no tenant sees or changes what is another's, member by member", () =>
      Effect.gen(function* () {
        const db = yield* CentralDb
        yield* create("key_1", { name: "ci" })
        yield* put("openai", "acme's")
        for (const other of [rival, sibling]) {
          assert.deepStrictEqual(yield* ids(other), [])
          assert.deepStrictEqual(yield* credentials(other), [])
          assert.deepStrictEqual(yield* db.credentials({ tenant: other, name: "openai", limit: 1 }), [])
          assert.strictEqual(yield* end(revoke("key_1", other)), "NoSuchKey")
          yield* db.useKeys([{ tenant: other, id: "key_1", at: 99 }])
          assert.strictEqual(
            yield* end(put("openai", "theirs", { tenant: other, revision: 1 })),
            "CredentialChanged"
          )
          assert.strictEqual(
            yield* end(
              db.deleteCredential({ tenant: other, name: "openai" }, eventOf("d", { tenant: other }))
            ),
            "NoSuchCredential"
          )
          assert.deepStrictEqual(yield* told(other), [])
        }
        yield* create("key_r", { tenant: rival, name: "ci" })
        yield* put("openai", "rival's", { tenant: rival })
        yield* put("openai", "sibling's", { tenant: sibling })
        yield* db.deleteCredential({ tenant: sibling, name: "openai" }, eventOf("ds", { tenant: sibling }))

        const [own] = yield* db.keys({ tenant: acme, limit: 10 })
        assert.deepStrictEqual([own?.revokedAt, own?.usedAt], [undefined, undefined])
        assert.deepStrictEqual(yield* credentials(), [["openai", "acme's"]])
        assert.deepStrictEqual(yield* credentials(rival), [["openai", "rival's"]])
        assert.deepStrictEqual(
          [yield* ids(), yield* ids(rival), yield* ids(sibling)],
          [["key_1"], ["key_r"], []]
        )
        // The one door that knows no tenant says whose it is.
        assert.deepStrictEqual((yield* db.findKey("key_r"))?.tenant, rival)
        assert.lengthOf(tenants, 3)
      }).pipe(Effect.provide(layer))
    )
  })
