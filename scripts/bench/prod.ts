/**
 * `npm run bench -- prod`: what a message costs on PostgreSQL, beside the same on SQLite in the same run.
 *
 * Both gateways and the floor are measured in turn, round by round, so that a slow minute slows all three. Starts are those of gateways
 * of their own, on tables that are there already. The server is a fresh one
 * of this machine with the settings it comes with, its disk synced; it shares the cores with everything else, as the provider does.
 */
import process from "node:process"
import { newSchema, startServer } from "../../test/postgres/server.ts"
import type { GatewayOptions, Lab, LoadOptions, LoadResult, Provider, Running } from "./Lab.ts"
import { foreignMeter, tree } from "./Machine.ts"
import { loadMany } from "./measureGrowth.ts"
import { isBehind, loopAt } from "./measureLoop.ts"
import { restartOnce } from "./measureRestart.ts"
import { median, round } from "./numbers.ts"
import { ask } from "./requests.ts"
import { full, quick, type Sizes } from "./sizes.ts"
import { targets, type Target } from "./targets.ts"

interface Row {
  readonly target: Target
  readonly load: "one" | "oneStream" | "many" | "manyStream" | "burst"
  readonly pick: (result: LoadResult) => number | undefined
}

/** On Postgres the design names one target of its own; the other rows show what was set for SQLite. */
const rows: Readonly<Record<string, Row>> = {
  warm_p50: { target: targets.warm_p50, load: "one", pick: ({ latency_ms }) => latency_ms.p50 },
  warm_p95: { target: targets.warm_p95, load: "one", pick: ({ latency_ms }) => latency_ms.p95 },
  first_content: { target: targets.first_content, load: "oneStream", pick: ({ ttft_ms }) => ttft_ms?.p50 },
  cpu_1: { target: targets.cpu_1, load: "one", pick: ({ cpu_ms_per_msg }) => cpu_ms_per_msg },
  cpu_64: { target: targets.cpu_64, load: "many", pick: ({ cpu_ms_per_msg }) => cpu_ms_per_msg },
  rate_1: { target: targets.rate_1, load: "one", pick: ({ rps }) => rps },
  rate_64: {
    target: {
      what: "messages per second on Postgres, 64 sessions",
      unit: "msg/s",
      must: 200,
      aim: 450,
      slice: "1069"
    },
    load: "many",
    pick: ({ rps }) => rps
  },
  rate_64_stream: { target: targets.rate_64_stream, load: "manyStream", pick: ({ rps }) => rps },
  burst_200: { target: targets.burst_200, load: "burst", pick: ({ wall_s }) => wall_s }
}

interface Round {
  readonly prod: LoadResult
  readonly dev: LoadResult
  readonly floor: LoadResult
  /** CPU of the database's processes per message, ms. */
  readonly databaseMs: number
}

interface Start {
  readonly seconds: number
  readonly rssMb: number
  readonly foreign: number
}

/** Spawn to first answer, and what it then takes of memory. */
const startOnce = async (lab: Lab, options: GatewayOptions): Promise<Start> => {
  const foreign = foreignMeter()
  const began = performance.now()
  const gateway = await lab.startGateway(options)
  await ask(gateway, "first", "hello")
  const seconds = (performance.now() - began) / 1000
  const { rssMb } = tree(gateway.pid)
  await gateway.stop()
  return { seconds, rssMb, foreign: foreign() }
}

interface Figure extends Target {
  readonly value: number
  readonly dev: number
  readonly ratio_to_dev: number
  readonly foreign_cores?: number
  readonly floor?: number
  /** Of the database's processes, for each message. */
  readonly database_cpu_ms?: number
}

const figureOfStarts = (
  target: Target,
  starts: ReadonlyArray<{ readonly prod: Start; readonly dev: Start }>,
  pick: (start: Start) => number
): Figure => ({
  ...target,
  value: round(median(starts.map(({ prod }) => pick(prod)))),
  dev: round(median(starts.map(({ dev }) => pick(dev)))),
  ratio_to_dev: round(median(starts.map(({ prod, dev }) => pick(prod) / pick(dev)))),
  foreign_cores: round(median(starts.map(({ prod }) => prod.foreign)))
})

