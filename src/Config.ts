/**
 * The one configuration: every room's settings joined, and what must hold between them.
 *
 * Owns: the config Schema, the shorthand `[general]`, the built-in providers, what the environment overrides, and
 * the cross-checks. All of it is pure: text and variables in, settings or the list of problems out.
 * Does not own: files and the environment (`layers/platform/Settings.ts`).
 */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { AgentSettingsSchema, type AgentSettings } from "#src/agent/AgentSettings.ts"
import { ContextSettingsSchema } from "#src/context/ContextSettings.ts"
import { normalizeAgentId } from "#src/domain/SessionKey.ts"
import { GatewaySettingsSchema } from "#src/gateway/GatewaySettings.ts"
import { PostgresSettingsSchema } from "#src/horizons/PostgresSettings.ts"
import { ProjectDbSettingsSchema } from "#src/horizons/ProjectDbSettings.ts"
import { isKey, keysIn, SecretsSettingsSchema } from "#src/horizons/SecretsSettings.ts"
import { NodesSettingsSchema } from "#src/placement/NodesSettings.ts"
import { ApprovalSettingsSchema } from "#src/approval/ApprovalSettings.ts"
import { InboundSettingsSchema, QueueSettingsSchema, StallSettingsSchema } from "#src/lane/QueueSettings.ts"
import { withoutAliases } from "#src/model/modelRef.ts"
import { type ModelsSettings, ModelsSettingsSchema } from "#src/model/ModelSettings.ts"
import { builtIn, otherVariables, split, unusable, withBuiltIn } from "#src/model/Models.ts"
import { StreamSettingsSchema } from "#src/outbound/StreamSettings.ts"
import { ProviderSettingsSchema, type ProviderSettings } from "#src/model/ProviderSettings.ts"
import { RetentionSettingsSchema } from "#src/session/RetentionSettings.ts"
import { UsageSettingsSchema } from "#src/model/UsageSettings.ts"
import { decodeStrict } from "#src/setting/decodeStrict.ts"
import { format, nearest, pathOf, type Problem, tableKeysOf } from "#src/setting/Problem.ts"
import { RuntimeSettingsSchema } from "#src/setting/RuntimeSettings.ts"
import { withDefault } from "#src/setting/schema.ts"
import { substitute, type MissingVariable } from "#src/setting/substitute.ts"

/** What may stand in a configuration file. */
export const ConfigSchema = Schema.Struct({
  runtime: withDefault(RuntimeSettingsSchema, {}, "Which composition runs, and where its data is"),
  postgres: withDefault(PostgresSettingsSchema, {}, "Where prod keeps everything durable"),
  secrets: withDefault(SecretsSettingsSchema, {}, "What stored credentials are encrypted with"),
  project_db: withDefault(
    ProjectDbSettingsSchema,
    {},
    "A database for each project, which its agents and its people use by SQL"
  ),
  nodes: withDefault(NodesSettingsSchema, {}, "Several gateways on one database, which share its sessions"),
  general: withDefault(
    AgentSettingsSchema,
    {},
    "Shorthand of agents.main; a key may stand in one of the two"
  ),
  agents: withDefault(
    Schema.Record(Schema.String, AgentSettingsSchema),
    {},
    "The personas people talk to, by name"
  ),
  providers: withDefault(
    Schema.Record(Schema.String, ProviderSettingsSchema),
    {},
    "Who answers for name/... models; openai, anthropic, google, openrouter, groq, ollama, vllm, llamacpp and demo exist without a section"
  ),
  models: withDefault(
    ModelsSettingsSchema,
    {},
    "What models are called, which may be used, what they can do, and how their failures are met"
  ),
  gateway: withDefault(GatewaySettingsSchema, {}, "The one port and who may use it"),
  queue: withDefault(QueueSettingsSchema, {}, "How a lane takes messages, and how many runs go at once"),
  inbound: withDefault(
    InboundSettingsSchema,
    {},
    "How messages that one person sends in parts are taken as one; commands never wait"
  ),
  stall: withDefault(StallSettingsSchema, {}, "When a run counts as too slow, and when it is begun again"),
  approval: withDefault(
    ApprovalSettingsSchema,
    {},
    "How a person is asked before a tool is used (see ask_before of an agent)"
  ),
  retention: withDefault(RetentionSettingsSchema, {}, "How long what was said is kept"),
  context: withDefault(ContextSettingsSchema, {}, "How much of a session's past a model call is given"),
  stream: withDefault(
    StreamSettingsSchema,
    {},
    "How chat channels show an answer that is being written; WebChat and the API always stream"
  ),
  usage: withDefault(UsageSettingsSchema, {}, "What model calls cost, and what replies say of it")
})

