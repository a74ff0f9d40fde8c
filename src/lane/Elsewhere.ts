/**
 * Tells the onlookers of this node what becomes of sessions whose lanes are on other nodes: read from the log, after each commit that
 * another node tells of, and from time to time.
 *
 * Owns: that each message, answer and end is told, in the log's order; an onlooker that knows one already is told again at most when
 * the session is first looked at. Text that is still being written stays on the node that writes it.
 * Does not own: who looks on (`Feed`), nor when it is worth a look (`Takeover`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { ApprovalId, MessageId, RunId } from "#src/domain/Ids.ts"
import { type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import * as Usage from "#src/domain/Usage.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Feed from "#src/outbound/Feed.ts"
import { Placement } from "#src/placement/Placement.ts"
import { approvalEvent } from "./ActiveRun.ts"
import { tellEnd } from "./retold.ts"

export class Elsewhere extends Context.Service<
  Elsewhere,
  {
    /** Tell what is new of a session, if its lane is elsewhere and somebody looks on here. */
    readonly look: (session: SessionKey) => Effect.Effect<void, MessageLog.LogError>
    /** The same for every session that somebody looks on. */
    readonly sweep: Effect.Effect<void, MessageLog.LogError>
  }
>()("opencraw/lane/Elsewhere") {}

/** Entries told when a session is first looked at: what came between the onlooker's own look and this one is among them. */
const overlap = 50
/** Of those, only what is as recent as this has an end worth telling. */
const recentMillis = 60_000
const pageSize = 200
const maxOpen = 1000

