import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { NewEntry } from "#src/domain/Entry.ts"
import { messageId, runOf, type MessageId } from "#src/domain/Ids.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import * as Tenant from "#src/domain/Tenant.ts"
import * as Usage from "#src/domain/Usage.ts"
import * as Answer from "#src/gateway/Answer.ts"
import type { MessageTrace } from "#src/horizons/MessageLog.ts"
import { Feed, layer as layerFeed } from "#src/outbound/Feed.ts"
import { Sessions } from "#src/session/Sessions.ts"

const session = "agent:main:s" as SessionKey
const mine = messageId("msg_mine")
const other = messageId("msg_other")

const said = (text: string, more: Partial<Extract<NewEntry, { kind: "assistant" }>> = {}): NewEntry => ({
  v: 1,
  kind: "assistant",
  text,
  ...more
})

const trace = (
  id: MessageId,
  outcome: Outcome | undefined,
  entries: ReadonlyArray<NewEntry> = [],
  by?: string
): MessageTrace => ({
  message: {
    id,
    place: { tenant: Tenant.local, agent: "main", session },
    seq: 1,
    identity: {
      channel: "http",
      account: "a",
      conversation: session,
      thread: "",
      externalId: id,
      revision: 0
    },
    sender: "a",
    access: "owner",
    ephemeral: false,
    body: { text: "hi" },
    acceptedAt: 0,
    runId: runOf(id),
    outcome,
    outcomeBy: by,
    endedAt: undefined
  },
  run: {
    id: runOf(id),
    state: "ended",
    attempt: 1,
    messageIds: [id],
    startedAt: 0,
    endedAt: 1,
    usage: Usage.none,
    failure: { code: "deadline", message: "too slow" }
  },
  entries: entries.map((entry, index) => ({
    id: `e${index}`,
    seq: index + 2,
    order: index + 2,
    messageId: undefined,
    clientId: undefined,
    runId: runOf(id),
    entry,
    usage: undefined,
    at: 0,
    answers: undefined
  })),
  deliveries: []
})

const logOf = (traces: () => ReadonlyArray<MessageTrace>) =>
  Sessions.of({
    list: () => Effect.succeed([]),
    find: () => Effect.succeed(undefined),
    messages: () => Effect.succeed({ messages: [], next: undefined }),
    messagesBefore: () => Effect.succeed({ messages: [], previous: undefined }),
    open: () => Effect.succeed(new Set()),
    rename: () => Effect.succeed(false),
    wrote: () => {},
    history: () => Effect.succeed([]),
    fork: () => Effect.die("it forks nothing"),
    forks: () => Effect.succeed([]),
    remove: () => Effect.succeed(false),
    forgetHistories: () => undefined,
    trace: (_, id) => Effect.sync(() => traces().find((one) => one.message.id === id))
  })

const call = { id: "c", name: "time.now", arguments: "{}" }

describe("an answer from the log", () => {
  const ask = (...traces: ReadonlyArray<MessageTrace>) =>
    Answer.fromLog(
      logOf(() => traces),
      Tenant.local,
      mine
    )

  it.effect("is the run's final text, not what a step or a cut said", () =>
    Effect.gen(function* () {
      const final = yield* ask(trace(mine, "answered", [said("looking", { calls: [call] }), said("found")]))
      const open = yield* ask(trace(mine, undefined))
      const silent = yield* ask(trace(mine, "silent"))

      assert.deepStrictEqual(final, { _tag: "Answered", text: "found", usage: Usage.none })
      assert.isUndefined(open)
      assert.deepInclude(silent, { text: "" })
    })
  )

  it.effect("of a merged message is the other's, without usage, and never loops", () =>
    Effect.gen(function* () {
      const merged = yield* ask(trace(mine, "merged", [], other), trace(other, "answered", [said("both")]))
      const waiting = yield* ask(trace(mine, "merged", [], other), trace(other, undefined))
      const loop = yield* ask(trace(mine, "merged", [], mine))

      assert.deepStrictEqual(merged, { _tag: "Answered", text: "both", usage: undefined })
      assert.isUndefined(waiting)
      assert.deepInclude(loop, { text: "" })
    })
  )

  it.effect("of an ended message says by whom, why and what had been written", () =>
    Effect.gen(function* () {
      const failed = yield* ask(trace(mine, "failed", [said("hal", { partial: "failed" })], "run"))
      const gone = yield* ask()

      assert.deepStrictEqual(failed, {
        _tag: "Ended",
        outcome: "failed",
        by: "run",
        failure: { code: "deadline", message: "too slow" },
        partial: "hal"
      })
      assert.deepInclude(gone, { _tag: "Ended", outcome: "cancelled" })
    })
  )
})

describe("waiting", () => {
  const outcome = (id: MessageId, ended: Outcome, by?: string) => ({
    _tag: "Outcome" as const,
    messageId: id,
    clientId: "c",
    outcome: ended,
    ...(by === undefined ? {} : { by })
  })

  it.effect("reads the log when the message's text was missed", () =>
    Effect.gen(function* () {
      const feed = yield* Feed
      const waiting = Answer.wait(
        feed,
        logOf(() => [trace(mine, "answered", [said("stored")])]),
        session
      )
      feed.publish(session, outcome(mine, "answered"))
      waiting.bind(mine)

      assert.deepInclude(yield* waiting.answer, { text: "stored" })
    }).pipe(Effect.provide(layerFeed))
  )

  it.effect("follows a steered message into the run that took it in", () =>
    Effect.gen(function* () {
      const feed = yield* Feed
      let open = true
      const log = logOf(() => [trace(other, open ? undefined : "answered", [said("for both")])])
      const deltas: Array<string> = []
      const waiting = Answer.wait(feed, log, session)
      waiting.bind(mine, { onDelta: (_, text) => void deltas.push(text), onStepEnd: () => undefined })
      const answer = yield* Effect.forkChild(waiting.answer, { startImmediately: true })
      feed.publish(session, outcome(mine, "steered", other))
      yield* Effect.yieldNow
      feed.publish(session, { _tag: "Delta", runId: runOf(other), attempt: 1, offset: 0, text: "for" })
      open = false
      feed.publish(session, outcome(other, "answered"))

      assert.deepStrictEqual(yield* Fiber.join(answer), {
        _tag: "Answered",
        text: "for both",
        usage: undefined
      })
      assert.deepStrictEqual(deltas, ["for"])
    }).pipe(Effect.provide(layerFeed))
  )

  it.effect("leaves nobody listening once closed", () =>
    Effect.gen(function* () {
      const feed = yield* Feed
      const waiting = Answer.wait(
        feed,
        logOf(() => []),
        session
      )
      waiting.close()

      assert.isFalse(feed.hasListeners(session))
    }).pipe(Effect.provide(layerFeed))
  )
})
