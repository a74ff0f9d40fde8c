/**
 * What a seed makes of the day: who writes when, how the gateway is configured, and what goes wrong.
 *
 * Pure: the same seed gives the same plan.
 */
import type { Access, InboundMessage } from "#src/domain/Inbound.ts"
import type { QueueMode } from "#src/domain/Queue.ts"
import { type BudgetClass, forkKey, type SessionKey, within } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { askedTool, channelNames, marked, type Moods, toolNames, waiterName } from "./Outside.ts"
import { Random } from "./Random.ts"

/** The moment of a crash: at once, or at the so-many-th passing of a place after that. */
export type Place = "time" | "task" | "applied" | "durable" | "failpoint"

export type Act =
  | {
      readonly _tag: "Message"
      readonly message: InboundMessage
      readonly patience: number
      readonly gone: number | undefined
    }
  /** The same id comes with another text. */
  | { readonly _tag: "Reuse"; readonly message: InboundMessage }
  | { readonly _tag: "Cancel"; readonly clientId: string }
  | { readonly _tag: "Stop"; readonly session: SessionKey }
  | ForkAct
  | {
      readonly _tag: "Crash"
      readonly place: Place
      readonly passing: number
      readonly powerLoss: boolean
      readonly down: number
    }
  | { readonly _tag: "Restart"; readonly grace: number; readonly down: number }
  | { readonly _tag: "Store"; readonly mood: "full" | "busy" | "broken"; readonly millis: number }
  | { readonly _tag: "Clock"; readonly millis: number }

/** Somebody takes a conversation another way, and then writes to both. */
export interface ForkAct {
  readonly _tag: "Fork"
  readonly session: SessionKey
  /** A session, or a fork that may not be there yet. */
  readonly from: SessionKey
  /** Where on the page that is read, from 0 to 1; without it, at the last answer. */
  readonly where: number | undefined
  /** What is written once the fork is there, so many ms after it. */
  readonly messages: ReadonlyArray<{
    readonly after: number
    readonly message: InboundMessage
    readonly patience: number
  }>
  /** When somebody tries to delete the original, and to stop the fork; ms after it. */
  readonly deletes: number | undefined
  readonly stops: number | undefined
}

export interface Plan {
  readonly config: Readonly<Record<string, unknown>>
  readonly budgets: Readonly<Record<BudgetClass, number>>
  readonly moods: Moods
  readonly latency: { readonly apply: number; readonly sync: number; readonly read: number }
  readonly sessions: ReadonlyArray<SessionKey>
  /** Of these keys there may be none in the end. */
  readonly forks: ReadonlyArray<SessionKey>
  readonly acts: ReadonlyArray<{ readonly at: number; readonly act: Act }>
  /** From here on nothing goes wrong any more, ms. */
  readonly healed: number
}

const modes: readonly [QueueMode, QueueMode, QueueMode, QueueMode] = [
  "collect",
  "followup",
  "steer",
  "interrupt"
]
const accesses: readonly [Access, Access, Access] = ["owner", "member", "guest"]

/** How chat channels show answers while they are written. Blocks of a few words, so that there are some. */
const streamOf = (random: Random) => ({
  mode: random.pick(["off", "blocks", "preview"]),
  by_channel: { [channelNames.blind]: random.pick(["blocks", "off"]) },
  min_chars: random.pick([5, 15]),
  max_chars: random.pick([20, 50]),
  prefer: random.pick(["paragraph", "sentence"]),
  tidy: random.chance(0.5),
  coalesce_chars: random.pick([0, 0, 40]),
  coalesce_idle_ms: 300,
  human_delay: random.pick(["off", "off", "natural"]),
  preview_interval_ms: 200,
  typing: random.pick(["never", "instant", "thinking", "message"]),
  typing_interval_ms: 1_000
})
const commandOf = (random: Random): string =>
  random.pick([
    `/queue ${random.pick(modes)}`,
    `/queue ${random.pick(modes)} cap:${random.between(2, 9)} drop:${random.pick(["old", "new", "summarize"])}`,
    "/queue reset",
    "/queue nonsense",
    "/approve",
    "/deny"
  ])

