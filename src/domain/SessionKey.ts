/**
 * The name of a session, in the one canonical spelling: `agent:<agent>:<rest>`, and of a tenant other than `local` with
 * `<org>/<project>/` before it, so that a key names one session among those of all tenants.
 *
 * Owns: the grammar of keys, and how other spellings, peers, threads and users become one.
 * Does not own: who may use a key (`gateway`, `access`), nor what is stored under it.
 *
 * `<rest>` is `main`, a free name, `user:<escaped>`, or a peer: `dm:<peer>`, `<channel>:dm:<peer>`,
 * `<channel>:<account>:dm:<peer>`, `<channel>:<group|channel|room>:<id>`, each with `:thread:<id>` behind it or not.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { isLocal, local, type Tenant } from "./Tenant.ts"

export const SessionKey = Schema.String.pipe(Schema.brand("SessionKey"))
export type SessionKey = typeof SessionKey.Type

/** Longest key, UTF-16 units. */
export const maxLength = 512

/** The text cannot name a session. Does not repeat the text: it may be somebody's secret. */
export class InvalidSessionKey extends Schema.TaggedError<InvalidSessionKey>()("InvalidSessionKey", {
  reason: Schema.Literals(["empty", "control_characters", "too_long", "malformed"])
}) {
  override get message() {
    switch (this.reason) {
      case "empty":
        return "a session key must not be empty"
      case "control_characters":
        return "a session key must not hold control characters or broken Unicode"
      case "too_long":
        return `a session key must not be longer than ${maxLength} characters`
      case "malformed":
        return "a session key that begins with agent: must read agent:<agent>:<name>"
    }
  }
}

const defaultAgentId = "main"
const keyOf = (agent: string, rest: string): SessionKey => `agent:${agent}:${rest}` as SessionKey
const invalid = (reason: InvalidSessionKey["reason"]) => Result.fail(new InvalidSessionKey({ reason }))

// One id of letters, digits, `_` and `-`: the form that agents and channel accounts are named in.
const slug = (value: string | null | undefined, fallback: string): string => {
  const id = (value ?? "").trim().toLowerCase()
  if (/^[a-z0-9][a-z0-9_-]{0,63}$/.test(id)) return id
  return (
    id
      .replace(/[^a-z0-9_-]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 64) || fallback
  )
}

/** An agent's id from any name: lower case, `-` for what an id cannot hold, at most 64; `main` when nothing is left. */
export const normalizeAgentId = (value: string | null | undefined): string => slug(value, defaultAgentId)

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

/**
 * Any spelling to the one canonical key: `main`, ` Foo `, `agent:main:foo`, ... Idempotent. A bare name belongs to `defaultAgent`.
 */
export const canonical = (
  spelling: string,
  defaultAgent: string = defaultAgentId
): Result.Result<SessionKey, InvalidSessionKey> => {
  const text = spelling.trim()
  if (text === "") return invalid("empty")
  if (text.length > maxLength) return invalid("too_long")
  if (controls.test(text) || !text.isWellFormed()) return invalid("control_characters")
  const lower = text.toLowerCase()
  const key = lower.startsWith("agent:")
    ? parse(lower)
    : { agent: normalizeAgentId(defaultAgent), rest: lower }
  if (key === undefined) return invalid("malformed")
  const result = keyOf(key.agent, key.rest)
  return result.length > maxLength ? invalid("too_long") : Result.succeed(result)
}

const parse = (lower: string): { readonly agent: string; readonly rest: string } | undefined => {
  const end = lower.indexOf(":", 6)
  if (end < 0) return undefined
  const agent = lower.slice(6, end).trim()
  const rest = lower.slice(end + 1).trim()
  return rest === "" || normalizeAgentId(agent) !== agent ? undefined : { agent, rest }
}

/**
 * A case-sensitive id in lower-case letters, digits and `.@+-_`, each other UTF-16 unit as `~hh` or `~uhhhh`.
 * Reversible, so different ids stay different.
 */
