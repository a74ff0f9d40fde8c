/**
 * A session as people and agents read it.
 *
 * Owns: listing, reading and forgetting sessions, and the history a run is given.
 * Does not own: what is stored (`horizons`), nor how much of it a model sees (`context`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Clock from "effect/Clock"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { maxEntries } from "#src/context/window.ts"
import type { MessageId, RunId } from "#src/domain/Ids.ts"
import type { ImageNote } from "#src/domain/Image.ts"
import type { ToolStatus } from "#src/domain/Tool.ts"
import { placeOf, type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import type { EntryRow, LogError, MessageTrace, SessionRow } from "#src/horizons/MessageLog.ts"
import { Placement } from "#src/placement/Placement.ts"
import { Retention } from "./RetentionSettings.ts"
import { HistoryCache } from "./HistoryCache.ts"
import { Tenants } from "#src/horizons/Tenants.ts"

export interface ToolUse {
  readonly name: string
  readonly status: ToolStatus
}

/** One line of a conversation as a person reads it: no tool calls, no bookkeeping. */
export interface TranscriptMessage {
  readonly id: string
  readonly seq: number
  /** `system` is the gateway's own word, such as why there is no answer. */
  readonly role: "user" | "assistant" | "system"
  readonly content: string
  /** On a user's message: what images came with it. */
  readonly images?: ReadonlyArray<ImageNote>
  /** On a user's message: the id its client gave. */
  readonly clientId: string | undefined
  /** On an answer: the client ids it answers, newest last. */
  readonly answers: ReadonlyArray<string> | undefined
  /** Set when the text was cut off, and by what. */
  readonly partial: "interrupted" | "cancelled" | "failed" | undefined
  /** On a run's first line: the tools it used, in order, as far as they stand on this page. Absent when there are none. */
  readonly tools?: ReadonlyArray<ToolUse>
  readonly createdAt: number
}

/** A session in a list. */
export interface ListedSession extends SessionRow {
  /** How its first message begins, which is what an untitled session is known by; at most 120 characters. */
  readonly opening: string | undefined
}

export class Sessions extends Context.Service<
  Sessions,
  {
    /** Listed sessions, latest first. */
    readonly list: (tenant: Tenant, limit: number) => Effect.Effect<ReadonlyArray<ListedSession>, LogError>
    readonly find: (key: SessionKey) => Effect.Effect<SessionRow | undefined, LogError>
    /** The conversation by seq, oldest first, after `after`. `next` is where to go on, absent at the end. */
    readonly messages: (
      key: SessionKey,
      query: { readonly after?: number; readonly limit: number }
    ) => Effect.Effect<
      { readonly messages: ReadonlyArray<TranscriptMessage>; readonly next: number | undefined },
      LogError
    >
    /** The newest `limit` lines before seq `before`, oldest first. `previous` is where to go on, absent at the beginning. */
    readonly messagesBefore: (
      key: SessionKey,
      query: { readonly before: number; readonly limit: number }
    ) => Effect.Effect<
      { readonly messages: ReadonlyArray<TranscriptMessage>; readonly previous: number | undefined },
      LogError
    >
    /** Ids of the messages that have no outcome yet, of the oldest thousand. */
    readonly open: (key: SessionKey) => Effect.Effect<ReadonlySet<string>, LogError>
    readonly trace: (tenant: Tenant, id: MessageId) => Effect.Effect<MessageTrace | undefined, LogError>
    /** Take note of what a unit wrote, so that it need not be read. */
    readonly wrote: (key: SessionKey, entries: ReadonlyArray<EntryRow>) => void
    /**
     * What a run of this session is given, oldest first, as much as the longest prompt looks at. Nothing is read for a run that has `begun`, and whose
     * beginning was the last thing written.
     */
    readonly history: (key: SessionKey, begun?: RunId) => Effect.Effect<ReadonlyArray<EntryRow>, LogError>
    /** Call it `title`; `undefined` takes the title away. False when there is no such session. */
    readonly rename: (key: SessionKey, title: string | undefined) => Effect.Effect<boolean, LogError>
    /**
     * Begin session `to` with what was said in `from`, up to the answer of the turn that the entry `at` belongs to; without it, up to
     * the last answer. Refused with `NoSuchSession`, `NoSuchTurn` or `SessionTaken`.
     */
    readonly fork: (
      from: SessionKey,
      to: SessionKey,
      at?: number
    ) => Effect.Effect<MessageLog.Committed["Fork"], LogError>
    /** The first few of the sessions that share what was said in it. */
    readonly forks: (key: SessionKey) => Effect.Effect<ReadonlyArray<SessionKey>, LogError>
    /**
     * Forget it; messages still open end as cancelled. False when there was none. Stop its lane first. Refused with `SessionShared`
     * while it has forks.
     */
    readonly remove: (key: SessionKey) => Effect.Effect<boolean, LogError>
    /** Histories are read from the log again. */
    readonly forgetHistories: () => void
  }
