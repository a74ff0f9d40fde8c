/**
 * `opencraw doctor`: everything that must hold, each with what to do about it.
 *
 * Asks the running gateway for its checks; without one it runs the same checks on the same Layers, as far as a start would come.
 * Changes nothing but what a start would: a missing data directory is made.
 */
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as checkLayers from "#layers/checks.ts"
import { optionsOf, print, printJson } from "#layers/gateway/cli/terminal.ts"
import { checkPort } from "#layers/gateway/gatewayChecks.ts"
import * as GatewayClient from "#layers/gateway/GatewayClient.ts"
import { inspectLog } from "#layers/horizons/inspectLog.ts"
import { DataDir, layer as layerDataDir } from "#layers/platform/DataDir.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as Checks from "#src/check/Checks.ts"
import type { Config } from "#src/Config.ts"
import * as Api from "#src/gateway/apiSchemas.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import { format } from "#src/setting/Problem.ts"

type Results = ReadonlyArray<Checks.NamedResult>

const oldestNode = 24

/** Whether this Node can run the gateway. `version` is `process.versions.node`. */
export const judgeNode = (version: string): Checks.CheckResult =>
  Number.parseInt(version, 10) >= oldestNode
    ? { status: "ok", message: `Node ${version}` }
    : {
        status: "failed",
        message: `this is Node ${version}, too old: install Node ${oldestNode} from https://nodejs.org/en/download`
      }

const CheckList = Schema.Struct({ checks: Schema.Array(Api.Check) })

/** What the running gateway finds; undefined when none answers. */
const askRunning = Effect.fnUntraced(function* (loaded: Settings.LoadedConfig, offline: boolean) {
  const client = yield* GatewayClient.find(loaded)
  if (client === undefined) return undefined
  const path = `/api/v1/os/checks${offline ? "?offline=1" : ""}`
  const { checks } = yield* client.call(CheckList, "GET", path)
  return [{ name: "gateway", status: "ok", message: `runs at ${client.url}` } as const, ...checks]
})

/** The store, looked at from outside. */
const inspectStore = Effect.fnUntraced(function* ({ runtime, postgres }: Config, dataDir: string) {
  if (runtime.mode === "dev") return { name: "log", ...inspectLog(join(dataDir, "log.db")) }
  const { judge, placeOf } = yield* Effect.promise(() => import("#layers/horizons/pgFitness.ts"))
  return { name: "database", ...(yield* judge(placeOf(postgres))) }
})

/** The server of the projects' databases, where one is named. */
const inspectProjects = Effect.fnUntraced(function* ({ runtime, postgres, project_db }: Config) {
  if (runtime.mode === "dev" || project_db.url === undefined) return []
  const { judgeProjects, placeOf } = yield* Effect.promise(() => import("#layers/horizons/pgFitness.ts"))
  return [{ name: "project_db", ...(yield* judgeProjects(project_db, placeOf(postgres))) }]
})

/** The same checks, as far as they make sense without one. */
const withoutGateway = Effect.fnUntraced(function* (loaded: Settings.LoadedConfig, offline: boolean) {
  const { config } = loaded
  const place = config.runtime.data_dir ?? ""
  const found: Array<Checks.NamedResult> = []
  const diagnosed = <A, E>(layer: Layer.Layer<A, E, Checks.Checks>) =>
    Effect.flatMap(Checks.Checks, (checks) => checks.diagnose({ offline })).pipe(
      Effect.provide(Layer.provideMerge(layer, Checks.layer))
    )
  found.push(...(yield* diagnosed(checkLayers.layer.pipe(Layer.provide(Settings.fromLoaded(loaded))))))
  const held = Effect.gen(function* () {
    const { path } = yield* DataDir
    const own = yield* diagnosed(
      checkLayers.layerDataDir.pipe(Layer.provide(Layer.succeed(DataDir)({ path })))
    )
    return [
      { name: "data directory", status: "ok", message: path } as const,
      ...own,
      yield* inspectStore(config, path),
      ...(yield* inspectProjects(config))
    ]
  }).pipe(
    Effect.provide(layerDataDir(place)),
    Effect.catch((error) =>
      Effect.succeed<Results>([{ name: "data directory", status: "failed", message: error.message }])
    )
  )
  found.push(...(yield* held))
  found.push({ name: "port", ...(yield* checkPort(config.gateway)) })
  return found
})

/** Every check and what it found. `offline` calls no provider. */
export const examine = Effect.fnUntraced(function* (options: Settings.LoadOptions, offline: boolean) {
  const node: Checks.NamedResult = { name: "node", ...judgeNode(process.versions.node) }
  const loaded = yield* Effect.result(Settings.load(options))
  if (loaded._tag === "Failure") {
    const { file, problems } = loaded.failure
    const where = file === undefined ? "" : ` in ${file}`
    return [
      node,
      ...problems.map(({ line, ...problem }) => ({
        name: "configuration",
        status: "failed" as const,
        message: `${format(problem)}${where}${line === undefined ? "" : `, line ${line}`}`
      }))
    ]
  }
  const running = yield* Effect.result(askRunning(loaded.success, offline))
  if (running._tag === "Success" && running.success !== undefined) {
    const { config } = loaded.success
    // In prod the running gateway has looked at its database itself.
    if (config.runtime.mode === "prod") return [node, ...running.success]
    return [node, ...running.success, yield* inspectStore(config, config.runtime.data_dir ?? "")]
  }
  if (running._tag === "Failure" && running.failure.code !== exitCodes.unavailable) {
    return [node, { name: "gateway", status: "failed" as const, message: running.failure.message }]
  }
  const gateway = {
    name: "gateway",
    status: "ok",
    message: `none runs; this is what a start would find (start it: ${GatewayClient.startHint})`
  } as const
  return [node, gateway, ...(yield* withoutGateway(loaded.success, offline))]
})

/** The exit code is 2 when a check failed. */
export const doctor = Effect.fn("doctor")(function* (given: Given) {
  const results: Results = yield* examine(optionsOf(given), given.values.has("offline"))
  const isWell = results.every(({ status }) => status !== "failed")
  if (given.values.has("json")) printJson({ ok: isWell, checks: results })
  else print(render.checks(results))
  return isWell ? exitCodes.ok : exitCodes.negative
})
