/** Each fault that people meet, seeded, and what `doctor` says of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { afterEach } from "vitest"
import { examine, judgeNode } from "#layers/doctor.ts"
import { judgeKeyFile } from "#layers/gateway/gatewayChecks.ts"
import { inspectLog } from "#layers/horizons/inspectLog.ts"
import { judgeClock, judgeProxy, judgeSilence } from "#layers/model/providerCheck.ts"
import { judgeDisk } from "#layers/platform/diskCheck.ts"
import { networkFileSystem } from "#layers/platform/DataDir.ts"
import type { CheckResult } from "#src/check/Checks.ts"
import { api, configure, newFolder, startGateway, startProvider } from "../scenarios/gatewayProcess.ts"

const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

/** A provider that answers everything like this. */
const answering = async (respond: (response: ServerResponse) => void): Promise<string> => {
  const server = createServer((request, response) => {
    request.resume()
    respond(response)
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}
const json = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  answering((response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers })
    response.end(JSON.stringify(body))
  })
const works = { choices: [{ index: 0, message: { role: "assistant", content: "OK" } }] }

const write = (text: string): { readonly folder: string; readonly argvConfig: string } => {
  const folder = newFolder()
  const argvConfig = join(folder, "opencraw.toml")
  writeFileSync(argvConfig, text, { mode: 0o600 })
  return { folder, argvConfig }
}
const withProvider = (url: string, extra = "") =>
  write(
    `[general]\nmodel = "fake/some-model"\n${extra}\n[providers.fake]\nkind = "openai-chat"\nbase_url = "${url}"\napi_key = "sk-verysecret"\n[gateway]\nport = 0\n`
  )

interface Options {
  readonly argvConfig?: string
  readonly env?: Record<string, string>
  readonly folder?: string
}
const diagnose = async (options: Options) => {
  const folder = options.folder ?? newFolder()
  const env = { OPENCRAW_DATA_DIR: join(folder, "data"), OPENCRAW_PORT: "0", ...options.env }
  return Effect.runPromise(
    examine(
      {
        cwd: folder,
        home: folder,
        env,
        ...(options.argvConfig === undefined ? {} : { argvConfig: options.argvConfig })
      },
      false
    )
  )
}
/** The named check fails (or warns), in words that name the fault and the fix. */
const finds = async (
  options: Options,
  name: string,
  status: CheckResult["status"],
  ...words: ReadonlyArray<RegExp>
) => {
  const all = await diagnose(options)
  const found = all.filter((each) => each.name === name && each.status === status)
  assert.isNotEmpty(found, JSON.stringify(all, undefined, 1))
  const text = found.map(({ message }) => message).join("\n")
  for (const word of words) assert.match(text, word)
  assert.notInclude(JSON.stringify(all), "verysecret")
}
const says = (result: CheckResult, status: CheckResult["status"], ...words: ReadonlyArray<RegExp>) => {
  assert.strictEqual(result.status, status, result.message)
  for (const word of words) assert.match(result.message, word)
}
const fake = (base_url: string) => ({
  model: "fake/m",
  settings: { kind: "openai-chat", base_url, idle_timeout_ms: 1000 } as const
})

describe("a healthy installation", () => {
  it("passes every check, and the demo model is pointed out", async () => {
    const all = await diagnose(withProvider(await json(200, works)))
    assert.deepStrictEqual(
      // A fresh checkout has no page yet: that the page is built is not this test's to ask.
      all.filter(({ name, status }) => status !== "ok" && name !== "page"),
      []
    )
    const names = all.map(({ name }) => name)
    for (const name of [
      "node",
      "configuration",
      "model",
      "provider",
      "clock",
      "data directory",
      "disk",
      "log",
      "port"
    ])
      assert.include(names, name)

    await finds({}, "model", "warning", /demo/, /general\.model/)
  })

  it("costs nothing at a provider when it is asked offline", async () => {
    let calls = 0
    const url = await answering((response) => {
      calls++
      response.end("{}")
    })
    const { argvConfig, folder } = withProvider(url)
    const env = { OPENCRAW_DATA_DIR: join(folder, "data") }
    const all = await Effect.runPromise(examine({ argvConfig, env, cwd: folder, home: folder }, true))
    assert.strictEqual(calls, 0)
    assert.notInclude(
      all.map(({ name }) => name),
      "provider"
    )
  })
})

