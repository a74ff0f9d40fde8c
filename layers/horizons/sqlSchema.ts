/**
 * The tables of the log, of who may use the gateway and of what was done, and the migrations that make them, for every database. Forward only: a migration that was released stays as it is.
 *
 * Written as SQLite reads it; `pgSchema` says what Postgres calls the same.
 * org and project are columns of every table, and composite keys start with them (on Postgres with what tells rows apart); agent and
 * session are columns of every table of the log. Texts of people and models are JSON. Rows that a recovery looks for are found by partial indexes, which stay small however long the log is.
 */
import * as Schema from "effect/Schema"

/** The database was written by a newer version of the program. */
export class SchemaTooNew extends Schema.TaggedError<SchemaTooNew>()("SchemaTooNew", {
  found: Schema.Finite,
  known: Schema.Finite
}) {
  override get message() {
    return `the log has schema ${this.found}, this version knows ${this.known}: start the newer version, or restore a backup`
  }
}
/** A migration did not run; the database is as it was. */
export class MigrationFailed extends Schema.TaggedError<MigrationFailed>()("MigrationFailed", {
  detail: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `the log could not be migrated: ${this.detail}`
  }
}

const first = [
  `CREATE TABLE sessions (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    ephemeral INTEGER NOT NULL,
    seq INTEGER NOT NULL, ord INTEGER NOT NULL, open INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, project, session)
  ) WITHOUT ROWID`,
  `CREATE INDEX sessions_latest ON sessions (org, project, ephemeral, updated_at DESC, session)`,
  `CREATE INDEX sessions_open ON sessions (org, project, session) WHERE open > 0`,

  `CREATE TABLE messages (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    id TEXT NOT NULL, seq INTEGER NOT NULL,
    channel TEXT NOT NULL, account TEXT NOT NULL, conversation TEXT NOT NULL, thread TEXT NOT NULL,
    external_id TEXT NOT NULL, revision INTEGER NOT NULL,
    sender TEXT NOT NULL, access TEXT NOT NULL, ephemeral INTEGER NOT NULL,
    body TEXT NOT NULL, body_hash TEXT NOT NULL, accepted_at INTEGER NOT NULL,
    run_id TEXT, outcome TEXT, outcome_by TEXT, ended_at INTEGER,
    PRIMARY KEY (org, project, id)
  )`,
  `CREATE UNIQUE INDEX messages_identity
    ON messages (org, project, channel, account, conversation, thread, external_id, revision)`,
  `CREATE INDEX messages_open ON messages (org, project, session, seq) WHERE outcome IS NULL`,

  `CREATE TABLE entries (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    seq INTEGER NOT NULL, ord INTEGER, id TEXT NOT NULL, message_id TEXT, client_id TEXT, run_id TEXT,
    entry TEXT NOT NULL, usage TEXT, answers TEXT, at INTEGER NOT NULL,
    PRIMARY KEY (org, project, session, seq)
  )`,
  `CREATE INDEX entries_order ON entries (org, project, session, ord) WHERE ord IS NOT NULL`,
  `CREATE INDEX entries_run ON entries (org, project, run_id, seq) WHERE run_id IS NOT NULL`,

  `CREATE TABLE runs (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    id TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, stalled INTEGER NOT NULL,
    message_ids TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER,
    usage TEXT NOT NULL, failure TEXT,
    PRIMARY KEY (org, project, id)
  )`,
  `CREATE INDEX runs_session ON runs (org, project, session)`,

  `CREATE TABLE outbox (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    id TEXT NOT NULL, run_id TEXT NOT NULL, seq INTEGER NOT NULL, part INTEGER NOT NULL,
    channel TEXT NOT NULL, account TEXT NOT NULL, conversation TEXT NOT NULL, thread TEXT NOT NULL,
    text TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL, sent_at INTEGER, receipt TEXT, detail TEXT,
    PRIMARY KEY (org, project, id)
  )`,
  `CREATE INDEX outbox_run ON outbox (org, project, run_id, seq, part)`,
  `CREATE INDEX outbox_waiting ON outbox (org, project, created_at, session, seq, part)
    WHERE state IN ('pending', 'sending')`,
  `CREATE INDEX outbox_waiting_session ON outbox (org, project, session, created_at, seq, part)
    WHERE state IN ('pending', 'sending')`,
  `CREATE INDEX outbox_waiting_channel ON outbox (org, project, channel, created_at, session, seq, part)
    WHERE state IN ('pending', 'sending')`,

  `CREATE TABLE cursors (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    channel TEXT NOT NULL, account TEXT NOT NULL, position TEXT NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, project, channel, account)
  ) WITHOUT ROWID`
]