>()("opencraw/session/Sessions") {}

/** Rows read at a time: most of a transcript's entries are messages. */
const pageSize = 500

const maxOpen = 1000
const maxOpening = 120
const maxOpenings = 5000
const maxForks = 20

/** Characters of recent histories kept in memory. */
const cachedChars = 8_000_000

/** An ephemeral session lives this long after its last message. */
const hourMillis = 3600 * 1000
const dayMillis = 24 * hourMillis
const ephemeralMillis = dayMillis

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const tenants = yield* Tenants
  const retention = yield* Retention
  const placement = yield* Placement
  const cache = new HistoryCache(cachedChars, maxEntries)
  // A session's first line never changes; one that was deleted and began anew was created at another time.
  const openings = new Map<SessionKey, { readonly createdAt: number; readonly text: string | undefined }>()

  const purge = Effect.gen(function* () {
    // Once for all nodes.
    if (!placement.isHere("purge")) return
    const now = yield* Clock.currentTimeMillis
    const { days, deliveries_days: sentDays, journal_hours: hours } = retention.get()
    for (const tenant of yield* tenants.all) {
      yield* log.purge({ tenant, before: now - ephemeralMillis })
      yield* log.purgeOld({ tenant, of: "journal", before: now - hours * hourMillis })
      yield* log.purgeOld({ tenant, of: "deliveries", before: now - sentDays * dayMillis })
      if (days === undefined) continue
      const forgotten = yield* log.purge({ tenant, before: now - days * dayMillis, listed: true })
      // One that begins anew counts from 1 again, and must not be given what an earlier one of its name had said.
      if (forgotten > 0) cache.forgetAll()
    }
  })
  yield* purge.pipe(
    Effect.catch((error) => Effect.logWarning("old sessions could not be purged", error.message)),
    Effect.repeat(Schedule.spaced("1 hour")),
    Effect.forkScoped
  )

  const messages = Effect.fn("Sessions.messages")(function* (
    key: SessionKey,
    query: { readonly after?: number; readonly limit: number }
  ) {
    const found: Array<TranscriptMessage> = []
    const tools = new ToolsOfRuns()
    let after = query.after ?? 0
    while (true) {
      const rows = yield* log.entries({
        tenant: tenantOf(key),
        session: key,
        afterSeq: after,
        limit: pageSize
      })
      for (const row of rows) {
        after = row.seq
        const message = toMessage(row)
        if (message !== undefined && found.length === query.limit) {
          return { messages: tools.joined(found), next: found.at(-1)!.seq }
        }
        tools.see(row)
        if (message !== undefined) found.push(message)
      }
      if (rows.length < pageSize) return { messages: tools.joined(found), next: undefined }
    }
  })

  const messagesBefore = Effect.fn("Sessions.messagesBefore")(function* (
    key: SessionKey,
    query: { readonly before: number; readonly limit: number }
  ) {
    const found: Array<TranscriptMessage> = []
    const tools = new ToolsOfRuns()
    let before = query.before
    while (true) {
      const rows = yield* log.entries({
        tenant: tenantOf(key),
        session: key,
        beforeSeq: before,
        limit: pageSize
      })
      for (const row of rows.toReversed()) {
        before = row.seq
        const message = toMessage(row)
        if (message !== undefined && found.length === query.limit) {
          return { messages: tools.joined(found.toReversed()), previous: found.at(-1)!.seq }
        }
        tools.see(row)
        if (message !== undefined) found.push(message)
      }
      if (rows.length < pageSize) {
        return { messages: tools.joined(found.toReversed()), previous: undefined }
      }
    }
  })

  const open = Effect.fn("Sessions.open")(function* (key: SessionKey) {
    const rows = yield* log.open({ tenant: tenantOf(key), session: key, limit: maxOpen })
    return new Set<string>(rows.map(({ id }) => id))
  })

  const list = Effect.fn("Sessions.list")(function* (tenant: Tenant, limit: number) {
    const listed: Array<ListedSession> = []
    for (const row of yield* log.sessions({ tenant, limit })) {
      const { session } = row.place
      let known = openings.get(session)
      if (known?.createdAt !== row.createdAt) {
        const { entry } = (yield* log.entries({ tenant, session, limit: 1 }))[0] ?? {}
        known = { createdAt: row.createdAt, text: entry?.kind === "user" ? opening(entry.text) : undefined }
        if (openings.size >= maxOpenings) openings.clear()
        openings.set(session, known)
        // A read takes its time on the one thread; others come between.
        yield* Effect.yieldNow
      }
      listed.push({ ...row, opening: known.text })
    }
    return listed
  })

  const rename = Effect.fn("Sessions.rename")(function* (key: SessionKey, title: string | undefined) {
    const place = placeOf(key)
    const at = yield* Clock.currentTimeMillis
    return (yield* log.commit({ _tag: "RenameSession", place, title, at })).existed
  })

  const history = Effect.fnUntraced(function* (key: SessionKey, begun?: RunId) {
    const kept = begun === undefined ? undefined : cache.endingWith(key, begun)
    if (kept !== undefined) return kept
    const rows = yield* readOn(key)
    // A run that has begun is the last thing in its history. Where it is not, what was kept is of an earlier session of this name, which
    // was forgotten elsewhere.
    if (begun === undefined || rows.at(-1)?.runId === begun) return rows
    cache.forget(key)
    return yield* readOn(key)
  })

  const readOn = Effect.fnUntraced(function* (key: SessionKey) {
    const afterOrder = cache.lastOrder(key)
    const fresh = yield* log.history({ tenant: tenantOf(key), session: key, afterOrder, limit: maxEntries })
    // A full page may have a gap before it: then what was kept is of no use.
    if (fresh.length === maxEntries) cache.forget(key)
    return cache.extend(key, fresh)
  })

  const fork = Effect.fn("Sessions.fork")(function* (from: SessionKey, to: SessionKey, atSeq?: number) {
    const place = placeOf(to)
    const at = yield* Clock.currentTimeMillis
    return yield* log.commit({
      _tag: "Fork",
      place,
      from,
      ...(atSeq === undefined ? {} : { atSeq }),
      at
    })
  })

  const remove = Effect.fn("Sessions.remove")(function* (key: SessionKey) {
    const place = placeOf(key)
    const at = yield* Clock.currentTimeMillis
    const { existed } = yield* log.commit({ _tag: "DeleteSession", place, at })
    cache.forget(key)
    return existed
  })

  return Sessions.of({
    list,
    find: (key) => Effect.map(log.sessions({ tenant: tenantOf(key), key, limit: 1 }), (rows) => rows[0]),
    messages,
    messagesBefore,
    open,
    rename,
    trace: (tenant, id) => log.message({ tenant, id }),
    wrote: (key, entries) => cache.append(key, entries),
    history,
    fork,
    forks: (key) => log.forks({ tenant: tenantOf(key), session: key, limit: maxForks }),
    remove,
    forgetHistories: () => cache.forgetAll()
  })
})

