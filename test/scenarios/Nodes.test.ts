/** Two real gateways on one PostgreSQL, which are killed, frozen, stopped and cut off under load. Provider: our own fake. */
import { afterEach, assert, describe, it } from "vitest"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, startServer, withoutPostgres } from "../postgres/server.ts"
import {
  api,
  Client,
  type Database,
  echo,
  type Gateway,
  type ProviderRequest,
  type Reply,
  startGateway,
  startProvider,
  until
} from "./gatewayProcess.ts"
import { bucketsOf, checkAnswers, metric, nodeConfig, startWire, untilShared } from "./nodes.ts"

const cleanups: Array<() => void | Promise<void>> = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const start = async (config: string) => {
  const gateway = await startGateway(config)
  cleanups.push(() => {
    gateway.child.kill("SIGCONT")
    gateway.child.kill("SIGKILL")
  })
  return gateway
}
const provider = async (reply: (request: ProviderRequest) => Reply = echo) => {
  const started = await startProvider(reply)
  cleanups.push(started.stop)
  return started.url
}
/** Long enough that something is always under way. */
const slowly = (request: ProviderRequest): Reply => {
  const reply = echo(request)
  return "call" in reply ? reply : { ...reply, pauseMillis: 150 }
}

class Load {
  readonly clients: ReadonlyArray<readonly [session: string, client: Client]>
  sent = 0
  /** Every third session is of `project`, which is there. */
  constructor(name: string, sessions: number, project?: string) {
    this.clients = Array.from({ length: sessions }, (_, n) => {
      const own = `${name}-${n}`
      const session = project === undefined || n % 3 > 0 ? own : `${project}/agent:main:${own}`
      return [session, new Client(encodeURIComponent(session))] as const
    })
    cleanups.push(() => this.clients.forEach(([, client]) => client.close()))
  }
  /** Every other client to every other gateway. */
  connect(...gateways: ReadonlyArray<Gateway>) {
    for (const [n, [, client]] of this.clients.entries()) client.connect(gateways[n % gateways.length]!)
  }
  send(each: number) {
    for (const [session, client] of this.clients) {
      for (let n = 0; n < each; n++) {
        const id = `${session}-${this.sent++}`
        client.send(id, this.sent % 5 === 0 ? `${id} with a tool` : id)
      }
    }
  }
  get answered(): number {
    return this.clients.reduce((sum, [, client]) => sum + client.answers.size, 0)
  }
  async untilAllAnswered() {
    await until("every answer", () => this.answered === this.sent, 40_000)
  }
  async check(gateway: Gateway) {
    for (const [session, client] of this.clients) {
      assert.strictEqual(client.acked.size, this.sent / this.clients.length)
      await checkAnswers(gateway, session, client)
    }
  }
}

const elapsed = () => {
  const began = performance.now()
  return () => Math.round(performance.now() - began)
}

