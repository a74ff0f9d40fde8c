import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { messageId, runId, runOf, type MessageId } from "#src/domain/Ids.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { Shutdown } from "#src/gateway/Shutdown.ts"
import {
  IdReused,
  Inbound,
  LaneFull,
  MessageRejected,
  NotAccepting,
  type Refusal
} from "#src/inbound/Inbound.ts"
import { Feed } from "#src/outbound/Feed.ts"
import { chat, eventsOf, layerOver, says, type Reply } from "./startGateway.ts"

const session = "agent:main:user:ada" as SessionKey
const mine = messageId("msg_mine")
const other = messageId("msg_other")
const usage = { inputTokens: 3, outputTokens: 4, cachedTokens: 0, estimated: false }

/** An inbox that accepts one message and lets the test tell what becomes of it. */
const accepting = (then: (publish: (event: SessionEvent) => void) => void) =>
  Layer.effect(
    Inbound,
    Effect.map(Feed, (feed) =>
      Inbound.of({
        stop: Effect.void,
        submit: () =>
          Effect.sync(() => {
            then((event) => feed.publish(session, event))
            return { messageId: mine, seq: 1, duplicate: false, outcome: undefined }
          })
      })
    )
  )
const refusing = (refusal: Refusal) =>
  Layer.succeed(Inbound)(Inbound.of({ stop: Effect.void, submit: () => Effect.fail(refusal) }))

type Ended = Extract<SessionEvent, { _tag: "Outcome" }>

const started = (attempt = 1): SessionEvent => ({
  _tag: "Run",
  runId: runOf(mine),
  attempt,
  state: "started",
  messageIds: [mine]
})
const delta = (offset: number, text: string, attempt = 1, run = runOf(mine)): SessionEvent => ({
  _tag: "Delta",
  runId: run,
  attempt,
  offset,
  text
})
const tool: SessionEvent = {
  _tag: "Tool",
  runId: runOf(mine),
  callId: "c",
  name: "time.now",
  phase: "started",
  summary: ""
}
const message = (text: string, messageIds: ReadonlyArray<MessageId> = [mine]): SessionEvent => ({
  _tag: "Message",
  id: "e1",
  runId: runId("run_x"),
  seq: 2,
  answers: ["a"],
  messageIds,
  text,
  usage
})
const outcome = (ended: Ended["outcome"], more: Partial<Ended> = {}): SessionEvent => ({
  _tag: "Outcome",
  messageId: mine,
  clientId: "a",
  outcome: ended,
  ...more
})

const both = Effect.gen(function* () {
  const plain = yield* chat({ ...says("hello"), user: "ada" })
  const streamed = yield* chat({
    ...says("hello"),
    user: "ada",
    stream: true,
    stream_options: { include_usage: true }
  })
  return { plain, streamed, events: eventsOf(streamed.text) }
})

const telling = (...events: ReadonlyArray<SessionEvent>) =>
  layerOver(
    accepting((publish) => {
      for (const event of events) publish(event)
    })
  )
const asked = (...events: ReadonlyArray<SessionEvent>) => both.pipe(Effect.provide(telling(...events)))

const textOf = (events: ReadonlyArray<string>) =>
  events
    .filter((event) => event !== "[DONE]")
    .map((event) => JSON.parse(event).choices?.[0]?.delta?.content ?? "")
    .join("")
const usageIn = (events: ReadonlyArray<string>) =>
  events
    .map((event) => (event === "[DONE]" ? undefined : JSON.parse(event).usage))
    .find((found) => found !== undefined)

const assertStreamFailed = (events: ReadonlyArray<string>, code: string) => {
  assert.notInclude(events, "[DONE]")
  assert.strictEqual(JSON.parse(events.at(-1) ?? "{}").error.code, code)
}
const assertSettled = (reply: Reply) => assert.strictEqual(reply.headers.get("x-should-retry"), "false")