export const escapeId = (id: string): string =>
  id.replace(/[^a-z0-9.@+_-]/g, (unit) => {
    const code = unit.charCodeAt(0)
    return code < 0x100 ? `~${code.toString(16).padStart(2, "0")}` : `~u${code.toString(16).padStart(4, "0")}`
  })

/**
 * The key of the `user` of an OpenAI request: `agent:<agent>:user:<escaped>`. Injective: `Foo` and `foo` are two
 * users. Fails on an empty `user` and on one that is too long once escaped.
 */
export const fromUser = (
  user: string,
  agent: string = defaultAgentId
): Result.Result<SessionKey, InvalidSessionKey> => {
  if (user === "") return invalid("empty")
  if (user.length > maxLength) return invalid("too_long")
  const key = keyOf(normalizeAgentId(agent), `user:${escapeId(user)}`)
  return key.length > maxLength ? invalid("too_long") : Result.succeed(key)
}

const head = "agent:"
/** Where `agent:` begins: only a tenant stands before it, and no tenant's name holds a colon. */
const startOf = (key: SessionKey): number => (key.startsWith(head) ? 0 : key.indexOf(`/${head}`) + 1)

/** Whose session it is. */
export const tenantOf = (key: SessionKey): Tenant => {
  const start = startOf(key)
  if (start === 0) return local
  const [org = "", project = ""] = key.slice(0, start - 1).split("/")
  return { org, project }
}

/** The session that this tenant's people call `key`. */
export const within = (tenant: Tenant, key: SessionKey): SessionKey =>
  isLocal(tenant) ? key : (`${tenant.org}/${tenant.project}/${key}` as SessionKey)

/** What its tenant's own people call it. */
export const nameOf = (key: SessionKey): SessionKey => key.slice(startOf(key)) as SessionKey

/** The agent that answers in a session. */
export const agentOf = (key: SessionKey): string => {
  const from = startOf(key) + head.length
  return key.slice(from, key.indexOf(":", from))
}

/** Where what is stored of a session belongs. */
export const placeOf = (
  key: SessionKey
): { readonly tenant: Tenant; readonly agent: string; readonly session: SessionKey } => ({
  tenant: tenantOf(key),
  agent: agentOf(key),
  session: key
})

const restStart = (key: SessionKey): number => key.indexOf(":", startOf(key) + head.length) + 1

/** What follows `agent:<agent>:`. */
export const restOf = (key: SessionKey): string => key.slice(restStart(key))

const reservedHeads = new Set(["cron", "hook", "subagent", "boot"])
const peerKinds = new Set(["dm", "direct", "group", "channel", "room", "slash"])

/**
 * True for a key that only an admin may name: the gateway's own sessions (cron, hook, subagent, boot, incognito)
 * and the peers of channels other than `ownChannel`.
 */
export const isReserved = (key: SessionKey, ownChannel?: string): boolean => {
  const parts = restOf(key).split(":")
  const first = parts[0] ?? ""
  if (parts.some((part) => part.startsWith("incognito-"))) return true
  if (parts.length < 2) return false
  if (reservedHeads.has(first)) return true
  if (peerKinds.has(first)) return true
  const isPeer = parts.length > 2 && (peerKinds.has(parts[1] ?? "") || peerKinds.has(parts[2] ?? ""))
  return isPeer && first !== ownChannel
}

/**
 * The key of a fork of this session that nobody named: behind its original's, so that it belongs to the same agent and is as reserved.
 * `id` is fresh, and begins with `fork_`.
 */
export const forkKey = (key: SessionKey, id: string): SessionKey =>
  `${key.replace(/:fork_[^:]*$/, "")}:${id}` as SessionKey

/** Whose budget a session's runs count against: people's, helpers of an agent, or what runs without a person (schedules, hooks). */
export type BudgetClass = "main" | "subagent" | "cron"

export const budgetClassOf = (key: SessionKey): BudgetClass => {
  const rest = restStart(key)
  if (key.startsWith("subagent:", rest)) return "subagent"
  return key.startsWith("cron:", rest) || key.startsWith("hook:", rest) ? "cron" : "main"
}

