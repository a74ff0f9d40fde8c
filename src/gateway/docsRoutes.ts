/**
 * `/openapi.json` and `/docs`.
 *
 * The document is made from the API's declaration when first asked for, so that starting the gateway never pays for it.
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Route } from "./Routing.ts"

/** Of these routes and its own. */
export const make = (others: ReadonlyArray<Route>): ReadonlyArray<Route> => {
  const spec = Effect.runSync(
    Effect.cached(
      Effect.map(
        Effect.promise(() => import("./apiDocument.ts")),
        ({ document, page }) => {
          const made = document([...others, ...routes])
          return { made, page: page(made) }
        }
      )
    )
  )
  const openapi = Effect.map(spec, ({ made }) => HttpServerResponse.jsonUnsafe(made))
  const docs = Effect.map(spec, ({ page }) =>
    HttpServerResponse.text(page, {
      contentType: "text/html; charset=utf-8",
      headers: {
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
      }
    })
  )
  const routes: ReadonlyArray<Route> = [
    { method: "GET", path: "/openapi.json", access: "any", handle: () => openapi },
    { method: "GET", path: "/docs", access: "any", handle: () => docs }
  ]
  return routes
}
