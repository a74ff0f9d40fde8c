/**
 * How the servers that speak chat completions differ, as far as a request must know it.
 *
 * Owns: whose habits a provider has, and the words that differ. What differs in answers, the decoder takes from anybody.
 */
import type { Thinking } from "#src/domain/Inbound.ts"
import type { Dialect, ProviderSettings } from "#src/model/ProviderSettings.ts"
import type { Address } from "./providerHttp.ts"

export interface Words {
  /** OpenAI has renamed the output limit and refuses the old word; most others only know the old one. */
  readonly limit: "max_tokens" | "max_completion_tokens"
  /** How a thinking level is asked for. */
  readonly thinking: (level: Thinking) => Readonly<Record<string, unknown>>
  /** Its models' thoughts may stand in the text itself, between think tags, when its parser for them is off. */
  readonly mayThinkAloud: boolean
}

const effort = (level: Thinking) => ({ reasoning_effort: level === "off" ? "none" : level })

const common: Words = { limit: "max_tokens", thinking: effort, mayThinkAloud: true }

const words: Readonly<Record<Dialect, Words>> = {
  openai: { limit: "max_completion_tokens", thinking: effort, mayThinkAloud: false },
  openrouter: {
    ...common,
    thinking: (level) => ({ reasoning: level === "off" ? { enabled: false } : { effort: level } })
  },
  groq: { ...common, limit: "max_completion_tokens" },
  ollama: common,
  // Whether a model thinks is up to its chat template here; the effort is read by those that have one.
  vllm: {
    ...common,
    thinking: (level) => ({
      ...(level === "off" ? {} : { reasoning_effort: level }),
      chat_template_kwargs: { enable_thinking: level !== "off" }
    })
  },
  llamacpp: {
    ...common,
    thinking: (level) => ({
      chat_template_kwargs: {
        enable_thinking: level !== "off",
        ...(level === "off" ? {} : { reasoning_effort: level })
      }
    })
  }
}

const byHost: Readonly<Record<string, Dialect>> = {
  "api.openai.com": "openai",
  "openrouter.ai": "openrouter",
  "api.groq.com": "groq"
}

const dialectOf = ({ dialect }: ProviderSettings, { hostname, origin }: Address): Dialect | undefined =>
  dialect ?? byHost[hostname] ?? (origin.endsWith(":11434") ? "ollama" : undefined)

export const wordsOf = (settings: ProviderSettings, address: Address): Words => {
  const dialect = dialectOf(settings, address)
  return dialect === undefined ? common : words[dialect]
}
