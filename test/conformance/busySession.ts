/** A session with a run under way: what arrives meanwhile, through the log and `decide`, and the runs that come of it. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { MessageId, RunId } from "#src/domain/Ids.ts"
import type { DropPolicy } from "#src/domain/Queue.ts"
import { local } from "#src/domain/Tenant.ts"
import { MessageLog, type MessageRow } from "#src/horizons/MessageLog.ts"
import { decide, initial, type LaneEvent, type Run } from "#src/lane/decide.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import { rowOf } from "../lane/rows.ts"

/** What the log holds of a run that has begun. */
export interface Begun {
  readonly messages: ReadonlyArray<MessageRow>
  /** What the model is given of them, in its order. */
  readonly texts: ReadonlyArray<string>
  /** Texts of dropped messages that the note before them tells of. */
  readonly dropped: ReadonlyArray<string>
  /** The note itself; empty for none. */
  readonly note: string
}

export interface Busy {
  readonly accepted: ReadonlyArray<boolean>
  /** Texts that waited when the run under way ended. */
  readonly waiting: ReadonlyArray<string>
  readonly runs: ReadonlyArray<Begun>
}

const underWay = rowOf(1, { text: "under way" })
const { place } = underWay

const accept = (row: MessageRow, cap: number, drop: DropPolicy, start?: RunId) =>
  Effect.gen(function* () {
    const log = yield* MessageLog
    const { identity, sender, access, ephemeral, body } = row
    const message = { identity, session: place.session, sender, access, ephemeral, body }
    return yield* log.commit({
      _tag: "Accept",
      place,
      messageId: row.id,
      message,
      cap,
      drop,
      ...(start === undefined ? {} : { start }),
      at: row.seq
    })
  })

const begin = ({ runId, messages }: Run, text: (id: string) => string) =>
  Effect.gen(function* () {
    const log = yield* MessageLog
    const messageIds = messages.map(({ id }) => id)
    yield* log.commit({ _tag: "Start", place, runId, messageIds, at: 1000 })
    const history = yield* log.history({ tenant: local, session: place.session, limit: 1000 })
    const entries = history.flatMap((row) => (row.runId === runId ? [row.entry] : []))
    const notes = entries.flatMap((entry) => (entry.kind === "note" ? [entry] : []))
    return {
      messages,
      texts: entries.flatMap((entry) => (entry.kind === "user" ? [entry.text] : [])),
      dropped: notes.flatMap(({ dropped }) => dropped).map(text),
      note: notes.map((entry) => entry.text).join("\n")
    }
  })

/** These arrive, with seqs from 2, while a run is under way; then it ends, and so does every run after it. A cap under 1 is none. */
export const busySession = (
  arriving: ReadonlyArray<MessageRow>,
  { cap, drop }: { readonly cap: number; readonly drop: DropPolicy }
): Effect.Effect<Busy> =>
  Effect.gen(function* () {
    const log = yield* MessageLog
    const textOf = (id: string) => arriving.find((row) => row.id === id)?.body.text ?? ""
    const accepted: Array<boolean> = []
    const started: Array<Run> = []
    let state = initial(1000)
    const post = (event: LaneEvent) => {
      const decision = decide(state, event)
      state = decision.state
      for (const command of decision.commands) if (command._tag === "Start") started.push(command.run)
    }
    yield* accept(underWay, 1, "new")
    post({ _tag: "Arrived", message: underWay, begun: false })
    yield* begin(started[0]!, textOf)
    // The message of the run under way is open too.
    const places = cap < 1 ? 1_000_000 : cap + 1
    for (const row of arriving) {
      const taken = yield* Effect.result(accept(row, places, drop))
      accepted.push(Result.isSuccess(taken) && !taken.success.duplicate)
      if (Result.isFailure(taken) || taken.success.duplicate) continue
      const messageIds: ReadonlyArray<MessageId> = taken.success.dropped.map(({ messageId }) => messageId)
      if (messageIds.length > 0) post({ _tag: "Dropped", messageIds })
      post({ _tag: "Arrived", message: { ...row, seq: taken.success.seq }, begun: false })
    }
    const open = yield* log.open({ tenant: local, session: place.session, limit: 1000 })
    const runs: Array<Begun> = []
    post({ _tag: "RunEnded", runId: started[0]!.runId, end: "finished" })
    for (let index = 1; index < started.length; index++) {
      runs.push(yield* begin(started[index]!, textOf))
      post({ _tag: "RunEnded", runId: started[index]!.runId, end: "finished" })
    }
    const waiting = open.filter(({ id }) => id !== underWay.id).map(({ body }) => body.text)
    return { accepted, waiting, runs }
  }).pipe(Effect.orDie, Effect.provide(MemoryMessageLog.layer))
