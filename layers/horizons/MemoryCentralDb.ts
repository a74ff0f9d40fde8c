/** Keys and credentials in memory: for tests. Its changes are told to the audit log beside it in the same turn. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import {
  type ApiKeyRow,
  CentralDb,
  CentralError,
  CredentialChanged,
  type CredentialRow,
  KeyNameTaken,
  KeyRevoked,
  NoSuchCredential,
  NoSuchKey,
  type Page
} from "#src/horizons/CentralDb.ts"
import { storable } from "#layers/platform/storable.ts"
import { byBytes, wholeLimit } from "./stored.ts"

const refuse = (reason: CentralError["reason"]) => Effect.fail(new CentralError({ reason }))
const isOf = (tenant: Tenant) => (row: { readonly tenant: Tenant }) =>
  row.tenant.org === tenant.org && row.tenant.project === tenant.project

export const make = Effect.gen(function* () {
  const audit = yield* AuditLog
  const keys = new Map<string, ApiKeyRow>()
  const credentials = new Map<string, CredentialRow>()
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
  ) =>
    [...rows]
      .filter((row) => isOf(tenant)(row) && (after === undefined || byBytes(nameOf(row), after) > 0))
      .toSorted((a, b) => byBytes(nameOf(a), nameOf(b)))
      .slice(0, wholeLimit(limit))

  return CentralDb.of({
    createKey: (key, event) =>
      Effect.suspend(() => {
        const name = storable(key.name)
        const isTaken = [...keys.values()].some(
          (row) => isOf(key.tenant)(row) && row.name === name && row.revokedAt === undefined
        )
        if (isTaken) return refuse(new KeyNameTaken({ name: key.name }))
        keys.set(key.id, {
          ...key,
          name,
          user: storable(key.user),
          revokedAt: undefined,
          usedAt: undefined
        })
        return told(event, undefined)
      }),
    findKey: (id) => Effect.sync(() => keys.get(id)),
    keys: (page) => Effect.sync(() => paged(keys.values(), ({ id }) => id, page)),
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
