/**
 * The processes of a measurement: the fake provider, gateways and load generators, in a folder that is gone afterwards.
 *
 * Owns: starting and stopping them, their configuration, and requests to them.
 * Does not own: what is measured.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { killTree } from "./Machine.ts"
import { closeConnections, request, token } from "./requests.ts"

export const root = fileURLToPath(import.meta.resolve("../../"))

/** The programs beside this file, which run as processes of their own. */
const programs = {
  "fake-provider": fileURLToPath(import.meta.resolve("./fake-provider.mjs")),
  load: fileURLToPath(import.meta.resolve("./load.mjs")),
  coldstart: fileURLToPath(import.meta.resolve("./coldstart.mjs")),
  loopDelay: fileURLToPath(import.meta.resolve("./loopDelay.mjs"))
}

/** What `load.mjs` prints, as far as it is used here. */
export interface LoadResult {
  readonly total: number
  readonly ok: number
  readonly errors: number
  readonly errs?: Readonly<Record<string, number>>
  readonly wall_s: number
  readonly rps: number
  readonly latency_ms: { readonly p50: number; readonly p95: number; readonly p99: number }
  readonly ttft_ms?: { readonly p50: number; readonly p95: number }
  readonly cpu_ms_per_msg?: number
  readonly rss_before_mb?: number
  readonly rss_after_mb?: number
  readonly rss_peak_mb?: number
  readonly foreign_cores: number
}

export interface LoadOptions {
  readonly sessions: number
  readonly messages: number
  readonly warmup?: number
  readonly concurrency?: number
  readonly stream?: boolean
}

export interface Running {
  readonly pid: number
  readonly url: string
  /** Spawn to the line that says it listens. */
  readonly readyMs: number
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>
}

export interface Provider extends Running {
  /** Its behaviour from now on; its counters start again. */
  readonly configure: (settings: {
    readonly ttftMs?: number
    readonly chunks?: number
    readonly chunkMs?: number
  }) => Promise<void>
  readonly stats: () => Promise<ProviderStats>
}

export interface ProviderStats {
  readonly requests: number
  readonly inflight: number
  readonly peakInflight: number
  readonly lastBody: number
  readonly lastMessages: number
}

export interface GatewayOptions {
  readonly main: "source" | "bundle"
  readonly provider: Provider
  /** Keeps what an earlier gateway stored; a fresh folder otherwise. */
  readonly dataDir?: string
  /** Where compiled code is kept between starts; not kept without. */
  readonly compileCache?: string
  readonly nodeFlags?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
  readonly systemPrompt?: string
  readonly maxPromptTokens?: number
  /** Prod on this database; dev without. */
  readonly postgres?: { readonly url: string; readonly schema: string }
  /** One of several nodes on it, of this name. */
  readonly node?: string
  /** Runs at once; the gateway's default without. */
  readonly maxConcurrency?: number
}

/** Ours and the providers' variables of the caller must not change what is measured. */
export const cleanEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(OPENCRAW_|NODE_OPTIONS$|NODE_COMPILE_CACHE$|LOAD_|OLLAMA_HOST$)|_API_KEY$/.test(name)
    )
  )

const configText = (options: GatewayOptions, dataDir: string): string =>
  [
    "[runtime]",
    `mode = "${options.postgres === undefined ? "dev" : "prod"}"`,
    `data_dir = ${JSON.stringify(dataDir)}`,
    ...(options.postgres === undefined
      ? []
      : ["[postgres]", `url = "${options.postgres.url}"`, `schema = "${options.postgres.schema}"`]),
    ...(options.node === undefined ? [] : ["[nodes]", "enabled = true", `name = "${options.node}"`]),
    "[general]",
    'model = "fake/fake-model"',
    ...(options.systemPrompt === undefined
      ? []
      : [`system_prompt = ${JSON.stringify(options.systemPrompt)}`]),
    "[providers.fake]",
    'kind = "openai-chat"',
    `base_url = "${options.provider.url}/v1"`,
    'api_key = "sk-bench"',
    "[gateway]",
    `token = "${token}"`,
    "port = 0",
    // A run for each message, so that a row means the same whatever the default is.
    "[queue]",
    'mode = "followup"',
    ...(options.maxConcurrency === undefined ? [] : [`max_concurrency = ${options.maxConcurrency}`]),
    ...(options.maxPromptTokens === undefined
      ? []
      : ["[context]", `max_prompt_tokens = ${options.maxPromptTokens}`]),
    ""
  ].join("\n")

/** Waits for `line` to give something for a line of the child's output; fails with what it said when it ends before. */
const awaitLine = <A>(child: ChildProcess, what: string, line: (text: string) => A | undefined): Promise<A> =>
  new Promise((resolve, reject) => {
    let text = ""
    let errors = ""
    const timer = setTimeout(() => reject(new Error(`${what} was not ready within 120 s`)), 120_000)
    child.stderr?.on("data", (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-2000)
    })
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString()
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const found = line(text.slice(0, end))
        text = text.slice(end + 1)
        if (found === undefined) continue
        clearTimeout(timer)
        resolve(found)
      }
    })
    child.once("exit", (code, signal) => {
      clearTimeout(timer)
      reject(new Error(`${what} ended (${code ?? signal}): ${errors}`))
    })
    child.once("error", (error) => {
      clearTimeout(timer)
      reject(error)
    })
  })

