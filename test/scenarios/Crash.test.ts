/** The process is killed with SIGKILL; the disk survives. Provider: our own fake; stores: the real SQLite file, a real PostgreSQL. */
import { afterEach, assert, describe, test } from "vitest"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"
import {
  checkEnds,
  Client,
  configure,
  type Database,
  echo,
  type Gateway,
  startGateway,
  startProvider,
  transcript,
  until,
  untilEnded
} from "./gatewayProcess.ts"

/** One answer for one message, so that each can be told by its text. */
const oneByOne = `[queue]\nmode = "followup"\ndrop = "new"\n`

const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

const provider = async () => {
  const started = await startProvider(echo)
  cleanups.push(started.stop)
  return started
}

const track = (gateway: Gateway): Gateway => {
  cleanups.push(() => gateway.child.kill("SIGKILL"))
  return gateway
}

/** Every acknowledged message: once in the transcript, answered by exactly one answer there, and that one delivered. */
const check = async (gateway: Gateway, session: string, client: Client) => {
  const lines = await transcript(gateway, session)
  for (const id of client.acked.keys()) {
    assert.lengthOf(
      lines.filter((line) => line.client_id === id),
      1,
      `${id} in the transcript`
    )
    const answers = lines.filter((line) => line.role === "assistant" && line.answers?.includes(id) === true)
    assert.lengthOf(answers, 1, `answers to ${id}`)
    assert.include(answers[0]!.content, `echo of ${id}`)
    assert.deepStrictEqual(
      [...(client.answers.get(id) ?? [])],
      [answers[0]!.id],
      `deliveries of the answer to ${id}`
    )
  }
}

const lcg = (seed: number) => () => {
  seed = (seed * 1_664_525 + 1_013_904_223) % 4_294_967_296
  return seed / 4_294_967_296
}

describe.each([
  { store: "SQLite", database: async () => undefined, skip: false, kills: 20, modeKills: 6 },
  {
    store: named("Postgres"),
    database: async (): Promise<Database> => ({ url: await sharedUrl(), schema: newSchema() }),
    skip: withoutPostgres,
    // Fewer: what is killed is the same gateway.
    kills: 8,
    modeKills: 3
  }
])("a gateway on $store that is killed", ({ database, skip, kills, modeKills }) => {
  const it = test.skipIf(skip)
  const configured = async (url: string, extra = "") => configure(url, extra, await database())
  it(
    `loses no acknowledged message and answers none twice: ${kills * 10} messages, 20 sessions, ${kills} kills`,
    { timeout: 240_000 },
    async () => {
      const { url } = await provider()
      const { config } = await configured(url, oneByOne)
      const random = lcg(Number(process.env["OPENCRAW_SEED"] ?? 7))
      const clients = Array.from(
        { length: 20 },
        (_, index) => [`crash-${index}`, new Client(`crash-${index}`)] as const
      )
      cleanups.push(() => clients.forEach(([, client]) => client.close()))

      const all = () => clients.reduce((sum, [, client]) => sum + client.acked.size, 0)
      const answered = () => clients.reduce((sum, [, client]) => sum + client.answers.size, 0)
      let gateway = track(await startGateway(config))
      for (let kill = 0; kill < kills; kill++) {
        for (const [, client] of clients) client.connect(gateway)
        // Ten messages a life, some of them asking for a tool, some to a session that is busy already.
        for (let count = 0; count < 10; count++) {
          const [session, client] = clients[Math.floor(random() * 20)]!
          const id = `${session}-${kill}-${count}${random() < 0.3 ? "-tool" : ""}`
          client.send(id, id)
        }
        // A message may be cut off three times and no more, so what earlier lives left is answered before the next kill.
        await until("earlier answers", () => answered() >= kill * 10)
        await new Promise((done) => setTimeout(done, random() * 60))
        gateway.child.kill("SIGKILL")
        await gateway.exited
        gateway = track(await startGateway(config))
      }
      for (const [, client] of clients) client.connect(gateway)

      await until("every answer", () => all() === kills * 10 && answered() === kills * 10)
      for (const [session, client] of clients) await check(gateway, session, client)
    }
  )

  for (const failpoint of [
    "before-ack",
    "after-ack",
    "mid-stream",
    "after-step",
    "after-tool",
    "after-final",
    "mid-send"
  ]) {
    it(`goes on after a kill at ${failpoint}`, { timeout: 60_000 }, async () => {
      const { url } = await provider()
      const { config } = await configured(url, oneByOne)
      const client = new Client("point")
      cleanups.push(() => client.close())

      const first = track(await startGateway(config, { OPENCRAW_FAILPOINT: `${failpoint}:2` }))
      client.connect(first)
      for (const id of ["one-tool", "two-tool", "three"]) client.send(id, id)
      const { signal } = await first.exited
      assert.strictEqual(signal, "SIGKILL", "the failpoint was reached")

      const second = track(await startGateway(config))
      client.connect(second)
      await until("three answers", () => client.answers.size === 3)
      assert.strictEqual(client.acked.size, 3)
      await check(second, "point", client)
    })
  }

  for (const mode of ["collect", "steer", "interrupt"]) {
    it(
      `in ${mode} mode gives every acknowledged message its one end: ${modeKills * 10} messages, ${modeKills} kills`,
      { timeout: 120_000 },
      async () => {
        const { url } = await provider()
        const { config } = await configured(url, `[queue]\nmode = "${mode}"\ndebounce_ms = 100\ncap = 100\n`)
        const random = lcg(11)
        const clients = Array.from(
          { length: 4 },
          (_, index) => [`${mode}-${index}`, new Client(`${mode}-${index}`)] as const
        )
        cleanups.push(() => clients.forEach(([, client]) => client.close()))
        let sent = 0
        const accepted = () => clients.flatMap(([, client]) => [...client.acked])

        let gateway = track(await startGateway(config))
        for (let kill = 0; kill < modeKills; kill++) {
          for (const [, client] of clients) client.connect(gateway)
          for (let count = 0; count < 10; count++) {
            const [session, client] = clients[Math.floor(random() * clients.length)]!
            const id = `${session}-${kill}-${count}${random() < 0.3 ? "-tool" : ""}`
            sent++
            client.send(id, id)
            await new Promise((done) => setTimeout(done, random() * 12))
          }
          gateway.child.kill("SIGKILL")
          await gateway.exited
          gateway = track(await startGateway(config))
          for (const [, client] of clients) client.connect(gateway)
          await until("every acknowledgement", () => accepted().length === sent)
          await untilEnded(gateway, clients)
        }
        await checkEnds(gateway, clients)
      }
    )
  }

  it("answers what it had acknowledged although nobody comes back for it", { timeout: 60_000 }, async () => {
    const { url } = await provider()
    const { config } = await configured(url, oneByOne)
    const client = new Client("alone")
    const first = track(await startGateway(config, { OPENCRAW_FAILPOINT: "after-ack" }))
    client.connect(first)
    client.send("one", "one")
    await first.exited
    client.close()

    const second = track(await startGateway(config))
    await until("the answer", async () =>
      (await transcript(second, "alone")).some((line) => line.role === "assistant")
    )
    const late = new Client("alone")
    cleanups.push(() => late.close())
    late.connect(second)
    await until("its delivery", () => late.answers.has("one"))
  })
})