/** JSON, like every text of people; NULL until somebody named the session. */
const titles = [`ALTER TABLE sessions ADD COLUMN title TEXT`]

/** How many dropped messages the next run is still to be told of, and which they are. */
const overflow = [
  `ALTER TABLE sessions ADD COLUMN overflow INTEGER NOT NULL DEFAULT 0`,
  `CREATE INDEX messages_dropped ON messages (org, project, session, seq) WHERE outcome = 'dropped' AND run_id IS NULL`
]

/** JSON of the settings that a session keeps for its queue; NULL for none. */
const queues = [
  `ALTER TABLE sessions ADD COLUMN queue TEXT`,
  `CREATE INDEX sessions_queue ON sessions (org, project, session) WHERE queue IS NOT NULL`
]

/**
 * Calls that wait for a person, and what was decided; `told`: 1 when an attempt of the run was told it, 2 when the call has its
 * result. `parks` of a run counts them, so that most runs never ask for any.
 */
const approvals = [
  `ALTER TABLE runs ADD COLUMN parks INTEGER NOT NULL DEFAULT 0`,
  `CREATE TABLE approvals (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    id TEXT NOT NULL, run_id TEXT NOT NULL, call_id TEXT NOT NULL, tool TEXT NOT NULL, arguments TEXT NOT NULL,
    state TEXT NOT NULL, told INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    decided_by TEXT, decided_at INTEGER,
    PRIMARY KEY (org, project, id)
  )`,
  `CREATE INDEX approvals_run ON approvals (org, project, run_id, id)`,
  `CREATE INDEX approvals_session ON approvals (org, project, session)`,
  `CREATE INDEX approvals_pending ON approvals (org, project, created_at, id) WHERE state = 'pending'`,
  `CREATE INDEX approvals_pending_session ON approvals (org, project, session, created_at, id) WHERE state = 'pending'`
]

/** JSON of the words that a session keeps, by name; NULL for none. */
const settings = [
  `ALTER TABLE sessions ADD COLUMN settings TEXT`,
  `CREATE INDEX sessions_settings ON sessions (org, project, session) WHERE settings IS NOT NULL`
]

/** What a run has sent of the step under way (JSON), and the message that a delivery changes instead of sending one. */
const blocks = [`ALTER TABLE runs ADD COLUMN streamed TEXT`, `ALTER TABLE outbox ADD COLUMN edits TEXT`]

/** Usage summed as it is spent: a row for each day, session, sender and model, so that no sum reads entries. */
const spending = [
  `CREATE TABLE spending (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    sender TEXT NOT NULL, model TEXT NOT NULL, day INTEGER NOT NULL,
    calls INTEGER NOT NULL, estimated INTEGER NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    micros INTEGER NOT NULL, unpriced INTEGER NOT NULL,
    PRIMARY KEY (org, project, session, day, sender, model, agent)
  ) WITHOUT ROWID`,
  `CREATE INDEX spending_day ON spending (org, project, day)`,
  `CREATE INDEX spending_sender ON spending (org, project, sender, day)`
]

/**
 * What a fork shares: of each session that it shares entries of, the last of them in both orders. Those of `last_seq` and `last_ord`
 * and before, down to what the next older row has.
 */
const forks = [
  `ALTER TABLE sessions ADD COLUMN forked_from TEXT`,
  `ALTER TABLE sessions ADD COLUMN forked_seq INTEGER`,
  `CREATE TABLE shares (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    last_seq INTEGER NOT NULL, last_ord INTEGER NOT NULL, owner TEXT NOT NULL,
    PRIMARY KEY (org, project, session, last_seq)
  ) WITHOUT ROWID`,
  `CREATE INDEX shares_owner ON shares (org, project, owner, session)`
]

/** What lanes decided, a row for some of it; `records` is read by whoever wrote it. */
const journal = [
  `CREATE TABLE journal (
    org TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, session TEXT NOT NULL,
    seq INTEGER NOT NULL, records TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (org, project, session, seq)
  )`,
  `CREATE INDEX journal_old ON journal (org, project, at, session, seq)`
]

/** By when they were sent, so that the oldest are found. */
const sent = [`CREATE INDEX outbox_sent ON outbox (org, project, sent_at, id) WHERE state = 'sent'`]

/**
 * Who may use the gateway. A key is kept as a digest, a credential sealed with the key `key_id`. A key's id is found without its tenant,
 * which whoever shows a key does not say.
 */
