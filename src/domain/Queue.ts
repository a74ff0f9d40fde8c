/**
 * How a session takes messages while it is busy: the words, and which of several wishes counts.
 *
 * Owns: modes and drop policies with their other spellings, the `/queue` directive, and the precedence of wishes.
 * Does not own: what a mode does (`lane`), where wishes are kept (configuration, the session), nor who may state them (`command`).
 */
import * as Schema from "effect/Schema"

/**
 * `followup`: one run per message, in order. `collect`: what waits for one route becomes one run. `steer`: put into the run
 * under way. `interrupt`: the run under way ends and the newest message runs.
 */
export const QueueMode = Schema.Literals(["collect", "followup", "steer", "interrupt"])
export type QueueMode = typeof QueueMode.Type

/**
 * What gives way when a session is full. `old`: the oldest that waits. `new`: the newcomer, which is refused.
 * `summarize`: the oldest, and the next run is told in one line what it said.
 */
export const DropPolicy = Schema.Literals(["old", "new", "summarize"])
export type DropPolicy = typeof DropPolicy.Type

const modes: Readonly<Record<string, QueueMode>> = {
  collect: "collect",
  coalesce: "collect",
  followup: "followup",
  followups: "followup",
  "follow-up": "followup",
  "follow-ups": "followup",
  steer: "steer",
  steering: "steer",
  queue: "steer",
  queued: "steer",
  // A mode that steered and also ran the message afterwards answers twice; whoever asks for it is given steering.
  "steer-backlog": "steer",
  "steer+backlog": "steer",
  steer_backlog: "steer",
  interrupt: "interrupt",
  interrupts: "interrupt",
  abort: "interrupt"
}

const drops: Readonly<Record<string, DropPolicy>> = {
  old: "old",
  oldest: "old",
  new: "new",
  newest: "new",
  summarize: "summarize",
  summary: "summarize"
}

const lookUp = <A>(words: Readonly<Record<string, A>>, word: string): A | undefined => {
  const key = word.trim().toLowerCase()
  return Object.hasOwn(words, key) ? words[key] : undefined
}

/** The mode that a person's word means; undefined when it means none. */
export const normalizeMode = (word: string): QueueMode | undefined => lookUp(modes, word)

/** The drop policy that a person's word means; undefined when it means none. */
export const normalizeDrop = (word: string): DropPolicy | undefined => lookUp(drops, word)

/** Channels are compared by their lower-case names. */
const channelName = (channel: string): string => channel.trim().toLowerCase()

/** Wishes that hold for one session, or for one message. What is absent is decided elsewhere. */
export const QueueOverrides = Schema.Struct({
  mode: Schema.optionalKey(QueueMode),
  debounceMs: Schema.optionalKey(Schema.Number),
  cap: Schema.optionalKey(Schema.Number),
  drop: Schema.optionalKey(DropPolicy)
})
export type QueueOverrides = typeof QueueOverrides.Type

/** What the operator set. */
export interface QueueConfig extends QueueOverrides {
  readonly byChannel?: Readonly<Record<string, QueueMode>>
  readonly debounceMsByChannel?: Readonly<Record<string, number>>
}

/** What counts for one message. */
export interface QueueChoice {
  readonly mode: QueueMode
  /** Quiet time before a busy lane drains, ms. */
  readonly debounceMs: number
  /** Most open messages, from 1. */
  readonly cap: number
  readonly drop: DropPolicy
}

export const standard: QueueChoice = { mode: "collect", debounceMs: 1000, cap: 20, drop: "summarize" }

/** Whose wish counts: the message's own, its session's, the channel's, the configuration's, or nobody's. */
export type Source = "message" | "session" | "channel" | "configuration" | "default"

/** A longer quiet time is taken as this. */
export const longestDebounceMs = 24 * 60 * 60 * 1000

/** What each of those who may wish for something has said. */
interface Wishes<A> {
  readonly message: A | undefined
  readonly session: A | undefined
  readonly channel?: A | undefined
  readonly configuration: A | undefined
}

