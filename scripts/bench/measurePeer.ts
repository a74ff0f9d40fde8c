/**
 * OpenClaw, measured afresh by the same generator against the same provider.
 *
 * Owns: installing it into a cache folder, its configuration, and which of its figures compare with ours. It has a home of its
 * own there, and nothing of it is kept elsewhere.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { delimiter, dirname, join, resolve } from "node:path"
import process from "node:process"
import { type Lab, type Provider, root } from "./Lab.ts"
import { foreignMeter } from "./Machine.ts"
import type { Report } from "./Report.ts"
import { token } from "./requests.ts"

const version = "2026.9.6"
const model = "openclaw/default"

/** `OPENCRAW_CACHE_DIR`, else `.cache` of the checkout. */
const cacheFolder = () =>
  resolve(process.env["OPENCRAW_CACHE_DIR"] ?? join(root, ".cache"), `openclaw-${version}`)

/** With this Node first, so that its own scripts find the right one. */
const searchPath = () => [dirname(process.execPath), process.env["PATH"]].filter(Boolean).join(delimiter)

const install = (folder: string, report: Report): string => {
  const program = join(folder, "node_modules", "openclaw", "openclaw.mjs")
  if (existsSync(program)) return program
  report.step(`installing openclaw@${version} into ${folder}`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n')
  const npm = process.env["npm_execpath"]
  const [command, first] = npm === undefined ? ["npm", []] : [process.execPath, [npm]]
  const args = [...first, "install", `openclaw@${version}`, "--no-audit", "--no-fund", "--loglevel=error"]
  const done = spawnSync(command, args, {
    cwd: folder,
    // npm picks what fits the Node it runs on.
    env: { ...process.env, PATH: searchPath() },
    stdio: ["ignore", 2, 2]
  })
  if (done.status !== 0 || !existsSync(program)) throw new Error("npm could not install it (see above)")
  return program
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.on("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() =>
        typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port"))
      )
    })
  })

const configOf = (home: string, port: number, provider: Provider) => ({
  gateway: {
    mode: "local",
    bind: "loopback",
    port,
    auth: { mode: "token", token },
    http: { endpoints: { chatCompletions: { enabled: true } } }
  },
  update: { checkOnStart: false },
  models: {
    catalogRefresh: { enabled: false },
    providers: {
      fake: {
        baseUrl: `${provider.url}/v1`,
        apiKey: "sk-bench",
        api: "openai-completions",
        models: [
          {
            id: "fake-model",
            name: "Fake",
            reasoning: false,
            input: ["text"],
            cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
            contextWindow: 128_000,
            maxTokens: 8192
          }
        ]
      }
    }
  },
  agents: {
    defaults: {
      model: { primary: "fake/fake-model" },
      workspace: join(home, "workspace"),
      skipBootstrap: true
    }
  }
})

interface ColdStart {
  readonly ready_ms: number
  readonly rss_idle_mb: number
  readonly first_msgs_ms: ReadonlyArray<number>
  readonly err?: number
}

export const measurePeer = async (lab: Lab, provider: Provider, report: Report): Promise<void> => {
  const folder = cacheFolder()
  const program = install(folder, report)
  const home = join(folder, "home")
  rmSync(home, { recursive: true, force: true })
  for (const name of ["state", "workspace", "tmp"]) mkdirSync(join(home, name), { recursive: true })
  const port = await freePort()
  const config = join(home, "state", "openclaw.json")
  writeFileSync(config, JSON.stringify(configOf(home, port, provider), null, 2), { mode: 0o600 })
  const env = {
    PATH: searchPath(),
    HOME: home,
    TMPDIR: join(home, "tmp"),
    OPENCLAW_STATE_DIR: join(home, "state"),
    OPENCLAW_CONFIG_PATH: config,
    OPENCLAW_SKIP_CHANNELS: "1",
    OPENCLAW_DISABLE_BONJOUR: "1",
    OPENCLAW_NO_AUTO_UPDATE: "1"
  }
  const command = [program, "gateway", "run", "--port", String(port)]

  report.step("OpenClaw: its first start")
  const foreign = foreignMeter()
  const meter = ["--port", String(port), "--token", token, "--model", model, "--settle", "3", "--msg", "1"]
  const cold: ColdStart = JSON.parse(
    await lab.run("coldstart", [...meter, "--", process.execPath, ...command], env)
  )
  if (cold.err !== undefined || cold.first_msgs_ms[0] === undefined) {
    throw new Error(`its first message was answered with ${cold.err ?? "nothing"}`)
  }
  report.addPeer("cold_source", (cold.ready_ms + cold.first_msgs_ms[0]) / 1000, foreign())
  report.addPeer("rss_idle_source", cold.rss_idle_mb, foreign())

  const url = `http://127.0.0.1:${port}`
  const running = await lab.start("OpenClaw", command, env, (line) =>
    line.includes("[gateway] ready") ? url : undefined
  )
  const load = (sessions: number, messages: number, warmup: number, stream = false) =>
    lab.load(running, [provider], { sessions, messages, warmup, stream }, model)
  const one = await load(1, 20, 3)
  report.addPeer("warm_p50", one.latency_ms.p50, one.foreign_cores)
  report.addPeer("warm_p95", one.latency_ms.p95, one.foreign_cores)
  report.addPeer("cpu_1", one.cpu_ms_per_msg ?? NaN, one.foreign_cores)
  report.addPeer("rate_1", one.rps, one.foreign_cores)
  const streamed = await load(1, 20, 3, true)
  report.addPeer("first_content", streamed.ttft_ms?.p50 ?? NaN, streamed.foreign_cores)
  report.addPeer("cpu_1_stream", streamed.cpu_ms_per_msg ?? NaN, streamed.foreign_cores)
  const many = await load(64, 2, 0)
  report.addPeer("cpu_64", many.cpu_ms_per_msg ?? NaN, many.foreign_cores)
  report.addPeer("rate_64", many.rps, many.foreign_cores)
  report.step(`OpenClaw: ${many.rss_after_mb?.toFixed(0)} MB after 174 messages`)
  await running.stop()
}
