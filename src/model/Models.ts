/**
 * Finds who answers for a `provider/model`.
 *
 * Owns: the providers that exist without a section, the lookup, and what must hold before a model is used.
 * Does not own: speaking to a provider (`ModelKinds`), nor choosing an agent's model (`agent`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Model, ModelError, ModelUnknown, withoutImages } from "./Model.ts"
import { ModelKinds } from "./ModelKinds.ts"
import type { Profile } from "./profiles.ts"
import { Providers, type ProviderSettings } from "./ProviderSettings.ts"

type ProviderMap = Readonly<Record<string, ProviderSettings>>

const idle_timeout_ms = 120_000

/** Providers that exist without a section. `api_key_env` names the variable their key is usually kept in. */
export const builtIn = {
  openai: {
    kind: "openai-chat",
    base_url: "https://api.openai.com/v1",
    api_key_env: "OPENAI_API_KEY",
    idle_timeout_ms
  },
  anthropic: {
    kind: "anthropic",
    base_url: "https://api.anthropic.com/v1",
    api_key_env: "ANTHROPIC_API_KEY",
    idle_timeout_ms
  },
  google: {
    kind: "google",
    base_url: "https://generativelanguage.googleapis.com/v1beta",
    api_key_env: "GEMINI_API_KEY",
    idle_timeout_ms
  },
  openrouter: {
    kind: "openai-chat",
    base_url: "https://openrouter.ai/api/v1",
    api_key_env: "OPENROUTER_API_KEY",
    idle_timeout_ms
  },
  groq: {
    kind: "openai-chat",
    base_url: "https://api.groq.com/openai/v1",
    api_key_env: "GROQ_API_KEY",
    idle_timeout_ms
  },
  ollama: {
    kind: "openai-chat",
    base_url: "http://127.0.0.1:11434/v1",
    dialect: "ollama",
    idle_timeout_ms
  },
  vllm: { kind: "openai-chat", base_url: "http://127.0.0.1:8000/v1", dialect: "vllm", idle_timeout_ms },
  llamacpp: {
    kind: "openai-chat",
    base_url: "http://127.0.0.1:8080/v1",
    dialect: "llamacpp",
    idle_timeout_ms
  },
  demo: { kind: "demo", images: false, idle_timeout_ms }
} as const satisfies ProviderMap

/** Variables in which a usual key may be kept as well, by the one that goes first. */
export const otherVariables: Readonly<Record<string, string>> = { GEMINI_API_KEY: "GOOGLE_API_KEY" }

/**
 * The configured providers and the built-in ones. A section for a built-in name that keeps its kind also keeps
 * the address and the key's variable it does not set itself. Applying it twice changes nothing.
 */
export const withBuiltIn = (configured: ProviderMap): ProviderMap => {
  const all: Record<string, ProviderSettings> = { ...builtIn, ...configured }
  for (const [name, standard] of Object.entries<ProviderSettings>(builtIn)) {
    const own = Object.hasOwn(configured, name) ? configured[name] : undefined
    if (own === undefined || own.kind !== standard.kind) continue
    const namesKey =
      own.api_key !== undefined || own.api_key_env !== undefined || own.api_key_stored !== undefined
    // A key's usual variable belongs to the usual address: it must not be sent to another one unasked.
    const keepsAddress = own.base_url === undefined || own.base_url === standard.base_url
    all[name] = {
      ...(standard.base_url === undefined ? {} : { base_url: standard.base_url }),
      ...(standard.dialect === undefined ? {} : { dialect: standard.dialect }),
      ...(standard.images === undefined ? {} : { images: standard.images }),
      ...(standard.api_key_env === undefined || namesKey || !keepsAddress
        ? {}
        : { api_key_env: standard.api_key_env }),
      ...own
    }
  }
  return all
}

/** `provider/model` in its two parts; `undefined` when one of them is missing. */
export const split = (model: string): { readonly provider: string; readonly model: string } | undefined => {
  const slash = model.indexOf("/")
  if (slash < 1 || slash === model.length - 1) return undefined
  return { provider: model.slice(0, slash), model: model.slice(slash + 1) }
}

/** A model that an agent is set to use cannot be used, and why. */
export class ModelUnusable extends Schema.TaggedError<ModelUnusable>()("ModelUnusable", {
  model: Schema.String,
  problem: Schema.Literals([
    "malformed",
    "unknown_provider",
    "no_folder",
    "no_address",
    "bad_address",
    "no_key"
  ]),
  provider: Schema.String,
  /** The kind, or for `no_key` the variable that is looked for. */
  detail: Schema.String
}) {
  override get message() {
    switch (this.problem) {
      case "malformed":
        return `model "${this.model}" is not of the form provider/model`
      case "unknown_provider":
        return `model "${this.model}": there is no provider "${this.provider}"; add [providers.${this.provider}]`
      case "no_folder":
        return `model "${this.model}": set providers.${this.provider}.folder to the folder of a recording`
      case "no_address":
        return `model "${this.model}": set providers.${this.provider}.base_url`
      case "bad_address":
        return `model "${this.model}": providers.${this.provider}.base_url is not an http or https address`
      case "no_key":
        return `model "${this.model}": set providers.${this.provider}.api_key or the variable ${this.detail}`
    }
  }
}