const nearest = <A>(wishes: Wishes<A>, otherwise: A): readonly [A, Source] => {
  if (wishes.message !== undefined) return [wishes.message, "message"]
  if (wishes.session !== undefined) return [wishes.session, "session"]
  if (wishes.channel !== undefined) return [wishes.channel, "channel"]
  return wishes.configuration === undefined ? [otherwise, "default"] : [wishes.configuration, "configuration"]
}

const wholeMillis = (value: number): number => Math.min(longestDebounceMs, Math.max(0, Math.floor(value)))

/** What counts for one message and why. The nearest wish wins: the message's, the session's, the channel's, the configuration's. */
export const resolveWithSources = (
  config: QueueConfig,
  channel: string,
  session: QueueOverrides = {},
  inline: QueueOverrides = {}
): { readonly choice: QueueChoice; readonly sources: Readonly<Record<keyof QueueChoice, Source>> } => {
  const name = channelName(channel)
  const [mode, modeFrom] = nearest(
    {
      message: inline.mode,
      session: session.mode,
      channel: ofChannel(config.byChannel, name),
      configuration: config.mode
    },
    standard.mode
  )
  const [debounceMs, debounceFrom] = nearest(
    {
      message: inline.debounceMs,
      session: session.debounceMs,
      channel: ofChannel(config.debounceMsByChannel, name),
      configuration: config.debounceMs
    },
    standard.debounceMs
  )
  const [cap, capFrom] = nearest(
    { message: inline.cap, session: session.cap, configuration: config.cap },
    standard.cap
  )
  const [drop, dropFrom] = nearest(
    { message: inline.drop, session: session.drop, configuration: config.drop },
    standard.drop
  )
  return {
    choice: { mode, debounceMs: wholeMillis(debounceMs), cap: Math.max(1, Math.floor(cap)), drop },
    sources: { mode: modeFrom, debounceMs: debounceFrom, cap: capFrom, drop: dropFrom }
  }
}

/** `resolveWithSources` without the reasons. */
export const resolve = (
  config: QueueConfig,
  channel: string,
  session?: QueueOverrides,
  inline?: QueueOverrides
): QueueChoice => resolveWithSources(config, channel, session, inline).choice

const ofChannel = <A>(byChannel: Readonly<Record<string, A>> | undefined, name: string): A | undefined => {
  if (byChannel === undefined) return undefined
  if (Object.hasOwn(byChannel, name)) return byChannel[name]
  const spelled = Object.keys(byChannel).find((key) => channelName(key) === name)
  return spelled === undefined ? undefined : byChannel[spelled]
}

/** What the operator set for parts of one message. */
export interface InboundDebounceConfig {
  readonly debounceMs?: number
  readonly byChannel?: Readonly<Record<string, number>>
}

/** How long a sender's message waits for its next part, whole ms; 0 for not at all. `override` beats the configuration. */
export const inboundDebounceMs = (
  config: InboundDebounceConfig,
  channel: string,
  override?: number
): number =>
  wholeMillis(override ?? ofChannel(config.byChannel, channelName(channel)) ?? config.debounceMs ?? 0)

/** What was read of a `/queue` within a text. */
export interface QueueDirective {
  /** True when the text holds `/queue` as a word. */
  readonly found: boolean
  /** The text without the directive. */
  readonly rest: string
  readonly overrides: QueueOverrides
  /** Forget the session's own settings. */
  readonly reset: boolean
  /** Options whose value means nothing, as they were written. */
  readonly unclear: ReadonlyArray<string>
}

const word = /(?:^|\s)(\/queue)(?=$|\s|:)/i
const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A length of time such as `500`, `500ms`, `0.5s`, `2m`, as whole ms; undefined when it is none. */
export const parseMillis = (text: string): number | undefined => {
  const match = /^(\d{1,12}(?:\.\d{1,12})?)(ms|s|m|h|d)?$/i.exec(text.trim())
  if (match === null) return undefined
  return Math.round(Number(match[1]) * (units[(match[2] ?? "ms").toLowerCase()] ?? 1))
}

const parseCap = (text: string): number | undefined => {
  const value = /^\d{1,9}(?:\.\d+)?$/.test(text) ? Math.floor(Number(text)) : 0
  return value >= 1 ? value : undefined
}

