/** The program as a supervisor sees it: signals, exit codes, and what a provider's failure becomes for a caller. */
import { spawnSync } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, describe, it } from "vitest"
import {
  api,
  Client,
  configure,
  type Gateway,
  newFolder,
  startGateway,
  startProvider,
  transcript,
  until
} from "./gatewayProcess.ts"

const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})
const track = (gateway: Gateway): Gateway => {
  cleanups.push(() => gateway.child.kill("SIGKILL"))
  return gateway
}
const provider = async (...args: Parameters<typeof startProvider>) => {
  const started = await startProvider(...args)
  cleanups.push(started.stop)
  return started
}
const client = (session: string, gateway: Gateway) => {
  const one = new Client(session)
  cleanups.push(() => one.close())
  one.connect(gateway)
  return one
}
const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  spawnSync(process.execPath, ["layers/main.ts", ...args], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, OPENCRAW_DATA_DIR: newFolder(), ...env },
    timeout: 20_000
  })

describe("SIGHUP", () => {
  it("takes a larger budget at once: who waited for a permit is answered; a wrong file changes nothing", async () => {
    const held = Promise.withResolvers<void>()
    const { url } = await provider(async ({ messages }) => {
      if (messages.at(-1)?.content === "wait") await held.promise
      return { pieces: ["done"] }
    })
    const { config } = configure(url, "[queue]\nmax_concurrency = 1\n")
    const gateway = track(await startGateway(config))
    const [one, two] = [client("one", gateway), client("two", gateway)]
    one.send("m1", "wait")
    await until("the first", () => one.acked.has("m1"))
    two.send("m2", "hello")
    await until("the second", () => two.acked.has("m2"))

    const written = readFileSync(config, "utf8")
    writeFileSync(config, written.replace("max_concurrency = 1", "max_concurrency = 0"))
    gateway.child.kill("SIGHUP")
    await until("the complaint", () => gateway.stderr().includes("the configuration is wrong"))
    assert.isFalse(two.answers.has("m2"))
    writeFileSync(config, written.replace("max_concurrency = 1", "max_concurrency = 2"))
    gateway.child.kill("SIGHUP")
    await until("the answer to who waited", () => two.answers.has("m2"))
    assert.isFalse(one.answers.has("m1"))
    held.resolve()
    await until("the other answer", () => one.answers.has("m1"))
  })
})

describe("SIGTERM", () => {
  it("lets a run end, tells its client, and exits with 0", { timeout: 30_000 }, async () => {
    const { url } = await provider(() => ({ pieces: ["a ", "slow ", "answer"], pauseMillis: 200 }))
    const { config } = configure(url)
    const gateway = track(await startGateway(config))
    const one = client("term", gateway)
    one.send("m1", "hello")
    await until("the run", () => one.acked.has("m1"))
    gateway.child.kill("SIGTERM")

    assert.deepStrictEqual(await gateway.exited, { code: 0, signal: null })
    assert.isTrue(one.answers.has("m1"))
  })

  it(
    "leaves a run that takes too long in the log, and the next start answers it",
    { timeout: 30_000 },
    async () => {
      let isSlow = true
      const { url } = await provider(() => ({ pieces: ["an ", "answer"], pauseMillis: isSlow ? 60_000 : 0 }))
      const { config } = configure(url, "shutdown_grace_s = 1\n")
      const first = track(await startGateway(config))
      const one = client("term", first)
      one.send("m1", "hello")
      await until("the run", () => one.acked.has("m1"))
      first.child.kill("SIGTERM")
      assert.deepStrictEqual(await first.exited, { code: 0, signal: null })

      isSlow = false
      const second = track(await startGateway(config))
      await until("the answer", async () =>
        (await transcript(second, "term")).some((line) => line.role === "assistant")
      )
    }
  )

  it("takes nothing new while it stops", { timeout: 30_000 }, async () => {
    const { url } = await provider(() => ({ pieces: ["an ", "answer"], pauseMillis: 1000 }))
    const { config } = configure(url)
    const gateway = track(await startGateway(config))
    const one = client("term", gateway)
    one.send("m1", "hello")
    await until("the run", () => one.acked.has("m1"))
    gateway.child.kill("SIGTERM")

    await until("a refusal", async () => {
      const response = await api(gateway, "/api/v1/os/messages/send", {
        method: "POST",
        body: JSON.stringify({ session_key: "other", content: "too late" })
      })
      return response.status === 503 && response.headers.has("retry-after")
    })
    await gateway.exited
  })
})

