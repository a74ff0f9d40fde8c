/**
 * Organisations, projects and users over HTTP.
 *
 * Owns: what may be asked for, and the shapes on the wire. Does not own: what any of it means (`access/Directory`).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Directory } from "#src/access/Directory.ts"
import { Role, roles } from "#src/domain/Scope.ts"
import { local, parse, show, slug } from "#src/domain/Tenant.ts"
import type { UserRow } from "#src/horizons/CentralDb.ts"
import * as Schema from "effect/Schema"
import { invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { actorOf, homeOnly, type Principal } from "./Auth.ts"
import { Gateway } from "./GatewaySettings.ts"
import type { JsonObject } from "./Json.ts"
import { userOf } from "./keyRoutes.ts"
import { json, numbers } from "./osRoutes.ts"
import { nameOf, pageOf } from "./pages.ts"
import { readStrict } from "./readBody.ts"
import { centralRefusal } from "./refusals.ts"
import type { Call, Route } from "./Routing.ts"

const orgKeys = new Set(["org", "name"])
const projectKeys = new Set(["project", "name"])
const userKeys = new Set(["id", "role", "email"])
const changeKeys = new Set(["role", "disabled"])
const isRole = Schema.is(Role)

const textOf = (body: JsonObject, key: string): string => {
  const given = Object.hasOwn(body, key) ? body[key] : undefined
  return typeof given === "string" ? given : ""
}
/** A name for people; the short one without. */
const titleOf = (body: JsonObject, short: string) =>
  Object.hasOwn(body, "name") ? nameOf(body, "name") : Result.succeed(short)

const roleOf = (body: JsonObject) => {
  const given = body["role"]
  return isRole(given)
    ? Effect.succeed(given)
    : Effect.fail(invalid("role", `role must be one of ${roles.join(", ")}`))
}

const emailOf = (body: JsonObject) => {
  const given = Object.hasOwn(body, "email") ? body["email"] : undefined
  const isEmail = typeof given === "string" && given.length <= 254 && /^[^\s@]+@[^\s@]+$/.test(given)
  return given === undefined || isEmail
    ? Effect.succeed(given as string | undefined)
    : Effect.fail(invalid("email", "email must be an address such as ann@example.com"))
}

const toUser = (row: UserRow): typeof Api.User.Type => ({
  id: row.id,
  role: row.role,
  ...(row.email === undefined ? {} : { email: row.email }),
  created_at: row.createdAt,
  ...(row.disabledAt === undefined ? {} : { disabled_at: row.disabledAt })
})

