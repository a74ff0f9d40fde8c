/**
 * Is this database fit to be the store: everything that is wrong with it, at once, each with what to do.
 *
 * Owns: what a start and `doctor` ask of a Postgres before anything is written to it.
 * Does not own: the tables (`pgSchema`), connections (`layers/platform`).
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { CheckResult } from "#src/check/Checks.ts"
import type { PostgresSettings } from "#src/horizons/PostgresSettings.ts"
import type { ProjectDbSettings } from "#src/horizons/ProjectDbSettings.ts"
import type { PgFailure } from "#layers/platform/PgClient.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import { spareSeconds } from "./pgProjectSession.ts"
import { hasPlacement, versionOf } from "./pgSchema.ts"
import { known, SchemaTooNew, table } from "./sqlSchema.ts"

/** The database cannot be the store. Lists everything that is wrong; no secret is repeated. */
export class StoreUnfit extends Schema.TaggedError<StoreUnfit>()("StoreUnfit", {
  database: Schema.String,
  faults: Schema.Array(Schema.String)
}) {
  override get message() {
    return [
      `the database ${this.database} cannot be used:`,
      ...this.faults.map((fault) => `  ${fault}`)
    ].join("\n")
  }
}

/** Nobody answers there now: nothing else could be asked. It may be different in a moment. */
export class StoreUnreachable extends Schema.TaggedError<StoreUnreachable>()("StoreUnreachable", {
  database: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `the database ${this.database} cannot be reached (${this.detail}): is the server running, and is its URL right?`
  }
}

export const placeOf = ({ url, schema }: PostgresSettings): PgLink.Options => ({
  url: url ?? Redacted.make(""),
  schema
})

/** Where it is, without user and password. */
export const nameOf = ({ url }: PgLink.Options): string => {
  const parsed = URL.parse(Redacted.value(url))
  return parsed === null ? "of postgres.url" : `${parsed.host}${parsed.pathname}`
}

const oldest = { number: 140_000, name: "14" }

const inWords = ({ code, detail }: PgFailure): string => {
  switch (code) {
    case "28P01":
    case "28000":
      return `it refuses the user or the password of postgres.url (${detail})`
    case "3D000":
      return `it does not exist (${detail}): create it, or correct postgres.url`
    case "53300":
      return `it takes no more connections (${detail}): raise max_connections`
    default:
      return `it cannot be examined (${detail})`
  }
}

/** No server, or one that is starting or stopping. */
const isAway = ({ kind, code }: PgFailure): boolean =>
  kind === "unreachable" && (code === undefined || /^(57P0|08)/.test(code))

const facts = `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_name,
  pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS read_only,
  current_setting('server_encoding') AS encoding, current_user AS name,
  current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS durable,
  to_regnamespace(quote_ident($1)) IS NOT NULL AS has_schema,
  CASE WHEN to_regnamespace(quote_ident($1)) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
    ELSE has_schema_privilege($1, 'USAGE') END AS may_enter,
  CASE WHEN to_regnamespace(quote_ident($1)) IS NULL THEN true ELSE has_schema_privilege($1, 'CREATE') END AS may_create`
interface Facts {
  readonly version: number
  readonly version_name: string
  readonly read_only: boolean
  readonly encoding: string
  readonly name: string
  readonly durable: boolean
  readonly has_schema: boolean
  readonly may_enter: boolean
  readonly may_create: boolean
}

const closedTables = `SELECT relname AS name FROM pg_class
  WHERE relnamespace = to_regnamespace(quote_ident($1)) AND relkind = 'r'
    AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
      AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
  ORDER BY relname`

/** What is wrong with these, in words. */
const judgeFacts = (found: Facts, schema: string): ReadonlyArray<string> => [
  ...(found.version < oldest.number
    ? [`it is PostgreSQL ${found.version_name}: ${oldest.name} or newer is needed`]
    : []),
  ...(found.read_only ? ["it can only be read (a standby?): name the primary in postgres.url"] : []),
  ...(found.encoding === "UTF8" ? [] : [`its encoding is ${found.encoding}: create it with ENCODING 'UTF8'`]),
  ...(found.may_enter
    ? []
    : [
        found.has_schema
          ? `${found.name} may not use the schema ${schema}: GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${found.name}`
          : `there is no schema ${schema}, and ${found.name} may not create it: CREATE SCHEMA ${schema} AUTHORIZATION ${found.name}`
      ])
]

