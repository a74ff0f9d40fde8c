/**
 * The log's reads as SQL that SQLite and Postgres read alike, and its rows as the port's values.
 *
 * Each query is answered by an index, so its cost does not grow with the log (a test asks each database for its plans).
 */
import type { ApprovalState } from "#src/domain/Approval.ts"
import { approvalId, deliveryId, messageId, runId } from "#src/domain/Ids.ts"
import type { Access, Identity } from "#src/domain/Inbound.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import type {
  ApprovalRow,
  DeliveryRow,
  EntryRow,
  JournalRow,
  MessageLog,
  MessageRow,
  MessageTrace,
  Place,
  RunRow,
  SessionRow,
  UsageBy,
  UsageRow
} from "#src/horizons/MessageLog.ts"
import { all, type Body, get } from "#layers/platform/statements.ts"
import { storable } from "#layers/platform/storable.ts"
import { readEntry, wholeLimit } from "./stored.ts"

type Port = MessageLog["Service"]
type Query<Member extends keyof Port> = Port[Member] extends (query: infer Q) => unknown ? Q : never

interface Home {
  readonly org: string
  readonly project: string
  readonly agent: string
  readonly session: SessionKey
}
const placeOf = ({ org, project, agent, session }: Home): Place => ({
  tenant: { org, project },
  agent,
  session
})
const optional = <A>(value: A | null): A | undefined => value ?? undefined
const parsed = (json: string | null) => (json === null ? undefined : JSON.parse(json))

interface MessageColumns extends Home, Omit<Identity, "externalId"> {
  readonly id: string
  readonly seq: number
  readonly external_id: string
  readonly sender: string
  readonly access: Access
  readonly ephemeral: number
  readonly body: string
  readonly accepted_at: number
  readonly run_id: string | null
  readonly outcome: Outcome | null
  readonly outcome_by: string | null
  readonly ended_at: number | null
}
const messageRow = (row: MessageColumns): MessageRow => ({
  id: messageId(row.id),
  place: placeOf(row),
  seq: row.seq,
  identity: {
    channel: row.channel,
    account: row.account,
    conversation: row.conversation,
    thread: row.thread,
    externalId: row.external_id,
    revision: row.revision
  },
  sender: row.sender,
  access: row.access,
  ephemeral: row.ephemeral === 1,
  body: JSON.parse(row.body),
  acceptedAt: row.accepted_at,
  runId: row.run_id === null ? undefined : runId(row.run_id),
  outcome: optional(row.outcome),
  outcomeBy: optional(row.outcome_by),
  endedAt: optional(row.ended_at)
})

export interface EntryColumns {
  readonly id: string
  readonly seq: number
  readonly ord: number | null
  readonly message_id: string | null
  readonly client_id: string | null
  readonly run_id: string | null
  readonly entry: string
  readonly usage: string | null
  readonly answers: string | null
  readonly at: number
}
export const entryRow = (row: EntryColumns): EntryRow => ({
  id: row.id,
  seq: row.seq,
  order: optional(row.ord),
  messageId: row.message_id === null ? undefined : messageId(row.message_id),
  clientId: optional(row.client_id),
  runId: row.run_id === null ? undefined : runId(row.run_id),
  entry: readEntry(row.entry),
  usage: parsed(row.usage),
  at: row.at,
  answers: parsed(row.answers)
})
const entryColumns = "id, seq, ord, message_id, client_id, run_id, entry, usage, answers, at"

interface RunColumns {
  readonly id: string
  readonly state: RunRow["state"]
  readonly attempt: number
  readonly message_ids: string
  readonly started_at: number
  readonly ended_at: number | null
  readonly usage: string
  readonly failure: string | null
  readonly streamed: string | null
}
const runRow = (row: RunColumns): RunRow => ({
  id: runId(row.id),
  state: row.state,
  attempt: row.attempt,
  messageIds: JSON.parse(row.message_ids),
  startedAt: row.started_at,
  endedAt: optional(row.ended_at),
  usage: JSON.parse(row.usage),
  failure: parsed(row.failure),
  ...(row.streamed === null ? {} : { streamed: JSON.parse(row.streamed) })
})

