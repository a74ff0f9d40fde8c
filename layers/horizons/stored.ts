/**
 * What the adapters of the log agree on: how a body is compared, which entry is the answer, and whom it answers.
 *
 * Owns: rules that must not differ between databases.
 * Does not own: any storage.
 */
import type { Entry, NewEntry, NoteEntry } from "#src/domain/Entry.ts"
import { upcast } from "#src/domain/Entry.ts"
import { deliveryId, type MessageId, runOf } from "#src/domain/Ids.ts"
import type { MessageBody, Route } from "#src/domain/Inbound.ts"
import { overflowNote, summaryLine } from "#src/domain/Queue.ts"
import type { Block, DeliveryRow, Ending, LogError, Place, Streamed } from "#src/horizons/MessageLog.ts"
import { toJson } from "#layers/platform/storable.ts"

export type Refusal = LogError["reason"]

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, part]) => [key, sorted(part)])
  )
}

/** The body as JSON with ordered keys: equal for equal bodies, whatever order their keys came in. */
export const canonical = ({ text, images, system, params, prior }: MessageBody): string =>
  toJson(sorted({ text, images, system, params, prior }))

/** Stored JSON that this binary or an older one wrote, as an entry of today. */
export const readEntry = (json: string): Entry => upcast(JSON.parse(json))

/** Where the answer stands among a run's last entries: its last assistant text without calls, or -1. */
export const answerIndex = (entries: ReadonlyArray<{ readonly entry: NewEntry }>): number =>
  entries.findLastIndex(({ entry }) => entry.kind === "assistant" && (entry.calls ?? []).length === 0)

/** A run answers these; whoever was interrupted, cancelled or dropped was not answered. */
export const isAnswered = ({ outcome }: Ending): boolean =>
  outcome === "answered" || outcome === "merged" || outcome === "steered"

export const nothingStreamed: Streamed = { text: "", parts: 0 }

/** What a run has sent with one more block. */
export const streamedWith = (before: Streamed, { source, deliveries, draft }: Block): Streamed => ({
  ...before,
  text: before.text + source,
  parts: before.parts + deliveries.length,
  ...(draft === undefined ? {} : { draft })
})

/** A limit that every database takes: a whole number, at least 0. */
export const wholeLimit = (limit: number): number =>
  Number.isNaN(limit) ? 0 : Math.min(Math.max(Math.floor(limit), 0), 2_147_483_647)

/** Newest dropped messages that a note tells of one by one; it counts the others. */
const longestNote = 20

/** The order of databases: by bytes of UTF-8, which is not that of UTF-16 units. */
export const byBytes = (a: string, b: string): number =>
  a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b))

/** What the next run is told of messages that gave way, oldest first. */
export const noteOf = (
  dropped: ReadonlyArray<{ readonly id: string; readonly text: string }>
): NoteEntry => ({
  v: 1,
  kind: "note",
  text:
    overflowNote(
      dropped.map(({ text }) => summaryLine(text)),
      dropped.length,
      longestNote
    ) ?? "",
  dropped: dropped.map(({ id }) => id)
})

/**
 * Blocks of a step leave before their entry has a seq: they stand behind the session's newest entry, and so behind the parts of the
 * answer that this may be.
 */
export const firstBlockPart = 1_000_000

/**
 * The word to the sender of a dropped message. It belongs to the run that the message never had, and stands among the deliveries of
 * the route where the newcomer (its `seq`) stands, not where the message had.
 */
export const noticeOf = (
  place: Place,
  id: MessageId,
  { seq, part, createdAt }: Pick<DeliveryRow, "seq" | "part" | "createdAt">,
  route: Route,
  text: string
): DeliveryRow => ({
  id: deliveryId(`dlv_drop_${id}`),
  place,
  runId: runOf(id),
  seq,
  part,
  route,
  text,
  state: "pending",
  attempts: 0,
  createdAt,
  sentAt: undefined,
  receipt: undefined,
  detail: undefined
})
