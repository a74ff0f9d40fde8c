/** Several real gateways on one PostgreSQL, which are killed, frozen, stopped and cut off. Provider: our own fake. */
import { afterEach, assert, describe, it } from "vitest"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"
import {
  api,
  Client,
  configure,
  echo,
  type Gateway,
  startGateway,
  startProvider,
  transcript,
  until
} from "./gatewayProcess.ts"

const cleanups: Array<() => void | Promise<void>> = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const oneByOne = `[queue]\nmode = "followup"\ndrop = "new"\ncap = 200\n`

const start = async (config: string) => {
  const gateway = await startGateway(config)
  cleanups.push(() => void gateway.child.kill("SIGKILL"))
  return gateway
}
const provider = async (reply = echo) => {
  const started = await startProvider(reply)
  cleanups.push(started.stop)
  return started
}

const nodeConfig = (url: string, database: { url: string; schema: string }, name: string, extra = oneByOne) =>
  configure(url, `[nodes]\nenabled = true\nname = "${name}"\n${extra}`, database).config

interface LanesNow {
  readonly nodes?: ReadonlyArray<{ readonly id: string; readonly this: boolean; readonly buckets: number }>
}
const bucketsOf = async (gateway: Gateway) =>
  (((await (await api(gateway, "/api/v1/os/lanes")).json()) as LanesNow).nodes ?? []).map(
    ({ buckets }) => buckets
  )

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
    assert.deepStrictEqual([...(client.answers.get(id) ?? [])], [answers[0]!.id], `deliveries of ${id}`)
  }
}

describe.skipIf(withoutPostgres)(named("two nodes on one database"), { timeout: 120_000 }, () => {
  it("answer a message wherever it came in, each once, and nothing of it is lost when one is killed", async () => {
    const { url } = await provider()
    const database = { url: await sharedUrl(), schema: newSchema() }
    const first = await start(nodeConfig(url, database, "one"))
    const second = await start(nodeConfig(url, database, "two"))
    await until("an even share", async () => (await bucketsOf(first)).join() === "128,128")
    const clients = Array.from({ length: 12 }, (_, n) => [`nodes-${n}`, new Client(`nodes-${n}`)] as const)
    cleanups.push(() => clients.forEach(([, client]) => client.close()))
    const answered = () => clients.reduce((sum, [, client]) => sum + client.answers.size, 0)
    for (const [n, [, client]] of clients.entries()) client.connect(n % 2 === 0 ? first : second)
    for (const [session, client] of clients)
      for (const n of [1, 2, 3]) client.send(`${session}-${n}`, `m${n}`)
    await until("every answer", () => answered() === 36, 15_000)

    for (const [session, client] of clients) {
      for (const n of [4, 5, 6]) client.send(`${session}-${n}`, n === 5 ? "a tool" : `m${n}`)
    }
    await until("some of the answers", () => answered() >= 40)
    first.child.kill("SIGKILL")
    const killedAt = performance.now()
    for (const [, client] of clients) client.connect(second)
    await until(
      "all buckets at the other node",
      async () => (await bucketsOf(second)).join() === "256",
      10_000
    )
    const tookMillis = Math.round(performance.now() - killedAt)
    await until("every answer", () => answered() === 72, 20_000)

    console.log(`takeover after kill -9: ${tookMillis} ms`)
    assert.isBelow(tookMillis, 5000)
    for (const [session, client] of clients) await check(second, session, client)
  })
})
