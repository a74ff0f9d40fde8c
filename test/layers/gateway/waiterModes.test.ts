/** The waiter table, seen by the official client on the real lanes: every queue mode, whole and streamed. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import OpenAI, { APIError } from "openai"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import { ModelScript } from "#layers/model/ScriptedModel.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { ModelUnavailable } from "#src/model/Model.ts"
import { Sessions } from "#src/session/Sessions.ts"
import { layer, token } from "./startGateway.ts"

const session = "agent:main:user:ada" as SessionKey
const { call, fail, hang, text, wait } = ScriptedModel

/** What a request came to: an answer, or the error that the client throws. */
interface Seen {
  readonly content?: string
  readonly hasUsage?: boolean
  readonly status?: number | undefined
  readonly code?: string | null | undefined
  readonly details?: { readonly by?: string; readonly partial?: string }
}

const read = async (openai: OpenAI, content: string, isStreamed: boolean): Promise<Seen> => {
  const request = {
    model: "opencraw",
    user: "ada",
    messages: [{ role: "user" as const, content }]
  }
  try {
    if (!isStreamed) {
      const completion = await openai.chat.completions.create(request)
      const { usage } = completion
      return { content: completion.choices[0]?.message.content ?? "", hasUsage: usage !== undefined }
    }
    const stream = await openai.chat.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true }
    })
    const chunks = await Array.fromAsync(stream)
    return {
      content: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
      hasUsage: chunks.some((chunk) => chunk.usage !== undefined && chunk.usage !== null)
    }
  } catch (error) {
    if (!(error instanceof APIError)) throw error
    const body = error.error as { readonly details?: Seen["details"] } | undefined
    return {
      status: error.status,
      code: error.code,
      ...(body?.details === undefined ? {} : { details: body.details })
    }
  }
}

/** Accepted messages of the session: one each, however often the client would have liked to ask again. */
const accepted = Effect.flatMap(Sessions, (sessions) =>
  Effect.map(sessions.messages(session, { limit: 100 }), ({ messages }) =>
    messages.filter((one) => one.role === "user")
  )
)
const turn = Effect.promise(() => new Promise((done) => setImmediate(done)))
const untilAccepted = (count: number) =>
  Effect.gen(function* () {
    while ((yield* accepted).length < count) yield* turn
  })
/** Until so many model calls were begun. */
const untilAsked = (count: number) =>
  Effect.gen(function* () {
    const { requests } = yield* ModelScript
    while (requests().length < count) yield* turn
  })

/** A client as people have it, which would ask again twice. */
const ask = (content: string, isStreamed: boolean) =>
  Effect.map(NodeServer.NodeServer, ({ url }) =>
    read(new OpenAI({ apiKey: token, baseURL: `${url}/v1` }), content, isStreamed)
  )
const seen = (asked: Promise<Seen>) => Effect.promise(() => asked)
const inMode = (mode: string, more: Readonly<Record<string, unknown>> = {}) =>
  Effect.provide(layer({ config: { queue: { mode, ...more } } }))