describe("a fault of the provider", () => {
  it("1. a bad key", async () => {
    const url = await json(401, { error: { message: "Incorrect API key provided: sk-verysecret" } })
    await finds(
      withProvider(url),
      "provider",
      "failed",
      /refused the key \(401\)/,
      /providers\.fake\.api_key/
    )
  })

  it("1b. a bad key of a provider that speaks another protocol", async () => {
    const url = await json(401, {
      type: "error",
      error: { type: "authentication_error", message: "invalid x-api-key" }
    })
    const options = withProvider(url)
    writeFileSync(
      options.argvConfig,
      readFileSync(options.argvConfig, "utf8").replace("openai-chat", "anthropic")
    )
    await finds(options, "provider", "failed", /refused the key \(401\)/)
  })

  it("1c. a bad key and a limit of Google, which words both as something else", async () => {
    const details = (more: object) => [{ "@type": "type.googleapis.com/google.rpc.Info", ...more }]
    const wrong = await json(400, {
      error: { code: 400, message: "API key not valid.", details: details({ reason: "API_KEY_INVALID" }) }
    })
    const limited = await json(429, {
      error: {
        code: 429,
        message: "You exceeded your current quota, please check your plan and billing details.",
        details: details({ retryDelay: "12s" })
      }
    })
    const asGoogle = (url: string) => {
      const options = withProvider(url)
      const text = readFileSync(options.argvConfig, "utf8").replace("openai-chat", "google")
      writeFileSync(options.argvConfig, text)
      return options
    }
    await finds(asGoogle(wrong), "provider", "failed", /refused the key \(400\)/, /providers\.fake\.api_key/)
    await finds(asGoogle(limited), "provider", "warning", /limiting our rate/)
    await finds(asGoogle(await json(200, [{ candidates: [] }])), "provider", "ok", /fake\/some-model answers/)
  })

  it("2. a wrong address: nothing of that name, or a web page", async () => {
    const missing = await answering((response) => {
      response.writeHead(404, { "content-type": "text/html" })
      response.end("<html><h1>Not Found</h1></html>")
    })
    const page = await answering((response) => {
      response.writeHead(200, { "content-type": "text/html" })
      response.end("<!doctype html><p>welcome")
    })
    for (const url of [missing, page]) {
      await finds(
        withProvider(url),
        "provider",
        "failed",
        /not the address of an API/,
        /providers\.fake\.base_url/,
        /\/v1/
      )
    }
  })

  it("3. nothing listens there, or its name or certificate is not known", async () => {
    const free = await answering(() => undefined)
    cleanups.splice(0).forEach((stop) => stop())
    await finds(withProvider(free), "provider", "failed", /nothing listens/, /start it/)
    says(judgeSilence(fake("https://nope.example"), { code: "ENOTFOUND" }), "failed", /cannot be found/)
    says(
      judgeSilence(fake("https://x.example"), { code: "TIMEOUT" }),
      "failed",
      /does not answer/,
      /firewall/
    )
    says(
      judgeSilence(fake("https://x.example"), { code: "SELF_SIGNED_CERT_IN_CHAIN" }),
      "failed",
      /certificate/,
      /NODE_EXTRA_CA_CERTS/
    )
  })

  it("4. out of credit", async () => {
    const paid = await json(402, { error: { message: "This request requires more credits" } })
    const quota = await json(429, {
      error: { code: "insufficient_quota", message: "You exceeded your current quota" }
    })
    const low = await json(400, { error: { message: "Your credit balance is too low for this model" } })
    for (const url of [paid, quota, low]) {
      await finds(withProvider(url), "provider", "failed", /out of credit/, /add some/)
    }
  })

  it("5. a rate limit is not a lack of credit", async () => {
    const url = await json(429, { error: { message: "Too many requests" } })
    await finds(withProvider(url), "provider", "warning", /limiting our rate/)
  })

  it("6. a model it does not have", async () => {
    const url = await json(404, {
      error: { code: "model_not_found", message: "The model `some-model` does not exist" }
    })
    await finds(withProvider(url), "provider", "failed", /has no model some-model/, /general\.model/)
  })

  it("7. it is failing itself", async () => {
    await finds(withProvider(await json(503, {})), "provider", "failed", /failing \(503\)/)
  })

  it("8. a proxy in the way", async () => {
    const url = await answering((response) => {
      response.writeHead(407, { "content-type": "text/html" })
      response.end("<h1>Proxy Authentication Required</h1>")
    })
    await finds(withProvider(url), "provider", "failed", /proxy/, /let .* pass it/)
    const https = [fake("https://api.example.com/v1")]
    const proxied = judgeProxy(https, { HTTPS_PROXY: "http://me:verysecret@proxy:3128" })
    says(proxied, "warning", /HTTPS_PROXY is set/, /directly/, /NO_PROXY/)
    assert.notInclude(proxied.message, "verysecret")
    says(judgeProxy(https, { HTTPS_PROXY: "http://p", NO_PROXY: "localhost,.example.com" }), "ok")
    says(judgeProxy([fake("http://127.0.0.1:1/v1")], { HTTP_PROXY: "http://p" }), "ok")
  })

  it("9. a clock far off, by the provider's own", async () => {
    const url = await json(200, works, { date: new Date(Date.now() + 3_600_000).toUTCString() })
    await finds(withProvider(url), "clock", "failed", /clock is 3\d{3} s behind/, /timedatectl/)
    says(judgeClock(-60_000), "warning", /60 s ahead/)
    says(judgeClock(2000), "ok")
  })
})