interface DeliveryColumns extends Home {
  readonly id: string
  readonly run_id: string
  readonly seq: number
  readonly part: number
  readonly channel: string
  readonly account: string
  readonly conversation: string
  readonly thread: string
  readonly text: string
  readonly edits: string | null
  readonly state: DeliveryRow["state"]
  readonly attempts: number
  readonly created_at: number
  readonly sent_at: number | null
  readonly receipt: string | null
  readonly detail: string | null
}
const deliveryRow = (row: DeliveryColumns): DeliveryRow => ({
  id: deliveryId(row.id),
  place: placeOf(row),
  runId: runId(row.run_id),
  seq: row.seq,
  part: row.part,
  route: { channel: row.channel, account: row.account, conversation: row.conversation, thread: row.thread },
  text: JSON.parse(row.text),
  ...(row.edits === null ? {} : { edits: row.edits }),
  state: row.state,
  attempts: row.attempts,
  createdAt: row.created_at,
  sentAt: optional(row.sent_at),
  receipt: optional(row.receipt),
  detail: optional(row.detail)
})

const openAll = `SELECT * FROM messages WHERE org = ? AND project = ? AND outcome IS NULL ORDER BY session, seq LIMIT ?`
const openOfSession = `SELECT * FROM messages
  WHERE org = ? AND project = ? AND session = ? AND outcome IS NULL AND seq > ? ORDER BY seq LIMIT ?`
export function* open({
  tenant,
  session,
  afterSeq = 0,
  limit
}: Query<"open">): Body<ReadonlyArray<MessageRow>> {
  const [sql, from] =
    session === undefined
      ? [openAll, [tenant.org, tenant.project]]
      : [openOfSession, [tenant.org, tenant.project, session, afterSeq]]
  return (yield* all<MessageColumns>(sql, [...from, wholeLimit(limit)])).map(messageRow)
}

const tenantsWith = {
  open: "sessions WHERE open > 0",
  undelivered: "outbox WHERE state IN ('pending', 'sending')",
  settings: "sessions WHERE settings IS NOT NULL",
  queues: "sessions WHERE queue IS NOT NULL"
} as const
/** One step from tenant to tenant, each a lookup in an index: how many rows a tenant has does not matter. */
export function* tenants({ having }: Query<"tenants">): Body<ReadonlyArray<Tenant>> {
  const next = `SELECT org, project FROM ${tenantsWith[having]} AND (org, project) > (?, ?) ORDER BY org, project LIMIT 1`
  const found: Array<Tenant> = []
  while (true) {
    const { org, project } = found.at(-1) ?? { org: "", project: "" }
    const [tenant] = yield* all<Tenant>(next, [org, project])
    if (tenant === undefined) return found
    found.push(tenant)
  }
}

const sessionsWithOpen = `SELECT org, project, agent, session FROM sessions
  WHERE org = ? AND project = ? AND open > 0 AND session > ? ORDER BY session LIMIT ?`
export function* openSessions({
  tenant,
  after = "" as SessionKey,
  limit
}: Query<"openSessions">): Body<ReadonlyArray<Place>> {
  const params = [tenant.org, tenant.project, after, wholeLimit(limit)]
  return (yield* all<Home>(sessionsWithOpen, params)).map(placeOf)
}

const newest = `SELECT ${entryColumns} FROM entries
  WHERE org = ? AND project = ? AND session = ? AND ord > ? AND ord <= ? ORDER BY ord DESC LIMIT ?`
const latestShares = `SELECT owner, last_seq, last_ord FROM shares
  WHERE org = ? AND project = ? AND session = ? AND last_seq > ? ORDER BY last_seq DESC LIMIT ?`
