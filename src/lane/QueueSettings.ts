/** `[queue]`: how a lane takes messages, and how many runs go at once. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const QueueSettingsSchema = Schema.Struct({
  mode: withDefault(
    Schema.Literals(["collect", "followup", "steer", "interrupt"]),
    "followup",
    "What happens to a message that arrives while its session is busy"
  ),
  debounce_ms: withDefault(wholeNumber(0), 1000, "Quiet time before a busy lane drains in collect mode, ms"),
  cap: withDefault(wholeNumber(1), 20, "Most open messages of one session"),
  drop: withDefault(
    Schema.Literals(["old", "new", "summarize"]),
    "new",
    "What gives way when a session is full: the oldest, the newest (refused), or the oldest with a summary"
  ),
  max_concurrency: withDefault(wholeNumber(1), 256, "Most runs that go at once; a run is a waiting socket"),
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
