/**
 * API keys over HTTP: made, listed, revoked.
 *
 * Owns: what may be asked for, and the shapes on the wire. A key is in the answer to its making and nowhere else.
 * Does not own: keys (`access/ApiKeys`).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import { ApiKeys } from "#src/access/ApiKeys.ts"
import { type Scope, scopes } from "#src/domain/Scope.ts"
import type { ApiKeyRow } from "#src/horizons/CentralDb.ts"
import { invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { actorOf, isReservedUser } from "./Auth.ts"
import { Gateway } from "./GatewaySettings.ts"
import type { JsonObject } from "./Json.ts"
import { json, numbers } from "./osRoutes.ts"
import { nameOf, pageOf } from "./pages.ts"
import { readStrict } from "./readBody.ts"
import { centralRefusal } from "./refusals.ts"
import type { Call, Route } from "./Routing.ts"

const bodyKeys = new Set(["name", "scopes", "user", "expires_at"])
/** Characters that a session's name keeps as they are, so that a user is spelled the same everywhere. */
const userPattern = /^[a-z0-9][a-z0-9._@+-]{0,63}$/

const isScope = (value: unknown): value is Scope => (scopes as ReadonlyArray<unknown>).includes(value)

const scopesOf = (body: JsonObject) => {
  const given = Object.hasOwn(body, "scopes") ? body["scopes"] : undefined
  return Array.isArray(given) && given.length > 0 && given.every(isScope)
    ? Effect.succeed(scopes.filter((scope) => given.includes(scope)))
    : Effect.fail(invalid("scopes", `scopes must be a list of ${scopes.join(", ")}, at least one`))
}

/** The user that the body names; `instead` where it names none. */
export const userOf = (body: JsonObject, key: string, instead?: string) => {
  const given = Object.hasOwn(body, key) ? body[key] : instead
  if (typeof given !== "string" || !userPattern.test(given)) {
    const what = `${key} must have 1 to 64 of a to z, 0 to 9 and . _ @ + -, and begin with a letter or a digit`
    const isLeft = instead !== undefined && !Object.hasOwn(body, key)
    return Effect.fail(invalid(key, isLeft ? `${what}; without one it is the name` : what))
  }
  return isReservedUser(given)
    ? Effect.fail(invalid(key, "this user is the gateway's own"))
    : Effect.succeed(given)
}

const toKey = (row: ApiKeyRow, now: number): typeof Api.ApiKey.Type => ({
  id: row.id,
  name: row.name,
  user: row.user,
  scopes: row.scopes,
  state:
    row.revokedAt !== undefined
      ? "revoked"
      : row.userDisabledAt !== undefined
        ? "disabled"
        : row.expiresAt !== undefined && row.expiresAt <= now
          ? "expired"
          : "active",
  created_at: row.createdAt,
  ...(row.expiresAt === undefined ? {} : { expires_at: row.expiresAt }),
  ...(row.revokedAt === undefined ? {} : { revoked_at: row.revokedAt }),
  ...(row.usedAt === undefined ? {} : { last_used_at: row.usedAt })
})

export const make = Effect.gen(function* () {
  const keys = yield* ApiKeys
  const settings = yield* Gateway

  const create = Effect.fnUntraced(function* ({ request, query, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const body = yield* readStrict(request, settings.get().max_body_bytes, bodyKeys)
    const name = yield* Effect.fromResult(nameOf(body, "name"))
    const user = yield* userOf(body, "user", name)
    const now = yield* Clock.currentTimeMillis
    const expiresAt = Object.hasOwn(body, "expires_at") ? body["expires_at"] : undefined
    if (expiresAt !== undefined && !(Number.isSafeInteger(expiresAt) && Number(expiresAt) > now)) {
      return yield* invalid("expires_at", "expires_at must be a time to come, ms since 1970")
    }
    const wishes = {
      name,
      user,
      scopes: yield* scopesOf(body),
      expiresAt: expiresAt === undefined ? undefined : Number(expiresAt)
    }
    const made = yield* keys
      .create(principal.tenant, wishes, actorOf(principal).actor)
      .pipe(Effect.mapError(centralRefusal))
    const answer: typeof Api.MadeApiKey.Type = {
      key: Redacted.value(made.key),
      api_key: toKey(made.row, now)
    }
    return HttpServerResponse.jsonUnsafe(answer, { status: 201, headers: { "cache-control": "no-store" } })
  })

  const list = Effect.fnUntraced(function* ({ query, principal }: Call) {
    const page = yield* Effect.fromResult(pageOf(query))
    const rows = yield* keys.list({ tenant: principal.tenant, ...page }).pipe(Effect.mapError(centralRefusal))
    const now = yield* Clock.currentTimeMillis
    const next = rows.length < page.limit ? undefined : rows.at(-1)?.id
    return json({
      keys: rows.map((row) => toKey(row, now)),
      ...(next === undefined ? {} : { next })
    } satisfies typeof Api.ApiKeys.Type)
  })

  const revoke = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    yield* keys
      .revoke(principal.tenant, params["id"] ?? "", actorOf(principal).actor)
      .pipe(Effect.mapError(centralRefusal))
    return HttpServerResponse.empty()
  })

  const path = "/api/v1/os/keys"
  const routes: ReadonlyArray<Route> = [
    { method: "POST", path, access: "admin", handle: create },
    { method: "GET", path, access: "admin", handle: list },
    { method: "DELETE", path: `${path}/:id`, access: "admin", handle: revoke }
  ]
  return routes
})
