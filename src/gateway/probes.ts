/** What operators and their tools ask: is it up, is it ready, how is it doing; and the page. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { Agents } from "#src/agent/AgentSettings.ts"
import { Checks } from "#src/check/Checks.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { ModelHealth } from "#src/model/ModelHealth.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { notFound } from "./ApiError.ts"
import * as ModelNames from "./modelNames.ts"
import { restingOf } from "./modelsNow.ts"
import { PageFiles } from "./PageFiles.ts"
import type { Route } from "./Routing.ts"
import { Shutdown } from "./Shutdown.ts"

/** What the main agent answers with, and what to set when that is only the demo. */
export const modelStatus = (agents: ModelNames.AgentTable) => {
  const model = ModelNames.modelOf(agents, "main")
  const demo = model.startsWith("demo/")
  return {
    model,
    demo,
    ...(demo ? { setting: 'general.model = "provider/model" (or OPENCRAW_MODEL=provider/model)' } : {})
  }
}

export const make = Effect.gen(function* () {
  const agents = yield* Agents
  const checks = yield* Checks
  const lanes = yield* Lanes
  const shutdown = yield* Shutdown
  const modelHealth = yield* ModelHealth
  // The route is open, so that asking often must cost nothing.
  const results = yield* Effect.cachedWithTTL(checks.run, "1 second")

  const ready = Effect.gen(function* () {
    const found = yield* results
    const failed = found.some((check) => check.status === "failed")
    const resting = modelHealth.resting(yield* Clock.currentTimeMillis).map(restingOf)
    const status = shutdown.isStopping() ? "stopping" : failed ? "not_ready" : "ready"
    return HttpServerResponse.jsonUnsafe(
      {
        status,
        ...modelStatus(agents.get()),
        ...(resting.length === 0 ? {} : { resting }),
        checks: found.map((check) => ({ name: check.name, status: check.status }))
      },
      { status: status === "ready" ? 200 : 503 }
    )
  })

  const metrics = Effect.gen(function* () {
    const all = yield* lanes.list
    const phases: Record<string, number> = { idle: 0, running: 0, parked: 0, waiting: 0 }
    for (const lane of all) phases[lane.phase] = (phases[lane.phase] ?? 0) + 1
    const sum = (value: (lane: (typeof all)[number]) => number) =>
      all.reduce((total, lane) => total + value(lane), 0)
    yield* Telemetry.lanesNow(
      phases,
      sum((lane) => lane.depth),
      sum((lane) => lane.fenced)
    )
    const resting = modelHealth.resting(yield* Clock.currentTimeMillis)
    const disabled = resting.filter(({ state }) => state === "disabled").length
    Telemetry.modelsResting(resting.length - disabled, disabled)
    return HttpServerResponse.text(yield* PrometheusMetrics.format(), {
      contentType: "text/plain; version=0.0.4; charset=utf-8"
    })
  })

  const health = Effect.sync(() => HttpServerResponse.jsonUnsafe({ status: "ok" }))

  const routes: ReadonlyArray<Route> = [
    { method: "GET", path: "/health", access: "open", handle: () => health },
    { method: "GET", path: "/ready", access: "open", handle: () => ready },
    { method: "GET", path: "/metrics", access: "read", isShared: true, handle: () => metrics }
  ]
  return routes
})

/** A file of the page, for a path that no route has. */
export const makePage = Effect.gen(function* () {
  const files = yield* PageFiles
  return Effect.fnUntraced(function* (path: string) {
    const file = yield* files.read(path)
    if (file === undefined) {
      return yield* path === "/"
        ? notFound("the page is not built: npm run build", "page_not_built")
        : notFound("there is nothing at this path")
    }
    return HttpServerResponse.uint8Array(file.bytes, {
      contentType: file.contentType,
      headers: { "cache-control": file.isImmutable ? "public, max-age=31536000, immutable" : "no-cache" }
    })
  })
})