for (const isStreamed of [false, true]) {
  describe(`the official client, ${isStreamed ? "streaming" : "plain"}`, () => {
    const begin = Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { push } = yield* ModelScript
      return { gate, push, open: Deferred.succeed(gate, undefined) }
    })

    it.effect("followup: each request has its own answer, with usage", () =>
      Effect.gen(function* () {
        const { gate, push, open } = yield* begin
        push([wait(gate), ...text("one")], "two")
        const first = yield* ask("1", isStreamed)
        yield* untilAccepted(1)
        const second = yield* ask("2", isStreamed)
        yield* untilAccepted(2)
        yield* open

        assert.deepStrictEqual(yield* seen(first), { content: "one", hasUsage: true })
        assert.deepStrictEqual(yield* seen(second), { content: "two", hasUsage: true })
      }).pipe(inMode("followup"))
    )

    it.effect("collect: those that waited have the one answer to them; only the newest has its usage", () =>
      Effect.gen(function* () {
        const { gate, push, open } = yield* begin
        push([wait(gate), ...text("one")], "two and three")
        const first = yield* ask("1", isStreamed)
        yield* untilAccepted(1)
        const second = yield* ask("2", isStreamed)
        yield* untilAccepted(2)
        const third = yield* ask("3", isStreamed)
        yield* untilAccepted(3)
        yield* open
        assert.strictEqual((yield* seen(first)).content, "one")
        while ((yield* (yield* Lanes).list)[0]?.phase !== "idle") yield* turn
        yield* TestClock.adjust("1 second")

        assert.deepStrictEqual(yield* seen(second), { content: "two and three", hasUsage: false })
        assert.deepStrictEqual(yield* seen(third), { content: "two and three", hasUsage: true })
      }).pipe(inMode("collect"))
    )

    it.effect("steer: what was steered in has the run's answer, without usage", () =>
      Effect.gen(function* () {
        const { gate, push, open } = yield* begin
        push([wait(gate), call("time.now", {}, "t1")], "both")
        const first = yield* ask("1", isStreamed)
        yield* untilAsked(1)
        const second = yield* ask("2", isStreamed)
        yield* untilAccepted(2)
        yield* open

        assert.deepStrictEqual(yield* seen(first), { content: "both", hasUsage: true })
        assert.deepStrictEqual(yield* seen(second), { content: "both", hasUsage: false })
      }).pipe(inMode("steer"))
    )

    it.effect(
      "interrupt: the older ends with 409, by whom and what had been written; the newest is answered",
      () =>
        Effect.gen(function* () {
          const { push } = yield* begin
          push([...text("half an"), hang], "newest")
          const first = yield* ask("1", isStreamed)
          yield* untilAsked(1)
          const second = yield* ask("2", isStreamed)

          assert.deepStrictEqual(yield* seen(second), { content: "newest", hasUsage: true })
          const ended = yield* seen(first)
          const [, newest] = yield* accepted
          assert.strictEqual(ended.code, "interrupted")
          if (!isStreamed) assert.strictEqual(ended.status, 409)
          assert.deepInclude(ended.details, { by: newest!.id, partial: "half an" })
          assert.lengthOf(yield* accepted, 2)
        }).pipe(inMode("interrupt"))
    )

    for (const mode of ["collect", "followup", "steer", "interrupt"]) {
      it.effect(`${mode}: a stop ends with 409 cancelled, once`, () =>
        Effect.gen(function* () {
          const { push } = yield* begin
          push([...text("half"), hang])
          const asked = yield* ask("1", isStreamed)
          yield* untilAsked(1)
          yield* (yield* Lanes).stop(session, "ada")

          const ended = yield* seen(asked)
          assert.strictEqual(ended.code, "cancelled")
          if (!isStreamed) assert.strictEqual(ended.status, 409)
          assert.lengthOf(yield* accepted, 1)
        }).pipe(inMode(mode))
      )

      it.effect(`${mode}: a failed run ends with 502 and is not asked for again`, () =>
        Effect.gen(function* () {
          const { push } = yield* begin
          push([...text("half"), fail(new ModelUnavailable({ status: 500, detail: "x" }))])
          const ended = yield* seen(yield* ask("1", isStreamed))

          assert.strictEqual(ended.code, "run_failed_model")
          if (!isStreamed) assert.strictEqual(ended.status, 502)
          assert.strictEqual(ended.details?.partial, "half")
          assert.lengthOf(yield* accepted, 1)
        }).pipe(inMode(mode))
      )

      it.effect(`${mode}: an empty answer is 200 with no content`, () =>
        Effect.gen(function* () {
          const { push } = yield* begin
          push("")

          assert.strictEqual((yield* seen(yield* ask("1", isStreamed))).content, "")
        }).pipe(inMode(mode))
      )
    }

    for (const mode of ["collect", "followup"]) {
      it.effect(`${mode}: what gives way to a newer one ends with 409 dropped; the others are answered`, () =>
        Effect.gen(function* () {
          const { gate, push, open } = yield* begin
          push([wait(gate), ...text("one")], "three")
          const first = yield* ask("1", isStreamed)
          yield* untilAsked(1)
          const second = yield* ask("2", isStreamed)
          yield* untilAccepted(2)
          const third = yield* ask("3", isStreamed)
          const ended = yield* seen(second)
          yield* open
          assert.strictEqual((yield* seen(first)).content, "one")
          yield* TestClock.adjust("1 second")

          assert.strictEqual((yield* seen(third)).content, "three")
          assert.strictEqual(ended.code, "dropped")
          if (!isStreamed) assert.strictEqual(ended.status, 409)
        }).pipe(inMode(mode, { cap: 2, drop: "old", debounce_ms: 0 }))
      )
    }

    it.effect(
      "a full session refuses with 429 before any header, and what is asked again later is answered",
      () =>
        Effect.gen(function* () {
          const { gate, push, open } = yield* begin
          push([wait(gate), ...text("one")], "two")
          const first = yield* ask("1", isStreamed)
          yield* untilAsked(1)
          const { url } = yield* NodeServer.NodeServer
          const impatient = new OpenAI({ apiKey: token, baseURL: `${url}/v1`, maxRetries: 0 })
          const refused = yield* Effect.promise(() => read(impatient, "2", isStreamed))
          yield* open
          yield* seen(first)

          assert.deepInclude(refused, { status: 429, code: "lane_full" })
          assert.lengthOf(yield* accepted, 1)
          assert.strictEqual((yield* seen(yield* ask("2", isStreamed))).content, "two")
        }).pipe(inMode("followup", { cap: 1, drop: "new" }))
    )
  })
}