/** Whose sessions there are beside those of `local`. */
export const otherTenant: Tenant = { org: "acme", project: "shop" }

/** By chance of its own: some are the other tenant's, and then one of the same name may be there twice. */
const ofTenants = (seed: number, names: ReadonlyArray<SessionKey>): ReadonlyArray<SessionKey> => {
  const random = new Random(seed ^ 0x7e4a_0000)
  if (!random.chance(0.4)) return names
  return names.map((name, at) =>
    random.chance(0.5) ? within(otherTenant, random.chance(0.5) ? names[Math.max(0, at - 1)]! : name) : name
  )
}

/** By chance of their own, which leaves every plan without forks as it was before there were any. */
const forksOf = (
  seed: number,
  sessions: ReadonlyArray<SessionKey>,
  span: number,
  messageBy: (random: Random, session: SessionKey, id: string) => InboundMessage
): ReadonlyArray<{ readonly at: number; readonly act: ForkAct }> => {
  const random = new Random(seed ^ 0x0f0c_0000)
  const keys = [...sessions]
  return Array.from({ length: random.pick([0, 0, 1, 2, 4]) }, (_, index) => {
    const from = keys[random.between(0, keys.length - 1)]!
    const session = forkKey(from, `fork_${index + 1}`) as SessionKey
    keys.push(session)
    const soon = () => (random.chance(0.4) ? 0 : random.between(0, 5_000))
    const messages = Array.from({ length: random.between(1, 6) }, (__, number) => ({
      after: soon(),
      message: messageBy(random, random.chance(0.6) ? session : from, `f${index + 1}m${number + 1}`),
      patience: random.between(0, 2)
    }))
    const act: ForkAct = {
      _tag: "Fork",
      session,
      from,
      where: random.chance(0.4) ? undefined : random.next(),
      messages,
      deletes: random.chance(0.5) ? soon() : undefined,
      stops: random.chance(0.2) ? soon() : undefined
    }
    return { at: random.between(0, span), act }
  })
}

