/**
 * Who is asking: the operator's token, or a browser that exchanged a one-time code.
 *
 * Owns: principals, codes, the browser's cookie and the rules of both.
 * Does not own: keys and signatures (`GatewaySecrets`), nor what a principal may do with an agent (`access`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Ids } from "#src/domain/Ids.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { ApiError } from "./ApiError.ts"
import { GatewaySecrets } from "./GatewaySecrets.ts"
import { isSameOrigin } from "./Guard.ts"

export interface Principal {
  readonly id: string
  /** May name reserved sessions and make codes. */
  readonly admin: boolean
  /** The sender ids it may write as. */
  readonly senders: "*" | ReadonlyArray<string>
}

export const operator: Principal = { id: "operator", admin: true, senders: "*" }
/** The person at the terminal where the gateway was started, in any of their browsers. */
export const owner: Principal = { id: "owner", admin: true, senders: ["owner"] }

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
}

export const cookieName = "opencraw_session"
const cookieLifeMillis = 30 * 24 * 3_600_000
const codeLifeMillis = 10 * 60_000
const maxFailures = 10
const maxCodes = 100
const maxRemotes = 1000

export class Auth extends Context.Service<
  Auth,
  {
    /** Who is asking. Fails with 401 for nobody, 403 for a browser's change from a foreign page. */
    readonly authenticate: (credentials: Credentials) => Effect.Effect<Principal, ApiError>
    /** A fresh one-time code, valid for 10 minutes. */
    readonly newCode: Effect.Effect<string>
    /** Exchange a code for the value of the browser's cookie. Single use; ten failures of one address within 10 minutes give 429. */
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
  const codes = new Map<string, number>()
  const failures = new Map<string, { count: number; until: number }>()

  const refuse = (message: string) =>
    Effect.andThen(Telemetry.authFailed, Effect.fail(unauthenticated(message)))

  const authenticate = Effect.fnUntraced(function* (credentials: Credentials) {
    const { authorization, cookie, token } = credentials
    if (authorization !== undefined) {
      const bearer = /^Bearer +(\S+) *$/i.exec(authorization)?.[1]
      if (bearer === undefined) return yield* refuse("the Authorization header must read: Bearer <token>")
      return secrets.isToken(bearer) ? operator : yield* refuse("the token is not valid")
    }
    if (token !== undefined)
      return secrets.isToken(token) ? operator : yield* refuse("the token is not valid")
    const value = cookie === undefined ? undefined : cookieOf(cookie)
    if (value === undefined) return yield* refuse("a token is required: Authorization: Bearer <token>")
    const signed = /^v1\.owner\.([0-9]{1,15})\.[\w-]+$/.exec(secrets.verify(value) ?? "")
    const now = yield* Clock.currentTimeMillis
    if (signed === null || now - Number(signed[1]) > cookieLifeMillis) {
      return yield* refuse("this browser's session is not valid any more: open a new link")
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

  const newCode = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    for (const [code, until] of codes) if (until <= now || codes.size >= maxCodes) codes.delete(code)
    const code = ids.secret()
    codes.set(code, now + codeLifeMillis)
    return code
  })

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
    // A map finds by hash, so the time taken tells nothing useful about a random 128-bit code.
    const until = codes.get(code)
    codes.delete(code)
    if (until === undefined || until <= now) {
      if (failures.size >= maxRemotes) failures.clear()
      failures.set(remote, { count: failed.count + 1, until: failed.until })
      return yield* refuse("the code is not valid any more: open a new link")
    }
    return secrets.sign(`v1.owner.${now}.${ids.secret()}`)
  })

  return Auth.of({ authenticate, newCode, redeem })
})

export const layer = Layer.effect(Auth, make)
