/**
 * What every MessageLog promises, whatever it is built on. Each adapter runs it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type { NewEntry } from "#src/domain/Entry.ts"
import { approvalId, deliveryId, messageId, runId } from "#src/domain/Ids.ts"
import type { Identity, MessageBody, Route } from "#src/domain/Inbound.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import type { DropPolicy, QueueOverrides } from "#src/domain/Queue.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import * as Usages from "#src/domain/Usage.ts"
import type { Usage } from "#src/domain/Usage.ts"
import {
  type Accept,
  type Append,
  type Block,
  type Decide,
  type Finish,
  type LogError,
  MessageLog,
  type Park,
  type Place,
  type Start,
  type Unit,
  type UsageRow
} from "#src/horizons/MessageLog.ts"

export const acme: Tenant = { org: "acme", project: "shop" }
const rival: Tenant = { org: "rival", project: "shop" }

export const sessionKey = (name: string) => `agent:main:${name}` as SessionKey
export const placeAt = (name: string, tenant: Tenant = acme): Place => ({
  tenant,
  agent: "main",
  session: sessionKey(name)
})
const place = placeAt("a")
const tenant = acme
const session = place.session

export const route: Route = { channel: "web", account: "main", conversation: "room", thread: "" }
const usage: Usage = { inputTokens: 10, outputTokens: 2, cachedTokens: 1, estimated: false }
const zero: Usage = { ...Usages.none }

/** A message `m` whose client id is `client-m`. */
export const acceptOf = (
  id: string,
  options: {
    readonly at?: Place
    readonly text?: string
    readonly body?: MessageBody
    readonly cap?: number
    readonly time?: number
    readonly ephemeral?: boolean
    readonly identity?: Partial<Identity>
    readonly cursor?: string
    readonly start?: string
    readonly drop?: DropPolicy
    readonly notice?: string
  } = {}
): Accept => ({
  _tag: "Accept",
  place: options.at ?? place,
  messageId: messageId(id),
  message: {
    identity: { ...route, externalId: `client-${id}`, revision: 0, ...options.identity },
    session: (options.at ?? place).session,
    ephemeral: options.ephemeral ?? false,
    sender: "ann",
    access: "owner",
    body: options.body ?? { text: options.text ?? `text of ${id}` },
    ...(options.cursor === undefined ? {} : { cursor: options.cursor })
  },
  cap: options.cap ?? 20,
  drop: options.drop ?? "new",
  ...(options.notice === undefined ? {} : { dropNotice: { channels: ["web"], text: options.notice } }),
  ...(options.start === undefined ? {} : { start: runId(options.start) }),
  at: options.time ?? 1000
})
export const startOf = (run: string, ids: ReadonlyArray<string>, at: Place = place, time = 2000): Start => ({
  _tag: "Start",
  place: at,
  runId: runId(run),
  messageIds: ids.map(messageId),
  at: time
})
export const assistant = (text: string): NewEntry => ({ v: 1, kind: "assistant", text })
const calling = (callId: string): NewEntry => ({
  v: 1,
  kind: "assistant",
  text: "let me look",
  calls: [{ id: callId, name: "time.now", arguments: "{}" }]
})
export const toolResult = (callId: string): NewEntry => ({
  v: 1,
  kind: "tool",
  callId,
  name: "time.now",
  status: "ok",
  text: "noon"
})
export const appendOf = (
  run: string,
  attempt: number,
  id: string,
  entry: NewEntry = calling("c1")
): Append => ({
  _tag: "Append",
  place,
  runId: runId(run),
  attempt,
  entryId: id,
  entry,
  usage,
  at: 3000
})
export const parkOf = (
  run: string,
  attempt: number,
  approval: string,
  options: {
    readonly at?: Place
    readonly call?: string
    readonly time?: number
    readonly delivery?: string
  } = {}
): Park => ({
  _tag: "Park",
  place: options.at ?? place,
  runId: runId(run),
  attempt,
  approval: {
    id: approvalId(approval),
    callId: options.call ?? "c1",
    tool: "door.open",
    arguments: '{"door":1}',
    expiresAt: (options.time ?? 3500) + 60_000
  },
  entryId: `ask-${approval}`,
  entry: { v: 1, kind: "notice", text: "May I?" },
  deliveries:
    options.delivery === undefined ? [] : [{ id: deliveryId(options.delivery), route, text: "May I?" }],
  at: options.time ?? 3500
})
export const decideOf = (approval: string, decision: Decide["decision"], at: Place = place): Decide => ({
  _tag: "Decide",
  place: at,
  approvalId: approvalId(approval),
  decision,
  ...(decision === "expired" ? {} : { by: "ann" }),
  at: 4000
})
export const finishOf = (
  run: string,
  endings: Readonly<Record<string, Outcome>>,
  options: {
    readonly at?: Place
    readonly attempt?: number
    readonly entries?: Finish["entries"]
    readonly deliveries?: ReadonlyArray<string>
    readonly route?: Route
    readonly time?: number
    readonly by?: string
    readonly failure?: NonNullable<Finish["failure"]>
  } = {}
): Finish => ({
  _tag: "Finish",
  place: options.at ?? place,
  runId: runId(run),
  ...(options.attempt === undefined ? {} : { attempt: options.attempt }),
  entries: options.entries ?? [{ id: `answer-${run}`, entry: assistant(`answer of ${run}`) }],
  endings: Object.entries(endings).map(([id, outcome]) => ({
    messageId: messageId(id),
    outcome,
    ...(options.by === undefined ? {} : { by: options.by })
  })),
  deliveries: (options.deliveries ?? []).map((id) => ({
    id: deliveryId(id),
    route: options.route ?? route,
    text: `part ${id}`
  })),
  usage,
  ...(options.failure === undefined ? {} : { failure: options.failure }),
  at: options.time ?? 4000
})
const sendBegunOf = (id: string, at: Place = place) =>
  ({ _tag: "SendBegun", place: at, deliveryId: deliveryId(id), at: 5000 }) as const
const sendEndedOf = (id: string, state: "sent" | "pending" | "uncertain" | "dead", at: Place = place) =>
  ({
    _tag: "SendEnded",
    place: at,
    deliveryId: deliveryId(id),
    state,
    receipt: `r-${state}`,
    at: 6000
  }) as const
const deleteOf = (at: Place = place) => ({ _tag: "DeleteSession", place: at, at: 9000 }) as const

const commit = <U extends Unit>(unit: U) => MessageLog.use((log) => log.commit(unit))
const commitAll = (...units: ReadonlyArray<Unit>) => Effect.forEach(units, commit, { discard: true })
/** The tag of the reason that the unit is refused for. */
const refusal = (unit: Unit) => Effect.map(Effect.flip(commit(unit)), (error: LogError) => error.reason._tag)
const texts = (rows: ReadonlyArray<{ readonly entry: { readonly kind: string } }>) =>
  rows.map(({ entry }) => ("text" in entry ? entry.text : entry.kind))
const history = (limit = 100, at: Place = place) =>
  MessageLog.use((log) => log.history({ tenant: at.tenant, session: at.session, limit }))
const entries = (limit = 100, afterSeq?: number, at: Place = place) =>
  MessageLog.use((log) =>
    log.entries({
      tenant: at.tenant,
      session: at.session,
      limit,
      ...(afterSeq === undefined ? {} : { afterSeq })
    })
  )
const message = (id: string, of: Tenant = tenant) =>
  MessageLog.use((log) => log.message({ tenant: of, id: messageId(id) }))
const undelivered = (
  query: {
    readonly tenant?: Tenant
    readonly session?: SessionKey
    readonly channel?: string
    readonly createdAfter?: number
    readonly limit?: number
  } = {}
) => MessageLog.use((log) => log.undelivered({ tenant, limit: 100, ...query }))
const open = (of: Tenant = tenant, limit = 100) => MessageLog.use((log) => log.open({ tenant: of, limit }))
const sessions = (of: Tenant = tenant) => MessageLog.use((log) => log.sessions({ tenant: of, limit: 100 }))

/** Run the suite. `store` makes a fresh, empty log on each build. */
export const messageLogContract = <E>(name: string, store: Layer.Layer<MessageLog, E>) =>
  describe(`${name} keeps the log's promises`, () => {
    const test = <A, E2>(sentence: string, body: () => Effect.Effect<A, E2, MessageLog>) =>
      it.effect(sentence, () => Effect.provide(body(), Layer.fresh(store)))

    accepting(test)
    running(test)
    finishing(test)
    delivering(test)
    reading(test)
    forgetting(test)
    keeping(test)
    together(test)
    streaming(test)
    spending(test)
    forking(test)
  })

type Test = <A, E>(sentence: string, body: () => Effect.Effect<A, E, MessageLog>) => void