/**
 * What is wrong with the models that agents are set to use: empty when all can be tried. `providers` hold their
 * keys already. For the start of the gateway, so that it fails before a message is accepted.
 */
export const unusable = (
  configured: ProviderMap,
  models: ReadonlyArray<string>
): ReadonlyArray<ModelUnusable> => {
  const providers = withBuiltIn(configured)
  return [...new Set(models)].flatMap((model) => {
    const parts = split(model)
    const settings =
      parts !== undefined && Object.hasOwn(providers, parts.provider) ? providers[parts.provider] : undefined
    const told = (problem: ModelUnusable["problem"], detail: string = settings?.kind ?? "") => [
      new ModelUnusable({ model, problem, provider: parts?.provider ?? "", detail })
    ]
    if (parts === undefined) return told("malformed")
    if (settings === undefined) return told("unknown_provider")
    if (settings.kind === "demo") return []
    if (settings.kind === "replay") return settings.folder === undefined ? told("no_folder") : []
    if (settings.base_url === undefined) return told("no_address")
    if (!isWebAddress(settings.base_url)) return told("bad_address")
    const usual = Object.values<ProviderSettings>(builtIn).find((one) => one.base_url === settings.base_url)
    const hasKey =
      settings.api_key !== undefined ||
      isStored(settings) ||
      profilesOf(settings).some(({ hasSecret }) => hasSecret)
    return usual?.api_key_env !== undefined && !hasKey
      ? told("no_key", settings.api_key_env ?? usual.api_key_env)
      : []
  })
}

/** The settings of a model's provider, built-in ones included. */
export const settingsOf = (configured: ProviderMap, model: string): ProviderSettings | undefined => {
  const provider = split(model)?.provider
  if (provider === undefined) return undefined
  if (Object.hasOwn(configured, provider)) return configured[provider]
  return Object.hasOwn(builtIn, provider) ? builtIn[provider as keyof typeof builtIn] : undefined
}

/** Is one of its keys kept in the store, where only a running gateway reads it? */
export const isStored = ({ api_key_stored, profiles = {} }: ProviderSettings): boolean =>
  api_key_stored !== undefined ||
  Object.values(profiles).some((profile) => profile.api_key_stored !== undefined)

/** A provider's credentials as their order looks at them. */
export const profilesOf = ({ profiles = {} }: ProviderSettings): ReadonlyArray<Profile> =>
  Object.entries(profiles).map(([name, { api_key }]) => ({
    name,
    type: "api_key",
    hasSecret: api_key !== undefined && Redacted.value(api_key).trim() !== ""
  }))

/** The settings as each credential of a provider would be asked with; the provider's own key when it has no profiles. */
export const credentialsOf = (
  settings: ProviderSettings
): ReadonlyArray<{ readonly profile: string | undefined; readonly settings: ProviderSettings }> =>
  settings.profiles === undefined
    ? [{ profile: undefined, settings }]
    : Object.keys(settings.profiles).flatMap((profile) => {
        const own = asProfile(settings, profile)
        return own === undefined ? [] : [{ profile, settings: own }]
      })

/** Kept, because a kind keeps what it makes of its settings by their identity. */
const withProfiles = new WeakMap<ProviderSettings, Map<string, ProviderSettings>>()

/** The provider's settings with this profile's key; undefined when there is no such profile. */
const asProfile = (settings: ProviderSettings, profile: string): ProviderSettings | undefined => {
  let made = withProfiles.get(settings)
  if (made === undefined) withProfiles.set(settings, (made = new Map()))
  const known = made.get(profile)
  if (known !== undefined) return known
  const profiles = settings.profiles ?? {}
  const key = Object.hasOwn(profiles, profile) ? profiles[profile]?.api_key : undefined
  if (key === undefined) return undefined
  const own = { ...settings, api_key: key }
  made.set(profile, own)
  return own
}

const isWebAddress = (text: string): boolean => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url !== undefined && (url.protocol === "http:" || url.protocol === "https:")
}

export const make = Effect.gen(function* () {
  const kinds = yield* ModelKinds
  const providers = yield* Providers
  let last: { readonly configured: ProviderMap; readonly all: ProviderMap } | undefined

  const current = (): ProviderMap => {
    const configured = providers.get()
    if (last?.configured !== configured) last = { configured, all: withBuiltIn(configured) }
    return last.all
  }

  return Model.of({
    stream: (request) =>
      Stream.suspend(() => {
        const parts = split(request.model)
        const all = current()
        const provider =
          parts !== undefined && Object.hasOwn(all, parts.provider) ? all[parts.provider] : undefined
        const settings =
          provider === undefined || request.profile === undefined
            ? provider
            : asProfile(provider, request.profile)
        const speak = settings === undefined ? undefined : kinds.find(settings.kind)
        if (parts === undefined || settings === undefined || speak === undefined) {
          return Stream.fail(new ModelError({ model: request.model, reason: new ModelUnknown() }))
        }
        const shown = settings.images === false ? withoutImages(request) : request
        return speak({ model: parts.model, settings, request: shown })
      })
  })
})

/** `Model` over all registered kinds and configured providers. Settings are read at each call. */
export const layer = Layer.effect(Model, make)
