/** `opencraw orgs ...`, `projects ...`, `users ...` and `agents ...`: for whom the running gateway works. */
import * as Effect from "effect/Effect"
import * as Api from "#src/gateway/apiSchemas.ts"
import type { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import * as Schema from "effect/Schema"
import type { GatewayClient } from "../GatewayClient.ts"
import { allOf, connect, wordOf } from "./identity.ts"
import { print, printJson } from "./terminal.ts"

const orgsPath = "/api/v1/os/orgs"
const projectsPath = "/api/v1/os/projects"
const usersPath = "/api/v1/os/users"
const agentsPath = "/api/v1/os/agents"

const tell = <A>(given: Given, value: A, text: (value: A) => string): number => {
  if (given.values.has("json")) printJson(value)
  else print(text(value))
  return exitCodes.ok
}
const titleOf = ({ values }: Given) => {
  const name = values.get("title")
  return name === undefined ? {} : { name }
}

const createOrg = Effect.fn("cli.orgs.create")(function* (given: Given) {
  const client = yield* connect(given)
  const body = { org: wordOf(given, "ORG"), ...titleOf(given) }
  const made = yield* client.call(Api.Org, "POST", orgsPath, body)
  return tell(given, made, ({ org }) => `Made: ${org}. Next: opencraw projects create ${org}/PROJECT\n`)
})

const listOrgs = Effect.fn("cli.orgs.list")(function* (given: Given) {
  const client = yield* connect(given)
  const orgs = yield* allOf((query) =>
    Effect.map(client.call(Api.Orgs, "GET", orgsPath + query), ({ orgs: rows, next }) => ({ rows, next }))
  )
  return tell(given, { orgs }, () => render.orgs(orgs, Date.now()))
})

const createProject = Effect.fn("cli.projects.create")(function* (given: Given) {
  const client = yield* connect(given)
  const body = { project: wordOf(given, "ORG/PROJECT"), ...titleOf(given) }
  const made = yield* client.call(Api.Project, "POST", projectsPath, body)
  return tell(
    given,
    made,
    ({ project }) =>
      `Made: ${project}. Next: opencraw keys create --project ${project} --name NAME --scope chat\n`
  )
})

const listProjects = Effect.fn("cli.projects.list")(function* (given: Given) {
  const client = yield* connect(given)
  const projects = yield* allOf((query) =>
    Effect.map(client.call(Api.Projects, "GET", projectsPath + query), ({ projects: rows, next }) => ({
      rows,
      next
    }))
  )
  return tell(given, { projects }, () => render.projects(projects, Date.now()))
})

const createUser = Effect.fn("cli.users.create")(function* (given: Given) {
  const client = yield* connect(given)
  const role = given.values.get("role")
  const email = given.values.get("email")
  const made = yield* client.call(Api.User, "POST", usersPath, {
    id: wordOf(given, "USER"),
    ...(role === undefined ? {} : { role }),
    ...(email === undefined ? {} : { email })
  })
  return tell(given, made, (user) => `Made: ${render.plain(user.id)}, a ${user.role}\n`)
})

const listUsers = Effect.fn("cli.users.list")(function* (given: Given) {
  const client = yield* connect(given)
  const users = yield* allOf((query) =>
    Effect.map(client.call(Api.Users, "GET", usersPath + query), ({ users: rows, next }) => ({ rows, next }))
  )
  return tell(given, { users }, () => render.users(users, Date.now()))
})

const changing = (change: (given: Given) => object) =>
  Effect.fn("cli.users.change")(function* (given: Given) {
    const client = yield* connect(given)
    const path = `${usersPath}/${encodeURIComponent(wordOf(given, "USER"))}`
    const user = yield* client.call(Api.User, "PATCH", path, change(given))
    return tell(
      given,
      user,
      ({ id, role, disabled_at: at }) =>
        `${render.plain(id)} is ${at === undefined ? `a ${role}` : "disabled"}\n`
    )
  })

const allAgents = (client: GatewayClient) =>
  allOf((query) =>
    Effect.map(client.call(Api.ProjectAgents, "GET", agentsPath + query), ({ agents: rows, next }) => ({
      rows,
      next
    }))
  )

const toolsIn = (text: string) => text.split(",").flatMap((name) => (name.trim() === "" ? [] : [name.trim()]))

const setAgent = Effect.fn("cli.agents.set")(function* (given: Given) {
  const { values } = given
  const client = yield* connect(given)
  const name = wordOf(given, "NAME")
  const before = (yield* allAgents(client)).find((one) => one.name === name)
  const said = (flag: string, key: string, read: (text: string) => unknown = (text) => text) => {
    const text = values.get(flag)
    return text === undefined ? {} : { [key]: read(text) }
  }
  const settings = {
    ...before?.settings,
    ...said("model", "model"),
    ...said("system", "system_prompt"),
    ...said("tools", "tools", toolsIn),
    ...said("ask-before", "ask_before", toolsIn)
  }
  const made = yield* client.call(Api.AgentSet, "POST", agentsPath, {
    name,
    settings,
    revision: before?.revision ?? 0
  })
  return tell(given, made, () => `${before === undefined ? "Made" : "Changed"}: ${name}\n`)
})

const listAgents = Effect.fn("cli.agents.list")(function* (given: Given) {
  const agents = yield* allAgents(yield* connect(given))
  return tell(given, { agents }, () => render.agents(agents, Date.now()))
})

const deleteAgent = Effect.fn("cli.agents.delete")(function* (given: Given) {
  const name = wordOf(given, "NAME")
  const client = yield* connect(given)
  yield* client.call(Schema.Unknown, "DELETE", `${agentsPath}/${encodeURIComponent(name)}`)
  return tell(given, { deleted: name }, () => `Forgotten: ${render.plain(name)}\n`)
})

/** By the command's name. */
export const programs = {
  "orgs create": createOrg,
  "orgs list": listOrgs,
  "projects create": createProject,
  "projects list": listProjects,
  "users create": createUser,
  "users list": listUsers,
  "users role": changing((given) => ({ role: wordOf(given, "ROLE") })),
  "users disable": changing(() => ({ disabled: true })),
  "agents set": setAgent,
  "agents list": listAgents,
  "agents delete": deleteAgent,
  "users enable": changing(() => ({ disabled: false }))
} satisfies Record<string, (given: Given) => Effect.Effect<number, CommandFailed>>
