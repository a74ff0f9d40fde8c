/**
 * What holds for every member of a MessageLog, whatever it is built on. Each adapter runs it beside the contract.
 *
 * Each read, each unit and each refusal stands in a table of all there are: a new one does not compile until it is in it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { approvalId, deliveryId, messageId, runId } from "#src/domain/Ids.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { type LogError, MessageLog, type Place, type Unit, type UsageBy } from "#src/horizons/MessageLog.ts"
import {
  acceptOf,
  acme,
  appendOf,
  decideOf,
  finishOf,
  parkOf,
  placeAt,
  route,
  startOf,
  toolResult
} from "./MessageLog.contract.ts"

type Log = MessageLog["Service"]
/** `tenants` is asked of all of them at once. */
type Read = Exclude<keyof Log, "commit" | "broken" | "tenants">
type UnitOf<Tag extends Unit["_tag"]> = Extract<Unit, { readonly _tag: Tag }>
type Reason = LogError["reason"]["_tag"]
type StoreReason = Extract<Reason, `Store${string}`>

const kinds = [
  "total",
  "day",
  "agent",
  "session",
  "sender",
  "model"
] as const satisfies ReadonlyArray<UsageBy>

/** Every question that can be asked of a tenant's log, about what `story` tells. The last two of them remove something. */
export const everyRead: {
  readonly [Name in Read]: (tenant: Tenant) => ReadonlyArray<Parameters<Log[Name]>[0]>
} = {
  open: (tenant) => [
    { tenant, limit: 9 },
    { tenant, session: placeAt("a").session, limit: 9 },
    { tenant, session: placeAt("a").session, afterSeq: 1, limit: 9 }
  ],
  openSessions: (tenant) => [
    { tenant, limit: 9 },
    { tenant, after: placeAt("0").session, limit: 9 }
  ],
  history: (tenant) =>
    ["a", "b", "c"].flatMap((name) => [
      { tenant, session: placeAt(name).session, limit: 9 },
      { tenant, session: placeAt(name).session, afterOrder: 1, limit: 9 }
    ]),
  entries: (tenant) =>
    ["a", "b", "c"].flatMap((name) => [
      { tenant, session: placeAt(name).session, limit: 9 },
      { tenant, session: placeAt(name).session, afterSeq: 1, limit: 9 },
      { tenant, session: placeAt(name).session, beforeSeq: 99, limit: 9 }
    ]),
  message: (tenant) => [
    { tenant, id: messageId("m1") },
    { tenant, id: messageId("m2") }
  ],
  lookup: (tenant) => [{ tenant, identity: acceptOf("m1").message.identity }],
  undelivered: (tenant) => {
    const { session } = placeAt("a")
    const filters = [{}, { session }, { channel: "web" }, { createdAfter: 1 }, { session, createdAfter: 1 }]
    return filters.map((filter) => ({ tenant, limit: 9, ...filter }))
  },
  approvals: (tenant) => [
    { tenant, limit: 9 },
    { tenant, session: placeAt("a").session, limit: 9 },
    { tenant, id: approvalId("p1"), limit: 9 }
  ],
  forks: (tenant) => [{ tenant, session: placeAt("a").session, limit: 9 }],
  sessions: (tenant) => [
    { tenant, limit: 9 },
    { tenant, key: placeAt("b").session, limit: 9 }
  ],
  journal: (tenant) => [
    { tenant, session: placeAt("a").session, limit: 9 },
    { tenant, session: placeAt("a").session, afterSeq: 1, limit: 9 }
  ],
  settings: (tenant) => [
    { tenant, name: "model", limit: 9 },
    { tenant, name: "model", after: placeAt("0").session, limit: 9 }
  ],
  queues: (tenant) => [
    { tenant, limit: 9 },
    { tenant, after: placeAt("0").session, limit: 9 }
  ],
  usage: (tenant) => [
    ...kinds.map((by) => ({ tenant, by, limit: 9 })),
    { tenant, by: "day", fromDay: 0, toDay: 1, limit: 9 },
    { tenant, by: "total", session: placeAt("a").session, limit: 9 },
    { tenant, by: "total", agent: "main", limit: 9 },
    { tenant, by: "day", sender: "ann", limit: 9 },
    { tenant, by: "day", model: "p/big", limit: 9 }
  ],
  purgeOld: (tenant) => [
    { tenant, of: "journal", before: 2 },
    { tenant, of: "deliveries", before: 9000 }
  ],
  purge: (tenant) => [{ tenant, before: 5000 }]
}