const earliestShares = `SELECT owner, last_seq, last_ord FROM shares
  WHERE org = ? AND project = ? AND session = ? AND last_seq > ? ORDER BY last_seq LIMIT ?`
interface Share {
  readonly owner: SessionKey
  readonly last_seq: number
  readonly last_ord: number
}
const endless = Number.MAX_SAFE_INTEGER
const none: ReadonlyArray<Share> = []

/**
 * The session's own, then from newest to oldest what it shares, as far as it is asked for: each share has an entry at least. What is
 * shared never changes, so the statements need not see the same state.
 */
export function* history({
  tenant,
  session,
  afterOrder = 0,
  limit
}: Query<"history">): Body<ReadonlyArray<EntryRow>> {
  const scope = [tenant.org, tenant.project]
  const most = wholeLimit(limit)
  const rows = [...(yield* all<EntryColumns>(newest, [...scope, session, afterOrder, endless, most]))]
  // The order has no gaps: only a fork's own entries may not reach down to where the reader stands.
  const isWhole = () => rows.length >= most || rows.at(-1)?.ord === afterOrder + 1
  const shares = isWhole() ? none : yield* all<Share>(latestShares, [...scope, session, 0, most])
  for (const { owner, last_ord } of shares) {
    if (isWhole()) break
    const left = most - rows.length
    rows.push(...(yield* all<EntryColumns>(newest, [...scope, owner, afterOrder, last_ord, left])))
  }
  return rows.map(entryRow).toReversed()
}

const bySeq = `SELECT ${entryColumns} FROM entries
  WHERE org = ? AND project = ? AND session = ? AND seq > ? ORDER BY seq LIMIT ?`
const bySeqBefore = `SELECT ${entryColumns} FROM entries
  WHERE org = ? AND project = ? AND session = ? AND seq > ? AND seq < ? ORDER BY seq DESC LIMIT ?`
const sharedBySeq = `SELECT ${entryColumns} FROM entries
  WHERE org = ? AND project = ? AND session = ? AND seq > ? AND seq <= ? AND ord <= ? ORDER BY seq LIMIT ?`
const sharedBySeqBefore = `SELECT ${entryColumns} FROM entries
  WHERE org = ? AND project = ? AND session = ? AND seq > ? AND seq < ? AND ord <= ? ORDER BY seq DESC LIMIT ?`

function* entriesAfter({
  tenant,
  session,
  afterSeq = 0,
  limit
}: Query<"entries">): Body<ReadonlyArray<EntryRow>> {
  const scope = [tenant.org, tenant.project]
  const most = wholeLimit(limit)
  const own = yield* all<EntryColumns>(bySeq, [...scope, session, afterSeq, most])
  // A session's own seqs have no gaps: only a fork's begin later.
  const isWhole = most === 0 || own[0]?.seq === afterSeq + 1
  const shares = isWhole ? none : yield* all<Share>(earliestShares, [...scope, session, afterSeq, most])
  const rows: Array<EntryColumns> = []
  for (const { owner, last_seq, last_ord } of shares) {
    if (rows.length >= most) break
    const until = [last_seq, last_ord, most - rows.length]
    rows.push(...(yield* all<EntryColumns>(sharedBySeq, [...scope, owner, afterSeq, ...until])))
  }
  return [...rows, ...own].slice(0, most).map(entryRow)
}

function* entriesBefore(
  { tenant, session, afterSeq = 0, limit }: Query<"entries">,
  beforeSeq: number
): Body<ReadonlyArray<EntryRow>> {
  const scope = [tenant.org, tenant.project]
  const most = wholeLimit(limit)
  const rows = [...(yield* all<EntryColumns>(bySeqBefore, [...scope, session, afterSeq, beforeSeq, most]))]
  const isWhole = rows.length >= most || rows.at(-1)?.seq === afterSeq + 1
  const shares = isWhole ? none : yield* all<Share>(latestShares, [...scope, session, afterSeq, most])
  for (const { owner, last_seq, last_ord } of shares) {
    if (rows.length >= most) break
    const until = [Math.min(beforeSeq, last_seq + 1), last_ord, most - rows.length]
    rows.push(...(yield* all<EntryColumns>(sharedBySeqBefore, [...scope, owner, afterSeq, ...until])))
  }
  return rows.map(entryRow).toReversed()
}

