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
import type * as Api from "./apiSchemas.ts"
import { type Principal, runsAll } from "./Auth.ts"
import type { Connection, ConnectionListener } from "./Connection.ts"
import { lanesOf } from "./laneLines.ts"
import { Shutdown } from "./Shutdown.ts"
import type { Protocol } from "./Sockets.ts"

/** Shortest time between two frames. */
const every = "500 millis"

/** Lanes told in one frame, those with the oldest message first. */
export const maxLanes = 500

/** An open socket. */
interface Watcher {
  readonly principal: Principal
  readonly connection: Connection
  /** The last frame it was sent. */
  told: string
}

export const make = Effect.gen(function* () {
  const lanes = yield* Lanes
  const shutdown = yield* Shutdown
  const run = yield* FiberSet.makeRuntime<never>()
  const watchers = new Set<Watcher>()
  let ticker: Fiber.Fiber<unknown> | undefined

  /** What each sees of the lanes as they are now; whoever sees the same is told the same text. */
  const look = Effect.map(lanes.list, (all) => {
    const oldest = all.toSorted((a, b) => (a.oldestAt ?? Infinity) - (b.oldestAt ?? Infinity) || 0)
    const frames = new Map<string, string>()
    return (principal: Principal): string => {
      const view = `${runsAll(principal)} ${show(principal.tenant)}`
      const known = frames.get(view)
      if (known !== undefined) return known
      const seen = lanesOf(oldest, principal)
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

  const enter = (watcher: Watcher) => {
    watchers.add(watcher)
    run(Effect.map(look, (frameFor) => tell(watcher, frameFor(watcher.principal))))
    ticker ??= run(Effect.forever(Effect.delay(tellAll, every)))
  }
  const leave = (watcher: Watcher) => {
    watchers.delete(watcher)
    if (watchers.size > 0) return
    ticker?.interruptUnsafe()
    ticker = undefined
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
