/** How long the event loop is late while the gateway serves half of what it can, at a steady rate. */
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import type { GatewayOptions, Lab, Provider, Running } from "./Lab.ts"
import { foreignMeter } from "./Machine.ts"
import { percentile } from "./numbers.ts"
import type { Report } from "./Report.ts"
import type { Sizes } from "./sizes.ts"
import { ask } from "./requests.ts"

interface Delay {
  readonly ms: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly samples: number
}

/**
 * Sends at `rate` for some time over 64 sessions, whether or not answers come; gives the latencies, ms.
 *
 * A longer history makes a message dearer, so the sessions are left for new ones where those of the rate's measurement ended.
 */
const sendSteadily = async (
  gateway: Running,
  {
    rate,
    seconds,
    perSession
  }: { readonly rate: number; readonly seconds: number; readonly perSession: number }
): Promise<ReadonlyArray<number>> => {
  const latencies: Array<number> = []
  const open = new Set<Promise<void>>()
  let failure: unknown
  const began = performance.now()
  for (let sent = 0; performance.now() - began < seconds * 1000; await sleep(2)) {
    const due = Math.floor(((performance.now() - began) / 1000) * rate)
    for (; sent < due; sent++) {
      const from = performance.now()
      const generation = Math.floor(sent / (64 * perSession))
      const one = ask(gateway, `steady-${generation}-${sent % 64}`, `hello, please answer briefly #${sent}`)
        .then(() => void latencies.push(performance.now() - from))
        .catch((cause: unknown) => {
          failure = cause
        })
        .finally(() => open.delete(one))
      open.add(one)
    }
  }
  await Promise.all(open)
  if (failure !== undefined) throw failure
  return latencies
}

const readDelay = async (file: string): Promise<Delay> => {
  for (let waited = 0; waited < 5000; waited += 50) {
    try {
      return JSON.parse(readFileSync(file, "utf8"))
    } catch {
      await sleep(50)
    }
  }
  throw new Error("the gateway's process did not write its loop delay")
}

export interface Loop extends Delay {
  readonly latencies: ReadonlyArray<number>
  readonly foreignCores: number
}

/** What the event loop of a gateway of its own does at `rate` messages a second. */
export const loopAt = async (
  lab: Lab,
  provider: Provider,
  sizes: Pick<Sizes, "messages64" | "paceSeconds">,
  rate: number,
  postgres?: GatewayOptions["postgres"]
): Promise<Loop> => {
  const { gateway, file } = await lab.startObserved({
    main: "source",
    provider,
    ...(postgres === undefined ? {} : { postgres })
  })
  await lab.load(gateway, [provider], { sessions: 64, messages: sizes.messages64 })
  const foreign = foreignMeter()
  process.kill(gateway.pid, "SIGUSR2")
  const latencies = await sendSteadily(gateway, {
    rate,
    seconds: sizes.paceSeconds,
    perSession: sizes.messages64
  })
  process.kill(gateway.pid, "SIGUSR2")
  const foreignCores = foreign()
  const delay = await readDelay(file)
  await gateway.stop()
  return { ...delay, latencies, foreignCores }
}

/** At half load nothing should queue; a median above this says that it did. */
export const isBehind = ({ latencies }: Loop): boolean => percentile(latencies, 0.5) > 200

export const measureLoop = async (
  lab: Lab,
  provider: Provider,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const maximum = report.rate64
  if (maximum === undefined) throw new Error("the maximum rate was not measured")
  const rate = maximum / 2
  const found = await loopAt(lab, provider, sizes, rate)
  const { ms, samples, latencies, foreignCores } = found
  report.add("loop_delay", {
    value: ms.p99,
    foreignCores,
    note: `at ${rate.toFixed(0)} messages per second${isBehind(found) ? ", and it fell behind" : ""}`,
    details: {
      p50_ms: ms.p50,
      max_ms: ms.max,
      samples,
      sent_per_s: latencies.length / sizes.paceSeconds,
      latency_p50_ms: percentile(latencies, 0.5),
      latency_p99_ms: percentile(latencies, 0.99)
    }
  })
}
