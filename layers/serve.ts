/**
 * Runs the gateway until it is told to stop.
 *
 * Owns: the order of start and stop, the ready line, and the exit codes.
 * Does not own: what is in a composition (`Dev`, `Prod`).
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import type * as Dev from "#layers/Dev.ts"
import type * as Prod from "#layers/Prod.ts"
import { NodeServer } from "#layers/gateway/NodeServer.ts"
import * as RunningFile from "#layers/gateway/RunningFile.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import { growSlowly } from "#layers/platform/heap.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { Auth } from "#src/gateway/Auth.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import { Gateway } from "#src/gateway/GatewaySettings.ts"
import { Runtime } from "#src/setting/RuntimeSettings.ts"
import { Shutdown } from "#src/gateway/Shutdown.ts"
import { Placement } from "#src/placement/Placement.ts"
import { modelStatus } from "#src/gateway/probes.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"
import { Agents } from "#src/agent/AgentSettings.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"

/** Which failure of the start gives which code. */
export const codeOf: Readonly<Record<string, number>> = {
  ConfigInvalid: exitCodes.config,
  PortInUse: exitCodes.unavailable,
  CannotListen: exitCodes.unavailable,
  DataDirNotDirectory: exitCodes.dataDir,
  DataDirNotWritable: exitCodes.dataDir,
  DataDirOnNetwork: exitCodes.dataDir,
  KeyFileError: exitCodes.dataDir,
  KeyCommandFailed: exitCodes.config,
  RecordingFolderUnusable: exitCodes.dataDir,
  DataDirLocked: exitCodes.locked,
  SchemaTooNew: exitCodes.store,
  StoreUnfit: exitCodes.store,
  StoreUnreachable: exitCodes.unavailable,
  MigrationFailed: exitCodes.store,
  SqliteFailure: exitCodes.store,
  LogError: exitCodes.store
}

/** How another link is had, as somebody would write it here. */
const openHint = import.meta.url.endsWith(".ts") ? "npm run opencraw -- open" : "opencraw open"

/** Logs go to stderr: the ready line stands alone on stdout. */
export const layerLogger = Logger.layer([
  process.stderr.isTTY
    ? Logger.withConsoleError(Logger.formatLogFmt)
    : Logger.withConsoleError(Logger.formatJson)
])

/** A signal to a whole process group comes twice: by itself and handed on by `npm start`. That is one wish. */
const sameWishMillis = 500

/** SIGHUP means: read the configuration again. On a terminal it means that the terminal is gone, and the gateway with it. */
const reloadOnHangUp = Effect.gen(function* () {
  const { reload } = yield* Settings.Reload
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const onHangUp = () => void run(reloading(reload))
  if (process.stdout.isTTY) return
  process.on("SIGHUP", onHangUp)
  yield* Effect.addFinalizer(() => Effect.sync(() => process.off("SIGHUP", onHangUp)))
})

const reloading = (reload: Settings.Reload["Service"]["reload"]) =>
  reload.pipe(
    Effect.flatMap((later) =>
      later.length === 0
        ? Effect.logInfo("the configuration was read again")
        : Effect.logWarning("the configuration was read again; some of it counts from the next start").pipe(
            Effect.annotateLogs({ sections: later.join(", ") })
          )
    ),
    Effect.catch((error) => Effect.logError("the configuration is wrong; nothing was changed", error.message))
  )

const signalled = Effect.callback<NodeJS.Signals>((resume) => {
  let first: number | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    const now = performance.now()
    if (first === undefined) {
      first = now
      resume(Effect.succeed(signal))
    } else if (now - first > sameWishMillis) {
      // Whoever asks again does not want to wait: what is open stays open for the next start.
      process.exit(128 + (signal === "SIGINT" ? 2 : 15))
    }
  }
  process.on("SIGTERM", onSignal)
  process.on("SIGINT", onSignal)
  if (process.stdout.isTTY) process.on("SIGHUP", onSignal)
})