describe("a fault of the configuration", () => {
  it("10. an unknown key", async () => {
    await finds(
      write("[queue]\ncapp = 3\n"),
      "configuration",
      "failed",
      /queue\.capp: unknown key/,
      /cap\?/,
      /line 2/
    )
  })

  it("11. a bad value, and every other problem at once", async () => {
    const options = write('[queue]\ncap = 0\n[runtime]\nmode = "fast"\n')
    await finds(options, "configuration", "failed", /queue\.cap/, /runtime\.mode/, /dev, prod/)
  })

  it("12. a variable that is not set", async () => {
    const key = write('[general]\nmodel = "openai/gpt-5"\n[providers.openai]\napi_key_env = "MY_KEY"\n')
    await finds(key, "configuration", "failed", /environment variable MY_KEY is not set/)
    await finds(
      write('[general]\nsystem_prompt = "${ABSENT}"\n'),
      "configuration",
      "failed",
      /ABSENT is not set/
    )
  })

  it("13. a model without its provider or key", async () => {
    await finds(
      write('[general]\nmodel = "opnai/gpt-5"\n'),
      "configuration",
      "failed",
      /no provider named opnai/,
      /openai\?/
    )
    await finds(write('[general]\nmodel = "openai/gpt-5"\n'), "configuration", "failed", /OPENAI_API_KEY/)
  })

  it("14. a file that is no TOML, or is not there", async () => {
    await finds(write("[general\n"), "configuration", "failed", /not valid TOML/)
    await finds({ argvConfig: "/nowhere/opencraw.toml" }, "configuration", "failed", /ENOENT/)
  })

  it("15. secrets that everybody may read", async () => {
    const options = withProvider(await json(200, works))
    chmodSync(options.argvConfig, 0o644)
    await finds(options, "configuration", "warning", /everybody may read it/, /chmod 600/)

    const { folder } = write("")
    mkdirSync(join(folder, "data"), { mode: 0o700 })
    writeFileSync(join(folder, "data", "gateway.key"), "x", { mode: 0o644 })
    await finds({ folder }, "key file", "failed", /other users can read/, /chmod 600/)
    says(judgeKeyFile("f", 0o100600), "ok")
  })

  it("16. a workspace that is not there", async () => {
    const options = withProvider(await json(200, works), 'workspace = "gone"')
    await finds(options, "workspace", "failed", /gone of agent main does not exist/, /make it/)
  })
})

describe("a fault of this machine", () => {
  it("17. a data directory that is a file", async () => {
    const { folder } = write("")
    writeFileSync(join(folder, "data"), "")
    await finds({ folder }, "data directory", "failed", /is not a directory/, /runtime\.data_dir/)
  })

  it("18. a data directory that cannot be written", async () => {
    await finds(
      { env: { OPENCRAW_DATA_DIR: "/proc/opencraw" } },
      "data directory",
      "failed",
      /cannot be written/,
      /permissions/
    )
  })

  it("19. a data directory on a network file system", () => {
    assert.strictEqual(networkFileSystem(0x6969, undefined), "nfs")
    assert.strictEqual(networkFileSystem(0x65735546, "fuse.sshfs"), "fuse.sshfs")
    assert.isUndefined(networkFileSystem(0xef53, undefined))
  })

  it("20. a data directory that another process holds", async () => {
    const { folder } = write("")
    mkdirSync(join(folder, "data"), { mode: 0o700 })
    const database = new DatabaseSync(join(folder, "data", "lock.db"))
    database.exec("BEGIN EXCLUSIVE")
    cleanups.push(() => database.close())
    await finds({ folder }, "data directory", "failed", /in use by another process/, /stop that one/)
  })

  it("21. a disk that is nearly full", () => {
    says(judgeDisk(10, "/data"), "failed", /10 MB of disk left for \/data/, /free some space/)
    says(judgeDisk(300, "/data"), "warning", /free some space/)
    says(judgeDisk(5000, "/data"), "ok")
  })

  it("22. a port that is taken", async () => {
    const url = new URL(await answering(() => undefined))
    await finds({ env: { OPENCRAW_PORT: url.port } }, "port", "failed", /is in use/, /gateway\.port/)
  })

  it("23. a Node that is too old", () => {
    says(judgeNode("20.20.2"), "failed", /Node 20\.20\.2, too old/, /install Node 24/)
    says(judgeNode("24.1.0"), "ok")
  })

  it("24. a page that is not built", async () => {
    const { layerPage } = await import("#layers/gateway/gatewayChecks.ts")
    const Checks = await import("#src/check/Checks.ts")
    const Layer = await import("effect/Layer")
    const [found] = await Effect.runPromise(
      Effect.flatMap(Checks.Checks, (checks) => checks.run).pipe(
        Effect.provide(Layer.provideMerge(layerPage(newFolder()), Checks.layer))
      )
    )
    says(found ?? { status: "ok", message: "" }, "warning", /npm start builds it/)
  })
})

