/**
 * The process kills itself at each named point, in every queue mode; the disk survives. Stores: the real SQLite file, a real PostgreSQL;
 * provider: our own fake.
 */
import { afterEach, assert, describe, it } from "vitest"
import type { FailpointName } from "#src/domain/Failpoint.ts"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"
import {
  checkEnds,
  Client,
  configure,
  type Database,
  echo,
  startGateway,
  startProvider,
  until,
  untilEnded
} from "../scenarios/gatewayProcess.ts"

const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

const start = async (config: string, env: Record<string, string> = {}) => {
  const gateway = await startGateway(config, env)
  cleanups.push(() => gateway.child.kill("SIGKILL"))
  return gateway
}

// Blocks leave on chat channels only: the simulation kills there.
const failpoints: ReadonlyArray<FailpointName> = [
  "before-ack",
  "after-ack",
  "mid-stream",
  "after-step",
  "after-tool",
  "after-final",
  "mid-send"
]

describe.each([
  { store: "SQLite", database: async () => undefined, skip: false },
  {
    store: named("PostgreSQL"),
    database: async (): Promise<Database> => ({ url: await sharedUrl(), schema: newSchema() }),
    skip: withoutPostgres
  }
])("a gateway on $store that is killed at a failpoint", ({ database, skip }) => {
  for (const mode of ["followup", "collect", "steer", "interrupt"]) {
    for (const failpoint of failpoints) {
      it.skipIf(skip)(
        `${failpoint}, in ${mode} mode, gives every acknowledged message its one end`,
        async () => {
          const provider = await startProvider(echo)
          cleanups.push(provider.stop)
          const { config } = configure(
            provider.url,
            `[queue]\nmode = "${mode}"\ndebounce_ms = 100\ncap = 100\n`,
            await database()
          )
          const clients = ["a", "b"].map((name) => [name, new Client(name)] as const)
          cleanups.push(() => clients.forEach(([, client]) => client.close()))

          const first = await start(config, { OPENCRAW_FAILPOINT: `${failpoint}:3` })
          for (const [, client] of clients) client.connect(first)
          let sent = 0
          // Until it has killed itself: an interrupted run, say, never comes to every point.
          while (first.child.exitCode === null && first.child.signalCode === null && sent < 40) {
            const [name, client] = clients[sent % 2]!
            const id = `${name}-${sent++}${sent % 3 === 0 ? "-tool" : ""}`
            client.send(id, id)
            await new Promise((done) => setTimeout(done, 40))
          }
          const { signal } = await first.exited
          assert.strictEqual(signal, "SIGKILL", "the failpoint was reached")

          const second = await start(config)
          for (const [, client] of clients) client.connect(second)
          await until(
            "every acknowledgement",
            () => clients.reduce((sum, [, { acked }]) => sum + acked.size, 0) === sent
          )
          await untilEnded(second, clients)
          await checkEnds(second, clients)
        }
      )
    }
  }
})
