/**
 * Which agent a model name of the OpenAI protocol means.
 *
 * Clients choose agents, not models: `opencraw/<agent>`. Names that other gateways and plain OpenAI settings use are understood too.
 */
import type { AgentSettings } from "#src/agent/AgentSettings.ts"
import { normalizeAgentId } from "#src/domain/SessionKey.ts"

export type AgentTable = Readonly<Record<string, AgentSettings>>

const main = "main"
/** What an agent without a model answers with. */
export const demoModel = "demo/demo"

export const modelOf = (agents: AgentTable, agent: string): string => agents[agent]?.model ?? demoModel

/** The agent's name, or undefined when nothing is called so. */
export const resolve = (model: string, agents: AgentTable): string | undefined => {
  const name = model.trim()
  const lower = name.toLowerCase()
  if (lower === "" || lower === "opencraw" || lower === "openclaw" || lower === "default") return main
  const prefixed = /^(?:(?:opencraw|openclaw)\/|agent:)(.+)$/.exec(lower)?.[1]
  if (prefixed !== undefined) return prefixed === "default" ? main : find(prefixed, agents)
  return find(lower, agents) ?? byReference(name, agents) ?? (lower.endsWith("/default") ? main : undefined)
}

const find = (name: string, agents: AgentTable): string | undefined =>
  Object.keys(agents).find((agent) => agent.toLowerCase() === name || normalizeAgentId(agent) === name)

// The main agent first: it is the one people mean when several use the same model.
const byReference = (name: string, agents: AgentTable): string | undefined =>
  [main, ...Object.keys(agents)].find((agent) => {
    const reference = modelOf(agents, agent)
    return reference === name || reference.slice(reference.indexOf("/") + 1) === name
  })

/** What `GET /v1/models` lists: `opencraw` for the main agent, then one per agent. */
export const listed = (agents: AgentTable): ReadonlyArray<string> => [
  "opencraw",
  ...Object.keys(agents).map((agent) => `opencraw/${agent}`)
]