describe("a fault of the log", () => {
  /** A data directory in which a gateway has stored some conversations. */
  const stored = async () => {
    const { url, stop } = await startProvider(() => ({ pieces: ["an answer ".repeat(50)] }))
    cleanups.push(stop)
    const { config, folder } = configure(url)
    const gateway = await startGateway(config)
    cleanups.push(() => gateway.child.kill("SIGKILL"))
    for (let index = 0; index < 12; index++) {
      const response = await api(gateway, "/v1/chat/completions", {
        method: "POST",
        headers: { "x-opencraw-session-key": `s${index}` },
        body: JSON.stringify({ model: "opencraw", messages: [{ role: "user", content: "hi ".repeat(100) }] })
      })
      assert.strictEqual(response.status, 200)
      await response.text()
    }
    gateway.child.kill("SIGTERM")
    await gateway.exited
    return { folder, config, file: join(folder, "data", "log.db") }
  }

  it("25. a schema newer than the program", { timeout: 30_000 }, async () => {
    const { folder, file, config } = await stored()
    const database = new DatabaseSync(file)
    database.exec("INSERT INTO log_migrations (migration_id, name) VALUES (99, 'future')")
    database.close()
    await finds({ folder, argvConfig: config, env: {} }, "log", "failed", /schema 99/, /newer version/)
  })

  it(
    "26. a damaged page, which costs nothing else, and a file that is no log",
    { timeout: 30_000 },
    async () => {
      const { folder, file, config } = await stored()
      assert.strictEqual(inspectLog(file).status, "ok")
      // A page of one table, so that all else can be read, and only a look at every page finds it.
      const database = new DatabaseSync(file, { readOnly: true })
      const { rootpage } = database
        .prepare("SELECT rootpage FROM sqlite_master WHERE name = 'runs'")
        .get() as { rootpage: number }
      database.close()
      const pageSize = readFileSync(file).readUInt16BE(16)
      const handle = openSync(file, "r+")
      writeSync(handle, Buffer.alloc(64, 0xa5), 0, 64, (rootpage - 1) * pageSize)
      closeSync(handle)
      await finds({ folder, argvConfig: config, env: {} }, "log", "failed", /damaged/, /backup/)

      writeFileSync(file, "this is no database, however long it may be".repeat(100))
      says(inspectLog(file), "failed", /no database/)
      assert.strictEqual(inspectLog(join(folder, "absent.db")).status, "ok")
    }
  )
})

describe("doctor as a program", () => {
  const root = fileURLToPath(new URL("../..", import.meta.url))
  const doctor = (args: ReadonlyArray<string>) =>
    new Promise<{ readonly code: number | null; readonly stdout: string }>((done) => {
      const child = spawn(process.execPath, ["layers/main.ts", "doctor", ...args], { cwd: root })
      let stdout = ""
      child.stdout.on("data", (part: Buffer) => (stdout += part.toString()))
      child.on("close", (code) => done({ code, stdout }))
    })

  it(
    "asks the running gateway for the same checks, and ends with 2 when one fails",
    { timeout: 30_000 },
    async () => {
      const url = await json(401, { error: { message: "no" } })
      const { config } = configure(url)
      const gateway = await startGateway(config)
      cleanups.push(() => gateway.child.kill("SIGKILL"))

      const { code, stdout } = await doctor(["--config", config])
      assert.strictEqual(code, 2)
      assert.match(stdout, /ok +gateway +runs at http/)
      assert.match(stdout, /FAIL +provider +fake refused the key/)
      // What costs money is no part of readiness.
      const ready = await fetch(`${gateway.url}/ready`)
      assert.strictEqual(ready.status, 200)
      assert.notInclude(await ready.text(), '"provider"')

      const offline = await doctor(["--config", config, "--offline", "--json"])
      assert.strictEqual(offline.code, 0)
      assert.deepInclude(JSON.parse(offline.stdout), { ok: true })
    }
  )

  it("sees a gateway that was killed, and checks without it", { timeout: 30_000 }, async () => {
    const { config } = configure(await json(200, works))
    const gateway = await startGateway(config)
    gateway.child.kill("SIGKILL")
    await gateway.exited
    const { code, stdout } = await doctor(["--config", config])
    assert.strictEqual(code, 0, stdout)
    assert.match(stdout, /none runs/)
  })
})
