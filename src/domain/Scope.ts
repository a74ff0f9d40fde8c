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