/** A whole configuration: `general` has become `agents.main`, every agent has a model, keys are resolved. */
export type Config = Omit<typeof ConfigSchema.Type, "general">

export type Environment = Readonly<Record<string, string | undefined>>

/** The configuration cannot be used. Lists everything that is wrong; no value is repeated. */
export class ConfigInvalid extends Schema.TaggedError<ConfigInvalid>()("ConfigInvalid", {
  file: Schema.optionalKey(Schema.String),
  problems: Schema.Array(
    Schema.Struct({
      path: Schema.String,
      problem: Schema.String,
      hint: Schema.optionalKey(Schema.String),
      /** Line in the file, from 1. */
      line: Schema.optionalKey(Schema.Int)
    })
  )
}) {
  override get message() {
    const where = this.file === undefined ? "" : ` ${this.file}`
    const lines = this.problems.map(
      (one) => `  ${format(one)}${one.line === undefined ? "" : ` [line ${one.line}]`}`
    )
    return [`the configuration${where} cannot be used:`, ...lines].join("\n")
  }
}

export interface Resolved {
  readonly config: Config
  /** What works but was probably not meant. */
  readonly warnings: ReadonlyArray<Problem>
}

/** Answers without any key: what dev uses when no model is configured. */
export const demoModel = "demo/demo"

/** Variables that override the file, and what they set. */
export const variables = {
  OPENCRAW_DATA_DIR: "runtime.data_dir",
  OPENCRAW_PORT: "gateway.port",
  OPENCRAW_GATEWAY_TOKEN: "gateway.token",
  OPENCRAW_POSTGRES_URL: "postgres.url",
  OPENCRAW_SECRETS_KEY: "secrets.key",
  OPENCRAW_PROJECT_DB_URL: "project_db.url",
  OPENCRAW_MODEL: "general.model",
  OPENCRAW_RECORD: "runtime.record"
} as const

const decodeConfig = decodeStrict(ConfigSchema)

type Table = Readonly<Record<string, unknown>>
const asTable = (value: unknown): Table => (isTable(value) ? value : {})
const tableAt = (parent: Table, key: string): Table =>
  asTable(Object.hasOwn(parent, key) ? parent[key] : undefined)
const isTable = (value: unknown): value is Table =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * What was written (a parsed file; `{}` for none) and the environment, as a configuration. Fails with every problem at once.
 */
export const resolve = (
  written: unknown,
  env: Environment = {}
): Result.Result<Resolved, ReadonlyArray<Problem>> => {
  if (!isTable(written)) return Result.fail([{ path: "", problem: "must be a table" }])
  const substituted = substitute(written, env)
  const unset = Result.isSuccess(substituted) ? [] : substituted.failure.map(unsetVariable)
  const raw = overridden(Result.isSuccess(substituted) ? asTable(substituted.success) : written, env)
  const whole = withKinds(raw, env)
  const first = decodeConfig(whole)
  const wrong = Result.isSuccess(first) ? [] : first.failure
  const decoded = Result.isSuccess(first) ? first : decodeConfig(without(whole, wrong))
  // What is left of a wrong file is checked too, so that one start tells everything.
  const checked = Result.isSuccess(decoded) ? check(decoded.success, raw, env) : undefined
  const problems = [...unset, ...wrong, ...saidTwice(raw), ...(checked?.problems ?? [])]
  if (problems.length > 0 || checked === undefined) {
    const silent = new Set(unset.map(({ path }) => path))
    const told = problems.filter((one) => unset.includes(one) || !silent.has(one.path))
    return Result.fail(told.map(namingVariable(env)))
  }
  return Result.succeed({ config: checked.config, warnings: checked.warnings })
}

const unsetVariable = ({ path, variable }: MissingVariable): Problem => ({
  path,
  problem: `the environment variable ${variable} is not set`
})