export const entries = (query: Query<"entries">): Body<ReadonlyArray<EntryRow>> =>
  query.beforeSeq === undefined ? entriesAfter(query) : entriesBefore(query, query.beforeSeq)

const forksOf = `SELECT DISTINCT session FROM shares
  WHERE org = ? AND project = ? AND owner = ? ORDER BY session LIMIT ?`
export function* forks({ tenant, session, limit }: Query<"forks">): Body<ReadonlyArray<SessionKey>> {
  const params = [tenant.org, tenant.project, session, wholeLimit(limit)]
  return (yield* all<{ readonly session: SessionKey }>(forksOf, params)).map((row) => row.session)
}

const oneMessage = `SELECT * FROM messages WHERE org = ? AND project = ? AND id = ?`
const oneRun = `SELECT * FROM runs WHERE org = ? AND project = ? AND id = ?`
const runEntries = `SELECT ${entryColumns} FROM entries
  WHERE org = ? AND project = ? AND run_id = ? AND message_id IS NULL ORDER BY seq`
const runDeliveries = `SELECT * FROM outbox WHERE org = ? AND project = ? AND run_id = ? ORDER BY seq, part`
export function* message({ tenant, id }: Query<"message">): Body<MessageTrace | undefined> {
  const key = (name: string) => [tenant.org, tenant.project, name]
  const row = yield* get<MessageColumns>(oneMessage, key(id))
  if (row === undefined) return undefined
  const found = messageRow(row)
  if (found.runId === undefined) return { message: found, run: undefined, entries: [], deliveries: [] }
  const run = yield* get<RunColumns>(oneRun, key(found.runId))
  return {
    message: found,
    run: run === undefined ? undefined : runRow(run),
    entries: (yield* all<EntryColumns>(runEntries, key(found.runId))).map(entryRow),
    deliveries: (yield* all<DeliveryColumns>(runDeliveries, key(found.runId))).map(deliveryRow)
  }
}

const byIdentity = `SELECT * FROM messages
  WHERE org = ? AND project = ? AND channel = ? AND account = ? AND conversation = ? AND thread = ?
    AND external_id = ? AND revision = ?`
export function* lookup({ tenant, identity }: Query<"lookup">): Body<MessageRow | undefined> {
  const { channel, account, conversation, thread, externalId, revision } = identity
  const name = [channel, account, conversation, thread, externalId, revision]
  const row = yield* get<MessageColumns>(byIdentity, [tenant.org, tenant.project, ...name])
  return row === undefined ? undefined : messageRow(row)
}

/** Conditions within a tenant; one without a value is left out. */
const filtersOf = ({ org, project }: Query<"usage">["tenant"]) => {
  const where = ["org = ? AND project = ?"]
  const params: Array<string | number> = [org, project]
  const filter = (condition: string, value: string | number | undefined) => {
    if (value === undefined) return
    where.push(condition)
    params.push(value)
  }
  return { where, params, filter }
}

/** The filters are part of the text, so that each combination gets the index that is made for it. */
export function* undelivered(query: Query<"undelivered">): Body<ReadonlyArray<DeliveryRow>> {
  const { tenant, session, channel, createdAfter, limit } = query
  const { where, params, filter } = filtersOf(tenant)
  where.push("state IN ('pending', 'sending')")
  filter("session = ?", session)
  filter("channel = ?", channel)
  filter("created_at > ?", createdAfter)
  const sql = `SELECT * FROM outbox WHERE ${where.join(" AND ")} ORDER BY created_at, session, seq, part LIMIT ?`
  return (yield* all<DeliveryColumns>(sql, [...params, wholeLimit(limit)])).map(deliveryRow)
}

