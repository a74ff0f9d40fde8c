import { createConnection } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { ModelScript } from "#layers/model/ScriptedModel.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import { runId } from "#src/domain/Ids.ts"
import { Shutdown } from "#src/gateway/Shutdown.ts"
import { Feed } from "#src/outbound/Feed.ts"
import { Outbound } from "#src/outbound/Outbound.ts"
import { ask, chat, connect, layer, refusedWith, says, token } from "./startGateway.ts"

const turn = Effect.promise(() => new Promise(setImmediate))
const types = (frames: ReadonlyArray<{ type: string }>) => frames.map((frame) => frame.type)
const isOutcome = (frame: { type: string }) => frame.type === "outcome"

describe("/ws", () => {
  it.effect("greets, acknowledges what is durable, shows the run and gives the answer", () =>
    Effect.gen(function* () {
      const ada = yield* connect({ sender_id: "ada" })
      const hello = yield* ada.until("hello")
      ada.send({ type: "message", id: "m1", content: "hi" })
      const outcome = yield* ada.until(isOutcome)

      assert.deepStrictEqual(hello, {
        type: "hello",
        sender_id: "ada",
        session_key: "agent:main:webchat:dm:ada",
        seq: 0
      })
      const ack = ada.frames.find((frame) => frame.type === "ack")
      const message = ada.frames.find((frame) => frame.type === "message")
      assert.deepInclude(ack, { id: "m1", seq: 1 })
      assert.deepInclude(message, { reply_to: "m1", answers: ["m1"], content: "hello ada" })
      assert.deepStrictEqual(outcome, { type: "outcome", id: "m1", outcome: "answered" })
      const seen = types(ada.frames)
      assert.isBelow(seen.indexOf("ack"), seen.indexOf("run"))
      assert.isBelow(seen.indexOf("run"), seen.indexOf("delta"))
      assert.isBelow(seen.indexOf("message"), seen.indexOf("outcome"))
      assert.notInclude(seen, "user")
    }).pipe(Effect.provide(layer({ script: [ScriptedModel.text("hello ", "ada")] })))
  )

  it.effect("tells the session's other sockets what one of them wrote", () =>
    Effect.gen(function* () {
      const one = yield* connect({ session_key: "Team" })
      const two = yield* connect({ session_key: "agent:main:team" })
      yield* two.until("hello")
      one.send({ type: "message", id: "m1", content: "hi all" })
      const user = yield* two.until("user")
      yield* two.until(isOutcome)

      assert.deepStrictEqual(user, { type: "user", id: "m1", seq: 1, content: "hi all" })
      assert.include(types(two.frames), "message")
      assert.notInclude(types(one.frames), "user")
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("acknowledges a message that is sent again without answering it again", () =>
    Effect.gen(function* () {
      const ada = yield* connect({ sender_id: "ada" })
      ada.send({ type: "message", id: "m1", content: "hi" })
      yield* ada.until(isOutcome)
      const again = yield* connect({ sender_id: "ada" })
      again.send({ type: "message", id: "m1", content: "hi" })
      again.send({ type: "message", id: "m1", content: "other" })
      const refused = yield* again.until("refused")

      const first = ada.frames.find((frame) => frame.type === "ack")
      assert.deepStrictEqual(
        again.frames.find((frame) => frame.type === "ack"),
        first
      )
      assert.deepStrictEqual(again.frames.find(isOutcome), { type: "outcome", id: "m1", outcome: "answered" })
      assert.deepInclude(refused, { id: "m1", code: "id_reused" })
      assert.strictEqual((yield* ModelScript).requests().length, 1)
    }).pipe(Effect.provide(layer({ script: ["ok", "ok"] })))
  )

  it.effect("catches a late socket up after SEQ, in order, then goes on live without gap or double", () =>
    Effect.gen(function* () {
      const early = yield* connect({ session_key: "s" })
      const script = yield* ModelScript
      for (const id of ["m1", "m2", "m3"]) {
        early.send({ type: "message", id, content: id })
        yield* early.until((frame) => isOutcome(frame) && frame.id === id)
      }
      const late = yield* connect({ session_key: "s", after: "2" })
      early.send({ type: "message", id: "m4", content: "m4" })
      yield* late.until((frame) => isOutcome(frame) && frame.id === "m4")

      const told = late.frames.filter((frame) => frame.type === "user" || frame.type === "message")
      assert.deepStrictEqual(
        told.map((frame) => [frame.type, frame.seq, frame.content]),
        [
          ["user", 3, "m2"],
          ["message", 4, "re m2"],
          ["user", 5, "m3"],
          ["message", 6, "re m3"],
          ["user", 7, "m4"],
          ["message", 8, "re m4"]
        ]
      )
      assert.strictEqual(late.frames[0].seq, 6)
      assert.strictEqual(script.requests().length, 4)
    }).pipe(
      Effect.provide(
        layer({
          script: (request) => {
            const last = request.messages.at(-1)
            return `re ${last !== undefined && "text" in last ? last.text : ""}`
          }
        })
      )
    )
  )

  it.effect("gives unconfirmed answers again to a socket that comes back, until one is confirmed", () =>
    Effect.gen(function* () {
      const session = "agent:main:webchat:dm:ada" as SessionKey
      const outbound = yield* Outbound
      const first = yield* connect({ sender_id: "ada" })
      first.send({ type: "message", id: "m1", content: "hi" })
      yield* first.until(isOutcome)
      first.close()
      const second = yield* connect({ sender_id: "ada" })
      const message = yield* second.until("message")
      second.send({ type: "received", id: message.id })
      second.send({ type: "received", id: "nobody's" })
      while ((yield* outbound.waiting(session)).length > 0) yield* turn
      const third = yield* connect({ sender_id: "ada" })
      third.send({ type: "nonsense" })
      yield* third.until("error")

      assert.deepInclude(message, { content: "ok", reply_to: "m1" })
      assert.notInclude(types(third.frames), "message")
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("tells nothing twice whose event comes only after the replay has told it", () =>
    Effect.gen(function* () {
      const feed = yield* Feed
      const events: Array<SessionEvent> = []
      const session = "agent:main:webchat:dm:ada" as SessionKey
      const unsubscribe = feed.subscribe(session, (event) => void events.push(event))
      const first = yield* connect({ sender_id: "ada" })
      first.send({ type: "message", id: "m1", content: "hi" })
      yield* first.until(isOutcome)
      first.close()
      const replayed = yield* connect({ sender_id: "ada", after: "0" })
      const redelivered = yield* connect({ sender_id: "ada" })
      yield* replayed.until("message")
      yield* redelivered.until("message")
      unsubscribe()
      for (const event of events) feed.publish(session, event)
      yield* replayed.until(isOutcome)
      yield* redelivered.until(isOutcome)

      const count = (frames: ReadonlyArray<{ type: string }>, type: string) =>
        frames.filter((frame) => frame.type === type).length
      assert.deepStrictEqual([count(replayed.frames, "user"), count(replayed.frames, "message")], [1, 1])
      assert.strictEqual(count(redelivered.frames, "message"), 1)
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("tells a late socket what the run under way has said and which tools are at work", () =>
    Effect.gen(function* () {
      const going = yield* Deferred.make<void>()
      const ending = yield* Deferred.make<void>()
      const script = yield* ModelScript
      script.push(
        [...ScriptedModel.text("Let me see."), ScriptedModel.call("time.now")],
        [
          ...ScriptedModel.text("Once ", "upon"),
          ScriptedModel.wait(going),
          ...ScriptedModel.text(" a time"),
          ScriptedModel.wait(ending)
        ]
      )
      const ada = yield* connect({ session_key: "s" })
      ada.send({ type: "message", id: "m1", content: "tell me" })
      yield* ada.until((frame) => frame.type === "delta" && frame.content === "upon")
      const late = yield* connect({ session_key: "s", after: "0" })
      const told = yield* late.until("delta")
      yield* Deferred.succeed(going, undefined)
      const next = yield* late.until((frame) => frame.content === " a time")
      yield* Deferred.succeed(ending, undefined)
      yield* late.until(isOutcome)

      assert.deepInclude(told, { attempt: 1, offset: 0, content: "Once upon" })
      assert.deepInclude(next, { run_id: told.run_id, offset: 9 })
      assert.deepStrictEqual(types(late.frames).slice(0, 6), [
        "hello",
        "user",
        "run",
        "typing",
        "delta",
        "delta"
      ])
      assert.strictEqual(types(late.frames).filter((type) => type === "message").length, 1)
      const after = yield* connect({ session_key: "s", after: "0" })
      yield* after.until("message")
      assert.notInclude(types(after.frames), "run")
    }).pipe(Effect.provide(layer({ script: [] })))
  )

  it.effect("cancels one message, and stops a session", () =>
    Effect.gen(function* () {
      const ada = yield* connect({ session_key: "s" })
      ada.send({ type: "message", id: "m1", content: "hang" })
      ada.send({ type: "message", id: "m2", content: "wait" })
      ada.send({ type: "message", id: "m3", content: "wait" })
      yield* ada.until((frame) => frame.type === "ack" && frame.id === "m3")
      ada.send({ type: "cancel", id: "m2" })
      const cancelled = yield* ada.until((frame) => isOutcome(frame) && frame.id === "m2")
      ada.send({ type: "cancel", id: "unheard" })
      const unknown = yield* ada.until("error")
      ada.send({ type: "stop" })
      const stopped = yield* ada.until((frame) => isOutcome(frame) && frame.id === "m1")
      const waiting = yield* ada.until((frame) => isOutcome(frame) && frame.id === "m3")

      assert.deepInclude(cancelled, { outcome: "cancelled", by: "operator" })
      assert.strictEqual(unknown.code, "not_open")
      assert.strictEqual(stopped.outcome, "cancelled")
      assert.strictEqual(waiting.outcome, "cancelled")
    }).pipe(Effect.provide(layer({ script: [[ScriptedModel.hang]] })))
  )

  it.effect("answers what it does not understand with an error and stays open", () =>
    Effect.gen(function* () {
      const ada = yield* connect()
      yield* ada.until("hello")
      const hostile = [
        "{'a':1}",
        "[]",
        "NaN",
        "",
        "[".repeat(100_000),
        '{"type":"__proto__"}',
        '{"type":"stop","__proto__":{"polluted":1}}',
        '{"type":"message","id":1,"content":"x"}',
        '{"type":"message","id":"","content":"x"}',
        '{"type":"message","id":"x","content":null}',
        '{"type":"reaction","message_id":"x","emoji":"+"}',
        `{${Array.from({ length: 20_000 }, (_, n) => `"k${n}":1`).join(",")}}`
      ]
      for (const text of hostile) ada.send(text)
      ada.socket.send(Buffer.from([1, 2, 3]))
      ada.send({ type: "message", id: "ok", content: "hi" })
      yield* ada.until(isOutcome)

      const codes = ada.frames.filter((frame) => frame.type === "error").map((frame) => frame.code)
      assert.strictEqual(codes.length, hostile.length + 1)
      assert.sameMembers(
        [...new Set(codes)],
        [
          "invalid_json",
          "json_too_deep",
          "json_too_many_keys",
          "unknown_type",
          "unknown_key",
          "invalid_value",
          "not_built",
          "not_text"
        ]
      )
      assert.isUndefined(({} as { polluted?: unknown }).polluted)
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("refuses a message that inbound does not take", () =>
    Effect.gen(function* () {
      const ada = yield* connect()
      ada.send({ type: "message", id: "m1", content: "" })
      const refused = yield* ada.until("refused")

      assert.deepInclude(refused, { id: "m1", code: "invalid_message" })
    }).pipe(Effect.provide(layer()))
  )

  it.effect("closes a frame larger than the limit with 1009 and a stopping gateway's sockets with 1001", () =>
    Effect.gen(function* () {
      const shutdown = yield* Shutdown
      const large = yield* connect()
      const patient = yield* connect()
      large.send({ type: "message", id: "m", content: "x".repeat(5000) })
      const tooLarge = yield* large.closed
      yield* shutdown.begin
      const told = yield* patient.until("error")
      yield* shutdown.finish
      const stopped = yield* patient.closed

      assert.strictEqual(tooLarge, 1009)
      assert.strictEqual(told.code, "shutting_down")
      assert.strictEqual(stopped, 1001)
      assert.strictEqual(yield* refusedWith({ token }), 503)
    }).pipe(Effect.provide(layer({ gateway: { max_body_bytes: 4096 } })))
  )

  it.effect("gives up a reader that does not read, without the others noticing", () =>
    Effect.gen(function* () {
      const session = "agent:main:flood" as SessionKey
      const feed = yield* Feed
      const slow = yield* connect({ session_key: "flood" })
      const quick = yield* connect({ session_key: "flood" })
      yield* slow.until("hello")
      yield* quick.until("hello")
      slow.socket.pause()
      const run = runId("run_flood")
      const text = "x".repeat(16_384)
      const publish = (seq: number) =>
        feed.publish(session, {
          _tag: "Message",
          id: `e${seq}`,
          runId: run,
          seq,
          answers: [],
          messageIds: [],
          text,
          usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0, estimated: false }
        })
      for (let offset = 0; offset < 800; offset++) {
        feed.publish(session, { _tag: "Delta", runId: run, attempt: 1, offset: offset * 16_384, text })
        if (offset % 50 === 0) yield* turn
      }
      for (let seq = 1; seq <= 600; seq++) {
        publish(seq)
        if (seq % 10 === 0) yield* turn
      }
      yield* quick.until((frame) => frame.type === "message" && frame.seq === 600)
      slow.socket.resume()
      const code = yield* slow.closed
      const metrics = yield* ask("/metrics")

      assert.strictEqual(code, 1013)
      assert.strictEqual(quick.frames.filter((frame) => frame.type === "message").length, 600)
      assert.match(metrics.text, /^opencraw_ws_slow_readers_total [1-9]/m)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("gives the answer of an HTTP request to the session's sockets too", () =>
    Effect.gen(function* () {
      const ada = yield* connect({ session_key: "shared" })
      yield* ada.until("hello")
      yield* chat(says("from http"), { "x-opencraw-session-key": "shared" })
      const message = yield* ada.until("message")

      assert.strictEqual(message.content, "ok")
    }).pipe(Effect.provide(layer({ script: ["ok"] })))
  )

  it.effect("cuts off a peer that answers no pings", () =>
    Effect.gen(function* () {
      const dead = yield* connect({}, { autoPong: false })
      const alive = yield* connect()
      const code = yield* dead.closed

      assert.strictEqual(code, 1006)
      assert.strictEqual(alive.socket.readyState, alive.socket.OPEN)
    }).pipe(Effect.provide(layer({ server: { limits: { ping: 1500 } } })))
  )
})

describe("a handshake", () => {
  const raw = (lines: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const { port } = yield* NodeServer.NodeServer
      return yield* Effect.promise(
        () =>
          new Promise<number>((resolve, reject) => {
            const socket = createConnection(port, "127.0.0.1")
            let text = ""
            socket.on("data", (data) => {
              text += data.toString()
              const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1]
              if (status === undefined) return
              socket.destroy()
              resolve(Number(status))
            })
            socket.on("error", reject)
            socket.write(
              lines
                .map((line) => `${line}\r\n`)
                .join("")
                .replaceAll("PORT", String(port))
            )
          })
      )
    })
  const upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
  const path = `/ws?token=${token}`

  it.effect("is refused for its form with 400, 405 or 426, and never opened", () =>
    Effect.gen(function* () {
      const host = "Host: 127.0.0.1:PORT"

      assert.strictEqual(yield* raw([`GET ${path} HTTP/1.1`, host, ...upgrade, key, ""]), 101)
      assert.strictEqual(yield* raw([`GET ${path} HTTP/1.1`, host, ...upgrade, ""]), 400)
      assert.strictEqual(
        yield* raw([`GET ${path} HTTP/1.1`, host, ...upgrade, "Sec-WebSocket-Key: abc", ""]),
        400
      )
      assert.strictEqual(yield* raw([`POST ${path} HTTP/1.1`, host, ...upgrade, key, ""]), 405)
      assert.strictEqual(yield* raw([`GET ${path} HTTP/1.1`, host, key, ""]), 426)
    }).pipe(Effect.provide(layer()))
  )

  it.effect("is refused for who asks, and from where", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusedWith({}), 401)
      assert.strictEqual(yield* refusedWith({ token: "wrong" }), 401)
      assert.strictEqual(yield* refusedWith({ token }, { origin: "https://evil.test" }), 403)
      assert.strictEqual(yield* refusedWith({ token }, { headers: { host: "evil.test" } }), 403)
      assert.strictEqual(yield* refusedWith({ token, after: "-1" }), 400)
      assert.strictEqual(yield* refusedWith({ token, sesion_key: "x" }), 400)
      assert.strictEqual(yield* refusedWith({ token, session_key: "agent:" }), 400)
      assert.strictEqual(yield* refusedWith({ token, sender_id: "" }), 400)
    }).pipe(Effect.provide(layer()))
  )
})

describe("one socket's run", () => {
  it.effect("ends its deltas where the message begins", () =>
    Effect.gen(function* () {
      const until = yield* Deferred.make<void>()
      const script = yield* ModelScript
      script.push([...ScriptedModel.text("a", "b"), ScriptedModel.wait(until), ...ScriptedModel.text("c")])
      const ada = yield* connect()
      ada.send({ type: "message", id: "m1", content: "hi" })
      yield* ada.until((frame) => frame.type === "delta" && frame.offset === 1)
      yield* Deferred.succeed(until, undefined)
      const message = yield* ada.until("message")

      const deltas = ada.frames.filter((frame) => frame.type === "delta")
      assert.strictEqual(deltas.map((frame) => frame.content).join(""), "abc")
      assert.strictEqual(message.content, "abc")
    }).pipe(Effect.provide(layer()))
  )
})