const check = ({ general, ...rest }: Decoded, raw: Table, env: Environment) => {
  const written = tableAt(raw, "general")
  const shorthand = Object.fromEntries(Object.entries(general).filter(([key]) => Object.hasOwn(written, key)))
  const { aliases } = rest.models
  const named = { ...rest.agents, main: { ...(rest.agents["main"] ?? general), ...shorthand } }
  const agents: Agents = mapEntries(named, (_, agent) => withoutAliases(agent, aliases))
  const providers = mapEntries(withBuiltIn(rest.providers), (_, provider) => withKey(provider, env))
  return {
    config: {
      ...rest,
      providers,
      agents: mapEntries(agents, (_, agent) => ({ ...agent, model: agent.model ?? demoModel }))
    },
    problems: [
      ...prodProblems(rest, agents),
      ...secretsProblems(rest),
      ...projectDbProblems(rest, agents),
      ...agentProblems(agents),
      ...modelProblems(providers, modelsIn(agents, rest.models, raw), raw),
      ...keyProblems(rest.providers, agents, env),
      ...profileProblems(rest.providers, env),
      ...ruleProblems(rest.models)
    ],
    warnings: [...modelWarnings(agents), ...unusedInDev(rest)]
  }
}

// The table without the values that the problems name, so that the rest can still be read.
const without = (table: Table, problems: ReadonlyArray<Problem>): Table =>
  problems.reduce((left, { path, problem }) => {
    const keys = tableKeysOf(path)
    return remove(left, problem === "is missing" ? keys.slice(0, -1) : keys)
  }, table)

const remove = (table: Table, [key = "", ...deeper]: ReadonlyArray<string>): Table => {
  const child = table[key]
  if (deeper.length > 0 && isTable(child)) return { ...table, [key]: remove(child, deeper) }
  return Object.fromEntries(Object.entries(table).filter(([name]) => name !== key))
}

const mapEntries = <A, B>(record: Readonly<Record<string, A>>, f: (key: string, value: A) => B) =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(key, value)]))

const variable = (env: Environment, name: string): string | undefined => {
  const value = Object.hasOwn(env, name) ? env[name] : undefined
  return value === undefined || value === "" ? undefined : value
}

// The file with what the environment overrides. `OPENCRAW_MODEL` wins over both spellings of the main agent's model.
const overridden = (raw: Table, env: Environment): Table => {
  let result = raw
  const put = (section: string, key: string, value: unknown) => {
    const current = result[section]
    if (current !== undefined && !isTable(current)) return
    result = { ...result, [section]: { ...current, [key]: value } }
  }
  const dataDir = variable(env, "OPENCRAW_DATA_DIR")
  const port = variable(env, "OPENCRAW_PORT")
  const token = variable(env, "OPENCRAW_GATEWAY_TOKEN")
  const postgres = variable(env, "OPENCRAW_POSTGRES_URL")
  const secretsKey = variable(env, "OPENCRAW_SECRETS_KEY")
  const projectDb = variable(env, "OPENCRAW_PROJECT_DB_URL")
  const model = variable(env, "OPENCRAW_MODEL")
  const record = variable(env, "OPENCRAW_RECORD")
  if (dataDir !== undefined) put("runtime", "data_dir", dataDir)
  if (record !== undefined) put("runtime", "record", record)
  if (port !== undefined) put("gateway", "port", /^\d+$/.test(port) ? Number(port) : port)
  if (token !== undefined) put("gateway", "token", token)
  if (postgres !== undefined) put("postgres", "url", postgres)
  if (secretsKey !== undefined) put("secrets", "key", secretsKey)
  if (projectDb !== undefined) put("project_db", "url", projectDb)
  if (model !== undefined) {
    if (isTable(tableAt(result, "agents")["main"])) {
      const { model: _, ...main } = tableAt(tableAt(result, "agents"), "main")
      put("agents", "main", main)
    }
    put("general", "model", model)
  }
  return result
}

// A section for a built-in name need not say its kind.
const withKinds = (raw: Table, env: Environment): Table => {
  if (raw["providers"] !== undefined && !isTable(raw["providers"])) return raw
  const ollama = variable(env, "OLLAMA_HOST")
  const host = ollama === undefined ? {} : { ollama: { base_url: ollamaUrl(ollama) } }
  const sections = mapEntries({ ...host, ...tableAt(raw, "providers") }, (name, own) => {
    if (!isTable(own) || !Object.hasOwn(builtIn, name)) return own
    const standard = { kind: tableAt(builtIn, name)["kind"] }
    return { ...standard, ...(name === "ollama" ? host.ollama : {}), ...own }
  })
  return { ...raw, providers: sections }
}