const accepting = (test: Test) => {
  test("images stay with the message's body, and the transcript tells of them", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const images = [
        { mediaType: "image/png", data: "iVBORw0KGgo=" },
        { mediaType: "image/gif", data: "R0lG" }
      ] as const
      const body = { text: "what are they?", images }
      yield* commit(acceptOf("m1", { body, start: "r1" }))
      const trace = yield* log.message({ tenant, id: messageId("m1") })
      const [row] = yield* log.history({ tenant, session, limit: 10 })
      const other = yield* Effect.flip(
        commit(acceptOf("m2", { identity: { externalId: "client-m1" }, body: { text: body.text } }))
      )

      assert.deepStrictEqual(trace?.message.body, body)
      assert.deepStrictEqual(row?.entry, {
        v: 1,
        kind: "user",
        text: "what are they?",
        sender: "ann",
        images: [
          { mediaType: "image/png", bytes: 8 },
          { mediaType: "image/gif", bytes: 3 }
        ]
      })
      assert.strictEqual(other.reason._tag, "IdReused")
    }))

  test("a message to a session without open ones can begin its run in the same unit", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const first = yield* commit(acceptOf("m1", { start: "r1" }))
      const { tenant, session } = place
      const history = yield* log.history({ tenant, session, limit: 10 })
      yield* commit(
        finishOf("r1", { m1: "answered" }, { attempt: 1, entries: [{ id: "a1", entry: assistant("hi") }] })
      )
      const trace = yield* log.message({ tenant, id: messageId("m1") })
      const next = yield* commit(acceptOf("m2", { start: "r2" }))
      const resumed = yield* commit(startOf("r2", ["m2"]))

      assert.isTrue(first.started && next.started)
      assert.deepStrictEqual(
        history.map((row) => [row.id, row.order, row.runId]),
        [["m1", 1, runId("r1")]]
      )
      assert.strictEqual(trace?.run?.attempt, 1)
      assert.strictEqual(trace?.message.outcome, "answered")
      assert.deepStrictEqual(resumed, { attempt: 2, attemptsWithoutProgress: 2, decided: [] })
      const orders = (yield* log.history({ tenant, session, limit: 10 })).map((row) => row.order)
      assert.deepStrictEqual(orders, [1, 2, 3])
    }))

  test("a unit gives what it wrote as the history has it", () =>
    Effect.gen(function* () {
      const odd = "\u0000 \ud800 é 😀"
      const first = yield* commit(acceptOf("m1", { text: odd, start: "r1" }))
      const waiting = yield* commit(acceptOf("m2"))
      const call = yield* commit(appendOf("r1", 1, "e1"))
      const result = yield* commit(appendOf("r1", 1, "e2", { ...toolResult("c1"), text: odd }))
      const asked = yield* commit(parkOf("r1", 1, "p1"))
      const last = yield* commit(
        finishOf(
          "r1",
          { m1: "answered" },
          {
            entries: [
              { id: "n", entry: { v: 1, kind: "notice", text: odd } },
              { id: "a", entry: assistant(odd) }
            ]
          }
        )
      )
      const again = yield* commit(acceptOf("m1", { text: odd, start: "r1" }))

      const wrote = [first, call, result, asked, last].flatMap((committed) => committed.wrote)
      assert.deepStrictEqual(wrote, yield* history())
      assert.lengthOf(wrote, 6)
      assert.deepStrictEqual([waiting.wrote, again.wrote], [[], []])
    }))

  test("messages that a step has read join its run before the step, end as steered, and are answered with it", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const { tenant, session } = place
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(acceptOf("m2"))
      yield* commit(acceptOf("m3"))
      const step = yield* commit({
        ...appendOf("r1", 1, "e1"),
        steering: { messageIds: [messageId("m2")], by: messageId("m1") }
      })
      yield* commit(appendOf("r1", 1, "e2", toolResult("c1")))
      const end = yield* commit({
        ...finishOf(
          "r1",
          { m1: "answered" },
          { attempt: 1, entries: [{ id: "a1", entry: assistant("hi") }] }
        ),
        steering: {
          messageIds: [messageId("m3"), messageId("m2"), messageId("nobody")],
          by: messageId("m1")
        },
        steeredBefore: true
      })

      assert.deepStrictEqual(step.steered, [messageId("m2")])
      assert.deepStrictEqual(
        end.endings.map(({ messageId: id, outcome, by }) => [id, outcome, by]),
        [
          ["m1", "answered", undefined],
          ["m3", "steered", "m1"]
        ]
      )
      assert.deepStrictEqual(
        end.answered.map(({ messageId: id, clientId }) => [id, clientId]),
        [
          ["m1", "client-m1"],
          ["m2", "client-m2"],
          ["m3", "client-m3"]
        ]
      )
      const history = yield* log.history({ tenant, session, limit: 10 })
      assert.deepStrictEqual(
        history.map((row) => row.id),
        ["m1", "m2", "e1", "e2", "m3", "a1"]
      )
      assert.isTrue(history.every((row) => row.runId === runId("r1")))
      assert.deepStrictEqual(history.at(-1)?.answers, ["client-m1", "client-m2", "client-m3"])
      assert.deepStrictEqual(yield* log.open({ tenant, limit: 10 }), [])
      assert.deepStrictEqual(yield* log.openSessions({ tenant, limit: 10 }), [])
    }))

  test("a parked run's question stands in the transcript and the outbox, and counts as progress", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(startOf("r1", ["m1"]))
      const { seq } = yield* commit(parkOf("r1", 2, "p1", { delivery: "d1" }))

      const rows = yield* log.entries({ tenant, session, limit: 10 })
      assert.deepInclude(rows.at(-1), { id: "ask-p1", seq, runId: runId("r1") })
      const [delivery] = yield* log.undelivered({ tenant, limit: 10 })
      assert.deepInclude(delivery, { id: deliveryId("d1"), text: "May I?", seq, state: "pending" })
      assert.deepStrictEqual(yield* log.approvals({ tenant, limit: 10 }), [
        {
          id: approvalId("p1"),
          place,
          runId: runId("r1"),
          callId: "c1",
          tool: "door.open",
          arguments: '{"door":1}',
          state: "pending",
          createdAt: 3500,
          expiresAt: 63_500,
          decidedBy: undefined,
          decidedAt: undefined
        }
      ])
      assert.strictEqual((yield* commit(startOf("r1", ["m1"]))).attemptsWithoutProgress, 1)
    }))

  test("an approval is decided once, and its run is told until the call has its result", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(parkOf("r1", 1, "p1"))
      const first = yield* commit(decideOf("p1", "approved"))
      const second = yield* commit(decideOf("p1", "denied"))

      assert.deepStrictEqual(first, { state: "approved", changed: true })
      assert.deepStrictEqual(second, { state: "approved", changed: false })
      assert.deepStrictEqual(yield* log.approvals({ tenant, session, limit: 10 }), [])
      const [row] = yield* log.approvals({ tenant, id: approvalId("p1"), limit: 10 })
      assert.deepInclude(row, { state: "approved", decidedBy: "ann", decidedAt: 4000 })
      const once = { callId: "c1", decision: "approved", by: "ann" } as const
      assert.deepStrictEqual((yield* commit(startOf("r1", ["m1"]))).decided, [{ ...once, again: false }])
      assert.deepStrictEqual((yield* commit(startOf("r1", ["m1"]))).decided, [{ ...once, again: true }])
      yield* commit(appendOf("r1", 3, "t1", toolResult("c1")))
      assert.deepStrictEqual((yield* commit(startOf("r1", ["m1"]))).decided, [])
      yield* commit(parkOf("r1", 4, "p2"))
      yield* commit(decideOf("p2", "expired"))
      assert.deepStrictEqual((yield* commit(startOf("r1", ["m1"]))).decided, [
        { callId: "c1", decision: "expired", by: undefined, again: false }
      ])
    }))

  test("an approval ends with its run, and decides nothing any more", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(parkOf("r1", 1, "p1"))
      const end = yield* commit(finishOf("r1", { m1: "interrupted" }))

      assert.deepStrictEqual(end.withdrawn, [approvalId("p1")])
      assert.deepStrictEqual(yield* commit(decideOf("p1", "approved")), {
        state: "cancelled",
        changed: false
      })
      assert.deepStrictEqual(yield* log.approvals({ tenant, limit: 10 }), [])
      assert.strictEqual(yield* refusal(parkOf("r1", 1, "p2")), "Fenced")
    }))

  test("only the newest attempt of a run that goes on can park, and only its session knows the approval", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(startOf("r1", ["m1"]))
      assert.strictEqual(yield* refusal(parkOf("r1", 1, "p1")), "Fenced")
      assert.strictEqual(yield* refusal(parkOf("r1", 2, "p1", { at: placeAt("b") })), "Fenced")
      assert.strictEqual(yield* refusal(parkOf("nobody", 1, "p1")), "Fenced")
      yield* commit(parkOf("r1", 2, "p1"))

      assert.deepStrictEqual(yield* commit(decideOf("p1", "approved", placeAt("b"))), {
        state: undefined,
        changed: false
      })
      assert.deepStrictEqual(yield* log.approvals({ tenant: rival, limit: 10 }), [])
      assert.deepStrictEqual(yield* log.approvals({ tenant, session: sessionKey("b"), limit: 10 }), [])
      yield* commit({ _tag: "DeleteSession", place, at: 9000 })
      assert.deepStrictEqual(yield* log.approvals({ tenant, id: approvalId("p1"), limit: 10 }), [])
    }))

  test("beyond the cap the oldest that no run has taken gives way, and its sender is told", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const { tenant, session } = place
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(acceptOf("m2"))
      yield* commit(acceptOf("m3"))
      const fourth = yield* commit(acceptOf("m4", { cap: 3, drop: "old", notice: "sorry" }))
      const waiting = yield* log.undelivered({ tenant, limit: 10 })

      assert.deepStrictEqual(fourth.dropped, [{ messageId: messageId("m2"), clientId: "client-m2" }])
      assert.deepStrictEqual(fourth.notices, waiting)
      assert.deepInclude(waiting[0], { text: "sorry", state: "pending", seq: 4, part: 0 })
      const trace = yield* log.message({ tenant, id: messageId("m2") })
      assert.deepInclude(trace?.message, { outcome: "dropped", outcomeBy: messageId("m4") })
      assert.deepStrictEqual(
        (yield* log.open({ tenant, session, limit: 10 })).map((row) => row.id),
        ["m1", "m3", "m4"]
      )
      const rows = yield* log.entries({ tenant, session, limit: 10 })
      assert.deepStrictEqual(
        rows.map((row) => row.id),
        ["m1", "m2", "m3", "m4"]
      )
    }))

  test("when runs have taken all that is open, the newcomer is refused whatever gives way", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1", { start: "r1" }))
      for (const drop of ["new", "old", "summarize"] as const) {
        const refused = yield* Effect.flip((yield* MessageLog).commit(acceptOf("m2", { cap: 1, drop })))
        assert.strictEqual(refused.reason._tag, "SessionFull")
      }
      const rows = yield* (yield* MessageLog).entries({
        tenant: place.tenant,
        session: place.session,
        limit: 10
      })
      assert.lengthOf(rows, 1)
    }))

  test("with summarize the next run that starts is told once of what gave way", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const { tenant, session } = place
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(acceptOf("m2", { text: "first  words" }))
      yield* commit(acceptOf("m3", { cap: 2, drop: "summarize" }))
      yield* commit(acceptOf("m4", { cap: 2, drop: "summarize" }))
      yield* commit(finishOf("r1", { m1: "answered" }, { attempt: 1 }))
      yield* commit(startOf("r4", ["m4"]))
      yield* commit(finishOf("r4", { m4: "answered" }, { attempt: 1 }))
      const next = yield* commit(acceptOf("m5", { start: "r5" }))

      const all = yield* log.history({ tenant, session, limit: 10 })
      const history = all.filter(({ entry }) => entry.kind !== "assistant")
      assert.deepStrictEqual(
        history.map(({ entry, runId: run }) => `${entry.kind} ${run}`),
        ["user r1", "note r4", "user r4", "user r5"]
      )
      const note = history[1]!.entry
      assert.isTrue(note.kind === "note" && note.text.includes("first words"))
      assert.deepStrictEqual(note.kind === "note" && note.dropped, ["m2", "m3"])
      assert.isTrue(next.started)
    }))

  test("a message that comes while a summary waits begins no run in its own unit", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1"))
      yield* commit(acceptOf("m2", { cap: 1, drop: "summarize" }))
      yield* commit(finishOf("r2", { m2: "cancelled" }))
      const next = yield* commit(acceptOf("m3", { start: "r3" }))

      assert.isFalse(next.started)
    }))

  test("a session keeps its queue's settings until they are forgotten", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const { tenant } = place
      const keep = (session: string, overrides: QueueOverrides) =>
        commit({ _tag: "KeepQueue", place: placeAt(session), overrides, at: 1000 })
      yield* keep("b", { mode: "steer", cap: 5 })
      yield* keep("a", { drop: "old" })
      yield* keep("c", { debounceMs: 5 })
      yield* keep("c", {})
      const first = yield* log.queues({ tenant, limit: 1 })
      const rest = yield* log.queues({ tenant, after: first[0]!.session, limit: 10 })

      assert.deepStrictEqual(
        [...first, ...rest].map(({ overrides }) => overrides),
        [{ drop: "old" }, { mode: "steer", cap: 5 }]
      )
      yield* commit({ _tag: "DeleteSession", place: placeAt("a"), at: 2000 })
      assert.lengthOf(yield* log.queues({ tenant, limit: 10 }), 1)
    }))

  test("a session keeps a word under a name until it is forgotten, and moves nowhere for it", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const { tenant } = place
      const keep = (session: string, name: string, value: string | undefined) =>
        commit({ _tag: "KeepSetting", place: placeAt(session), name, value, at: 1000 })
      yield* keep("b", "model", "openai/gpt")
      yield* keep("b", "thinking", "high")
      yield* keep("a", "model", 'a/"quoted" {}')
      yield* keep("c", "model", "x/y")
      yield* keep("c", "model", undefined)
      yield* keep("d", "thinking", "low")
      yield* keep("b", "model", "openai/other")
      const first = yield* log.settings({ tenant, name: "model", limit: 1 })
      const rest = yield* log.settings({ tenant, name: "model", after: first[0]!.session, limit: 10 })

      assert.deepStrictEqual(
        [...first, ...rest].map(({ value }) => value),
        ['a/"quoted" {}', "openai/other"]
      )
      assert.lengthOf(yield* log.settings({ tenant, name: "thinking", limit: 10 }), 2)
      yield* commit({ _tag: "DeleteSession", place: placeAt("a"), at: 2000 })
      assert.lengthOf(yield* log.settings({ tenant, name: "model", limit: 10 }), 1)
    }))

  test("a fenced step steers nobody", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(acceptOf("m2"))
      yield* commit(finishOf("r1", { m1: "cancelled" }))
      const refused = yield* Effect.flip(
        log.commit({
          ...appendOf("r1", 1, "e1"),
          steering: { messageIds: [messageId("m2")], by: messageId("m1") }
        })
      )

      assert.strictEqual(refused.reason._tag, "Fenced")
      const trace = yield* log.message({ tenant: place.tenant, id: messageId("m2") })
      assert.isUndefined(trace?.message.outcome)
    }))

  test("a message to a session with an open one, and a message that came before, begin no run", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const first = yield* commit(acceptOf("m1"))
      const second = yield* commit(acceptOf("m2", { start: "r2" }))
      const again = yield* commit(acceptOf("m1", { start: "r1" }))

      assert.deepStrictEqual([first.started, second.started, again.started], [false, false, false])
      assert.deepStrictEqual(
        yield* log.history({ tenant: place.tenant, session: place.session, limit: 10 }),
        []
      )
      const trace = yield* log.message({ tenant: place.tenant, id: messageId("m2") })
      assert.isUndefined(trace?.message.runId)
      assert.isUndefined(trace?.run)
    }))

  test("an accepted message has the session's next seq and stands open with all it came with", () =>
    Effect.gen(function* () {
      const body: MessageBody = {
        text: "hi",
        system: "be brief",
        params: { temperature: 0.5, stop: ["x"] },
        prior: [{ v: 1, kind: "user", text: "before", sender: "ann" }]
      }
      const first = yield* commit(acceptOf("m1", { body, cursor: "42" }))
      const second = yield* commit(acceptOf("m2"))

      assert.deepStrictEqual(first, {
        duplicate: false,
        started: false,
        dropped: [],
        notices: [],
        wrote: [],
        messageId: messageId("m1"),
        seq: 1,
        outcome: undefined
      })
      assert.strictEqual(second.seq, 2)
      const trace = yield* message("m1")
      assert.deepStrictEqual(trace, {
        message: {
          id: messageId("m1"),
          place,
          seq: 1,
          identity: { ...route, externalId: "client-m1", revision: 0 },
          sender: "ann",
          access: "owner",
          ephemeral: false,
          body,
          acceptedAt: 1000,
          runId: undefined,
          outcome: undefined,
          outcomeBy: undefined,
          endedAt: undefined
        },
        run: undefined,
        entries: [],
        deliveries: []
      })
      assert.deepStrictEqual(
        (yield* open()).map(({ id }) => id),
        [messageId("m1"), messageId("m2")]
      )
    }))

  test("a waiting message is in the transcript, not in the model's order", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1"))

      const [entry] = yield* entries()
      assert.deepStrictEqual(entry, {
        id: "m1",
        seq: 1,
        order: undefined,
        messageId: messageId("m1"),
        clientId: "client-m1",
        runId: undefined,
        entry: { v: 1, kind: "user", text: "text of m1", sender: "ann" },
        usage: undefined,
        at: 1000,
        answers: undefined
      })
      assert.deepStrictEqual(yield* history(), [])
    }))

  test("the same message again is acknowledged with its present outcome and stored once", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1"))
      const again = { ...acceptOf("m2"), message: acceptOf("m1").message }
      const waiting = yield* commit(again)
      yield* commitAll(startOf("r1", ["m1"]), finishOf("r1", { m1: "answered" }, { attempt: 1 }))
      const ended = yield* commit({ ...again, cap: 0 })

      assert.deepStrictEqual(waiting, {
        duplicate: true,
        started: false,
        dropped: [],
        notices: [],
        wrote: [],
        messageId: messageId("m1"),
        seq: 1,
        outcome: undefined
      })
      assert.deepStrictEqual(ended, {
        duplicate: true,
        started: false,
        dropped: [],
        notices: [],
        wrote: [],
        messageId: messageId("m1"),
        seq: 1,
        outcome: "answered"
      })
      assert.strictEqual((yield* entries()).length, 2)
      assert.strictEqual(yield* message("m2"), undefined)
    }))

  test("a body is the same whatever order its keys have, and another when any part differs", () =>
    Effect.gen(function* () {
      const identity = { externalId: "one" }
      const body: MessageBody = { text: "t", params: { temperature: 1, seed: 2 } }
      const turned: MessageBody = { params: { seed: 2, temperature: 1 }, text: "t" }
      yield* commit(acceptOf("m1", { identity, body }))

      assert.isTrue((yield* commit(acceptOf("m2", { identity, body: turned }))).duplicate)
      for (const other of [
        { ...body, text: "T" },
        { ...body, system: "s" },
        { ...body, params: { temperature: 1 } },
        { ...body, prior: [] }
      ])
        assert.strictEqual(yield* refusal(acceptOf("m3", { identity, body: other })), "IdReused")
      assert.strictEqual((yield* entries()).length, 1)
    }))

  test("each part of the identity tells messages apart", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m0", { identity: { externalId: "one" } }))
      const others: ReadonlyArray<Partial<Identity>> = [
        { channel: "x" },
        { account: "x" },
        { conversation: "x" },
        { thread: "x" },
        { revision: 1 },
        { externalId: "x" }
      ]
      for (const [index, part] of others.entries()) {
        const accepted = yield* commit(
          acceptOf(`m${index + 1}`, { identity: { externalId: "one", ...part } })
        )
        assert.isFalse(accepted.duplicate)
        assert.strictEqual(accepted.seq, index + 2)
      }
    }))

  test("one message too many is refused, stores nothing, and fits again when one has ended", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1", { cap: 2 }), acceptOf("m2", { cap: 2 }))

      assert.strictEqual(yield* refusal(acceptOf("m3", { cap: 2 })), "SessionFull")
      assert.isFalse((yield* commit(acceptOf("n1", { cap: 2, at: placeAt("b") }))).duplicate)
      assert.strictEqual((yield* entries()).length, 2)
      yield* commit(finishOf("r1", { m1: "cancelled" }, { entries: [] }))
      assert.strictEqual((yield* commit(acceptOf("m3", { cap: 2 }))).seq, 3)
    }))

  test("a cap below one takes nothing", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusal(acceptOf("m1", { cap: 0 })), "SessionFull")
      assert.deepStrictEqual(yield* sessions(), [])
    }))
}

