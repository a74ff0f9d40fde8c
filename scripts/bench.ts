/**
 * `npm run bench -- gateway | start | stream | profile | lanes | durable | growth | prod | nodes`: how fast, how much it grows, and where the time goes.
 *
 * Progress and tables go to stderr, one JSON line to stdout. A missed target is a result (exit 0); a request that failed, or
 * something that did not run, is not (exit 1). What the rows mean: docs/benchmarks.md.
 */
import { spawnSync } from "node:child_process"
import { availableParallelism, cpus, loadavg } from "node:os"
import process from "node:process"
import { benchDurable } from "./bench/durable/measure.ts"
import { benchGrowth } from "./bench/growth/measure.ts"
import { benchLanes } from "./bench/lanes/measure.ts"
import { buildBundle, Lab, type Provider, root } from "./bench/Lab.ts"
import { measureLongSession, measureMemory } from "./bench/measureGrowth.ts"
import { measureLoop } from "./bench/measureLoop.ts"
import { measureMessages } from "./bench/measureMessages.ts"
import { measurePeer } from "./bench/measurePeer.ts"
import { measureRestart } from "./bench/measureRestart.ts"
import { measureStart } from "./bench/measureStart.ts"
import { benchNodes } from "./bench/nodes.ts"
import { benchProd } from "./bench/prod.ts"
import { profile } from "./bench/profile.ts"
import { Report } from "./bench/Report.ts"
import { benchStart } from "./bench/start.ts"
import { benchStream } from "./bench/stream.ts"
import { full, quick, type Sizes } from "./bench/sizes.ts"

type Measure = (lab: Lab, provider: Provider, report: Report, sizes: Sizes) => Promise<void>

// The event loop's load is half of what the messages showed, so it comes after them.
const measures: Readonly<Record<string, Measure>> = {
  start: measureStart,
  messages: measureMessages,
  loop: measureLoop,
  memory: measureMemory,
  "long-session": measureLongSession,
  restart: measureRestart
}

const usage = `usage: bench gateway [--quick] [--only NAME[,NAME]] [--peer openclaw]
       bench start [--quick]
       bench stream [--quick]
       bench profile [--quick] [--sessions N]
       bench lanes [--quick]
       bench durable [--quick]
       bench growth [--quick]
       bench prod [--quick]
       bench nodes [--quick]
NAME: ${Object.keys(measures).join(", ")}
`

const names = [
  "gateway",
  "start",
  "stream",
  "profile",
  "lanes",
  "durable",
  "growth",
  "prod",
  "nodes"
] as const

interface Arguments {
  readonly name: (typeof names)[number]
  readonly isQuick: boolean
  readonly hasPeer: boolean
  /** What is measured. */
  readonly only: ReadonlyArray<string>
  /** At once, in a profile. */
  readonly sessions: number
}

const readArguments = ([first, ...rest]: ReadonlyArray<string>): Arguments | undefined => {
  const name = names.find((one) => one === first)
  if (name === undefined) return undefined
  let isQuick = false
  let hasPeer = false
  let only = Object.keys(measures)
  let sessions = 32
  for (let at = 0; at < rest.length; at++) {
    if (rest[at] === "--quick") isQuick = true
    else if (name === "gateway" && rest[at] === "--peer" && rest[++at] === "openclaw") hasPeer = true
    else if (name === "gateway" && rest[at] === "--only") only = (rest[++at] ?? "").split(",")
    else if (name === "profile" && rest[at] === "--sessions") sessions = Number(rest[++at])
    else return undefined
  }
  if (!Number.isInteger(sessions) || sessions < 1 || sessions > 1000) return undefined
  return only.every((one) => Object.hasOwn(measures, one))
    ? { name, isQuick, hasPeer, only, sessions }
    : undefined
}

const commit = (): string | undefined => {
  const asked = spawnSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" })
  return asked.status === 0 ? asked.stdout.trim() : undefined
}

const aboutRun = (bench: string, isQuick: boolean) => ({
  bench,
  quick: isQuick,
  date: new Date().toISOString(),
  commit: commit(),
  node: process.version,
  cores: availableParallelism(),
  cpu: cpus()[0]?.model,
  load_before: loadavg()[0]
})

const benchGateway = async (lab: Lab, { isQuick, hasPeer, only }: Arguments): Promise<number> => {
  buildBundle()
  const report = new Report()
  const about = aboutRun("gateway", isQuick)
  const provider = await lab.startProvider()
  for (const [name, measure] of Object.entries(measures)) {
    if (!only.includes(name)) continue
    try {
      await measure(lab, provider, report, isQuick ? quick : full)
    } catch (cause) {
      report.fail(name, cause)
      await provider.configure({ ttftMs: 0 })
    }
  }
  if (hasPeer) {
    await measurePeer(lab, provider, report).catch((cause: unknown) => report.fail("OpenClaw", cause))
  }
  report.printTable()
  process.stdout.write(`${report.toJson(about)}\n`)
  return report.hasFailed ? 1 : 0
}

const main = async (): Promise<number> => {
  const args = readArguments(process.argv.slice(2))
  if (args === undefined) {
    process.stderr.write(usage)
    return 64
  }
  if (process.platform !== "linux") {
    process.stderr.write("this measures by /proc, so it runs on Linux only\n")
    return 1
  }
  const lab = new Lab()
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      lab.closeNow()
      process.exit(1)
    })
  }
  try {
    if (args.name === "lanes") return benchLanes(args.isQuick, aboutRun("lanes", args.isQuick))
    if (args.name === "growth") return await benchGrowth(lab, args.isQuick, aboutRun("growth", args.isQuick))
    if (args.name === "durable") {
      return await benchDurable(
        lab,
        args.isQuick,
        args.isQuick ? quick : full,
        aboutRun("durable", args.isQuick)
      )
    }
    if (args.name === "start") {
      buildBundle()
      return await benchStart(lab, args.isQuick, aboutRun("start", args.isQuick))
    }
    if (args.name === "stream") return await benchStream(lab, args.isQuick, aboutRun("stream", args.isQuick))
    if (args.name === "prod") {
      buildBundle()
      return await benchProd(lab, args.isQuick, aboutRun("prod", args.isQuick))
    }
    if (args.name === "nodes") return await benchNodes(lab, args.isQuick, aboutRun("nodes", args.isQuick))
    return await (args.name === "gateway"
      ? benchGateway(lab, args)
      : profile(lab, args.sessions, args.isQuick ? 320 : 1920))
  } finally {
    await lab.close()
  }
}

process.exitCode = await main()
