/** Several real gateways on one PostgreSQL: what the scenarios of nodes are made of. */
import { once } from "node:events"
import { connect, createServer, type AddressInfo, type Socket } from "node:net"
import { assert } from "vitest"
import {
  api,
  type Client,
  configure,
  type Database,
  type Gateway,
  transcript,
  until
} from "./gatewayProcess.ts"

/** Each message by itself, so that every one has an answer of its own. */
export const oneByOne = `[queue]\nmode = "followup"\ndrop = "new"\ncap = 500\n`

export const nodeConfig = (providerUrl: string, database: Database, name: string, extra = oneByOne): string =>
  configure(providerUrl, `[nodes]\nenabled = true\nname = "${name}"\n${extra}`, database).config

interface LanesNow {
  readonly nodes?: ReadonlyArray<{ readonly this: boolean; readonly buckets: number }>
}
/** How many buckets each node has that this one knows of, its own first. */
export const bucketsOf = async (gateway: Gateway): Promise<ReadonlyArray<number>> => {
  const { nodes = [] } = (await (await api(gateway, "/api/v1/os/lanes")).json()) as LanesNow
  return nodes.toSorted((a, b) => Number(b.this) - Number(a.this)).map(({ buckets }) => buckets)
}

/** Until these are all there are, each with a fair share. */
export const untilShared = (gateways: ReadonlyArray<Gateway>) =>
  until(
    "a fair share",
    async () => {
      const all = await Promise.all(gateways.map(bucketsOf))
      return all.every(
        (counts) =>
          counts.length === gateways.length &&
          counts.every((count) => count >= 80 || gateways.length < 3) &&
          counts.reduce((sum, count) => sum + count, 0) === 256 &&
          Math.max(...counts) - Math.min(...counts) <= 2
      )
    },
    20_000
  )

/** The value of a counter or gauge at its `/metrics`; 0 where it was never moved. */
export const metric = async (gateway: Gateway, name: string): Promise<number> => {
  const text = await (await api(gateway, "/metrics")).text()
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? 0)
}

/** Every acknowledged message: once in the transcript, answered by exactly one answer there, and its client has that one. */
export const checkAnswers = async (gateway: Gateway, session: string, client: Client) => {
  const lines = await transcript(gateway, session)
  for (const id of client.acked.keys()) {
    const shown = lines.filter((line) => line.client_id === id)
    assert.lengthOf(shown, 1, `${id} in the transcript`)
    const answers = lines.filter((line) => line.role === "assistant" && line.answers?.includes(id) === true)
    assert.lengthOf(answers, 1, `answers to ${id}`)
    assert.deepStrictEqual([...(client.answers.get(id) ?? [])], [answers[0]!.id], `deliveries of ${id}`)
  }
}

/** A wire to the database that can be cut: nothing goes through, and nobody is told. */
export const startWire = async (to: { readonly port: number }) => {
  const sockets = new Set<Socket>()
  let isCut = false
  const server = createServer((near) => {
    const far = connect(to.port, "127.0.0.1")
    for (const [from, into] of [
      [near, far],
      [far, near]
    ] as const) {
      sockets.add(from)
      from.on("error", () => into.destroy())
      from.on("close", () => {
        sockets.delete(from)
        if (!isCut) into.destroy()
      })
      from.on("data", (bytes) => void (isCut ? undefined : into.write(bytes)))
    }
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      isCut = true
    },
    /** What was lost meanwhile stays lost: its connections are gone. */
    mend: () => {
      isCut = false
      for (const socket of sockets) socket.destroy()
    },
    stop: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  }
}