const running = (test: Test) => {
  test("a run brings its messages into the model's order, in the order given, and names them", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), acceptOf("m2"), acceptOf("m3"))
      const started = yield* commit(startOf("r1", ["m3", "m1"]))

      assert.deepStrictEqual(started, { attempt: 1, attemptsWithoutProgress: 1, decided: [] })
      const rows = yield* history()
      assert.deepStrictEqual(texts(rows), ["text of m3", "text of m1"])
      assert.deepStrictEqual(
        rows.map(({ order }) => order),
        [1, 2]
      )
      assert.deepStrictEqual(
        rows.map((row) => row.runId),
        [runId("r1"), runId("r1")]
      )
      assert.deepStrictEqual((yield* message("m3"))?.run, {
        id: runId("r1"),
        state: "running",
        attempt: 1,
        messageIds: [messageId("m3"), messageId("m1")],
        startedAt: 2000,
        endedAt: undefined,
        usage: zero,
        failure: undefined
      })
      assert.strictEqual((yield* message("m2"))?.message.runId, undefined)
    }))

  test("what a run writes stands in both orders at once, before messages that still wait", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]), acceptOf("m2"))
      const step = yield* commit(appendOf("r1", 1, "e1"))
      const result = yield* commit(appendOf("r1", 1, "e2", toolResult("c1")))
      yield* commitAll(finishOf("r1", { m1: "answered" }, { attempt: 1 }), startOf("r2", ["m2"]))

      assert.deepStrictEqual([step.seq, result.seq], [3, 4])
      assert.deepStrictEqual(texts(yield* history()), [
        "text of m1",
        "let me look",
        "noon",
        "answer of r1",
        "text of m2"
      ])
      assert.deepStrictEqual(
        (yield* entries()).map((row) => row.order),
        [1, 5, 2, 3, 4]
      )
      const rows = yield* entries()
      assert.deepStrictEqual(rows[2]?.entry, calling("c1"))
      assert.deepStrictEqual(rows[2]?.usage, usage)
      assert.deepStrictEqual(rows[2]?.runId, runId("r1"))
    }))

  test("attempts are counted, and those without progress from the last entry on", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1"))
      const seen = [yield* commit(startOf("r1", ["m1"])), yield* commit(startOf("r1", ["m1"]))]
      yield* commit(appendOf("r1", 2, "e1"))
      seen.push(yield* commit(startOf("r1", ["m1"])), yield* commit(startOf("r1", ["m1"])))

      assert.deepStrictEqual(
        seen.map((one) => [one.attempt, one.attemptsWithoutProgress]),
        [
          [1, 1],
          [2, 2],
          [3, 1],
          [4, 2]
        ]
      )
      assert.deepStrictEqual(texts(yield* history()), ["text of m1", "let me look"])
    }))

  test("an older attempt can neither write nor end once a newer one has begun", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]), startOf("r1", ["m1"]))

      assert.strictEqual(yield* refusal(appendOf("r1", 1, "e1")), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r1", { m1: "answered" }, { attempt: 1 })), "Fenced")
      assert.strictEqual(yield* refusal(appendOf("r1", 3, "e1")), "Fenced")
      assert.strictEqual((yield* entries()).length, 1)
      assert.strictEqual((yield* commit(appendOf("r1", 2, "e1"))).seq, 2)
    }))

  test("a run that was never begun, or of another session, writes nothing", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]), acceptOf("n1", { at: placeAt("b") }))

      assert.strictEqual(yield* refusal(appendOf("r2", 1, "e1")), "Fenced")
      assert.strictEqual(yield* refusal({ ...appendOf("r1", 1, "e1"), place: placeAt("b") }), "Fenced")
      assert.strictEqual(yield* refusal(startOf("r1", [], placeAt("b"))), "Fenced")
      assert.strictEqual(
        yield* refusal(finishOf("r1", { n1: "answered" }, { at: placeAt("b"), attempt: 1 })),
        "Fenced"
      )
      assert.strictEqual(yield* refusal(startOf("r3", ["n1"])), "Fenced")
      assert.strictEqual(yield* refusal(startOf("r3", ["unknown"])), "Fenced")
    }))

  test("nothing begins for a message that has ended, nor for an ended run", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), acceptOf("m2"), finishOf("r1", { m1: "dropped" }, { entries: [] }))

      assert.strictEqual(yield* refusal(startOf("r1", ["m2"])), "Fenced")
      assert.strictEqual(yield* refusal(startOf("r2", ["m2", "m1"])), "Fenced")
      assert.deepStrictEqual(yield* history(), [])
      assert.strictEqual((yield* commit(startOf("r2", ["m2"]))).attempt, 1)
    }))
}