/** The same on both stores, once. */
interface Both<A> {
  readonly prod: A
  readonly dev: A
}

const onBoth = async <A>(
  newPostgres: () => NonNullable<GatewayOptions["postgres"]>,
  measure: (postgres: GatewayOptions["postgres"]) => Promise<A>
): Promise<Both<A>> => {
  const dev = await measure(undefined)
  return { dev, prod: await measure(newPostgres()) }
}

const figureOf = <A>(target: Target, { prod, dev }: Both<A>, pick: (one: A) => number): Figure => ({
  ...target,
  value: round(pick(prod)),
  dev: round(pick(dev)),
  ratio_to_dev: round(pick(prod) / pick(dev))
})

/** What is measured once on each, on tables of its own: it takes long, and does not hang on a minute. */
const grown = async (
  lab: Lab,
  provider: Provider,
  sizes: Sizes,
  halfRate: Both<number>,
  newPostgres: () => NonNullable<GatewayOptions["postgres"]>
) => {
  await provider.configure({ ttftMs: 0 })
  show("event loop at half load")
  const loop = await onBoth(newPostgres, (postgres) =>
    loopAt(lab, provider, sizes, postgres === undefined ? halfRate.dev : halfRate.prod, postgres)
  )
  show(`${sizes.loadedSessions * 10} messages`)
  const memory = await onBoth(newPostgres, async (postgres) => {
    const on = postgres === undefined ? {} : { postgres }
    const gateway = await lab.startGateway({ main: "bundle", provider, ...on })
    const result = await loadMany(lab, provider, gateway, sizes)
    await gateway.stop()
    return result
  })
  show(`restart with ${sizes.openRows} open rows`)
  const restart = await onBoth(newPostgres, (postgres) => restartOnce(lab, provider, sizes, postgres))
  return { loop, memory, restart }
}

const show = (text: string) => process.stderr.write(`${text}\n`)
const medianOf = (rounds: ReadonlyArray<Round>, of: keyof Round, pick: Row["pick"]) =>
  median(rounds.map((one) => pick(one[of] as LoadResult) ?? NaN))

