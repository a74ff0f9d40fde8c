/**
 * A gateway under half of what it can do, for half an hour on SQLite and 50 minutes on PostgreSQL (OPENCRAW_SOAK_MINUTES): every queue mode at
 * random, interrupts, stops, lost connections, a kill and a stop. Prints its figures. Nothing accepted may be left open, and every session must answer at the end; how
 * memory and event loop did is judged in a run of full length only, on a machine of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { DatabaseSync } from "node:sqlite"
import { pathToFileURL } from "node:url"
import * as PgLink from "#layers/platform/PgLink.ts"
import { named, newSchema, startServer, withoutPostgres } from "../postgres/server.ts"
import {
  Client,
  configure,
  type Database,
  type Gateway,
  startGateway,
  until
} from "../scenarios/gatewayProcess.ts"
import { Random } from "../simulation/Random.ts"

const asked = process.env["OPENCRAW_SOAK_MINUTES"]
const sessions = 64
const modes = ["", "/queue followup ", "/queue collect ", "/queue steer ", "/queue interrupt "] as const
const scripts = join(import.meta.dirname, "../../scripts/bench")
const pause = (millis: number) => new Promise((done) => setTimeout(done, millis))

const startProvider = async (): Promise<{ readonly url: string; readonly child: ChildProcess }> => {
  const child = spawn(process.execPath, [join(scripts, "fake-provider.mjs")], {
    env: { ...process.env, PORT: "0", HOST: "127.0.0.1" },
    stdio: ["ignore", "pipe", "inherit"]
  })
  const port = await new Promise<string>((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = /^fake provider on (\d+)/.exec(line)?.[1]
      if (found !== undefined) resolve(found)
    })
  })
  // Long enough that steering and interrupts find a run.
  const url = `http://127.0.0.1:${port}`
  await fetch(`${url}/config`, { method: "POST", body: JSON.stringify({ ttftMs: 20 }) })
  return { url: `${url}/v1`, child }
}

const rssOf = (gateway: Gateway): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.child.pid}/status`, "utf8"))?.[1]) / 1024

/**
 * MB per hour: the median of the slopes between any two samples (Theil and Sen). Resident memory moves in steps of an allocator, of which
 * a single one near an end would turn a line of least squares.
 */
const slopeOf = (samples: ReadonlyArray<{ readonly hours: number; readonly mb: number }>): number => {
  const slopes = samples.flatMap((one, at) =>
    samples.slice(at + 1).map((other) => (other.mb - one.mb) / (other.hours - one.hours))
  )
  return slopes.toSorted((a, b) => a - b)[Math.floor(slopes.length / 2)] ?? NaN
}

class Soak {
  readonly clients = Array.from({ length: sessions }, (_, at) => new Client(`soak-${at}`))
  readonly #random = new Random(1)
  sent = 0

  connect(gateway: Gateway): void {
    for (const client of this.clients) client.connect(gateway)
  }

  /** Each session one message after the other: how many a second are answered at most. */
  async maximum(name: string, millis: number): Promise<number> {
    const end = performance.now() + millis
    let answered = 0
    await Promise.all(
      this.clients.map(async (client, at) => {
        for (let count = 0; performance.now() < end; count++) {
          const id = `${name}-${at}-${count}`
          client.send(id, "how fast")
          await until(id, () => client.outcomes.has(id))
          answered++
        }
      })
    )
    return answered / (millis / 1000)
  }

  async load(rate: number, millis: number): Promise<void> {
    const began = performance.now()
    const first = this.sent
    while (performance.now() - began < millis) {
      const due = first + Math.floor(((performance.now() - began) / 1000) * rate)
      while (this.sent < due) this.#one()
      await pause(10)
    }
  }

  #one(): void {
    const client = this.clients[this.#random.between(0, sessions - 1)]!
    const mode = this.#random.pick(modes)
    client.send(`m-${this.sent}`, `${mode}say ${this.sent}`)
    this.sent++
    if (this.#random.chance(0.01)) client.stop()
    if (this.#random.chance(0.01)) client.drop()
  }

  get acked(): number {
    return this.clients.reduce((sum, client) => sum + client.acked.size, 0)
  }
}

const unended = "SELECT count(*) AS open FROM messages WHERE outcome IS NULL"

const openInFile = (folder: string): number => {
  const log = new DatabaseSync(join(folder, "data", "log.db"), { readOnly: true })
  try {
    return Number(log.prepare(unended).get()?.["open"])
  } finally {
    log.close()
  }
}
const openIn = ({ url, schema }: Database): Promise<number> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.flatMap(PgLink.make({ url: Redacted.make(url), schema }), (link) => link.query(unended))
    ).pipe(Effect.map(({ rows }) => Number(rows[0]?.["open"])))
  )

