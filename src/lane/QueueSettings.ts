/** `[queue]`: how a lane takes messages, and how many runs go at once. `[inbound]`: how parts of one message are joined. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { DropPolicy, type InboundDebounceConfig, type QueueConfig, QueueMode } from "#src/domain/Queue.ts"
import type { BudgetClass } from "#src/domain/SessionKey.ts"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const QueueSettingsSchema = Schema.Struct({
  mode: withDefault(QueueMode, "collect", "What happens to a message that arrives while its session is busy"),
  by_channel: withDefault(
    Schema.Record(Schema.String, QueueMode),
    {},
    "The same for single channels, by name"
  ),
  debounce_ms: withDefault(wholeNumber(0), 1000, "Quiet time before a busy lane drains in collect mode, ms"),
  debounce_ms_by_channel: withDefault(
    Schema.Record(Schema.String, wholeNumber(0)),
    {},
    "The same for single channels, by name"
  ),
  cap: withDefault(wholeNumber(1), 20, "Most open messages of one session"),
  drop: withDefault(
    DropPolicy,
    "summarize",
    "What gives way when a session is full: the oldest, the newest (refused), or the oldest with a summary"
  ),
  max_concurrency: withDefault(wholeNumber(1), 256, "Most runs that go at once; a run is a waiting socket"),
  max_concurrency_subagent: withDefault(wholeNumber(1), 64, "The same for sessions of an agent's helpers"),
  max_concurrency_cron: withDefault(
    wholeNumber(1),
    16,
    "The same for sessions of schedules and hooks, which so never crowd out people"
  ),
  lane_buffer: withDefault(
    wholeNumber(1),
    64,
    "Waiting messages a lane holds in memory; the rest stays in the log"
  )
})
export type QueueSettings = typeof QueueSettingsSchema.Type

export class Queue extends Context.Service<Queue, Setting<QueueSettings>>()(
  "opencraw/lane/QueueSettings/Queue"
) {}

/** Most runs of each class that go at once. */
export const budgetsOf = (settings: QueueSettings): Readonly<Record<BudgetClass, number>> => ({
  main: settings.max_concurrency,
  subagent: settings.max_concurrency_subagent,
  cron: settings.max_concurrency_cron
})

/** The operator's wishes, for `resolve` of `domain/Queue`. */
export const queueConfig = (settings: QueueSettings): QueueConfig => ({
  mode: settings.mode,
  byChannel: settings.by_channel,
  debounceMs: settings.debounce_ms,
  debounceMsByChannel: settings.debounce_ms_by_channel,
  cap: settings.cap,
  drop: settings.drop
})

export const InboundSettingsSchema = Schema.Struct({
  debounce_ms: withDefault(
    wholeNumber(0),
    0,
    "How long a text waits for its sender's next one, to be answered as one, ms; 0 for not at all"
  ),
  by_channel: withDefault(
    Schema.Record(Schema.String, wholeNumber(0)),
    {},
    "The same for single channels, by name"
  ),
  max_parts: withDefault(wholeNumber(1), 12, "Most texts that are joined"),
  max_chars: withDefault(wholeNumber(1), 50_000, "Most characters that are joined"),
  max_wait_ms: withDefault(wholeNumber(1), 7500, "Longest time the first of them waits, ms")
})
export type InboundSettings = typeof InboundSettingsSchema.Type

export class InboundWindow extends Context.Service<InboundWindow, Setting<InboundSettings>>()(
  "opencraw/lane/QueueSettings/InboundWindow"
) {}

/** The operator's wishes, for `inboundDebounceMs` of `domain/Queue`. */
export const inboundConfig = (settings: InboundSettings): InboundDebounceConfig => ({
  debounceMs: settings.debounce_ms,
  byChannel: settings.by_channel
})

export const StallSettingsSchema = Schema.Struct({
  long_s: withDefault(
    wholeNumber(1),
    300,
    "A run that goes on for so long is told of as long-running, seconds"
  ),
  stalled_s: withDefault(
    wholeNumber(1),
    60,
    "A run without progress for so long is told of as stalled, seconds. Progress is text, a step or a tool's result"
  ),
  stuck_s: withDefault(
    wholeNumber(1),
    300,
    "A run without progress for so long is given up and begun again, seconds. More than any tool or silent model may take"
  )
})
export type StallSettings = typeof StallSettingsSchema.Type

export class Stall extends Context.Service<Stall, Setting<StallSettings>>()(
  "opencraw/lane/QueueSettings/Stall"
) {}
