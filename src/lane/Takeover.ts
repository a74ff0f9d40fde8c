/**
 * What a node does when buckets come and go, and when other nodes tell of their commits.
 *
 * Owns: in which order the rooms take up and let go.
 * Does not own: which buckets are owned (`placement`), nor how each room does it.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { LogError } from "#src/horizons/MessageLog.ts"
import * as Outbound from "#src/outbound/Outbound.ts"
import type { Keeper } from "#src/placement/Placement.ts"
import * as SessionUsage from "#src/session/SessionUsage.ts"
import * as Sessions from "#src/session/Sessions.ts"
import * as Elsewhere from "./Elsewhere.ts"
import * as Lanes from "./Lanes.ts"
import * as SessionModels from "./SessionModels.ts"
import * as SessionQueues from "./SessionQueues.ts"

/** Sessions that are looked at at once. */
const lookedAtOnce = 16

/** To be built once all rooms stand. */
export const make = Effect.gen(function* () {
  const lanes = yield* Lanes.Lanes
  const outbound = yield* Outbound.Outbound
  const elsewhere = yield* Elsewhere.Elsewhere
  const sessions = yield* Sessions.Sessions
  const kept = [
    yield* SessionQueues.SessionQueues,
    yield* SessionModels.SessionModels,
    yield* SessionUsage.SessionUsage
  ]
  const run = yield* FiberSet.makeRuntime<never>()
  let waiting = new Set<SessionKey>()
  let isLooking = false

  const takeUp = Effect.gen(function* () {
    // Deliveries first: what a run that is taken up tells comes behind them, and is not found by this again.
    const deliveries = yield* outbound.recover
    const found = yield* lanes.recover
    if (found + deliveries > 0) {
      yield* Effect.logInfo("taken up from the log").pipe(
        Effect.annotateLogs({ sessions: found, deliveries })
      )
    }
  })

  const reload = Effect.gen(function* () {
    for (const { reload: again } of kept) yield* again
    yield* lanes.reload
    // A session may have been deleted, and begun anew, where it was not seen here.
    sessions.forgetHistories()
  })

  const lookAt = (session: SessionKey) =>
    Effect.andThen(lanes.look(session), elsewhere.look(session)).pipe(
      Effect.catch((error) => Effect.logDebug("a session could not be looked at", error.message))
    )

  const drain = Effect.gen(function* () {
    while (waiting.size > 0) {
      const all = waiting
      waiting = new Set()
      yield* Effect.forEach(all, lookAt, { concurrency: lookedAtOnce, discard: true })
    }
    isLooking = false
  })

  return {
    taking: lanes.expect,
    taken: takeUp,
    lost: lanes.drop,
    isBusy: lanes.isBusy,
    moved: (found) => {
      for (const session of found) waiting.add(session)
      if (isLooking) return
      isLooking = true
      run(drain)
    },
    kept: reload,
    paused: lanes.pausedElsewhere,
    sweep: (all) =>
      Effect.andThen(takeUp, elsewhere.sweep).pipe(
        Effect.andThen(all ? Effect.andThen(reload, lanes.lookAtAll) : Effect.void)
      )
  } satisfies Keeper<LogError>
})
