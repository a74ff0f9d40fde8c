/**
 * Which handler answers a path, and what every handler is given.
 *
 * A table of our own: a route says who may use it, an unknown method is 405 with `Allow`, and nothing is parsed twice.
 */
import type * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { ApiError } from "./ApiError.ts"
import type { Access, Principal } from "./Auth.ts"

export interface OpenCall {
  readonly request: HttpServerRequest
  readonly requestId: string
  readonly query: URLSearchParams
  /** The path's parameters, decoded. */
  readonly params: Readonly<Record<string, string>>
}
export interface Call extends OpenCall {
  readonly principal: Principal
}

export type Answered = Effect.Effect<HttpServerResponse, ApiError>

/** `path` has `:name` for one segment and `:name*` for all that follow. An `open` route needs nobody. */
export type Route = {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE"
  readonly path: string
  /** It is about the whole installation: keys of other tenants than the first may not use it. */
  readonly isShared?: true
} & (
  | { readonly access: "open"; readonly handle: (call: OpenCall) => Answered }
  | { readonly access: Access; readonly handle: (call: Call) => Answered }
)

export type Match =
  | { readonly _tag: "Found"; readonly route: Route; readonly params: Readonly<Record<string, string>> }
  | { readonly _tag: "WrongMethod"; readonly allow: ReadonlyArray<string> }
  | { readonly _tag: "NotFound" }
  /** A percent sign that is no encoding. */
  | { readonly _tag: "BadPath" }

interface Pattern {
  readonly parts: ReadonlyArray<string>
  readonly routes: Array<Route>
}

/** Compile the table once. Fixed paths are found by a hash; only patterns are tried in turn. */
export const compile = (routes: ReadonlyArray<Route>): ((method: string, path: string) => Match) => {
  const fixed = new Map<string, Array<Route>>()
  const patterns = new Map<string, Pattern>()
  for (const route of routes) {
    const same = route.path.includes(":") ? patterns.get(route.path)?.routes : fixed.get(route.path)
    if (same !== undefined) same.push(route)
    else if (!route.path.includes(":")) fixed.set(route.path, [route])
    else patterns.set(route.path, { parts: route.path.split("/"), routes: [route] })
  }
  return (method, path) => {
    const exact = fixed.get(path)
    if (exact !== undefined) return choose(exact, method, {})
    const segments = path.split("/")
    for (const { parts, routes: candidates } of patterns.values()) {
      const params = bind(parts, segments)
      if (params === "bad") return { _tag: "BadPath" }
      if (params !== undefined) return choose(candidates, method, params)
    }
    return { _tag: "NotFound" }
  }
}

const choose = (
  routes: ReadonlyArray<Route>,
  method: string,
  params: Readonly<Record<string, string>>
): Match => {
  const wanted = method === "HEAD" ? "GET" : method
  const route = routes.find((candidate) => candidate.method === wanted)
  if (route !== undefined) return { _tag: "Found", route, params }
  return { _tag: "WrongMethod", allow: routes.map((candidate) => candidate.method) }
}

const bind = (
  parts: ReadonlyArray<string>,
  segments: ReadonlyArray<string>
): Readonly<Record<string, string>> | "bad" | undefined => {
  const params: Record<string, string> = {}
  for (const [index, part] of parts.entries()) {
    const isRest = part.endsWith("*")
    const segment = isRest ? segments.slice(index).join("/") : segments[index]
    if (segment === undefined || segment === "") {
      if (part !== "" || segment === undefined) return undefined
    }
    if (!part.startsWith(":")) {
      if (part !== segment) return undefined
      continue
    }
    const decoded = decode(segment)
    if (decoded === undefined) return "bad"
    params[part.slice(1, isRest ? -1 : undefined)] = decoded
    if (isRest) return params
  }
  return parts.length === segments.length ? params : undefined
}

const decode = (segment: string): string | undefined => {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}