describe("what a waiting request gets when its message", () => {
  it.effect("is answered: the text with usage; deltas, usage and [DONE]", () =>
    Effect.gen(function* () {
      const { plain, events } = yield* asked(
        started(),
        delta(0, "all "),
        delta(4, "good"),
        message("all good"),
        outcome("answered")
      )

      assert.strictEqual(plain.json.choices[0].message.content, "all good")
      assert.strictEqual(plain.json.usage.total_tokens, 7)
      assertSettled(plain)
      assert.strictEqual(textOf(events), "all good")
      assert.strictEqual(usageIn(events).prompt_tokens, 3)
      assert.strictEqual(events.at(-1), "[DONE]")
    })
  )

  it.effect("is silent: empty content", () =>
    Effect.gen(function* () {
      const { plain, events } = yield* asked(started(), outcome("silent"))

      assert.strictEqual(plain.json.choices[0].message.content, "")
      assert.strictEqual(textOf(events), "")
      assert.strictEqual(events.at(-1), "[DONE]")
    })
  )

  it.effect("is merged: the other message's text without usage", () =>
    Effect.gen(function* () {
      const { plain, events } = yield* asked(
        { ...started(), messageIds: [mine, other], runId: runOf(other) } as SessionEvent,
        delta(0, "both", 1, runOf(other)),
        message("both of you", [mine, other]),
        outcome("merged", { by: other })
      )

      assert.strictEqual(plain.json.choices[0].message.content, "both of you")
      assert.isUndefined(plain.json.usage)
      assert.strictEqual(textOf(events), "both of you")
      assert.isNull(usageIn(events))
    })
  )

  for (const ended of ["dropped", "interrupted", "cancelled"] as const) {
    it.effect(`is ${ended}: 409 with by and partial; an error event and no [DONE]`, () =>
      Effect.gen(function* () {
        const { plain, streamed, events } = yield* asked(
          started(),
          delta(0, "half"),
          outcome(ended, { by: other, partial: "half" })
        )

        assert.strictEqual(plain.status, 409)
        assert.strictEqual(plain.json.error.code, ended)
        assert.deepInclude(plain.json.error.details, { by: other, partial: "half" })
        assertSettled(plain)
        assert.strictEqual(streamed.status, 200)
        assertStreamFailed(events, ended)
      })
    )
  }

  it.effect("failed: 502, or 504 at a deadline, with what was written", () =>
    Effect.gen(function* () {
      const failure = { code: "model", message: "the provider failed" } as const
      const upstream = yield* asked(started(), outcome("failed", { failure, partial: "half" }))
      const deadline = yield* asked(outcome("failed", { failure: { code: "deadline", message: "too slow" } }))

      assert.strictEqual(upstream.plain.status, 502)
      assert.strictEqual(upstream.plain.json.error.message, "the provider failed")
      assert.strictEqual(upstream.plain.json.error.details.partial, "half")
      assertSettled(upstream.plain)
      assertStreamFailed(upstream.events, "run_failed_model")
      assert.strictEqual(deadline.plain.status, 504)
    })
  )

  it.effect("is refused: before any header, and the client may send it again", () =>
    Effect.gen(function* () {
      const refused = (refusal: Refusal) => both.pipe(Effect.provide(layerOver(refusing(refusal))))
      const full = yield* refused(new LaneFull({ cap: 20, retryAfterMillis: 1500 }))
      const reused = yield* refused(new IdReused({ messageId: "m" }))
      const rejected = yield* refused(new MessageRejected({ param: "messages", detail: "empty" }))
      const broken = yield* refused(new NotAccepting({ code: "store_full", retryAfterMillis: 1000 }))

      assert.deepStrictEqual([full.plain.status, full.streamed.status], [429, 429])
      assert.strictEqual(full.plain.headers.get("retry-after"), "2")
      assert.isNull(full.plain.headers.get("x-should-retry"))
      assert.strictEqual(reused.streamed.status, 422)
      assert.deepStrictEqual([rejected.plain.status, rejected.plain.json.error.param], [400, "messages"])
      assert.strictEqual(broken.plain.status, 503)
    })
  )

  it.effect("is still open at the end of a shutdown: 503, and the message is kept", () =>
    Effect.gen(function* () {
      const shutdown = yield* Shutdown
      const plain = yield* Effect.forkChild(chat({ ...says("hello"), user: "ada" }), {
        startImmediately: true
      })
      const feed = yield* Feed
      while (!feed.hasListeners(session)) yield* Effect.promise(() => new Promise(setImmediate))
      yield* shutdown.finish
      const reply = yield* Fiber.join(plain)
      const late = yield* chat(says("hello"))

      assert.deepStrictEqual([reply.status, reply.json.error.code], [503, "shutting_down"])
      assertSettled(reply)
      assert.strictEqual(late.status, 503)
      assert.isNotNull(late.headers.get("retry-after"))
    }).pipe(Effect.provide(layerOver(accepting(() => undefined))))
  )
})

describe("a stream of a run that begins again", () => {
  it.effect("does not repeat text that the new attempt says again", () =>
    Effect.gen(function* () {
      const { events } = yield* asked(
        started(),
        delta(0, "Hello "),
        started(2),
        delta(0, "Hel", 2),
        delta(3, "lo wor", 2),
        delta(9, "ld", 2),
        message("Hello world"),
        outcome("answered")
      )

      assert.strictEqual(textOf(events), "Hello world")
      assert.strictEqual(events.at(-1), "[DONE]")
    })
  )

  it.effect("ends with an error when the new attempt says something else", () =>
    Effect.gen(function* () {
      const { plain, events } = yield* asked(
        started(),
        delta(0, "Yes"),
        started(2),
        delta(0, "No", 2),
        message("No"),
        outcome("answered")
      )

      assert.strictEqual(plain.json.choices[0].message.content, "No")
      assertStreamFailed(events, "attempt_voided")
    })
  )

  it.effect("ends as soon as that is known, while the message is still open", () =>
    Effect.gen(function* () {
      const streamed = yield* chat({ ...says("hello"), user: "ada", stream: true })
      const events = eventsOf(streamed.text)

      assert.strictEqual(textOf(events.slice(0, -1)), "Yes")
      assertStreamFailed(events, "attempt_voided")
    }).pipe(Effect.provide(telling(started(), delta(0, "Yes"), started(2), delta(0, "No", 2))))
  )

  it.effect("sends what deltas left out, and each step's text as its own paragraph", () =>
    Effect.gen(function* () {
      const { events } = yield* asked(
        started(),
        delta(0, "Let me look."),
        tool,
        delta(0, "It is "),
        delta(12, "late"),
        message("It is quite late"),
        outcome("answered")
      )

      assert.strictEqual(textOf(events), "Let me look.\n\nIt is quite late")
    })
  )

  it.effect("ignores the deltas of other runs in the session", () =>
    Effect.gen(function* () {
      const { events } = yield* asked(
        delta(0, "not yours", 1, runOf(other)),
        started(),
        delta(0, "yours"),
        message("yours"),
        outcome("answered")
      )

      assert.strictEqual(textOf(events), "yours")
    })
  )
})
