/**
 * Whose data it is: the organisation and the project every row belongs to.
 *
 * Pure vocabulary. There is no "nil" tenant: one-team installations use `local`.
 */
import * as Schema from "effect/Schema"

export const Tenant = Schema.Struct({ org: Schema.String, project: Schema.String })
export type Tenant = typeof Tenant.Type

/** The tenant of an installation that serves a single team. Its admins are those of the whole installation. */
export const local: Tenant = { org: "local", project: "default" }

export const isLocal = ({ org, project }: Tenant): boolean => org === local.org && project === local.project
export const isSame = (one: Tenant, other: Tenant): boolean =>
  one.org === other.org && one.project === other.project

/** What an organisation's or a project's name looks like. */
export const slug = /^[a-z0-9][a-z0-9_-]{0,63}$/

/** `org/project`; undefined for anything else. */
export const parse = (text: string): Tenant | undefined => {
  const [org = "", project = "", ...more] = text.split("/")
  return more.length === 0 && slug.test(org) && slug.test(project) ? { org, project } : undefined
}

export const show = ({ org, project }: Tenant): string => `${org}/${project}`