const finishing = (test: Test) => {
  test("one unit ends the run: answer, outcomes, deliveries, usage and whom it answers", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), acceptOf("m2"), startOf("r1", ["m1", "m2"]), appendOf("r1", 1, "e1"))
      const done = yield* commit(
        finishOf("r1", { m2: "answered", m1: "merged" }, { attempt: 1, deliveries: ["d1", "d2"], by: "m2" })
      )

      assert.deepStrictEqual(done.seqs, [4])
      assert.deepStrictEqual(done.endings, [
        { messageId: messageId("m2"), outcome: "answered", by: "m2" },
        { messageId: messageId("m1"), outcome: "merged", by: "m2" }
      ])
      const trace = yield* message("m1")
      assert.strictEqual(trace?.message.outcome, "merged")
      assert.strictEqual(trace?.message.outcomeBy, "m2")
      assert.strictEqual(trace?.message.endedAt, 4000)
      assert.strictEqual(trace?.run?.state, "ended")
      assert.strictEqual(trace?.run?.endedAt, 4000)
      assert.deepStrictEqual(trace?.run?.usage, {
        inputTokens: 20,
        outputTokens: 4,
        cachedTokens: 2,
        estimated: false
      })
      assert.deepStrictEqual(
        trace?.entries.map(({ id }) => id),
        ["e1", "answer-r1"]
      )
      assert.deepStrictEqual(trace?.entries[1]?.answers, ["client-m1", "client-m2"])
      assert.deepStrictEqual(trace?.entries[1]?.usage, usage)
      assert.deepStrictEqual(
        trace?.deliveries.map(({ id, seq, part, state, text }) => ({ id, seq, part, state, text })),
        [
          { id: deliveryId("d1"), seq: 4, part: 0, state: "pending", text: "part d1" },
          { id: deliveryId("d2"), seq: 4, part: 1, state: "pending", text: "part d2" }
        ]
      )
      assert.deepStrictEqual(yield* open(), [])
    }))

  test("of several last entries only the answer has usage and says whom it answers", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]))
      const done = yield* commit(
        finishOf(
          "r1",
          { m1: "answered" },
          {
            attempt: 1,
            deliveries: ["d1"],
            entries: [
              { id: "t", entry: toolResult("c1") },
              { id: "a", entry: assistant("done") },
              { id: "c", entry: calling("c2") }
            ]
          }
        )
      )

      assert.deepStrictEqual(done.seqs, [2, 3, 4])
      const rows = yield* entries(10, 1)
      assert.deepStrictEqual(
        rows.map((row) => row.answers),
        [undefined, ["client-m1"], undefined]
      )
      assert.deepStrictEqual(
        rows.map((row) => row.usage),
        [undefined, usage, undefined]
      )
      assert.strictEqual((yield* undelivered())[0]?.seq, 3)
    }))

  test("the first ending wins: a late answer after a cancellation is fenced", () =>
    Effect.gen(function* () {
      yield* commitAll(
        acceptOf("m1"),
        startOf("r1", ["m1"]),
        finishOf("r1", { m1: "cancelled" }, { entries: [], by: "ann" })
      )

      assert.strictEqual(yield* refusal(appendOf("r1", 1, "e1")), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r1", { m1: "answered" }, { attempt: 1 })), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r2", { m1: "answered" })), "Fenced")
      assert.strictEqual(yield* refusal(startOf("r1", ["m1"])), "Fenced")
      const trace = yield* message("m1")
      assert.strictEqual(trace?.message.outcome, "cancelled")
      assert.strictEqual(trace?.message.outcomeBy, "ann")
      assert.deepStrictEqual(yield* undelivered(), [])
    }))

  test("a message that has ended keeps its outcome while the run's others end", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), acceptOf("m2"), startOf("r1", ["m1", "m2"]))
      yield* commit(finishOf("other", { m1: "cancelled" }, { entries: [] }))
      const done = yield* commit(finishOf("r1", { m1: "answered", m2: "answered" }, { attempt: 1 }))

      assert.deepStrictEqual(done.endings, [{ messageId: messageId("m2"), outcome: "answered" }])
      assert.strictEqual((yield* message("m1"))?.message.outcome, "cancelled")
      assert.deepStrictEqual((yield* history()).at(-1)?.answers, ["client-m2"])
    }))

  test("a run that never started may be ended, with a reason, and does not start afterwards", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1"))
      const failure = { code: "attempts", message: "it failed three times" } as const
      const entry: NewEntry = { v: 1, kind: "failure", code: "attempts", text: "it failed three times" }
      yield* commit(finishOf("r1", { m1: "failed" }, { failure, entries: [{ id: "f", entry }] }))

      const trace = yield* message("m1")
      assert.strictEqual(trace?.message.runId, runId("r1"))
      assert.deepStrictEqual(trace?.run, {
        id: runId("r1"),
        state: "ended",
        attempt: 0,
        messageIds: [messageId("m1")],
        startedAt: 4000,
        endedAt: 4000,
        usage,
        failure
      })
      assert.deepStrictEqual(trace?.entries[0]?.entry, entry)
      assert.strictEqual(trace?.entries[0]?.answers, undefined)
      assert.strictEqual(yield* refusal(startOf("r1", ["m1"])), "Fenced")
    }))

  test("an attempt can only end what it began", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1"))

      assert.strictEqual(yield* refusal(finishOf("r1", { m1: "answered" }, { attempt: 1 })), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r1", {})), "Fenced")
      assert.strictEqual((yield* open()).length, 1)
    }))

  test("an interrupted run keeps its partial text, which answers nobody", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]))
      const entry: NewEntry = { v: 1, kind: "assistant", text: "half a", partial: "interrupted" }
      yield* commit(finishOf("r1", { m1: "interrupted" }, { entries: [{ id: "p", entry }] }))

      const last = (yield* history()).at(-1)
      assert.deepStrictEqual(last?.entry, entry)
      assert.strictEqual(last?.answers, undefined)
    }))
}

const delivering = (test: Test) => {
  const answered = commitAll(
    acceptOf("m1"),
    startOf("r1", ["m1"]),
    finishOf("r1", { m1: "answered" }, { attempt: 1, deliveries: ["d1", "d2"] })
  )

  test("a send is counted when it begins and ends with its receipt", () =>
    Effect.gen(function* () {
      yield* answered
      assert.strictEqual((yield* commit(sendBegunOf("d1"))).attempts, 1)
      assert.strictEqual((yield* undelivered())[0]?.state, "sending")
      assert.isTrue((yield* commit(sendEndedOf("d1", "pending"))).changed)
      assert.strictEqual((yield* commit(sendBegunOf("d1"))).attempts, 2)
      assert.isTrue((yield* commit(sendEndedOf("d1", "sent"))).changed)

      const row = (yield* message("m1"))?.deliveries[0]
      assert.deepStrictEqual(row, {
        id: deliveryId("d1"),
        place,
        runId: runId("r1"),
        seq: 2,
        part: 0,
        route,
        text: "part d1",
        state: "sent",
        attempts: 2,
        createdAt: 4000,
        sentAt: 6000,
        receipt: "r-sent",
        detail: undefined
      })
      assert.deepStrictEqual(
        (yield* undelivered()).map(({ id }) => id),
        [deliveryId("d2")]
      )
    }))

  test("what is sent or dead stays so, and cannot be sent again", () =>
    Effect.gen(function* () {
      yield* answered
      yield* commitAll(sendBegunOf("d1"), sendEndedOf("d1", "sent"), sendEndedOf("d2", "dead"))

      for (const state of ["pending", "dead", "sent", "uncertain"] as const)
        assert.isFalse((yield* commit(sendEndedOf("d1", state))).changed)
      assert.isFalse((yield* commit(sendEndedOf("d2", "sent"))).changed)
      assert.strictEqual(yield* refusal(sendBegunOf("d1")), "Fenced")
      assert.strictEqual(yield* refusal(sendBegunOf("d2")), "Fenced")
      const rows = (yield* message("m1"))?.deliveries
      assert.deepStrictEqual(
        rows?.map(({ state, receipt }) => [state, receipt]),
        [
          ["sent", "r-sent"],
          ["dead", "r-dead"]
        ]
      )
    }))

  test("an uncertain delivery waits for a decision: it is not resent by itself", () =>
    Effect.gen(function* () {
      yield* answered
      yield* commitAll(sendBegunOf("d1"), { ...sendEndedOf("d1", "uncertain"), detail: "no receipt" })

      assert.strictEqual(yield* refusal(sendBegunOf("d1")), "Fenced")
      assert.strictEqual((yield* message("m1"))?.deliveries[0]?.detail, "no receipt")
      assert.isTrue((yield* commit(sendEndedOf("d1", "sent"))).changed)
    }))

  test("an unknown delivery, or one of another session, is not touched", () =>
    Effect.gen(function* () {
      yield* answered
      assert.strictEqual(yield* refusal(sendBegunOf("nothing")), "Fenced")
      assert.strictEqual(yield* refusal(sendBegunOf("d1", placeAt("b"))), "Fenced")
      assert.isFalse((yield* commit(sendEndedOf("nothing", "sent"))).changed)
      assert.isFalse((yield* commit(sendEndedOf("d1", "sent", placeAt("b")))).changed)
      assert.strictEqual((yield* undelivered()).length, 2)
    }))

  test("what waits is found oldest first, by session, by channel and by age", () =>
    Effect.gen(function* () {
      const b = placeAt("b")
      const other = { ...route, channel: "mail" }
      yield* commitAll(acceptOf("n1", { at: b }), acceptOf("m1"), acceptOf("m2"))
      yield* commitAll(
        finishOf("r2", { n1: "answered" }, { at: b, deliveries: ["n-a"], time: 4100, route: other }),
        finishOf("r1", { m1: "answered" }, { deliveries: ["z", "y"], time: 4000 }),
        finishOf("r3", { m2: "answered" }, { deliveries: ["x"], time: 4200, route: other })
      )
      const ids = (query: Parameters<typeof undelivered>[0]) =>
        Effect.map(undelivered(query), (rows) => rows.map(({ id }) => String(id)))

      assert.deepStrictEqual(yield* ids({}), ["z", "y", "n-a", "x"])
      assert.deepStrictEqual(yield* ids({ limit: 2 }), ["z", "y"])
      assert.deepStrictEqual(yield* ids({ session }), ["z", "y", "x"])
      assert.deepStrictEqual(yield* ids({ channel: "mail" }), ["n-a", "x"])
      assert.deepStrictEqual(yield* ids({ session, channel: "mail" }), ["x"])
      assert.deepStrictEqual(yield* ids({ createdAfter: 4100 }), ["x"])
      assert.deepStrictEqual(yield* ids({ session, createdAfter: 4000, channel: "mail" }), ["x"])
    }))

  test("a clock that goes back does not put a session's later answer first", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), acceptOf("m2"))
      yield* commitAll(
        finishOf("r1", { m1: "answered" }, { deliveries: ["first"], time: 9000 }),
        finishOf("r2", { m2: "answered" }, { deliveries: ["second"], time: 5000 })
      )

      const rows = yield* undelivered()
      assert.deepStrictEqual(
        rows.map(({ id }) => id),
        [deliveryId("first"), deliveryId("second")]
      )
      assert.strictEqual((yield* sessions())[0]?.updatedAt, 9000)
    }))
}

