/** A gateway is killed with thousands of open messages and started again. */
import { setTimeout as sleep } from "node:timers/promises"
import type { GatewayOptions, Lab, Provider, Running } from "./Lab.ts"
import { foreignMeter } from "./Machine.ts"
import type { Report } from "./Report.ts"
import type { Sizes } from "./sizes.ts"
import { ask, request, token } from "./requests.ts"

const perSession = 10
const atOnce = 64
const tooLong = 3_600_000
/** The first in the order in which recovery takes them up. */
const firstSession = "open-0000"

const fill = async (gateway: Running, sessions: number): Promise<void> => {
  let next = 0
  const fillSome = async () => {
    for (let at = next++; at < sessions; at = next++) {
      for (let message = 0; message < perSession; message++) {
        const { status, text } = await request(`${gateway.url}/api/v1/os/messages/send`, "POST", {
          session_key: `open-${String(at).padStart(4, "0")}`,
          content: `hello, please answer briefly #${message}`
        })
        if (status !== 202) throw new Error(`a message was not accepted: ${status} ${text.slice(0, 200)}`)
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, fillSome))
}

/** Until a person who comes back to the session is shown an answer in it. */
const firstAnswer = (gateway: Running): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(
      `${gateway.url.replace(/^http/, "ws")}/ws?token=${token}&session_key=${firstSession}&after=0`
    )
    socket.addEventListener("message", (event) => {
      const frame: { readonly type: string } = JSON.parse(String(event.data))
      if (frame.type !== "message") return
      resolve()
      socket.close()
    })
    socket.addEventListener("error", () => reject(new Error("the socket failed")))
    socket.addEventListener("close", () => reject(new Error("the socket closed before an answer")))
  })

const untilAsked = async (provider: Provider, wanted: number): Promise<number> => {
  for (let waited = 0; waited < 300_000; waited += 100) {
    const { requests, inflight } = await provider.stats()
    if (requests >= wanted && inflight === 0) return requests
    await sleep(100)
  }
  throw new Error("not all open messages were answered within 300 s")
}

export interface Restart {
  readonly readySeconds: number
  /** To the first answer of what was open, to the answer of a new message, to the last of all. Counted from the spawn. */
  readonly openSeconds: number
  readonly newSeconds: number
  readonly allSeconds: number
  readonly foreignCores: number
}

/** Kill a gateway with `sizes.openRows` open messages, and start it again on what it left. Fails when one was answered twice. */
export const restartOnce = async (
  lab: Lab,
  provider: Provider,
  { openRows }: Pick<Sizes, "openRows">,
  postgres?: GatewayOptions["postgres"]
): Promise<Restart> => {
  const options: GatewayOptions = {
    main: "source",
    provider,
    dataDir: lab.makeFolder("data"),
    ...(postgres === undefined ? {} : { postgres })
  }
  await provider.configure({ ttftMs: tooLong })
  const before = await lab.startGateway(options)
  await fill(before, openRows / perSession)
  await before.stop("SIGKILL")
  await provider.configure({ ttftMs: 0 })

  const foreign = foreignMeter()
  const began = performance.now()
  const since = () => (performance.now() - began) / 1000
  const gateway = await lab.startGateway(options)
  const [openSeconds, newSeconds] = await Promise.all([
    firstAnswer(gateway).then(since),
    ask(gateway, "newcomer", "hello").then(since)
  ])
  const foreignCores = foreign()
  const asked = await untilAsked(provider, openRows + 1)
  const allSeconds = since()
  if (asked !== openRows + 1) {
    throw new Error(`${asked} model calls for ${openRows + 1} messages: something was answered twice`)
  }
  await gateway.stop()
  return { readySeconds: gateway.readyMs / 1000, openSeconds, newSeconds, allSeconds, foreignCores }
}

export const measureRestart = async (
  lab: Lab,
  provider: Provider,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  report.step(`${sizes.openRows} messages to a gateway whose provider hangs`)
  const { foreignCores, ...found } = await restartOnce(lab, provider, sizes)
  const note = sizes.openRows === 10_000 ? {} : { note: `${sizes.openRows} open rows instead of 10,000` }
  report.add("restart_open", {
    value: found.openSeconds,
    foreignCores,
    ...note,
    details: { ready_s: found.readySeconds, all_answered_s: found.allSeconds }
  })
  report.add("restart_new", { value: found.newSeconds, foreignCores, ...note })
}