describe("exit codes", () => {
  it("78 with every problem of the configuration at once", () => {
    const config = join(newFolder(), "c.toml")
    writeFileSync(config, "[queue]\ncapp = 3\n[inbound]\ndebounce_ms = -5\n[gateway]\nport = 99999\n", {
      mode: 0o600
    })
    const { status, stderr } = run(["serve", "--config", config])

    assert.strictEqual(status, 78)
    for (const part of ["inbound.debounce_ms", "queue.capp", "queue.cap", "gateway.port"])
      assert.include(stderr, part)
  })

  it("78 for prod, naming all that it misses, and no fall back to dev", () => {
    const config = join(newFolder(), "c.toml")
    writeFileSync(config, '[runtime]\nmode = "prod"\n', { mode: 0o600 })
    const { status, stderr } = run(["serve", "--config", config])

    assert.strictEqual(status, 78)
    for (const missing of ["prod needs a database", "prod needs a token", "prod needs a model"])
      assert.include(stderr, missing)
  })

  it("64 for arguments that make no sense", () => {
    assert.strictEqual(run(["sing"]).status, 64)
    assert.strictEqual(run(["serve", "--loud"]).status, 64)
  })

  it(
    "69 when the port is in use, 75 when another gateway holds the data directory",
    { timeout: 30_000 },
    async () => {
      const { url } = await provider(() => ({ pieces: ["x"] }))
      const { config, folder } = configure(url)
      const gateway = track(await startGateway(config))
      const port = new URL(gateway.url).port

      const samePort = run(["serve"], { OPENCRAW_PORT: port })
      assert.strictEqual(samePort.status, 69)
      assert.include(samePort.stderr, port)
      const sameData = run(["serve"], { OPENCRAW_PORT: "0", OPENCRAW_DATA_DIR: join(folder, "data") })
      assert.strictEqual(sameData.status, 75)
    }
  )

  it("73 when the data directory is a file", () => {
    const file = join(newFolder(), "file")
    writeFileSync(file, "")
    assert.strictEqual(run(["serve"], { OPENCRAW_DATA_DIR: file, OPENCRAW_PORT: "0" }).status, 73)
  })
})

describe("open", () => {
  it("prints a link whose code works once", { timeout: 30_000 }, async () => {
    const { url } = await provider(() => ({ pieces: ["x"] }))
    const { config } = configure(url)
    const gateway = track(await startGateway(config))
    const { stdout, status } = run(["open", "--config", config], { OPENCRAW_DATA_DIR: "" })
    assert.strictEqual(status, 0)
    const code = new URL(stdout.trim()).hash.replace("#code=", "")
    const redeem = () =>
      fetch(`${gateway.url}/auth/code`, {
        method: "POST",
        headers: { "content-type": "application/json", origin: gateway.url },
        body: JSON.stringify({ code })
      })

    assert.strictEqual((await redeem()).status, 204)
    assert.strictEqual((await redeem()).status, 401)
  })

  it("says so when no gateway runs", () => {
    const { status, stderr } = run(["open"])
    assert.strictEqual(status, 69)
    assert.include(stderr, "No gateway runs")
  })
})

describe("a provider that fails", () => {
  /** A provider that answers each call with the next of these statuses. */
  const failing = async (...statuses: ReadonlyArray<number | "cut" | "garbage">) => {
    let count = 0
    const server = createServer((_, response) => {
      const status = statuses[Math.min(count++, statuses.length - 1)]!
      if (status === "cut") {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write('data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n')
        setTimeout(() => response.destroy(), 20)
      } else if (status === "garbage") {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.end("data: {nonsense\n\ndata: [DONE]\n\n")
      } else {
        response.writeHead(status, { "content-type": "application/json", "retry-after": "7" })
        response.end('{"error":{"message":"a secret detail of the provider"}}')
      }
    })
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
    cleanups.push(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  }

  it(
    "becomes 502 with a typed body that shows nothing of the provider's, and the gateway lives",
    { timeout: 60_000 },
    async () => {
      // The limit last: it is the one failure after which the only model is left alone.
      const kinds = [401, 500, "cut", "garbage", 429] as const
      const { config } = configure(await failing(...kinds), "[models]\nattempts = 1\n")
      const gateway = track(await startGateway(config))
      for (const [index] of kinds.entries()) {
        const response = await api(gateway, "/v1/chat/completions", {
          method: "POST",
          headers: { "x-opencraw-session-key": `fail-${index}` },
          body: JSON.stringify({ model: "opencraw", messages: [{ role: "user", content: "hi" }] })
        })
        const text = await response.text()
        assert.strictEqual(response.status, 502, text)
        assert.strictEqual(response.headers.get("x-should-retry"), "false")
        assert.notInclude(text, "secret")
        assert.deepStrictEqual(
          (await transcript(gateway, `fail-${index}`)).map((line) => line.role),
          kinds[index] === "cut" ? ["user", "assistant", "system"] : ["user", "system"]
        )
      }
      assert.strictEqual((await fetch(`${gateway.url}/ready`)).status, 200)
    }
  )
})
