/**
 * Organisations, their projects and their users.
 *
 * Owns: that every change is told to the audit log beside it, that a disabled user's keys are refused at once here, and which tenants there
 * are. Does not own: what is stored and refused (`CentralDb`), keys (`ApiKeys`), nor who may change what (`gateway`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Role } from "#src/domain/Scope.ts"
import { local, show, type Tenant } from "#src/domain/Tenant.ts"
import {
  CentralDb,
  type CentralError,
  type OrgRow,
  type ProjectRow,
  type UserRow
} from "#src/horizons/CentralDb.ts"
import { LogError, StoreBroken } from "#src/horizons/MessageLog.ts"
import { Tenants } from "#src/horizons/Tenants.ts"
import { ApiKeys } from "./ApiKeys.ts"
import { Audit } from "./Audit.ts"

type Db = CentralDb["Service"]

export class Directory extends Context.Service<
  Directory,
  {
    /** Refused with `OrgExists`. */
    readonly createOrg: (org: string, name: string, actor: string) => Effect.Effect<OrgRow, CentralError>
    readonly orgs: Db["orgs"]
    /** Refused with `NoSuchOrg` or `ProjectExists`. */
    readonly createProject: (
      tenant: Tenant,
      name: string,
      actor: string
    ) => Effect.Effect<ProjectRow, CentralError>
    readonly projects: Db["projects"]
    readonly hasProject: Db["hasProject"]
    /** Of the tenant's organisation. Refused with `UserExists`. */
    readonly createUser: (
      tenant: Tenant,
      user: Pick<UserRow, "id" | "role" | "email">,
      actor: string
    ) => Effect.Effect<UserRow, CentralError>
    readonly users: Db["users"]
    /** Keys they have stay as they are. Refused with `NoSuchUser`. */
    readonly setRole: (
      tenant: Tenant,
      id: string,
      role: Role,
      actor: string
    ) => Effect.Effect<UserRow, CentralError>
    /** None of their keys is good until they are enabled again. Refused with `NoSuchUser`. */
    readonly setDisabled: (
      tenant: Tenant,
      id: string,
      isDisabled: boolean,
      actor: string
    ) => Effect.Effect<UserRow, CentralError>
  }
>()("opencraw/access/Directory") {}

export const make = Effect.gen(function* () {
  const db = yield* CentralDb
  const audit = yield* Audit
  const keys = yield* ApiKeys

  return Directory.of({
    createOrg: Effect.fn("Directory.createOrg")(function* (org, name, actor) {
      const row = { org, name, createdAt: yield* Clock.currentTimeMillis }
      yield* db.createOrg(row, yield* audit.eventOf({ actor, action: "org.created", subject: org }))
      return row
    }),
    orgs: db.orgs,
    createProject: Effect.fn("Directory.createProject")(function* (tenant, name, actor) {
      const row = { tenant, name, createdAt: yield* Clock.currentTimeMillis }
      const event = yield* audit.eventOf({ actor, action: "project.created", subject: show(tenant) })
      yield* db.createProject(row, event)
      return row
    }),
    projects: db.projects,
    hasProject: db.hasProject,
    createUser: Effect.fn("Directory.createUser")(function* (tenant, user, actor) {
      const row = { ...user, org: tenant.org, createdAt: yield* Clock.currentTimeMillis }
      const detail = { role: user.role }
      const event = yield* audit.eventOf({ tenant, actor, action: "user.created", subject: user.id, detail })
      yield* db.createUser(row, event)
      return { ...row, disabledAt: undefined }
    }),
    users: db.users,
    setRole: Effect.fn("Directory.setRole")(function* (tenant, id, role, actor) {
      const event = yield* audit.eventOf({
        tenant,
        actor,
        action: "user.role_set",
        subject: id,
        detail: { role }
      })
      return yield* db.changeUser({ org: tenant.org, id, role }, event)
    }),
    setDisabled: Effect.fn("Directory.setDisabled")(function* (tenant, id, isDisabled, actor) {
      const now = yield* Clock.currentTimeMillis
      const action = isDisabled ? "user.disabled" : "user.enabled"
      const event = yield* audit.eventOf({ tenant, actor, action, subject: id })
      const change = { org: tenant.org, id, disabledAt: isDisabled ? now : undefined }
      return yield* Effect.uninterruptible(
        Effect.tap(db.changeUser(change, event), () =>
          Effect.sync(() => {
            // A key that is not good is never remembered, so there is nothing to forget of one who is enabled.
            if (isDisabled) keys.forgetUser(tenant.org, id)
          })
        )
      )
    })
  })
})

export const layer = Layer.effect(Directory, make)

const pageSize = 1000

/** The tenants that the directory has, this one's own among them. */
export const layerTenants = Layer.effect(
  Tenants,
  Effect.map(CentralDb, (db) => ({
    all: Effect.gen(function* () {
      const found: Array<Tenant> = []
      let page = yield* db.projects({ limit: pageSize })
      while (true) {
        for (const { tenant } of page) found.push(tenant)
        const after = found.at(-1)
        if (after === undefined || page.length < pageSize) return found.length === 0 ? [local] : found
        page = yield* db.projects({ after, limit: pageSize })
      }
    }).pipe(
      Effect.mapError(({ reason }) =>
        reason._tag === "StoreBusy" || reason._tag === "StoreBroken" || reason._tag === "StoreFull"
          ? new LogError({ reason })
          : new LogError({ reason: new StoreBroken({ detail: reason.message }) })
      )
    )
  }))
)