const askedOf = (log: Log, name: Read, tenant: Tenant) => {
  const read = log[name] as (query: unknown) => Effect.Effect<unknown, LogError>
  return Effect.forEach(everyRead[name](tenant), (query) => read(query))
}
const changing: ReadonlyArray<string> = ["purge", "purgeOld"] satisfies ReadonlyArray<Read>
const names = Object.keys(everyRead) as ReadonlyArray<Read>

/** All that can be read of a tenant. */
const everything = (log: Log, tenant: Tenant) =>
  Effect.map(
    Effect.forEach(
      names.filter((name) => !changing.includes(name)),
      (name) => Effect.map(askedOf(log, name, tenant), (answers) => [name, answers] as const)
    ),
    Object.fromEntries
  )

/** Something that every read finds: a session with an answer, a run that waits for a person, one fork, and a fork of that. */
export const story = (tenant: Tenant = acme): ReadonlyArray<Unit> => {
  const [a, b, c] = ["a", "b", "c"].map((name) => placeAt(name, tenant)) as [Place, Place, Place]
  const brief = placeAt("brief", tenant)
  return [
    acceptOf("m1", { at: a, start: "r1", cursor: "1" }),
    { ...appendOf("r1", 1, "e1"), place: a, spending: { model: "p/big", sender: "ann" } },
    everyUnit.Block(a),
    parkOf("r1", 1, "p1", { at: a, delivery: "q1" }),
    decideOf("p1", "approved", a),
    startOf("r1", ["m1"], a),
    { ...appendOf("r1", 2, "e2", toolResult("c1")), place: a },
    acceptOf("m2", { at: a }),
    finishOf("r1", { m1: "answered" }, { at: a, attempt: 2, deliveries: ["d1", "d2"] }),
    everyUnit.SendBegun(a),
    everyUnit.SendEnded(a),
    everyUnit.RenameSession(a),
    everyUnit.KeepQueue(a),
    everyUnit.KeepSetting(a),
    ...[1, 2].map((at) => ({ ...everyUnit.KeepJournal(a), at })),
    { _tag: "Fork", place: b, from: a.session, at: 1 },
    acceptOf("n1", { at: b, start: "r-n1" }),
    finishOf("r-n1", { n1: "answered" }, { at: b, attempt: 1 }),
    { _tag: "Fork", place: c, from: b.session, at: 1 },
    startOf("r2", ["m2"], a),
    { ...appendOf("r2", 1, "e3"), place: a },
    parkOf("r2", 1, "p2", { at: a }),
    acceptOf("brief", { at: brief, ephemeral: true, start: "r-brief" }),
    finishOf("r-brief", { brief: "answered" }, { at: brief, attempt: 1 })
  ]
}

/** One of every kind of unit, each with names that `story` uses too. */
export const everyUnit: { readonly [Tag in Unit["_tag"]]: (place: Place) => UnitOf<Tag> } = {
  Accept: (place) => acceptOf("m1", { at: place, start: "r1", text: "another text", cursor: "2" }),
  Start: (place) => startOf("r2", ["m2"], place),
  Append: (place) => ({ ...appendOf("r2", 1, "e9"), place, spending: { model: "p/big", sender: "ann" } }),
  Park: (place) => parkOf("r2", 1, "p9", { at: place, delivery: "q9" }),
  Decide: (place) => decideOf("p2", "denied", place),
  Block: (place) => ({
    _tag: "Block",
    place,
    runId: runId("r1"),
    attempt: 1,
    source: "said so far",
    deliveries: [{ id: deliveryId("b1"), route, text: "said so far" }],
    draft: "post-1",
    at: 3200
  }),
  Finish: (place) => finishOf("r2", { m2: "cancelled" }, { at: place, deliveries: ["d9"] }),
  SendBegun: (place) => ({ _tag: "SendBegun", place, deliveryId: deliveryId("d1"), at: 5000 }),
  SendEnded: (place) => ({
    _tag: "SendEnded",
    place,
    deliveryId: deliveryId("d1"),
    state: "sent",
    receipt: "r",
    detail: "it arrived",
    at: 6000
  }),
  Fork: (place) => ({ _tag: "Fork", place: placeAt("d", place.tenant), from: place.session, at: 7000 }),
  DeleteSession: (place) => ({ _tag: "DeleteSession", place: placeAt("c", place.tenant), at: 9000 }),
  RenameSession: (place) => ({ _tag: "RenameSession", place, title: "a title", at: 9000 }),
  KeepQueue: (place) => ({ _tag: "KeepQueue", place, overrides: { mode: "steer", cap: 7 }, at: 9000 }),
  KeepSetting: (place) => ({ _tag: "KeepSetting", place, name: "model", value: "p/big", at: 9000 }),
  KeepJournal: (place) => ({ _tag: "KeepJournal", place, records: "[1]", at: 9000 })
}
const tags = Object.keys(everyUnit) as ReadonlyArray<Unit["_tag"]>