/**
 * The first `/queue` of a text: `/queue [mode] [debounce:TIME] [cap:N] [drop:POLICY]`, or `/queue default|reset`. Reading stops at
 * the first word that is none of these; what stands before and behind stays as it was written.
 */
export const parseDirective = (text: string): QueueDirective => {
  const match = word.exec(text)
  if (match === null) return { found: false, rest: text, overrides: {}, reset: false, unclear: [] }
  const start = match.index + match[0].length - "/queue".length
  const said = readWords(text, start + "/queue".length)
  return {
    found: true,
    rest: joined(text.slice(0, start), text.slice(said.end)),
    overrides: said.overrides,
    reset: said.reset,
    unclear: said.unclear
  }
}

const joined = (before: string, after: string): string => {
  const left = before.trimEnd()
  const right = after.trimStart()
  const gap = before.slice(left.length) + after.slice(0, after.length - right.length)
  return `${left}${gap.includes("\n") ? "\n" : " "}${right}`.trim()
}

const readWords = (text: string, from: number) => {
  const overrides: QueueOverrides = {}
  const unclear: Array<string> = []
  const words = /\s*(\S+)/y
  const colon = /\s*:/y
  colon.lastIndex = from
  let end = colon.test(text) ? colon.lastIndex : from
  while (true) {
    words.lastIndex = end
    const token = words.exec(text)?.[1]
    if (token === undefined) break
    if (/^(?:default|reset|clear)$/i.test(token)) {
      return { overrides: {}, reset: true, unclear, end: words.lastIndex }
    }
    const option = readOption(token)
    const mode = option === undefined ? normalizeMode(token) : undefined
    if (option === undefined && mode === undefined) break
    if (option === "unclear") unclear.push(token)
    else Object.assign(overrides, mode === undefined ? option : { mode })
    end = words.lastIndex
  }
  return { overrides, reset: false, unclear, end }
}

/** undefined: no option at all. `unclear`: one whose value means nothing. */
const readOption = (token: string): QueueOverrides | "unclear" | undefined => {
  const match = /^(debounce|cap|drop)[:=](.*)$/i.exec(token)
  if (match === null) return undefined
  const value = match[2] ?? ""
  switch ((match[1] ?? "").toLowerCase()) {
    case "debounce": {
      const debounceMs = parseMillis(value)
      return debounceMs === undefined ? "unclear" : { debounceMs }
    }
    case "cap": {
      const cap = parseCap(value)
      return cap === undefined ? "unclear" : { cap }
    }
    default: {
      const drop = normalizeDrop(value)
      return drop === undefined ? "unclear" : { drop }
    }
  }
}

/** Longest line of a summary, UTF-16 units. */
const longestLine = 160

/** A text as one line: whitespace squeezed, at most 160 long, the last being … when something was cut. Characters stay whole. */
export const summaryLine = (text: string): string => {
  const line = text.replace(/\s+/g, " ").trim()
  if (line.length <= longestLine) return line
  const cut = line.slice(0, longestLine - 1)
  const last = cut.charCodeAt(cut.length - 1)
  const isTorn = last >= 0xd800 && last <= 0xdbff
  return `${(isTorn ? cut.slice(0, -1) : cut).trimEnd()}…`
}

/**
 * What the next run is told about messages that gave way since the last one: how many, and the newest of them in a line each, at most
 * `limit`. Undefined when none did.
 */
export const overflowNote = (
  droppedLines: ReadonlyArray<string>,
  count: number,
  limit = droppedLines.length
): string | undefined => {
  if (count <= 0) return undefined
  const lines = newest(droppedLines, limit)
  const many = count === 1 ? "1 older message was" : `${count} older messages were`
  const head = `[${many} dropped, because more were waiting than this session keeps]`
  if (lines.length === 0) return head
  const title = lines.length < count ? "The last of them, in short:" : "In short:"
  return [head, title, ...lines.map((line) => `- ${line}`)].join("\n")
}

const newest = <A>(list: ReadonlyArray<A>, limit: number): ReadonlyArray<A> =>
  limit <= 0 ? [] : list.slice(-limit)
