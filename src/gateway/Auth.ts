/**
 * Who is asking, and what for: the operator's token, an API key, or a browser that exchanged a one-time code.
 *
 * Owns: principals and which scope opens what, codes, the browser's cookie and the rules of both.
 * Does not own: the operator's token and signatures (`GatewaySecrets`), nor API keys (`access/ApiKeys`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ApiKeys } from "#src/access/ApiKeys.ts"
import { idIn } from "#src/access/apiKey.ts"
import { Directory } from "#src/access/Directory.ts"
import { Audit, type Shown } from "#src/access/Audit.ts"
import { Ids } from "#src/domain/Ids.ts"
import type { Scope } from "#src/domain/Scope.ts"
import { nameOf, type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import * as Tenant from "#src/domain/Tenant.ts"
import { type ApiKeyRow, CentralDb } from "#src/horizons/CentralDb.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { ApiError, invalid, storeUnavailable } from "./ApiError.ts"
import { GatewaySecrets } from "./GatewaySecrets.ts"
import { isSameOrigin } from "./Guard.ts"

export interface Principal {
  /** Of a key: its user. */
  readonly id: string
  /** In whose data it acts. */
  readonly tenant: Tenant.Tenant
  /** It belongs to the first tenant, `local`, whose admins are those of the whole installation. */
  readonly isHome: boolean
  /** May do everything, name any session included. */
  readonly admin: boolean
  readonly scopes: ReadonlyArray<Scope>
  /** The sender ids it may write as. */
  readonly senders: "*" | ReadonlyArray<string>
  /** The API key that was shown; absent for the operator and the owner. */
  readonly keyId?: string
}

export const operator: Principal = {
  id: "operator",
  tenant: Tenant.local,
  isHome: true,
  admin: true,
  scopes: ["admin"],
  senders: "*"
}
/** The person at the terminal where the gateway was started, in any of their browsers. */
export const owner: Principal = { ...operator, id: "owner", senders: ["owner"] }
/** No key's user has the name of one of these. */
export const isReservedUser = (user: string): boolean => user === operator.id || user === owner.id

const ofKey = ({ id, tenant, user, scopes }: ApiKeyRow): Principal => {
  const admin = scopes.includes("admin")
  const senders = admin ? "*" : scopes.includes("chat") ? [user] : []
  return { id: user, tenant, isHome: Tenant.isLocal(tenant), admin, scopes, senders, keyId: id }
}

/** May act in every tenant, and sees what belongs to none. */
export const runsAll = ({ admin, isHome }: Principal): boolean => admin && isHome

/** What it did to a session, for the audit log of that session's tenant. */
export const onSession = (principal: Principal, key: SessionKey) => ({
  actor: actorOf(principal).actor,
  tenant: tenantOf(key),
  subject: nameOf(key)
})

/** Who it is in the audit log, and in whose. */
export const actorOf = ({
  id,
  keyId,
  tenant
}: Principal): { readonly actor: string; readonly tenant: Tenant.Tenant } => ({ actor: keyId ?? id, tenant })

/**
 * What a door asks for. `any`: somebody. `chat` and `read`: this scope. `see`: a session's content, which `chat` has of its own
 * sessions and `read` of all. An admin may use every door.
 */
export type Access = "any" | "chat" | "see" | "read" | "admin"

/** Which scope opens which door. */
export const opens: Readonly<Record<Access, ReadonlyArray<Scope>>> = {
  any: ["chat", "read", "admin"],
  chat: ["chat", "admin"],
  see: ["chat", "read", "admin"],
  read: ["read", "admin"],
  admin: ["admin"]
}

/** Why a door stays shut for this principal; undefined when it may pass. */
export const shutFor = ({ scopes }: Principal, access: Access): ApiError | undefined => {
  const needed = opens[access]
  if (scopes.some((scope) => needed.includes(scope))) return undefined
  if (access === "admin") return adminOnly
  return new ApiError({
    status: 403,
    code: "missing_scope",
    message: `this needs a key with the scope ${needed.join(" or ")}`,
    details: { needs: needed }
  })
}