const ollamaUrl = (host: string): string => {
  const url = (host.includes("://") ? host : `http://${host}`).replace(/\/+$/, "")
  const withPort = /:\d+$/.test(url) ? url : `${url}:11434`
  return `${withPort.replace("://0.0.0.0:", "://127.0.0.1:")}/v1`
}

const namingVariable =
  (env: Environment) =>
  (problem: Problem): Problem => {
    const name = Object.entries(variables).find(
      ([name, path]) => path === problem.path && variable(env, name) !== undefined
    )?.[0]
    if (name === undefined) return problem
    return { ...problem, hint: `${problem.hint === undefined ? "" : `${problem.hint}; `}set by ${name}` }
  }

const saidTwice = (raw: Table): ReadonlyArray<Problem> => {
  const main = tableAt(tableAt(raw, "agents"), "main")
  return Object.keys(tableAt(raw, "general"))
    .filter((key) => Object.hasOwn(main, key))
    .map((key) => ({
      path: `general.${key}`,
      problem: `is also set as agents.main.${key}`,
      hint: "keep one of the two"
    }))
}

type Decoded = typeof ConfigSchema.Type
type ProviderMap = Readonly<Record<string, ProviderSettings>>
type Agents = Readonly<Record<string, AgentSettings>>

const prodProblems = ({ runtime, gateway, postgres }: Config, agents: Agents): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  if (runtime.mode === "dev") return problems
  if (postgres.url === undefined) {
    problems.push({
      path: "postgres.url",
      problem: "prod needs a database",
      hint: "or set OPENCRAW_POSTGRES_URL"
    })
  } else if (!isPostgres(postgres.url)) {
    problems.push({ path: "postgres.url", problem: "must begin with postgres://" })
  }
  if (gateway.token === undefined) {
    problems.push({
      path: "gateway.token",
      problem: "prod needs a token",
      hint: "or set OPENCRAW_GATEWAY_TOKEN"
    })
  }
  for (const [name, { model, fallbacks = [] }] of Object.entries(agents)) {
    const path = pathOf(name === "main" ? ["general", "model"] : ["agents", name, "model"])
    if (model === undefined) problems.push({ path, problem: "prod needs a model" })
    else if ([model, ...fallbacks].some((each) => each.startsWith("demo/")))
      problems.push({ path, problem: "prod does not answer with the demo" })
  }
  return problems
}

/** Whose keys are kept in the store, and where that is written. */
const storedIn = (providers: ProviderMap): ReadonlyArray<string> =>
  Object.entries(providers).flatMap(([name, { api_key_stored, profiles = {} }]) => [
    ...(api_key_stored === undefined ? [] : [pathOf(["providers", name, "api_key_stored"])]),
    ...Object.entries(profiles).flatMap(([profile, own]) =>
      own.api_key_stored === undefined
        ? []
        : [pathOf(["providers", name, "profiles", profile, "api_key_stored"])]
    )
  ])

const isPostgres = (url: Redacted.Redacted): boolean => /^postgres(ql)?:\/\/./.test(Redacted.value(url))

const projectDbProblems = (
  { runtime, project_db, secrets }: Config,
  agents: Agents
): ReadonlyArray<Problem> => {
  if (runtime.mode === "dev") return []
  if (project_db.url === undefined) {
    return Object.entries(agents).flatMap(([name, { tools }]) =>
      tools.some((tool) => tool.startsWith("database."))
        ? [
            {
              path: pathOf(name === "main" ? ["general", "tools"] : ["agents", name, "tools"]),
              problem: "the database tools need a server for the projects' databases",
              hint: "set project_db.url, or OPENCRAW_PROJECT_DB_URL"
            }
          ]
        : []
    )
  }
  return [
    ...(isPostgres(project_db.url)
      ? []
      : [{ path: "project_db.url", problem: "must begin with postgres://" }]),
    ...(secrets.key === undefined && secrets.key_command === undefined
      ? [
          {
            path: "secrets.key",
            problem: "project_db.url needs a key: the passwords of its users are made from it",
            hint: "or set OPENCRAW_SECRETS_KEY; openssl rand -base64 32 makes one"
          }
        ]
      : [])
  ]
}

