/**
 * `npm run bench -- growth`: what changes when the log is a hundred times as long: start, latency, memory, and the file.
 *
 * Each size is filled by `fill.ts` through the adapter that ships, then a gateway is started on it. The long session is asked as well as
 * a new one: its window is the same, so only what grows with the log may differ.
 */
import { spawnSync } from "node:child_process"
import { statSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { cleanEnvironment, type Lab, root } from "../Lab.ts"
import { foreignMeter, noisyCores, tree } from "../Machine.ts"
import { median, percentile, round } from "../numbers.ts"
import { ask, request } from "../requests.ts"

interface Size {
  readonly sessions: number
  readonly turns: number
  /** Turns of one more session. */
  readonly long: number
}
/** The largest: 100,000 sessions, 1,000,000 entries, and a session of 10,000 turns. */
const sizes: Readonly<Record<"full" | "quick", ReadonlyArray<Size>>> = {
  full: [
    { sessions: 1000, turns: 5, long: 100 },
    { sessions: 10_000, turns: 5, long: 1000 },
    { sessions: 100_000, turns: 5, long: 10_000 }
  ],
  quick: [
    { sessions: 20, turns: 2, long: 20 },
    { sessions: 200, turns: 2, long: 200 }
  ]
}
const asked = 100
const fill = fileURLToPath(import.meta.resolve("./fill.ts"))

const latencies = async (turn: () => Promise<unknown>): Promise<ReadonlyArray<number>> => {
  const taken: Array<number> = []
  for (let count = 0; count < asked; count++) {
    const began = performance.now()
    await turn()
    taken.push(performance.now() - began)
  }
  // The first ones read the pages from the disk.
  return taken.slice(10)
}

const measureSize = async (lab: Lab, { sessions, turns, long }: Size) => {
  const dataDir = lab.makeFolder("grown")
  const began = performance.now()
  const filled = spawnSync(process.execPath, [fill, dataDir, ...[sessions, turns, long].map(String)], {
    cwd: root,
    env: cleanEnvironment(),
    encoding: "utf8"
  })
  if (filled.status !== 0) throw new Error(`the log was not filled: ${filled.stderr.slice(-2000)}`)
  const entries = 2 * (sessions * turns + long)
  process.stderr.write(
    `${entries} entries in ${sessions + 1} sessions, filled in ${((performance.now() - began) / 1000).toFixed(0)} s\n`
  )
  const fileMb = statSync(join(dataDir, "log.db")).size / 1024 / 1024
  const provider = await lab.startProvider()
  const foreign = foreignMeter()
  const gateway = await lab.startGateway({ main: "source", provider, dataDir })
  const firstFrom = performance.now()
  await ask(gateway, "first", "hello")
  const firstMs = performance.now() - firstFrom
  let fresh = 0
  const inNew = await latencies(() => ask(gateway, `new-${fresh++ % 10}`, "hello, please answer briefly"))
  const inLong = await latencies(() => ask(gateway, "long", "hello, please answer briefly"))
  const listing = await latencies(async () => {
    const { status } = await request(`${gateway.url}/api/v1/os/sessions?limit=50`, "GET")
    if (status !== 200) throw new Error(`sessions could not be listed: ${status}`)
  })
  await sleep(1000)
  const figures = {
    sessions: sessions + 1,
    entries,
    long_turns: long,
    file_mb: round(fileMb),
    bytes_per_entry: Math.round((fileMb * 1024 * 1024) / entries),
    ready_s: round(gateway.readyMs / 1000),
    first_answer_ms: round(firstMs),
    new_session_p50_ms: round(median(inNew)),
    new_session_p95_ms: round(percentile(inNew, 0.95)),
    long_session_p50_ms: round(median(inLong)),
    long_session_p95_ms: round(percentile(inLong, 0.95)),
    list_p50_ms: round(median(listing)),
    rss_mb: round(tree(gateway.pid).rssMb),
    foreign_cores: Number(foreign().toFixed(2))
  }
  await gateway.stop()
  await provider.stop("SIGKILL")
  return figures
}

/** The exit code: 1 when something did not run. */
export const benchGrowth = async (
  lab: Lab,
  isQuick: boolean,
  about: Readonly<Record<string, unknown>>
): Promise<number> => {
  const rows: Array<Awaited<ReturnType<typeof measureSize>>> = []
  for (const size of sizes[isQuick ? "quick" : "full"]) rows.push(await measureSize(lab, size))
  const [first] = rows
  for (const name of Object.keys(first ?? {}) as ReadonlyArray<keyof NonNullable<typeof first>>) {
    const cells = rows.map((row) => String(row[name]).padStart(10)).join("")
    process.stderr.write(`${name.padEnd(22)}${cells}\n`)
  }
  const noisy = rows.some((row) => row.foreign_cores > noisyCores)
  process.stdout.write(`${JSON.stringify({ ...about, growth: rows, noisy })}\n`)
  return 0
}
