/**
 * The one table of what the gateway measures: every metric's name, meaning and labels.
 *
 * Owns: names and descriptions, and the cheap functions that update them.
 * Does not own: how they leave the process (`/metrics`, OTLP).
 *
 * Labels are few and closed: never a session, a sender or a text. A label's value has its own prebuilt metric, so an update
 * allocates nothing. Spans carry the name of the service member that opens them (`Auth.redeem`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const cached = <M>(make: (label: string) => M): ((label: string) => M) => {
  const made = new Map<string, M>()
  return (label) => {
    let metric = made.get(label)
    if (metric === undefined) made.set(label, (metric = make(label)))
    return metric
  }
}

const requests = Metric.counter("opencraw_http_requests_total", {
  description: "HTTP requests by route and status",
  incremental: true
})
const byRoute = cached((route) => cached((status) => Metric.withAttributes(requests, { route, status })))
const authFailures = Metric.counter("opencraw_auth_failures_total", {
  description: "Requests and codes that were refused as nobody's",
  incremental: true
})
const unknownKeys = Metric.counter("opencraw_v1_unknown_keys_total", {
  description: "Keys of /v1 requests that were ignored because this gateway does not know them",
  incremental: true
})
const auditEvents = Metric.gauge("opencraw_audit_waiting", {
  description: "Audit events that the store could not take yet"
})
const sockets = Metric.gauge("opencraw_ws_connections", { description: "Open WebSocket connections" })
const framesIn = Metric.counter("opencraw_ws_frames_received_total", {
  description: "WebSocket messages received",
  incremental: true
})
const droppedDeltas = Metric.counter("opencraw_ws_deltas_dropped_total", {
  description: "Deltas not sent because the reader was too slow",
  incremental: true
})
const slowReaders = Metric.counter("opencraw_ws_slow_readers_total", {
  description: "WebSocket connections closed with 1013 because the reader was too slow",
  incremental: true
})
const lanes = Metric.gauge("opencraw_lanes", { description: "Lanes in memory by phase" })
const laneDepth = Metric.gauge("opencraw_lane_messages", { description: "Messages waiting in lanes" })
const fenced = Metric.gauge("opencraw_runs_fenced", {
  description: "Runs that were told to stop and have not"
})
const modelFailures = Metric.counter("opencraw_model_failures_total", {
  description: "Models that were given up for a step, by reason",
  incremental: true
})
const modelRetries = Metric.counter("opencraw_model_retries_total", {
  description: "Calls of the same model that were repeated, by reason",
  incremental: true
})
const modelChanges = Metric.counter("opencraw_model_changes_total", {
  description: "Runs that went on with another model than they wished for",
  incremental: true
})
const modelsAtRest = Metric.gauge("opencraw_models_resting", {
  description: "Credentials and models at rest after failures, by state"
})
const failuresBy = cached((reason) => Metric.withAttributes(modelFailures, { reason }))
const retriesBy = cached((reason) => Metric.withAttributes(modelRetries, { reason }))
const restingBy = cached((state) => Metric.withAttributes(modelsAtRest, { state }))
const byPhase = cached((phase) => Metric.withAttributes(lanes, { phase }))

const slowRuns = Metric.counter("opencraw_runs_slow_total", {
  description: "Runs that were found long-running, stalled (no progress) or stuck (and begun again)",
  incremental: true
})
const byClass = cached((stall) => Metric.withAttributes(slowRuns, { class: stall }))

const buckets = Metric.gauge("opencraw_buckets_owned", {
  description: "Buckets whose lanes this node has; only where there are several nodes"
})
const takenOver = Metric.counter("opencraw_buckets_taken_over_total", {
  description: "Buckets that were taken from a node that was gone",
  incremental: true
})
const unitsFenced = Metric.counter("opencraw_units_fenced_total", {
  description: "Units that were refused because another node had taken their bucket over",
  incremental: true
})

// Metrics live in the default registry, which every fiber shares.
const none = Context.empty()

/** A request was answered. `route` is the route's pattern, never the path. */
export const answered = (route: string, status: number): void =>
  byRoute(route)(String(status)).updateUnsafe(1, none)

export const authFailed: Effect.Effect<void> = Metric.update(authFailures, 1)

export const auditWaiting = (count: number): void => auditEvents.updateUnsafe(count, none)

export const ignoredKeys = (count: number): Effect.Effect<void> =>
  count === 0 ? Effect.void : Metric.update(unknownKeys, count)

export const socketsOpen = (count: number): void => sockets.updateUnsafe(count, none)
export const frameReceived = (): void => framesIn.updateUnsafe(1, none)
export const deltaDropped = (): void => droppedDeltas.updateUnsafe(1, none)
/** A run was found too slow: long, stalled or stuck. */
export const runSlow = (stall: string): void => byClass(stall).updateUnsafe(1, none)
export const slowReaderClosed = (): void => slowReaders.updateUnsafe(1, none)

/** `reason` is one of a closed list (`model/failure`). */
export const modelFailed = (reason: string): void => failuresBy(reason).updateUnsafe(1, none)
export const modelRetried = (reason: string): void => retriesBy(reason).updateUnsafe(1, none)
export const modelChanged = (): void => modelChanges.updateUnsafe(1, none)
/** Measured when somebody asks. */
export const modelsResting = (cooling: number, disabled: number): void => {
  restingBy("cooling").updateUnsafe(cooling, none)
  restingBy("disabled").updateUnsafe(disabled, none)
}

export const bucketsOwned = (count: number): void => buckets.updateUnsafe(count, none)
export const tookOver = (count: number): void => takenOver.updateUnsafe(count, none)
export const unitFenced = (): void => unitsFenced.updateUnsafe(1, none)

/** The lanes as they are now; measured when somebody asks, so a message costs nothing. */
export const lanesNow = (
  byPhaseCount: Readonly<Record<string, number>>,
  waiting: number,
  fencedRuns: number
): Effect.Effect<void> =>
  Effect.all(
    [
      ...Object.entries(byPhaseCount).map(([phase, count]) => Metric.update(byPhase(phase), count)),
      Metric.update(laneDepth, waiting),
      Metric.update(fenced, fencedRuns)
    ],
    { discard: true }
  )
