/**
 * What streaming costs: the time to the first token that the gateway adds, CPU for each token, and memory for each of many slow streams.
 *
 * Every round measures the floor too, the generator straight to the provider, right before ours.
 */
import { type Lab, type LoadResult, type Provider, type Running } from "./Lab.ts"
import { median } from "./numbers.ts"
import { Report } from "./Report.ts"

interface Sizes {
  readonly rounds: number
  readonly messages: number
  /** Of a long answer. */
  readonly tokens: number
  readonly longMessages: number
  readonly slowStreams: number
  /** Pieces of a slow answer, and the time between them. */
  readonly slowTokens: number
  readonly slowMs: number
}

const full: Sizes = {
  rounds: 5,
  messages: 300,
  tokens: 1000,
  longMessages: 40,
  slowStreams: 1000,
  slowTokens: 80,
  slowMs: 250
}
const quick: Sizes = {
  rounds: 2,
  messages: 60,
  tokens: 500,
  longMessages: 8,
  slowStreams: 1000,
  slowTokens: 60,
  slowMs: 250
}

/** What the provider answers with unless it is told otherwise. */
const short = 8

const foreignOf = (results: ReadonlyArray<LoadResult>) =>
  median(results.map(({ foreign_cores }) => foreign_cores))

const measureFirst = async (
  lab: Lab,
  provider: Provider,
  gateway: Running,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const load = { sessions: 1, messages: sizes.messages, warmup: 20, stream: true }
  const ours: Array<LoadResult> = []
  const floors: Array<LoadResult> = []
  for (let round = 0; round < sizes.rounds; round++) {
    report.step(`first token, round ${round + 1} of ${sizes.rounds}`)
    floors.push(await lab.load(provider, [], load))
    ours.push(await lab.load(gateway, [provider], load))
  }
  const first = (result: LoadResult | undefined) => result?.ttft_ms?.p50 ?? NaN
  const added = ours.map((result, round) => first(result) - first(floors[round]))
  report.add("stream_first_added", {
    value: median(added),
    rounds: added,
    floor: median(floors.map(first)),
    foreignCores: foreignOf(ours),
    details: { p95_ms: median(ours.map(({ ttft_ms }) => ttft_ms?.p95 ?? NaN)) }
  })
}

/** A long answer against a short one of the same round: the difference is that of its tokens alone. */
const measureTokens = async (
  lab: Lab,
  provider: Provider,
  gateway: Running,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const load = { sessions: 4, messages: sizes.longMessages, warmup: 3, stream: true }
  const values: Array<number> = []
  const results: Array<LoadResult> = []
  for (let round = 0; round < sizes.rounds; round++) {
    report.step(`CPU per token, round ${round + 1} of ${sizes.rounds}`)
    await provider.configure({ chunks: short, chunkMs: 0 })
    const few = await lab.load(gateway, [provider], load)
    await provider.configure({ chunks: sizes.tokens, chunkMs: 0 })
    const many = await lab.load(gateway, [provider], load)
    const millis = (many.cpu_ms_per_msg ?? NaN) - (few.cpu_ms_per_msg ?? NaN)
    values.push((millis * 1000) / (sizes.tokens - short))
    results.push(many)
  }
  await provider.configure({ chunks: short, chunkMs: 0 })
  report.add("stream_cpu_token", {
    value: median(values),
    rounds: values,
    foreignCores: foreignOf(results),
    note: `answers of ${sizes.tokens} pieces against ${short}, in the provider's own pace`
  })
}

const measureSlow = async (
  lab: Lab,
  provider: Provider,
  gateway: Running,
  report: Report,
  { slowStreams, slowTokens, slowMs }: Sizes
): Promise<void> => {
  const load = { sessions: slowStreams, messages: 1, stream: true }
  report.step(`${slowStreams} slow streams at once`)
  // Sessions and compiled code are there before; what comes on top is the streams.
  await lab.load(gateway, [provider], load)
  await provider.configure({ chunks: slowTokens, chunkMs: slowMs })
  const floor = await lab.load(provider, [], load)
  await provider.configure({ chunks: slowTokens, chunkMs: slowMs })
  const ours = await lab.load(gateway, [provider], load)
  const { peakInflight } = await provider.stats()
  await provider.configure({ chunks: short, chunkMs: 0 })
  if (peakInflight < slowStreams) {
    throw new Error(`only ${peakInflight} of ${slowStreams} streams were open at once`)
  }
  const foreignCores = ours.foreign_cores
  const note = `${slowTokens} pieces each, one every ${slowMs} ms`
  report.add("stream_1000_first", {
    value: ours.ttft_ms?.p95 ?? NaN,
    floor: floor.ttft_ms?.p95 ?? NaN,
    foreignCores,
    note,
    details: { p50_ms: ours.ttft_ms?.p50 ?? NaN, wall_s: ours.wall_s, floor_wall_s: floor.wall_s }
  })
  const growth = (ours.rss_peak_mb ?? NaN) - (ours.rss_before_mb ?? NaN)
  report.add("stream_1000_memory", {
    value: (growth * 1024) / slowStreams,
    foreignCores,
    details: { before_mb: ours.rss_before_mb ?? NaN, peak_mb: ours.rss_peak_mb ?? NaN }
  })
  report.add("stream_1000_cpu", {
    value: ((ours.cpu_ms_per_msg ?? NaN) * slowStreams) / (ours.wall_s * 1000),
    foreignCores
  })
}

/** `npm run bench -- stream`. The exit code: 1 only when something did not run. */
export const benchStream = async (
  lab: Lab,
  isQuick: boolean,
  about: Readonly<Record<string, unknown>>
): Promise<number> => {
  const report = new Report()
  const sizes = isQuick ? quick : full
  const provider = await lab.startProvider()
  const gateway = await lab.startGateway({
    main: "source",
    provider,
    maxConcurrency: sizes.slowStreams + 24
  })
  // The code is compiled by use.
  await lab.load(gateway, [provider], { sessions: 16, messages: 20, stream: true })
  for (const [name, measure] of [
    ["first token", measureFirst],
    ["CPU per token", measureTokens],
    ["slow streams", measureSlow]
  ] as const) {
    await measure(lab, provider, gateway, report, sizes).catch((cause: unknown) => report.fail(name, cause))
  }
  await gateway.stop()
  report.printTable()
  process.stdout.write(`${report.toJson(about)}\n`)
  return report.hasFailed ? 1 : 0
}