const reading = (test: Test) => {
  test("history gives the newest entries, oldest of them first", () =>
    Effect.gen(function* () {
      for (const n of [1, 2, 3])
        yield* commitAll(
          acceptOf(`m${n}`),
          startOf(`r${n}`, [`m${n}`]),
          finishOf(`r${n}`, { [`m${n}`]: "answered" })
        )

      assert.deepStrictEqual(texts(yield* history(3)), ["answer of r2", "text of m3", "answer of r3"])
      assert.deepStrictEqual(yield* history(0), [])
      assert.deepStrictEqual(yield* history(-1), [])
      assert.strictEqual((yield* history(Number.POSITIVE_INFINITY)).length, 6)
    }))

  test("history after an order gives only what came later, the newest when there is more", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      for (const n of [1, 2, 3])
        yield* commitAll(
          acceptOf(`m${n}`),
          startOf(`r${n}`, [`m${n}`]),
          finishOf(`r${n}`, { [`m${n}`]: "answered" })
        )
      const after = (afterOrder: number, limit: number) =>
        Effect.map(log.history({ tenant, session, afterOrder, limit }), (rows) =>
          rows.map(({ order }) => order)
        )

      assert.deepStrictEqual(yield* after(4, 10), [5, 6])
      assert.deepStrictEqual(yield* after(2, 2), [5, 6])
      assert.deepStrictEqual(yield* after(6, 10), [])
      assert.deepStrictEqual(yield* after(0, 10), [1, 2, 3, 4, 5, 6])
    }))

  test("entries and open messages are read page by page", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      for (const n of [1, 2, 3, 4, 5]) yield* commit(acceptOf(`m${n}`))

      assert.deepStrictEqual(
        (yield* entries(2)).map(({ seq }) => seq),
        [1, 2]
      )
      assert.deepStrictEqual(
        (yield* entries(2, 2)).map(({ seq }) => seq),
        [3, 4]
      )
      assert.deepStrictEqual(
        (yield* entries(2, 5)).map(({ seq }) => seq),
        []
      )
      const page = yield* log.open({ tenant, session, afterSeq: 3, limit: 1 })
      assert.deepStrictEqual(
        page.map(({ seq }) => seq),
        [4]
      )
    }))

  test("open messages of all sessions come grouped by session, and recovery walks the sessions", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const names = ["b", "a", "c"]
      for (const name of names) yield* commit(acceptOf(`${name}1`, { at: placeAt(name) }))
      for (const name of names) yield* commit(acceptOf(`${name}2`, { at: placeAt(name) }))
      yield* commit(finishOf("rb", { b1: "answered", b2: "answered" }, { at: placeAt("b") }))

      assert.deepStrictEqual(
        (yield* open()).map(({ id }) => String(id)),
        ["a1", "a2", "c1", "c2"]
      )
      assert.deepStrictEqual(yield* log.openSessions({ tenant, limit: 10 }), [placeAt("a"), placeAt("c")])
      assert.deepStrictEqual(yield* log.openSessions({ tenant, limit: 1 }), [placeAt("a")])
      assert.deepStrictEqual(yield* log.openSessions({ tenant, after: sessionKey("a"), limit: 10 }), [
        placeAt("c")
      ])
    }))

  test("sessions are ordered as databases order text, beyond the first plane too", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const names = ["\u{1F600}", "\uFF5E", "z", "Z"]
      for (const [index, name] of names.entries()) yield* commit(acceptOf(`m${index}`, { at: placeAt(name) }))

      const sorted = yield* log.openSessions({ tenant, limit: 10 })
      assert.deepStrictEqual(
        sorted,
        ["Z", "z", "\uFF5E", "\u{1F600}"].map((name) => placeAt(name))
      )
    }))

  test("sessions are listed latest first, with what they hold", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { time: 1000 }))
      yield* commit(acceptOf("n1", { at: placeAt("b"), time: 2000 }))
      yield* commit(acceptOf("m2", { time: 3000 }))

      const rows = yield* sessions()
      const plain = { title: undefined, forkedFrom: undefined }
      assert.deepStrictEqual(rows, [
        { place, ...plain, seq: 2, open: 2, createdAt: 1000, updatedAt: 3000 },
        { place: placeAt("b"), ...plain, seq: 1, open: 1, createdAt: 2000, updatedAt: 2000 }
      ])
      assert.deepStrictEqual(yield* log.sessions({ tenant, key: sessionKey("b"), limit: 10 }), rows.slice(1))
      assert.deepStrictEqual(yield* log.sessions({ tenant, key: sessionKey("x"), limit: 10 }), [])
      assert.deepStrictEqual(yield* log.sessions({ tenant, limit: 1 }), rows.slice(0, 1))
    }))

  test("a session has the title it was given last, until it is taken away or the session is deleted", () =>
    Effect.gen(function* () {
      const titles = Effect.map(sessions(), (rows) => rows.map((row) => [row.title, row.updatedAt]))
      const rename = (title: string | undefined, at = place) =>
        commit({ _tag: "RenameSession", place: at, title, at: 9000 })
      yield* commit(acceptOf("m1", { time: 1000 }))

      assert.deepStrictEqual(yield* rename("Garden\u0000 \u{1F33B}"), { existed: true })
      assert.deepStrictEqual(yield* titles, [["Garden\u0000 \u{1F33B}", 1000]])
      yield* commit(acceptOf("m2", { time: 2000 }))
      assert.deepStrictEqual(yield* titles, [["Garden\u0000 \u{1F33B}", 2000]])
      assert.deepStrictEqual(yield* rename(undefined), { existed: true })
      assert.deepStrictEqual(yield* titles, [[undefined, 2000]])

      assert.deepStrictEqual(yield* rename("No such", placeAt("x")), { existed: false })
      assert.deepStrictEqual(yield* rename("Not mine", placeAt("a", rival)), { existed: false })
      yield* rename("Old")
      yield* commit({ _tag: "DeleteSession", place, at: 3000 })
      yield* commit(acceptOf("m3", { time: 4000 }))
      assert.deepStrictEqual(yield* titles, [[undefined, 4000]])
    }))

  test("entries are read from the end, a page at a time", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      for (const id of ["m1", "m2", "m3", "m4", "m5"]) yield* commit(acceptOf(id))
      const before = (beforeSeq: number, more: { readonly afterSeq?: number } = {}) =>
        Effect.map(log.entries({ tenant, session, beforeSeq, limit: 2, ...more }), (rows) =>
          rows.map(({ seq }) => seq)
        )

      assert.deepStrictEqual(yield* before(Number.MAX_SAFE_INTEGER), [4, 5])
      assert.deepStrictEqual(yield* before(4), [2, 3])
      assert.deepStrictEqual(yield* before(2), [1])
      assert.deepStrictEqual(yield* before(1), [])
      assert.deepStrictEqual(yield* before(5, { afterSeq: 3 }), [4])
    }))

  test("a message is found by its identity", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const { identity } = acceptOf("m1").message
      yield* commit(acceptOf("m1"))

      assert.strictEqual((yield* log.lookup({ tenant, identity }))?.id, messageId("m1"))
      assert.strictEqual(yield* log.lookup({ tenant, identity: { ...identity, revision: 1 } }), undefined)
      assert.strictEqual(yield* message("unknown"), undefined)
    }))
}

const forgetting = (test: Test) => {
  test("a deleted session leaves nothing, and its open messages are told", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commitAll(acceptOf("m1", { cursor: "7" }), startOf("r1", ["m1"]), appendOf("r1", 1, "e1"))
      yield* commitAll(
        finishOf("r1", { m1: "answered" }, { deliveries: ["d1"] }),
        acceptOf("m2"),
        acceptOf("m3")
      )
      yield* commit(acceptOf("n1", { at: placeAt("b") }))
      const gone = yield* commit(deleteOf())

      assert.deepStrictEqual(gone, { existed: true, cancelled: [messageId("m2"), messageId("m3")] })
      assert.deepStrictEqual(yield* entries(), [])
      assert.deepStrictEqual(yield* history(), [])
      assert.deepStrictEqual(yield* undelivered(), [])
      assert.strictEqual(yield* message("m1"), undefined)
      assert.strictEqual(yield* log.lookup({ tenant, identity: acceptOf("m1").message.identity }), undefined)
      assert.deepStrictEqual(
        (yield* sessions()).map((row) => row.place),
        [placeAt("b")]
      )
      assert.deepStrictEqual(
        (yield* open()).map(({ id }) => String(id)),
        ["n1"]
      )
    }))

  test("late work of a deleted session is fenced, and the session may begin anew", () =>
    Effect.gen(function* () {
      yield* commitAll(
        acceptOf("m1"),
        startOf("r1", ["m1"]),
        finishOf("r1", { m1: "answered" }, { deliveries: ["d1"] }),
        acceptOf("m2"),
        startOf("r2", ["m2"]),
        deleteOf()
      )

      assert.strictEqual(yield* refusal(appendOf("r2", 1, "e1")), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r2", { m2: "answered" }, { attempt: 1 })), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r2", { m2: "cancelled" })), "Fenced")
      assert.strictEqual(yield* refusal(sendBegunOf("d1")), "Fenced")
      assert.isFalse((yield* commit(sendEndedOf("d1", "sent"))).changed)
      assert.deepStrictEqual(yield* commit(deleteOf()), { existed: false, cancelled: [] })
      assert.deepStrictEqual(yield* commit(acceptOf("m1")), {
        duplicate: false,
        started: false,
        dropped: [],
        notices: [],
        wrote: [],
        messageId: messageId("m1"),
        seq: 1,
        outcome: undefined
      })
    }))

  test("ephemeral sessions are unlisted, and purged when old and without open messages", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const accept = (name: string, time: number) =>
        acceptOf(`m-${name}`, { at: placeAt(name), ephemeral: true, time })
      yield* commitAll(accept("old", 1000), accept("open", 1000), accept("young", 1000))
      yield* commitAll(
        finishOf("r1", { "m-old": "answered" }, { at: placeAt("old"), time: 2000 }),
        finishOf("r2", { "m-young": "answered" }, { at: placeAt("young"), time: 3000 }),
        acceptOf("kept", { at: placeAt("kept"), time: 1000 })
      )

      assert.deepStrictEqual(
        (yield* sessions()).map((row) => row.place),
        [placeAt("kept")]
      )
      assert.deepStrictEqual(yield* log.sessions({ tenant, key: sessionKey("old"), limit: 1 }), [])
      assert.strictEqual(yield* log.purge({ tenant, before: 3000 }), 1)
      assert.deepStrictEqual(yield* entries(10, 0, placeAt("old")), [])
      assert.strictEqual((yield* entries(10, 0, placeAt("young"))).length, 2)
      assert.strictEqual((yield* entries(10, 0, placeAt("open"))).length, 1)
      assert.strictEqual(yield* log.purge({ tenant, before: 3000 }), 0)
    }))

  test("listed sessions are purged only when that is asked for, when old and without open messages", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const accept = (name: string, ephemeral = false) =>
        acceptOf(`m-${name}`, { at: placeAt(name), ephemeral, time: 1000 })
      const finish = (name: string, time: number) =>
        finishOf(
          `r-${name}`,
          { [`m-${name}`]: "answered" },
          { at: placeAt(name), time, deliveries: [`d-${name}`] }
        )
      yield* commitAll(accept("old"), accept("open"), accept("young"), accept("brief", true))
      yield* commitAll(finish("old", 2000), finish("young", 3000), finish("brief", 2000))

      assert.strictEqual(yield* log.purge({ tenant, before: 3000, listed: true }), 1)
      assert.deepStrictEqual(yield* entries(10, 0, placeAt("old")), [])
      assert.strictEqual(yield* message("m-old"), undefined)
      assert.deepStrictEqual(
        (yield* sessions()).map((row) => row.place.session).toSorted(),
        [placeAt("open").session, placeAt("young").session].toSorted()
      )
      assert.strictEqual((yield* entries(10, 0, placeAt("brief"))).length, 2)
    }))

  test("purging takes however many there are", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* Effect.forEach(
        Array.from({ length: 120 }, (_, n) => n),
        (n) =>
          commitAll(
            acceptOf(`m${n}`, { at: placeAt(`s${n}`), ephemeral: true }),
            finishOf(`r${n}`, { [`m${n}`]: "answered" }, { at: placeAt(`s${n}`) })
          ),
        { concurrency: "unbounded", discard: true }
      )

      assert.strictEqual(yield* log.purge({ tenant, before: 4001 }), 120)
      assert.strictEqual(yield* message("m7"), undefined)
    }))

  test("a journal is kept in its order while its session is there, and forgotten when it is old or with the session", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const keep = (name: string, records: string, at: number, of: Tenant = acme) =>
        commit({ _tag: "KeepJournal", place: placeAt(name, of), records, at })
      const kept = (name: string, afterSeq = 0, limit = 10) =>
        log.journal({ tenant, session: sessionKey(name), afterSeq, limit })
      yield* commitAll(acceptOf("m1"), acceptOf("m2", { at: placeAt("b") }))
      const before = yield* sessions()
      yield* keep("a", '["first \\u0000 \\ud800 ü"]', 3000)
      yield* keep("b", "[1]", 1000)
      yield* keep("a", "[2]", 2000)
      yield* keep("a", "[3]", 4000)
      yield* keep("none", "[4]", 4000)
      yield* keep("a", "[5]", 4000, rival)

      assert.deepStrictEqual(yield* kept("a"), [
        { seq: 1, records: '["first \\u0000 \\ud800 ü"]', at: 3000 },
        { seq: 2, records: "[2]", at: 2000 },
        { seq: 3, records: "[3]", at: 4000 }
      ])
      assert.deepStrictEqual(
        (yield* kept("a", 1, 1)).map(({ seq }) => seq),
        [2]
      )
      assert.deepStrictEqual(yield* kept("none"), [])
      // It is no news of the session.
      assert.deepStrictEqual(yield* sessions(), before)

      assert.strictEqual(yield* log.purgeOld({ tenant, of: "journal", before: 3000 }), 2)
      assert.strictEqual(yield* log.purgeOld({ tenant, of: "journal", before: 3000 }), 0)
      assert.deepStrictEqual(
        (yield* kept("a")).map(({ seq }) => seq),
        [1, 3]
      )
      assert.deepStrictEqual(yield* kept("b"), [])
      yield* commit(deleteOf(place))
      yield* commit(acceptOf("m3"))
      assert.deepStrictEqual(yield* kept("a"), [])
    }))

  test("purging old journals takes however many rows there are", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1"))
      yield* Effect.forEach(
        Array.from({ length: 1100 }, (_, at) => at),
        (at) => commit({ _tag: "KeepJournal", place, records: "[]", at }),
        { concurrency: "unbounded", discard: true }
      )

      assert.strictEqual(yield* log.purgeOld({ tenant, of: "journal", before: 1050 }), 1050)
      assert.strictEqual((yield* log.journal({ tenant, session, limit: 2000 })).length, 50)
    }))

  test("purging old deliveries takes those that were sent before a time, and nothing else", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const theirs = placeAt("a", rival)
      yield* commitAll(
        acceptOf("m1", { start: "r1" }),
        finishOf("r1", { m1: "answered" }, { deliveries: ["d1", "d2", "d3", "d4", "d5"] }),
        ...["d1", "d2", "d3", "d4"].map((id) => sendBegunOf(id)),
        { ...sendEndedOf("d1", "sent"), at: 6000 },
        { ...sendEndedOf("d2", "sent"), at: 7000 },
        sendEndedOf("d3", "dead"),
        sendEndedOf("d4", "uncertain"),
        acceptOf("m1", { at: theirs, start: "r1" }),
        finishOf("r1", { m1: "answered" }, { at: theirs, deliveries: ["d1"] }),
        { ...sendEndedOf("d1", "sent", theirs), at: 6000 }
      )
      const left = (of: Tenant) =>
        Effect.map(message("m1", of), (trace) => trace?.deliveries.map((row) => row.id))
      const before = yield* history()

      assert.strictEqual(yield* log.purgeOld({ tenant, of: "deliveries", before: 7000 }), 1)
      assert.strictEqual(yield* log.purgeOld({ tenant, of: "deliveries", before: 7000 }), 0)
      assert.deepStrictEqual(yield* left(tenant), ["d2", "d3", "d4", "d5"].map(deliveryId))
      assert.deepStrictEqual(yield* left(rival), [deliveryId("d1")])
      assert.deepStrictEqual(yield* history(), before)
      assert.isFalse((yield* commit(sendEndedOf("d1", "sent"))).changed)
      assert.strictEqual(yield* log.purgeOld({ tenant, of: "deliveries", before: 9000 }), 1)
      assert.deepStrictEqual(yield* left(tenant), ["d3", "d4", "d5"].map(deliveryId))
    }))

  test("an ephemeral session is listed once a message comes that is to be kept", () =>
    Effect.gen(function* () {
      yield* commitAll(
        acceptOf("m1", { ephemeral: true }),
        acceptOf("m2"),
        acceptOf("m3", { ephemeral: true })
      )

      assert.strictEqual((yield* sessions()).length, 1)
    }))
}

