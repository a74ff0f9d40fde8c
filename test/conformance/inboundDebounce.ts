/** Rows of `inbound-debounce`: our window under timers of whole ticks. */
import { inboundDebounceMs, type InboundDebounceConfig } from "#src/domain/Queue.ts"
import { gather, type GatherCommand, type GatherEvent, initial } from "#src/lane/gather.ts"
import { rowOf } from "../lane/rows.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "inbound-debounce"

interface Message {
  readonly id: string
  readonly key?: string | null
  readonly atTick: number
  readonly immediate?: boolean
}

interface BurstInput {
  readonly op?: undefined
  readonly debounceTicks: number
  readonly messages: ReadonlyArray<Message>
  readonly flushFails?: boolean
}

type Input =
  | BurstInput
  | {
      readonly op: "resolveMs"
      readonly channel: string
      readonly config?: InboundDebounceConfig
      readonly override?: number
    }

const burst = ({ debounceTicks, messages, flushFails }: BurstInput) => {
  const window = { waitMs: debounceTicks, maxWaitMs: 1_000_000, maxParts: 1000, maxChars: 1_000_000 }
  const flushes: Array<ReadonlyArray<string | undefined>> = []
  let state = initial
  let due: Array<{ readonly at: number; readonly event: GatherEvent }> = []
  const deliver = (ids: ReadonlyArray<string | undefined>) => {
    flushes.push(ids)
    if (flushFails === true) throw new Error("whoever takes the batch fails")
  }
  const perform = (command: GatherCommand, at: number) => {
    if (command._tag === "Arm") {
      const { key, generation, ms } = command
      due.push({ at: at + ms, event: { _tag: "Due", key, generation } })
      return
    }
    try {
      deliver(command.rows.map(({ seq }) => messages[seq]?.id))
    } catch {
      // As in the lane: what fails behind a flush is not the window's business.
    }
  }
  const post = (event: GatherEvent, at: number) => {
    const gathering = gather(state, event)
    state = gathering.state
    for (const command of gathering.commands) perform(command, at)
  }
  const last = Math.max(0, ...messages.map(({ atTick }) => atTick)) + debounceTicks + 1
  for (let tick = 0; tick <= last; tick++) {
    const now = due.filter(({ at }) => at <= tick)
    due = due.filter(({ at }) => at > tick)
    for (const { event } of now) post(event, tick)
    for (const [index, { key, atTick, immediate }] of messages.entries()) {
      if (atTick !== tick) continue
      const sender = key ?? ""
      // Who cannot be told apart is not joined.
      post(
        {
          _tag: "Part",
          row: rowOf(index, { sender }),
          window,
          immediate: immediate === true || sender === ""
        },
        tick
      )
    }
  }
  return { flushes }
}

export const run = async ({ input, expected }: Row<Input>) =>
  compare(
    input.op === "resolveMs"
      ? inboundDebounceMs(input.config ?? {}, input.channel, input.override)
      : burst(input),
    expected
  )
