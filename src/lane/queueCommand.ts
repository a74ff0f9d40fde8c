/**
 * What `/queue` does: to the settings that a session keeps, and in the middle of a text.
 *
 * Owns: what is kept, what is refused, and the words of the answer. Pure.
 * Does not own: keeping it and registering the command (the lane's interpreter), nor the directive's grammar (`domain/Queue`).
 */
import {
  longestDebounceMs,
  parseDirective,
  type QueueConfig,
  type QueueDirective,
  type QueueOverrides,
  resolveWithSources,
  type Source
} from "#src/domain/Queue.ts"

export const queueUsage =
  "/queue [collect|followup|steer|interrupt] [debounce:500ms] [cap:20] [drop:old|new|summarize], or /queue reset"

/** Most open messages that a session may set for itself. The operator may set more. */
export const largestSessionCap = 1000

/** What counts for the session now. */
export interface QueuePresent {
  readonly config: QueueConfig
  readonly channel: string
  /** What the session keeps. */
  readonly stored: QueueOverrides
}

export interface QueueAnswer {
  /** What the session keeps from now on. */
  readonly overrides: QueueOverrides
  /** True when that is something else than before. */
  readonly changed: boolean
  /** What its sender is told. */
  readonly answer: string
}

/**
 * Carry out a `/queue` that is a whole message: keep what it says beside what was kept, forget everything (`reset`), or only tell.
 * When a part of it means nothing, nothing changes and the answer says which.
 */
export const queueCommand = (
  directive: QueueDirective,
  { config, channel, stored }: QueuePresent
): QueueAnswer => {
  const wrong = problems(directive)
  if (wrong.length > 0) {
    return {
      overrides: stored,
      changed: false,
      answer: `Nothing was changed: ${wrong.join("; ")}. Usage: ${queueUsage}`
    }
  }
  const overrides = directive.reset ? {} : { ...stored, ...directive.overrides }
  const told = describe(config, channel, overrides)
  return {
    overrides,
    changed: !isSame(stored, overrides),
    answer: directive.reset ? `This session keeps no queue settings of its own. ${told}` : told
  }
}

const problems = ({ rest, unclear, overrides }: QueueDirective): ReadonlyArray<string> => {
  const found = unclear.map((option) => `${shown(option)} means nothing`)
  if (rest !== "") found.push(`${shown(rest.split(/\s/)[0] ?? rest)} is no queue mode or option`)
  if ((overrides.cap ?? 1) > largestSessionCap) {
    found.push(`a session's cap is at most ${largestSessionCap}`)
  }
  if ((overrides.debounceMs ?? 0) > longestDebounceMs) found.push("debounce is at most a day")
  return found
}

const shown = (word: string): string => {
  const characters = Array.from(word)
  return characters.length <= 40 ? word : `${characters.slice(0, 39).join("")}…`
}

const isSame = (a: QueueOverrides, b: QueueOverrides): boolean =>
  a.mode === b.mode && a.debounceMs === b.debounceMs && a.cap === b.cap && a.drop === b.drop

const sourceWords: Readonly<Record<Source, string>> = {
  message: "this message",
  session: "this session",
  channel: "this channel",
  configuration: "configuration",
  default: "default"
}

/** The settings in a line; where each comes from behind it, once behind all when it is the same for all. */
const describe = (config: QueueConfig, channel: string, stored: QueueOverrides): string => {
  const { choice, sources } = resolveWithSources(config, channel, stored)
  const settings: ReadonlyArray<readonly [string, Source]> = [
    [`Queue mode: ${choice.mode}`, sources.mode],
    [`debounce ${choice.debounceMs} ms`, sources.debounceMs],
    [`cap ${choice.cap}`, sources.cap],
    [`drop ${choice.drop}`, sources.drop]
  ]
  const isOne = settings.every(([, source]) => source === sources.mode)
  return settings
    .map(([text, source], index) =>
      isOne && index < settings.length - 1 ? text : `${text} (${sourceWords[source]})`
    )
    .join(", ")
}

/** A `/queue` within a text, or a text behind `/steer`: what holds for this message only, and the text without it. */
export interface InlineQueue {
  readonly text: string
  readonly overrides: QueueOverrides
  /** True when what the session keeps does not count for this message. */
  readonly reset: boolean
}

/** undefined when there is none, when it says nothing, or when no text is left: then it is a command of its own, or just text. */
export const inlineQueue = (text: string): InlineQueue | undefined => {
  const steered = /^\s*\/steer(?:\s*:\s*|\s+)(\S[\s\S]*)$/i.exec(text)?.[1]
  if (steered !== undefined) return { text: steered, overrides: { mode: "steer" }, reset: false }
  const { found, rest, overrides, reset, unclear } = parseDirective(text)
  const saysSomething = reset || Object.keys(overrides).length > 0
  if (!found || rest === "" || !saysSomething || unclear.length > 0) return undefined
  return { text: rest, overrides, reset }
}