const keeping = (test: Test) => {
  test("a million characters come back as they went in", () =>
    Effect.gen(function* () {
      const text = "0123456789abcdef\u{1F600}\n".repeat(56_000)
      yield* commitAll(acceptOf("m1", { text }), startOf("r1", ["m1"]))
      yield* commit(finishOf("r1", { m1: "answered" }, { entries: [{ id: "a", entry: assistant(text) }] }))

      const rows = yield* history()
      assert.isTrue(texts(rows).every((one) => one === text))
      assert.strictEqual((yield* message("m1"))?.message.body.text, text)
    }))

  test("texts keep a NUL; a lone surrogate becomes a replacement character", () =>
    Effect.gen(function* () {
      const text = "a\0b \uD800 c \uDC00 \u{1F600} \\ud800 \\u0000"
      const kept = "a\0b \uFFFD c \uFFFD \u{1F600} \\ud800 \\u0000"
      yield* commitAll(acceptOf("m1", { text }), startOf("r1", ["m1"]))
      const unit = finishOf("r1", { m1: "answered" }, { entries: [{ id: "a", entry: assistant(text) }] })
      yield* commit({ ...unit, deliveries: [{ id: deliveryId("d"), route, text }] })

      const trace = yield* message("m1")
      assert.strictEqual(trace?.message.body.text, kept)
      assert.deepStrictEqual(texts(yield* history()), [kept, kept])
      assert.strictEqual((yield* undelivered())[0]?.text, kept)
      assert.isTrue((yield* commit(acceptOf("m1", { text }))).duplicate)
    }))

  test("names lose a NUL and a lone surrogate, and are found by either spelling", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const odd = placeAt("x\0\uD800y")
      const clean = placeAt("x\uFFFD\uFFFDy")
      const identity = { externalId: "id\0\uDFFF" }
      yield* commitAll(acceptOf("m\0", { at: odd, identity }), startOf("r\0", ["m\0"], odd))
      yield* commit(finishOf("r\0", { "m\0": "answered" }, { at: odd, attempt: 1 }))

      const trace = yield* message("m\0")
      assert.deepStrictEqual(trace?.message.place, clean)
      assert.strictEqual(trace?.message.identity.externalId, "id\uFFFD\uFFFD")
      assert.strictEqual(trace?.message.outcome, "answered")
      assert.strictEqual((yield* history(10, odd)).length, 2)
      assert.strictEqual((yield* history(10, clean)).length, 2)
      const found = yield* log.lookup({ tenant, identity: { ...route, revision: 0, ...identity } })
      assert.strictEqual(found?.id, messageId("m\uFFFD"))
    }))

  test("text in any script, and text that looks like SQL, is only text", () =>
    Effect.gen(function* () {
      const text = `'; DROP TABLE messages; -- % _ " ? ?1 :x 日本語 العربية ñ \u{1F469}\u200D\u{1F680}`
      yield* commit(acceptOf(text, { text, at: placeAt(text) }))

      assert.strictEqual((yield* message(text))?.message.body.text, text)
      assert.deepStrictEqual((yield* sessions())[0]?.place, placeAt(text))
    }))
}

const together = (test: Test) => {
  test("tenants share nothing, though all their names are equal", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      const theirs = placeAt("a", rival)
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]), appendOf("r1", 1, "e1"))
      yield* commit(finishOf("r1", { m1: "answered" }, { attempt: 1, deliveries: ["d1"] }))
      yield* commit(acceptOf("m2", { ephemeral: false }))

      assert.strictEqual(yield* message("m1", rival), undefined)
      assert.deepStrictEqual(yield* entries(10, 0, theirs), [])
      assert.deepStrictEqual(yield* history(10, theirs), [])
      assert.deepStrictEqual(yield* open(rival), [])
      assert.deepStrictEqual(yield* log.open({ tenant: rival, session, limit: 9 }), [])
      assert.deepStrictEqual(yield* log.openSessions({ tenant: rival, limit: 9 }), [])
      assert.deepStrictEqual(yield* sessions(rival), [])
      assert.deepStrictEqual(yield* undelivered({ tenant: rival }), [])
      const { identity } = acceptOf("m1").message
      assert.strictEqual(yield* log.lookup({ tenant: rival, identity }), undefined)
      assert.strictEqual(yield* refusal({ ...startOf("r9", ["m2"]), place: theirs }), "Fenced")
      assert.strictEqual(yield* refusal(finishOf("r9", { m2: "answered" }, { at: theirs })), "Fenced")
      assert.strictEqual(yield* refusal({ ...appendOf("r1", 1, "e9"), place: theirs }), "Fenced")
      assert.strictEqual(yield* refusal(sendBegunOf("d1", theirs)), "Fenced")
      assert.isFalse((yield* commit(sendEndedOf("d1", "sent", theirs))).changed)
      assert.deepStrictEqual(yield* commit(deleteOf(theirs)), { existed: false, cancelled: [] })
      assert.strictEqual(yield* log.purge({ tenant: rival, before: 99_999 }), 0)

      const twin = yield* commit(acceptOf("m1", { at: theirs, text: "another text", ephemeral: true }))
      assert.deepStrictEqual(twin, {
        duplicate: false,
        started: false,
        dropped: [],
        notices: [],
        wrote: [],
        messageId: messageId("m1"),
        seq: 1,
        outcome: undefined
      })
      yield* commit(startOf("r1", ["m1"], theirs))
      yield* commit(finishOf("r1", { m1: "failed" }, { at: theirs, attempt: 1, deliveries: ["d1"] }))
      assert.strictEqual((yield* message("m1"))?.message.outcome, "answered")
      assert.strictEqual((yield* message("m1", rival))?.message.outcome, "failed")
      assert.strictEqual(yield* log.purge({ tenant: rival, before: 99_999 }), 1)
      assert.strictEqual((yield* entries()).length, 4)
      assert.strictEqual((yield* undelivered()).length, 1)
    }))

  test("two projects of one organisation share nothing either", () =>
    Effect.gen(function* () {
      const other = placeAt("a", { org: "acme", project: "blog" })
      yield* commitAll(acceptOf("m1"), acceptOf("m1", { at: other, text: "other" }))

      assert.strictEqual((yield* message("m1"))?.message.body.text, "text of m1")
      assert.strictEqual((yield* message("m1", other.tenant))?.message.body.text, "other")
    }))

  test("two hundred messages at once on twenty sessions: each seq once, none lost", () =>
    Effect.gen(function* () {
      const accepted = yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) => commit(acceptOf(`m${n}`, { at: placeAt(`s${n % 20}`) })),
        { concurrency: "unbounded" }
      )

      assert.strictEqual(accepted.filter(({ duplicate }) => !duplicate).length, 200)
      for (let n = 0; n < 20; n++) {
        const seqs = (yield* entries(100, 0, placeAt(`s${n}`))).map(({ seq }) => seq)
        assert.deepStrictEqual(seqs, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      }
      assert.strictEqual((yield* open(tenant, 1000)).length, 200)
    }))

  test("the same message many times at once is stored once", () =>
    Effect.gen(function* () {
      const accepted = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => n),
        (n) => commit(acceptOf(`m${n}`, { text: "same", identity: { externalId: "one" } })),
        { concurrency: "unbounded" }
      )

      assert.strictEqual(accepted.filter(({ duplicate }) => !duplicate).length, 1)
      assert.deepStrictEqual([...new Set(accepted.map((one) => one.seq))], [1])
    }))

  test("a unit that is refused among others leaves them alone", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m0"))
      const units: ReadonlyArray<Unit> = [
        acceptOf("m1"),
        acceptOf("m0", { text: "other" }),
        appendOf("none", 1, "e"),
        acceptOf("m2"),
        acceptOf("m3", { cap: 1 }),
        startOf("r1", ["m0", "unknown"]),
        startOf("r2", ["m1"]),
        acceptOf("m4")
      ]
      const results = yield* Effect.forEach(units, (unit) => Effect.result(commit(unit)), {
        concurrency: "unbounded"
      })

      assert.deepStrictEqual(
        results.map((one) => (one._tag === "Failure" ? one.failure.reason._tag : "stored")),
        ["stored", "IdReused", "Fenced", "stored", "SessionFull", "Fenced", "stored", "stored"]
      )
      assert.deepStrictEqual(texts(yield* entries()), [
        "text of m0",
        "text of m1",
        "text of m2",
        "text of m4"
      ])
      assert.deepStrictEqual(texts(yield* history()), ["text of m1"])
    }))

  test("of two endings at once exactly one takes effect", () =>
    Effect.gen(function* () {
      yield* commitAll(acceptOf("m1"), startOf("r1", ["m1"]))
      const results = yield* Effect.forEach(
        [
          finishOf("r1", { m1: "cancelled" }, { entries: [] }),
          finishOf("r1", { m1: "answered" }, { attempt: 1, deliveries: ["d1"] })
        ],
        (unit) => Effect.result(commit(unit)),
        { concurrency: "unbounded" }
      )

      assert.deepStrictEqual(
        results.map((one) => one._tag),
        ["Success", "Failure"]
      )
      assert.strictEqual((yield* message("m1"))?.message.outcome, "cancelled")
      assert.deepStrictEqual(yield* undelivered(), [])
    }))

  test("of twenty at once for which there is one place, one takes it, and all are told who did", () =>
    Effect.gen(function* () {
      const twenty = Array.from({ length: 20 }, (_, n) => n)
      const atOnce = <U extends Unit>(unitOf: (n: number) => U) =>
        Effect.forEach(twenty, (n) => Effect.result(commit(unitOf(n))), { concurrency: "unbounded" })
      const tagOf = (result: Effect.Success<ReturnType<typeof atOnce>>[number]) =>
        result._tag === "Success" ? "stored" : result.failure.reason._tag
      const times = (words: ReadonlyArray<unknown>, word: unknown) =>
        words.filter((one) => one === word).length

      const accepted = yield* atOnce((n) => acceptOf(`m${n}`, { cap: 5, start: `r-m${n}` }))
      const started = accepted.filter((one) => one._tag === "Success" && one.success.started)
      const stored = accepted.flatMap((one) => (one._tag === "Success" ? one.success : []))
      const id = stored.find((one) => one.started)!.messageId
      const run = `r-${id}`
      assert.deepStrictEqual([started.length, stored.length], [1, 5])
      assert.strictEqual(times(accepted.map(tagOf), "SessionFull"), 15)
      assert.deepStrictEqual(
        stored.map(({ seq }) => seq).toSorted((a, b) => a - b),
        [1, 2, 3, 4, 5]
      )

      const attempts = (yield* atOnce(() => startOf(run, [id]))).flatMap((one) =>
        one._tag === "Success" ? one.success.attempt : []
      )
      assert.deepStrictEqual(
        attempts.toSorted((a, b) => a - b),
        twenty.map((n) => n + 2)
      )
      yield* commit(parkOf(run, 21, "p1"))
      const decisions = yield* atOnce((n) => decideOf("p1", n % 2 === 0 ? "approved" : "denied"))
      const decided = decisions.flatMap((one) => (one._tag === "Success" ? one.success : []))
      assert.strictEqual(decided.filter(({ changed }) => changed).length, 1)
      assert.strictEqual(new Set(decided.map(({ state }) => state)).size, 1)

      const ended = yield* atOnce((n) =>
        finishOf(
          run,
          { [id]: "answered" },
          {
            attempt: 21,
            entries: [{ id: `a${n}`, entry: assistant(`answer ${n}`) }],
            deliveries: [`d${n}`]
          }
        )
      )
      assert.deepStrictEqual([times(ended.map(tagOf), "stored"), times(ended.map(tagOf), "Fenced")], [1, 19])
      const [delivery] = yield* undelivered()
      assert.strictEqual(delivery?.id, `d${ended.findIndex((one) => one._tag === "Success")}`)
      const sends = yield* atOnce((n) => sendEndedOf(delivery!.id, n % 2 === 0 ? "sent" : "dead"))
      assert.strictEqual(sends.filter((one) => one._tag === "Success" && one.success.changed).length, 1)

      const forks = yield* atOnce(() => forkOf(placeAt("b")))
      assert.deepStrictEqual(
        [times(forks.map(tagOf), "stored"), times(forks.map(tagOf), "SessionTaken")],
        [1, 19]
      )
      assert.strictEqual((yield* history(100, placeAt("b"))).length, (yield* history()).length)
    }))

  test("a caller that is interrupted while it waits does not undo its unit", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(commit(acceptOf("m1")), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* commit(acceptOf("m2"))

      assert.deepStrictEqual(texts(yield* entries()), ["text of m1", "text of m2"])
      assert.isTrue((yield* commit(acceptOf("m1"))).duplicate)
    }))
}

