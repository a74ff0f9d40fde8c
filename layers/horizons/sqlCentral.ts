/** Keys and credentials as statements, for SQLite and Postgres alike. Every change writes its audit event beside it. */
import * as Result from "effect/Result"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import type { Scope } from "#src/domain/Scope.ts"
import {
  type ApiKeyRow,
  type CentralDb,
  CredentialChanged,
  type CredentialRow,
  KeyNameTaken,
  KeyRevoked,
  type NewApiKey,
  NoSuchCredential,
  NoSuchKey,
  type Page
} from "#src/horizons/CentralDb.ts"
import { all, type Body, get, type Param, run } from "#layers/platform/statements.ts"
import { insertEvent } from "./sqlAudit.ts"
import { wholeLimit } from "./stored.ts"

type Port = CentralDb["Service"]

interface KeyColumns {
  readonly org: string
  readonly project: string
  readonly id: string
  readonly name: string
  readonly acts_as: string
  readonly scopes: string
  readonly digest: string
  readonly created_at: number
  readonly expires_at: number | null
  readonly revoked_at: number | null
  readonly used_at: number | null
}
const keyColumns =
  "org, project, id, name, acts_as, scopes, digest, created_at, expires_at, revoked_at, used_at"
const keyRow = (row: KeyColumns): ApiKeyRow => ({
  tenant: { org: row.org, project: row.project },
  id: row.id,
  name: row.name,
  user: row.acts_as,
  scopes: JSON.parse(row.scopes) as ReadonlyArray<Scope>,
  digest: row.digest,
  createdAt: row.created_at,
  expiresAt: row.expires_at ?? undefined,
  revokedAt: row.revoked_at ?? undefined,
  usedAt: row.used_at ?? undefined
})

