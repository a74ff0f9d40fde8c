/** Organisations, projects, users, agents, keys and credentials in the database that holds the log. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Tenant } from "#src/domain/Tenant.ts"
import { CentralDb, CentralError } from "#src/horizons/CentralDb.ts"
import * as statements from "./sqlCentral.ts"
import { SqlStore } from "./SqlStore.ts"

/** One change of a tenant at a time, from whichever gateway. */
const nameOf = ({ org, project }: Tenant) => `${org}\n${project}\ncentral`

const usersOf = ({ org }: { readonly org: string }) => `${org}\nusers`

const failing = <A>(effect: Effect.Effect<A, CentralError["reason"]>): Effect.Effect<A, CentralError> =>
  Effect.mapError(effect, (reason) => new CentralError({ reason }))

export const make = Effect.gen(function* () {
  const { unit, read } = yield* SqlStore
  return CentralDb.of({
    createOrg: (org, event) => failing(unit("orgs", () => statements.createOrg(org, event))),
    orgs: (page) => failing(read(() => statements.listOrgs(page))),
    createProject: (project, event) => failing(unit("orgs", () => statements.createProject(project, event))),
    projects: (page) => failing(read(() => statements.listProjects(page))),
    hasProject: (tenant) => failing(read(() => statements.hasProject(tenant))),
    createUser: (user, event) => failing(unit(usersOf(user), () => statements.createUser(user, event))),
    users: (page) => failing(read(() => statements.listUsers(page))),
    changeUser: (user, event) => failing(unit(usersOf(user), () => statements.changeUser(user, event))),
    createKey: (key, event) => failing(unit(nameOf(key.tenant), () => statements.createKey(key, event))),
    findKey: (id) => failing(read(() => statements.findKey(id))),
    keys: (page) => failing(read(() => statements.listKeys(page))),
    revokeKey: (key, event) => failing(unit(nameOf(key.tenant), () => statements.revokeKey(key, event))),
    useKeys: (uses) => {
      const [first] = uses
      return first === undefined
        ? Effect.void
        : failing(unit(nameOf(first.tenant), () => statements.useKeys(uses)))
    },
    credentials: (page) => failing(read(() => statements.listCredentials(page))),
    putCredential: (credential, event) =>
      failing(unit(nameOf(credential.tenant), () => statements.putCredential(credential, event))),
    deleteCredential: (credential, event) =>
      failing(unit(nameOf(credential.tenant), () => statements.deleteCredential(credential, event))),
    agents: (page) => failing(read(() => statements.listAgents(page))),
    allAgents: (page) => failing(read(() => statements.listAllAgents(page))),
    putAgent: (agent, event) => failing(unit(nameOf(agent.tenant), () => statements.putAgent(agent, event))),
    deleteAgent: (agent, event) =>
      failing(unit(nameOf(agent.tenant), () => statements.deleteAgent(agent, event))),
    useCode: (code) => failing(unit("codes", () => statements.useCode(code)))
  })
})

export const layer = Layer.effect(CentralDb, make)