/** What a unit is refused for, by the log itself; what the store is refused for is each adapter's own. */
const everyRefusal: { readonly [Tag in Exclude<Reason, StoreReason>]: Unit } = {
  IdReused: acceptOf("m1", { text: "another text" }),
  SessionFull: acceptOf("m3", { cap: 1 }),
  Fenced: { ...appendOf("r1", 2, "late") },
  NoSuchSession: { _tag: "Fork", place: placeAt("d"), from: placeAt("nobody").session, at: 1 },
  NoSuchTurn: { _tag: "Fork", place: placeAt("d"), from: placeAt("a").session, atSeq: 999, at: 1 },
  SessionTaken: { _tag: "Fork", place: placeAt("b"), from: placeAt("a").session, at: 1 },
  SessionShared: { _tag: "DeleteSession", place: placeAt("a"), at: 1 }
}

/** Words that mean something to the log, nothing and numbers among them; every other string is somebody's name or text. */
const ownWords = new Set<string>([
  "",
  "0",
  ...tags,
  ...kinds,
  "user",
  "assistant",
  "tool",
  "notice",
  "ok",
  "partial",
  "web",
  "model",
  "owner",
  "old",
  "new",
  "steer",
  "answered",
  "cancelled",
  "approved",
  "denied",
  "pending",
  "running",
  "ended",
  "sending",
  "sent"
])
/** Under these keys stand texts, under any other names. */
const textKeys = new Set(["entry", "body", "text", "title", "source", "draft", "streamed", "value"])
const textKeysOfApprovals = new Set(["callId", "tool", "arguments"])

interface Spelling {
  readonly name: (name: string) => string
  readonly text: (text: string) => string
}
/** The same value with everybody's names and texts in another spelling. */
const spelled = <A>(value: A, spelling: Spelling): A => {
  const other = (part: unknown, inText = false): unknown => {
    if (typeof part === "string")
      return ownWords.has(part) ? part : inText ? spelling.text(part) : spelling.name(part)
    if (Array.isArray(part)) return part.map((one) => other(one, inText))
    if (typeof part !== "object" || part === null) return part
    const isApproval = "expiresAt" in part
    return Object.fromEntries(
      Object.entries(part).map(([name, one]) => {
        const isOwnText = textKeys.has(name) || (isApproval && textKeysOfApprovals.has(name))
        return [name, other(one, name !== "sender" && (inText || isOwnText))]
      })
    )
  }
  return other(value) as A
}

type Listing = Exclude<Read, "message" | "lookup" | "purge" | "purgeOld">
type Row = Readonly<Record<string, unknown>>
interface Paged {
  readonly query: Row
  /** Where the next page begins, from the last row of the one before; absent where there is only a limit. */
  readonly next?: (last: Row) => Row
  /** The newest rows are given, not the first. */
  readonly isFromEnd?: true
}
const crowded = placeAt("crowded").session
const bySeq = ({ seq }: Row) => ({ afterSeq: seq })
const bySession = ({ session }: Row) => ({ after: session })

/** How each listing is read page by page, of what `crowd` tells. */
const everyListing: { readonly [Name in Listing]: ReadonlyArray<Paged> } = {
  open: [{ query: {} }, { query: { session: crowded }, next: bySeq }],
  openSessions: [{ query: {}, next: bySession }],
  history: [{ query: { session: crowded }, isFromEnd: true }],
  entries: [
    { query: { session: crowded }, next: bySeq },
    { query: { session: crowded, beforeSeq: 1000 }, isFromEnd: true }
  ],
  undelivered: [{ query: {} }, { query: { channel: "web" } }],
  approvals: [{ query: {} }],
  forks: [{ query: { session: crowded } }],
  sessions: [{ query: {} }],
  journal: [{ query: { session: crowded }, next: bySeq }],
  settings: [{ query: { name: "model" }, next: bySession }],
  queues: [{ query: {}, next: bySession }],
  usage: [{ query: { by: "session" } }, { query: { by: "model" } }]
}

