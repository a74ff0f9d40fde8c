/**
 * `/openapi.json` and `/docs`.
 *
 * The document is made from the API's declaration when first asked for, so that starting the gateway never pays for it.
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Route } from "./Routing.ts"

const load = Effect.runSync(Effect.cached(Effect.promise(() => import("./apiDocument.ts"))))

const openapi = Effect.map(load, ({ document }) => HttpServerResponse.jsonUnsafe(document()))
const docs = Effect.map(load, ({ page }) =>
  HttpServerResponse.text(page(), {
    contentType: "text/html; charset=utf-8",
    headers: {
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    }
  })
)

export const routes: ReadonlyArray<Route> = [
  { method: "GET", path: "/openapi.json", access: "principal", handle: () => openapi },
  { method: "GET", path: "/docs", access: "principal", handle: () => docs }
]
