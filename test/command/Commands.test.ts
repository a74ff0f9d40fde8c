import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { answer, type Command, CommandError, Commands, layer, layerRegister } from "#src/command/Commands.ts"
import { parse } from "#src/command/parse.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"

const echo: Command = {
  name: "echo",
  aliases: ["say"],
  about: "Says it again.",
  usage: "/echo TEXT",
  access: "member",
  inline: (text) =>
    text.includes("/echo now") ? text.replace("/echo now", "").trim() || undefined : undefined,
  run: (rest, { sender }) =>
    rest === ""
      ? Effect.fail(new CommandError({ message: "Say what?" }))
      : Effect.succeed(`${sender} said: ${rest}`)
}
const context = {
  tenant: local,
  agent: "main",
  session: "agent:main:main" as SessionKey,
  route: { channel: "test", account: "a", conversation: "c", thread: "" },
  sender: "ada",
  access: "owner"
} as const

describe("parse", () => {
  it("finds a name at the beginning only, in upper or lower case", () => {
    assert.deepStrictEqual(parse("  /Echo:  hello\nworld "), { name: "echo", rest: "hello\nworld" })
    assert.deepStrictEqual(parse("/stop"), { name: "stop", rest: "" })
    for (const text of ["say /stop", "/etc/hosts is a file", "/", "//x", "/ x", `/${"x".repeat(40)}`, "/1"]) {
      assert.strictEqual(parse(text), undefined, text)
    }
  })

  it.prop("never fails, and adds nothing", { text: Schema.String }, ({ text }) => {
    assert.isBelow(parse(`/x ${text}`)?.rest.length ?? 0, text.length + 1)
  })
})

describe("Commands", () => {
  it.effect("reads a message as a command, as a text with one in it, or as a text", () =>
    Effect.gen(function* () {
      const commands = yield* Commands
      const read = (text: string) => commands.read(text, "owner")

      assert.deepStrictEqual(read("/SAY hi"), { _tag: "Command", command: echo, rest: "hi" })
      assert.deepStrictEqual(read("go /echo now"), { _tag: "Directive", command: echo, text: "go" })
      for (const text of ["hi", "/unknown hi", "please /say hi", "/echoes", ""]) {
        assert.deepStrictEqual(read(text), { _tag: "Text" })
      }
      assert.deepStrictEqual(commands.all(), [echo])
    }).pipe(Effect.provide(layerRegister([echo]).pipe(Layer.provideMerge(layer))))
  )

  it.effect("leaves the text of somebody who may not use the command in it as it is", () =>
    Effect.gen(function* () {
      const commands = yield* Commands

      assert.strictEqual(commands.read("go /echo now", "guest")._tag, "Text")
      assert.strictEqual(commands.read("/echo hi", "guest")._tag, "Command")
    }).pipe(Effect.provide(layerRegister([echo]).pipe(Layer.provideMerge(layer))))
  )

  it.effect("tells the sender the answer, why there is none, or that they may not", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* answer(echo, "hi", context), "ada said: hi")
      assert.strictEqual(yield* answer(echo, "", { ...context, access: "member" }), "Say what?")
      assert.strictEqual(
        yield* answer(echo, "hi", { ...context, access: "guest" }),
        "You may not use /echo here."
      )
    })
  )
})