export const make = Effect.gen(function* () {
  const directory = yield* Directory
  const settings = yield* Gateway

  const bodyOf = Effect.fnUntraced(function* ({ request, query }: Call, keys: ReadonlySet<string>) {
    yield* Effect.fromResult(numbers(query, []))
    return yield* readStrict(request, settings.get().max_body_bytes, keys)
  })

  const createOrg = Effect.fnUntraced(function* (call: Call) {
    const body = yield* bodyOf(call, orgKeys)
    const org = textOf(body, "org")
    if (!slug.test(org)) return yield* invalid("org", `org ${slugRule}`)
    const name = yield* Effect.fromResult(titleOf(body, org))
    const made = yield* directory
      .createOrg(org, name, actorOf(call.principal).actor)
      .pipe(Effect.mapError(centralRefusal))
    return json(
      { org: made.org, name: made.name, created_at: made.createdAt } satisfies typeof Api.Org.Type,
      201
    )
  })

  const listOrgs = Effect.fnUntraced(function* ({ query }: Call) {
    const page = yield* Effect.fromResult(pageOf(query))
    const rows = yield* directory.orgs(page).pipe(Effect.mapError(centralRefusal))
    const next = rows.length < page.limit ? undefined : rows.at(-1)?.org
    return json({
      orgs: rows.map(({ org, name, createdAt }) => ({ org, name, created_at: createdAt })),
      ...(next === undefined ? {} : { next })
    } satisfies typeof Api.Orgs.Type)
  })

  const createProject = Effect.fnUntraced(function* (call: Call) {
    const body = yield* bodyOf(call, projectKeys)
    const tenant = parse(textOf(body, "project"))
    if (tenant === undefined)
      return yield* invalid("project", `project must be org/project; each ${slugRule}`)
    const name = yield* Effect.fromResult(titleOf(body, tenant.project))
    const made = yield* directory
      .createProject(tenant, name, actorOf(call.principal).actor)
      .pipe(Effect.mapError(centralRefusal))
    return json(
      {
        project: show(tenant),
        name: made.name,
        created_at: made.createdAt
      } satisfies typeof Api.Project.Type,
      201
    )
  })

  const listProjects = Effect.fnUntraced(function* ({ query }: Call) {
    const { limit, after: given } = yield* Effect.fromResult(pageOf(query))
    const after = given === undefined ? undefined : parse(given)
    if (given !== undefined && after === undefined) {
      return yield* invalid("after", "after must be the next of an earlier page")
    }
    const rows = yield* directory
      .projects({ limit, ...(after === undefined ? {} : { after }) })
      .pipe(Effect.mapError(centralRefusal))
    const last = rows.length < limit ? undefined : rows.at(-1)
    return json({
      projects: rows.map(({ tenant, name, createdAt }) => ({
        project: show(tenant),
        name,
        created_at: createdAt
      })),
      ...(last === undefined ? {} : { next: show(last.tenant) })
    } satisfies typeof Api.Projects.Type)
  })

  /** Who runs the installation is a user of the first organisation: no other project of it may touch them. */
  const mayManage = ({ tenant, isHome }: Principal) =>
    tenant.org !== local.org || isHome ? Effect.void : Effect.fail(homeOnly)

  const createUser = Effect.fnUntraced(function* (call: Call) {
    yield* mayManage(call.principal)
    const body = yield* bodyOf(call, userKeys)
    const id = yield* userOf(body, "id")
    const role = Object.hasOwn(body, "role") ? yield* roleOf(body) : "member"
    const email = yield* emailOf(body)
    const { tenant, actor } = actorOf(call.principal)
    const made = yield* directory
      .createUser(tenant, { id, role, email }, actor)
      .pipe(Effect.mapError(centralRefusal))
    return json(toUser(made), 201)
  })

  const listUsers = Effect.fnUntraced(function* ({ query, principal }: Call) {
    const page = yield* Effect.fromResult(pageOf(query))
    const rows = yield* directory
      .users({ org: principal.tenant.org, ...page })
      .pipe(Effect.mapError(centralRefusal))
    const next = rows.length < page.limit ? undefined : rows.at(-1)?.id
    return json({
      users: rows.map(toUser),
      ...(next === undefined ? {} : { next })
    } satisfies typeof Api.Users.Type)
  })

  const changeUser = Effect.fnUntraced(function* (call: Call) {
    yield* mayManage(call.principal)
    const body = yield* bodyOf(call, changeKeys)
    const id = call.params["id"] ?? ""
    const { tenant, actor } = actorOf(call.principal)
    const disabled = Object.hasOwn(body, "disabled") ? body["disabled"] : undefined
    if (Object.hasOwn(body, "role")) {
      if (disabled !== undefined) return yield* invalid("disabled", "change one thing at a time")
      const row = yield* directory
        .setRole(tenant, id, yield* roleOf(body), actor)
        .pipe(Effect.mapError(centralRefusal))
      return json(toUser(row))
    }
    if (typeof disabled !== "boolean") {
      return yield* invalid("disabled", "disabled must be true or false, or role must be given")
    }
    const row = yield* directory
      .setDisabled(tenant, id, disabled, actor)
      .pipe(Effect.mapError(centralRefusal))
    return json(toUser(row))
  })

  const os = "/api/v1/os"
  const routes: ReadonlyArray<Route> = [
    { method: "POST", path: `${os}/orgs`, access: "admin", isShared: true, handle: createOrg },
    { method: "GET", path: `${os}/orgs`, access: "admin", isShared: true, handle: listOrgs },
    { method: "POST", path: `${os}/projects`, access: "admin", isShared: true, handle: createProject },
    { method: "GET", path: `${os}/projects`, access: "admin", isShared: true, handle: listProjects },
    { method: "POST", path: `${os}/users`, access: "admin", handle: createUser },
    { method: "GET", path: `${os}/users`, access: "admin", handle: listUsers },
    { method: "PATCH", path: `${os}/users/:id`, access: "admin", handle: changeUser }
  ]
  return routes
})

const slugRule = "must have 1 to 64 of a to z, 0 to 9, _ and -, and begin with a letter or a digit"
