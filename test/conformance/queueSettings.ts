/** Rows of `queue-settings`. */
import * as Queue from "#src/domain/Queue.ts"
import { compare, type Row, type Verdict } from "./Row.ts"

export const topic = "queue-settings"

type Raw = string | null | undefined

interface ResolveInput {
  readonly op: "resolveSettings"
  readonly channel: string
  readonly config?: {
    readonly mode?: Raw
    readonly byChannel?: Readonly<Record<string, string>>
    readonly debounceMs?: number
    readonly debounceMsByChannel?: Readonly<Record<string, number>>
    readonly cap?: number
    readonly drop?: Raw
  }
  readonly session?: {
    readonly queueMode?: Raw
    readonly queueDebounceMs?: number
    readonly queueCap?: number
    readonly queueDrop?: Raw
  }
  readonly inlineMode?: Raw
  readonly inlineOptions?: { readonly debounceMs?: number; readonly cap?: number; readonly dropPolicy?: Raw }
}

type Input =
  | { readonly op: "normalizeMode"; readonly raw: Raw }
  | { readonly op: "normalizeDrop"; readonly raw: Raw }
  | { readonly op: "parseDirective"; readonly body: Raw }
  | ResolveInput

/** Our configuration refuses an unknown word when it is read; here one counts as not said. */
const said = (
  mode: Raw,
  debounceMs?: number | null,
  cap?: number | null,
  drop?: Raw
): Queue.QueueOverrides => {
  const modeWord = Queue.normalizeMode(mode ?? "")
  const dropWord = Queue.normalizeDrop(drop ?? "")
  return {
    ...(modeWord === undefined ? {} : { mode: modeWord }),
    ...(typeof debounceMs === "number" ? { debounceMs } : {}),
    ...(typeof cap === "number" ? { cap } : {}),
    ...(dropWord === undefined ? {} : { drop: dropWord })
  }
}

const resolved = ({ channel, config, session, inlineMode, inlineOptions }: ResolveInput) => {
  const modes = Object.entries(config?.byChannel ?? {}).flatMap(([name, word]) => {
    const mode = Queue.normalizeMode(word)
    return mode === undefined ? [] : [[name, mode] as const]
  })
  const { mode, debounceMs, cap, drop } = Queue.resolve(
    {
      ...said(config?.mode, config?.debounceMs, config?.cap, config?.drop),
      byChannel: Object.fromEntries(modes),
      debounceMsByChannel: config?.debounceMsByChannel ?? {}
    },
    channel,
    said(session?.queueMode, session?.queueDebounceMs, session?.queueCap, session?.queueDrop),
    said(inlineMode, inlineOptions?.debounceMs, inlineOptions?.cap, inlineOptions?.dropPolicy)
  )
  return { mode, debounceMs, cap, dropPolicy: drop }
}

const answer = (input: Input): unknown => {
  switch (input.op) {
    case "normalizeMode":
      return Queue.normalizeMode(input.raw ?? "") ?? null
    case "normalizeDrop":
      return Queue.normalizeDrop(input.raw ?? "") ?? null
    case "resolveSettings":
      return resolved(input)
    case "parseDirective": {
      const { found, rest, overrides, reset } = Queue.parseDirective(input.body ?? "")
      return {
        hasDirective: found,
        cleaned: rest,
        mode: overrides.mode ?? null,
        reset,
        debounceMs: overrides.debounceMs ?? null,
        cap: overrides.cap ?? null,
        drop: overrides.drop ?? null
      }
    }
  }
}

const modeOf = (value: unknown): unknown =>
  typeof value === "object" && value !== null && "mode" in value ? value.mode : value

/** Declined: rows that expect the mode `steer-backlog`, which we take as `steer` (.decisions/0006). Only the mode may differ. */
export const run = async ({ input, expected }: Row<Input>): Promise<Verdict> => {
  const actual = answer(input)
  if (modeOf(expected) !== "steer-backlog") return compare(actual, expected)
  const wanted = typeof expected === "object" && expected !== null ? { ...expected, mode: "steer" } : "steer"
  const verdict = compare(actual, wanted)
  return verdict.ok ? { ok: true, skip: "steer-backlog answers twice; we steer (.decisions/0006)" } : verdict
}