const identity = [
  `CREATE TABLE api_keys (
    org TEXT NOT NULL, project TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
    acts_as TEXT NOT NULL, scopes TEXT NOT NULL, digest TEXT NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER, used_at INTEGER,
    PRIMARY KEY (org, project, id)
  ) WITHOUT ROWID`,
  `CREATE UNIQUE INDEX api_keys_id ON api_keys (id)`,
  `CREATE UNIQUE INDEX api_keys_name ON api_keys (org, project, name) WHERE revoked_at IS NULL`,
  `CREATE TABLE credentials (
    org TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL,
    key_id TEXT NOT NULL, sealed TEXT NOT NULL, revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, project, name)
  )`,
  `CREATE TABLE audit (
    org TEXT NOT NULL, project TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
    actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (org, project, id)
  )`,
  `CREATE INDEX audit_at ON audit (org, project, at, id)`,
  `CREATE INDEX audit_action ON audit (org, project, action, at, id)`,
  `CREATE INDEX audit_actor ON audit (org, project, actor, at, id)`
]

/** One-time codes that were used, until they would have ended anyway. No tenant has them: they are the installation's. */
const codes = [
  `CREATE TABLE used_codes (id TEXT NOT NULL, ends_at INTEGER NOT NULL, PRIMARY KEY (id)) WITHOUT ROWID`,
  `CREATE INDEX used_codes_end ON used_codes (ends_at)`
]

/**
 * Whose data there is, and whose keys. What is older than these tables is there with them, made at 0. A user is the organisation's; one who
 * has keys may do what these may.
 */
const tenants = [
  `CREATE TABLE orgs (org TEXT NOT NULL, name TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (org)) WITHOUT ROWID`,
  `CREATE TABLE projects (
    org TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (org, project)
  ) WITHOUT ROWID`,
  `CREATE TABLE users (
    org TEXT NOT NULL, id TEXT NOT NULL, role TEXT NOT NULL, email TEXT,
    created_at INTEGER NOT NULL, disabled_at INTEGER,
    PRIMARY KEY (org, id)
  ) WITHOUT ROWID`,
  `INSERT INTO projects (org, project, name, created_at)
    SELECT org, project, project, 0 FROM (
      SELECT 'local' AS org, 'default' AS project UNION SELECT org, project FROM sessions
      UNION SELECT org, project FROM api_keys UNION SELECT org, project FROM credentials
      UNION SELECT org, project FROM audit
    ) AS known`,
  `INSERT INTO orgs (org, name, created_at) SELECT DISTINCT org, org, 0 FROM projects`,
  `INSERT INTO users (org, id, role, created_at)
    SELECT org, acts_as, CASE MAX(may) WHEN 2 THEN 'admin' WHEN 1 THEN 'member' ELSE 'viewer' END, 0 FROM (
      SELECT org, acts_as, CASE WHEN scopes LIKE '%admin%' THEN 2 WHEN scopes LIKE '%chat%' THEN 1 ELSE 0 END AS may
      FROM api_keys
    ) AS keyed GROUP BY org, acts_as`
]

/** Agents that a project has beside those of the configuration; `settings` as somebody gave them. */
const agents = [
  `CREATE TABLE agents (
    org TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL,
    settings TEXT NOT NULL, revision INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (org, project, name)
  )`
]

/** In order; the number before the name is the schema's version after it. */
export const migrations: Readonly<Record<string, ReadonlyArray<string>>> = {
  "0001_log": first,
  "0002_titles": titles,
  "0003_overflow": overflow,
  "0004_queues": queues,
  "0005_approvals": approvals,
  "0006_settings": settings,
  "0007_blocks": blocks,
  "0008_spending": spending,
  "0009_forks": forks,
  "0010_journal": journal,
  "0011_sent": sent,
  "0012_identity": identity,
  "0013_codes": codes,
  "0014_tenants": tenants,
  "0015_agents": agents,
  // Of Postgres alone, see `pgSchema`: SQLite finds the right index by how many of its columns are compared.
  "0016_keys": []
}
/** The newest schema of this version. */
export const known = Object.keys(migrations).length
export const table = "log_migrations"

export interface Migration {
  readonly id: number
  readonly name: string
}
/** Those that a database of this version still lacks, in order. */
export const missing = (
  found: number
): ReadonlyArray<Migration & { readonly statements: ReadonlyArray<string> }> =>
  Object.entries(migrations)
    .map(([key, statements]) => ({ id: Number(key.slice(0, 4)), name: key.slice(5), statements }))
    .filter(({ id }) => id > found)
