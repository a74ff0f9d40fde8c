/**
 * How fast the program starts: to its first answer (`measureStart`), and to the end of the commands that only print, beside a Node
 * that does nothing.
 *
 * Source, bundle and bare Node are run in turn, and each is divided by the bare one of its own turn: what disturbs one disturbs all.
 */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import process from "node:process"
import { cleanEnvironment, type Lab, root } from "./Lab.ts"
import { measureStart } from "./measureStart.ts"
import { median, round } from "./numbers.ts"
import { Report } from "./Report.ts"
import { full, quick } from "./sizes.ts"

/** Bundled, `--help` and `--version` are to take at most this many times a bare Node. */
const target = 1.3

const commands: Readonly<Record<string, ReadonlyArray<string>>> = {
  "bare node": ["-e", "process.stdout.write('0.0.0')"],
  "bundle --version": [join("dist", "opencraw.mjs"), "--version"],
  "bundle --help": [join("dist", "opencraw.mjs"), "--help"],
  "source --version": [join("layers", "main.ts"), "--version"],
  "source --help": [join("layers", "main.ts"), "--help"]
}

/** Wall milliseconds of one run. */
const run = (args: ReadonlyArray<string>): number => {
  const began = performance.now()
  const { status, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    env: cleanEnvironment(),
    encoding: "utf8"
  })
  if (status !== 0) throw new Error(`node ${args.join(" ")} ended with ${status}: ${stderr}`)
  return performance.now() - began
}

interface Figures {
  readonly ms: number
  /** Turn by turn, of the bare Node of that turn. */
  readonly ratio: number
}

const measureCommands = (rounds: number): Readonly<Record<string, Figures>> => {
  const names = Object.keys(commands)
  const taken = new Map(names.map((name) => [name, [] as Array<number>]))
  for (let round = -1; round < rounds; round++) {
    for (const name of names) {
      const ms = run(commands[name] ?? [])
      // The first turn reads the files from the disk.
      if (round >= 0) taken.get(name)?.push(ms)
    }
  }
  const bare = taken.get("bare node") ?? []
  return Object.fromEntries(
    names.map((name) => {
      const all = taken.get(name) ?? []
      const ratios = all.map((ms, at) => ms / (bare[at] ?? NaN))
      return [name, { ms: round(median(all)), ratio: round(median(ratios)) }]
    })
  )
}

/** `npm run bench -- start`. The exit code: 1 only when something did not run. */
export const benchStart = async (
  lab: Lab,
  isQuick: boolean,
  about: Readonly<Record<string, unknown>>
): Promise<number> => {
  const report = new Report()
  let figures: Readonly<Record<string, Figures>> = {}
  try {
    figures = measureCommands(isQuick ? 5 : 21)
    await measureStart(lab, await lab.startProvider(), report, isQuick ? quick : full)
  } catch (cause) {
    report.fail("start", cause)
  }
  for (const [name, { ms, ratio }] of Object.entries(figures)) {
    const verdict = !name.startsWith("bundle") ? "" : ratio <= target ? "  meets 1.3" : "  misses 1.3"
    process.stderr.write(`${name.padEnd(18)} ${String(ms).padStart(6)} ms  ${ratio} x bare node${verdict}\n`)
  }
  report.printTable()
  process.stdout.write(`${report.toJson({ ...about, commands: figures })}\n`)
  return report.hasFailed ? 1 : 0
}
