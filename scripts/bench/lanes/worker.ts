/**
 * One contender in a process of its own: `worker.ts rate NAME LANES MESSAGES` or `worker.ts times NAME ROUNDS`. Prints one JSON line.
 *
 * Owns: what is measured, and the proof that the job was done: each lane's runs in order, one at a time, never more than allowed.
 */
import { createServer, connect, type AddressInfo } from "node:net"
import process from "node:process"
import { setImmediate as turn } from "node:timers/promises"
import { messageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import { percentile } from "../numbers.ts"
import { type Contender, type ContenderName, contenders, type Work } from "./contenders.ts"

const maxRuns = 256
/** Most messages of one lane that may be open; the sender waits beyond. What a lane holds in memory. */
const cap = 64

const keyOf = (lane: number) => `agent:main:bench-${lane}` as SessionKey

const rowOf = (session: SessionKey, seq: number, mode: "followup" | "steer" = "followup"): MessageRow => ({
  id: messageId(`msg_${seq}`),
  place: { tenant: local, agent: "main", session },
  seq,
  identity: {
    channel: "bench",
    account: "",
    conversation: session,
    thread: "",
    externalId: String(seq),
    revision: 1
  },
  sender: "bench",
  access: "owner",
  ephemeral: false,
  body: { text: "hello", queue: { mode, debounceMs: 0 } },
  acceptedAt: 0,
  runId: undefined,
  outcome: undefined,
  outcomeBy: undefined,
  endedAt: undefined
})

/** The floor keeps order only. */
const isBound = (name: ContenderName) => name !== "promise chain"

/**
 * Sends `messages` round robin to `lanes` until all have run. A run waits for one turn of the event loop, as it waits for a socket: within a
 * microtask, who takes one lane after the other would never have two at once, and its limit nothing to do.
 */
const sendAll = async (name: ContenderName, keys: ReadonlyArray<SessionKey>, messages: number) => {
  const sent = new Int32Array(keys.length)
  const ran = new Int32Array(keys.length)
  const laneOf = new Map(keys.map((key, lane) => [key, lane]))
  const seen = { running: 0, most: 0, ended: 0 }
  const work: Work = ({ place, seq }, done) => {
    const lane = laneOf.get(place.session) ?? -1
    seen.most = Math.max(seen.most, ++seen.running)
    setImmediate(() => {
      seen.running--
      seen.ended++
      if (++ran[lane]! !== seq) throw new Error(`${name}: lane ${lane} ran message ${seq} out of order`)
      done()
    })
    return () => {}
  }
  const contender = await contenders[name](work, maxRuns)
  const heapBefore = heap()
  const cpuBefore = process.cpuUsage()
  const began = performance.now()
  for (let count = 0; count < messages; count++) {
    const lane = count % keys.length
    while (sent[lane]! - ran[lane]! >= cap) await turn()
    contender.send(keys[lane]!, rowOf(keys[lane]!, ++sent[lane]!))
    // A sender is a socket: it gives way to others now and then.
    if (count % maxRuns === maxRuns - 1) await turn()
  }
  while (seen.ended < messages) await turn()
  const wallSeconds = (performance.now() - began) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  if (isBound(name) && seen.most > maxRuns) throw new Error(`${name}: ${seen.most} runs at once`)
  await turn()
  const heapGrowth = heap() - heapBefore
  await contender.close()
  return {
    per_cpu_second: messages / ((user + system) / 1e6),
    per_second: messages / wallSeconds,
    idle_bytes: heapGrowth / keys.length,
    most_runs: seen.most
  }
}

const heap = (): number => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const rate = async (name: ContenderName, lanes: number, messages: number) => {
  const keys = Array.from({ length: lanes }, (_, lane) => keyOf(lane))
  await sendAll(name, keys.slice(0, 1000), Math.min(20_000, messages))
  return sendAll(name, keys, messages)
}

// In each of the following, the code is compiled by use: the first half is not counted.
const spread = (micros: ReadonlyArray<number>) => ({
  p50: percentile(micros, 0.5),
  p99: percentile(micros, 0.99)
})

/** From the arrival at an idle lane to the first instruction of its run, microseconds. */
const toStart = async (name: ContenderName, rounds: number) => {
  const taken: Array<number> = []
  let started = 0
  let wake = () => {}
  const contender = await contenders[name]((_, done) => {
    started = performance.now()
    queueMicrotask(() => {
      done()
      wake()
    })
    return () => {}
  }, maxRuns)
  for (let round = 0; round < rounds * 2; round++) {
    const key = keyOf(round % 100)
    const ended = new Promise<void>((resolve) => {
      wake = resolve
    })
    const sent = performance.now()
    contender.send(key, rowOf(key, 1 + Math.floor(round / 100)))
    await ended
    await turn()
    if (round >= rounds) taken.push((started - sent) * 1000)
  }
  await contender.close()
  return spread(taken)
}

/** From the arrival to the moment in which the lane's run has it, microseconds. */
const toSteer = async (name: ContenderName, rounds: number) => {
  const taken: Array<number> = []
  const contender = await contenders[name](() => () => {}, maxRuns)
  if (contender.steer === undefined) return undefined
  const key = keyOf(0)
  contender.send(key, rowOf(key, 1))
  await turn()
  for (let round = 0; round < rounds * 2; round++) {
    const sent = performance.now()
    await new Promise<void>((resolve) => contender.steer?.(key, rowOf(key, round + 2, "steer"), resolve))
    if (round >= rounds) taken.push((performance.now() - sent) * 1000)
    await turn()
  }
  await contender.close()
  return spread(taken)
}

/** From the cancelling of a run that holds a connection to the connection's end at the far side, microseconds. */
const toClose = async (name: ContenderName, rounds: number) => {
  const taken: Array<number> = []
  let arrived = () => {}
  let closed = () => {}
  const server = createServer((socket) => {
    socket.once("close", () => closed())
    socket.resume()
    arrived()
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  const contender: Contender = await contenders[name](() => {
    const socket = connect(port, "127.0.0.1")
    socket.on("error", () => {})
    return () => socket.destroy()
  }, maxRuns)
  for (let round = 0; contender.cancel !== undefined && round < rounds * 2; round++) {
    const key = keyOf(round)
    const open = new Promise<void>((resolve) => {
      arrived = resolve
    })
    contender.send(key, rowOf(key, 1))
    await open
    await turn()
    const gone = new Promise<void>((resolve) => {
      closed = resolve
    })
    const cancelled = performance.now()
    contender.cancel(key)
    await gone
    if (round >= rounds) taken.push((performance.now() - cancelled) * 1000)
  }
  server.close()
  await contender.close()
  return taken.length === 0 ? undefined : spread(taken)
}

const [what, name = "", first = "0", second = "0"] = process.argv.slice(2)
if (!Object.hasOwn(contenders, name)) throw new Error(`there is no contender ${name}`)
const contender = name as ContenderName
const result =
  what === "rate"
    ? await rate(contender, Number(first), Number(second))
    : {
        start: await toStart(contender, Number(first)),
        steer: await toSteer(contender, Number(first)),
        close: await toClose(contender, Math.ceil(Number(first) / 5))
      }
process.stdout.write(`${JSON.stringify(result)}\n`)
process.exit(0)