/** At least four of everything that is listed. */
const crowd: ReadonlyArray<Unit> = [1, 2, 3, 4].flatMap((n): ReadonlyArray<Unit> => {
  const own = placeAt(`s${n}`)
  const place = placeAt("crowded")
  return [
    acceptOf(`a${n}`, { at: place, start: `ra${n}` }),
    finishOf(`ra${n}`, { [`a${n}`]: "answered" }, { at: place, attempt: 1 }),
    { _tag: "Fork", place: placeAt(`fork${n}`), from: crowded, at: n },
    { ...everyUnit.KeepJournal(place), at: n },
    acceptOf(`m${n}`, { at: own, start: `r${n}`, time: 1000 * n }),
    { ...appendOf(`r${n}`, 1, `e${n}`), place: own, spending: { model: `p/${n}`, sender: "ann" } },
    parkOf(`r${n}`, 1, `p${n}`, { at: own, delivery: `q${n}`, time: 4000 + n }),
    everyUnit.KeepQueue(own),
    everyUnit.KeepSetting(own)
  ]
})
const waiting = [1, 2, 3, 4].map((n) => acceptOf(`w${n}`, { at: placeAt("crowded") }))

const commitAll = (log: Log, units: ReadonlyArray<Unit>) =>
  Effect.forEach(units, (unit) => log.commit(unit), { discard: true })
/** What a unit comes to: what was committed, or why it was not. */
const endOf = (log: Log, unit: Unit) =>
  Effect.map(Effect.result(log.commit(unit)), (result) =>
    result._tag === "Success" ? { committed: result.success } : { refused: result.failure.reason._tag }
  )

