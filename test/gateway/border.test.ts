import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { allowsHost, allowsOrigin, isSameOrigin } from "#src/gateway/Guard.ts"
import * as Json from "#src/gateway/Json.ts"
import { compile, type Route } from "#src/gateway/Routing.ts"

const loopback = { bind: "loopback", allowedHosts: [] } as const
const lan = { bind: "lan", allowedHosts: ["chat.example.com", "intranet:8080"] } as const

describe("which hosts are answered", () => {
  it("on loopback: this machine's names, and nothing that a name server could make of them", () => {
    for (const host of ["localhost", "LocalHost:3000", "127.0.0.1:1", "[::1]:3000"]) {
      assert.isTrue(allowsHost(host, loopback), host)
    }
    const foreign = [
      "evil.test",
      "localhost.evil.test",
      "127.0.0.1.evil.test",
      "10.0.0.1",
      "",
      "a b",
      "localhost@evil.test"
    ]
    for (const host of [undefined, ...foreign, "[::1", "localhost:x", "localhost/", "user:pw@localhost"]) {
      assert.isFalse(allowsHost(host, loopback), host)
    }
  })

  it("on a LAN: literal addresses and listed names, with their port when one is listed", () => {
    for (const host of ["192.168.1.7:3000", "[fe80::1]:3000", "chat.example.com:9", "intranet:8080"]) {
      assert.isTrue(allowsHost(host, lan), host)
    }
    for (const host of ["example.com", "intranet", "intranet:81"]) assert.isFalse(allowsHost(host, lan), host)
  })

  it("and which pages may ask: our own, or listed ones", () => {
    assert.isTrue(allowsOrigin(undefined, "localhost:3000", loopback))
    assert.isTrue(isSameOrigin("http://localhost:3000", "127.0.0.1:3000"))
    assert.isFalse(isSameOrigin("http://localhost:5173", "localhost:3000"))
    assert.isTrue(allowsOrigin("https://chat.example.com", "10.0.0.1:3000", lan))
    for (const origin of [
      "null",
      "https://evil.test",
      "file://",
      "http://localhost:3000/x",
      "https://chat.example.com.evil.test"
    ]) {
      assert.isFalse(allowsOrigin(origin, "localhost:3000", lan), origin)
    }
  })
})

describe("JSON from strangers", () => {
  it.prop("is what JSON.parse makes of it, within the limits", { value: Schema.Json }, ({ value }) => {
    const parsed = Json.parse(JSON.stringify(value))

    assert.deepStrictEqual(Result.getOrThrow(parsed), JSON.parse(JSON.stringify(value)))
  })

  it("counts depth and keys outside strings only", () => {
    const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels)
    const wide = (keys: number) =>
      JSON.stringify(Object.fromEntries(Array.from({ length: keys }, (_, n) => [n, 1])))
    const code = (text: string) => {
      const parsed = Json.parse(text)
      return Result.isFailure(parsed) ? parsed.failure.code : "ok"
    }

    assert.strictEqual(code(deep(64)), "ok")
    assert.strictEqual(code(deep(65)), "json_too_deep")
    assert.strictEqual(code(wide(10_000)), "ok")
    assert.strictEqual(code(wide(10_001)), "json_too_many_keys")
    assert.strictEqual(code(JSON.stringify(`\\"${"[{:".repeat(20_000)}`)), "ok")
    assert.strictEqual(code('{"a":1,"a":2}'), "ok")
    assert.strictEqual(code("1e999x"), "invalid_json")
  })
})

describe("the table of routes", () => {
  const route = (method: "GET" | "DELETE" | "POST", path: string): Route => ({
    method,
    path,
    access: "open",
    handle: () => Effect.never
  })
  const match = compile([
    route("GET", "/a"),
    route("POST", "/a"),
    route("GET", "/s/:key/messages"),
    route("DELETE", "/s/:key"),
    route("GET", "/m/:id*")
  ])
  const found = (method: string, path: string) => {
    const result = match(method, path)
    return result._tag === "Found" ? [result.route.path, result.params] : result
  }

  it("decodes parameters, keeps slashes of the last one, and knows other methods", () => {
    assert.deepStrictEqual(found("GET", "/s/agent%3Amain%2Fx/messages"), [
      "/s/:key/messages",
      { key: "agent:main/x" }
    ])
    assert.deepStrictEqual(found("GET", "/m/a/b"), ["/m/:id*", { id: "a/b" }])
    assert.deepStrictEqual(found("HEAD", "/a"), ["/a", {}])
    assert.deepStrictEqual(found("DELETE", "/a"), { _tag: "WrongMethod", allow: ["GET", "POST"] })
    for (const path of ["/s//messages", "/s/x/y", "/b", "/s/x/messages/", "/m/"]) {
      assert.deepStrictEqual(found("GET", path), { _tag: "NotFound" }, path)
    }
    assert.deepStrictEqual(found("DELETE", "/s/%e0%a4%a"), { _tag: "BadPath" })
  })
})