const sessionPid = `SELECT pg_backend_pid() AS pid`
const pooled =
  "a pooler in transaction mode stands before it: LISTEN and locks need one session; connect to the server itself, or set pool_mode = session"

/**
 * A pooler in transaction mode lends a server session for a transaction: while another client of ours holds one, a client meets
 * another session than before, or both meet the same.
 */
const isPooled = Effect.fnUntraced(function* (link: PgLink.Session, options: PgLink.Options) {
  const pidOf = Effect.fnUntraced(function* (of: PgLink.Session) {
    return (yield* of.query(sessionPid)).rows[0]?.["pid"]
  })
  const other = yield* Effect.flatMap(PgLink.make(options), ({ open }) => open)
  const before = yield* pidOf(link)
  yield* other.query("BEGIN")
  const held = yield* pidOf(other)
  const after = yield* pidOf(link)
  yield* other.query("ROLLBACK")
  return held === before || after !== before
})

const others = `SELECT id FROM nodes WHERE seen_at > clock_timestamp() - interval '10 seconds' ORDER BY id`

/** `isAlone`: the gateway means to have the database to itself. */
const examine = (options: PgLink.Options, isAlone: boolean) =>
  Effect.gen(function* () {
    const { schema } = options
    const link = yield* Effect.flatMap(PgLink.make(options), ({ open }) => open)
    const found = (yield* link.query(facts, [schema])).rows[0] as unknown as Facts
    const faults = [...judgeFacts(found, schema)]
    if (found.may_enter) {
      const closed = (yield* link.query(closedTables, [schema])).rows.map(({ name }) => String(name))
      const version = closed.includes(table) ? known : yield* versionOf(link)
      const isShared = !closed.includes("nodes") && (yield* hasPlacement(link))
      const nodes = isAlone && isShared ? (yield* link.query(others)).rows.map(({ id }) => String(id)) : []
      if (nodes.length > 0)
        faults.push(`nodes share it (${nodes.join(", ")}): set nodes.enabled = true here too, or stop them`)
      if (version > known) faults.push(new SchemaTooNew({ found: version, known }).message)
      else if ((version < known || !isShared) && !found.may_create && !closed.includes(table))
        faults.push(`${found.name} may not migrate it: GRANT CREATE ON SCHEMA ${schema} TO ${found.name}`)
      if (closed.length > 0)
        faults.push(
          `${found.name} may not read and write ${closed.join(", ")}: make it their owner, or grant it`
        )
    }
    if (yield* isPooled(link, options)) faults.push(pooled)
    const warnings = found.durable
      ? []
      : ["fsync or full_page_writes is off: a crash of its machine loses what was acknowledged"]
    return { faults, warnings }
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      PgFailure: (failure) =>
        isAway(failure)
          ? Effect.fail(new StoreUnreachable({ database: nameOf(options), detail: failure.detail }))
          : Effect.succeed({ faults: [inWords(failure)], warnings: [] })
    })
  )

/** To the microsecond: no two servers have the same. */
const startedAt = "SELECT extract(epoch FROM pg_postmaster_start_time())::text"
const sharing =
  "it is the server of postgres.url: what projects use up there (room for locks, the disk), the gateway waits for too"

/** $1: what the names of its databases begin with; $2: seconds. */
const makerFacts = `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_name,
  pg_is_in_recovery() AS read_only, rolname AS name, (${startedAt}) AS started_at, rolsuper OR (rolcreatedb AND rolcreaterole) AS may_make,
  rolsuper OR rolinherit AS may_end, (SELECT array_agg(pid)::text FROM pg_stat_activity WHERE starts_with(usename, $1) AND state = 'active'
    AND query_start < now() - make_interval(secs => $2::float8)) AS deaf,
  (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template0') AS encoding
  FROM pg_roles WHERE rolname = current_user`
interface MakerFacts {
  readonly version: number
  readonly version_name: string
  readonly read_only: boolean
  readonly name: string
  readonly may_make: boolean
  readonly may_end: boolean
  /** As \`{1,2}\`: processes of the server that are still at what should have been ended. */
  readonly deaf: string | null
  readonly encoding: string
  readonly started_at: string
}

const projectsOptions = ({ url }: ProjectDbSettings): PgLink.Options => ({
  url: url ?? Redacted.make(""),
  schema: "public"
})

const startOf = (options: PgLink.Options) =>
  Effect.scoped(
    Effect.gen(function* () {
      const link = yield* Effect.flatMap(PgLink.make(options), ({ open }) => open)
      return (yield* link.query(`SELECT (${startedAt}) AS started_at`)).rows[0]?.["started_at"]
    })
  )