const adminOnly = new ApiError({ status: 403, code: "admin_only", message: "this needs an admin" })
/** For a door to what all tenants share. */
export const homeOnly = new ApiError({
  status: 403,
  code: "installation_only",
  message: `this is about the whole installation: it needs a key of ${Tenant.show(Tenant.local)}`
})
const foreignTenant = new ApiError({
  status: 403,
  code: "foreign_tenant",
  message: "this key is of another project, and acts in that alone"
})

const noSuchProject = new ApiError({
  status: 404,
  code: "no_such_project",
  message: "there is no such project",
  param: "project"
})

export const mayWriteAs = (principal: Principal, sender: string): boolean =>
  principal.senders === "*" || principal.senders.includes(sender)

/** What a request shows of itself. */
export interface Credentials {
  readonly method: string
  readonly host: string
  readonly origin: string | undefined
  readonly authorization: string | undefined
  readonly cookie: string | undefined
  /** `?token=`, on `/ws` only. */
  readonly token?: string | undefined
  /** `org/project`: in whose data it is to act. */
  readonly project?: string | undefined
}

export const cookieName = "opencraw_session"
const cookieLifeMillis = 30 * 24 * 3_600_000
const codeLifeMillis = 10 * 60_000
const maxFailures = 10
const maxRemotes = 1000

export class Auth extends Context.Service<
  Auth,
  {
    /**
     * Who is asking, in the project that they name. Fails with 401 for nobody, 403 for a browser's change from a foreign page and for
     * who may not act in that project, 404 where there is none. An unknown, a wrong, an expired and a revoked key are told the same.
     */
    readonly authenticate: (credentials: Credentials) => Effect.Effect<Principal, ApiError>
    /** A fresh one-time code, valid for 10 minutes, in every gateway with this token on this database. */
    readonly newCode: Effect.Effect<string>
    /**
     * Exchange a code for the value of the browser's cookie. Single use; ten failures of one address within 10 minutes give 429. Fails with
     * 503 while the store is away, and the code is still good.
     */
    readonly redeem: (code: string, remote: string) => Effect.Effect<string, ApiError>
  }
>()("opencraw/gateway/Auth") {}

const unauthenticated = (message: string) =>
  new ApiError({
    status: 401,
    code: "unauthenticated",
    message,
    headers: { "www-authenticate": "Bearer" }
  })

const cookieOf = (header: string): string | undefined => {
  for (const part of header.split(";")) {
    const at = part.indexOf("=")
    if (at > 0 && part.slice(0, at).trim() === cookieName) return part.slice(at + 1).trim()
  }
  return undefined
}

/** `Set-Cookie` for a redeemed code. */
export const setCookie = (value: string): string =>
  `${cookieName}=${value}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${cookieLifeMillis / 1000}`

