/**
 * What an API key may be used for.
 *
 * Pure vocabulary. Which route asks for what is said where the route is (`gateway`).
 */
import * as Schema from "effect/Schema"

/**
 * `chat`: write as its user, and read that user's own sessions. `read`: read everything of the gateway, and change nothing. `admin`:
 * everything.
 */
export const scopes = ["chat", "read", "admin"] as const
export const Scope = Schema.Literals(scopes)
export type Scope = typeof Scope.Type

/** What a user is in their organisation: the most that their keys may do. From the least to the most. */
export const roles = ["viewer", "member", "admin"] as const
export const Role = Schema.Literals(roles)
export type Role = typeof Role.Type

export const scopesOf: Readonly<Record<Role, ReadonlyArray<Scope>>> = {
  viewer: ["read"],
  member: ["chat", "read"],
  admin: ["chat", "read", "admin"]
}

/** The least role that may have all these. */
export const roleFor = (wanted: ReadonlyArray<Scope>): Role =>
  roles.find((role) => wanted.every((scope) => scopesOf[role].includes(scope))) ?? "admin"
