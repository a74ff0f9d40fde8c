/** Organisations, projects, users, agents, keys and credentials as statements, for SQLite and Postgres alike. Every change writes its audit event beside it. */
import * as Result from "effect/Result"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import { type Role, roleFor, type Scope, scopesOf } from "#src/domain/Scope.ts"
import { show, type Tenant } from "#src/domain/Tenant.ts"
import {
  AgentChanged,
  type AgentRow,
  type ApiKeyRow,
  type CentralDb,
  CredentialChanged,
  type CredentialRow,
  KeyNameTaken,
  KeyRevoked,
  type NewApiKey,
  NoSuchAgent,
  NoSuchCredential,
  NoSuchKey,
  NoSuchOrg,
  NoSuchProject,
  NoSuchUser,
  OrgExists,
  type OrgRow,
  type Page,
  ProjectExists,
  type ProjectRow,
  RoleTooLow,
  UserDisabled,
  UserExists,
  type UserRow
} from "#src/horizons/CentralDb.ts"
import { all, type Body, get, type Param, run } from "#layers/platform/statements.ts"
import { insertEvent } from "./sqlAudit.ts"
import { wholeLimit } from "./stored.ts"

type Port = CentralDb["Service"]

export function* createOrg(
  { org, name, createdAt }: OrgRow,
  event: AuditEvent
): Body<Result.Result<void, OrgExists>> {
  const found = yield* get("SELECT org FROM orgs WHERE org = ?", [org])
  if (found !== undefined) return Result.fail(new OrgExists({ org }))
  yield* run("INSERT INTO orgs (org, name, created_at) VALUES (?, ?, ?)", [org, name, createdAt])
  yield* insertEvent(event)
  return Result.succeed(undefined)
}

interface OrgColumns {
  readonly org: string
  readonly name: string
  readonly created_at: number
}
const orgRow = ({ org, name, created_at }: OrgColumns): OrgRow => ({ org, name, createdAt: created_at })

export function* listOrgs({ after, limit }: Parameters<Port["orgs"]>[0]): Body<ReadonlyArray<OrgRow>> {
  const rows = yield* all<OrgColumns>(
    "SELECT org, name, created_at FROM orgs WHERE org > ? ORDER BY org LIMIT ?",
    [after ?? "", wholeLimit(limit)]
  )
  return rows.map(orgRow)
}

export function* createProject(
  { tenant, name, createdAt }: ProjectRow,
  event: AuditEvent
): Body<Result.Result<void, NoSuchOrg | ProjectExists>> {
  const { org, project } = tenant
  const found = yield* get("SELECT org FROM orgs WHERE org = ?", [org])
  if (found === undefined) return Result.fail(new NoSuchOrg({ org }))
  if (yield* hasProject(tenant)) return Result.fail(new ProjectExists({ project: show(tenant) }))
  yield* run("INSERT INTO projects (org, project, name, created_at) VALUES (?, ?, ?, ?)", [
    org,
    project,
    name,
    createdAt
  ])
  yield* insertEvent(event)
  return Result.succeed(undefined)
}

export function* hasProject({ org, project }: Tenant): Body<boolean> {
  const found = yield* get("SELECT org FROM projects WHERE org = ? AND project = ?", [org, project])
  return found !== undefined
}

interface ProjectColumns extends OrgColumns {
  readonly project: string
}
const projectRow = ({ org, project, name, created_at }: ProjectColumns): ProjectRow => ({
  tenant: { org, project },
  name,
  createdAt: created_at
})

export function* listProjects({
  after,
  limit
}: Parameters<Port["projects"]>[0]): Body<ReadonlyArray<ProjectRow>> {
  const rows = yield* all<ProjectColumns>(
    `SELECT org, project, name, created_at FROM projects WHERE (org, project) > (?, ?)
      ORDER BY org, project LIMIT ?`,
    [after?.org ?? "", after?.project ?? "", wholeLimit(limit)]
  )
  return rows.map(projectRow)
}

