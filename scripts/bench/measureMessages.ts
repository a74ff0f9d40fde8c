/**
 * What one message costs when all is warm: latency, CPU and rate at 1 and 64 sessions, a burst, and the typing frame.
 *
 * Every round measures the floor too, the generator straight to the provider, so that a slow minute shows in both.
 */
import { setTimeout as sleep } from "node:timers/promises"
import { type Lab, type LoadOptions, type LoadResult, type Provider, type Running } from "./Lab.ts"
import { foreignMeter, tree } from "./Machine.ts"
import { median, percentile } from "./numbers.ts"
import type { Report } from "./Report.ts"
import type { Sizes } from "./sizes.ts"
import type { RowId } from "./targets.ts"
import { token } from "./requests.ts"

interface Round {
  readonly ours: LoadResult
  readonly floor: LoadResult
}

const addRow = (
  report: Report,
  id: RowId,
  rounds: ReadonlyArray<Round>,
  pick: (result: LoadResult) => number | undefined,
  { hasFloor = true, ...more }: { readonly hasFloor?: boolean; readonly note?: string } = {}
): void => {
  const values = rounds.map(({ ours }) => pick(ours) ?? NaN)
  const foreignCores = median(rounds.map(({ ours }) => ours.foreign_cores))
  const floors = rounds.map(({ floor }) => pick(floor) ?? NaN)
  report.add(id, {
    value: median(values),
    rounds: values,
    foreignCores,
    ...more,
    ...(hasFloor
      ? { floor: median(floors), ratio: median(values.map((value, at) => value / (floors[at] ?? NaN))) }
      : {})
  })
}

export const measureMessages = async (
  lab: Lab,
  provider: Provider,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const gateway = await lab.startGateway({ main: "source", provider })
  await idle(report, gateway, sizes, "rss_idle_source")
  const one = { sessions: 1, messages: sizes.messages1, warmup: sizes.warmup1 }
  const many = { sessions: 64, messages: sizes.messages64, warmup: 3 }
  // The code is compiled by use: what a running gateway costs is seen only after some of it.
  await lab.load(gateway, [provider], {
    sessions: 32,
    messages: Math.ceil(sizes.messages1 / 5),
    stream: true
  })
  await lab.load(gateway, [provider], { sessions: 32, messages: Math.ceil(sizes.messages1 / 5) })

  const runs: Record<"one" | "oneStream" | "many" | "manyStream", Array<Round>> = {
    one: [],
    oneStream: [],
    many: [],
    manyStream: []
  }
  const both = async (options: LoadOptions): Promise<Round> => ({
    floor: await lab.load(provider, [], options),
    ours: await lab.load(gateway, [provider], options)
  })
  let prompt = ""
  for (let round = 0; round < sizes.rounds; round++) {
    report.step(`messages, round ${round + 1} of ${sizes.rounds}`)
    runs.one.push(await both(one))
    const { lastMessages, lastBody } = await provider.stats()
    prompt = `its prompts grow to ${lastMessages} messages, ${lastBody} bytes`
    runs.oneStream.push(await both({ ...one, stream: true }))
    runs.many.push(await both(many))
    runs.manyStream.push(await both({ ...many, stream: true }))
  }
  addRow(report, "warm_p50", runs.one, ({ latency_ms }) => latency_ms.p50, { note: prompt })
  addRow(report, "warm_p95", runs.one, ({ latency_ms }) => latency_ms.p95)
  addRow(report, "first_content", runs.oneStream, ({ ttft_ms }) => ttft_ms?.p50)
  addRow(report, "cpu_1", runs.one, ({ cpu_ms_per_msg }) => cpu_ms_per_msg, { hasFloor: false })
  addRow(report, "cpu_1_stream", runs.oneStream, ({ cpu_ms_per_msg }) => cpu_ms_per_msg, { hasFloor: false })
  addRow(report, "cpu_64", runs.many, ({ cpu_ms_per_msg }) => cpu_ms_per_msg, { hasFloor: false })
  addRow(report, "cpu_64_stream", runs.manyStream, ({ cpu_ms_per_msg }) => cpu_ms_per_msg, {
    hasFloor: false
  })
  addRow(report, "rate_1", runs.one, ({ rps }) => rps)
  addRow(report, "rate_64", runs.many, ({ rps }) => rps)
  addRow(report, "rate_64_stream", runs.manyStream, ({ rps }) => rps)

  await provider.configure({ ttftMs: 200 })
  const bursts: Array<Round> = []
  for (let round = 0; round < Math.min(3, sizes.rounds); round++) {
    bursts.push(await both({ sessions: 200, messages: 1 }))
  }
  await provider.configure({ ttftMs: 0 })
  addRow(report, "burst_200", bursts, ({ wall_s }) => wall_s)
  await typing(report, gateway, sizes)
  await gateway.stop()
}

/** Memory of a gateway that has done nothing yet. */
export const idle = async (report: Report, gateway: Running, sizes: Sizes, id: RowId): Promise<void> => {
  const foreign = foreignMeter()
  await sleep(sizes.settleMs)
  report.add(id, { value: tree(gateway.pid).rssMb, foreignCores: foreign() })
}

const frameOf = (
  event: MessageEvent
): { readonly type: string; readonly on?: boolean; readonly id?: string } => JSON.parse(String(event.data))

/** A message is sent, and `typing` comes back: what a person sees first. */
const typing = async (report: Report, gateway: Running, sizes: Sizes): Promise<void> => {
  const foreign = foreignMeter()
  const socket = new WebSocket(
    `${gateway.url.replace(/^http/, "ws")}/ws?token=${token}&session_key=bench-typing`
  )
  const shown: Array<number> = []
  await new Promise<void>((resolve, reject) => {
    let count = 0
    let sent = 0
    const next = () => {
      if (count++ === sizes.typings) return resolve()
      sent = performance.now()
      socket.send(JSON.stringify({ type: "message", id: `typing-${count}`, content: "hello" }))
    }
    socket.addEventListener("message", (event) => {
      const frame = frameOf(event)
      if (frame.type === "hello") next()
      if (frame.type === "typing" && frame.on === true) shown.push(performance.now() - sent)
      if (frame.type === "error" || frame.type === "refused") reject(new Error(String(event.data)))
      if (frame.type !== "message") return
      socket.send(JSON.stringify({ type: "received", id: frame.id }))
      next()
    })
    socket.addEventListener("close", () => reject(new Error("the gateway closed the socket")))
    socket.addEventListener("error", () => reject(new Error("the socket failed")))
  })
  socket.close()
  if (shown.length !== sizes.typings) {
    throw new Error(`typing was shown ${shown.length} times for ${sizes.typings} messages`)
  }
  report.add("typing", {
    value: median(shown),
    foreignCores: foreign(),
    details: { p95_ms: percentile(shown, 0.95) }
  })
}
