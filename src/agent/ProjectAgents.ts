/**
 * The agents of each project: those of the configuration, and before them its own.
 *
 * Owns: what a project's own agent may say, and when it is read: at the start, after each change here, and every minute for what another
 * gateway changed. So a message costs no query.
 * Does not own: what is stored (`CentralDb`), nor the configuration's agents (`AgentSettings`).
 *
 * An agent of its own has all settings but `workspace`, which is a folder of the machine and the operator's to give. Without a `model` it
 * has that of the configuration's `main`.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { Audit } from "#src/access/Audit.ts"
import { normalizeAgentId } from "#src/domain/SessionKey.ts"
import { show, type Tenant } from "#src/domain/Tenant.ts"
import { type AgentRow, CentralDb, type CentralError } from "#src/horizons/CentralDb.ts"
import { withoutAliases } from "#src/model/modelRef.ts"
import { unusable } from "#src/model/Models.ts"
import { ModelRules } from "#src/model/ModelSettings.ts"
import { Providers } from "#src/model/ProviderSettings.ts"
import { decodeStrict } from "#src/setting/decodeStrict.ts"
import { format, nearest, type Problem } from "#src/setting/Problem.ts"
import { Tools } from "#src/tool/Tools.ts"
import { Agents, type AgentSettings, AgentSettingsSchema } from "./AgentSettings.ts"

const { workspace: _, ...fields } = AgentSettingsSchema.fields
export const ProjectAgentSchema = Schema.Struct(fields)
type ProjectAgent = typeof ProjectAgentSchema.Type
const decode = decodeStrict(ProjectAgentSchema)

/** What was asked for is no agent. Nothing was changed. */
export class AgentRefused extends Schema.TaggedError<AgentRefused>()("AgentRefused", {
  problems: Schema.Array(
    Schema.Struct({
      path: Schema.String,
      problem: Schema.String,
      hint: Schema.optionalKey(Schema.String)
    })
  )
}) {
  override get message() {
    return this.problems.map(format).join("; ")
  }
}

export type AgentTable = Readonly<Record<string, AgentSettings>>

export class ProjectAgents extends Context.Service<
  ProjectAgents,
  {
    /** By name, as they are now. */
    readonly of: (tenant: Tenant) => AgentTable
    /** The project's own, as they were given. */
    readonly list: CentralDb["Service"]["agents"]
    /** Refused with `AgentRefused`, `AgentChanged` or `NoSuchProject`. Gives its new revision; it counts from the next run on. */
    readonly set: (
      tenant: Tenant,
      agent: { readonly name: string; readonly settings: unknown; readonly revision: number | undefined },
      actor: string
    ) => Effect.Effect<number, AgentRefused | CentralError>
    /** The configuration's agent of this name is there again, if it has one. Refused with `NoSuchAgent`. */
    readonly remove: (tenant: Tenant, name: string, actor: string) => Effect.Effect<void, CentralError>
  }
>()("opencraw/agent/ProjectAgents") {}

const every = "1 minute"
const pageSize = 500