const blockOf = (run: string, attempt: number, source: string, ids: ReadonlyArray<string>): Block => ({
  _tag: "Block",
  place,
  runId: runId(run),
  attempt,
  source,
  deliveries: ids.map((id) => ({ id: deliveryId(id), route, text: `text of ${id}` })),
  at: 2500
})

const streaming = (test: Test) => {
  test("blocks go out in the order they were committed, before the answer's own parts", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1", { start: "r1" }))
      const first = yield* commit(blockOf("r1", 1, "One. ", ["z"]))
      const second = yield* commit(blockOf("r1", 1, "Two. ", ["y", "x"]))
      yield* commit({
        ...appendOf("r1", 1, "e1"),
        deliveries: [{ id: deliveryId("w"), route, text: "text of w" }]
      })
      const third = yield* commit(blockOf("r1", 1, "Three. ", ["v"]))
      yield* commit(
        finishOf(
          "r1",
          { m1: "answered" },
          { attempt: 1, entries: [{ id: "a1", entry: assistant("Three. Four.") }], deliveries: ["u"] }
        )
      )
      const rows = yield* undelivered()

      assert.deepStrictEqual(
        [first, second, third],
        [
          { seq: 1, part: 1_000_000 },
          { seq: 1, part: 1_000_001 },
          { seq: 2, part: 1_000_003 }
        ]
      )
      assert.deepStrictEqual(
        rows.map((row) => [row.id, row.seq, row.part]),
        [
          ["z", 1, 1_000_000],
          ["y", 1, 1_000_001],
          ["x", 1, 1_000_002],
          ["w", 2, 0],
          ["v", 2, 1_000_003],
          ["u", 3, 0]
        ]
      )
    }))

  test("a later attempt is told what was sent of the step it takes again, and only of that", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit({ ...blockOf("r1", 1, "Let me look.\n", ["b1"]), draft: "post-7" })
      yield* commit(blockOf("r1", 1, "\u{1F600} really", ["b2"]))
      const running = yield* log.message({ tenant, id: messageId("m1") })
      const second = yield* commit(startOf("r1", ["m1"]))
      yield* commit(appendOf("r1", 2, "e1"))
      const third = yield* commit(startOf("r1", ["m1"]))
      yield* commit(finishOf("r1", { m1: "answered" }, { attempt: 3 }))
      const ended = yield* log.message({ tenant, id: messageId("m1") })

      const streamed = { text: "Let me look.\n\u{1F600} really", parts: 2, draft: "post-7" }
      assert.deepStrictEqual(running?.run?.streamed, streamed)
      assert.deepStrictEqual(second, { attempt: 2, attemptsWithoutProgress: 2, decided: [], streamed })
      assert.deepStrictEqual(third, {
        attempt: 3,
        attemptsWithoutProgress: 1,
        decided: [],
        streamed: { ...streamed, text: "" }
      })
      assert.isUndefined(ended?.run?.streamed)
    }))

  test("a block of an earlier attempt, of an ended run or of another session is fenced and not sent", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1", { start: "r1" }))
      yield* commit(startOf("r1", ["m1"]))
      const late = yield* Effect.flip(commit(blockOf("r1", 1, "a", ["b1"])))
      const elsewhere = yield* Effect.flip(
        commit({ ...blockOf("r1", 2, "a", ["b2"]), place: placeAt("elsewhere") })
      )
      yield* commit(finishOf("r1", { m1: "answered" }, { attempt: 2 }))
      const after = yield* Effect.flip(commit(blockOf("r1", 2, "a", ["b3"])))

      for (const error of [late, elsewhere, after]) assert.strictEqual(error.reason._tag, "Fenced")
      assert.deepStrictEqual(yield* undelivered(), [])
    }))

  test("a delivery may change a message that is there", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m1", { start: "r1" }))
      const finish = finishOf("r1", { m1: "answered" }, { attempt: 1, deliveries: ["d1", "d2"] })
      yield* commit({
        ...finish,
        deliveries: finish.deliveries.map((one, part) => (part === 0 ? { ...one, edits: "post-7" } : one))
      })

      assert.deepStrictEqual(
        (yield* undelivered()).map(({ id, edits }) => [id, edits]),
        [
          ["d1", "post-7"],
          ["d2", undefined]
        ]
      )
    }))
}

const day = 86_400_000
const used = (input: number, costMicros?: number): Usage => ({
  inputTokens: input,
  outputTokens: 1,
  cachedTokens: 2,
  estimated: costMicros === undefined,
  ...(costMicros === undefined ? {} : { costMicros })
})
const sumOf = (query: Omit<Parameters<MessageLog["Service"]["usage"]>[0], "tenant" | "limit">) =>
  MessageLog.use((log) => log.usage({ tenant, limit: 100, ...query }))

/** Two sessions of two people on two days, one call without a price. */
const spend = Effect.gen(function* () {
  const other = placeAt("b")
  yield* commit(acceptOf("m1", { start: "r1" }))
  yield* commit(acceptOf("m2", { start: "r2", at: other }))
  const call = (at: Place, run: string, id: string, sender: string, model: string) => ({
    ...appendOf(run, 1, id),
    place: at,
    spending: { sender, model }
  })
  yield* commit({ ...call(place, "r1", "e1", "ann", "p/big"), usage: used(10, 500), at: 3 * day })
  yield* commit({ ...call(place, "r1", "e2", "bob", "p/small"), usage: used(20, 40), at: 4 * day - 1 })
  yield* commit({ ...call(other, "r2", "e3", "ann", "p/new"), usage: used(30), at: 4 * day })
  // Not a model call: its usage is the run's, and counted for nobody.
  yield* commit({ ...appendOf("r1", 1, "e4", toolResult("c1")), usage: zero, at: 4 * day })
  yield* commit({
    ...finishOf("r2", { m2: "answered" }, { attempt: 1, at: other, time: 4 * day + 5 }),
    usage: used(40, 7),
    spending: { sender: "ann", model: "p/small" }
  })
})
const row = (
  key: string,
  calls: number,
  inputTokens: number,
  costMicros: number,
  unpricedCalls = 0
): UsageRow => ({
  key,
  calls,
  estimatedCalls: unpricedCalls,
  inputTokens,
  outputTokens: calls,
  cachedTokens: 2 * calls,
  costMicros,
  unpricedCalls
})

const spending = (test: Test) => {
  test("usage is summed by day, agent, session, sender and model; what has no price is counted apart", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* sumOf({ by: "total" }), [])
      yield* spend

      const [a, b] = [place.session, placeAt("b").session]
      assert.deepStrictEqual(yield* sumOf({ by: "total" }), [row("", 4, 100, 547, 1)])
      assert.deepStrictEqual(yield* sumOf({ by: "day" }), [row("4", 2, 70, 7, 1), row("3", 2, 30, 540)])
      assert.deepStrictEqual(yield* sumOf({ by: "agent" }), [row("main", 4, 100, 547, 1)])
      assert.deepStrictEqual(yield* sumOf({ by: "session" }), [row(a, 2, 30, 540), row(b, 2, 70, 7, 1)])
      assert.deepStrictEqual(yield* sumOf({ by: "sender" }), [
        row("ann", 3, 80, 507, 1),
        row("bob", 1, 20, 40)
      ])
      assert.deepStrictEqual(yield* sumOf({ by: "model" }), [
        row("p/big", 1, 10, 500),
        row("p/small", 2, 60, 47),
        row("p/new", 1, 30, 0, 1)
      ])
    }))

  test("sums are of what was asked for: a session, a sender, a model, days, a tenant", () =>
    Effect.gen(function* () {
      yield* spend
      const log = yield* MessageLog

      assert.deepStrictEqual(yield* sumOf({ by: "total", session: placeAt("b").session }), [
        row("", 2, 70, 7, 1)
      ])
      assert.deepStrictEqual(yield* sumOf({ by: "day", sender: "ann", toDay: 3 }), [row("3", 1, 10, 500)])
      assert.deepStrictEqual(yield* sumOf({ by: "total", fromDay: 4, toDay: 4, model: "p/small" }), [
        row("", 1, 40, 7)
      ])
      assert.deepStrictEqual(yield* sumOf({ by: "total", agent: "nobody" }), [])
      const rival = { org: "rival", project: "shop" }
      assert.deepStrictEqual(yield* log.usage({ tenant: rival, by: "total", limit: 1 }), [])
      assert.lengthOf(yield* log.usage({ tenant, by: "model", limit: 2 }), 2)
    }))

  test("what a deleted session spent stays counted, without its name and its senders'", () =>
    Effect.gen(function* () {
      yield* spend
      yield* commit({ _tag: "DeleteSession", place, at: 5 * day })
      yield* commit({ _tag: "DeleteSession", place: placeAt("b"), at: 5 * day })

      assert.deepStrictEqual(yield* sumOf({ by: "total" }), [row("", 4, 100, 547, 1)])
      assert.deepStrictEqual(yield* sumOf({ by: "session" }), [row("", 4, 100, 547, 1)])
      assert.deepStrictEqual(yield* sumOf({ by: "sender" }), [row("", 4, 100, 547, 1)])
      assert.lengthOf(yield* sumOf({ by: "day" }), 2)
    }))

  test("money of a run is known when that of all its calls is", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* spend
      const known = yield* log.message({ tenant, id: messageId("m1") })
      const unknown = yield* log.message({ tenant, id: messageId("m2") })

      assert.isUndefined(unknown?.run?.usage.costMicros)
      assert.strictEqual(unknown?.run?.usage.inputTokens, 70)
      assert.strictEqual(known?.run?.usage.costMicros, 540)
    }))
}

