/**
 * `node scripts/conformance.ts DIR [topic]`: runs the behaviour rows of every `*.json` in DIR through our own functions.
 *
 * Prints what failed, a line per topic, and last `N passed, N failed, N skipped`. Exits 1 on a failure or when DIR cannot
 * be read. An adapter is a file of `test/conformance` that exports `topic` and `run`, and `close` if it must be ended.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Row, Verdict } from "../test/conformance/Row.ts"

interface Adapter {
  readonly topic: string
  readonly run: (row: Row) => Promise<Verdict>
  readonly close?: () => Promise<void>
}

const isAdapter = (module: object): module is Adapter =>
  "topic" in module && typeof module.topic === "string" && "run" in module && typeof module.run === "function"

const loadAdapters = async (): Promise<ReadonlyMap<string, Adapter>> => {
  const folder = fileURLToPath(new URL("../test/conformance/", import.meta.url))
  const files = readdirSync(folder).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
  const modules = await Promise.all(
    files.map((name): Promise<object> => import(pathToFileURL(join(folder, name)).href))
  )
  return new Map(modules.filter(isAdapter).map((adapter) => [adapter.topic, adapter]))
}

interface Topic {
  readonly topic: string
  readonly cases: ReadonlyArray<Row>
}

const isTopic = (value: unknown): value is Topic =>
  typeof value === "object" &&
  value !== null &&
  "topic" in value &&
  "cases" in value &&
  Array.isArray(value.cases)

const readTopics = (folder: string): ReadonlyArray<Topic> =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => {
      const value: unknown = JSON.parse(readFileSync(join(folder, name), "utf8"))
      if (!isTopic(value)) throw new Error(`${name} has no topic and cases`)
      return value
    })

const total = { passed: 0, failed: 0, skipped: 0 }

const runTopic = async ({ topic, cases }: Topic, adapter: Adapter | undefined): Promise<void> => {
  if (adapter === undefined) {
    total.skipped += cases.length
    return console.log(`${topic}: ${cases.length} skipped, no adapter`)
  }
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const row of cases) {
    const verdict = await adapter
      .run(row)
      .catch((cause: unknown): Verdict => ({ ok: false, actual: String(cause) }))
    if (verdict.skip !== undefined) {
      counts.skipped++
      console.log(`  ${row.id} skipped: ${verdict.skip}`)
    } else if (verdict.ok) counts.passed++
    else {
      counts.failed++
      const what = `expected ${JSON.stringify(row.expected)}\n    actual   ${JSON.stringify(verdict.actual)}`
      console.log(`  ${row.id} FAILED${row.title === undefined ? "" : ` (${row.title})`}\n    ${what}`)
    }
  }
  await adapter.close?.()
  total.passed += counts.passed
  total.failed += counts.failed
  total.skipped += counts.skipped
  console.log(`${topic}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
}

const main = async (): Promise<number> => {
  const [folder, only] = process.argv.slice(2)
  if (folder === undefined) {
    console.error("usage: conformance DIR [topic]")
    return 1
  }
  try {
    const adapters = await loadAdapters()
    const topics = readTopics(folder).filter(({ topic }) => only === undefined || topic === only)
    if (topics.length === 0)
      console.error(only === undefined ? `no rows in ${folder}` : `no topic ${only} in ${folder}`)
    for (const topic of topics) await runTopic(topic, adapters.get(topic.topic))
    console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
    return total.failed > 0 || topics.length === 0 ? 1 : 0
  } catch (cause) {
    console.error(cause instanceof Error ? cause.message : String(cause))
    return 1
  }
}

// An adapter may have started a program, which it ends when we exit.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

process.exitCode = await main()
