/**
 * Which messages become one run.
 *
 * Owns: what may join, and what a busy lane runs next in collect mode. All of it is pure.
 * Does not own: when a lane drains (`decide`), parts of one burst (`gather`), what gives way to a cap (the log).
 */
import type { MessageBody } from "#src/domain/Inbound.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"

/** Equal for messages of one channel, account, conversation and thread, and only for those. */
export const routeKey = ({ identity }: MessageRow): string =>
  JSON.stringify([identity.channel, identity.account, identity.conversation, identity.thread])

/**
 * True when two messages may share a run: the same route and thread, equal access, and nothing that holds for one of them only (its
 * caller's system text, model, sampling wishes or own history).
 */
export const mayJoin = (a: MessageRow, b: MessageRow): boolean =>
  a.access === b.access &&
  a.body.prior === undefined &&
  b.body.prior === undefined &&
  routeKey(a) === routeKey(b) &&
  wishesOf(a) === wishesOf(b)

/** Equal for messages of equal wishes. */
export const wishesOf = ({ body }: { readonly body: MessageBody }): string => {
  const params = body.params ?? {}
  const given = Object.entries(params).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([body.system ?? "", body.model ?? "", given])
}

/** The next run of a lane that collects. */
export interface Next {
  readonly messages: ReadonlyArray<MessageRow>
  /** Messages up to this seq run singly: they waited together and could not be joined. Hand it in again. */
  readonly singlyUpTo: number
}

/**
 * The next run out of what waits, by seq: all of it when all may join, otherwise the oldest alone, and so on until everything that
 * waited beside it has run. Undefined when nothing waits.
 */
export const nextRun = (waiting: ReadonlyArray<MessageRow>, singlyUpTo = 0): Next | undefined => {
  const head = waiting[0]
  if (head === undefined) return undefined
  if (head.seq <= singlyUpTo) return { messages: [head], singlyUpTo }
  return waiting.every((row) => mayJoin(head, row))
    ? { messages: waiting, singlyUpTo }
    : { messages: [head], singlyUpTo: Math.max(...waiting.map(({ seq }) => seq)) }
}
