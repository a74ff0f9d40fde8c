/**
 * Reads the configuration: the only reader of files and environment.
 *
 * Owns: where a configuration is found, its text, and the Layers of every settings service.
 * Does not own: what it may say and what must hold in it (`src/Config.ts`).
 *
 * Looked for, first found wins: `--config FILE`, `OPENCRAW_CONFIG`, `./opencraw.toml`, `<data dir>/config.toml`.
 * The first two must exist. Without any file the defaults and the environment count.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Toml from "effect/encoding/Toml"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { existsSync, readFileSync, statSync } from "node:fs"
import { homedir } from "node:os"
import { dirname, join, resolve as absolute } from "node:path"
import { Agents } from "#src/agent/AgentSettings.ts"
import { type Config, ConfigInvalid, type Environment, resolve } from "#src/Config.ts"
import { ContextWindow } from "#src/context/ContextSettings.ts"
import { Streaming } from "#src/outbound/StreamSettings.ts"
import { Gateway } from "#src/gateway/GatewaySettings.ts"
import { Nodes } from "#src/placement/NodesSettings.ts"
import { PostgresPlace } from "#src/horizons/PostgresSettings.ts"
import { ProjectDbPlace } from "#src/horizons/ProjectDbSettings.ts"
import { SecretsPlace } from "#src/horizons/SecretsSettings.ts"
import { ApprovalTimes } from "#src/approval/ApprovalSettings.ts"
import { Retention } from "#src/session/RetentionSettings.ts"
import { InboundWindow, Queue, Stall } from "#src/lane/QueueSettings.ts"
import { ModelRules } from "#src/model/ModelSettings.ts"
import { Providers } from "#src/model/ProviderSettings.ts"
import { UsageRules } from "#src/model/UsageSettings.ts"
import type { Problem } from "#src/setting/Problem.ts"
import { Runtime } from "#src/setting/RuntimeSettings.ts"
import type { Setting } from "#src/setting/Setting.ts"
import { lineOf } from "./tomlLines.ts"

export interface LoadOptions {
  /** `--config FILE`. */
  readonly argvConfig?: string | undefined
  /** By default those of the process. */
  readonly env?: Environment
  readonly cwd?: string
  readonly home?: string
}

/** A configuration and where it came from. */
export interface LoadedConfig {
  /** Its paths are absolute, and `runtime.data_dir` is set. */
  readonly config: Config
  /** Absent when no file was found. */
  readonly file: string | undefined
  /** What works but was probably not meant, to be told at start. */
  readonly warnings: ReadonlyArray<Problem>
}

/** The configuration this process runs on. */
export class Loaded extends Context.Service<Loaded, LoadedConfig>()(
  "opencraw/layers/platform/Settings/Loaded"
) {}

/** Find, read and check the configuration. Fails with everything that is wrong in it. */
export const load = Effect.fn("Settings.load")(function* (options: LoadOptions = {}) {
  const env = options.env ?? process.env
  const cwd = options.cwd ?? process.cwd()
  const home = options.home ?? homedir()
  const set = (name: string) => env[name] || undefined
  const defaultDataDir = place(set("OPENCRAW_DATA_DIR") ?? "~/.opencraw", cwd, home)
  const wanted = options.argvConfig ?? set("OPENCRAW_CONFIG")
  const file = wanted === undefined ? foundFile(options) : place(wanted, cwd, home)
  const text = file === undefined ? "" : yield* read(file)
  const written = yield* parse(text, file)
  const { config, warnings } = yield* Effect.fromResult(
    Result.mapError(resolve(written, env), (problems) => invalid(problems, text, file))
  )
  // A path in the file is seen from the file; one in the environment from where we were started.
  const base = file === undefined ? cwd : dirname(file)
  const dataDir =
    set("OPENCRAW_DATA_DIR") === undefined && config.runtime.data_dir !== undefined
      ? place(config.runtime.data_dir, base, home)
      : defaultDataDir
  const agents = Object.fromEntries(
    Object.entries(config.agents).map(([name, agent]) => [
      name,
      agent.workspace === undefined ? agent : { ...agent, workspace: place(agent.workspace, base, home) }
    ])
  )
  const providers = Object.fromEntries(
    Object.entries(config.providers).map(([name, provider]) => [
      name,
      provider.folder === undefined ? provider : { ...provider, folder: place(provider.folder, base, home) }
    ])
  )
  const { record } = config.runtime
  const recordBase = set("OPENCRAW_RECORD") === undefined ? base : cwd
  const runtime = {
    ...config.runtime,
    data_dir: dataDir,
    ...(record === undefined ? {} : { record: place(record, recordBase, home) })
  }
  return {
    config: { ...config, agents, providers, runtime },
    file,
    warnings: [...warnings, ...exposed(file, written)]
  } satisfies LoadedConfig
})

