/**
 * Stored credentials over HTTP: set, listed without their value, deleted, and encrypted anew with the present key.
 *
 * Owns: what may be asked for, and the shapes on the wire. A value comes in and never goes out.
 * Does not own: credentials (`access/Credentials`).
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Redacted from "effect/Redacted"
import { Credentials } from "#src/access/Credentials.ts"
import type { CredentialRow } from "#src/horizons/CentralDb.ts"
import { invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { actorOf } from "./Auth.ts"
import { Gateway } from "./GatewaySettings.ts"
import { json, numbers } from "./osRoutes.ts"
import { nameOf, pageOf } from "./pages.ts"
import { readStrict } from "./readBody.ts"
import { centralRefusal, secretsRefusal } from "./refusals.ts"
import type { Call, Route } from "./Routing.ts"

const bodyKeys = new Set(["name", "value"])
const noKeys: ReadonlySet<string> = new Set()
const maxValue = 65_536

const toCredential = (row: CredentialRow): typeof Api.Credential.Type => ({
  name: row.name,
  key_id: row.sealed.keyId,
  created_at: row.createdAt,
  updated_at: row.updatedAt
})

export const make = Effect.gen(function* () {
  const credentials = yield* Credentials
  const settings = yield* Gateway

  const set = Effect.fnUntraced(function* ({ request, query, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const body = yield* readStrict(request, settings.get().max_body_bytes, bodyKeys)
    const name = yield* Effect.fromResult(nameOf(body, "name"))
    const value = Object.hasOwn(body, "value") ? body["value"] : undefined
    // It goes into a header of a request to a provider.
    if (typeof value !== "string" || value.length > maxValue || !/^[\x21-\x7e]+$/.test(value)) {
      return yield* invalid("value", `value must be one word of plain characters, at most ${maxValue}`)
    }
    yield* credentials.set(name, Redacted.make(value), actorOf(principal).actor).pipe(
      Effect.catchTags({
        CentralError: (error) => Effect.fail(centralRefusal(error)),
        SecretsError: (error) => Effect.fail(secretsRefusal(error))
      })
    )
    return HttpServerResponse.empty()
  })

  const list = Effect.fnUntraced(function* ({ query }: Call) {
    const page = yield* Effect.fromResult(pageOf(query))
    const rows = yield* credentials.list(page).pipe(Effect.mapError(centralRefusal))
    const next = rows.length < page.limit ? undefined : rows.at(-1)?.name
    return json({
      credentials: rows.map(toCredential),
      ...(next === undefined ? {} : { next })
    } satisfies typeof Api.Credentials.Type)
  })

  const remove = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    yield* credentials
      .remove(params["name"] ?? "", actorOf(principal).actor)
      .pipe(Effect.mapError(centralRefusal))
    return HttpServerResponse.empty()
  })

  const rotate = Effect.fnUntraced(function* ({ request, query, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    yield* readStrict(request, settings.get().max_body_bytes, noKeys)
    const rotated = yield* credentials.rotate(actorOf(principal).actor).pipe(
      Effect.catchTags({
        CentralError: (error) => Effect.fail(centralRefusal(error)),
        SecretsError: (error) => Effect.fail(secretsRefusal(error))
      })
    )
    return json({ rotated } satisfies typeof Api.Rotated.Type)
  })

  const path = "/api/v1/os/credentials"
  const routes: ReadonlyArray<Route> = [
    { method: "POST", path, access: "admin", isShared: true, handle: set },
    { method: "GET", path, access: "admin", isShared: true, handle: list },
    { method: "POST", path: `${path}/rotate`, access: "admin", isShared: true, handle: rotate },
    { method: "DELETE", path: `${path}/:name`, access: "admin", isShared: true, handle: remove }
  ]
  return routes
})
