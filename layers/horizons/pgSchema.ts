/**
 * Brings a Postgres schema to the version of this program.
 *
 * Owns: what Postgres calls the types and how its texts sort, and that two starting nodes do not migrate at once.
 * Does not own: the tables (`sqlSchema`).
 */
import * as Effect from "effect/Effect"
import { bucketCount } from "#src/domain/Bucket.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import type { PgFailure } from "#layers/platform/PgClient.ts"
import { tables as writerTables } from "#layers/platform/PgWriter.ts"
import { known, type Migration, MigrationFailed, missing, SchemaTooNew, table } from "./sqlSchema.ts"

/** Texts sort by their bytes, as on SQLite, whatever the locale of the database is. */
export const ofPostgres = (statement: string): string =>
  statement
    .replaceAll(/\bINTEGER\b/g, "BIGINT")
    .replaceAll(/\bTEXT\b/g, `TEXT COLLATE "C"`)
    .replaceAll("WITHOUT ROWID", "")

const key = (table: string, ...columns: ReadonlyArray<string>) => [
  `ALTER TABLE ${table} DROP CONSTRAINT ${table}_pkey`,
  `ALTER TABLE ${table} ADD PRIMARY KEY (${columns.join(", ")})`
]
const index = (name: string, definition: string) => [
  `DROP INDEX ${name}`,
  `CREATE ${definition.startsWith("UNIQUE ") ? "UNIQUE INDEX" : "INDEX"} ${name} ON ${definition.replace("UNIQUE ", "")}`
]

/**
 * What Postgres needs of a migration beside its statements.
 *
 * A table of which it has no statistics yet, or none of a new tenant, it takes for one where org and project alone leave a row. Then every
 * index that begins with them costs it the same, and it may take the one that is wrong: which reads all that the tenant has. So what
 * rows are looked up by stands first, and the tenant stands first only where its rows are wanted in an order.
 */
const ofPostgresAlone: Readonly<Record<string, ReadonlyArray<string>>> = {
  keys: [
    ...key("sessions", "session", "org", "project"),
    ...index("sessions_latest", "sessions (ephemeral, org, project, updated_at DESC, session)"),
    ...key("messages", "id", "org", "project"),
    ...index(
      "messages_identity",
      "UNIQUE messages (external_id, conversation, channel, account, thread, revision, org, project)"
    ),
    ...key("entries", "session", "org", "project", "seq"),
    ...index("entries_order", "entries (session, org, project, ord) WHERE ord IS NOT NULL"),
    ...index("entries_run", "entries (run_id, org, project, seq) WHERE run_id IS NOT NULL"),
    ...key("runs", "id", "org", "project"),
    ...index("runs_session", "runs (session, org, project)"),
    ...key("outbox", "id", "org", "project"),
    ...index("outbox_run", "outbox (run_id, org, project, seq, part)"),
    ...key("approvals", "id", "org", "project"),
    ...index("approvals_run", "approvals (run_id, org, project, id)"),
    ...index("approvals_session", "approvals (session, org, project)"),
    ...key("spending", "session", "org", "project", "day", "sender", "model", "agent"),
    ...index("spending_sender", "spending (sender, org, project, day)"),
    ...key("shares", "session", "org", "project", "last_seq"),
    ...index("shares_owner", "shares (owner, org, project, session)"),
    ...key("journal", "session", "org", "project", "seq"),
    ...index("journal_old", "journal (at, org, project, session, seq)"),
    ...key("audit", "id", "org", "project")
  ]
}

const bookkeeping = `CREATE TABLE IF NOT EXISTS ${table} (
  migration_id BIGINT PRIMARY KEY, name TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL DEFAULT now())`

/**
 * Who has which bucket, and which nodes are there: placement, which says nothing of what people wrote, so no tenant has a part in it.
 * `node` is NULL while nobody has the bucket; `seen_at` is the server's time.
 */
const placementTables = [
  `CREATE TABLE IF NOT EXISTS nodes (
    id TEXT COLLATE "C" PRIMARY KEY, seen_at TIMESTAMPTZ NOT NULL,
    leaving BOOLEAN NOT NULL DEFAULT false)`,
  `CREATE TABLE IF NOT EXISTS buckets (bucket BIGINT PRIMARY KEY, epoch BIGINT NOT NULL, node TEXT COLLATE "C")`,
  `INSERT INTO buckets (bucket, epoch) SELECT bucket, 0 FROM generate_series(0, ${bucketCount - 1}) AS bucket
    ON CONFLICT DO NOTHING`
]
const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`

/** The newest migration that ran in this schema; 0 for a fresh one. */
export const versionOf = Effect.fnUntraced(function* (link: PgLink.Session) {
  const { rows: tables } = yield* link.query(`SELECT to_regclass($1) IS NOT NULL AS found`, [table])
  if (tables[0]?.["found"] !== true) return 0
  const { rows } = yield* link.query(`SELECT coalesce(max(migration_id), 0) AS id FROM ${table}`)
  return Number(rows[0]?.["id"] ?? 0)
})

/** A schema of an earlier version has none. */
export const hasPlacement = Effect.fnUntraced(function* (link: PgLink.Session) {
  const { rows } = yield* link.query(`SELECT to_regclass('buckets') IS NOT NULL AS found`)
  return rows[0]?.["found"] === true
})

/** What a start would do here: nothing is changed. Refuses a schema that a newer version made. */
export const plan = Effect.fnUntraced(function* (link: PgLink.Session) {
  const found = yield* versionOf(link)
  if (found > known) return yield* new SchemaTooNew({ found, known })
  return missing(found)
})

const inTransaction = Effect.fnUntraced(function* (link: PgLink.Session, schema: string) {
  yield* link.query("BEGIN")
  yield* link.query("SET LOCAL statement_timeout = 0")
  yield* link.query("SET LOCAL lock_timeout = 0")
  // Whoever comes second waits here, and then finds nothing left to do.
  yield* link.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [`opencraw migrate ${schema}`])
  const { rows } = yield* link.query(`SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS found`, [schema])
  if (rows[0]?.["found"] !== true) yield* link.query(`CREATE SCHEMA ${quoted(schema)}`)
  const todo = yield* plan(link)
  for (const statement of todo.length > 0 ? [bookkeeping, ...writerTables] : []) yield* link.query(statement)
  for (const statement of (yield* hasPlacement(link)) ? [] : placementTables) yield* link.query(statement)
  for (const { id, name, statements } of todo) {
    for (const statement of statements) yield* link.query(ofPostgres(statement))
    for (const statement of ofPostgresAlone[name] ?? []) yield* link.query(statement)
    yield* link.query(`INSERT INTO ${table} (migration_id, name) VALUES ($1, $2)`, [id, name])
  }
  yield* link.query("COMMIT")
  return todo.map(({ id, name }): Migration => ({ id, name }))
})

const failed = (cause: PgFailure) => Effect.fail(new MigrationFailed({ detail: cause.message, cause }))

/** Bring the schema to this version, all or nothing, or refuse it. Gives what was done. */
export const migrate = (
  options: PgLink.Options
): Effect.Effect<ReadonlyArray<Migration>, SchemaTooNew | MigrationFailed> =>
  Effect.scoped(
    Effect.flatMap(PgLink.make(options), (link) =>
      Effect.flatMap(link.open, (session) => inTransaction(session, options.schema)).pipe(
        Effect.onError(() => link.close)
      )
    )
  ).pipe(Effect.catchTags({ PgFailure: failed }))
