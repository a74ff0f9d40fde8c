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
import type { ApprovalId, MessageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
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
  /** Messages that were open when it was last looked at. */
  open: Set<MessageId>
  approvals: Set<ApprovalId>
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
        tenant: local,
        session,
        beforeSeq: Number.MAX_SAFE_INTEGER,
        limit: overlap
      })
    }
    const rows: Array<MessageLog.EntryRow> = []
    while (true) {
      const afterSeq = rows.at(-1)?.seq ?? known.seq
      const page = yield* log.entries({ tenant: local, session, afterSeq, limit: pageSize })
      rows.push(...page)
      if (page.length < pageSize) return rows
    }
  })

  const tellEntry = (
    session: SessionKey,
    { id, seq, entry, messageId, clientId, answers, ...row }: MessageLog.EntryRow
  ) => {
    if (entry.kind === "user" && messageId !== undefined) {
      const images = entry.images === undefined ? {} : { images: entry.images }
      feed.publish(session, {
        _tag: "User",
        messageId,
        clientId: clientId ?? id,
        seq,
        text: entry.text,
        ...images
      })
    } else if (entry.kind === "assistant" && answers !== undefined && row.runId !== undefined) {
      const { runId, usage = Usage.none } = row
      // Whoever waits for one message is told by its outcome, and reads there what the whole run used.
      feed.publish(session, {
        _tag: "Message",
        id,
        runId,
        seq,
        answers,
        messageIds: [],
        text: entry.text,
        usage
      })
    }
  }

  const tellApprovals = Effect.fnUntraced(function* (session: SessionKey, known: ReadonlySet<ApprovalId>) {
    const pending = yield* log.approvals({ tenant: local, session, limit: pageSize })
    for (const row of pending) if (!known.has(row.id)) feed.publish(session, approvalEvent(row))
    const now = new Set(pending.map(({ id }) => id))
    for (const id of known) {
      const [row] = now.has(id) ? [] : yield* log.approvals({ tenant: local, id, limit: 1 })
      if (row !== undefined) feed.publish(session, approvalEvent(row))
    }
    return now
  })

  const lookOnce = Effect.fnUntraced(function* (session: SessionKey) {
    const known = followed.get(session)
    // In this order: a message whose entry was read has ended, or is open still.
    const rows = yield* entriesAfter(session, known)
    const open = yield* log.open({ tenant: local, session, limit: maxOpen })
    const now = yield* Clock.currentTimeMillis
    const isOpen = new Set(open.map(({ id }) => id))
    const fresh = rows.filter((row) => known !== undefined || now - row.at < recentMillis)
    const mayHaveEnded = new Set([
      ...(known?.open ?? []),
      ...fresh.flatMap(({ messageId }) => messageId ?? [])
    ])
    const seq = Math.max(known?.seq ?? 0, rows.at(-1)?.seq ?? 0)
    followed.set(session, { seq, open: isOpen, approvals: known?.approvals ?? new Set() })
    for (const row of fresh) tellEntry(session, row)
    for (const id of mayHaveEnded) if (!isOpen.has(id)) yield* tellEnd({ log, feed }, session, id)
    const approvals = yield* tellApprovals(session, known?.approvals ?? new Set())
    followed.set(session, { seq, open: isOpen, approvals })
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

export const layer = Layer.effect(Elsewhere, make)