const secretsProblems = ({ runtime, secrets, providers }: Config): ReadonlyArray<Problem> => {
  if (secrets.key_command !== undefined) {
    return secrets.key === undefined
      ? []
      : [
          {
            path: "secrets.key_command",
            problem: "there is a secrets.key already",
            hint: "keep one of the two (OPENCRAW_SECRETS_KEY sets secrets.key)"
          }
        ]
  }
  if (secrets.key !== undefined) {
    return keysIn(Redacted.value(secrets.key)).every(isKey)
      ? []
      : [
          {
            path: "secrets.key",
            problem: "must be a key of 32 bytes in base64 or hex, older ones behind it with commas between",
            hint: "openssl rand -base64 32 makes one"
          }
        ]
  }
  const [first] = runtime.mode === "prod" ? storedIn(providers) : []
  return first === undefined
    ? []
    : [
        {
          path: "secrets.key",
          problem: `prod needs a key to read the credential that ${first} names`,
          hint: "or set OPENCRAW_SECRETS_KEY; openssl rand -base64 32 makes one"
        }
      ]
}

// Where the model of an agent was written, for a message that points there.
const modelPath = (name: string, raw: Table) =>
  name === "main" && Object.hasOwn(tableAt(raw, "general"), "model")
    ? "general.model"
    : pathOf(["agents", name, "model"])

const agentProblems = (agents: Agents): ReadonlyArray<Problem> =>
  Object.keys(agents)
    .filter((name) => normalizeAgentId(name) !== name)
    .map((name) => ({
      path: pathOf(["agents", name]),
      problem: "an agent's name is of lower-case letters, digits, _ and -",
      hint: `${normalizeAgentId(name)} would be one`
    }))

/** A model that the configuration names, and where. */
interface NamedModel {
  readonly path: string
  readonly model: string
}

const modelsIn = (agents: Agents, { aliases }: ModelsSettings, raw: Table): ReadonlyArray<NamedModel> => [
  ...Object.entries(agents).flatMap(([name, { model = demoModel, fallbacks = [] }]) => {
    const path = modelPath(name, raw)
    const beside = path.replace(/model$/, "fallbacks")
    return [
      { path, model },
      ...fallbacks.map((each, index) => ({ path: `${beside}[${index}]`, model: each }))
    ]
  }),
  ...Object.entries(aliases).map(([alias, model]) => ({ path: pathOf(["models", "aliases", alias]), model }))
]

/** An agent's models by what they are, not by what they are called. */
const modelProblems = (
  providers: ProviderMap,
  models: ReadonlyArray<NamedModel>,
  raw: Table
): ReadonlyArray<Problem> =>
  models.flatMap(({ path, model }) =>
    unusable(providers, [model]).flatMap(({ problem, provider, detail }): ReadonlyArray<Problem> => {
      const section = ["providers", provider]
      switch (problem) {
        case "malformed":
          return [{ path, problem: "must read provider/model" }]
        case "unknown_provider": {
          // A section that is wrong in itself has been told about.
          if (Object.hasOwn(tableAt(raw, "providers"), provider)) return []
          const meant = nearest(provider, Object.keys(providers))
          const hint = meant === undefined ? `add ${pathOf(section)}` : `did you mean ${meant}?`
          return [{ path, problem: `no provider named ${provider} is built in or configured`, hint }]
        }
        case "no_folder":
          return [{ path: pathOf([...section, "folder"]), problem: "is missing" }]
        case "no_address":
          return [{ path: pathOf([...section, "base_url"]), problem: "is missing" }]
        case "bad_address":
          return [{ path: pathOf([...section, "base_url"]), problem: "must be an http or https address" }]
        case "no_key":
          return [{ path: pathOf([...section, "api_key"]), problem: "is missing", hint: `or set ${detail}` }]
      }
    })
  )

/** A key may be given in one way. */
const saidTwiceOf = ({
  api_key,
  api_key_env,
  api_key_stored
}: Pick<ProviderSettings, "api_key" | "api_key_env" | "api_key_stored">): Problem | undefined => {
  const [first, second] = Object.entries({ api_key, api_key_env, api_key_stored }).flatMap(([key, value]) =>
    value === undefined ? [] : [key]
  )
  return first === undefined || second === undefined
    ? undefined
    : { path: first, problem: `${second} is set as well`, hint: "keep one of the two" }
}

