/**
 * Whose data it is: the organisation and the project every row belongs to.
 *
 * Pure vocabulary. There is no "nil" tenant: one-team installations use `local`.
 */
import * as Schema from "effect/Schema"

export const Tenant = Schema.Struct({ org: Schema.String, project: Schema.String })
export type Tenant = typeof Tenant.Type

/** The tenant of an installation that serves a single team. */
export const local: Tenant = { org: "local", project: "default" }
