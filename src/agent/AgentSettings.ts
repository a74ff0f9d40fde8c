/** `[agents.<name>]` (`[general]` is the shorthand of `[agents.main]`): the personas people talk to. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const AgentSettingsSchema = Schema.Struct({
  model: Schema.optionalKey(Schema.String).annotate({
    description:
      "provider/model, or an alias. Without it, dev answers with the built-in demo/demo and prod refuses to start"
  }),
  fallbacks: Schema.optionalKey(Schema.Array(Schema.String)).annotate({
    description:
      "Models that answer when this one cannot, in order: provider/model or an alias. Without any, its failure is told"
  }),
  system_prompt: withDefault(
    Schema.String,
    "You are a helpful assistant. Answer briefly and truthfully.",
    "What the agent is told first"
  ),
  tools: withDefault(
    Schema.Array(Schema.String),
    ["time.now", "fs.read", "fs.list", "fs.search"],
    "Tools the agent may use; the fs tools need a workspace"
  ),
  ask_before: withDefault(
    Schema.Array(Schema.String),
    [],
    "Tools that wait for an owner's approval before each call, which `/approve` and `/deny` give"
  ),
  workspace: Schema.optionalKey(Schema.String).annotate({
    description: "Folder the fs tools may read. Without it they are not offered"
  }),
  max_steps: withDefault(wholeNumber(1), 25, "Most model calls of one run"),
  run_timeout_s: withDefault(wholeNumber(1), 600, "Longest time of one run, seconds"),
  max_output_chars: withDefault(wholeNumber(1), 200_000, "Most characters a run may write")
})
export type AgentSettings = typeof AgentSettingsSchema.Type

/** All agents by name; `main` always exists. */
export class Agents extends Context.Service<Agents, Setting<Readonly<Record<string, AgentSettings>>>>()(
  "opencraw/agent/AgentSettings/Agents"
) {}