/** Who writes, as a channel knows them, and how finely direct messages are told apart. */
export interface Peer {
  readonly agentId: string
  readonly channel: string
  readonly accountId?: string | null | undefined
  readonly peerKind?: "dm" | "group" | "channel" | "room" | null | undefined
  readonly peerId?: string | null | undefined
  /** By default all direct messages share the agent's main session. */
  readonly dmScope?: "main" | "per-peer" | "per-channel-peer" | "per-account-channel-peer" | undefined
  /** A person's name to their ids (`channel:id`, or `id` on any channel), so that their sessions are one. */
  readonly identityLinks?: Readonly<Record<string, ReadonlyArray<string>>> | undefined
  readonly mainKey?: string | null | undefined
}

/**
 * The session of a peer. Ids are lower-cased: a case-sensitive network passes them through `escapeId` first. Ids are taken as they
 * are; a channel whose ids may hold anything checks the key with `canonical`.
 */
export const peerKey = (peer: Peer): SessionKey => {
  const agent = normalizeAgentId(peer.agentId)
  const channel = peer.channel.trim().toLowerCase() || "unknown"
  const id = (peer.peerId ?? "").trim().toLowerCase()
  const kind = peer.peerKind ?? "dm"
  if (kind !== "dm") return keyOf(agent, `${channel}:${kind}:${id || "unknown"}`)
  const scope = peer.dmScope ?? "main"
  if (scope === "main" || id === "") return keyOf(agent, mainKeyOf(peer.mainKey))
  const person = linkedName(peer.identityLinks, channel, id) ?? id
  switch (scope) {
    case "per-peer":
      return keyOf(agent, `dm:${person}`)
    case "per-channel-peer":
      return keyOf(agent, `${channel}:dm:${person}`)
    case "per-account-channel-peer":
      return keyOf(agent, `${channel}:${slug(peer.accountId, "default")}:dm:${person}`)
  }
}

const mainKeyOf = (key: string | null | undefined) => (key ?? "").trim().toLowerCase() || "main"

const linkedName = (links: Peer["identityLinks"], channel: string, id: string): string | undefined => {
  for (const [name, ids] of Object.entries(links ?? {})) {
    const person = name.trim().toLowerCase()
    if (person === "") continue
    const known = new Set(ids.map((one) => one.trim().toLowerCase()))
    if (known.has(id) || known.has(`${channel}:${id}`)) return person
  }
  return undefined
}

/** The session of a thread: its own, behind its base's key; or the base itself without `useSuffix`. */
export const threadKeys = (thread: {
  readonly baseSessionKey: string
  readonly threadId?: string | null | undefined
  readonly parentSessionKey?: string | undefined
  readonly useSuffix?: boolean | undefined
}): { readonly sessionKey: SessionKey; readonly parentSessionKey?: string } => {
  const base = thread.baseSessionKey as SessionKey
  const id = (thread.threadId ?? "").trim().toLowerCase()
  if (id === "") return { sessionKey: base }
  return {
    sessionKey: thread.useSuffix === false ? base : (`${base}:thread:${id}` as SessionKey),
    ...(thread.parentSessionKey === undefined ? {} : { parentSessionKey: thread.parentSessionKey })
  }
}

/** The key a request's key is stored under: a key that names its agent stays, all else belongs to `agentId`. */
export const toStoreKey = (request: {
  readonly agentId: string
  readonly requestKey?: string | null | undefined
  readonly mainKey?: string | null | undefined
}): SessionKey => {
  const key = (request.requestKey ?? "").trim().toLowerCase()
  if (key.startsWith("agent:")) return key as SessionKey
  return keyOf(
    normalizeAgentId(request.agentId),
    key === "" || key === "main" ? mainKeyOf(request.mainKey) : key
  )
}

/** The agent a key names, canonical or not; `main` when it names none. */
export const agentIdFromKey = (key: string | null | undefined): string => {
  const parts = (key ?? "")
    .trim()
    .split(":")
    .filter((part) => part !== "")
  return parts.length >= 3 && parts[0] === "agent" ? normalizeAgentId(parts[1]) : defaultAgentId
}