/** The name of a configuration in the folder that the gateway is started in. */
export const fileName = "opencraw.toml"

/** The file that counts when none is named; undefined when there is none. */
export const foundFile = ({ env = process.env, cwd = process.cwd(), home = homedir() }: LoadOptions = {}) => {
  const dataDir = place(env["OPENCRAW_DATA_DIR"] || "~/.opencraw", cwd, home)
  return [join(cwd, fileName), join(dataDir, "config.toml")].find((path) => existsSync(path))
}

const place = (path: string, base: string, home: string): string =>
  path === "~" || path.startsWith("~/") ? join(home, path.slice(1)) : absolute(base, path)

const read = (file: string): Effect.Effect<string, ConfigInvalid> =>
  Effect.try({
    try: () => readFileSync(file, "utf8"),
    catch: (cause) =>
      new ConfigInvalid({ file, problems: [{ path: "", problem: `cannot be read (${codeOf(cause)})` }] })
  })

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "unknown reason"

const parse = (text: string, file: string | undefined): Effect.Effect<unknown, ConfigInvalid> =>
  Effect.fromResult(
    Result.mapError(Toml.parse(text), ({ message }) => {
      const at = / at line (\d+), column (\d+)$/.exec(message)
      // The parser repeats a value it cannot read, which may be a secret somebody forgot to quote.
      const reason = message
        .slice(0, at?.index)
        .replace(/^(Invalid value|Invalid date-time|Integer out of range) .*$/s, "$1")
      const hint = reason === "Invalid value" ? { hint: "text stands in quotes" } : {}
      return new ConfigInvalid({
        ...(file === undefined ? {} : { file }),
        problems: [
          {
            path: "",
            problem: `is not valid TOML: ${reason}`,
            ...hint,
            ...(at === null ? {} : { line: Number(at[1]) })
          }
        ]
      })
    })
  )

const invalid = (problems: ReadonlyArray<Problem>, text: string, file: string | undefined): ConfigInvalid =>
  new ConfigInvalid({
    ...(file === undefined ? {} : { file }),
    problems: problems.map((problem) => {
      const line = lineOf(text, problem.path)
      return line === undefined ? problem : Object.assign({ line }, problem)
    })
  })

// A file that everybody may read and that holds a secret in plain text.
const exposed = (file: string | undefined, written: unknown): ReadonlyArray<Problem> => {
  if (file === undefined || process.platform === "win32" || !holdsSecret(written)) return []
  return (statSync(file).mode & 0o004) === 0
    ? []
    : [{ path: "", problem: `${file} holds a secret and everybody may read it`, hint: `chmod 600 ${file}` }]
}

const holdsSecret = (node: unknown, key = ""): boolean => {
  if (typeof node === "string") return isSecret(key, node) && !/^\$\{[A-Z0-9_]+\}$/.test(node)
  if (typeof node !== "object" || node === null) return false
  return Object.entries(node).some(([name, child]) => holdsSecret(child, name))
}

/** A database's address holds the password. */
const isSecret = (key: string, text: string): boolean =>
  key === "api_key" || key === "token" || key === "key" || (key === "url" && /:\/\/[^/@]*:[^/@]+@/.test(text))

/** A setting that does not change while the process runs. */
const fixed = <A>(value: A): Setting<A> => ({ get: () => value, changes: Stream.succeed(value) })

type Settings = { readonly [Section in keyof Config]: Setting<Config[Section]> }

const servicesOf = (settings: Settings) =>
  Context.empty().pipe(
    Context.add(Runtime, settings.runtime),
    Context.add(Agents, settings.agents),
    Context.add(Providers, settings.providers),
    Context.add(ModelRules, settings.models),
    Context.add(Gateway, settings.gateway),
    Context.add(PostgresPlace, settings.postgres),
    Context.add(SecretsPlace, settings.secrets),
    Context.add(ProjectDbPlace, settings.project_db),
    Context.add(Nodes, settings.nodes),
    Context.add(Queue, settings.queue),
    Context.add(InboundWindow, settings.inbound),
    Context.add(Retention, settings.retention),
    Context.add(ApprovalTimes, settings.approval),
    Context.add(Stall, settings.stall),
    Context.add(ContextWindow, settings.context),
    Context.add(Streaming, settings.stream),
    Context.add(UsageRules, settings.usage)
  )