interface Followed {
  /** Highest seq that was told. */
  seq: number
  /** Messages that were open when it was last looked at, with the ids their clients gave. */
  open: ReadonlyMap<MessageId, string>
  approvals: ReadonlySet<ApprovalId>
  /** Runs of which more than an answer was said. */
  long: Set<RunId>
}

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const feed = yield* Feed.Feed
  const placement = yield* Placement
  const followed = new Map<SessionKey, Followed>()
  /** Looked at now; with true, to be looked at once more. */
  const looking = new Map<SessionKey, boolean>()

  const entriesAfter = Effect.fnUntraced(function* (session: SessionKey, known: Followed | undefined) {
    if (known === undefined) {
      return yield* log.entries({
        tenant: tenantOf(session),
        session,
        beforeSeq: Number.MAX_SAFE_INTEGER,
        limit: overlap
      })
    }
    const rows: Array<MessageLog.EntryRow> = []
    while (true) {
      const afterSeq = rows.at(-1)?.seq ?? known.seq
      const page = yield* log.entries({ tenant: tenantOf(session), session, afterSeq, limit: pageSize })
      rows.push(...page)
      if (page.length < pageSize) return rows
    }
  })

  const tellMessage = (session: SessionKey, row: MessageLog.EntryRow): void => {
    const { id, seq, entry, messageId, clientId } = row
    if (entry.kind !== "user" || messageId === undefined) return
    feed.publish(session, {
      _tag: "User",
      messageId,
      clientId: clientId ?? id,
      seq,
      text: entry.text,
      ...(entry.images === undefined ? {} : { images: entry.images })
    })
  }

  /** Gives the messages whose end is told with it. `of`: those that may have ended, with their clients' ids. */
  const tellAnswer = (
    session: SessionKey,
    { id, seq, entry, answers, runId, usage = Usage.none }: MessageLog.EntryRow,
    of: ReadonlyMap<MessageId, string>,
    long: ReadonlySet<RunId>
  ): ReadonlyArray<MessageId> => {
    if (entry.kind !== "assistant" || answers === undefined || runId === undefined) return []
    const [clientId = "", ...more] = answers
    const named = [...of].flatMap(([message, client]) => (client === clientId ? [message] : []))
    const only = more.length > 0 || named.length > 1 || long.has(runId) ? undefined : named[0]
    // What a longer run used in all, and which of several messages was answered, is read with their ends.
    const messageIds = only === undefined ? [] : [only]
    feed.publish(session, { _tag: "Message", id, runId, seq, answers, messageIds, text: entry.text, usage })
    if (only === undefined) return []
    feed.publish(session, { _tag: "Outcome", messageId: only, clientId, outcome: "answered" })
    return messageIds
  }

  const tellApprovals = Effect.fnUntraced(function* (session: SessionKey, known: ReadonlySet<ApprovalId>) {
    const pending = yield* log.approvals({ tenant: tenantOf(session), session, limit: pageSize })
    for (const row of pending) if (!known.has(row.id)) feed.publish(session, approvalEvent(row))
    const now = new Set(pending.map(({ id }) => id))
    for (const id of known) {
      const [row] = now.has(id) ? [] : yield* log.approvals({ tenant: tenantOf(session), id, limit: 1 })
      if (row !== undefined) feed.publish(session, approvalEvent(row))
    }
    return now
  })

  const lookOnce = Effect.fnUntraced(function* (session: SessionKey) {
    const known = followed.get(session)
    // In this order: a message whose entry was read has ended, or is open still.
    const rows = yield* entriesAfter(session, known)
    const open = yield* log.open({ tenant: tenantOf(session), session, limit: maxOpen })
    const now = yield* Clock.currentTimeMillis
    const fresh = rows.filter((row) => known !== undefined || now - row.at < recentMillis)
    const stillOpen = new Map(open.map((row) => [row.id, row.identity.externalId]))
    const mayHaveEnded = new Map([
      ...(known?.open ?? []),
      ...fresh.flatMap(({ id, messageId, clientId = id }) =>
        messageId === undefined ? [] : [[messageId, clientId] as const]
      )
    ])
    const long = new Set(known?.long)
    const seq = Math.max(known?.seq ?? 0, rows.at(-1)?.seq ?? 0)
    const approvals = known?.approvals ?? new Set<ApprovalId>()
    followed.set(session, { seq, open: stillOpen, approvals, long })
    const told = new Set<MessageId>()
    for (const row of fresh) {
      tellMessage(session, row)
      if (isBeside(row)) long.add(row.runId!)
      for (const id of tellAnswer(session, row, mayHaveEnded, long)) told.add(id)
      if (row.answers !== undefined && row.runId !== undefined) long.delete(row.runId)
    }
    for (const id of mayHaveEnded.keys()) {
      if (!stillOpen.has(id) && !told.has(id)) yield* tellEnd({ log, feed }, session, id)
    }
    // A question is also an entry.
    if (approvals.size === 0 && !rows.some(({ entry }) => entry.kind === "notice")) return
    followed.set(session, { seq, open: stillOpen, approvals: yield* tellApprovals(session, approvals), long })
  })

  const isFollowed = (session: SessionKey): boolean =>
    !placement.isHere(session) && feed.hasListeners(session)

  const look = (session: SessionKey): Effect.Effect<void, MessageLog.LogError> =>
    Effect.suspend(() => {
      if (!isFollowed(session)) return Effect.sync(() => void followed.delete(session))
      if (looking.has(session)) return Effect.sync(() => void looking.set(session, true))
      looking.set(session, true)
      return Effect.whileLoop({
        while: () => looking.get(session) === true && isFollowed(session),
        body: () => {
          looking.set(session, false)
          return lookOnce(session)
        },
        step: () => {}
      }).pipe(Effect.ensuring(Effect.sync(() => void looking.delete(session))))
    })

  const sweep = Effect.suspend(() => {
    for (const session of followed.keys()) if (!isFollowed(session)) followed.delete(session)
    return Effect.forEach([...feed.listened()].filter(isFollowed), look, { concurrency: 4, discard: true })
  })

  return Elsewhere.of({ look, sweep })
})

/** Of a run, and not its answer. */
const isBeside = ({ runId, messageId, answers }: MessageLog.EntryRow): boolean =>
  runId !== undefined && messageId === undefined && answers === undefined

export const layer = Layer.effect(Elsewhere, make)
