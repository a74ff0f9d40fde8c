/** Asks a Postgres with very many sessions how it finds the rows of every statement of the log. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checks from "#src/check/Checks.ts"
import type { LogError, Unit } from "#src/horizons/MessageLog.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import { Postgres } from "#layers/platform/PgClient.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import { numbered } from "#layers/platform/pgStatements.ts"
import type { Body, Statement } from "#layers/platform/statements.ts"
import { acceptOf, acme, placeAt, startOf } from "../../contracts/MessageLog.contract.ts"
import { everyRead, everyUnit, story } from "../../contracts/MessageLog.members.ts"
import { fresh } from "../../postgres/fresh.ts"

/** Of each session: two ended messages with their run, entries and delivery; every hundredth has an open message and an approval. */
const seeds = [
  `INSERT INTO sessions (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, (n % 50 = 0)::int, 5, 5, (n % 100 = 0)::int, n, n FROM generate_series(1, $1) n`,
  `INSERT INTO messages (org, project, agent, session, id, seq, channel, account, conversation, thread, external_id, revision,
     sender, access, ephemeral, body, body_hash, accepted_at, run_id, outcome)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, 'n' || n || '-' || k, k, 'web', 'main', 'room' || n, '', 'c' || n || '-' || k, 0,
     'ann', 'owner', 0, '{"text":"x"}', 'h', n, 'r' || n || '-' || k, CASE WHEN n % 100 = 0 AND k = 2 THEN NULL ELSE 'answered' END
   FROM generate_series(1, $1) n, generate_series(1, 2) k`,
  `INSERT INTO entries (org, project, agent, session, seq, ord, id, message_id, client_id, run_id, entry, at)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, k, k, 'e' || n || '-' || k, 'n' || n || '-' || k, 'c', 'r' || n || '-' || (1 + k % 2),
     '{"v":1,"kind":"user","text":"x","sender":"ann"}', n
   FROM generate_series(1, $1) n, generate_series(1, 4) k`,
  `INSERT INTO runs (org, project, agent, session, id, state, attempt, stalled, message_ids, started_at, usage)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, 'r' || n || '-' || k, 'ended', 1, 0, '[]', n, '{}'
   FROM generate_series(1, $1) n, generate_series(1, 2) k`,
  `INSERT INTO outbox (org, project, agent, session, id, run_id, seq, part, channel, account, conversation, thread, text, state,
     attempts, created_at)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, 'nd' || n, 'r' || n || '-1', 2, 0, 'web', 'main', 'room' || n, '', '"x"',
     CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'sent' END, 1, n FROM generate_series(1, $1) n`,
  `INSERT INTO cursors (org, project, agent, session, channel, account, position, updated_at)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, 'web', 'a' || n, '1', n FROM generate_series(1, $1) n`,
  `INSERT INTO approvals (org, project, agent, session, id, run_id, call_id, tool, arguments, state, told, created_at, expires_at)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, 'a' || n, 'r' || n || '-1', '"c"', '"t"', '"{}"',
     CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'approved' END, 2, n, n FROM generate_series(1, $1) n`,
  `INSERT INTO shares (org, project, agent, session, last_seq, last_ord, owner)
   SELECT 'acme', 'shop', 'main', 'agent:main:f' || n, 4, 4, 'agent:main:n' || n FROM generate_series(7, $1, 10) n`,
  `INSERT INTO spending (org, project, agent, session, sender, model, day, calls, estimated, input, output, cached, micros, unpriced)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, 's' || n, 'p/m', n % 400, 1, 0, 1, 1, 0, 1, 0 FROM generate_series(1, $1) n`,
  `INSERT INTO journal (org, project, agent, session, seq, records, at)
   SELECT 'acme', 'shop', 'main', 'agent:main:n' || n, k, '[]', n FROM generate_series(1, $1) n, generate_series(1, 4) k`,
  `ANALYZE`
]

/** Statements for which reading a table is right: one of a handful of rows, or sums of all that was ever spent. */
const isWhole = (sql: string) =>
  /UPDATE cursors SET agent = ''/.test(sql) ||
  (/ FROM spending WHERE/.test(sql) && !/session = |day >= /.test(sql))

function* told<A>(body: Body<A>, tell: (statement: Statement) => void): Body<A> {
  let next = body.next()
  while (next.done !== true) {
    tell(next.value)
    next = body.next(yield next.value)
  }
  return next.value
}

interface Plan {
  readonly "Node Type": string
  readonly "Relation Name"?: string
  readonly "Index Name"?: string
  readonly "Index Cond"?: string
  readonly "Total Cost": number
  readonly Plans?: ReadonlyArray<Plan>
}
const scans = (plan: Plan): ReadonlyArray<string> => [
  ...(plan["Node Type"] === "Seq Scan" ? [plan["Relation Name"] ?? "?"] : []),
  ...(plan.Plans ?? []).flatMap(scans)
]