/** Every settings service, from one configuration that stays as it is. */
export const fromConfig = (config: Config) =>
  Layer.succeedContext(
    servicesOf({
      runtime: fixed(config.runtime),
      agents: fixed(config.agents),
      providers: fixed(config.providers),
      models: fixed(config.models),
      gateway: fixed(config.gateway),
      postgres: fixed(config.postgres),
      secrets: fixed(config.secrets),
      project_db: fixed(config.project_db),
      nodes: fixed(config.nodes),
      queue: fixed(config.queue),
      inbound: fixed(config.inbound),
      retention: fixed(config.retention),
      approval: fixed(config.approval),
      stall: fixed(config.stall),
      context: fixed(config.context),
      stream: fixed(config.stream),
      usage: fixed(config.usage)
    })
  )

/** Sections that a running gateway takes anew; the others say where it is and what it is built on. */
const reloaded = ["queue", "inbound", "approval", "stall", "context", "stream", "usage"] as const

/** Reads the configuration again. */
export class Reload extends Context.Service<
  Reload,
  {
    /**
     * What it says of these sections counts from now on: queue, inbound, approval, stall, context, stream, usage. Gives the names of
     * other sections that have changed and count from the next start. A file that is wrong changes nothing.
     */
    readonly reload: Effect.Effect<ReadonlyArray<string>, ConfigInvalid>
  }
>()("opencraw/layers/platform/Settings/Reload") {}

const cell = <A>(value: A) =>
  Effect.map(SubscriptionRef.make(value), (ref) => ({
    ref,
    setting: { get: () => SubscriptionRef.getUnsafe(ref), changes: SubscriptionRef.changes(ref) }
  }))

/** Every settings service, `Loaded` and `Reload`, from a loaded configuration. */
export const fromLoaded = (loaded: LoadedConfig, options: LoadOptions = {}) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { config } = loaded
      const cells = {
        queue: yield* cell(config.queue),
        inbound: yield* cell(config.inbound),
        approval: yield* cell(config.approval),
        stall: yield* cell(config.stall),
        context: yield* cell(config.context),
        stream: yield* cell(config.stream),
        usage: yield* cell(config.usage)
      }
      const reload = Effect.gen(function* () {
        const { config: next } = yield* load(options)
        yield* SubscriptionRef.set(cells.queue.ref, next.queue)
        yield* SubscriptionRef.set(cells.inbound.ref, next.inbound)
        yield* SubscriptionRef.set(cells.approval.ref, next.approval)
        yield* SubscriptionRef.set(cells.stall.ref, next.stall)
        yield* SubscriptionRef.set(cells.context.ref, next.context)
        yield* SubscriptionRef.set(cells.stream.ref, next.stream)
        yield* SubscriptionRef.set(cells.usage.ref, next.usage)
        return laterSections(config, next)
      })
      const settings = servicesOf({
        runtime: fixed(config.runtime),
        agents: fixed(config.agents),
        providers: fixed(config.providers),
        models: fixed(config.models),
        gateway: fixed(config.gateway),
        postgres: fixed(config.postgres),
        secrets: fixed(config.secrets),
        project_db: fixed(config.project_db),
        nodes: fixed(config.nodes),
        retention: fixed(config.retention),
        queue: cells.queue.setting,
        inbound: cells.inbound.setting,
        approval: cells.approval.setting,
        stall: cells.stall.setting,
        context: cells.context.setting,
        stream: cells.stream.setting,
        usage: cells.usage.setting
      })
      return settings.pipe(Context.add(Loaded, loaded), Context.add(Reload, { reload }))
    })
  )

/** Secrets print alike, so a changed one is not told; it counts from the next start all the same. */
const laterSections = (before: Config, now: Config): ReadonlyArray<string> => {
  const live: ReadonlySet<string> = new Set(reloaded)
  return Object.entries(now).flatMap(([name, section]) =>
    live.has(name) || JSON.stringify(section) === JSON.stringify(before[name as keyof Config]) ? [] : [name]
  )
}

/** Every settings service, and `Loaded`, from the file and environment of this process. */
export const layer = (options: LoadOptions = {}) =>
  Layer.unwrap(Effect.map(load(options), (loaded) => fromLoaded(loaded, options)))

/** Every settings service, from what a file could say; no file and no environment is read. For tests and compositions. */
export const layerFrom = (written: unknown, env: Environment = {}) =>
  Layer.unwrap(
    Effect.fromResult(
      Result.mapBoth(resolve(written, env), {
        onSuccess: ({ config }) => fromConfig(config),
        onFailure: (problems) => invalid(problems, "", undefined)
      })
    )
  )
