/** The real program in prod: on a real PostgreSQL that is killed and stopped under it. Provider: our own fake. */
import { spawnSync } from "node:child_process"
import { afterEach, assert, describe, it } from "vitest"
import {
  type Database,
  api,
  Client,
  configure,
  startGateway,
  startProvider,
  transcript,
  until
} from "./gatewayProcess.ts"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, startServer, withoutPostgres } from "../postgres/server.ts"

const cleanups: Array<() => void | Promise<void>> = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

const provider = async () => {
  const started = await startProvider(({ messages }) => ({
    pieces: ["echo of ", messages.findLast((message) => message.role === "user")?.content ?? ""],
    pauseMillis: 3
  }))
  cleanups.push(started.stop)
  return started.url
}
const opencraw = (...args: ReadonlyArray<string>) => {
  const ran = spawnSync(process.execPath, ["layers/main.ts", ...args], { encoding: "utf8", timeout: 60_000 })
  return { code: ran.status, stdout: ran.stdout, stderr: ran.stderr }
}

describe.skipIf(withoutPostgres)(named("a gateway in prod"), { timeout: 120_000 }, () => {
  it("says what is missing, refuses a database that is not fit, and tries nothing else", async () => {
    const url = await provider()
    const nobody: Database = { url: "postgres://app:hush-hush@127.0.0.1:1/shop", schema: "opencraw" }
    const away = configure(url, "", nobody)
    const unreachable = opencraw("serve", "--config", away.config)
    const doctor = opencraw("doctor", "--offline", "--config", away.config)
    const missing = configure(url, "", { url: `${await sharedUrl()}_nowhere`, schema: "opencraw" })
    const unfit = opencraw("serve", "--config", missing.config)

    assert.strictEqual(unreachable.code, 69)
    assert.match(unreachable.stderr, /127\.0\.0\.1:1\/shop cannot be reached/)
    assert.notInclude(unreachable.stderr + doctor.stdout, "hush-hush")
    assert.strictEqual(doctor.code, 2)
    assert.match(doctor.stdout, /database/)
    assert.strictEqual(unfit.code, 74)
    assert.match(unfit.stderr, /does not exist/)
  })

  it("migrates when it is told to, and says before what it would do", async () => {
    const { config } = configure(await provider(), "", { url: await sharedUrl(), schema: newSchema() })
    const plan = opencraw("migrate", "--plan", "--json", "--config", config)
    const done = opencraw("migrate", "--json", "--config", config)
    const again = opencraw("migrate", "--config", config)

    assert.deepStrictEqual([plan.code, done.code, again.code], [0, 0, 0])
    assert.deepStrictEqual(JSON.parse(plan.stdout).migrations, JSON.parse(done.stdout).migrations)
    assert.include(JSON.parse(done.stdout).migrations[0].name, "log")
    assert.match(again.stdout, /nothing to do/)
  })

  it("keeps keys and credentials there, and tells which credentials it cannot open", async () => {
    const database: Database = { url: await sharedUrl(), schema: newSchema() }
    const { config } = configure(await provider(), "", database)
    const key = Buffer.alloc(32, 9).toString("base64")
    const first = await startGateway(config, { OPENCRAW_SECRETS_KEY: key })
    cleanups.push(() => void first.child.kill("SIGKILL"))
    const made = opencraw("keys", "create", "--name", "ci", "--scope", "read", "--config", config)
    const set = await api(first, "/api/v1/os/credentials", {
      method: "POST",
      body: JSON.stringify({ name: "work", value: "sk-very-secret" })
    })
    first.child.kill("SIGTERM")
    await first.exited
    const second = await startGateway(config)
    cleanups.push(() => void second.child.kill("SIGKILL"))
    const status = await fetch(`${second.url}/metrics`, {
      headers: { authorization: `Bearer ${made.stdout.trim()}` }
    }).then((reply) => reply.status)
    const refused = await api(second, "/api/v1/os/credentials", {
      method: "POST",
      body: JSON.stringify({ name: "more", value: "x" })
    })
    const doctor = opencraw("doctor", "--offline", "--config", config)

    assert.deepStrictEqual([made.code, set.status, status, refused.status], [0, 204, 200, 409])
    assert.strictEqual(doctor.code, 2)
    assert.match(doctor.stdout, /credentials.*work: .*OPENCRAW_SECRETS_KEY/)
  })

  it("keeps a project's own database, which doctor and the start look at first", async () => {
    const server = await startServer(["fsync=off"])
    cleanups.push(server.stop)
    const command = [process.execPath, "-e", `console.log("${"ab".repeat(32)}")`]
    const secrets = `[secrets]\nkey_command = ${JSON.stringify(command)}\n`
    const on = async (url: string, keys = secrets) =>
      configure(await provider(), `${keys}[project_db]\nurl = "${url}"\n`, {
        url: server.url,
        schema: newSchema()
      }).config
    const config = await on(server.url)
    const gateway = await startGateway(config)
    cleanups.push(() => void gateway.child.kill("SIGKILL"))
    const statements = [
      { sql: "CREATE TABLE orders (id INTEGER, what TEXT)" },
      { sql: "INSERT INTO orders VALUES ($1, $2)", params: [7, "tea"] }
    ]
    const made = await api(gateway, "/api/v1/os/database/execute", {
      method: "POST",
      body: JSON.stringify({ statements })
    })
    const asked = opencraw("db", "query", "SELECT id, what FROM orders", "--json", "--config", config)
    const well = opencraw("doctor", "--offline", "--json", "--config", config)
    const away = opencraw("doctor", "--offline", "--config", await on("postgres://app@127.0.0.1:1/shop"))
    const failing = secrets.replace("console.log", "process.exit(3); console.log")
    const locked = opencraw("serve", "--config", await on(server.url, failing))

    assert.deepStrictEqual(await made.json(), { changes: [0, 1] })
    assert.strictEqual(asked.stdout, '{"columns":["id","what"],"rows":[[7,"tea"]],"is_all":true}\n')
    // Both are on one server here, of which it warns.
    assert.match(
      well.stdout,
      /"name":"project_db","status":"warning","message":"it is the server of postgres\.url/
    )
    assert.match(well.stdout, /^\{"ok":true/)
    assert.match(away.stdout, /project_db .*127\.0\.0\.1:1\/shop cannot be reached/)
    assert.strictEqual(locked.code, 78)
    assert.match(locked.stderr, /secrets\.key_command: .* gave no key: it ended with 3/)
  })

  it("loses and repeats nothing while its database is killed and started again under load", async () => {
    const server = await startServer()
    cleanups.push(server.stop)
    const { config } = configure(await provider(), "", { url: server.url, schema: newSchema() })
    const gateway = await startGateway(config)
    cleanups.push(() => void gateway.child.kill("SIGKILL"))
    const clients = Array.from({ length: 6 }, (_, n) => new Client(`outage-${n}`))
    cleanups.push(() => clients.forEach((client) => client.close()))
    for (const client of clients) client.connect(gateway)
    const answered = () => clients.reduce((sum, client) => sum + client.answers.size, 0)
    let sent = 0
    const send = (count: number) => {
      for (let n = 0; n < count; n++, sent++) clients[sent % 6]!.send(`m${sent}`, `m${sent}`)
    }
    for (let kill = 0; kill < 3; kill++) {
      send(20)
      await until("some of the answers", () => answered() >= sent - 18)
      await server.kill()
      send(10)
      await server.start()
    }
    // A message that was refused meanwhile is sent again by its client when it connects.
    for (const client of clients) client.connect(gateway)
    await until("every answer", () => answered() === sent)

    for (const [n, client] of clients.entries()) {
      const lines = await transcript(gateway, `outage-${n}`)
      for (const id of client.acked.keys()) {
        assert.lengthOf(
          lines.filter((line) => line.client_id === id),
          1,
          id
        )
        const answers = lines.filter((line) => line.answers?.includes(id) === true)
        assert.lengthOf(answers, 1, `answers to ${id}`)
        assert.deepStrictEqual([...(client.answers.get(id) ?? [])], [answers[0]!.id], `deliveries for ${id}`)
      }
    }
  })
})
