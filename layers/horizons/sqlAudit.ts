/** The audit log's statements, for SQLite and Postgres alike. */
import type { AuditAction, AuditEvent } from "#src/domain/AuditEvent.ts"
import type { AuditQuery } from "#src/horizons/AuditLog.ts"
import { all, type Body, type Param, run } from "#layers/platform/statements.ts"
import { toJson } from "#layers/platform/storable.ts"
import { wholeLimit } from "./stored.ts"

export function* insertEvent(event: AuditEvent): Body<void> {
  const { tenant, id, at, actor, action, subject, detail } = event
  yield* run(
    `INSERT INTO audit (org, project, id, at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (org, project, id) DO NOTHING`,
    [tenant.org, tenant.project, id, at, actor, action, subject, toJson(detail)]
  )
}

interface AuditColumns {
  readonly org: string
  readonly project: string
  readonly id: string
  readonly at: number
  readonly actor: string
  readonly action: AuditAction
  readonly subject: string
  readonly detail: string
}

/** The filters are part of the text, so that each combination gets the index that is made for it. */
export function* listEvents(query: AuditQuery): Body<ReadonlyArray<AuditEvent>> {
  const { tenant, action, actor, since, until, before, limit } = query
  const where = ["org = ? AND project = ?"]
  const params: Array<Param> = [tenant.org, tenant.project]
  const filter = (condition: string, ...values: ReadonlyArray<Param>) => {
    where.push(condition)
    params.push(...values)
  }
  if (action !== undefined) filter("action = ?", action)
  if (actor !== undefined) filter("actor = ?", actor)
  if (since !== undefined) filter("at >= ?", since)
  if (until !== undefined) filter("at < ?", until)
  if (before !== undefined) filter("(at, id) < (?, ?)", before.at, before.id)
  const rows = yield* all<AuditColumns>(
    `SELECT org, project, id, at, actor, action, subject, detail FROM audit WHERE ${where.join(" AND ")}
      ORDER BY at DESC, id DESC LIMIT ?`,
    [...params, wholeLimit(limit)]
  )
  return rows.map(({ org, project, detail, ...row }) => ({
    ...row,
    tenant: { org, project },
    detail: JSON.parse(detail)
  }))
}