describe.skipIf(withoutPostgres)(named("two nodes on one database"), { timeout: 120_000 }, () => {
  const shared = async (): Promise<Database> => ({ url: await sharedUrl(), schema: newSchema() })

  it("answer a message wherever it came in, each once, and lose nothing when one is killed", async () => {
    const url = await provider(slowly)
    const database = await shared()
    const first = await start(nodeConfig(url, database, "one"))
    const second = await start(nodeConfig(url, database, "two"))
    await untilShared([first, second])
    for (const [what, body] of [
      ["orgs", { org: "acme" }],
      ["projects", { project: "acme/shop" }]
    ] as const) {
      await api(first, `/api/v1/os/${what}`, { method: "POST", body: JSON.stringify(body) })
    }
    const load = new Load("kill", 12, "acme/shop")
    load.connect(first, second)
    load.send(2)
    await load.untilAllAnswered()

    load.send(3)
    await until("some of the answers", () => load.answered >= load.sent - 26)
    first.child.kill("SIGKILL")
    const took = elapsed()
    load.connect(second)
    await until("all buckets at the other node", async () => (await bucketsOf(second)).join() === "256")
    const tookMillis = took()
    await load.untilAllAnswered()

    console.log(`taken over ${tookMillis} ms after kill -9`)
    assert.isBelow(tookMillis, 5000)
    assert.isAbove(await metric(second, "opencraw_buckets_taken_over_total"), 100)
    await load.check(second)
  })

  it("hand over when one is told to stop: it ends what it runs, and owns nothing when it exits", async () => {
    const url = await provider(slowly)
    const database = await shared()
    const first = await start(nodeConfig(url, database, "one"))
    const second = await start(nodeConfig(url, database, "two"))
    await untilShared([first, second])
    const load = new Load("stop", 12)
    load.connect(first, second)
    load.send(3)
    await until("runs under way", () => load.answered >= 6)

    const took = elapsed()
    first.child.kill("SIGTERM")
    load.connect(second)
    const { code } = await first.exited
    const exitedMillis = took()
    assert.strictEqual(code, 0)
    await until("all buckets at the other node", async () => (await bucketsOf(second)).join() === "256", 1500)
    await load.untilAllAnswered()

    console.log(`stopped and handed over within ${exitedMillis} ms`)
    // Nothing was taken by force: it was given.
    assert.strictEqual(await metric(second, "opencraw_buckets_taken_over_total"), 0)
    await load.check(second)
  })

  it("go on without one that stands still, and let it store nothing when it moves again", async () => {
    const url = await provider(slowly)
    const database = await shared()
    const first = await start(nodeConfig(url, database, "one"))
    const second = await start(nodeConfig(url, database, "two"))
    await untilShared([first, second])
    const load = new Load("freeze", 16)
    load.connect(first, second)
    load.send(3)
    await until("runs under way", () => load.answered >= 8)

    first.child.kill("SIGSTOP")
    const took = elapsed()
    await until("all buckets at the other node", async () => (await bucketsOf(second)).join() === "256")
    const tookMillis = took()
    load.connect(second)
    await until("half of the answers", () => load.answered >= load.sent / 2)
    first.child.kill("SIGCONT")
    await load.untilAllAnswered()
    load.connect(second, first)
    await untilShared([first, second])
    load.send(1)
    await load.untilAllAnswered()

    const refused = await metric(first, "opencraw_units_fenced_total")
    console.log(`taken over ${tookMillis} ms after SIGSTOP; units refused when it moved again: ${refused}`)
    assert.isAbove(refused, 0)
    assert.isBelow(tookMillis, 5000)
    await load.check(first)
  })

  it("go on without one that is cut off from the database, and share again when it is back", async () => {
    const url = await provider(slowly)
    const database = await shared()
    const real = new URL(database.url)
    const wire = await startWire({ port: Number(real.port) })
    cleanups.push(wire.stop)
    const detour = new URL(database.url)
    detour.port = String(wire.port)
    const first = await start(nodeConfig(url, { url: detour.href, schema: database.schema }, "one"))
    const second = await start(nodeConfig(url, database, "two"))
    await untilShared([first, second])
    const load = new Load("cut", 12)
    load.connect(first, second)
    load.send(3)
    await until("runs under way", () => load.answered >= 8)

    wire.cut()
    const took = elapsed()
    await until("all buckets at the other node", async () => (await bucketsOf(second)).join() === "256")
    const tookMillis = took()
    load.connect(second)
    load.send(1)
    await load.untilAllAnswered()
    wire.mend()
    await untilShared([first, second])
    load.connect(first, second)
    load.send(1)
    await load.untilAllAnswered()

    console.log(`taken over ${tookMillis} ms after the wire was cut`)
    assert.isBelow(tookMillis, 5000)
    await load.check(first)
  })

  it("keep what they have while their database is killed and started again", async () => {
    const server = await startServer()
    cleanups.push(server.stop)
    const url = await provider(slowly)
    const database = { url: server.url, schema: newSchema() }
    const first = await start(nodeConfig(url, database, "one"))
    const second = await start(nodeConfig(url, database, "two"))
    await untilShared([first, second])
    const load = new Load("outage", 8)
    load.connect(first, second)
    for (let kill = 0; kill < 2; kill++) {
      load.send(2)
      await until("some of the answers", () => load.answered >= load.sent - 12)
      await server.kill()
      await new Promise((done) => setTimeout(done, 3500))
      await server.start()
    }
    // A message that was refused meanwhile is sent again by its client when it connects.
    load.connect(first, second)
    await load.untilAllAnswered()

    const overs = [first, second].map((node) => metric(node, "opencraw_buckets_taken_over_total"))
    assert.deepStrictEqual(await Promise.all(overs), [0, 0])
    await load.check(first)
  })
})
