/**
 * The one way out: what was committed to the outbox reaches its channel.
 *
 * Owns: order per route, retry, uncertainty, dead letters and redelivery.
 * Does not own: cutting an answer into parts or committing it (`lane`), nor wire formats (channel adapters).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Channels from "#src/channel/Channels.ts"
import { Failpoint } from "#src/domain/Failpoint.ts"
import { deliveryId } from "#src/domain/Ids.ts"
import type { Route } from "#src/domain/Inbound.ts"
import { placeOf, type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import type { DeliveryRow, LogError, Place } from "#src/horizons/MessageLog.ts"
import { Placement } from "#src/placement/Placement.ts"
import { humanDelayOf, Streaming } from "./StreamSettings.ts"

export class Outbound extends Context.Service<
  Outbound,
  {
    /** Committed outbox rows are ready: send them, in order per route. Returns at once. */
    readonly wake: (rows: ReadonlyArray<DeliveryRow>) => void
    /** The person's own client has the answer (transcript entry id). False when nothing waited for that. Idempotent. */
    readonly confirm: (session: SessionKey, entryId: string) => Effect.Effect<boolean, LogError>
    /** Rows of the session that were not confirmed yet, oldest first, none older than 7 days. */
    readonly waiting: (session: SessionKey) => Effect.Effect<ReadonlyArray<DeliveryRow>, LogError>
    /** Nothing waits to be sent on this route. */
    readonly isIdle: (route: Route) => boolean
    /** Take up what is unsent in the log and does not wait here yet: what an earlier process left, or another node. Returns how many rows. */
    readonly recover: Effect.Effect<number, LogError>
  }
>()("opencraw/outbound/Outbound") {}

