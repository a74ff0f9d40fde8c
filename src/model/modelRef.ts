/**
 * How people name a model: `provider/model`, an alias, or a bare name.
 *
 * Owns: how a name is read, aliases, and the allowlist. Pure.
 * Does not own: which providers exist (`Models`).
 */
export interface ModelRef {
  readonly provider: string
  readonly model: string
}

/** A reference that was found; `alias` as configured when that is what was written. */
export interface ResolvedRef extends ModelRef {
  readonly alias?: string
}

/** Other spellings of providers' names. */
const providerNames: Readonly<Record<string, string>> = {
  "z.ai": "zai",
  "z-ai": "zai",
  "opencode-zen": "opencode",
  qwen: "qwen-portal"
}

/** Names that people say for models whose providers call them otherwise. */
const modelNames: Readonly<Record<string, string>> = {
  "anthropic/opus-4.5": "claude-opus-4-5",
  "anthropic/sonnet-4.5": "claude-sonnet-4-5",
  "google/gemini-3-pro": "gemini-3-pro-preview",
  "google/gemini-3-flash": "gemini-3-flash-preview"
}

/** A provider's name in its one spelling. */
export const providerId = (name: string): string => {
  const lower = name.trim().toLowerCase()
  return Object.hasOwn(providerNames, lower) ? (providerNames[lower] ?? lower) : lower
}

const named = (provider: string, model: string): ModelRef => {
  const key = `${provider}/${model.toLowerCase()}`
  return { provider, model: Object.hasOwn(modelNames, key) ? (modelNames[key] ?? model) : model }
}

/** Split at the first slash; a bare name is a model of `defaultProvider`. Undefined when a part is missing. */
export const parseRef = (raw: string, defaultProvider: string): ModelRef | undefined => {
  const text = raw.trim()
  if (text === "") return undefined
  const slash = text.indexOf("/")
  if (slash < 0) return named(providerId(defaultProvider), text)
  const provider = providerId(text.slice(0, slash))
  const model = text.slice(slash + 1).trim()
  return provider === "" || model === "" ? undefined : named(provider, model)
}

export const format = ({ provider, model }: ModelRef): string => `${provider}/${model}`

/** By alias, in upper or lower case, else as `parseRef`. `aliases` are names to references. */
export const resolveRef = (
  raw: string,
  aliases: Readonly<Record<string, string>>,
  defaultProvider: string
): ResolvedRef | undefined => {
  const wanted = raw.trim().toLowerCase()
  if (!wanted.includes("/")) {
    for (const [alias, target] of Object.entries(aliases)) {
      if (alias.trim().toLowerCase() !== wanted) continue
      const ref = parseRef(target, defaultProvider)
      if (ref !== undefined) return { ...ref, alias }
    }
  }
  return parseRef(raw, defaultProvider)
}

/** Whether the list lets `model` (a whole reference) be used: named in it, or by `provider/*`. An empty list allows all. */
export const isAllowed = (model: string, allow: ReadonlyArray<string>): boolean =>
  allow.length === 0 ||
  allow.some((rule) => rule === model || (rule.endsWith("/*") && model.startsWith(rule.slice(0, -1))))

export interface ChainWishes {
  readonly primary: string
  readonly fallbacks: ReadonlyArray<string>
  /** Models that a fallback must be one of; empty for any. The one that was asked for is always allowed. */
  readonly allow: ReadonlyArray<string>
  /** What this run begins with instead of the primary, which then comes last. */
  readonly start?: string
  /** Fallbacks of this run instead of the configured ones; the primary is not added then. */
  readonly override?: ReadonlyArray<string>
}

/** The models of a run in the order in which they are tried, each once. */
export const chainOf = ({ primary, fallbacks, allow, start = primary, override }: ChainWishes) => {
  const chain = new Set([start])
  for (const model of override ?? fallbacks) if (isAllowed(model, allow)) chain.add(model)
  if (override === undefined) chain.add(primary)
  return [...chain]
}

/** The same with the models that its names mean. */
export const withoutAliases = <
  A extends { readonly model?: string; readonly fallbacks?: ReadonlyArray<string> }
>(
  named: A,
  aliases: Readonly<Record<string, string>>
): A => {
  const real = (name: string) => {
    const found = resolveRef(name, aliases, "")
    return found?.alias === undefined ? name : format(found)
  }
  return {
    ...named,
    ...(named.model === undefined ? {} : { model: real(named.model) }),
    ...(named.fallbacks === undefined ? {} : { fallbacks: named.fallbacks.map(real) })
  }
}
