/**
 * The tools that exist. Starts empty: the room or adapter that owns a tool registers it by a Layer.
 *
 * Owns: the registry, and what a tool promises.
 * Does not own: which tools an agent may use (`agent`), nor recording their results (`lane`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { Effects, ToolSpec } from "#src/domain/Tool.ts"

/** The tool could not do what was asked. `message` is shown to the model. */
export class ToolError extends Schema.TaggedError<ToolError>()("ToolError", {
  message: Schema.String
}) {}

/** Who a call is made for. */
export interface ToolContext {
  readonly tenant: Tenant
  readonly agent: string
  readonly session: string
  /** The folder the agent's settings let its tools read. */
  readonly workspace?: string
}

export interface Tool {
  readonly spec: ToolSpec
  readonly effects: Effects
  /** True when it works in the agent's workspace; it is not offered to an agent without one. */
  readonly needsWorkspace: boolean
  /** Longest time one call may take, ms. */
  readonly timeoutMillis: number
  /**
   * Run a call with arguments that are a JSON object (decode them strictly; a wrong shape is a `ToolError`
   * that names the key). The text is what the model reads. Interruptible.
   */
  readonly run: (args: unknown, context: ToolContext) => Effect.Effect<string, ToolError>
}

export class Tools extends Context.Service<
  Tools,
  {
    readonly register: (tool: Tool) => Effect.Effect<void>
    readonly find: (name: string) => Tool | undefined
    /** All tools, in order of registration. */
    readonly all: () => ReadonlyArray<Tool>
  }
>()("opencraw/tool/Tools") {}

export const layer = Layer.sync(Tools, () => {
  const byName = new Map<string, Tool>()
  return Tools.of({
    register: (tool) => Effect.sync(() => void byName.set(tool.spec.name, tool)),
    find: (name) => byName.get(name),
    all: () => [...byName.values()]
  })
})

/** A Layer that registers tools, for the adapters that own them. */
export const layerRegister = (tools: ReadonlyArray<Tool>) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const registry = yield* Tools
      for (const tool of tools) yield* registry.register(tool)
    })
  )
