/**
 * Parts that one person sends in a row, gathered so that they are answered as one.
 *
 * `gather(state, event)` gives the next state and commands; it reads no clock, timers are commands. So nothing that fails behind a
 * `Flush` can hold back or lose a later one.
 *
 * Owns: which parts wait, for how long at most, and in which order one person's parts leave.
 * Does not own: being durable (each part is committed before it comes here), commands (they never come here), running (`decide`).
 */
import type { PartsWindow } from "#src/domain/Inbound.ts"
import { inboundDebounceMs } from "#src/domain/Queue.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import { mayJoin, routeKey } from "./collect.ts"
import { inboundConfig, type InboundSettings } from "./QueueSettings.ts"

/** What the operator set for a channel. `override` is the channel's own wish for one message. */
export const windowOf = (settings: InboundSettings, channel: string, override?: number): PartsWindow => ({
  waitMs: inboundDebounceMs(inboundConfig(settings), channel, override),
  maxWaitMs: settings.max_wait_ms,
  maxParts: settings.max_parts,
  maxChars: settings.max_chars
})

interface Batch {
  readonly parts: ReadonlyArray<MessageRow>
  readonly chars: number
  /** The timers that end it: of its newest part, and of its first. Any other timer is late. */
  readonly quiet: number
  readonly deadline: number
}

export interface GatherState {
  /** By sender and route. */
  readonly batches: ReadonlyMap<string, Batch>
  /** Number of the newest timer. */
  readonly generation: number
}

export type GatherEvent =
  /** `immediate`: it is no text alone (media), so it waits for nothing. */
  | {
      readonly _tag: "Part"
      readonly row: MessageRow
      readonly window: PartsWindow
      readonly immediate: boolean
    }
  | { readonly _tag: "Due"; readonly key: string; readonly generation: number }
  /** These have their outcome already (cancelled, dropped). */
  | { readonly _tag: "Withdrawn"; readonly ids: ReadonlySet<MessageRow["id"]> }
  /** Let everything go, oldest first: the lane stops, or its window was turned off. */
  | { readonly _tag: "Release" }

export type GatherCommand =
  /** Send `Due` after `ms`. Timers are never cancelled: a late one does nothing. */
  | { readonly _tag: "Arm"; readonly key: string; readonly ms: number; readonly generation: number }
  /** These are one message: of one sender, one route and equal access, oldest first, never none. */
  | { readonly _tag: "Flush"; readonly rows: ReadonlyArray<MessageRow> }

export interface Gathering {
  readonly state: GatherState
  readonly commands: ReadonlyArray<GatherCommand>
}

export const initial: GatherState = { batches: new Map(), generation: 0 }

/** True when no part waits. */
export const isEmpty = (state: GatherState): boolean => state.batches.size === 0

/** Parts that wait, oldest first. */
export const gathered = (state: GatherState): ReadonlyArray<MessageRow> =>
  [...state.batches.values()].flatMap(({ parts }) => parts).toSorted((a, b) => a.seq - b.seq)

export const gather = (state: GatherState, event: GatherEvent): Gathering => {
  switch (event._tag) {
    case "Part":
      return part(state, event.row, event.window, event.immediate)
    case "Due": {
      const batch = state.batches.get(event.key)
      const isDue = batch?.quiet === event.generation || batch?.deadline === event.generation
      return isDue ? flush(state, event.key) : { state, commands: [] }
    }
    case "Withdrawn":
      return withdraw(state, event.ids)
    case "Release": {
      const batches = [...state.batches.values()].toSorted((a, b) => a.parts[0]!.seq - b.parts[0]!.seq)
      return {
        state: { ...state, batches: new Map() },
        commands: batches.map(({ parts }) => ({ _tag: "Flush", rows: parts }))
      }
    }
  }
}

/** No text alone: it waits for nothing. */
export const isMedia = ({ body }: MessageRow): boolean => (body.images?.length ?? 0) > 0

const keyOf = (row: MessageRow): string => JSON.stringify([row.sender, routeKey(row)])

