/**
 * `npm run bench -- lanes`: the lane engine beside the libraries that one would otherwise take, all in one run and in turn.
 *
 * Every cell is a process of its own, so nothing compiled or collected for one contender helps or hurts the next; the contenders follow
 * each other within a round, so that a slow minute meets all of them. A full run writes docs/lanes.md and docs/lanes.svg.
 */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { cleanEnvironment, root } from "../Lab.ts"
import { foreignMeter, noisyCores } from "../Machine.ts"
import { median, round } from "../numbers.ts"
import { linePlot } from "./plot.ts"
import type { ContenderName } from "./contenders.ts"

interface Rate {
  readonly per_cpu_second: number
  readonly per_second: number
  readonly idle_bytes: number
}
interface Times {
  readonly start: Spread
  readonly steer?: Spread
  readonly close?: Spread
}
interface Spread {
  readonly p50: number
  readonly p99: number
}

const names = [
  "opencraw",
  "p-queue",
  "nact",
  "fastq",
  "promise chain"
] as const satisfies ReadonlyArray<ContenderName>
type Name = (typeof names)[number]

/** What keeps these from being a fair comparison. */
const lacks: Partial<Record<Name, string>> = {
  fastq: "cannot cancel a run",
  "promise chain": "floor: no limit, no cancelling"
}
/** Those that do the same job: we are to be above both. */
const rivals = ["p-queue", "nact"] as const

const laneCounts = [1, 1000, 100_000] as const
const sizes = {
  full: { rounds: 3, messages: 300_000, times: 1000 },
  quick: { rounds: 1, messages: 40_000, times: 100 }
}

const worker = fileURLToPath(import.meta.resolve("./worker.ts"))

const inProcess = <A>(args: ReadonlyArray<string | number>): A => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--expose-gc", worker, ...args.map(String)],
    { cwd: root, env: cleanEnvironment(), encoding: "utf8" }
  )
  if (status !== 0) throw new Error(`${args.join(" ")} failed: ${stderr.slice(-2000)}`)
  return JSON.parse(stdout)
}

const versionOf = (name: Name): string => {
  if (name === "opencraw" || name === "promise chain") return name
  const require = createRequire(import.meta.url)
  let folder = dirname(require.resolve(name))
  while (true) {
    try {
      const about: { readonly name?: string; readonly version?: string } = JSON.parse(
        readFileSync(join(folder, "package.json"), "utf8")
      )
      if (about.name === name) return `${name} ${about.version}`
    } catch {
      // A folder between the module's file and its package.
    }
    if (folder === dirname(folder)) return name
    folder = dirname(folder)
  }
}

interface Cell {
  readonly perCpuSecond: number
  readonly perSecond: number
  readonly idleBytes: number
  readonly rounds: ReadonlyArray<number>
}

interface Result {
  readonly cells: Readonly<Record<Name, Readonly<Record<number, Cell>>>>
  readonly times: Readonly<Record<Name, Times>>
  readonly foreignCores: number
}

const measure = ({ rounds, messages, times }: (typeof sizes)["full"]): Result => {
  const foreign = foreignMeter()
  const rates = new Map<string, Array<Rate>>()
  const began = performance.now()
  for (let turn = 0; turn < rounds; turn++) {
    for (const lanes of laneCounts) {
      for (const name of names) {
        const rate = inProcess<Rate>(["rate", name, lanes, messages])
        const key = `${name} ${lanes}`
        rates.set(key, [...(rates.get(key) ?? []), rate])
        process.stderr.write(
          `[${((performance.now() - began) / 1000).toFixed(0).padStart(4)} s] round ${turn + 1} of ${rounds}, ${lanes} lanes, ${name}: ${Math.round(rate.per_cpu_second)} messages per CPU second\n`
        )
      }
    }
  }
  const cellOf = (name: Name, lanes: number): Cell => {
    const all = rates.get(`${name} ${lanes}`) ?? []
    return {
      perCpuSecond: median(all.map((one) => one.per_cpu_second)),
      perSecond: median(all.map((one) => one.per_second)),
      idleBytes: median(all.map((one) => one.idle_bytes)),
      rounds: all.map((one) => Math.round(one.per_cpu_second))
    }
  }
  const cells = Object.fromEntries(
    names.map((name) => [name, Object.fromEntries(laneCounts.map((lanes) => [lanes, cellOf(name, lanes)]))])
  )
  const measured = Object.fromEntries(names.map((name) => [name, inProcess<Times>(["times", name, times])]))
  return {
    cells: cells as Result["cells"],
    times: measured as Result["times"],
    foreignCores: foreign()
  }
}

const thousands = (value: number) => `${round(value / 1000)}k`
const micros = (spread: Spread | undefined) =>
  spread === undefined ? "—" : `${round(spread.p50)} / ${round(spread.p99)}`

