/**
 * What another node stored, told to the onlookers of this one, from the log.
 *
 * Owns: which events a stored message and its end become. Does not own: when that is read (`Lanes`, `Elsewhere`).
 */
import * as Effect from "effect/Effect"
import type { MessageId } from "#src/domain/Ids.ts"
import { userEntryOf } from "#src/domain/Inbound.ts"
import { type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import * as Usage from "#src/domain/Usage.ts"
import type { MessageLog, MessageRow } from "#src/horizons/MessageLog.ts"
import type { Feed } from "#src/outbound/Feed.ts"

/** A message that was taken in. */
export const tellUser = (feed: Feed["Service"], row: MessageRow): void => {
  const { text, images } = userEntryOf(row)
  feed.publish(row.place.session, {
    _tag: "User",
    messageId: row.id,
    clientId: row.identity.externalId,
    seq: row.seq,
    text,
    ...(images === undefined ? {} : { images })
  })
}

/** How a message ended, if it has; before it the answer, when it was a command. `clientId` stands for one that was deleted. */
export const tellEnd = Effect.fnUntraced(function* (
  { log, feed }: { readonly log: MessageLog["Service"]; readonly feed: Feed["Service"] },
  session: SessionKey,
  id: MessageId,
  clientId = ""
) {
  const trace = yield* log.message({ tenant: tenantOf(session), id })
  if (trace === undefined) {
    // It went with its session, which cancels what is open.
    return feed.publish(session, { _tag: "Outcome", messageId: id, clientId, outcome: "cancelled" })
  }
  const { identity, body, outcome, outcomeBy } = trace.message
  if (outcome === undefined) return
  const last = trace.entries.at(-1)
  if (body.command === true && last?.runId !== undefined && last.entry.kind === "notice") {
    feed.publish(session, {
      _tag: "Message",
      id: last.id,
      runId: last.runId,
      seq: last.seq,
      answers: [identity.externalId],
      messageIds: [id],
      text: last.entry.text,
      usage: Usage.none
    })
  }
  const said = trace.entries.findLast(({ entry }) => entry.kind === "assistant")?.entry
  feed.publish(session, {
    _tag: "Outcome",
    messageId: id,
    clientId: identity.externalId,
    outcome,
    ...(outcomeBy === undefined ? {} : { by: outcomeBy }),
    ...(trace.run?.failure === undefined ? {} : { failure: trace.run.failure }),
    ...(said?.kind === "assistant" && said.partial !== undefined ? { partial: said.text } : {})
  })
})