const keyProblems = (providers: ProviderMap, agents: Agents, env: Environment): ReadonlyArray<Problem> => {
  const used = new Set(
    Object.values(agents).flatMap(({ model = demoModel, fallbacks = [] }) =>
      [model, ...fallbacks].map((each) => split(each)?.provider)
    )
  )
  return Object.entries(providers).flatMap(([name, own]) => {
    const twice = saidTwiceOf(own)
    if (twice !== undefined) return [{ ...twice, path: pathOf(["providers", name, twice.path]) }]
    const { api_key_env } = own
    if (api_key_env === undefined) return []
    if (!used.has(name) || variable(env, api_key_env) !== undefined) return []
    // A key itself, written here by mistake, must not be shown.
    const shown = /^[A-Z_][A-Z0-9_]*$/.test(api_key_env) ? api_key_env : "it names"
    const path = pathOf(["providers", name, "api_key_env"])
    return [{ path, problem: `the environment variable ${shown} is not set` }]
  })
}

/** What would never match anything. */
const ruleProblems = ({ allow, known }: ModelsSettings): ReadonlyArray<Problem> =>
  [
    ...allow.map((model, index) => ({ path: `models.allow[${index}]`, model })),
    ...Object.keys(known).map((model) => ({ path: pathOf(["models", "known", model]), model }))
  ].flatMap(({ path, model }) =>
    split(model) === undefined ? [{ path, problem: "must read provider/model" }] : []
  )

/** A profile that cannot be used would only be noticed when the others have failed. */
const profileProblems = (providers: ProviderMap, env: Environment): ReadonlyArray<Problem> =>
  Object.entries(providers).flatMap(([name, { profiles = {}, profile_order = [] }]) => [
    ...Object.entries(profiles).flatMap(([profile, own]): ReadonlyArray<Problem> => {
      const { api_key, api_key_env, api_key_stored } = own
      const path = pathOf(["providers", name, "profiles", profile])
      if (/[@*]/.test(profile) || profile === "") {
        return [{ path, problem: "a profile's name has no @ and no *" }]
      }
      const twice = saidTwiceOf(own)
      if (twice !== undefined) return [{ ...twice, path: `${path}.${twice.path}` }]
      if (api_key === undefined && api_key_env === undefined && api_key_stored === undefined) {
        return [
          { path: `${path}.api_key`, problem: "is missing", hint: "or set api_key_env or api_key_stored" }
        ]
      }
      return api_key_env === undefined || variable(env, api_key_env) !== undefined
        ? []
        : [{ path: `${path}.api_key_env`, problem: "the environment variable it names is not set" }]
    }),
    ...profile_order.flatMap((profile, index) =>
      Object.hasOwn(profiles, profile)
        ? []
        : [
            {
              path: `${pathOf(["providers", name, "profile_order"])}[${index}]`,
              problem: "is no profile of it"
            }
          ]
    )
  ])

const keyOf = (
  { api_key, api_key_env }: Pick<ProviderSettings, "api_key" | "api_key_env">,
  env: Environment
): Pick<ProviderSettings, "api_key"> => {
  if (api_key !== undefined || api_key_env === undefined) return {}
  const other = otherVariables[api_key_env]
  const key = variable(env, api_key_env) ?? (other === undefined ? undefined : variable(env, other))
  return key === undefined ? {} : { api_key: Redacted.make(key, { label: "api_key" }) }
}

const withKey = (provider: ProviderSettings, env: Environment): ProviderSettings => ({
  ...provider,
  ...keyOf(provider, env),
  ...(provider.profiles === undefined
    ? {}
    : {
        profiles: mapEntries(provider.profiles, (_, profile) => ({ ...profile, ...keyOf(profile, env) }))
      })
})

/** A database that somebody named is not left aside in silence. */
const unusedInDev = ({ runtime, postgres, project_db, nodes }: Config): ReadonlyArray<Problem> => {
  if (runtime.mode !== "dev") return []
  const unused = { problem: "is not used in dev", hint: 'set runtime.mode = "prod"' }
  return [
    ...(postgres.url === undefined ? [] : [{ path: "postgres.url", ...unused }]),
    ...(project_db.url === undefined ? [] : [{ path: "project_db.url", ...unused }]),
    ...(nodes.enabled ? [{ path: "nodes.enabled", ...unused }] : [])
  ]
}

const modelWarnings = (agents: Agents): ReadonlyArray<Problem> =>
  Object.entries(agents)
    .filter(([, agent]) => agent.model === undefined)
    .map(([name]) => ({
      path: pathOf(name === "main" ? ["general", "model"] : ["agents", name, "model"]),
      problem: "no model is configured, so the built-in demo answers",
      hint: `set model = "provider/model" under [${name === "main" ? "general" : `agents.${name}`}]`
    }))