/** Of a contender at a number of lanes, ours divided by it. */
const ratio = ({ cells }: Result, name: Name, lanes: number) =>
  (cells.opencraw[lanes]?.perCpuSecond ?? NaN) / (cells[name][lanes]?.perCpuSecond ?? NaN)

const table = (result: Result): string => {
  const { cells, times } = result
  const head = [
    "",
    ...laneCounts.map((lanes) => `${lanes.toLocaleString("en-US")} ${lanes === 1 ? "lane" : "lanes"}`),
    "bytes per idle lane",
    "start, µs",
    "steer, µs",
    "socket closed, µs"
  ]
  const rows = names.map((name) => [
    `${versionOf(name)}${lacks[name] === undefined ? "" : ` (${lacks[name]})`}`,
    ...laneCounts.map((lanes) => thousands(cells[name][lanes]?.perCpuSecond ?? NaN)),
    String(Math.max(0, Math.round(cells[name][100_000]?.idleBytes ?? NaN))),
    micros(times[name].start),
    micros(times[name].steer),
    micros(times[name].close)
  ])
  const line = (cellsOfRow: ReadonlyArray<string>) => `| ${cellsOfRow.join(" | ")} |`
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n")
}

const document = (result: Result, about: Readonly<Record<string, unknown>>): string => `# The lane engine

Made by \`npm run bench -- lanes\` on ${String(about["date"]).slice(0, 10)}: commit ${String(about["commit"])}, Node ${process.version}, ${String(about["cores"])} cores (${String(about["cpu"])}), ${result.foreignCores.toFixed(2)} cores
busy with other people's work${result.foreignCores > noisyCores ? " (**noisy**: compare the columns of a row, not the figures with another day's)" : ""}. Medians of
${result.cells.opencraw[1]?.rounds.length} rounds, every contender in turn and in a process of its own.

![Messages per CPU second](lanes.svg)

Messages per CPU second (user and system) by number of lanes; times are p50 / p99 and wall time.

${table(result)}

**The job**: one run at a time per lane, in order; at most 64 open messages of a lane, beyond which the sender waits; at most 256 runs in all
lanes together; a lane's run can be cancelled (an AbortController for each run, with us the interruption of its fiber). A run waits for
one turn of the event loop, as it waits for a socket. The program checks the order and the limit, and fails when either was broken. The cap is one counter for all of them:
ours stands in the log.

**In ours**: the real \`Lanes\` and \`decide\` with a fiber and a permit for each run. **Not in it**: the log and the agent, so nothing here is
durable; what a whole message costs stands in [benchmarks.md](benchmarks.md). An idle lane keeps nothing; the libraries' queues and
actors stay, as their makers mean it.

**start**: arrival at an idle lane to the run's first instruction. **steer**: arrival to the moment in which the running agent has it, which
looks once per turn of the event loop. **socket closed**: cancelling a run that holds a TCP connection to the connection's end at the far
side, in the same process.
`

/** The exit code: 1 when something did not run. */
export const benchLanes = (isQuick: boolean, about: Readonly<Record<string, unknown>>): number => {
  const result = measure(isQuick ? sizes.quick : sizes.full)
  process.stderr.write(`\n${table(result)}\n\n`)
  const above = rivals.flatMap((name) =>
    laneCounts.map((lanes) => ({ name, lanes, ratio: round(ratio(result, name, lanes)) }))
  )
  for (const { name, lanes, ratio: times } of above) {
    process.stderr.write(`${times > 1 ? "above" : "BELOW"} ${name} at ${lanes} lanes: ${times}x\n`)
  }
  if (!isQuick) {
    const series = names.map((name) => ({
      name: lacks[name] === undefined ? name : `${name} *`,
      isReference: lacks[name] !== undefined,
      points: laneCounts.map((lanes) => ({ x: lanes, y: result.cells[name][lanes]?.perCpuSecond ?? NaN }))
    }))
    const svg = linePlot(
      "Lane engine",
      { x: "lanes (* does not do the whole job)", y: "messages per CPU second" },
      series
    )
    writeFileSync(join(root, "docs", "lanes.svg"), svg)
    writeFileSync(join(root, "docs", "lanes.md"), document(result, about))
  }
  process.stdout.write(
    `${JSON.stringify({
      ...about,
      lanes: Object.fromEntries(
        names.map((name) => [
          versionOf(name),
          {
            ...(lacks[name] === undefined ? {} : { lacks: lacks[name] }),
            rate: result.cells[name],
            micros: result.times[name]
          }
        ])
      ),
      ratios: above,
      foreign_cores: Number(result.foreignCores.toFixed(2)),
      noisy: result.foreignCores > noisyCores
    })}\n`
  )
  return 0
}
