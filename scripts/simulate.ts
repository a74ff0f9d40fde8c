/**
 * `npm run simulate -- --seeds N --from S [--store sqlite|postgres]`: the whole gateway on N seeds from S, each a day of messages and faults.
 * `npm run simulate -- --seed S --timeline`: one seed, and everything that happened in it.
 * `npm run simulate -- --seed S --journal FILE`: one seed, and what its lanes decided, for `opencraw replay --file FILE`.
 *
 * Prints each seed that broke a promise with the command that runs it alone, and last one JSON line. Exits 1 when one did.
 */
import * as Redacted from "effect/Redacted"
import { writeFileSync } from "node:fs"
import process from "node:process"
import { parseArgs } from "node:util"
import { newSchema, type Server, startServer } from "../test/postgres/server.ts"
import { simulate, type Verdict } from "../test/simulation/Simulation.ts"

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    store: { type: "string", default: "memory" },
    timeline: { type: "boolean", default: false },
    journal: { type: "string" },
    /** Stop at the first broken promise. */
    first: { type: "boolean", default: false }
  }
})

const print = (text: string) => process.stdout.write(`${text}\n`)
const numberOf = (name: "seeds" | "from" | "seed"): number => {
  const value = Number(values[name])
  if (Number.isSafeInteger(value) && value >= 0) return value
  process.stderr.write(`--${name} must be a whole number\n`)
  process.exit(2)
}
const { store } = values
if (store !== "memory" && store !== "sqlite" && store !== "postgres") {
  process.stderr.write("--store must be memory, sqlite or postgres\n")
  process.exit(2)
}
const storeOption = store === "memory" ? "" : ` --store ${store}`
// A day of a seed is over in milliseconds; what is durable is for the real disk's tests.
const server: Server | undefined = store === "postgres" ? await startServer(["fsync=off"]) : undefined
const run = (seed: number): Promise<Verdict> =>
  simulate(
    seed,
    store === "postgres" ? { url: Redacted.make(server?.url ?? ""), schema: newSchema() } : store
  )

const tell = ({ seed, broken }: Verdict) =>
  print(`seed ${seed}: ${broken}\n  npm run simulate -- --seed ${seed} --timeline${storeOption}`)

if (values.seed !== undefined) {
  const verdict = await run(numberOf("seed"))
  if (values.timeline) for (const line of verdict.timeline()) print(line)
  if (values.journal !== undefined)
    writeFileSync(values.journal, `${JSON.stringify({ journals: verdict.journals })}\n`)
  print(
    verdict.broken === undefined
      ? `seed ${verdict.seed}: all promises held`
      : `seed ${verdict.seed}: BROKEN ${verdict.broken}`
  )
  process.exitCode = verdict.broken === undefined ? 0 : 1
} else {
  const from = numberOf("from")
  const seeds = numberOf("seeds")
  const began = performance.now()
  const totals: Record<string, number> = {}
  const failed: Array<number> = []
  let ran = 0
  for (let seed = from; seed < from + seeds; seed++) {
    const verdict = await run(seed)
    ran++
    for (const [name, count] of Object.entries(verdict.counts)) totals[name] = (totals[name] ?? 0) + count
    if (verdict.broken === undefined) continue
    failed.push(seed)
    tell(verdict)
    if (values.first) break
  }
  const seconds = (performance.now() - began) / 1000
  const perSecond = Math.round((ran / seconds) * 10) / 10
  print(
    JSON.stringify({
      store,
      from,
      seeds: ran,
      broken: failed.length,
      failed,
      seconds: Math.round(seconds * 10) / 10,
      perSecond,
      totals
    })
  )
  process.exitCode = failed.length === 0 ? 0 : 1
}
await server?.stop()
