/**
 * `npm run bench -- nodes`: what several nodes on one PostgreSQL cost and give: a gateway that has its database to itself, the same as the
 * only node of several, and two nodes at once, half of the sessions at each.
 *
 * All are measured in turn, round by round, on the cores that they share with generator, provider and database: what two nodes give
 * together is bounded by those, so the CPU of a message says more than the rate.
 */
import { newSchema, startServer } from "../../test/postgres/server.ts"
import type { Lab, LoadResult, Running } from "./Lab.ts"
import { tree } from "./Machine.ts"
import { median, round } from "./numbers.ts"
import { full, quick } from "./sizes.ts"

interface Round {
  readonly rps: number
  readonly gatewayMs: number
  readonly databaseMs: number
  readonly p50: number
}

const show = (text: string) => process.stderr.write(`${text}\n`)

/** The exit code: 1 only when something did not run. */
export const benchNodes = async (
  lab: Lab,
  isQuick: boolean,
  about: Readonly<Record<string, unknown>>
): Promise<number> => {
  const sizes = isQuick ? quick : full
  const server = await startServer()
  try {
    const provider = await lab.startProvider()
    const start = (schema: string, node?: string) =>
      lab.startGateway({
        main: "source",
        provider,
        postgres: { url: server.url, schema },
        ...(node === undefined ? {} : { node })
      })
    const shared = newSchema()
    const kinds: Readonly<Record<string, ReadonlyArray<Running>>> = {
      alone: [await start(newSchema())],
      one_node: [await start(newSchema(), "one")],
      two_nodes: [await start(shared, "one"), await start(shared, "two")]
    }
    const everybody = [provider, server, ...Object.values(kinds).flat()]
    const measured = async (gateways: ReadonlyArray<Running>): Promise<Round> => {
      const sessions = 64 / gateways.length
      const spent = () => gateways.reduce((sum, { pid }) => sum + tree(pid).cpuSeconds, 0)
      const before = { gateways: spent(), database: tree(server.pid()).cpuSeconds }
      const loads: ReadonlyArray<LoadResult> = await Promise.all(
        gateways.map((gateway) =>
          lab.load(
            gateway,
            everybody.filter((one) => one !== gateway),
            { sessions, messages: sizes.messages64 }
          )
        )
      )
      const total = loads.reduce((sum, one) => sum + one.total, 0)
      return {
        rps: loads.reduce((sum, one) => sum + one.rps, 0),
        gatewayMs: ((spent() - before.gateways) * 1000) / total,
        databaseMs: ((tree(server.pid()).cpuSeconds - before.database) * 1000) / total,
        p50: median(loads.map(({ latency_ms }) => latency_ms.p50))
      }
    }
    for (const gateways of Object.values(kinds)) await measured(gateways)
    const taken: Record<string, Array<Round>> = {}
    for (let turn = 0; turn < sizes.rounds; turn++) {
      for (const [name, gateways] of Object.entries(kinds)) {
        show(`${name}, round ${turn + 1} of ${sizes.rounds}`)
        ;(taken[name] ??= []).push(await measured(gateways))
      }
    }
    const rows = Object.fromEntries(
      Object.entries(taken).map(([name, rounds]) => {
        const of = (pick: (one: Round) => number) => round(median(rounds.map(pick)))
        return [
          name,
          {
            rps: of(({ rps }) => rps),
            gateway_cpu_ms: of(({ gatewayMs }) => gatewayMs),
            database_cpu_ms: of(({ databaseMs }) => databaseMs),
            p50_ms: of(({ p50 }) => p50)
          }
        ]
      })
    )
    for (const [name, row] of Object.entries(rows)) show(`${name.padEnd(10)} ${JSON.stringify(row)}`)
    process.stdout.write(`${JSON.stringify({ ...about, server: await server.version(), rows })}\n`)
    return 0
  } catch (cause) {
    show(`FAILED ${cause instanceof Error ? cause.message : String(cause)}`)
    return 1
  } finally {
    await server.stop()
  }
}
