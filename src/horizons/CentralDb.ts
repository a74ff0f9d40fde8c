/**
 * Who may use the gateway: organisations, their projects, users and agents, API keys, and credentials that are kept encrypted.
 *
 * Owns: what is stored of them, what is refused, and that every change commits together with its audit event.
 * Does not own: how a key is made and checked or a credential is encrypted (`access`, `Secrets`), nor SQL (`layers/horizons`).
 *
 * A secret never comes here: of a key there is a digest, of a credential the sealed text. In names a NUL and a lone surrogate become
 * U+FFFD. All times are ms since the epoch, given by the caller.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import { Role, type Scope, scopesOf } from "#src/domain/Scope.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { StoreBroken, StoreBusy, StoreFull } from "./MessageLog.ts"
import type { Sealed } from "./Secrets.ts"

/** A key that is not revoked has this name. */
export class KeyNameTaken extends Schema.TaggedError<KeyNameTaken>()("KeyNameTaken", {
  name: Schema.String
}) {
  override get message() {
    return "there is a key of this name already: revoke it first, or name this one otherwise"
  }
}
/** There is no key of this id. */
export class NoSuchKey extends Schema.TaggedError<NoSuchKey>()("NoSuchKey", { id: Schema.String }) {
  override get message() {
    return "there is no such key"
  }
}
/** It was revoked before. Nothing was changed. */
export class KeyRevoked extends Schema.TaggedError<KeyRevoked>()("KeyRevoked", {
  id: Schema.String,
  at: Schema.Finite
}) {
  override get message() {
    return "this key is revoked already"
  }
}
/** There is no credential of this name. */
export class NoSuchCredential extends Schema.TaggedError<NoSuchCredential>()("NoSuchCredential", {
  name: Schema.String
}) {
  override get message() {
    return "there is no such credential"
  }
}
/** Somebody else set or deleted it meanwhile. Nothing was changed. */
export class CredentialChanged extends Schema.TaggedError<CredentialChanged>()("CredentialChanged", {
  name: Schema.String
}) {
  override get message() {
    return "this credential was changed meanwhile"
  }
}

/** There is an organisation of this name already. */
export class OrgExists extends Schema.TaggedError<OrgExists>()("OrgExists", { org: Schema.String }) {
  override get message() {
    return "there is an organisation of this name already"
  }
}
/** There is no organisation of this name. */
export class NoSuchOrg extends Schema.TaggedError<NoSuchOrg>()("NoSuchOrg", { org: Schema.String }) {
  override get message() {
    return "there is no such organisation"
  }
}
/** The organisation has a project of this name already. */
export class ProjectExists extends Schema.TaggedError<ProjectExists>()("ProjectExists", {
  project: Schema.String
}) {
  override get message() {
    return "the organisation has a project of this name already"
  }
}
/** The organisation has no project of this name, or there is no such organisation. */
export class NoSuchProject extends Schema.TaggedError<NoSuchProject>()("NoSuchProject", {
  project: Schema.String
}) {
  override get message() {
    return "there is no such project"
  }
}
/** The organisation has a user of this name already. */
export class UserExists extends Schema.TaggedError<UserExists>()("UserExists", { user: Schema.String }) {
  override get message() {
    return "the organisation has a user of this name already"
  }
}
/** The organisation has no user of this name. */
export class NoSuchUser extends Schema.TaggedError<NoSuchUser>()("NoSuchUser", { user: Schema.String }) {
  override get message() {
    return "there is no such user"
  }
}
/** The user is disabled: no key is made for them. */
export class UserDisabled extends Schema.TaggedError<UserDisabled>()("UserDisabled", {
  user: Schema.String
}) {
  override get message() {
    return "this user is disabled: enable them first"
  }
}
/** The user may not do what the key would. */
export class RoleTooLow extends Schema.TaggedError<RoleTooLow>()("RoleTooLow", {
  user: Schema.String,
  role: Role
}) {
  override get message() {
    return `this user is a ${this.role}, whose keys may have ${scopesOf[this.role].join(" and ")}: give them another role first`
  }
}

