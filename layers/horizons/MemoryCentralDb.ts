/** Organisations, projects, users, agents, keys and credentials in memory: for tests. Its changes are told to the audit log beside it in the same turn. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import { roleFor, scopesOf } from "#src/domain/Scope.ts"
import { isSame, local, show, type Tenant } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import {
  AgentChanged,
  type AgentRow,
  type ApiKeyRow,
  CentralDb,
  CentralError,
  CredentialChanged,
  type CredentialRow,
  KeyNameTaken,
  KeyRevoked,
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
import { storable } from "#layers/platform/storable.ts"
import { byBytes, wholeLimit } from "./stored.ts"

const refuse = (reason: CentralError["reason"]) => Effect.fail(new CentralError({ reason }))
const isOf = (tenant: Tenant) => (row: { readonly tenant: Tenant }) => isSame(row.tenant, tenant)
/** Behind `after`, in the order of their names' bytes. */
const pageOf = <Row>(
  rows: Iterable<Row>,
  nameOf: (row: Row) => string,
  { after, limit }: { readonly after?: string; readonly limit: number }
) =>
  [...rows]
    .filter((row) => after === undefined || byBytes(nameOf(row), after) > 0)
    .toSorted((a, b) => byBytes(nameOf(a), nameOf(b)))
    .slice(0, wholeLimit(limit))

