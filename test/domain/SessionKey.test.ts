import { isDeepStrictEqual } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SessionKey from "#src/domain/SessionKey.ts"

const canonical = (spelling: string, agent?: string): string =>
  Result.match(SessionKey.canonical(spelling, agent), {
    onSuccess: (key): string => key,
    onFailure: (error) => error.reason
  })
const fromUser = (user: string): string =>
  Result.match(SessionKey.fromUser(user), {
    onSuccess: (key): string => key,
    onFailure: (error) => error.reason
  })

const reserved = (spelling: string, own?: string) =>
  SessionKey.isReserved(Result.getOrThrow(SessionKey.canonical(spelling)), own)

describe("SessionKey", () => {
  it("maps every spelling of a session to one key", () => {
    for (const spelling of ["main", " MAIN ", "agent:main:main", "Agent:Main:MAIN", "agent: main : main"]) {
      assert.strictEqual(canonical(spelling), "agent:main:main")
    }
    assert.strictEqual(canonical("foo"), canonical("agent:main:Foo\n"))
    assert.strictEqual(canonical("foo", "ops"), "agent:ops:foo")
    assert.strictEqual(canonical("agent:ops:a:b:c", "main"), "agent:ops:a:b:c")
  })

  it("refuses what cannot name a session and says why", () => {
    assert.strictEqual(canonical("  "), "empty")
    assert.strictEqual(canonical("a\u0000b"), "control_characters")
    assert.strictEqual(canonical("a\nb"), "control_characters")
    assert.strictEqual(canonical("a\ud800"), "control_characters")
    assert.strictEqual(canonical("x".repeat(513)), "too_long")
    assert.strictEqual(canonical("x".repeat(505)), "too_long")
    assert.strictEqual(canonical("agent:main:" + "x".repeat(501)), "agent:main:" + "x".repeat(501))
    for (const spelling of ["agent:", "agent:ops", "agent:ops:", "agent::x", "agent:!!!:x", "agent:a b:x"]) {
      assert.strictEqual(canonical(spelling), "malformed", spelling)
    }
  })

  it("keeps users apart that differ only in case or reserved characters", () => {
    assert.strictEqual(fromUser("foo"), "agent:main:user:foo")
    assert.strictEqual(fromUser("Foo"), "agent:main:user:~46oo")
    assert.strictEqual(fromUser("a:b ~é"), "agent:main:user:a~3ab~20~7e~e9")
    assert.strictEqual(fromUser("日"), "agent:main:user:~u65e5")
    assert.strictEqual(fromUser(""), "empty")
    assert.strictEqual(fromUser("X".repeat(500)), "too_long")
  })

  it("knows the keys that only an admin may name", () => {
    for (const key of [
      "cron:job1",
      "Hook:gmail:5",
      "subagent:u1",
      "agent:ops:boot:1",
      "incognito-7",
      "x:incognito-7",
      "dm:55",
      "telegram:dm:55",
      "telegram:work:dm:55",
      "slack:channel:c1:thread:5",
      "telegram:direct:55"
    ]) {
      assert.isTrue(reserved(key), key)
    }
    for (const key of ["main", "foo", "cron", "user:foo", "my:own:name", "notes:thread:5"]) {
      assert.isFalse(reserved(key), key)
    }
    assert.isFalse(reserved("webchat:dm:ann", "webchat"))
    assert.isTrue(reserved("telegram:dm:ann", "webchat"))
  })

  it("names the agent of a key", () => {
    const key = Result.getOrThrow(SessionKey.canonical("agent:ops:slack:group:g"))

    assert.strictEqual(SessionKey.agentOf(key), "ops")
    assert.strictEqual(SessionKey.restOf(key), "slack:group:g")
  })

  const spellings = Arbitrary.map(
    Arbitrary.all({
      head: Arbitrary.schema(
        Schema.Literals(["", " ", "agent:", "Agent:Main:", "agent:ops:", "agent:a:agent:", "Σ", "İ"])
      ),
      tail: Arbitrary.schema(Schema.String)
    }),
    ({ head, tail }) => head + tail
  )

  it.prop(
    "canonical is idempotent, whichever agent is the default",
    { spelling: spellings },
    ({ spelling }) => {
      const once = SessionKey.canonical(spelling)
      if (Result.isFailure(once)) return true
      const again = SessionKey.canonical(once.success, "other")
      return Result.isSuccess(again) && again.success === once.success
    }
  )

  // Any text, lone surrogates included, and often close to the edges of the escapes.
  const unit = Schema.Union([
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff })),
    Schema.Literals([0x7e, 0x75, 0x31, 0x41, 0x61, 0xff, 0x100, 0x101, 0xfff, 0xd800])
  ])
  const users = Arbitrary.map(
    Arbitrary.array(Arbitrary.schema(unit), { minLength: 1, maxLength: 12 }),
    (units) => String.fromCharCode(...units)
  )

  it.prop("a user's key can be turned back into the user, and is canonical", { user: users }, ({ user }) => {
    const key = SessionKey.fromUser(user)
    if (Result.isFailure(key)) return key.failure.reason === "too_long"
    const back = SessionKey.restOf(key.success)
      .slice("user:".length)
      .replace(/~(?:u([0-9a-f]{4})|([0-9a-f]{2}))/g, (_, long?: string, short?: string) =>
        String.fromCharCode(parseInt(long ?? short ?? "", 16))
      )
    return back === user && canonical(key.success) === key.success
  })

  const slugs = Arbitrary.schema(
    Schema.Literals(["acme", "agent", "local", "default", "a", "agent-", "cron"])
  )
  const rests = Arbitrary.schema(
    Schema.Literals(["main", "a/b", "x/agent:y:z", "cron:a/agent:b", "user:ann:notes", "dm:a/b/agent:c"])
  )
  it.prop(
    "a tenant's key says whose it is and what its people call it, and no two are one",
    { org: slugs, project: slugs, agent: slugs, rest: rests, otherOrg: slugs, otherRest: rests },
    ({ org, project, agent, rest, otherOrg, otherRest }) => {
      const own = Result.getOrThrow(
        SessionKey.canonical(`agent:${SessionKey.normalizeAgentId(agent)}:${rest}`)
      )
      const other = Result.getOrThrow(SessionKey.canonical(otherRest))
      const key = SessionKey.within({ org, project }, own)
      const foreign = SessionKey.within({ org: otherOrg, project }, other)
      const isSame = org === otherOrg && own === other
      return (
        isDeepStrictEqual(SessionKey.tenantOf(key), { org, project }) &&
        SessionKey.nameOf(key) === own &&
        SessionKey.agentOf(key) === SessionKey.agentOf(own) &&
        SessionKey.restOf(key) === SessionKey.restOf(own) &&
        SessionKey.budgetClassOf(key) === SessionKey.budgetClassOf(own) &&
        (key === foreign) === isSame
      )
    }
  )
})
