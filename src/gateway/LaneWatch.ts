/**
 * `/ws/lanes`: what the lanes are doing, told to whoever looks on.
 *
 * Owns: telling it at once and after every change, at most twice a second, in bounded memory for a slow reader.
 * Does not own: the lanes (`Lanes`), what is done to them (`laneRoutes`), or who may look (`Sockets`).
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Result from "effect/Result"
import { show } from "#src/domain/Tenant.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { Placement } from "#src/placement/Placement.ts"
import type * as Api from "./apiSchemas.ts"
import { type Principal, runsAll } from "./Auth.ts"
import type { Connection, ConnectionListener } from "./Connection.ts"
import * as LaneLines from "./laneLines.ts"
import { Shutdown } from "./Shutdown.ts"
import type { Protocol } from "./Sockets.ts"

/** Shortest time between two frames. */
const every = "500 millis"
/** How often the log is asked for what other nodes' lanes have to do, while somebody looks on. */
const everyOther = "2 seconds"

/** Lanes told in one frame, those with the oldest message first. */
export const maxLanes = 500

/** An open socket. */
interface Watcher {
  readonly principal: Principal
  readonly connection: Connection
  /** The last frame it was sent. */
  told: string
}

const viewOf = (principal: Principal): string => `${runsAll(principal)} ${show(principal.tenant)}`

export const make = Effect.gen(function* () {
  const lanes = yield* Lanes
  const shutdown = yield* Shutdown
  const { isShared } = yield* Placement
  const elsewhere = yield* LaneLines.elsewhere
  const run = yield* FiberSet.makeRuntime<never>()
  const watchers = new Set<Watcher>()
  /** What other nodes' lanes have to do, by what of them is seen. */
  const others = new Map<string, ReadonlyArray<typeof Api.Lane.Type>>()
  let tickers: ReadonlyArray<Fiber.Fiber<unknown>> = []

  /** What each sees of the lanes as they are now; whoever sees the same is told the same text. */
  const look = Effect.map(lanes.list, (all) => {
    const frames = new Map<string, string>()
    return (principal: Principal): string => {
      const view = viewOf(principal)
      const known = frames.get(view)
      if (known !== undefined) return known
      const seen = [...LaneLines.lanesOf(all, principal), ...(others.get(view) ?? [])].toSorted(
        (a, b) => (a.oldest_at ?? Infinity) - (b.oldest_at ?? Infinity) || 0
      )
      const frame = JSON.stringify({
        type: "lanes",
        paused: lanes.isPaused(),
        total: seen.length,
        lanes: seen.slice(0, maxLanes)
      } satisfies typeof Api.LanesFrame.Type)
      frames.set(view, frame)
      return frame
    }
  })

  // A frame says everything, so whoever has not taken the last one yet waits for the one that is true by then.
  const tell = (watcher: Watcher, frame: string) => {
    if (watcher.told === frame || watcher.connection.buffered() > 0) return
    watcher.told = frame
    watcher.connection.send(frame)
  }
  const tellAll = Effect.map(look, (frameFor) => {
    for (const watcher of watchers) tell(watcher, frameFor(watcher.principal))
  })

  /** What a store that is busy does not tell now stays as it was. */
  const lookElsewhere = (principal: Principal) =>
    Effect.ignore(
      Effect.tap(elsewhere(principal), (found) => Effect.sync(() => others.set(viewOf(principal), found)))
    )
  const lookAllElsewhere = Effect.suspend(() =>
    Effect.forEach(
      new Map(Array.from(watchers, ({ principal }) => [viewOf(principal), principal])).values(),
      lookElsewhere,
      { discard: true }
    )
  )

  const enter = (watcher: Watcher) => {
    const { principal } = watcher
    watchers.add(watcher)
    run(
      (others.has(viewOf(principal)) ? Effect.void : lookElsewhere(principal)).pipe(
        Effect.andThen(look),
        Effect.map((frameFor) => tell(watcher, frameFor(principal)))
      )
    )
    if (tickers.length > 0) return
    tickers = [
      run(Effect.forever(Effect.delay(tellAll, every))),
      ...(isShared ? [run(Effect.forever(Effect.delay(lookAllElsewhere, everyOther)))] : [])
    ]
  }
  const leave = (watcher: Watcher) => {
    watchers.delete(watcher)
    const view = viewOf(watcher.principal)
    // What nobody looks at is not asked for, and would be old for the next one.
    if (![...watchers].some(({ principal }) => viewOf(principal) === view)) others.delete(view)
    if (watchers.size > 0) return
    for (const ticker of tickers) ticker.interruptUnsafe()
    tickers = []
  }

  const attach =
    (principal: Principal) =>
    (connection: Connection): ConnectionListener => {
      const watcher: Watcher = { principal, connection, told: "" }
      const offSteps = shutdown.onStep((step) => {
        if (step === "finish") connection.close(1001, "the gateway is stopping")
      })
      enter(watcher)
      const refuse = () => connection.close(1008, "this socket only tells")
      return {
        onText: refuse,
        onBinary: refuse,
        onDrain: () => undefined,
        onClose: () => {
          offSteps()
          leave(watcher)
        }
      }
    }

  return {
    access: "read",
    parameters: new Set<string>(),
    open: (principal) => Result.succeed(attach(principal))
  } satisfies Protocol
})