export const planOf = (seed: number): Plan => {
  const random = new Random(seed ^ 0x5eed_0000)
  const span = random.pick([5_000, 20_000, 60_000])
  const at = () => random.between(0, span)
  const level = () => random.pick([0, 0.1, 0.3])
  const allChannels = [...Object.values(channelNames), waiterName]
  const channels = allChannels.filter(() => random.chance(0.6))
  if (channels.length === 0) channels.push(channelNames.keyed)
  const oneMode = random.chance(0.5) ? random.pick(modes) : undefined
  const names = Array.from(
    { length: random.between(1, 4) },
    (_, index) => `agent:main:${random.pick(["", "", "", "cron:", "subagent:"])}s${index + 1}` as SessionKey
  )
  const sessions = ofTenants(seed, names)
  const size = () => random.pick([1, 2, 3, 256])
  const budgets = { main: size(), subagent: size(), cron: size() }
  const isMixed = random.chance(0.4)

  const messageBy = (random: Random, session: SessionKey, id: string): InboundMessage => ({
    identity: {
      channel: channels[random.between(0, channels.length - 1)]!,
      account: "a",
      conversation: isMixed ? random.pick(["c1", "c1", "c2"]) : session,
      thread: "",
      externalId: id,
      revision: 1
    },
    session,
    ephemeral: false,
    sender: "ada",
    access: isMixed ? random.pick(accesses) : "owner",
    body: { text: random.chance(0.08) ? commandOf(random) : marked(session, id) }
  })

  const acts: Array<{ readonly at: number; readonly act: Act }> = []
  const messages: Array<InboundMessage> = []
  const count = random.between(3, random.pick([8, 20, 40]))
  let burst = at()
  for (let number = 1; number <= count; number++) {
    if (random.chance(0.3)) burst = at()
    else burst += random.chance(0.5) ? 0 : random.between(0, 1_500)
    const session = sessions[random.between(0, sessions.length - 1)]!
    const message = messageBy(random, session, `m${number}`)
    messages.push(message)
    const patience = random.chance(0.5) ? 0 : random.between(1, 3)
    const gone = random.chance(0.05) ? random.between(0, 60) : undefined
    acts.push({ at: burst, act: { _tag: "Message", message, patience, gone } })
    if (random.chance(0.15)) {
      const again = burst + random.between(0, 5_000)
      acts.push({ at: again, act: { _tag: "Message", message, patience, gone: undefined } })
    }
    if (random.chance(0.03)) {
      const other = { ...message, body: { text: marked(message.session, `m${number}b`) } }
      acts.push({ at: burst + random.between(1, 5_000), act: { _tag: "Reuse", message: other } })
    }
    if (random.chance(0.08)) {
      acts.push({ at: burst + random.between(0, 4_000), act: { _tag: "Cancel", clientId: `m${number}` } })
    }
  }
  for (let stops = random.pick([0, 0, 1, 2]); stops > 0; stops--) {
    acts.push({ at: at(), act: { _tag: "Stop", session: sessions[random.between(0, sessions.length - 1)]! } })
  }
  for (let crashes = random.pick([0, 1, 1, 2, 4]); crashes > 0; crashes--) {
    const place = random.pick<Place>(["time", "task", "applied", "durable", "failpoint"])
    const passing = place === "task" ? random.between(1, 200) : random.between(1, 8)
    const down = random.chance(0.5) ? 0 : random.between(0, 4_000)
    acts.push({ at: at(), act: { _tag: "Crash", place, passing, powerLoss: random.chance(0.5), down } })
  }
  if (random.chance(0.3)) {
    acts.push({
      at: at(),
      act: { _tag: "Restart", grace: random.between(0, 10_000), down: random.between(0, 2_000) }
    })
  }
  for (let faults = random.pick([0, 0, 1, 2]); faults > 0; faults--) {
    const mood = random.weighted({ full: 3, busy: 3, broken: 1 })
    acts.push({ at: at(), act: { _tag: "Store", mood, millis: random.between(50, 6_000) } })
  }
  for (let jumps = random.pick([0, 0, 1, 3]); jumps > 0; jumps--) {
    const millis = random.pick([-3_600_000, -5_000, 1_000, 86_400_000])
    acts.push({ at: at(), act: { _tag: "Clock", millis } })
  }
  const forks = forksOf(seed, sessions, span, messageBy)
  for (const fork of forks) acts.push(fork)
  const byChannel = Object.fromEntries(allChannels.map((name) => [name, oneMode ?? random.pick(modes)]))
  return {
    config: {
      general: {
        model: "demo/demo",
        // By the seed, not by chance, which would change every plan that there was before.
        fallbacks: seed % 3 === 0 ? ["demo/spare"] : [],
        tools: toolNames,
        ask_before: [askedTool],
        max_steps: random.pick([3, 6, 25]),
        run_timeout_s: 30
      },
      queue: {
        by_channel: byChannel,
        debounce_ms: random.pick([0, 300, 1_000]),
        cap: random.pick([3, 8, 50]),
        drop: random.pick(["old", "new", "summarize"]),
        max_concurrency: budgets.main,
        max_concurrency_subagent: budgets.subagent,
        max_concurrency_cron: budgets.cron,
        lane_buffer: random.pick([1, 2, 5, 64])
      },
      stream: streamOf(random),
      inbound: {
        debounce_ms: random.pick([0, 0, 200, 1_000]),
        max_parts: random.pick([2, 12]),
        max_wait_ms: 3_000
      },
      // By the seed, as with the chain of models.
      stall: { long_s: 8, stalled_s: 2, stuck_s: seed % 2 === 0 ? 4 : 300 },
      approval: { timeout_s: random.pick([2, 10, 30]) }
    },
    budgets,
    moods: { model: level(), tools: level(), channels: level() },
    latency: random.pick([
      { apply: 0, sync: 0, read: 0 },
      { apply: 0, sync: 5, read: 0 },
      { apply: 3, sync: 30, read: 0 },
      { apply: 3, sync: 30, read: 200 }
    ]),
    sessions,
    forks: forks.map(({ act }) => act.session),
    acts: acts.toSorted((a, b) => a.at - b.at),
    healed: span + 10_000
  }
}
