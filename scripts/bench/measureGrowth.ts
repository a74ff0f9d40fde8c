/** What grows: memory with messages and sessions, and a turn's time with the length of its session. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Lab, LoadResult, Provider, Running } from "./Lab.ts"
import { foreignMeter, tree } from "./Machine.ts"
import { idle } from "./measureMessages.ts"
import { median } from "./numbers.ts"
import type { Report } from "./Report.ts"
import type { Sizes } from "./sizes.ts"
import { ask } from "./requests.ts"

const perSession = 10

/** Ten messages in each of many sessions. */
export const loadMany = (
  lab: Lab,
  provider: Provider,
  gateway: Running,
  { loadedSessions: sessions }: Pick<Sizes, "loadedSessions">
): Promise<LoadResult> => lab.load(gateway, [provider], { sessions, messages: perSession, concurrency: 64 })

export const measureMemory = async (
  lab: Lab,
  provider: Provider,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const gateway = await lab.startGateway({ main: "bundle", provider })
  await idle(report, gateway, sizes, "rss_idle_bundle")
  const sessions = sizes.loadedSessions
  const result = await loadMany(lab, provider, gateway, sizes)
  const after = result.rss_after_mb ?? NaN
  await sleep(sizes.settleMs)
  report.add("rss_loaded", {
    value: after,
    foreignCores: result.foreign_cores,
    ...(sessions === 1000
      ? {}
      : { note: `only ${sessions * perSession} messages over ${sessions} sessions` }),
    details: { peak_mb: result.rss_peak_mb ?? NaN, settled_mb: tree(gateway.pid).rssMb }
  })
  await gateway.stop()
}

interface Turns {
  readonly ms: Array<number>
  readonly promptMessages: Array<number>
  readonly promptBytes: Array<number>
}

const average = (values: ReadonlyArray<number>) => values.reduce((sum, one) => sum + one, 0) / values.length

/**
 * One session of many turns against new sessions at their tenth, a turn of each in turn.
 *
 * The smallest budget there is holds seven turns, so that at turn 10 the window is as full as it ever gets. It moves in steps,
 * so eight turns in a row are taken of each, a whole period of it.
 */
export const measureLongSession = async (
  lab: Lab,
  provider: Provider,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const gateway = await lab.startGateway({
    main: "source",
    provider,
    systemPrompt: "Answer.",
    maxPromptTokens: 256
  })
  let turn = 0
  const next = (session: string) => ask(gateway, session, `hello, please answer briefly #${turn++ % 10}`)
  report.step(`a session of ${sizes.longTurns} turns`)
  while (turn < sizes.longTurns - 1) await next("long")

  const long: Turns = { ms: [], promptMessages: [], promptBytes: [] }
  const short: Turns = { ms: [], promptMessages: [], promptBytes: [] }
  const timed = async (session: string, turns: Turns) => {
    const began = performance.now()
    await next(session)
    turns.ms.push(performance.now() - began)
    const { lastMessages, lastBody } = await provider.stats()
    turns.promptMessages.push(lastMessages)
    turns.promptBytes.push(lastBody)
  }
  const foreign = foreignMeter()
  for (let round = 0; round < sizes.longRounds; round++) {
    for (let before = 1; before < 10; before++) await next(`short-${round}`)
    const pair = [() => timed(`short-${round}`, short), () => timed("long", long)]
    for (let at = 0; at < 8; at++) {
      const [first, second] = at % 2 === 0 ? pair : pair.toReversed()
      await first?.()
      await second?.()
    }
  }
  report.add("long_session", {
    value: median(long.ms) / median(short.ms),
    foreignCores: foreign(),
    ...(sizes.longTurns === 2000 ? {} : { note: `turn ${sizes.longTurns} instead of 2,000` }),
    details: {
      long_p50_ms: median(long.ms),
      short_p50_ms: median(short.ms),
      long_prompt_messages: average(long.promptMessages),
      short_prompt_messages: average(short.promptMessages),
      long_prompt_bytes: average(long.promptBytes),
      short_prompt_bytes: average(short.promptBytes)
    }
  })
  await gateway.stop()
}