const running = (onReady: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const server = yield* NodeServer
    const { path } = yield* DataDir
    const stop = yield* Effect.forkScoped(signalled, { startImmediately: true })
    RunningFile.write(path, { url: server.url, pid: process.pid })
    yield* Effect.addFinalizer(() => Effect.sync(() => RunningFile.remove(path)))
    yield* reloadOnHangUp
    yield* greet
    yield* onReady
    const broken = yield* Effect.raceFirst(Effect.as(Fiber.join(stop), undefined), (yield* MessageLog).broken)
    if (broken !== undefined) {
      yield* Effect.logFatal("the store cannot be trusted any more; restart the gateway", broken)
      // A disk that failed wants a look; a database that went away wants another start.
      return (yield* Runtime).get().mode === "dev" ? exitCodes.store : exitCodes.unavailable
    }
    yield* leave
    return exitCodes.ok
  })

const greet = Effect.gen(function* () {
  const server = yield* NodeServer
  const loaded = yield* Settings.Loaded
  for (const warning of loaded.warnings) {
    yield* Effect.logWarning(`${warning.path}: ${warning.problem}`)
  }
  const { demo, setting } = modelStatus((yield* Agents).get())
  if (demo) {
    yield* Effect.logWarning(`answers come from the built-in demo model; set ${setting} for a real one`)
  }
  process.stdout.write(`${JSON.stringify({ event: "gateway.ready", url: server.url, pid: process.pid })}\n`)
  if (process.stdout.isTTY) {
    const code = yield* (yield* Auth).newCode
    process.stdout.write(
      `\n  Open  ${server.url}/#code=${code}\n  (once, within 10 minutes; another: ${openHint})\n\n`
    )
  }
})

/** Nothing new in, what runs ends or stays in the log, then the doors close. */
const leave = Effect.gen(function* () {
  const shutdown = yield* Shutdown
  const grace = (yield* Gateway).get().shutdown_grace_s
  yield* Effect.logInfo("stopping").pipe(Effect.annotateLogs({ graceSeconds: grace }))
  yield* (yield* Inbound.Inbound).stop
  yield* shutdown.begin
  // Lanes that have nothing under way go to other nodes while the others end.
  const away = [(yield* Lanes.Lanes).drain(grace * 1000), (yield* Placement).leave(grace * 1000)]
  yield* Effect.all(away, { concurrency: "unbounded", discard: true })
  yield* shutdown.finish
})

type Either = typeof Dev.layer | typeof Prod.layer
type Composition = Layer.Layer<Layer.Success<typeof Dev.layer>, Layer.Error<Either>, Layer.Services<Either>>

/** The composition of `runtime.mode`; the other one is not even loaded. */
const composition = Layer.unwrap(
  Effect.flatMap(Settings.Loaded, ({ config }) =>
    Effect.promise(async (): Promise<Composition> =>
      config.runtime.mode === "prod"
        ? (await import("#layers/Prod.ts")).layer
        : (await import("#layers/Dev.ts")).layer
    )
  )
)

/** Start, run, stop; the result is the exit code. `onReady` runs once it listens. */
export const serve = (options: Settings.LoadOptions, onReady: Effect.Effect<void> = Effect.void) =>
  Effect.scoped(Effect.andThen(Effect.sync(growSlowly), running(onReady))).pipe(
    Effect.provide(composition.pipe(Layer.provideMerge(Settings.layer(options)))),
    Effect.exit,
    Effect.flatMap((exit) => (Exit.isSuccess(exit) ? Effect.succeed(exit.value) : explain(exit.cause))),
    Effect.provide(layerLogger)
  )

/** Why it did not start, for a person, on stderr; the result is the exit code. */
const explain = (cause: Cause.Cause<{ readonly _tag: string; readonly message: string }>) => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (error === undefined) {
    return Effect.as(Effect.logFatal("the gateway failed unexpectedly", cause), exitCodes.internal)
  }
  process.stderr.write(`${error.message}\n`)
  return Effect.succeed(codeOf[error._tag] ?? exitCodes.internal)
}