const part = (state: GatherState, row: MessageRow, window: PartsWindow, immediate: boolean): Gathering => {
  const key = keyOf(row)
  const size = row.body.text.length
  if (immediate || window.waitMs <= 0) {
    const before = flush(state, key)
    return { state: before.state, commands: [...before.commands, { _tag: "Flush", rows: [row] }] }
  }
  const present = state.batches.get(key)
  // What cannot go along goes before, so that one person's parts keep their order.
  const isApart =
    present !== undefined && (!mayJoin(present.parts[0]!, row) || present.chars + 1 + size > window.maxChars)
  const before = isApart ? flush(state, key) : { state, commands: [] }
  const after =
    present === undefined || isApart
      ? begin(before.state, key, row, window)
      : extend(before.state, key, present, row, window)
  const batch = after.state.batches.get(key)!
  const isFull = batch.parts.length >= window.maxParts || batch.chars >= window.maxChars
  if (!isFull) return { state: after.state, commands: [...before.commands, ...after.commands] }
  const full = flush(after.state, key)
  return { state: full.state, commands: [...before.commands, ...full.commands] }
}

const begin = (state: GatherState, key: string, row: MessageRow, window: PartsWindow): Gathering => {
  const isShort = window.waitMs < window.maxWaitMs
  const deadline = state.generation + 1
  const quiet = isShort ? deadline + 1 : deadline
  const batch = { parts: [row], chars: row.body.text.length, quiet, deadline }
  const atMost: GatherCommand = { _tag: "Arm", key, ms: window.maxWaitMs, generation: deadline }
  return {
    state: { batches: new Map(state.batches).set(key, batch), generation: quiet },
    commands: isShort ? [atMost, { _tag: "Arm", key, ms: window.waitMs, generation: quiet }] : [atMost]
  }
}

const extend = (
  state: GatherState,
  key: string,
  { parts, chars, deadline }: Batch,
  row: MessageRow,
  window: PartsWindow
): Gathering => {
  const isShort = window.waitMs < window.maxWaitMs
  const quiet = isShort ? state.generation + 1 : deadline
  const batch = { parts: [...parts, row], chars: chars + 1 + row.body.text.length, quiet, deadline }
  return {
    state: {
      batches: new Map(state.batches).set(key, batch),
      generation: Math.max(state.generation, quiet)
    },
    commands: isShort ? [{ _tag: "Arm", key, ms: window.waitMs, generation: quiet }] : []
  }
}

const flush = (state: GatherState, key: string): Gathering => {
  const batch = state.batches.get(key)
  if (batch === undefined) return { state, commands: [] }
  const batches = new Map(state.batches)
  batches.delete(key)
  return { state: { ...state, batches }, commands: [{ _tag: "Flush", rows: batch.parts }] }
}

const withdraw = (state: GatherState, ids: ReadonlySet<MessageRow["id"]>): Gathering => {
  const batches = new Map<string, Batch>()
  for (const [key, batch] of state.batches) {
    const parts = batch.parts.filter(({ id }) => !ids.has(id))
    if (parts.length === 0) continue
    const chars = parts.reduce((sum, { body }) => sum + body.text.length, parts.length - 1)
    batches.set(key, { ...batch, parts, chars })
  }
  return { state: { ...state, batches }, commands: [] }
}

/**
 * What messages read back from the log had been gathered to before the process ended, or would have been: the same rule, with the times
 * they were accepted at. Each group is one message; a message that waited for nothing is a group of its own.
 */
export const regroup = (rows: ReadonlyArray<MessageRow>): ReadonlyArray<ReadonlyArray<MessageRow>> => {
  const groups: Array<ReadonlyArray<MessageRow>> = []
  let state = initial
  let timers: Array<{ readonly at: number; readonly due: GatherEvent }> = []
  const post = (now: number, event: GatherEvent) => {
    const { state: next, commands } = gather(state, event)
    state = next
    for (const command of commands) {
      if (command._tag === "Flush") groups.push(command.rows)
      else timers.push({ at: now + command.ms, due: { ...command, _tag: "Due" } })
    }
  }
  for (const row of rows) {
    const now = row.acceptedAt
    for (const { at, due } of timers.toSorted((a, b) => a.at - b.at)) if (at <= now) post(now, due)
    timers = timers.filter(({ at }) => at > now)
    const window = row.body.queue?.parts
    if (window === undefined) groups.push([row])
    else post(now, { _tag: "Part", row, window, immediate: isMedia(row) })
  }
  post(0, { _tag: "Release" })
  return groups
}