export const make = Effect.gen(function* () {
  const audit = yield* AuditLog
  const orgs = new Map<string, OrgRow>([[local.org, { org: local.org, name: local.org, createdAt: 0 }]])
  const projects = new Map<string, ProjectRow>([
    [show(local), { tenant: local, name: local.project, createdAt: 0 }]
  ])
  const users = new Map<string, UserRow>()
  const keys = new Map<string, ApiKeyRow>()
  const credentials = new Map<string, CredentialRow>()
  const agents = new Map<string, AgentRow>()
  const usedCodes = new Map<string, number>()
  const placeOf = ({ org, project }: Tenant, name: string) => JSON.stringify([org, project, storable(name)])
  const told = <A>(event: AuditEvent, value: A): Effect.Effect<A, CentralError> =>
    audit.append([event]).pipe(
      Effect.mapError(({ reason }) => new CentralError({ reason })),
      Effect.as(value)
    )
  const paged = <Row extends { readonly tenant: Tenant }>(
    rows: Iterable<Row>,
    nameOf: (row: Row) => string,
    { tenant, after, limit }: Page
  ) => pageOf([...rows].filter(isOf(tenant)), nameOf, { limit, ...(after === undefined ? {} : { after }) })

  const userOf = (org: string, id: string) => JSON.stringify([org, storable(id)])
  const withUser = (row: ApiKeyRow): ApiKeyRow => ({
    ...row,
    userDisabledAt: users.get(userOf(row.tenant.org, row.user))?.disabledAt
  })
  // Below any character of a name, so that projects stand in the order of their organisations.
  const sorted = ({ org, project }: Tenant) => `${org}\u0000${project}`

  return CentralDb.of({
    createOrg: (org, event) =>
      Effect.suspend(() => {
        if (orgs.has(org.org)) return refuse(new OrgExists({ org: org.org }))
        orgs.set(org.org, { ...org, name: storable(org.name) })
        return told(event, undefined)
      }),
    orgs: (page) => Effect.sync(() => pageOf(orgs.values(), ({ org }) => org, page)),
    createProject: (project, event) =>
      Effect.suspend(() => {
        const { tenant } = project
        if (!orgs.has(tenant.org)) return refuse(new NoSuchOrg({ org: tenant.org }))
        if (projects.has(show(tenant))) return refuse(new ProjectExists({ project: show(tenant) }))
        projects.set(show(tenant), { ...project, name: storable(project.name) })
        return told(event, undefined)
      }),
    projects: ({ after, limit }) =>
      Effect.sync(() =>
        pageOf(projects.values(), ({ tenant }) => sorted(tenant), {
          limit,
          ...(after === undefined ? {} : { after: sorted(after) })
        })
      ),
    hasProject: (tenant) => Effect.sync(() => projects.has(show(tenant))),
    createUser: (user, event) =>
      Effect.suspend(() => {
        if (!orgs.has(user.org)) return refuse(new NoSuchOrg({ org: user.org }))
        const place = userOf(user.org, user.id)
        if (users.has(place)) return refuse(new UserExists({ user: user.id }))
        const email = user.email === undefined ? undefined : storable(user.email)
        users.set(place, { ...user, id: storable(user.id), email, disabledAt: undefined })
        return told(event, undefined)
      }),
    users: ({ org, ...page }) =>
      Effect.sync(() =>
        pageOf(
          [...users.values()].filter((user) => user.org === org),
          ({ id }) => id,
          page
        )
      ),
    changeUser: ({ org, id, ...change }, event) =>
      Effect.suspend(() => {
        const found = users.get(userOf(org, id))
        if (found === undefined) return refuse(new NoSuchUser({ user: id }))
        const changed = { ...found, ...change }
        users.set(userOf(org, id), changed)
        return told(event, changed)
      }),
    createKey: (key, event) =>
      Effect.suspend(() => {
        const { tenant, user, scopes } = key
        if (!projects.has(show(tenant))) return refuse(new NoSuchProject({ project: show(tenant) }))
        const name = storable(key.name)
        const isTaken = [...keys.values()].some(
          (row) => isOf(key.tenant)(row) && row.name === name && row.revokedAt === undefined
        )
        if (isTaken) return refuse(new KeyNameTaken({ name: key.name }))
        const known = users.get(userOf(tenant.org, user))
        if (known?.disabledAt !== undefined) return refuse(new UserDisabled({ user }))
        if (known !== undefined && !scopes.every((scope) => scopesOf[known.role].includes(scope))) {
          return refuse(new RoleTooLow({ user, role: known.role }))
        }
        users.set(
          userOf(tenant.org, user),
          known ?? {
            org: tenant.org,
            id: storable(user),
            role: roleFor(scopes),
            email: undefined,
            createdAt: key.createdAt,
            disabledAt: undefined
          }
        )
        keys.set(key.id, {
          ...key,
          name,
          user: storable(user),
          revokedAt: undefined,
          usedAt: undefined,
          userDisabledAt: undefined
        })
        return told(event, undefined)
      }),
    findKey: (id) =>
      Effect.sync(() => {
        const row = keys.get(id)
        return row === undefined ? undefined : withUser(row)
      }),
    keys: (page) => Effect.sync(() => paged(keys.values(), ({ id }) => id, page).map(withUser)),
    revokeKey: ({ tenant, id, at }, event) =>
      Effect.suspend(() => {
        const row = keys.get(id)
        if (row === undefined || !isOf(tenant)(row)) return refuse(new NoSuchKey({ id }))
        if (row.revokedAt !== undefined) return refuse(new KeyRevoked({ id, at: row.revokedAt }))
        keys.set(id, { ...row, revokedAt: at })
        return told(event, undefined)
      }),
    useKeys: (uses) =>
      Effect.sync(() => {
        for (const { tenant, id, at } of uses) {
          const row = keys.get(id)
          if (row !== undefined && isOf(tenant)(row) && (row.usedAt ?? -1) < at) {
            keys.set(id, { ...row, usedAt: at })
          }
        }
      }),
    credentials: ({ name, ...page }) =>
      Effect.sync(() =>
        paged(
          [...credentials.values()].filter((row) => name === undefined || row.name === storable(name)),
          (row) => row.name,
          page
        )
      ),
    putCredential: ({ tenant, name, sealed, at, revision }, event) =>
      Effect.suspend(() => {
        const found = credentials.get(placeOf(tenant, name))
        if (revision !== undefined && found?.revision !== revision) {
          return refuse(new CredentialChanged({ name }))
        }
        const next = (found?.revision ?? 0) + 1
        credentials.set(placeOf(tenant, name), {
          tenant,
          name: storable(name),
          sealed,
          revision: next,
          createdAt: found?.createdAt ?? at,
          updatedAt: at
        })
        return told(event, next)
      }),
    deleteCredential: ({ tenant, name }, event) =>
      Effect.suspend(() =>
        credentials.delete(placeOf(tenant, name))
          ? told(event, undefined)
          : refuse(new NoSuchCredential({ name }))
      ),
    agents: (page) => Effect.sync(() => paged(agents.values(), ({ name }) => name, page)),
    allAgents: ({ after, limit }) =>
      Effect.sync(() => {
        const nameOf = ({ tenant, name }: Pick<AgentRow, "tenant" | "name">) =>
          `${sorted(tenant)}\u0000${name}`
        return pageOf(agents.values(), nameOf, {
          limit,
          ...(after === undefined ? {} : { after: nameOf(after) })
        })
      }),
    putAgent: ({ tenant, name, settings, at, revision }, event) =>
      Effect.suspend(() => {
        if (!projects.has(show(tenant))) return refuse(new NoSuchProject({ project: show(tenant) }))
        const found = agents.get(placeOf(tenant, name))
        const present = found?.revision ?? 0
        if (revision !== undefined && present !== revision) return refuse(new AgentChanged({ name }))
        agents.set(placeOf(tenant, name), {
          tenant,
          name: storable(name),
          settings: storable(settings),
          revision: present + 1,
          createdAt: found?.createdAt ?? at,
          updatedAt: at
        })
        return told(event, present + 1)
      }),
    deleteAgent: ({ tenant, name }, event) =>
      Effect.suspend(() =>
        agents.delete(placeOf(tenant, name)) ? told(event, undefined) : refuse(new NoSuchAgent({ name }))
      ),
    useCode: ({ id, endsAt, now }) =>
      Effect.sync(() => {
        for (const [used, end] of usedCodes) if (end <= now) usedCodes.delete(used)
        if (usedCodes.has(id)) return false
        usedCodes.set(id, endsAt)
        return true
      })
  })
})

export const layer = Layer.effect(CentralDb, make)
