/** Three real gateways on one PostgreSQL, minutes of load, and something ends, freezes or is cut off every few seconds. */
import { assert, describe, it } from "vitest"
import { Random } from "../simulation/Random.ts"
import { newSchema, named, startServer, withoutPostgres } from "../postgres/server.ts"
import {
  api,
  Client,
  echo,
  type Gateway,
  startGateway,
  startProvider,
  until
} from "../scenarios/gatewayProcess.ts"
import { bucketsOf, checkAnswers, metric, nodeConfig, untilShared } from "../scenarios/nodes.ts"

const rounds = Number(process.env["OPENCRAW_NODES_ROUNDS"] ?? 12)
const sessions = 30
const pause = (millis: number) => new Promise((done) => setTimeout(done, millis))

describe.skipIf(withoutPostgres)(named("three nodes on one database"), () => {
  it(
    `lose no acknowledged message and answer none twice over ${rounds} kills, stops, freezes and outages`,
    { timeout: 60_000 + rounds * 60_000 },
    async () => {
      const random = new Random(Number(process.env["OPENCRAW_SEED"] ?? 5))
      const server = await startServer()
      const provider = await startProvider((request) => {
        const reply = echo(request)
        return "call" in reply ? reply : { ...reply, pauseMillis: 60 }
      })
      const database = { url: server.url, schema: newSchema() }
      const configs = ["one", "two", "three"].map((name) => nodeConfig(provider.url, database, name))
      const gateways: Array<Gateway> = []
      const clients = Array.from(
        { length: sessions },
        (_, n) => [`long-${n}`, new Client(`long-${n}`)] as const
      )
      const answered = () => clients.reduce((sum, [, client]) => sum + client.answers.size, 0)
      const takeovers: Array<number> = []
      let fenced = 0
      let sent = 0
      const spread = (among: ReadonlyArray<Gateway>) => {
        for (const [n, [, client]] of clients.entries()) client.connect(among[n % among.length]!)
      }
      /** What is known of messages that were not answered. */
      const open = async () => {
        const lines: Array<string> = []
        for (const [session, client] of clients) {
          for (const [id, messageId] of client.acked) {
            if (client.answers.has(id)) continue
            const trace = await (await api(gateways[0]!, `/api/v1/os/messages/${messageId}`)).text()
            lines.push(`${session} ${id}: ${trace}`)
          }
        }
        const unsent = clients.flatMap(([, client]) => client.unsent)
        const lanes = await Promise.all(
          gateways.map(async (one) => (await api(one, "/api/v1/os/lanes")).text())
        )
        return [
          ...lines,
          `not acknowledged: ${unsent.join()}`,
          ...lanes,
          ...gateways.map((one) => one.stderr())
        ].join("\n")
      }
      /** Until what was at the one that is away is at the others. */
      const untilTaken = async (others: ReadonlyArray<Gateway>) => {
        const began = performance.now()
        await until(
          "takeover",
          async () => {
            const counts = await Promise.all(others.map(bucketsOf))
            return counts.reduce((sum, [own = 0]) => sum + own, 0) === 256
          },
          15_000
        )
        return Math.round(performance.now() - began)
      }
      try {
        for (const config of configs) gateways.push(await startGateway(config))
        await untilShared(gateways)
        for (let round = 0; round < rounds; round++) {
          spread(gateways)
          for (const [session, client] of clients) {
            for (let n = 0; n < 2; n++) {
              const id = `${session}-${sent++}`
              client.send(id, random.between(0, 4 - 1) === 0 ? `${id} with a tool` : id)
            }
          }
          await pause(300 + random.between(0, 700 - 1))
          const at = random.between(0, 3 - 1)
          const gateway = gateways[at]!
          const others = gateways.filter((one) => one !== gateway)
          switch (round % 4) {
            case 0:
            case 1: {
              gateway.child.kill(round % 4 === 0 ? "SIGKILL" : "SIGTERM")
              spread(others)
              if (round % 4 === 0) takeovers.push(await untilTaken(others))
              await gateway.exited
              gateways[at] = await startGateway(configs[at]!)
              break
            }
            case 2: {
              gateway.child.kill("SIGSTOP")
              spread(others)
              takeovers.push(await untilTaken(others))
              await pause(random.between(0, 2000 - 1))
              gateway.child.kill("SIGCONT")
              break
            }
            case 3: {
              await server.kill()
              await pause(500 + random.between(0, 4000 - 1))
              await server.start()
              break
            }
          }
          await untilShared(gateways)
          spread(gateways)
          try {
            await until("every answer", () => answered() === sent, 30_000)
          } catch (error) {
            throw new Error(`round ${round}: ${await open()}`, { cause: error })
          }
          if (round % 4 === 2) fenced += await metric(gateway, "opencraw_units_fenced_total")
        }
        const figures = { sent, takeovers: takeovers.toSorted((a, b) => a - b), fenced }
        process.stderr.write(`${JSON.stringify(figures)}\n`)
        for (const [session, client] of clients) {
          assert.strictEqual(client.acked.size, sent / sessions)
          await checkAnswers(gateways[0]!, session, client)
        }
        assert.isAbove(fenced, 0)
        assert.isBelow(Math.max(...takeovers), 5000)
      } finally {
        for (const [, client] of clients) client.close()
        for (const { child } of gateways) {
          child.kill("SIGCONT")
          child.kill("SIGKILL")
        }
        provider.stop()
        await server.stop()
      }
    }
  )
})