/** The project has no agent of its own of this name. */
export class NoSuchAgent extends Schema.TaggedError<NoSuchAgent>()("NoSuchAgent", { name: Schema.String }) {
  override get message() {
    return "the project has no agent of its own of this name"
  }
}
/** Somebody else set or deleted it meanwhile. Nothing was changed. */
export class AgentChanged extends Schema.TaggedError<AgentChanged>()("AgentChanged", {
  name: Schema.String
}) {
  override get message() {
    return "this agent was changed meanwhile"
  }
}

export class CentralError extends Schema.TaggedError<CentralError>()("CentralError", {
  reason: Schema.Union([
    KeyNameTaken,
    NoSuchKey,
    KeyRevoked,
    NoSuchCredential,
    CredentialChanged,
    OrgExists,
    NoSuchOrg,
    ProjectExists,
    NoSuchProject,
    UserExists,
    NoSuchUser,
    UserDisabled,
    RoleTooLow,
    NoSuchAgent,
    AgentChanged,
    StoreFull,
    StoreBroken,
    StoreBusy
  ])
}) {
  override get message() {
    return this.reason.message
  }
}

/** An API key as it is kept. */
export interface ApiKeyRow {
  readonly tenant: Tenant
  /** Unique among the keys of all tenants: a key is shown without saying whose it is. */
  readonly id: string
  /** What people call it; unique among the keys that are not revoked. */
  readonly name: string
  /** Whom it writes as, and whose sessions it has. */
  readonly user: string
  readonly scopes: ReadonlyArray<Scope>
  /** Of the whole key; what the key itself was is not kept. */
  readonly digest: string
  readonly createdAt: number
  readonly expiresAt: number | undefined
  readonly revokedAt: number | undefined
  /** Told now and then only. */
  readonly usedAt: number | undefined
  /** Since when its user is disabled. */
  readonly userDisabledAt: number | undefined
}
export type NewApiKey = Omit<ApiKeyRow, "revokedAt" | "usedAt" | "userDisabledAt">

/** An organisation; `createdAt` is 0 for one that is older than the list of them. */
export interface OrgRow {
  readonly org: string
  readonly name: string
  readonly createdAt: number
}
export interface ProjectRow {
  readonly tenant: Tenant
  readonly name: string
  readonly createdAt: number
}
/** A user of an organisation, in all its projects. */
export interface UserRow {
  readonly org: string
  readonly id: string
  readonly role: Role
  readonly email: string | undefined
  readonly createdAt: number
  readonly disabledAt: number | undefined
}