/** Run the suite. `store` makes a fresh, empty log on each build. */
export const messageLogMembers = <E>(name: string, store: Layer.Layer<MessageLog, E>) =>
  describe(`${name} keeps the log's promises in every member`, () => {
    const empty = Effect.map(Layer.build(Layer.fresh(store)), Context.get(MessageLog))
    const told = (tenant?: Tenant) => Effect.tap(empty, (log) => commitAll(log, story(tenant)))

    const others: ReadonlyArray<Tenant> = [
      { org: "rival", project: acme.project },
      { org: acme.org, project: "blog" }
    ]

    it.effect("each read finds its own tenant's rows, and of another's, whose names are equal, none", () =>
      Effect.gen(function* () {
        const log = yield* told()
        const nothing = yield* empty
        for (const one of names) {
          const of = yield* Effect.forEach(others, (tenant) => askedOf(log, one, tenant))
          const blank = yield* Effect.forEach(others, (tenant) => askedOf(nothing, one, tenant))
          const mine = yield* askedOf(log, one, acme)
          const unmade = yield* askedOf(nothing, one, acme)

          assert.deepStrictEqual(of, blank, `${one} of another tenant`)
          mine.forEach((answer, index) =>
            assert.notDeepEqual(answer, unmade[index], `${one}, question ${index + 1}`)
          )
        }
      }).pipe(Effect.scoped)
    )

    it.effect("tells which tenants have something of a kind, by name, and of no other", () =>
      Effect.gen(function* () {
        const log = yield* empty
        const all = (of: Log) =>
          Effect.forEach(["open", "undelivered", "settings", "queues"] as const, (having) =>
            of.tenants({ having })
          )
        assert.deepStrictEqual(yield* all(log), [[], [], [], []])
        const rest = [{ org: "rival", project: "\u{1F600}" }, { org: "B", project: "b" }, ...others]
        for (const tenant of [acme, ...rest]) yield* commitAll(log, story(tenant))
        const sorted = [{ org: "B", project: "b" }, others[1]!, acme, others[0]!, rest[0]!]
        assert.deepStrictEqual(yield* all(log), [sorted, sorted, sorted, sorted])

        const few = yield* empty
        yield* few.commit(acceptOf("m1", { start: "r1" }))
        yield* few.commit(everyUnit.KeepQueue(placeAt("a", others[0])))
        yield* few.commit({ ...acceptOf("m2"), place: placeAt("a", others[1]) })
        assert.deepStrictEqual(yield* all(few), [[others[1]!, acme], [], [], [others[0]!]])
        yield* few.commit(finishOf("r1", { m1: "answered" }, { attempt: 1, deliveries: ["d1"] }))
        assert.deepStrictEqual(yield* all(few), [[others[1]!], [acme], [], [others[0]!]])
      }).pipe(Effect.scoped)
    )

    it.effect.each(tags)(
      "%s does to another tenant what it does to an empty log, and to ours nothing",
      (tag) =>
        Effect.gen(function* () {
          const log = yield* told()
          const before = yield* everything(log, acme)
          for (const tenant of others) {
            const nothing = yield* empty
            const unit = everyUnit[tag](placeAt("a", tenant))

            assert.deepStrictEqual(yield* endOf(log, unit), yield* endOf(nothing, unit))
            assert.deepStrictEqual(yield* everything(log, tenant), yield* everything(nothing, tenant))
          }
          assert.deepStrictEqual(yield* everything(log, acme), before)
        }).pipe(Effect.scoped)
    )

    it.effect("one tenant's story told in another's names is the same story, and both go on alone", () =>
      Effect.gen(function* () {
        const log = yield* told()
        const before = yield* everything(log, acme)
        for (const tenant of others) yield* commitAll(log, story(tenant))

        assert.deepStrictEqual(yield* everything(log, acme), before)
        for (const tenant of others) {
          const alone = yield* told(tenant)
          assert.deepStrictEqual(yield* everything(log, tenant), yield* everything(alone, tenant))
        }
      }).pipe(Effect.scoped)
    )

    const readBack = (written: Spelling, read: Spelling) =>
      Effect.gen(function* () {
        const plain = yield* told()
        const log = yield* empty
        for (const unit of story()) yield* log.commit(spelled(unit, written))
        for (const one of names) {
          if (changing.includes(one)) continue
          const asked = log[one] as (query: unknown) => Effect.Effect<unknown, LogError>
          const answers = yield* askedOf(plain, one, acme)
          for (const [index, query] of everyRead[one](acme).entries())
            assert.deepStrictEqual(yield* asked(spelled(query, written)), spelled(answers[index], read), one)
        }
      }).pipe(Effect.scoped)

    it.effect("an odd name or text comes back: half a character replaced, and in a name a NUL too", () => {
      const odd = ` \0 \uD800 \u{1F469}\u200D\u{1F680} 日本語 العربية ñ '; -- " \\ \\u0000 ?1 $1 %_ \n`
      const written = (one: string) => `${one}${odd}`
      const whole = (one: string) => written(one).toWellFormed()
      return readBack(
        { name: written, text: written },
        { name: (name) => whole(name).replaceAll("\0", "\uFFFD"), text: whole }
      )
    })

    it.effect("a million characters come back from wherever a text may stand", () => {
      const long = (text: string) => text + "0123456789abcde\n".repeat(62_500)
      const same = (name: string) => name
      return readBack({ name: same, text: long }, { name: same, text: long })
    })

    it.effect(
      "each listing gives as many rows as are asked for, of one order, and page by page each row once",
      () =>
        Effect.gen(function* () {
          const log = yield* Effect.tap(empty, (made) => commitAll(made, [...crowd, ...waiting]))
          for (const [one, listings] of Object.entries(everyListing)) {
            const read = log[one as Listing] as unknown as (
              query: Row
            ) => Effect.Effect<ReadonlyArray<Row>, LogError>
            for (const { query, next, isFromEnd } of listings) {
              const page = (limit: number, more: Row = {}) => read({ tenant: acme, ...query, ...more, limit })
              const whole = yield* page(1000)
              const about = `${one} ${JSON.stringify(query)}`

              assert.isAtLeast(whole.length, 4, about)
              for (const limit of [-1, 0, 1, whole.length - 1, whole.length, whole.length + 1, Infinity]) {
                const size = Math.min(Math.max(0, limit), whole.length)
                const wanted = isFromEnd === true ? whole.slice(whole.length - size) : whole.slice(0, size)
                assert.deepStrictEqual(yield* page(limit), wanted, `${about}, ${limit} rows`)
              }
              for (const limit of next === undefined ? [] : [1, 2, 3, whole.length]) {
                const found: Array<Row> = []
                for (let from: Row = {}; ; from = next!(found.at(-1)!)) {
                  const rows = yield* page(limit, from)
                  if (rows.length === 0) break
                  found.push(...rows)
                }
                assert.deepStrictEqual(found, whole, `${about}, by ${limit}`)
              }
            }
          }
        }).pipe(Effect.scoped)
    )

    it.effect("every refusal is told by its reason, is final, and changes nothing", () =>
      Effect.gen(function* () {
        const log = yield* told()
        const before = yield* everything(log, acme)
        for (const [reason, unit] of Object.entries(everyRefusal)) {
          const error = yield* Effect.flip(log.commit(unit))

          assert.strictEqual(error.reason._tag, reason)
          assert.isFalse(error.isRetryable)
          assert.isNotEmpty(error.message)
        }
        assert.deepStrictEqual(yield* everything(log, acme), before)
      }).pipe(Effect.scoped)
    )
  })