export const make = Effect.gen(function* () {
  const db = yield* CentralDb
  const audit = yield* Audit
  const configured = yield* Agents
  const rules = yield* ModelRules
  const providers = yield* Providers
  const tools = yield* Tools
  let stored: ReadonlyMap<string, Readonly<Record<string, ProjectAgent>>> = new Map()
  /** What `of` gave last, as long as neither side of it has changed. */
  let joined = { of: configured.get(), stored, tables: new Map<string, AgentTable>() }

  const of = (tenant: Tenant): AgentTable => {
    const base = configured.get()
    if (stored.size === 0) return base
    const name = show(tenant)
    const own = stored.get(name)
    if (own === undefined) return base
    if (joined.of !== base || joined.stored !== stored) joined = { of: base, stored, tables: new Map() }
    const known = joined.tables.get(name)
    if (known !== undefined) return known
    const model = base["main"]?.model
    const table: Record<string, AgentSettings> = { ...base }
    for (const [agent, settings] of Object.entries(own)) {
      table[agent] = model === undefined ? settings : { model, ...settings }
    }
    joined.tables.set(name, table)
    return table
  }

  const readable = ({ tenant, name, settings }: AgentRow): ProjectAgent | undefined => {
    const found = Result.flatMap(parseJson(settings), decode)
    if (Result.isSuccess(found)) return withoutAliases(found.success, rules.get().aliases)
    unreadable.add(`${show(tenant)} ${name}: ${found.failure.map(format).join("; ")}`)
    return undefined
  }
  const unreadable = new Set<string>()

  const read = Effect.gen(function* () {
    const found = new Map<string, Record<string, ProjectAgent>>()
    let after: AgentRow | undefined
    while (true) {
      const page: ReadonlyArray<AgentRow> = yield* db.allAgents({
        limit: pageSize,
        ...(after === undefined ? {} : { after })
      })
      for (const row of page) {
        const settings = readable(row)
        const project = show(row.tenant)
        if (settings !== undefined) found.set(project, { ...found.get(project), [row.name]: settings })
      }
      after = page.at(-1)
      if (after === undefined || page.length < pageSize) break
    }
    stored = found
    for (const problem of unreadable)
      yield* Effect.logWarning("an agent of a project cannot be used", problem)
    unreadable.clear()
  })
  const refresh = Effect.catch(read, ({ message }) =>
    Effect.logWarning("the agents of projects could not be read", message)
  )
  yield* refresh
  yield* Effect.forkScoped(Effect.repeat(Effect.delay(refresh, every), Schedule.forever))

  const problemsOf = (name: string, settings: ProjectAgent, given: object): ReadonlyArray<Problem> => {
    const known = tools.all().map(({ spec }) => spec.name)
    const { model, fallbacks = [] } = withoutAliases(settings, rules.get().aliases)
    return [
      ...(name === normalizeAgentId(name)
        ? []
        : [{ path: "name", problem: "must have 1 to 64 of a to z, 0 to 9, _ and -" }]),
      // What is offered where nothing is said may need what this gateway has not.
      ...(["tools", "ask_before"] as const).flatMap((key) =>
        (Object.hasOwn(given, key) ? settings[key] : []).flatMap((tool, at) => {
          if (known.includes(tool)) return []
          const meant = nearest(tool, known)
          const problem = { path: `${key}[${at}]`, problem: "there is no such tool" }
          return [meant === undefined ? problem : { ...problem, hint: `did you mean ${meant}?` }]
        })
      ),
      ...[...(model === undefined ? [] : [{ path: "model", model }]), ...named(fallbacks)].flatMap((one) =>
        unusable(providers.get(), [one.model]).map(({ problem }) => ({
          path: one.path,
          problem:
            problem === "malformed"
              ? "must read provider/model"
              : problem === "unknown_provider"
                ? "names a provider that is not there"
                : "names a provider that is not set up"
        }))
      )
    ]
  }

  const set = Effect.fn("ProjectAgents.set")(function* (
    tenant: Tenant,
    { name, settings, revision }: { name: string; settings: unknown; revision: number | undefined },
    actor: string
  ) {
    const decoded = decode(settings)
    const problems = Result.isFailure(decoded)
      ? decoded.failure
      : problemsOf(name, decoded.success, Object(settings))
    if (problems.length > 0) return yield* new AgentRefused({ problems: [...problems] })
    const at = yield* Clock.currentTimeMillis
    const event = yield* audit.eventOf({ tenant, actor, action: "agent.set", subject: name })
    const agent = { tenant, name, settings: JSON.stringify(settings), at }
    const made = yield* db.putAgent(revision === undefined ? agent : { ...agent, revision }, event)
    yield* refresh
    return made
  })

  const remove = Effect.fn("ProjectAgents.remove")(function* (tenant: Tenant, name: string, actor: string) {
    const event = yield* audit.eventOf({ tenant, actor, action: "agent.deleted", subject: name })
    yield* db.deleteAgent({ tenant, name }, event)
    yield* refresh
  })

  return ProjectAgents.of({ of, list: db.agents, set, remove })
})

const named = (fallbacks: ReadonlyArray<string>) =>
  fallbacks.map((model, at) => ({ path: `fallbacks[${at}]`, model }))

const parseJson = (text: string): Result.Result<unknown, ReadonlyArray<Problem>> =>
  Result.try({ try: (): unknown => JSON.parse(text), catch: () => [{ path: "", problem: "is no JSON" }] })

export const layer = Layer.effect(ProjectAgents, make)