/** A credential as it is kept. */
export interface CredentialRow {
  readonly tenant: Tenant
  readonly name: string
  readonly sealed: Sealed
  /** Rises with every change, from 1; a deleted one that is set again begins anew. */
  readonly revision: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** An agent of a project, beside those of the configuration. */
export interface AgentRow {
  readonly tenant: Tenant
  readonly name: string
  /** JSON, as somebody gave them. */
  readonly settings: string
  /** Rises with every change, from 1; a deleted one that is set again begins anew. */
  readonly revision: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** A page of names or ids, in the order of their bytes. */
export interface Page {
  readonly tenant: Tenant
  /** Only those behind this one. */
  readonly after?: string
  readonly limit: number
}

export class CentralDb extends Context.Service<
  CentralDb,
  {
    /** Refused with `OrgExists`. */
    readonly createOrg: (org: OrgRow, event: AuditEvent) => Effect.Effect<void, CentralError>
    /** By name. */
    readonly orgs: (page: {
      readonly after?: string
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<OrgRow>, CentralError>
    /** Refused with `NoSuchOrg` or `ProjectExists`. */
    readonly createProject: (project: ProjectRow, event: AuditEvent) => Effect.Effect<void, CentralError>
    /** Of all organisations, by their names and their own. */
    readonly projects: (page: {
      readonly after?: Tenant
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<ProjectRow>, CentralError>
    readonly hasProject: (tenant: Tenant) => Effect.Effect<boolean, CentralError>
    /** Refused with `NoSuchOrg` or `UserExists`. */
    readonly createUser: (
      user: Omit<UserRow, "disabledAt">,
      event: AuditEvent
    ) => Effect.Effect<void, CentralError>
    /** By id. */
    readonly users: (page: {
      readonly org: string
      readonly after?: string
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<UserRow>, CentralError>
    /** Their role, and since when they are disabled (undefined: they are not). Refused with `NoSuchUser`. Keys they have stay as they are. */
    readonly changeUser: (
      user: Pick<UserRow, "org" | "id"> & Partial<Pick<UserRow, "role" | "disabledAt">>,
      event: AuditEvent
    ) => Effect.Effect<UserRow, CentralError>
    /**
     * Refused with `KeyNameTaken`, `NoSuchProject`, `UserDisabled` or `RoleTooLow`. A user that is new becomes one, with the least role
     * that the key needs. The id is new.
     */
    readonly createKey: (key: NewApiKey, event: AuditEvent) => Effect.Effect<void, CentralError>
    /** Of any tenant, revoked and expired ones too. */
    readonly findKey: (id: string) => Effect.Effect<ApiKeyRow | undefined, CentralError>
    /** By id: in the order of their making. */
    readonly keys: (page: Page) => Effect.Effect<ReadonlyArray<ApiKeyRow>, CentralError>
    /** Refused with `NoSuchKey` or `KeyRevoked`: of several at once one revokes. */
    readonly revokeKey: (
      key: { readonly tenant: Tenant; readonly id: string; readonly at: number },
      event: AuditEvent
    ) => Effect.Effect<void, CentralError>
    /** When keys were last used. An earlier time than the one that is known changes nothing. */
    readonly useKeys: (
      uses: ReadonlyArray<{ readonly tenant: Tenant; readonly id: string; readonly at: number }>
    ) => Effect.Effect<void, CentralError>
    /** By name; `name` for this one alone. */
    readonly credentials: (
      page: Page & { readonly name?: string }
    ) => Effect.Effect<ReadonlyArray<CredentialRow>, CentralError>
    /**
     * Set it, whether it was there or not; with `revision` only when it still is this one, refused with `CredentialChanged` else.
     * Gives its new revision.
     */
    readonly putCredential: (
      credential: Pick<CredentialRow, "tenant" | "name" | "sealed"> & {
        readonly at: number
        readonly revision?: number
      },
      event: AuditEvent
    ) => Effect.Effect<number, CentralError>
    /** Refused with `NoSuchCredential`. */
    readonly deleteCredential: (
      credential: { readonly tenant: Tenant; readonly name: string },
      event: AuditEvent
    ) => Effect.Effect<void, CentralError>
    /** Of one project, by name. */
    readonly agents: (page: Page) => Effect.Effect<ReadonlyArray<AgentRow>, CentralError>
    /** Of all projects, by their names and its own. */
    readonly allAgents: (page: {
      readonly after?: Pick<AgentRow, "tenant" | "name">
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<AgentRow>, CentralError>
    /**
     * Set it, whether it was there or not; with `revision` only when it still is this one (0: when there is none), refused with
     * `AgentChanged` else, and with `NoSuchProject`. Gives its new revision.
     */
    readonly putAgent: (
      agent: Pick<AgentRow, "tenant" | "name" | "settings"> & {
        readonly at: number
        readonly revision?: number
      },
      event: AuditEvent
    ) => Effect.Effect<number, CentralError>
    /** Refused with `NoSuchAgent`. */
    readonly deleteAgent: (
      agent: { readonly tenant: Tenant; readonly name: string },
      event: AuditEvent
    ) => Effect.Effect<void, CentralError>
    /**
     * Use a one-time code, which would end at `endsAt` anyway: true for the first who does, of all gateways on this database. Codes that
     * had ended at `now` are forgotten.
     */
    readonly useCode: (code: {
      readonly id: string
      readonly endsAt: number
      readonly now: number
    }) => Effect.Effect<boolean, CentralError>
  }
>()("opencraw/horizons/CentralDb") {}
