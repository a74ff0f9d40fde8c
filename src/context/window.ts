/**
 * What a model is told of a session: the newest part of its history that fits the budget.
 *
 * Owns: the token estimate, where the window starts, how tool results are cut, and that a call never stands without its result.
 * Does not own: reading the history (`session`) or storing it (`horizons`).
 */
import { type Image, leftOut } from "#src/domain/Image.ts"
import type { ToolCall } from "#src/domain/Tool.ts"
import type { EntryRow } from "#src/horizons/MessageLog.ts"
import type { PromptMessage } from "#src/model/Model.ts"
import type { ContextSettings } from "./ContextSettings.ts"

/** Most entries one prompt is made of; what a run reads from the log. */
export const maxEntries = 200

/**
 * Tokens of a text, by estimate: four ASCII characters or one other character each, and never too few by much.
 * Exact counts differ by model and come back with each answer.
 */
export const estimateTokens = (text: string): number => {
  // oxlint-disable-next-line no-control-regex
  if (!/[^\x00-\x7f]/.test(text)) return Math.ceil(text.length / 4)
  let ascii = 0
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) < 128) ascii++
  return Math.ceil(ascii / 4) + (text.length - ascii)
}

/** A tool result as the model reads it: its head and its tail when it is longer than `max` characters. */
export const cutToolText = (text: string, max: number): string => {
  if (text.length <= max) return text
  const head = wholeCharacters(text.slice(0, Math.ceil(max * 0.75)))
  const tail = text.slice(text.length - Math.floor(max * 0.25))
  return `${head}\n[${text.length - max} characters left out]\n${isLowSurrogate(tail, 0) ? tail.slice(1) : tail}`
}

const isLowSurrogate = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xdc00
const wholeCharacters = (text: string): string =>
  (text.charCodeAt(text.length - 1) & 0xfc00) === 0xd800 ? text.slice(0, -1) : text

/** Most images of one prompt, and most bytes of them all. */
const maxImages = 8
const maxImageBytes = 16 * 1024 * 1024

/**
 * Ids of the messages whose images are shown, newest first: as many as fit whole. Older ones are told as left out. That is
 * decided before the window is, so a message may be named here that no longer stands in it.
 */
export const shownImages = (history: ReadonlyArray<EntryRow>): ReadonlyArray<string> => {
  const shown: Array<string> = []
  let count = 0
  let bytes = 0
  for (let at = history.length - 1; at >= 0; at--) {
    const { id, entry } = history[at]!
    if (entry.kind !== "user" || entry.images === undefined) continue
    count += entry.images.length
    for (const image of entry.images) bytes += image.bytes
    if (count > maxImages || bytes > maxImageBytes) break
    shown.push(id)
  }
  return shown
}

/** Entries that may not be parted: a user's message, or a step with all its results. */
interface Group {
  readonly order: number
  readonly isUser: boolean
  readonly runId: string | undefined
  readonly messages: ReadonlyArray<PromptMessage>
  readonly tokens: number
}

/**
 * The prompt for a run: `system`, then the window of `history` (oldest first, in the model's order, with the run's own
 * entries at its end).
 *
 * The window's first entry moves rarely and by large steps, so that the prompt's beginning stays byte-identical from turn to
 * turn and a provider's cache keeps working. The newest `min_recent_messages` groups stay even above the budget, and so does
 * what the run `runId` is answering. `images` holds the images of messages by id; those of others are told as left out.
 */
export const shape = (
  system: string,
  history: ReadonlyArray<EntryRow>,
  runId: string,
  settings: ContextSettings,
  images: ReadonlyMap<string, ReadonlyArray<Image>> = noImages
): ReadonlyArray<PromptMessage> => {
  const groups = group(history, settings.max_tool_chars, images)
  const start = windowStart(
    groups,
    settings.max_prompt_tokens - estimateTokens(system),
    settings.min_recent_messages
  )
  const messages: Array<PromptMessage> = [{ role: "system", text: system }]
  for (let index = 0; index < groups.length; index++) {
    const one = groups[index]!
    if (index >= start || (one.isUser && one.runId === runId)) messages.push(...one.messages)
  }
  return messages
}

const noImages: ReadonlyMap<string, ReadonlyArray<Image>> = new Map()