const run = async (database: Database | undefined, minutes: number) => {
  const provider = await startProvider()
  const { folder, config } = configure(provider.url, "", database)
  const openRows = async () => (database === undefined ? openInFile(folder) : await openIn(database))
  const delayFile = join(folder, "delay.json")
  const start = () =>
    startGateway(config, {
      // As `npm start` does.
      MALLOC_ARENA_MAX: "1",
      NODE_OPTIONS: `--max-semi-space-size=8 --import ${pathToFileURL(join(scripts, "loopDelay.mjs")).href}`,
      OPENCRAW_BENCH_LOOP_DELAY: delayFile
    })
  const soak = new Soak()
  const millis = minutes * 60_000
  let gateway = await start()
  try {
    soak.connect(gateway)
    // The code is compiled by use.
    await soak.maximum("warm", 5000)
    const maximum = await soak.maximum("max", 10_000)
    const rate = maximum / 2
    await soak.load(rate, millis / 20)
    gateway.child.kill("SIGKILL")
    await gateway.exited
    gateway = await start()
    soak.connect(gateway)
    await soak.load(rate, millis / 20)
    gateway.child.kill("SIGTERM")
    const stopped = await gateway.exited
    gateway = await start()
    soak.connect(gateway)

    const samples: Array<{ readonly hours: number; readonly mb: number }> = []
    const began = performance.now()
    const left = millis * 0.9
    // For a quarter of an hour V8 compiles what is used often again, and the allocator grows with it: 10 MB in the first five minutes, then ever less.
    const warm = (left * 2) / 3
    const loaded = soak.load(rate, left)
    await pause(warm / 2)
    // It also collects all garbage, after which resident memory has to grow again to what it needs.
    process.kill(gateway.child.pid ?? 0, "SIGUSR2")
    await pause(warm / 2)
    const meter = setInterval(
      () => samples.push({ hours: (performance.now() - began) / 3_600_000, mb: rssOf(gateway) }),
      2000
    )
    await loaded
    clearInterval(meter)
    process.kill(gateway.child.pid ?? 0, "SIGUSR2")

    const settled = performance.now()
    const total = () => soak.clients.reduce((sum, client) => sum + client.outcomes.size, 0)
    await until("every message is acknowledged", () => soak.acked >= soak.sent, 120_000)
    await until("no row is open", async () => (await openRows()) === 0, 120_000)
    const settleSeconds = (performance.now() - settled) / 1000
    for (const client of soak.clients) client.send("last", "are you there")
    await until("every session answers", () => soak.clients.every((one) => one.answers.has("last")), 60_000)
    const delay: {
      readonly ms: { readonly p50: number; readonly p99: number; readonly max: number }
      readonly live_heap_mb: { readonly start: number; readonly end: number }
    } = JSON.parse(readFileSync(delayFile, "utf8"))
    return {
      minutes,
      max_per_s: Math.round(maximum),
      sent_per_s: Math.round(soak.sent / (minutes * 60)),
      messages: soak.sent,
      outcomes_told: total(),
      stopped_with: stopped.code,
      rss_mb: [samples[0], samples.at(-1)].map((one) => Number((one?.mb ?? NaN).toFixed(1))),
      rss_slope_mb_per_hour: Number(slopeOf(samples).toFixed(1)),
      live_heap_mb: [delay.live_heap_mb.start, delay.live_heap_mb.end].map((mb) => Number(mb.toFixed(1))),
      loop_delay_ms: delay.ms,
      settle_s: Number(settleSeconds.toFixed(1)),
      open_rows: await openRows()
    }
  } finally {
    for (const client of soak.clients) client.close()
    gateway.child.kill("SIGKILL")
    provider.child.kill("SIGKILL")
  }
}

describe.each([
  { store: "SQLite", fullMinutes: 30, server: () => Promise.resolve(undefined), skip: false },
  // Its disk is synced, as in life. At its rate it takes longer until V8 has compiled what is used: some 300,000 messages.
  { store: named("PostgreSQL"), fullMinutes: 50, server: () => startServer(), skip: withoutPostgres }
])("soak on $store", ({ store, fullMinutes, server: start, skip }) => {
  const minutes = Number(asked ?? fullMinutes)
  const isJudged = minutes >= fullMinutes
  it.skipIf(skip)(
    `${minutes} minutes at half of what it can do leave nothing open and every session answering`,
    async () => {
      const server = await start()
      try {
        const database = server === undefined ? undefined : { url: server.url, schema: newSchema() }
        const figures = await run(database, minutes)
        process.stdout.write(`${JSON.stringify({ store, isJudged, ...figures })}\n`)

        assert.strictEqual(figures.open_rows, 0)
        assert.strictEqual(figures.stopped_with, 0)
        if (isJudged) {
          assert.isBelow(figures.rss_slope_mb_per_hour, 1)
          assert.isBelow(figures.loop_delay_ms.p99, 20)
        }
      } finally {
        await server?.stop()
      }
    },
    (minutes + 10) * 60_000
  )
})