const forkOf = (to: Place, options: { readonly from?: SessionKey; readonly atSeq?: number } = {}) =>
  ({
    _tag: "Fork",
    place: to,
    from: options.from ?? session,
    ...(options.atSeq === undefined ? {} : { atSeq: options.atSeq }),
    at: 7000
  }) as const
/** Messages that are answered one after the other. */
const talk = (ids: ReadonlyArray<string>, at: Place = place) =>
  Effect.forEach(ids, (id) =>
    commitAll(
      acceptOf(id, { at, start: `r-${id}` }),
      finishOf(`r-${id}`, { [id]: "answered" }, { at, attempt: 1 })
    )
  )
const said = (...ids: ReadonlyArray<string>) => ids.flatMap((id) => [`text of ${id}`, `answer of r-${id}`])
const numbered = (rows: ReadonlyArray<{ readonly seq: number; readonly order: number | undefined }>) =>
  rows.map(({ seq, order }) => [seq, order])
const forkKeys = (of: Place = place) =>
  MessageLog.use((log) => log.forks({ tenant: of.tenant, session: of.session, limit: 10 }))

const forking = (test: Test) => {
  const b = placeAt("b")
  const c = placeAt("c")

  test("a fork begins with what was said up to a turn, goes on behind it, and leaves the original as it is", () =>
    Effect.gen(function* () {
      yield* talk(["m1", "m2", "m3"])
      const before = yield* Effect.all([history(), entries(), sessions()])
      const { seq } = yield* commit(forkOf(b, { atSeq: 3 }))
      const shared = yield* history(100, b)

      assert.strictEqual(seq, 4)
      assert.deepStrictEqual(shared, before[0].slice(0, 4))
      assert.deepStrictEqual(yield* entries(100, undefined, b), before[1].slice(0, 4))
      yield* talk(["n1"], b)
      yield* talk(["m4"])
      const rows = yield* history(100, b)
      assert.deepStrictEqual(rows.slice(0, 4), shared)
      assert.deepStrictEqual(texts(rows), said("m1", "m2", "n1"))
      assert.deepStrictEqual(
        numbered(rows),
        [1, 2, 3, 4, 5, 6].map((n) => [n, n])
      )
      assert.deepStrictEqual(texts(yield* history()), said("m1", "m2", "m3", "m4"))
      const row = (yield* sessions()).find(({ place: { session: key } }) => key === b.session)
      assert.deepStrictEqual(row?.forkedFrom, { session, seq: 4 })
      assert.deepStrictEqual([row?.seq, row?.open, row?.title], [6, 0, undefined])
      assert.isUndefined((yield* sessions()).find(({ place: of }) => of.session === session)?.forkedFrom)
    }))

  test("pages of a fork, forwards and backwards, cross into what it shares, also when that is shared already", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* talk(["m1", "m2"])
      yield* commit(forkOf(b, { atSeq: 2 }))
      yield* talk(["n1", "n2"], b)
      yield* commit(forkOf(c, { from: b.session, atSeq: 4 }))
      yield* talk(["o1"], c)
      const of = { tenant, session: c.session }
      const forwards: Array<number> = []
      for (let afterSeq = 0; ; afterSeq = forwards.at(-1)!) {
        const page = yield* log.entries({ ...of, afterSeq, limit: 1 })
        if (page.length === 0) break
        forwards.push(page[0]!.seq)
      }

      assert.deepStrictEqual(forwards, [1, 2, 3, 4, 5, 6])
      assert.deepStrictEqual(texts(yield* history(100, c)), said("m1", "n1", "o1"))
      assert.deepStrictEqual(texts(yield* history(3, c)), said("m1", "n1", "o1").slice(-3))
      assert.deepStrictEqual(texts(yield* log.history({ ...of, afterOrder: 1, limit: 9 })).length, 5)
      const seqs = (rows: ReadonlyArray<{ readonly seq: number }>) => rows.map(({ seq }) => seq)
      assert.deepStrictEqual(seqs(yield* log.entries({ ...of, beforeSeq: 6, limit: 4 })), [2, 3, 4, 5])
      assert.deepStrictEqual(seqs(yield* log.entries({ ...of, beforeSeq: 3, limit: 4 })), [1, 2])
      assert.deepStrictEqual(seqs(yield* log.entries({ ...of, afterSeq: 1, beforeSeq: 6, limit: 2 })), [4, 5])
      assert.deepStrictEqual(seqs(yield* log.entries({ ...of, afterSeq: 1, limit: 2 })), [2, 3])
      assert.deepStrictEqual(seqs(yield* log.entries({ ...of, afterSeq: 6, limit: 2 })), [])
    }))

  test("a fork at a turn that is shared itself is one of the session that said it", () =>
    Effect.gen(function* () {
      yield* talk(["m1", "m2"])
      yield* commit(forkOf(b))
      yield* commit(forkOf(c, { from: b.session, atSeq: 1 }))
      const d = placeAt("d")
      yield* commit(forkOf(d, { from: c.session }))
      yield* commit(deleteOf(b))
      yield* commit(deleteOf(c))

      assert.deepStrictEqual(texts(yield* history(100, d)), said("m1"))
      assert.deepStrictEqual(yield* forkKeys(), [d.session])
    }))

  test("messages that wait, run or were cancelled are not in the fork, then and later", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* talk(["m1"])
      yield* commitAll(acceptOf("m2", { start: "r-m2" }), acceptOf("m3"), acceptOf("m4"))
      yield* commit(appendOf("r-m2", 1, "e1"))
      yield* commit(finishOf("r-m3", { m3: "cancelled" }, { entries: [] }))
      yield* commit(forkOf(b))
      yield* commit(finishOf("r-m2", { m2: "answered" }, { attempt: 1 }))
      yield* commit(startOf("r-m4", ["m4"]))
      yield* commit(forkOf(c, { atSeq: 3 }))

      assert.deepStrictEqual(texts(yield* entries(100, undefined, b)), said("m1"))
      assert.deepStrictEqual(yield* log.open({ tenant, session: b.session, limit: 9 }), [])
      assert.deepStrictEqual(texts(yield* entries(100, undefined, c)), texts(yield* history(100, c)))
      assert.deepStrictEqual(numbered(yield* entries(100, undefined, c)), [
        [1, 1],
        [2, 2],
        [3, 3],
        [6, 4],
        [7, 5]
      ])
    }))

  test("an answer that was cut off is none to fork at, though it is all that a steered message got", () =>
    Effect.gen(function* () {
      yield* talk(["m1"])
      yield* commitAll(acceptOf("m2", { start: "r-m2" }), acceptOf("m3"))
      const steering = { messageIds: [messageId("m3")], by: messageId("m2") }
      yield* commitAll(
        { ...appendOf("r-m2", 1, "e1"), steering },
        appendOf("r-m2", 1, "e2", toolResult("c1"))
      )
      const entry = { ...assistant("I was about"), partial: "failed" } as const
      yield* commit({
        ...finishOf("r-m2", { m2: "failed" }, { attempt: 1, entries: [{ id: "cut", entry }] }),
        steeredBefore: true
      })
      const cut = (yield* history(1))[0]
      const { seq } = yield* commit(forkOf(b))

      assert.deepStrictEqual([cut?.id, cut?.answers], ["cut", ["client-m3"]])
      assert.strictEqual(seq, 2)
      assert.deepStrictEqual(texts(yield* history(100, b)), said("m1"))
      for (const atSeq of [3, 4, cut?.seq ?? 0])
        assert.strictEqual(yield* refusal(forkOf(c, { atSeq })), "NoSuchTurn")
    }))

  test("what a fork shares keeps its ids, client ids, answers and timeline", () =>
    Effect.gen(function* () {
      yield* talk(["m1"])
      const before = yield* message("m1")
      yield* commit(forkOf(b))
      const [asked, answer] = yield* entries(100, undefined, b)

      assert.deepStrictEqual(yield* message("m1"), before)
      assert.deepStrictEqual([asked?.id, asked?.messageId, asked?.clientId], ["m1", "m1", "client-m1"])
      assert.deepStrictEqual([answer?.id, answer?.answers], ["answer-r-m1", ["client-m1"]])
    }))

  test("a fork keeps the queue's settings and the words of its original, and spends from nothing", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* talk(["m1"])
      yield* commit({ _tag: "KeepQueue", place, overrides: { mode: "steer" }, at: 1 })
      yield* commit({ _tag: "KeepSetting", place, name: "model", value: "p/big", at: 1 })
      yield* commit({ _tag: "RenameSession", place, title: "one", at: 1 })
      const kept = yield* commit(forkOf(b))
      yield* commit({ _tag: "KeepSetting", place, name: "model", value: undefined, at: 2 })

      assert.deepStrictEqual([kept.queue, kept.settings], [{ mode: "steer" }, { model: "p/big" }])
      assert.deepStrictEqual(yield* log.settings({ tenant, name: "model", limit: 9 }), [
        { session: b.session, value: "p/big" }
      ])
      assert.deepStrictEqual(
        (yield* log.queues({ tenant, limit: 9 })).map(({ session: key }) => key),
        [session, b.session]
      )
      assert.deepStrictEqual(yield* sumOf({ by: "total", session: b.session }), [])
    }))

  test("a session whose words forks share is neither deleted nor purged before them", () =>
    Effect.gen(function* () {
      const log = yield* MessageLog
      yield* talk(["m1"])
      yield* commit(forkOf(b))
      yield* commit(forkOf(c, { from: b.session }))
      const { reason } = yield* Effect.flip(commit(deleteOf()))
      const stale = { tenant, before: 7000, listed: true } as const

      assert.deepStrictEqual(reason._tag === "SessionShared" ? reason.forks : reason._tag, [
        b.session,
        c.session
      ])
      assert.strictEqual(yield* log.purge(stale), 0)
      assert.deepStrictEqual(texts(yield* history(100, b)), said("m1"))
      yield* commit(deleteOf(b))
      assert.strictEqual(yield* refusal(deleteOf()), "SessionShared")
      assert.strictEqual(yield* log.purge({ ...stale, before: 7001 }), 2)
      assert.isUndefined(yield* message("m1"))
      assert.deepStrictEqual(yield* sessions(), [])
    }))

  test("there must be such a session and such a turn, and nobody else's key", () =>
    Effect.gen(function* () {
      yield* commit(acceptOf("m0", { at: c, ephemeral: true, start: "r-m0" }))
      yield* commit(finishOf("r-m0", { m0: "answered" }, { at: c, attempt: 1 }))
      yield* commit(acceptOf("m1", { start: "r-m1" }))

      assert.strictEqual(yield* refusal(forkOf(b, { from: sessionKey("none") })), "NoSuchSession")
      assert.strictEqual(yield* refusal(forkOf(b, { from: c.session })), "NoSuchSession")
      assert.strictEqual(yield* refusal(forkOf(placeAt("b", rival))), "NoSuchSession")
      assert.strictEqual(yield* refusal(forkOf(b)), "NoSuchTurn")
      yield* commit(finishOf("r-m1", { m1: "cancelled" }, { attempt: 1 }))
      assert.strictEqual(yield* refusal(forkOf(b, { atSeq: 1 })), "NoSuchTurn")
      yield* talk(["m2"])
      assert.strictEqual(yield* refusal(forkOf(b, { atSeq: 99 })), "NoSuchTurn")
      assert.strictEqual(yield* refusal(forkOf(place)), "SessionTaken")
      assert.strictEqual(yield* refusal(forkOf(c)), "SessionTaken")
      yield* commit(forkOf(b))
      yield* commit(acceptOf("m3", { at: b }))
      assert.strictEqual(yield* refusal(forkOf(placeAt("d"), { from: b.session, atSeq: 5 })), "NoSuchTurn")
    }))
}
