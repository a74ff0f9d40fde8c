/** A gateway that serves several projects, from the first command on, and over a kill. Provider: our own fake; stores: SQLite, PostgreSQL. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { afterEach, assert, describe, it } from "vitest"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"
import { configure, type Gateway, type Line, startGateway, startProvider, until } from "./gatewayProcess.ts"

const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})
const root = fileURLToPath(new URL("../..", import.meta.url))

/** A command, as somebody at a terminal gives it. Gives what it printed. */
const opencraw = async (config: string, ...args: ReadonlyArray<string>): Promise<string> => {
  const child = spawn(process.execPath, ["layers/main.ts", ...args, "--config", config], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"]
  })
  const said = { out: "", err: "" }
  child.stdout.on("data", (part: Buffer) => (said.out += part.toString()))
  child.stderr.on("data", (part: Buffer) => (said.err += part.toString()))
  const [code] = await once(child, "exit")
  assert.strictEqual(code, 0, `${args.join(" ")}: ${said.err}`)
  return said.out
}

const as = (gateway: Gateway, key: string, path: string, body?: unknown) =>
  fetch(gateway.url + path, {
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) })
  })

const linesOf = async (gateway: Gateway, key: string): Promise<ReadonlyArray<string>> => {
  const response = await as(gateway, key, "/api/v1/os/sessions/notes/messages")
  const { messages } = (await response.json()) as { readonly messages: ReadonlyArray<Line> }
  return messages.map(({ role, content }) => `${role}: ${content}`)
}

describe.each([
  { store: "SQLite", database: async () => undefined, skip: false },
  {
    store: named("PostgreSQL"),
    database: async () => ({ url: await sharedUrl(), schema: newSchema() }),
    skip: withoutPostgres
  }
])("several projects on $store", ({ database, skip }) => {
  it.skipIf(skip)(
    "are made by commands, and what each had accepted before a kill is answered behind it, in its own session",
    { timeout: 60_000 },
    async () => {
      let isHanging = true
      const provider = await startProvider(async ({ messages }) => {
        if (isHanging) await new Promise(() => undefined)
        return { pieces: [`to ${messages.findLast(({ role }) => role === "user")?.content ?? ""}`] }
      })
      cleanups.push(provider.stop)
      const { config } = configure(provider.url, "", await database())
      const first = await startGateway(config)
      cleanups.push(() => first.child.kill("SIGKILL"))
      const keys: Record<string, string> = {}
      for (const project of ["acme/shop", "rival/shop", "local/default"]) {
        const [org = ""] = project.split("/")
        if (org !== "local") {
          await opencraw(config, "orgs", "create", org)
          await opencraw(config, "projects", "create", project)
        }
        const asked = [
          "keys",
          "create",
          "--project",
          project,
          "--name",
          "ci",
          "--scope",
          "chat",
          "--user",
          "ann"
        ]
        keys[project] = (await opencraw(config, ...asked)).trim()
      }
      for (const [project, key] of Object.entries(keys)) {
        const body = { session_key: "notes", content: `from ${project}`, id: "m1" }
        assert.strictEqual((await as(first, key, "/api/v1/os/messages/send", body)).status, 202)
      }
      const listed = await opencraw(config, "lanes", "--project", "acme/shop")
      first.child.kill("SIGKILL")
      await first.exited
      isHanging = false
      const second = await startGateway(config)
      cleanups.push(() => second.child.kill("SIGKILL"))

      for (const [project, key] of Object.entries(keys)) {
        const expected = [`user: from ${project}`, `assistant: to from ${project}`]
        await until(`the answer in ${project}`, async () => (await linesOf(second, key)).length === 2)
        assert.deepStrictEqual(await linesOf(second, key), expected)
      }
      assert.include(listed, "agent:main:user:ann:notes")
      assert.notInclude(listed, "acme/")
      const projects = await opencraw(config, "projects", "list")
      assert.match(projects, /acme\/shop .*\n.*local\/default .*\n.*rival\/shop /s)
      assert.match(await opencraw(config, "users", "list", "--project", "acme/shop"), /ann +member +active/)
    }
  )
})
