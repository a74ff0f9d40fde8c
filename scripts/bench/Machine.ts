/**
 * What this machine did meanwhile: CPU and memory of a process and its children, and the CPU that everybody else used.
 *
 * Reads `/proc`, so Linux only.
 */
import { readdirSync, readFileSync } from "node:fs"
import process from "node:process"

/** Kernel ticks per second, as `/proc` counts them. */
const hertz = 100

export interface Tree {
  /** Of the process, its children and those it has reaped. */
  readonly cpuSeconds: number
  readonly rssMb: number
}

const statOf = (pid: string): ReadonlyArray<string> | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8")
    // The name in brackets may hold spaces.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")
  } catch {
    return undefined
  }
}

const rssOf = (pid: string): number => {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0)
  } catch {
    return 0
  }
}

/** A process and all below it, with the kernel's line on each. */
const family = (root: number): ReadonlyMap<string, ReadonlyArray<string>> => {
  const children = new Map<string, Array<string>>()
  const stats = new Map<string, ReadonlyArray<string>>()
  for (const pid of readdirSync("/proc")) {
    const stat = /^\d+$/.test(pid) ? statOf(pid) : undefined
    if (stat === undefined) continue
    const parent = stat[1] ?? ""
    children.set(parent, [...(children.get(parent) ?? []), pid])
    stats.set(pid, stat)
  }
  const found = new Map<string, ReadonlyArray<string>>()
  const todo = [String(root)]
  for (let pid = todo.pop(); pid !== undefined; pid = todo.pop()) {
    const stat = stats.get(pid)
    if (stat === undefined) continue
    found.set(pid, stat)
    todo.push(...(children.get(pid) ?? []))
  }
  return found
}

/** CPU and resident memory of a process with all its children. */
export const tree = (root: number): Tree => {
  let ticks = 0
  let rss = 0
  for (const [pid, stat] of family(root)) {
    ticks += [11, 12, 13, 14].reduce((sum, at) => sum + Number(stat[at]), 0)
    rss += rssOf(pid)
  }
  return { cpuSeconds: ticks / hertz, rssMb: rss / 1024 }
}

/** Ends a process with all its children, at once. */
export const killTree = (root: number): void => {
  for (const pid of family(root).keys()) {
    try {
      process.kill(Number(pid), "SIGKILL")
    } catch {
      // It was gone before.
    }
  }
}

const busySeconds = (): number => {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n")
  const fields = line.trim().split(/\s+/).slice(1).map(Number)
  // user, nice, system, irq, softirq, steal
  return [0, 1, 2, 5, 6, 7].reduce((sum, at) => sum + (fields[at] ?? 0), 0) / hertz
}

/** Starts counting; what it gives returns how many cores were busy with work that is not ours since then. */
export const foreignMeter = (): (() => number) => {
  const began = performance.now()
  const busy = busySeconds()
  const ours = tree(process.pid).cpuSeconds
  return () => {
    const foreign = busySeconds() - busy - (tree(process.pid).cpuSeconds - ours)
    return Math.max(0, foreign) / ((performance.now() - began) / 1000)
  }
}

/** Above this many foreign cores a figure says more about the neighbours than about us. */
export const noisyCores = 0.3
