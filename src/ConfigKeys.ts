/**
 * Every key that a configuration may set, as people are told of it: by `opencraw config keys` and docs/configuration.md.
 *
 * Made of the Schemas, so that it is never stale.
 */
import * as Result from "effect/Result"
import * as SchemaAST from "effect/SchemaAST"
import { AgentSettingsSchema } from "#src/agent/AgentSettings.ts"
import { ContextSettingsSchema } from "#src/context/ContextSettings.ts"
import { GatewaySettingsSchema } from "#src/gateway/GatewaySettings.ts"
import { NodesSettingsSchema } from "#src/placement/NodesSettings.ts"
import { PostgresSettingsSchema } from "#src/horizons/PostgresSettings.ts"
import { ProjectDbSettingsSchema } from "#src/horizons/ProjectDbSettings.ts"
import { SecretsSettingsSchema } from "#src/horizons/SecretsSettings.ts"
import { ApprovalSettingsSchema } from "#src/approval/ApprovalSettings.ts"
import { InboundSettingsSchema, QueueSettingsSchema, StallSettingsSchema } from "#src/lane/QueueSettings.ts"
import { StreamSettingsSchema } from "#src/outbound/StreamSettings.ts"
import { UsageSettingsSchema } from "#src/model/UsageSettings.ts"
import { ModelsSettingsSchema } from "#src/model/ModelSettings.ts"
import { ProviderSettingsSchema } from "#src/model/ProviderSettings.ts"
import { RetentionSettingsSchema } from "#src/session/RetentionSettings.ts"
import { RuntimeSettingsSchema } from "#src/setting/RuntimeSettings.ts"
import { ConfigSchema, resolve } from "./Config.ts"

type Section = keyof typeof ConfigSchema.fields

interface Table {
  readonly title: string
  readonly ast: SchemaAST.AST
  readonly defaults: object
}

export interface ConfigKey {
  readonly key: string
  /** In words: `whole number, at least 1`. Literals stand in backticks. */
  readonly type: string
  /** As JSON; undefined without one. */
  readonly default: string | undefined
  readonly isRequired: boolean
  readonly about: string
}

export interface ConfigSection {
  readonly name: Section
  /** `[agents.NAME]`. */
  readonly title: string
  readonly about: string
  readonly keys: ReadonlyArray<ConfigKey>
}

const { config } = Result.getOrThrow(resolve({}))
const agent: Table = {
  title: "[agents.NAME]",
  ast: AgentSettingsSchema.ast,
  defaults: { ...config.agents["main"], model: undefined }
}

// Every section of the Schema must stand here, or this does not compile.
const tables: Readonly<Record<Section, Table>> = {
  runtime: { title: "[runtime]", ast: RuntimeSettingsSchema.ast, defaults: config.runtime },
  postgres: { title: "[postgres]", ast: PostgresSettingsSchema.ast, defaults: config.postgres },
  secrets: { title: "[secrets]", ast: SecretsSettingsSchema.ast, defaults: config.secrets },
  project_db: { title: "[project_db]", ast: ProjectDbSettingsSchema.ast, defaults: config.project_db },
  nodes: { title: "[nodes]", ast: NodesSettingsSchema.ast, defaults: config.nodes },
  general: { ...agent, title: "[general]" },
  agents: agent,
  providers: {
    title: "[providers.NAME]",
    ast: ProviderSettingsSchema.ast,
    defaults: { ...config.providers["demo"], kind: undefined }
  },
  models: { title: "[models]", ast: ModelsSettingsSchema.ast, defaults: config.models },
  gateway: { title: "[gateway]", ast: GatewaySettingsSchema.ast, defaults: config.gateway },
  queue: { title: "[queue]", ast: QueueSettingsSchema.ast, defaults: config.queue },
  stall: { title: "[stall]", ast: StallSettingsSchema.ast, defaults: config.stall },
  approval: { title: "[approval]", ast: ApprovalSettingsSchema.ast, defaults: config.approval },
  inbound: { title: "[inbound]", ast: InboundSettingsSchema.ast, defaults: config.inbound },
  retention: { title: "[retention]", ast: RetentionSettingsSchema.ast, defaults: config.retention },
  context: { title: "[context]", ast: ContextSettingsSchema.ast, defaults: config.context },
  stream: { title: "[stream]", ast: StreamSettingsSchema.ast, defaults: config.stream },
  usage: { title: "[usage]", ast: UsageSettingsSchema.ast, defaults: config.usage }
}

const typeOf = (ast: SchemaAST.AST): string => {
  switch (ast._tag) {
    case "Literal":
      return `\`${String(ast.literal)}\``
    case "Union":
      return ast.types.map(typeOf).join(", ")
    case "Arrays":
      return `list of ${ast.rest.map(typeOf).join(", ")}`
    case "Objects":
      return ast.propertySignatures.length > 0
        ? "tables"
        : `table of ${ast.indexSignatures.map(({ type }) => typeOf(type)).join(", ")}`
    case "Declaration":
      return "secret text"
    case "String":
      return "text"
    case "Number":
      return numberOf(ast)
    default:
      return ast._tag.toLowerCase()
  }
}

const numberOf = (ast: SchemaAST.Number): string => {
  const limits = (ast.checks ?? []).map((check) => check.annotations?.["expected"])
  const range = limits
    .filter((one) => typeof one === "string" && one !== "an integer")
    .map((one) =>
      String(one)
        .replace(/^a value /, "")
        .replace("greater than or equal to", "at least")
    )
  return [limits.includes("an integer") ? "whole number" : "number", ...range].join(", ")
}

const keysOf = ({ ast, defaults }: Table): ReadonlyArray<ConfigKey> => {
  if (ast._tag !== "Objects") throw new Error("a section is a table")
  return ast.propertySignatures.map(({ name, type }) => {
    const value: unknown = Reflect.get(defaults, name)
    const about = SchemaAST.resolveDescription(type)
    if (about === undefined) throw new Error(`${String(name)} has no description`)
    return {
      key: String(name),
      type: typeOf(type),
      default: value === undefined ? undefined : JSON.stringify(value),
      isRequired: value === undefined && !SchemaAST.isOptional(type),
      about
    }
  })
}

/** All sections in the order of the Schema. The keys of `general` are those of `agents`. */
export const sections = (): ReadonlyArray<ConfigSection> =>
  (Object.keys(tables) as ReadonlyArray<Section>).map((name) => ({
    name,
    title: tables[name].title,
    about: SchemaAST.resolveDescription(ConfigSchema.fields[name].ast) ?? "",
    keys: keysOf(tables[name])
  }))
