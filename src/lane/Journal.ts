/**
 * Keeps what lanes decide, so that it can be decided again.
 *
 * Written behind: a decision only leaves a text in memory, and all texts of a second go to the log together. Nothing waits for it, and
 * what cannot be written is lost: `replay` sees the gap.
 *
 * Owns: which decisions are kept, and when they are written. Does not own: what a record is (`replay`), how long it stays (`session`).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { placeOf, type SessionKey } from "#src/domain/SessionKey.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { Retention } from "#src/session/RetentionSettings.ts"
import type { Decision, LaneEvent } from "./decide.ts"
import type { Lane } from "./LaneTable.ts"
import { recordText } from "./replay.ts"

/** How long decisions wait in memory for others. */
const pause = "1 second"
/** Characters that may wait when the log is slow; what comes then is lost. */
const mostWaiting = 16_000_000
/** Sessions that are written at once: they share a commit. */
const writtenAtOnce = 64

export interface Journal {
  /** A lane, still as it was before, has decided this. To be told of all it decides, before any command is carried out. */
  readonly keep: (lane: Lane, event: LaneEvent, decision: Decision) => void
}

/** Hands what is left to the log when its scope closes. */
export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const retention = yield* Retention
  const clock = yield* Clock.Clock
  const context = yield* Effect.context<never>()
  const fork = yield* FiberSet.makeRuntime<never>()
  const life = clock.currentTimeMillisUnsafe().toString(36)
  let spells = 0
  let waiting = new Map<SessionKey, Array<string>>()
  let chars = 0

  /** True while somebody is about to write. */
  let isDue = false

  const write = (concurrency: number | "unbounded") =>
    Effect.suspend(() => {
      const batches = [...waiting]
      waiting = new Map()
      chars = 0
      const at = clock.currentTimeMillisUnsafe()
      let failure: MessageLog.LogError | undefined
      const commit = (session: SessionKey, records: ReadonlyArray<string>) =>
        Effect.catch(
          log.commit({
            _tag: "KeepJournal",
            place: placeOf(session),
            records: `[${records.join(",")}]`,
            at
          }),
          (error) => Effect.sync(() => void (failure = error))
        )
      return Effect.forEach(batches, ([session, records]) => commit(session, records), {
        concurrency,
        discard: true
      }).pipe(
        Effect.tap(() =>
          failure === undefined
            ? Effect.void
            : Effect.logWarning("a part of the journal was not kept", failure.message)
        )
      )
    })
  // One writing after the other: what a session decided first is kept first.
  const writing = Effect.delay(write(writtenAtOnce), pause).pipe(
    Effect.repeat({ while: () => (isDue = waiting.size > 0) }),
    // Also when the log has a defect: what comes then is written by another.
    Effect.ensuring(Effect.sync(() => void (isDue = false)))
  )
  // Handed over and not waited for: the log makes durable what is under way when it closes.
  yield* Effect.addFinalizer(() => Effect.sync(() => void Effect.runForkWith(context)(write("unbounded"))))

  const keep = (lane: Lane, event: LaneEvent, decision: Decision): void => {
    const n = lane.decided++
    if (n === 0)
      lane.spell = retention.get().journal_hours > 0 ? `${life}.${(spells++).toString(36)}` : undefined
    if (lane.spell === undefined || chars > mostWaiting) return
    const text = recordText(
      lane.spell,
      n,
      clock.currentTimeMillisUnsafe(),
      lane.state.buffer,
      event,
      decision
    )
    chars += text.length
    const others = waiting.get(lane.key)
    if (others === undefined) waiting.set(lane.key, [text])
    else others.push(text)
    if (isDue) return
    isDue = true
    fork(writing)
  }

  return { keep } satisfies Journal
})
