/**
 * Where a gateway's CPU time goes under load: the functions with most time of their own, and the share of each package.
 *
 * Owns: reading V8's CPU profile. Only what ran while the load did counts, so that start-up does not hide it.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type Lab, type LoadOptions, root } from "./Lab.ts"

export interface CpuProfile {
  /** Of the system's steady clock, microseconds, as `process.hrtime` counts. */
  readonly startTime: number
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

export interface Share {
  readonly name: string
  /** Percent of the time in which the process did something. */
  readonly percent: number
}

export interface Shares {
  readonly functions: ReadonlyArray<Share>
  readonly packages: ReadonlyArray<Share>
  readonly busySeconds: number
}

const notWork = new Set(["(idle)", "(root)"])

/** Whose code a file is: a package, a room of ours, or Node's own part. */
export const packageOf = (url: string, functionName: string): string => {
  if (functionName === "(garbage collector)") return "garbage collection"
  if (functionName === "(program)") return "outside JavaScript"
  if (url === "") return "native functions (writev, fdatasync, JSON, strings)"
  const part = /^node:(internal\/)?([^/]+)/.exec(url)
  if (part !== null) return `node:${part[1] === undefined ? "" : "internal/"}${part[2]}`
  const inside = url.slice(url.lastIndexOf("/node_modules/") + "/node_modules/".length).split("/")
  if (url.includes("/node_modules/")) {
    return inside[0]?.startsWith("@") ? `${inside[0]}/${inside[1]}` : (inside[0] ?? url)
  }
  const room = /\/((?:src|layers)\/[^/]+)/.exec(url)?.[1]
  return room === undefined ? (url.split("/").at(-1) ?? url) : `ours: ${room}`
}

const placeOf = (url: string) => {
  const path = url.replace(/^file:\/\//, "")
  return path.startsWith(root) ? path.slice(root.length).replace(/^node_modules\//, "") : path
}

/** Self time by function and by package, of the samples between two moments of the profile's clock. */
export const sharesOf = (profile: CpuProfile, from: number, to: number): Shares => {
  const byId = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const functions = new Map<string, number>()
  const packages = new Map<string, number>()
  const add = (into: Map<string, number>, name: string, micros: number) =>
    into.set(name, (into.get(name) ?? 0) + micros)
  let at = profile.startTime
  let busy = 0
  for (const [index, id] of profile.samples.entries()) {
    const micros = profile.timeDeltas[index] ?? 0
    at += micros
    const frame = byId.get(id)
    if (frame === undefined || at < from || at > to || notWork.has(frame.functionName)) continue
    busy += micros
    const where = frame.url === "" ? "" : ` ${placeOf(frame.url)}:${frame.lineNumber + 1}`
    add(functions, `${frame.functionName || "(anonymous)"}${where}`, micros)
    add(packages, packageOf(frame.url, frame.functionName), micros)
  }
  const sorted = (from: Map<string, number>): ReadonlyArray<Share> =>
    [...from]
      .map(([name, micros]) => ({ name, percent: (micros / busy) * 100 }))
      .sort((a, b) => b.percent - a.percent)
  return { functions: sorted(functions), packages: sorted(packages), busySeconds: busy / 1e6 }
}

const steadyMicros = () => Number(process.hrtime.bigint() / 1000n)

const print = (title: string, shares: ReadonlyArray<Share>, most: number) => {
  process.stderr.write(`\n${title}\n`)
  for (const { name, percent } of shares.slice(0, most)) {
    process.stderr.write(`${percent.toFixed(1).padStart(6)} %  ${name}\n`)
  }
}

/** Profiles a gateway under load, `messages` plain and as many streamed, and prints where its time went; the result is the exit code. */
export const profile = async (lab: Lab, sessions: number, messages: number): Promise<number> => {
  const folder = lab.makeFolder("profile")
  const provider = await lab.startProvider()
  const gateway = await lab.startGateway({
    main: "source",
    provider,
    nodeFlags: ["--cpu-prof", `--cpu-prof-dir=${folder}`, "--cpu-prof-interval=200"]
  })
  const load: LoadOptions = { sessions, messages: Math.ceil(messages / sessions) }
  await lab.load(gateway, [provider], { ...load, stream: true })
  const from = steadyMicros()
  const plain = await lab.load(gateway, [provider], load)
  const streamed = await lab.load(gateway, [provider], { ...load, stream: true })
  const to = steadyMicros()
  await gateway.stop()

  const [file] = readdirSync(folder)
  if (file === undefined) throw new Error("the gateway left no CPU profile")
  const recorded: CpuProfile = JSON.parse(readFileSync(join(folder, file), "utf8"))
  const { functions, packages, busySeconds } = sharesOf(recorded, from, to)
  const answered = plain.ok + streamed.ok
  print("share of the CPU time, by package", packages, 25)
  print("functions with most time of their own", functions, 45)
  process.stdout.write(
    `${JSON.stringify({
      bench: "profile",
      sessions,
      messages: answered,
      busy_s: busySeconds,
      ms_per_message: (busySeconds * 1000) / answered,
      packages: Object.fromEntries(packages.map(({ name, percent }) => [name, Number(percent.toFixed(2))])),
      functions: functions
        .slice(0, 45)
        .map(({ name, percent }) => ({ name, percent: Number(percent.toFixed(2)) }))
    })}\n`
  )
  return 0
}