export const make = Effect.gen(function* () {
  const secrets = yield* GatewaySecrets
  const ids = yield* Ids
  const apiKeys = yield* ApiKeys
  const directory = yield* Directory
  const audit = yield* Audit
  const central = yield* CentralDb
  const failures = new Map<string, { count: number; until: number }>()

  const refuse = (shown: Shown, message: string) =>
    Effect.suspend(() => {
      audit.refused(shown)
      return Effect.andThen(Telemetry.authFailed, Effect.fail(unauthenticated(message)))
    })

  const byToken = (token: string): Effect.Effect<Principal, ApiError> => {
    if (secrets.isToken(token)) return Effect.succeed(operator)
    return apiKeys.verify(token).pipe(
      Effect.catchTags({ CentralError: () => Effect.fail(storeUnavailable(false)) }),
      Effect.flatMap((row) => {
        if (row === undefined) {
          return refuse(idIn(token) === undefined ? "token" : "key", "the token is not valid")
        }
        return Effect.succeed(ofKey(row))
      })
    )
  }

  /** The same principal in the project that it names. */
  const actingIn = (principal: Principal, named: string): Effect.Effect<Principal, ApiError> => {
    const tenant = Tenant.parse(named)
    if (tenant === undefined) {
      return Effect.fail(invalid("project", "a project is named org/project", "invalid_project"))
    }
    if (Tenant.isSame(tenant, principal.tenant)) return Effect.succeed(principal)
    if (!runsAll(principal)) return Effect.fail(foreignTenant)
    return directory.hasProject(tenant).pipe(
      Effect.mapError(() => storeUnavailable(false)),
      Effect.flatMap((isThere) =>
        isThere ? Effect.succeed({ ...principal, tenant }) : Effect.fail(noSuchProject)
      )
    )
  }

  const authenticate = (credentials: Credentials): Effect.Effect<Principal, ApiError> =>
    credentials.project === undefined
      ? identify(credentials)
      : Effect.flatMap(identify(credentials), (found) => actingIn(found, credentials.project ?? ""))

  const identify = Effect.fnUntraced(function* (credentials: Credentials) {
    const { authorization, cookie, token } = credentials
    if (authorization !== undefined) {
      const bearer = /^Bearer +(\S+) *$/i.exec(authorization)?.[1]
      if (bearer === undefined) {
        return yield* refuse("token", "the Authorization header must read: Bearer <token>")
      }
      return yield* byToken(bearer)
    }
    if (token !== undefined) return yield* byToken(token)
    const value = cookie === undefined ? undefined : cookieOf(cookie)
    if (value === undefined) {
      return yield* refuse("nothing", "a token is required: Authorization: Bearer <token>")
    }
    const signed = /^v1\.owner\.([0-9]{1,15})\.[\w-]+$/.exec(secrets.verify(value) ?? "")
    const now = yield* Clock.currentTimeMillis
    if (signed === null || now - Number(signed[1]) > cookieLifeMillis) {
      return yield* refuse("cookie", "this browser's session is not valid any more: open a new link")
    }
    const isRead = credentials.method === "GET" || credentials.method === "HEAD"
    if (
      !isRead &&
      (credentials.origin === undefined || !isSameOrigin(credentials.origin, credentials.host))
    ) {
      return yield* new ApiError({
        status: 403,
        code: "foreign_origin",
        message: "a browser may change something only from this gateway's own page"
      })
    }
    return owner
  })

  // It says itself until when it is good, so that any gateway with this token can tell; only its use is stored.
  const newCode = Effect.map(Clock.currentTimeMillis, (now) =>
    secrets.sign(`v1.code.${now + codeLifeMillis}.${ids.secret()}`)
  )

  /** True once for each code that is ours and has not ended. */
  const useCode = (code: string, now: number): Effect.Effect<boolean, ApiError> => {
    const signed = /^v1\.code\.([0-9]{1,15})\.([\w-]+)$/.exec(secrets.verify(code) ?? "")
    const endsAt = Number(signed?.[1])
    if (signed === null || endsAt <= now) return Effect.succeed(false)
    return Effect.mapError(central.useCode({ id: signed[2] ?? "", endsAt, now }), () =>
      storeUnavailable(false)
    )
  }

  const redeem = Effect.fn("Auth.redeem")(function* (code: string, remote: string) {
    const now = yield* Clock.currentTimeMillis
    const seen = failures.get(remote)
    const failed = seen === undefined || seen.until <= now ? { count: 0, until: now + codeLifeMillis } : seen
    if (failed.count >= maxFailures) {
      return yield* new ApiError({
        status: 429,
        code: "too_many_failures",
        message: "too many wrong codes; wait, then open a new link",
        retryAfterMillis: failed.until - now
      })
    }
    if (!(yield* useCode(code, now))) {
      if (failures.size >= maxRemotes) failures.clear()
      failures.set(remote, { count: failed.count + 1, until: failed.until })
      return yield* refuse("code", "the code is not valid any more: open a new link")
    }
    yield* audit.record({ actor: owner.id, action: "signed_in", detail: { remote } })
    return secrets.sign(`v1.owner.${now}.${ids.secret()}`)
  })

  return Auth.of({ authenticate, newCode, redeem })
})

export const layer = Layer.effect(Auth, make)