interface ApprovalColumns extends Home {
  readonly id: string
  readonly run_id: string
  readonly call_id: string
  readonly tool: string
  readonly arguments: string
  readonly state: ApprovalState
  readonly created_at: number
  readonly expires_at: number
  readonly decided_by: string | null
  readonly decided_at: number | null
}
const approvalRow = (row: ApprovalColumns): ApprovalRow => ({
  id: approvalId(row.id),
  place: placeOf(row),
  runId: runId(row.run_id),
  callId: JSON.parse(row.call_id),
  tool: JSON.parse(row.tool),
  arguments: JSON.parse(row.arguments),
  state: row.state,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  decidedBy: optional(row.decided_by),
  decidedAt: optional(row.decided_at)
})
const oneApproval = `SELECT * FROM approvals WHERE org = ? AND project = ? AND id = ? LIMIT ?`
const pendingOfAll = `SELECT * FROM approvals
  WHERE org = ? AND project = ? AND state = 'pending' ORDER BY created_at, id LIMIT ?`
const pendingOfSession = `SELECT * FROM approvals
  WHERE org = ? AND project = ? AND session = ? AND state = 'pending' ORDER BY created_at, id LIMIT ?`
export function* approvals({
  tenant,
  session,
  id,
  limit
}: Query<"approvals">): Body<ReadonlyArray<ApprovalRow>> {
  const [sql, filter] =
    id !== undefined
      ? [oneApproval, [id]]
      : session !== undefined
        ? [pendingOfSession, [session]]
        : [pendingOfAll, []]
  const rows = yield* all<ApprovalColumns>(sql, [tenant.org, tenant.project, ...filter, wholeLimit(limit)])
  return rows
    .map(approvalRow)
    .filter((row) => session === undefined || row.place.session === storable(session))
}

const keptQueues = `SELECT session, queue FROM sessions
  WHERE org = ? AND project = ? AND queue IS NOT NULL AND session > ? ORDER BY session LIMIT ?`
export function* queues({ tenant, after = "" as SessionKey, limit }: Query<"queues">) {
  const rows = yield* all<{ readonly session: SessionKey; readonly queue: string }>(keptQueues, [
    tenant.org,
    tenant.project,
    after,
    wholeLimit(limit)
  ])
  return rows.map(({ session, queue }) => ({ session, overrides: JSON.parse(queue) }))
}

const keyOf: Readonly<Record<UsageBy, string>> = {
  total: "''",
  day: "day",
  agent: "agent",
  session: "session",
  sender: "sender",
  model: "model"
}
const sums = `CAST(sum(calls) AS BIGINT) AS calls, CAST(sum(estimated) AS BIGINT) AS "estimatedCalls", CAST(sum(input) AS BIGINT) AS "inputTokens",
  CAST(sum(output) AS BIGINT) AS "outputTokens", CAST(sum(cached) AS BIGINT) AS "cachedTokens", CAST(sum(micros) AS BIGINT) AS "costMicros", CAST(sum(unpriced) AS BIGINT) AS "unpricedCalls"`

/** The filters are part of the text, so that each gets the index that is made for it: a session, a sender, or days. */
export function* usage(query: Query<"usage">): Body<ReadonlyArray<UsageRow>> {
  const { tenant, by, agent, session, sender, model, fromDay, toDay, limit } = query
  const { where, params, filter } = filtersOf(tenant)
  filter("session = ?", session)
  filter("sender = ?", sender)
  filter("agent = ?", agent)
  filter("model = ?", model)
  filter("day >= ?", fromDay)
  filter("day <= ?", toDay)
  const order = by === "day" ? "day DESC" : `sum(micros) DESC, sum(input) + sum(output) DESC, key`
  const sql = `SELECT ${keyOf[by]} AS key, ${sums} FROM spending WHERE ${where.join(" AND ")}
    GROUP BY ${by === "total" ? "org" : keyOf[by]} ORDER BY ${order} LIMIT ?`
  const rows = yield* all<Omit<UsageRow, "key"> & { readonly key: string | number }>(sql, [
    ...params,
    wholeLimit(limit)
  ])
  return rows.map(({ key, ...sum }) => ({ key: String(key), ...sum }))
}