/** Indexes by which all that a tenant has of something may be read: it waits for something, so it is little, or is wanted in pages. */
const inOrder = new Set([
  "messages_open",
  "sessions_open",
  "sessions_queue",
  "sessions_settings",
  "outbox_waiting",
  "outbox_waiting_session",
  "outbox_waiting_channel",
  "outbox_sent",
  "approvals_pending",
  "approvals_pending_session",
  "spending_day"
])
/** Conditions that compare nothing but the tenant: whatever else is asked, all rows of the tenant are read for it. */
const isTenantAlone = (condition: string): boolean =>
  condition
    .replaceAll(/\((?:\w+\.)?(?:org|project) = [^()]*(?:\([^()]*\))*[^()]*\)/g, "")
    .replaceAll(/[()]|AND|\s/g, "") === ""
const tenantReads = (plan: Plan): ReadonlyArray<string> => [
  ...(plan["Index Cond"] !== undefined &&
  isTenantAlone(plan["Index Cond"]) &&
  !inOrder.has(plan["Index Name"] ?? "")
    ? [`${plan["Index Name"]}: ${plan["Index Cond"]}`]
    : []),
  ...(plan.Plans ?? []).flatMap(tenantReads)
]

const judgeFull = (sql: string, plan: Plan) => {
  if (isWhole(sql)) return
  assert.deepStrictEqual(scans(plan), [], sql)
  // A sum costs what it sums.
  if (!sql.includes("FROM spending")) assert.isBelow(plan["Total Cost"], 500, sql)
}

/** Every unit and every read of the log, planned on so many sessions: by an index, at a cost that does not grow with them. */
export const plansAtScale = (sessions: number) => plansOn(sessions, judgeFull)

/**
 * The same on tables of which the server knows nothing yet, as on the first day, and as of a new tenant: none of them reads all that the
 * tenant has. A server without statistics takes org and project to leave a single row.
 */
export const plansAtFirst = plansOn(0, (sql, plan) => {
  if (!isWhole(sql) && !sql.includes("FROM spending")) assert.deepStrictEqual(tenantReads(plan), [], sql)
})

function plansOn(sessions: number, judge: (sql: string, plan: Plan) => void) {
  return Effect.gen(function* () {
    const options = yield* fresh
    const statements = new Map<string, Statement>()
    const tell = (statement: Statement) => void statements.set(statement.sql, statement)
    yield* Effect.gen(function* () {
      const link = yield* PgLink.make(options)
      yield* link.query("SET statement_timeout = 0")
      for (const seed of sessions === 0 ? [] : seeds)
        yield* link.query(seed, seed.includes("$1") ? [sessions] : [])

      const postgres = yield* Postgres
      const log = yield* PostgresMessageLog.make.pipe(
        Effect.provideService(Postgres, {
          ...postgres,
          unit: (names, body) => postgres.unit(names, () => told(body(), tell)),
          read: (body) => postgres.read(() => told(body(), tell)),
          snapshot: (body) => postgres.snapshot(() => told(body(), tell))
        })
      )
      const tenant = acme
      const d = placeAt("d")
      const units: ReadonlyArray<Unit> = [
        ...Object.values(everyUnit).map((unit) => unit(placeAt("a"))),
        acceptOf("m8", { at: d, cap: 1, drop: "summarize", notice: "sorry" }),
        acceptOf("m9", { at: d, cap: 1, drop: "summarize", notice: "sorry" }),
        startOf("r9", ["m9"], d)
      ]
      for (const unit of story()) yield* log.commit(unit)
      for (const unit of units) yield* Effect.ignore(log.commit(unit))
      const ofFork = { tenant, session: d.session, limit: 10 }
      assert.isAbove((yield* log.history(ofFork)).length, 2)
      for (const [name, queries] of Object.entries(everyRead)) {
        const read = log[name as keyof typeof everyRead] as (
          query: unknown
        ) => Effect.Effect<unknown, LogError>
        for (const query of queries(tenant)) yield* read(query)
      }
      for (const having of ["open", "undelivered", "settings", "queues"] as const)
        yield* log.tenants({ having })
      yield* log.history(ofFork)
      yield* log.entries(ofFork)
      yield* log.entries({ ...ofFork, beforeSeq: 9 })
      for (const name of ["d", "b", "a"])
        yield* log.commit({ _tag: "DeleteSession", place: placeAt(name), at: 1 })
      yield* log.purge({ tenant, before: 1, listed: true })

      assert.isAbove(statements.size, 40)
      for (const { sql, params } of statements.values()) {
        const { rows } = yield* link.query(`EXPLAIN (FORMAT JSON) ${numbered(sql)}`, params)
        const [{ Plan: plan }] = rows[0]!["QUERY PLAN"] as unknown as readonly [{ readonly Plan: Plan }]
        judge(sql, plan)
      }
    }).pipe(Effect.provide(PostgresMessageLog.layerAt(options).pipe(Layer.provide(Checks.layer))))
  })
}
