/**
 * Tells the audit log who did what.
 *
 * Owns: that an event is not lost while the store cannot take it, and that refused authentications are counted instead of told one by
 * one. Does not own: what is stored of an event (`AuditLog`), nor which acts are told.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type { AuditAction, AuditDetail, AuditEvent } from "#src/domain/AuditEvent.ts"
import { Ids } from "#src/domain/Ids.ts"
import { local, type Tenant } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import * as Telemetry from "#src/Telemetry.ts"

/** What was done: an event without its time and id. */
export interface Act {
  /** In whose data; without one it is about the installation, and stands with the first tenant's. */
  readonly tenant?: Tenant
  readonly actor: string
  readonly action: AuditAction
  readonly subject?: string
  readonly detail?: AuditDetail
}

/** What somebody showed who was refused. */
export type Shown = "nothing" | "token" | "key" | "cookie" | "code"

export class Audit extends Context.Service<
  Audit,
  {
    /** The event of this act, now: for a change that stores it beside itself. */
    readonly eventOf: (act: Act) => Effect.Effect<AuditEvent>
    /**
     * Store the act's event; waits until it is durable. While the store cannot take it, it is logged and kept, and tried again until it
     * is stored.
     */
    readonly record: (act: Act) => Effect.Effect<void>
    /** Do it, and record it when it was done. Whoever asked may go meanwhile: the two stay together. */
    readonly recorded: <A, E, R>(act: Act, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    /** Somebody was refused. Counted at once; a minute's count becomes one event. */
    readonly refused: (shown: Shown) => void
  }
>()("opencraw/access/Audit") {}

/** Events kept in memory while the store cannot take them; beyond it the oldest are in the log of the process only. */
const maxWaiting = 10_000
const again = "5 seconds"
const countedFor = "1 minute"
const atTheEnd = "5 seconds"

export const make = Effect.gen(function* () {
  const log = yield* AuditLog
  const ids = yield* Ids
  const run = yield* FiberSet.makeRuntime<never>()
  let waiting: ReadonlyArray<AuditEvent> = []
  let retrying: Fiber.Fiber<unknown> | undefined
  let counts: Partial<Record<Shown, number>> = {}
  let counting = false

  const eventOf = ({ tenant = local, actor, action, subject = "", detail = {} }: Act) =>
    Effect.map(Clock.currentTimeMillis, (at): AuditEvent => ({
      id: ids.next("aud"),
      tenant,
      at,
      actor,
      action,
      subject,
      detail
    }))

  const storeWaiting = Effect.gen(function* () {
    const events = waiting
    yield* log.append(events)
    waiting = waiting.filter((event) => !events.includes(event))
    Telemetry.auditWaiting(waiting.length)
  })

  const retry = Effect.gen(function* () {
    while (waiting.length > 0) {
      yield* Effect.sleep(again)
      yield* Effect.ignore(storeWaiting)
    }
    retrying = undefined
  })

  const keep = (event: AuditEvent, why: string) =>
    Effect.gen(function* () {
      // The whole event: should the process die before the store is back, it stands here.
      yield* Effect.logError("an audit event could not be stored yet", why).pipe(
        Effect.annotateLogs({ event: JSON.stringify(event) })
      )
      waiting = [...waiting, event].slice(-maxWaiting)
      Telemetry.auditWaiting(waiting.length)
      retrying ??= run(retry)
    })

  const store = (event: AuditEvent) =>
    Effect.uninterruptible(Effect.catch(log.append([event]), ({ message }) => keep(event, message)))

  const refusedEvent = Effect.suspend(() => {
    counting = false
    const detail = counts
    counts = {}
    return Object.keys(detail).length === 0
      ? Effect.succeed(undefined)
      : eventOf({ actor: "nobody", action: "auth.refused", detail })
  })
  const tellRefused = Effect.flatMap(refusedEvent, (event) =>
    event === undefined ? Effect.void : store(event)
  )

  /** What is left when the process ends; a store that is away must not hold that up for long. */
  const tellRest = Effect.gen(function* () {
    const event = yield* refusedEvent
    if (event !== undefined) waiting = [...waiting, event]
    if (waiting.length === 0) return
    yield* storeWaiting.pipe(Effect.interruptible, Effect.timeoutOption(atTheEnd), Effect.ignore)
    if (waiting.length === 0) return
    yield* Effect.logError("audit events were not stored before the end").pipe(
      Effect.annotateLogs({ events: JSON.stringify(waiting) })
    )
  })
  yield* Effect.addFinalizer(() => tellRest)

  const record = Effect.fn("Audit.record")(function* (act: Act) {
    yield* store(yield* eventOf(act))
  })

  return Audit.of({
    eventOf,
    record,
    recorded: (act, effect) => Effect.uninterruptible(Effect.tap(effect, () => record(act))),
    refused: (shown) => {
      counts[shown] = (counts[shown] ?? 0) + 1
      if (counting) return
      counting = true
      run(Effect.delay(tellRefused, countedFor))
    }
  })
})

export const layer = Layer.effect(Audit, make)