/** A person who does not come back is not written to for ever. */
const redeliveryMillis = 7 * 24 * 3600 * 1000
/** Routes whose newest part is remembered for the pause before the next one. */
const mostRemembered = 1000
const storeBackoff = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])
/** Waits between tries of one send: 1 s, doubling, at most a minute. */
const sendDelay = (attempts: number) => Math.min(60_000, 1000 * 2 ** Math.min(10, attempts - 1))

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const channels = yield* Channels.Channels
  const failpoint = yield* Failpoint
  const streaming = yield* Streaming
  const placement = yield* Placement
  const fibers = yield* FiberSet.make<void>()
  const fork = yield* FiberSet.runtime(fibers)()
  /** What waits on each route that is being served; a route without work has no entry. */
  const routes = new Map<string, Array<DeliveryRow>>()

  /** When the newest part of an answer left on a route; kept only while there are pauses between parts. */
  const left = new Map<string, { readonly runId: string; readonly at: number }>()

  /** A person does not write several messages in the same moment. */
  const pause = Effect.fnUntraced(function* (key: string, row: DeliveryRow) {
    const delay = humanDelayOf(streaming.get())
    const last = left.get(key)
    if (delay === undefined || last?.runId !== row.runId) return
    const millis = yield* Random.nextIntBetween(delay[0], delay[1])
    const since = (yield* Clock.currentTimeMillis) - last.at
    if (since < millis) yield* Effect.sleep(millis - Math.max(0, since))
  })
  const remember = Effect.fnUntraced(function* (key: string, { runId }: DeliveryRow) {
    if (humanDelayOf(streaming.get()) === undefined) return left.clear()
    left.delete(key)
    left.set(key, { runId, at: yield* Clock.currentTimeMillis })
    const oldest = left.size > mostRemembered ? left.keys().next().value : undefined
    if (oldest !== undefined) left.delete(oldest)
  })

  const enqueue = (rows: ReadonlyArray<DeliveryRow>): void => {
    for (const row of rows) {
      const channel = channels.find(row.route.channel)
      // The node that has the lane also sends.
      if (channel === undefined || !placement.isHere(row.place.session)) continue
      const key = keyOf(row.route)
      const queue = routes.get(key)
      if (queue === undefined) {
        routes.set(key, [row])
        fork(serve(key, channel))
      } else queue.push(row)
    }
  }

  /** One route's rows, one after the other; ends when there are none, in the same turn as it sees so. */
  const serve = (key: string, channel: Channels.Channel): Effect.Effect<void> =>
    Effect.gen(function* () {
      const queue = routes.get(key)!
      while (true) {
        const row = queue[0]
        if (row === undefined) {
          routes.delete(key)
          return
        }
        if (placement.isHere(row.place.session)) {
          yield* pause(key, row)
          yield* deliver(channel, row)
          yield* remember(key, row)
        }
        queue.shift()
      }
    })

  const deliver = (channel: Channels.Channel, row: DeliveryRow): Effect.Effect<void> =>
    Effect.gen(function* () {
      // A change of a message that is there can be repeated.
      if (row.state === "sending" && channel.delivery === "blind" && row.edits === undefined) {
        // A send had begun and nobody knows how it ended: a blind channel cannot be asked, and a second copy is worse than a gap.
        return yield* ended(row, "uncertain", undefined, "the gateway stopped while this was being sent")
      }
      let attempts = row.attempts
      let edits = channel.editing === undefined ? undefined : row.edits
      while (true) {
        attempts++
        if (channel.delivery !== "keyed") yield* begun(row)
        const result = yield* Effect.result(
          edits === undefined || channel.editing === undefined
            ? channel.send({ id: row.id, session: row.place.session, route: row.route, text: row.text })
            : Effect.as(channel.editing.change(row.route, edits, row.text), edits)
        )
        failpoint("mid-send")
        if (result._tag === "Success") {
          if (result.success !== undefined) yield* ended(row, "sent", result.success, undefined)
          return
        }
        const error = result.failure
        if (error.kind === "permanent" && edits !== undefined) {
          // The message is gone or may not be changed any more: its text is sent by itself.
          edits = undefined
          continue
        }
        if (error.kind === "permanent") return yield* ended(row, "dead", undefined, error.detail)
        if (error.kind === "uncertain" && channel.delivery === "blind" && edits === undefined) {
          return yield* ended(row, "uncertain", undefined, error.detail)
        }
        yield* Effect.sleep(error.retryAfterMillis ?? sendDelay(attempts))
      }
    }).pipe(
      Effect.catch((error: LogError) =>
        error.reason._tag === "Fenced"
          ? Effect.void
          : // The store is broken, and the gateway about to end: what comes behind on this route must not overtake.
            Effect.andThen(Effect.logError("a delivery could not be recorded", error.message), Effect.never)
      )
    )

  /** Its lane's fence, as it was when the row came. */
  const fencedPlace = ({ place }: DeliveryRow): Place => {
    const fence = place.fence ?? placement.fenceOf(place.session)
    return fence === undefined ? place : { ...place, fence }
  }

  const begun = (row: DeliveryRow) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) =>
      log.commit({ _tag: "SendBegun", place: fencedPlace(row), deliveryId: row.id, at })
    ).pipe(Effect.retry({ while: (error) => error.isRetryable, schedule: storeBackoff }))

  const ended = (
    row: DeliveryRow,
    state: "sent" | "uncertain" | "dead",
    receipt: string | undefined,
    detail: string | undefined
  ) =>
    Effect.gen(function* () {
      if (state !== "sent") {
        yield* Effect.logWarning("a delivery ended without a receipt").pipe(
          Effect.annotateLogs({ delivery: row.id, channel: row.route.channel, state })
        )
      }
      const at = yield* Clock.currentTimeMillis
      // What has been sent is recorded by whoever sent it, also when the lane is another node's by now.
      const { fence: _, ...place } = row.place
      yield* log
        .commit({
          _tag: "SendEnded",
          place,
          deliveryId: row.id,
          state,
          ...(receipt === undefined ? {} : { receipt }),
          ...(detail === undefined ? {} : { detail }),
          at
        })
        .pipe(Effect.retry({ while: (error) => error.isRetryable, schedule: storeBackoff }))
    })

  const confirm = Effect.fnUntraced(function* (session: SessionKey, entryId: string) {
    const committed = yield* log.commit({
      _tag: "SendEnded",
      place: placeOf(session),
      deliveryId: deliveryId(`dlv_${entryId}_0`),
      state: "sent",
      receipt: "client",
      at: yield* Clock.currentTimeMillis
    })
    return committed.changed
  })

  const waiting = Effect.fnUntraced(function* (session: SessionKey) {
    const createdAfter = (yield* Clock.currentTimeMillis) - redeliveryMillis
    const rows = yield* log.undelivered({ tenant: tenantOf(session), session, createdAfter, limit: 1000 })
    return rows.filter((row) => channels.find(row.route.channel)?.confirmsLater === true)
  })

  const recover = Effect.fn("Outbound.recover")(function* () {
    const createdAfter = (yield* Clock.currentTimeMillis) - redeliveryMillis
    let count = 0
    const told = channels.all().filter(({ confirmsLater }) => !confirmsLater)
    const all = told.length === 0 ? [] : yield* log.tenants({ having: "undelivered" })
    for (const channel of told) {
      for (const tenant of all) {
        const rows = yield* log.undelivered({ tenant, channel: channel.name, createdAfter, limit: 10_000 })
        const fresh = rows.filter(isUnknown)
        enqueue(fresh)
        count += fresh.length
      }
    }
    return count
  })

  const isUnknown = ({ id, route, place }: DeliveryRow): boolean =>
    placement.isHere(place.session) && routes.get(keyOf(route))?.some((row) => row.id === id) !== true

  return Outbound.of({
    wake: enqueue,
    confirm,
    waiting,
    isIdle: (route) => !routes.has(keyOf(route)),
    recover: recover()
  })
})

export const layer = Layer.effect(Outbound, make)

const keyOf = (route: Route) => `${route.channel} ${route.account} ${route.conversation} ${route.thread}`