/** The exit code: 1 only when something did not run. */
export const benchProd = async (
  lab: Lab,
  isQuick: boolean,
  about: Readonly<Record<string, unknown>>
): Promise<number> => {
  const sizes = isQuick ? quick : full
  const server = await startServer()
  // Told to stop, it takes its server along.
  process.once("exit", server.end)
  try {
    const provider = await lab.startProvider()
    const dev = await lab.startGateway({ main: "source", provider })
    const postgres = { url: server.url, schema: newSchema() }
    const ofItsOwn = { url: server.url, schema: newSchema() }
    await startOnce(lab, { main: "source", provider, postgres: ofItsOwn })
    const starts: Array<{ readonly prod: Start; readonly dev: Start }> = []
    const prod = await lab.startGateway({ main: "source", provider, postgres })
    const loads: Readonly<Record<Row["load"], LoadOptions>> = {
      one: { sessions: 1, messages: sizes.messages1, warmup: sizes.warmup1 },
      oneStream: { sessions: 1, messages: sizes.messages1, warmup: sizes.warmup1, stream: true },
      many: { sessions: 64, messages: sizes.messages64, warmup: 3 },
      manyStream: { sessions: 64, messages: sizes.messages64, warmup: 3, stream: true },
      burst: { sessions: 200, messages: 1 }
    }
    const others = (me: Running) => [provider, server, ...[dev, prod].filter((one) => one !== me)]
    const taken: Record<string, Array<Round>> = {}
    for (const gateway of [dev, prod]) {
      await lab.load(gateway, others(gateway), { sessions: 32, messages: Math.ceil(sizes.messages1 / 5) })
    }
    for (let turn = 0; turn < sizes.rounds; turn++) {
      show(`start, round ${turn + 1} of ${sizes.rounds}`)
      await provider.configure({ ttftMs: 0 })
      starts.push({
        dev: await startOnce(lab, { main: "source", provider }),
        prod: await startOnce(lab, { main: "source", provider, postgres: ofItsOwn })
      })
      for (const [name, options] of Object.entries(loads)) {
        show(`${name}, round ${turn + 1} of ${sizes.rounds}`)
        await provider.configure({ ttftMs: name === "burst" ? 200 : 0 })
        const floor = await lab.load(provider, [], options)
        const onDev = await lab.load(dev, others(dev), options)
        const before = tree(server.pid()).cpuSeconds
        const onProd = await lab.load(prod, others(prod), options)
        const databaseMs = ((tree(server.pid()).cpuSeconds - before) * 1000) / onProd.total
        ;(taken[name] ??= []).push({ prod: onProd, dev: onDev, floor, databaseMs })
      }
    }
    const { memory, loop, restart } = await grown(
      lab,
      provider,
      sizes,
      {
        dev: medianOf(taken["many"] ?? [], "dev", ({ rps }) => rps) / 2,
        prod: medianOf(taken["many"] ?? [], "prod", ({ rps }) => rps) / 2
      },
      () => ({ url: server.url, schema: newSchema() })
    )
    const figures: Readonly<Record<string, Figure>> = {
      cold_source: figureOfStarts(targets.cold_source, starts, ({ seconds }) => seconds),
      rss_started: figureOfStarts(
        { what: "RSS after the first answer, source", unit: "MB" },
        starts,
        ({ rssMb }) => rssMb
      ),
      ...Object.fromEntries(
        Object.entries(rows).map(([name, { target, load, pick }]) => {
          const rounds = taken[load] ?? []
          const ratio = median(rounds.map((one) => (pick(one.prod) ?? NaN) / (pick(one.dev) ?? NaN)))
          return [
            name,
            {
              ...target,
              value: round(medianOf(rounds, "prod", pick)),
              dev: round(medianOf(rounds, "dev", pick)),
              ratio_to_dev: round(ratio),
              floor: round(medianOf(rounds, "floor", pick)),
              database_cpu_ms: round(median(rounds.map(({ databaseMs }) => databaseMs))),
              foreign_cores: round(median(rounds.map((one) => one.prod.foreign_cores)))
            }
          ]
        })
      ),
      loop_delay: figureOf(targets.loop_delay, loop, ({ ms }) => ms.p99),
      rss_loaded: figureOf(targets.rss_loaded, memory, ({ rss_after_mb }) => rss_after_mb ?? NaN),
      restart_open: figureOf(targets.restart_open, restart, ({ openSeconds }) => openSeconds),
      restart_new: figureOf(targets.restart_new, restart, ({ newSeconds }) => newSeconds)
    }
    if (sizes !== full) show("restart and memory with fewer rows and sessions than the names say")
    for (const [name, one] of Object.entries(loop))
      if (isBehind(one)) show(`${name} fell behind at half its rate`)
    show(
      `\n${"what".padEnd(46)} unit    Postgres   SQLite    ratio    floor   must    aim  database CPU  foreign cores`
    )
    for (const one of Object.values(figures)) {
      const cells = [
        one.value,
        one.dev,
        `${one.ratio_to_dev}x`,
        one.floor,
        one.must,
        one.aim,
        one.database_cpu_ms === undefined ? "" : `${one.database_cpu_ms} ms`,
        one.foreign_cores
      ]
      show(
        `${one.what.padEnd(46)} ${one.unit.padEnd(7)} ${cells.map((cell) => String(cell ?? "").padStart(8)).join(" ")}`
      )
    }
    process.stdout.write(`${JSON.stringify({ ...about, server: await server.version(), rows: figures })}\n`)
    return 0
  } catch (cause) {
    show(`FAILED ${cause instanceof Error ? cause.message : String(cause)}`)
    return 1
  } finally {
    await server.stop()
  }
}