// A name in quotes before a colon stands only where it is a key: within a value the quotes are escaped.
const keptSettings = `SELECT session, settings FROM sessions
  WHERE org = ? AND project = ? AND settings IS NOT NULL AND session > ? AND settings LIKE ? ESCAPE '\\'
  ORDER BY session LIMIT ?`
export function* settings({ tenant, name, after = "" as SessionKey, limit }: Query<"settings">) {
  const key = `%"${name.replaceAll("_", "\\_")}":%`
  const rows = yield* all<{ readonly session: SessionKey; readonly settings: string }>(keptSettings, [
    tenant.org,
    tenant.project,
    after,
    key,
    wholeLimit(limit)
  ])
  return rows.map((row) => ({ session: row.session, value: String(JSON.parse(row.settings)[name]) }))
}

const keptJournal = `SELECT seq, records, at FROM journal
  WHERE org = ? AND project = ? AND session = ? AND seq > ? ORDER BY seq LIMIT ?`
export function* journal({
  tenant,
  session,
  afterSeq = 0,
  limit
}: Query<"journal">): Body<ReadonlyArray<JournalRow>> {
  const query = [tenant.org, tenant.project, session, afterSeq, wholeLimit(limit)]
  return yield* all<JournalRow>(keptJournal, query)
}

interface SessionColumns extends Home {
  readonly title: string | null
  readonly forked_from: SessionKey | null
  readonly forked_seq: number | null
  readonly seq: number
  readonly open: number
  readonly created_at: number
  readonly updated_at: number
}
const latest = `SELECT * FROM sessions
  WHERE org = ? AND project = ? AND ephemeral = 0 ORDER BY updated_at DESC, session LIMIT ?`
const oneSession = `SELECT * FROM sessions WHERE org = ? AND project = ? AND session = ? AND ephemeral + 0 = 0 LIMIT ?`
export function* sessions({ tenant, key, limit }: Query<"sessions">): Body<ReadonlyArray<SessionRow>> {
  const [sql, from] =
    key === undefined
      ? [latest, [tenant.org, tenant.project]]
      : [oneSession, [tenant.org, tenant.project, key]]
  const rows = yield* all<SessionColumns>(sql, [...from, wholeLimit(limit)])
  return rows.map((row) => ({
    place: placeOf(row),
    title: parsed(row.title),
    forkedFrom:
      row.forked_from === null || row.forked_seq === null
        ? undefined
        : { session: row.forked_from, seq: row.forked_seq },
    seq: row.seq,
    open: row.open,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }))
}

const stale = `SELECT session FROM sessions
  WHERE org = ? AND project = ? AND ephemeral = ? AND updated_at < ? AND open = 0 AND NOT EXISTS (
    SELECT 1 FROM shares s WHERE s.org = sessions.org AND s.project = sessions.project AND s.owner = sessions.session)
  ORDER BY updated_at LIMIT ?`
/** Sessions, ephemeral or listed ones, that were not touched for long and that no fork shares, the oldest first. */
export function* stalest(
  { tenant, before, listed = false }: Query<"purge">,
  limit: number
): Body<ReadonlyArray<SessionKey>> {
  const params = [tenant.org, tenant.project, !listed, before, limit]
  return (yield* all<{ readonly session: SessionKey }>(stale, params)).map(({ session }) => session)
}