/** Builds the bundle anew: one that stands there may be of an older checkout. */
export const buildBundle = (): void => {
  process.stderr.write("building the bundle ...\n")
  const built = spawnSync(process.execPath, [join(root, "scripts", "build.mjs")], { stdio: ["ignore", 2, 2] })
  if (built.status !== 0) throw new Error("the bundle could not be built")
}

const bundle = join(root, "dist", "opencraw.mjs")

/** What `npm start` gives to Node as well. */
const semiSpace = "--max-semi-space-size=8"
const oneArena = { MALLOC_ARENA_MAX: "1" }

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), "opencraw-bench-"))
  readonly #children = new Set<ChildProcess>()
  #next = 0

  /** A new private folder. */
  makeFolder(name: string): string {
    const folder = join(this.folder, `${name}-${this.#next++}`)
    mkdirSync(folder, { mode: 0o700 })
    return folder
  }

  /** Starts a program whose readiness a line of its output tells. */
  async start(
    what: string,
    args: ReadonlyArray<string>,
    env: NodeJS.ProcessEnv,
    urlOf: (line: string) => string | undefined
  ): Promise<Running> {
    const began = performance.now()
    const child = spawn(process.execPath, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] })
    this.#children.add(child)
    const exited = once(child, "exit").then(() => this.#children.delete(child))
    const url = await awaitLine(child, what, urlOf)
    const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      await exited
    }
    return { pid: child.pid ?? 0, url, readyMs: performance.now() - began, stop }
  }

  async startProvider(): Promise<Provider> {
    const env = { ...cleanEnvironment(), PORT: "0", HOST: "127.0.0.1" }
    const running = await this.start("the fake provider", [programs["fake-provider"]], env, (line) => {
      const port = /^fake provider on (\d+)/.exec(line)?.[1]
      return port === undefined ? undefined : `http://127.0.0.1:${port}`
    })
    return {
      ...running,
      configure: async (settings) => {
        await request(`${running.url}/config`, "POST", settings)
      },
      stats: async (): Promise<ProviderStats> =>
        JSON.parse((await request(`${running.url}/stats`, "GET")).text)
    }
  }

  startGateway(options: GatewayOptions): Promise<Running> {
    const dataDir = options.dataDir ?? this.makeFolder("data")
    const config = join(this.makeFolder("config"), "opencraw.toml")
    writeFileSync(config, configText(options, dataDir), { mode: 0o600 })
    const main = options.main === "source" ? join("layers", "main.ts") : bundle
    const env = {
      ...cleanEnvironment(),
      ...oneArena,
      ...(options.compileCache === undefined ? {} : { NODE_COMPILE_CACHE: options.compileCache }),
      ...options.env
    }
    const args = [semiSpace, ...(options.nodeFlags ?? []), main, "serve", "--config", config]
    return this.start("the gateway", args, env, (line) =>
      line.startsWith('{"event":"gateway.ready"') ? readyUrl(JSON.parse(line)) : undefined
    )
  }

  /** A gateway whose event loop can be measured: what it gives starts, and then ends with the figures' file. */
  async startObserved(options: GatewayOptions): Promise<{ gateway: Running; file: string }> {
    const file = join(this.makeFolder("loop"), "delay.json")
    const gateway = await this.startGateway({
      ...options,
      nodeFlags: ["--import", programs.loopDelay],
      env: { OPENCRAW_BENCH_LOOP_DELAY: file }
    })
    return { gateway, file }
  }

  /** Runs one of the programs beside this file to its end, and gives what it printed. */
  async run(name: "load" | "coldstart", args: ReadonlyArray<string>, env: NodeJS.ProcessEnv) {
    const child = spawn(process.execPath, [programs[name], ...args], {
      env,
      stdio: ["ignore", "pipe", "inherit"]
    })
    this.#children.add(child)
    let text = ""
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString()
    })
    await once(child, "close")
    this.#children.delete(child)
    if (child.exitCode !== 0) throw new Error(`${name}.mjs ended with ${child.exitCode ?? child.signalCode}`)
    return text
  }

  /** Runs the load generator. Fails when a request did. */
  async load(
    target: Running,
    others: ReadonlyArray<{ readonly pid: number | (() => number) }>,
    options: LoadOptions,
    model = "opencraw"
  ): Promise<LoadResult> {
    const { sessions, messages, warmup = 0, concurrency = sessions, stream = false } = options
    const flags: Readonly<Record<string, string | number>> = {
      "base-url": target.url,
      model,
      token,
      sessions,
      messages,
      concurrency,
      warmup,
      stream: stream ? 1 : 0,
      user: 1,
      "session-prefix": `load${this.#next++}`,
      pid: target.pid,
      "other-pids": others.map(({ pid }) => (typeof pid === "number" ? pid : pid())).join(",")
    }
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)])
    const text = await this.run("load", args, cleanEnvironment())
    const result: LoadResult = JSON.parse(text)
    if (result.errors > 0) {
      throw new Error(`${result.errors} of ${result.total} requests failed: ${JSON.stringify(result.errs)}`)
    }
    return result
  }

  /** Ends every process that was started, and removes the folder. */
  async close(): Promise<void> {
    closeConnections()
    this.#killAll()
    for (let waited = 0; this.#children.size > 0 && waited < 5000; waited += 20) await sleep(20)
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  #killAll(): void {
    for (const { pid } of this.#children) if (pid !== undefined) killTree(pid)
  }

  /** For a signal: there is no time to wait. */
  closeNow(): void {
    this.#killAll()
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

const readyUrl = (line: { readonly url: string }): string => line.url