export function* createKey(key: NewApiKey, event: AuditEvent): Body<Result.Result<void, KeyNameTaken>> {
  const { org, project } = key.tenant
  const taken = yield* get(
    "SELECT id FROM api_keys WHERE org = ? AND project = ? AND name = ? AND revoked_at IS NULL",
    [org, project, key.name]
  )
  if (taken !== undefined) return Result.fail(new KeyNameTaken({ name: key.name }))
  yield* run(
    `INSERT INTO api_keys (org, project, id, name, acts_as, scopes, digest, created_at, expires_at)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    [
      org,
      project,
      key.id,
      key.name,
      key.user,
      JSON.stringify(key.scopes),
      key.digest,
      key.createdAt,
      key.expiresAt
    ]
  )
  yield* insertEvent(event)
  return Result.succeed(undefined)
}

export function* findKey(id: string): Body<ApiKeyRow | undefined> {
  const row = yield* get<KeyColumns>(`SELECT ${keyColumns} FROM api_keys WHERE id = ?`, [id])
  return row === undefined ? undefined : keyRow(row)
}

export function* listKeys({ tenant, after, limit }: Page): Body<ReadonlyArray<ApiKeyRow>> {
  const rows = yield* all<KeyColumns>(
    `SELECT ${keyColumns} FROM api_keys WHERE org = ? AND project = ?${after === undefined ? "" : " AND id > ?"}
      ORDER BY id LIMIT ?`,
    [tenant.org, tenant.project, ...(after === undefined ? [] : [after]), wholeLimit(limit)]
  )
  return rows.map(keyRow)
}

export function* revokeKey(
  { tenant, id, at }: Parameters<Port["revokeKey"]>[0],
  event: AuditEvent
): Body<Result.Result<void, NoSuchKey | KeyRevoked>> {
  const where = [tenant.org, tenant.project, id]
  const row = yield* get<Pick<KeyColumns, "revoked_at">>(
    "SELECT revoked_at FROM api_keys WHERE org = ? AND project = ? AND id = ?",
    where
  )
  if (row === undefined) return Result.fail(new NoSuchKey({ id }))
  if (row.revoked_at !== null) return Result.fail(new KeyRevoked({ id, at: row.revoked_at }))
  yield* run("UPDATE api_keys SET revoked_at = ? WHERE org = ? AND project = ? AND id = ?", [at, ...where])
  yield* insertEvent(event)
  return Result.succeed(undefined)
}

export function* useKeys(uses: Parameters<Port["useKeys"]>[0]): Body<Result.Result<void>> {
  for (const { tenant, id, at } of uses) {
    yield* run(
      `UPDATE api_keys SET used_at = ?
        WHERE org = ? AND project = ? AND id = ? AND (used_at IS NULL OR used_at < ?)`,
      [at, tenant.org, tenant.project, id, at]
    )
  }
  return Result.succeed(undefined)
}

interface CredentialColumns {
  readonly org: string
  readonly project: string
  readonly name: string
  readonly key_id: string
  readonly sealed: string
  readonly revision: number
  readonly created_at: number
  readonly updated_at: number
}
const credentialRow = (row: CredentialColumns): CredentialRow => ({
  tenant: { org: row.org, project: row.project },
  name: row.name,
  sealed: { keyId: row.key_id, text: row.sealed },
  revision: row.revision,
  createdAt: row.created_at,
  updatedAt: row.updated_at
})

export function* listCredentials(
  query: Parameters<Port["credentials"]>[0]
): Body<ReadonlyArray<CredentialRow>> {
  const { tenant, after, name, limit } = query
  const where = ["org = ? AND project = ?"]
  const params: Array<Param> = [tenant.org, tenant.project]
  if (after !== undefined) {
    where.push("name > ?")
    params.push(after)
  }
  if (name !== undefined) {
    where.push("name = ?")
    params.push(name)
  }
  const rows = yield* all<CredentialColumns>(
    `SELECT org, project, name, key_id, sealed, revision, created_at, updated_at FROM credentials
      WHERE ${where.join(" AND ")} ORDER BY name LIMIT ?`,
    [...params, wholeLimit(limit)]
  )
  return rows.map(credentialRow)
}

export function* putCredential(
  { tenant, name, sealed, at, revision }: Parameters<Port["putCredential"]>[0],
  event: AuditEvent
): Body<Result.Result<number, CredentialChanged>> {
  const { org, project } = tenant
  const found = yield* get<Pick<CredentialColumns, "revision">>(
    "SELECT revision FROM credentials WHERE org = ? AND project = ? AND name = ?",
    [org, project, name]
  )
  if (revision !== undefined && found?.revision !== revision) {
    return Result.fail(new CredentialChanged({ name }))
  }
  const next = (found?.revision ?? 0) + 1
  yield* run(
    `INSERT INTO credentials (org, project, name, key_id, sealed, revision, created_at, updated_at)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (org, project, name) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed,
        revision = excluded.revision, updated_at = excluded.updated_at`,
    [org, project, name, sealed.keyId, sealed.text, next, at, at]
  )
  yield* insertEvent(event)
  return Result.succeed(next)
}

export function* deleteCredential(
  { tenant, name }: Parameters<Port["deleteCredential"]>[0],
  event: AuditEvent
): Body<Result.Result<void, NoSuchCredential>> {
  const where = [tenant.org, tenant.project, name]
  const found = yield* get("SELECT name FROM credentials WHERE org = ? AND project = ? AND name = ?", where)
  if (found === undefined) return Result.fail(new NoSuchCredential({ name }))
  yield* run("DELETE FROM credentials WHERE org = ? AND project = ? AND name = ?", where)
  yield* insertEvent(event)
  return Result.succeed(undefined)
}

export function* useCode({ id, endsAt, now }: Parameters<Port["useCode"]>[0]): Body<Result.Result<boolean>> {
  yield* run("DELETE FROM used_codes WHERE ends_at <= ?", [now])
  const found = yield* get("SELECT id FROM used_codes WHERE id = ?", [id])
  if (found !== undefined) return Result.succeed(false)
  yield* run("INSERT INTO used_codes (id, ends_at) VALUES (?, ?)", [id, endsAt])
  return Result.succeed(true)
}