const deafness = (pids: string) =>
  `statements of projects do not hear their end, and go on until the server is restarted: its processes ${pids.slice(1, -1)}`

/** What is wrong with the server that shall keep the projects' databases. `main` is where the store is. */
const examineProjects = (settings: ProjectDbSettings, main: PgLink.Options) => {
  const options = projectsOptions(settings)
  return Effect.gen(function* () {
    const link = yield* Effect.flatMap(PgLink.make(options), ({ open }) => open)
    const ofProjects = [`${settings.prefix}_`, settings.timeout_s + spareSeconds]
    const found = (yield* link.query(makerFacts, ofProjects)).rows[0] as unknown as MakerFacts
    // What is wrong with that one is told by its own check.
    const store = yield* Effect.orElseSucceed(startOf(main), () => undefined)
    const faults = [
      ...(found.version < oldest.number
        ? [`it is PostgreSQL ${found.version_name}: ${oldest.name} or newer is needed`]
        : []),
      ...(found.read_only ? ["it can only be read (a standby?): name the primary in project_db.url"] : []),
      ...(found.may_make
        ? []
        : [
            `${found.name} may not make databases and users for projects: ALTER ROLE ${found.name} CREATEDB CREATEROLE`
          ]),
      ...(found.may_end
        ? []
        : [`${found.name} may not end what projects run: ALTER ROLE ${found.name} INHERIT`]),
      ...(found.encoding === "UTF8"
        ? []
        : [`new databases have the encoding ${found.encoding}: it needs UTF8 in template0`]),
      ...((yield* isPooled(link, options)) ? [pooled] : [])
    ]
    const warnings = [
      ...(found.started_at === store ? [sharing] : []),
      ...(found.deaf === null ? [] : [deafness(found.deaf)])
    ]
    return { faults, warnings }
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      PgFailure: (failure) =>
        isAway(failure)
          ? Effect.fail(new StoreUnreachable({ database: nameOf(options), detail: failure.detail }))
          : Effect.succeed({ faults: [inWords(failure)], warnings: [] })
    })
  )
}

/**
 * Fails with everything that is wrong, of the server of the projects' databases too. `isAlone`: for a gateway that is not one of
 * several nodes.
 */
export const mustBeFit = (
  options: PgLink.Options,
  isAlone = true,
  projects?: ProjectDbSettings
): Effect.Effect<void, StoreUnfit | StoreUnreachable> =>
  Effect.gen(function* () {
    const { faults, warnings } = yield* examine(options, isAlone)
    const others =
      projects?.url === undefined ? { faults: [], warnings: [] } : yield* examineProjects(projects, options)
    const all = [...faults, ...others.faults.map((fault) => `project_db.url: ${fault}`)]
    if (all.length > 0) return yield* new StoreUnfit({ database: nameOf(options), faults: all })
    for (const warning of warnings) yield* Effect.logWarning(`the database: ${warning}`)
    for (const warning of others.warnings) yield* Effect.logWarning(`project_db.url: ${warning}`)
  })

/** The same for `doctor`. */
export const judge = (options: PgLink.Options): Effect.Effect<CheckResult> =>
  examine(options, false).pipe(
    Effect.map(({ faults, warnings }): CheckResult => {
      if (faults.length > 0)
        return { status: "failed", message: new StoreUnfit({ database: nameOf(options), faults }).message }
      return warnings.length > 0
        ? { status: "warning", message: warnings.join("\n") }
        : { status: "ok", message: nameOf(options) }
    }),
    Effect.catchTags({
      StoreUnreachable: ({ message }) => Effect.succeed<CheckResult>({ status: "failed", message })
    })
  )

/** The server of the projects' databases, for `doctor`. */
export const judgeProjects = (
  settings: ProjectDbSettings,
  main: PgLink.Options
): Effect.Effect<CheckResult> =>
  examineProjects(settings, main).pipe(
    Effect.map(({ faults, warnings }): CheckResult => {
      if (faults.length > 0) return { status: "failed", message: faults.join("\n") }
      return warnings.length > 0
        ? { status: "warning", message: warnings.join("\n") }
        : { status: "ok", message: nameOf(projectsOptions(settings)) }
    }),
    Effect.catchTags({
      StoreUnreachable: ({ message }) => Effect.succeed<CheckResult>({ status: "failed", message })
    })
  )