export const layer = Layer.effect(Sessions, make)

/** One line, and no half of a character at its end. */
const opening = (text: string): string =>
  text
    .slice(0, maxOpening)
    .replace(/[\uD800-\uDBFF]$/, "")
    .replace(/\s+/g, " ")
    .trim()

/** Which tools each run used, of the entries that were seen in any order. */
class ToolsOfRuns {
  readonly #uses = new Map<RunId, Array<ToolUse & { readonly seq: number }>>()
  readonly #runs = new Map<string, RunId>()

  see({ id, seq, runId, entry }: EntryRow): void {
    if (runId === undefined || entry.kind === "user") return
    if (entry.kind !== "tool") return void this.#runs.set(id, runId)
    const use = { seq, name: entry.name, status: entry.status }
    const uses = this.#uses.get(runId)
    if (uses === undefined) this.#uses.set(runId, [use])
    else uses.push(use)
  }

  /** The lines, oldest first, the first one of each run with its tools. */
  joined(lines: ReadonlyArray<TranscriptMessage>): ReadonlyArray<TranscriptMessage> {
    return lines.map((line) => {
      const run = this.#runs.get(line.id)
      const uses = run === undefined ? undefined : this.#uses.get(run)
      if (run === undefined || uses === undefined) return line
      this.#uses.delete(run)
      const tools = uses.toSorted((a, b) => a.seq - b.seq).map(({ name, status }) => ({ name, status }))
      return { ...line, tools }
    })
  }
}

/** Steps that asked for tools, their results and opaque entries are the run's own business. */
const toMessage = (row: EntryRow): TranscriptMessage | undefined => {
  const { entry } = row
  const common = { id: row.id, seq: row.seq, createdAt: row.at, clientId: row.clientId, answers: row.answers }
  switch (entry.kind) {
    case "user":
      return {
        ...common,
        role: "user",
        content: entry.text,
        ...(entry.images === undefined ? {} : { images: entry.images }),
        partial: undefined
      }
    case "assistant":
      return entry.calls !== undefined
        ? undefined
        : { ...common, role: "assistant", content: entry.text, partial: entry.partial }
    case "notice":
      return entry.slow === undefined
        ? { ...common, role: "system", content: entry.text, partial: undefined }
        : undefined
    case "note":
    case "failure":
      return { ...common, role: "system", content: entry.text, partial: undefined }
    case "tool":
    case "opaque":
      return undefined
  }
}
