/**
 * Which sessions a principal may use.
 *
 * Owns: what a session's name means to an API key: its user's own sessions are `agent:<agent>:user:<user>` and all behind that, and
 * every name that does not begin with `agent:` is one of them. So two users never meet in a session, whatever they name it.
 * And how a session of a tenant is named to those who act in it. Does not own: how a key is spelled (`domain/SessionKey`), nor which route needs which scope (`Auth`). Pure.
 */
import * as Result from "effect/Result"
import * as SessionKey from "#src/domain/SessionKey.ts"
import { isSame, parse, type Tenant } from "#src/domain/Tenant.ts"
import { ApiError, invalid } from "./ApiError.ts"
import { type Principal, runsAll } from "./Auth.ts"

/** What the own sessions of a principal are named behind `agent:<agent>:`; undefined for one who names all as they are. */
export const ownedBy = ({ admin, scopes, id }: Principal): string | undefined =>
  !admin && scopes.includes("chat") ? `user:${id}` : undefined

export interface Wishes {
  /** Only read it. */
  readonly sees?: boolean
  /** Whom a name belongs to that names no agent. */
  readonly agent?: string
  /** Where the name was given. */
  readonly param?: string
}

/** The session that a name means, in any spelling, if the principal may use it so. */
export const sessionOf = (
  spelling: string,
  principal: Principal,
  { sees = false, agent, param = "session_key" }: Wishes = {}
): Result.Result<SessionKey.SessionKey, ApiError> => {
  const own = ownedBy(principal)
  const { tenant, text } = placed(spelling.trim(), principal)
  const isRelative = own !== undefined && text !== "" && !text.toLowerCase().startsWith("agent:")
  const key = SessionKey.canonical(isRelative ? `${own}:${text}` : text, agent)
  if (Result.isFailure(key)) return Result.fail(invalid(param, key.failure.message))
  const rest = SessionKey.restOf(key.success)
  const isOwn = own !== undefined && (rest === own || rest.startsWith(`${own}:`))
  const maySee = sees && principal.scopes.includes("read")
  if (principal.admin || isOwn || maySee) return Result.succeed(SessionKey.within(tenant, key.success))
  return Result.fail(
    new ApiError({
      status: 403,
      ...(SessionKey.isReserved(key.success)
        ? {
            code: "reserved_session",
            message: "this session belongs to the gateway or to a channel's peer: it needs an admin"
          }
        : { code: "foreign_session", message: "this session belongs to somebody else" }),
      param
    })
  )
}

/** The session of the `user` of an OpenAI request. */
export const sessionOfUser = (
  user: string,
  principal: Principal,
  agent: string
): Result.Result<SessionKey.SessionKey, ApiError> => {
  const own = ownedBy(principal)
  if (own !== undefined && user !== "") {
    return sessionOf(`user:${SessionKey.escapeId(user)}`, principal, { agent, param: "user" })
  }
  return SessionKey.fromUser(user, agent).pipe(
    Result.map((key) => SessionKey.within(principal.tenant, key)),
    Result.mapError((error) => invalid("user", error.message))
  )
}

/** What the principal calls this session: its tenant is named where it is another one than they act in. */
export const shown = (session: SessionKey.SessionKey, { tenant }: Principal): SessionKey.SessionKey =>
  isSame(SessionKey.tenantOf(session), tenant) ? SessionKey.nameOf(session) : session

/** Who sees the sessions of all tenants may name one as they are shown it. */
const placed = (text: string, principal: Principal): { readonly tenant: Tenant; readonly text: string } => {
  const [, named = "", rest = ""] = /^([^/\s]+\/[^/\s]+)\/(agent:.*)$/is.exec(text) ?? []
  const tenant = runsAll(principal) ? parse(named.toLowerCase()) : undefined
  return tenant === undefined ? { tenant: principal.tenant, text } : { tenant, text: rest }
}