const windowStart = (groups: ReadonlyArray<Group>, budget: number, minRecent: number): number => {
  let fits = groups.length
  let total = 0
  while (fits > 0) {
    total += groups[fits - 1]!.tokens
    if (total > budget && groups.length - fits >= minRecent) break
    fits--
  }
  if (fits === 0 && groups.length < maxEntries && (groups[0]?.order ?? 1) === 1) return 0
  // Snap to a multiple of a power of two of the order, about half the window: it then moves once in that many entries.
  const length = groups.length - fits
  const grain = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, length / 2))))
  const from = Math.ceil((groups[fits]?.order ?? 0) / grain) * grain
  let start = fits
  const latest = groups.length - Math.min(minRecent, groups.length)
  while (start < latest && groups[start]!.order < from) start++
  // A window begins with a person's message where it can: some models refuse anything else.
  while (start < latest && !groups[start]!.isUser) start++
  return start
}

const group = (
  history: ReadonlyArray<EntryRow>,
  maxToolChars: number,
  images: ReadonlyMap<string, ReadonlyArray<Image>>
): ReadonlyArray<Group> => {
  const results = resultsByStep(history)
  const groups: Array<Group> = []
  for (const row of history) {
    const { entry } = row
    if (entry.kind === "user") {
      groups.push(
        entry.images === undefined
          ? plainGroup(row, "user", entry.text)
          : makeGroup(row, [withImages(entry.text, entry.images.length, images.get(row.id))])
      )
    } else if (entry.kind === "note") {
      groups.push(plainGroup(row, "user", entry.text))
    } else if (entry.kind === "assistant") {
      const calls = entry.calls ?? []
      if (calls.length === 0) {
        if (entry.text !== "") groups.push(plainGroup(row, "assistant", entry.text))
        continue
      }
      groups.push(
        makeGroup(row, [
          { role: "assistant", text: entry.text, calls },
          ...resultsOf(calls, results.get(row), maxToolChars)
        ])
      )
    }
  }
  return groups
}

const withImages = (text: string, count: number, images: ReadonlyArray<Image> | undefined): PromptMessage =>
  images === undefined ? { role: "user", text: leftOut(text, count) } : { role: "user", text, images }

/** The results of each step by call id. A provider may use an id again in a later step, so the latest step before it counts. */
const resultsByStep = (
  history: ReadonlyArray<EntryRow>
): ReadonlyMap<EntryRow, ReadonlyMap<string, string>> => {
  const byStep = new Map<EntryRow, Map<string, string>>()
  const latest = new Map<string | undefined, Map<string, string>>()
  for (const row of history) {
    const { entry } = row
    if (entry.kind === "assistant" && entry.calls !== undefined) {
      const results = new Map<string, string>()
      byStep.set(row, results)
      latest.set(row.runId, results)
    } else if (entry.kind === "tool") {
      latest.get(row.runId)?.set(entry.callId, entry.text)
    }
  }
  return byStep
}

/** Exactly one result for each call: a provider refuses a prompt in which one is missing. */
const resultsOf = (
  calls: ReadonlyArray<ToolCall>,
  results: ReadonlyMap<string, string> | undefined,
  maxToolChars: number
): ReadonlyArray<PromptMessage> =>
  calls.map((call) => ({
    role: "tool",
    callId: call.id,
    name: call.name,
    text: cutToolText(
      results?.get(call.id) ?? "No result was recorded: the call was interrupted.",
      maxToolChars
    )
  }))

/**
 * Groups of rows that stand alone, kept as long as the row: a session's rows are the same objects from turn to turn, and so
 * are then the prompt's messages, which a provider's adapter can recognise.
 */
const plain = new WeakMap<EntryRow, Group>()

const plainGroup = (row: EntryRow, role: "user" | "assistant", text: string): Group => {
  let made = plain.get(row)
  if (made === undefined) plain.set(row, (made = makeGroup(row, [{ role, text }])))
  return made
}

const perMessage = 4
/** What providers count for a photograph, about. */
export const perImage = 1200

const makeGroup = (row: EntryRow, messages: ReadonlyArray<PromptMessage>): Group => {
  let tokens = 0
  for (const message of messages) {
    tokens += perMessage + estimateTokens(message.text)
    if (message.role === "user") tokens += perImage * (message.images?.length ?? 0)
    if (message.role === "assistant") {
      for (const call of message.calls ?? [])
        tokens += perMessage + estimateTokens(call.name + call.arguments)
    }
  }
  return {
    order: row.order ?? 0,
    isUser: row.entry.kind === "user",
    runId: row.runId,
    messages,
    tokens
  }
}