interface UserColumns {
  readonly org: string
  readonly id: string
  readonly role: Role
  readonly email: string | null
  readonly created_at: number
  readonly disabled_at: number | null
}
const userRow = (row: UserColumns): UserRow => ({
  org: row.org,
  id: row.id,
  role: row.role,
  email: row.email ?? undefined,
  createdAt: row.created_at,
  disabledAt: row.disabled_at ?? undefined
})
const userColumns = "org, id, role, email, created_at, disabled_at"

export function* createUser(
  { org, id, role, email, createdAt }: Parameters<Port["createUser"]>[0],
  event: AuditEvent
): Body<Result.Result<void, NoSuchOrg | UserExists>> {
  if ((yield* get("SELECT org FROM orgs WHERE org = ?", [org])) === undefined) {
    return Result.fail(new NoSuchOrg({ org }))
  }
  const found = yield* get("SELECT id FROM users WHERE org = ? AND id = ?", [org, id])
  if (found !== undefined) return Result.fail(new UserExists({ user: id }))
  yield* run("INSERT INTO users (org, id, role, email, created_at) VALUES (?, ?, ?, ?, ?)", [
    org,
    id,
    role,
    email,
    createdAt
  ])
  yield* insertEvent(event)
  return Result.succeed(undefined)
}

export function* listUsers({
  org,
  after,
  limit
}: Parameters<Port["users"]>[0]): Body<ReadonlyArray<UserRow>> {
  const rows = yield* all<UserColumns>(
    `SELECT ${userColumns} FROM users WHERE org = ?${after === undefined ? "" : " AND id > ?"} ORDER BY id LIMIT ?`,
    [org, ...(after === undefined ? [] : [after]), wholeLimit(limit)]
  )
  return rows.map(userRow)
}

export function* changeUser(
  { org, id, ...change }: Parameters<Port["changeUser"]>[0],
  event: AuditEvent
): Body<Result.Result<UserRow, NoSuchUser>> {
  const found = yield* get<UserColumns>(`SELECT ${userColumns} FROM users WHERE org = ? AND id = ?`, [
    org,
    id
  ])
  if (found === undefined) return Result.fail(new NoSuchUser({ user: id }))
  const changed: UserRow = { ...userRow(found), ...change }
  yield* run("UPDATE users SET role = ?, disabled_at = ? WHERE org = ? AND id = ?", [
    changed.role,
    changed.disabledAt,
    org,
    id
  ])
  yield* insertEvent(event)
  return Result.succeed(changed)
}

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
  readonly disabled_at: number | null
}
const keyColumns = `k.org, k.project, k.id, k.name, k.acts_as, k.scopes, k.digest, k.created_at, k.expires_at,
  k.revoked_at, k.used_at, u.disabled_at`
const keysWithUsers = "api_keys AS k LEFT JOIN users AS u ON u.org = k.org AND u.id = k.acts_as"
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
  usedAt: row.used_at ?? undefined,
  userDisabledAt: row.disabled_at ?? undefined
})

/** The user of a key that is to be made, who may be new. */
function* keyUser({
  tenant: { org },
  user,
  scopes,
  createdAt
}: NewApiKey): Body<Result.Result<void, UserDisabled | RoleTooLow>> {
  const found = yield* get<Pick<UserColumns, "role" | "disabled_at">>(
    "SELECT role, disabled_at FROM users WHERE org = ? AND id = ?",
    [org, user]
  )
  if (found === undefined) {
    yield* run(
      "INSERT INTO users (org, id, role, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (org, id) DO NOTHING",
      [org, user, roleFor(scopes), createdAt]
    )
    return Result.succeed(undefined)
  }
  if (found.disabled_at !== null) return Result.fail(new UserDisabled({ user }))
  const { role } = found
  return scopes.every((scope) => scopesOf[role].includes(scope))
    ? Result.succeed(undefined)
    : Result.fail(new RoleTooLow({ user, role }))
}

export function* createKey(
  key: NewApiKey,
  event: AuditEvent
): Body<Result.Result<void, KeyNameTaken | NoSuchProject | UserDisabled | RoleTooLow>> {
  const { org, project } = key.tenant
  if (!(yield* hasProject(key.tenant))) return Result.fail(new NoSuchProject({ project: show(key.tenant) }))
  const taken = yield* get(
    "SELECT id FROM api_keys WHERE org = ? AND project = ? AND name = ? AND revoked_at IS NULL",
    [org, project, key.name]
  )
  if (taken !== undefined) return Result.fail(new KeyNameTaken({ name: key.name }))
  const user = yield* keyUser(key)
  if (Result.isFailure(user)) return Result.fail(user.failure)
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
  const row = yield* get<KeyColumns>(`SELECT ${keyColumns} FROM ${keysWithUsers} WHERE k.id = ?`, [id])
  return row === undefined ? undefined : keyRow(row)
}

export function* listKeys({ tenant, after, limit }: Page): Body<ReadonlyArray<ApiKeyRow>> {
  const rows = yield* all<KeyColumns>(
    `SELECT ${keyColumns} FROM ${keysWithUsers} WHERE k.org = ? AND k.project = ?${after === undefined ? "" : " AND k.id > ?"}
      ORDER BY k.id LIMIT ?`,
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

interface AgentColumns {
  readonly org: string
  readonly project: string
  readonly name: string
  readonly settings: string
  readonly revision: number
  readonly created_at: number
  readonly updated_at: number
}
const agentColumns = "org, project, name, settings, revision, created_at, updated_at"
const agentRow = (row: AgentColumns): AgentRow => ({
  tenant: { org: row.org, project: row.project },
  name: row.name,
  settings: row.settings,
  revision: row.revision,
  createdAt: row.created_at,
  updatedAt: row.updated_at
})

export function* listAgents({ tenant, after, limit }: Page): Body<ReadonlyArray<AgentRow>> {
  const rows = yield* all<AgentColumns>(
    `SELECT ${agentColumns} FROM agents WHERE org = ? AND project = ? AND name > ? ORDER BY name LIMIT ?`,
    [tenant.org, tenant.project, after ?? "", wholeLimit(limit)]
  )
  return rows.map(agentRow)
}

export function* listAllAgents({
  after,
  limit
}: Parameters<Port["allAgents"]>[0]): Body<ReadonlyArray<AgentRow>> {
  const rows = yield* all<AgentColumns>(
    `SELECT ${agentColumns} FROM agents WHERE (org, project, name) > (?, ?, ?) ORDER BY org, project, name LIMIT ?`,
    [after?.tenant.org ?? "", after?.tenant.project ?? "", after?.name ?? "", wholeLimit(limit)]
  )
  return rows.map(agentRow)
}

export function* putAgent(
  { tenant, name, settings, at, revision }: Parameters<Port["putAgent"]>[0],
  event: AuditEvent
): Body<Result.Result<number, AgentChanged | NoSuchProject>> {
  const { org, project } = tenant
  if (!(yield* hasProject(tenant))) return Result.fail(new NoSuchProject({ project: show(tenant) }))
  const found = yield* get<Pick<AgentColumns, "revision">>(
    "SELECT revision FROM agents WHERE org = ? AND project = ? AND name = ?",
    [org, project, name]
  )
  const present = found?.revision ?? 0
  if (revision !== undefined && present !== revision) return Result.fail(new AgentChanged({ name }))
  yield* run(
    `INSERT INTO agents (org, project, name, settings, revision, created_at, updated_at)
      VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (org, project, name) DO UPDATE SET settings = excluded.settings,
        revision = excluded.revision, updated_at = excluded.updated_at`,
    [org, project, name, settings, present + 1, at, at]
  )
  yield* insertEvent(event)
  return Result.succeed(present + 1)
}

export function* deleteAgent(
  { tenant, name }: Parameters<Port["deleteAgent"]>[0],
  event: AuditEvent
): Body<Result.Result<void, NoSuchAgent>> {
  const where = [tenant.org, tenant.project, name]
  const found = yield* get("SELECT name FROM agents WHERE org = ? AND project = ? AND name = ?", where)
  if (found === undefined) return Result.fail(new NoSuchAgent({ name }))
  yield* run("DELETE FROM agents WHERE org = ? AND project = ? AND name = ?", where)
  yield* insertEvent(event)
  return Result.succeed(undefined)
}
