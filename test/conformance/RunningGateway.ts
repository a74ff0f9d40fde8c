/**
 * The real gateway as a child process, for topics that are about its sockets. Demo model, own data directory, any free port.
 */
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { request as httpRequest, type OutgoingHttpHeaders } from "node:http"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const readyWithinMillis = 30_000
const answerWithinMillis = 10_000

export interface Answer {
  /** 0 when the connection was closed without an answer. */
  readonly status: number
  readonly body: string
  readonly millis: number
}

export interface RunningGateway {
  readonly port: number
  readonly token: string
  /** Send a request with a body as it is and read the answer. */
  readonly send: (options: {
    readonly method: string
    readonly path: string
    readonly body?: string | Buffer
    readonly headers?: OutgoingHttpHeaders
  }) => Promise<Answer>
  /** What comes back on a fresh connection for these bytes, until `until` says it is enough, the peer closes, or time is over. */
  readonly raw: (
    first: string,
    onData: (received: Buffer, write: (bytes: Buffer) => void) => boolean,
    withinMillis?: number
  ) => Promise<{ readonly received: Buffer; readonly closed: boolean }>
  /** True while it lives and a plain question is answered. */
  readonly works: () => Promise<boolean>
  readonly close: () => Promise<void>
}

// The only variables the child needs; nothing of the caller's configuration or keys.
const inherited = () =>
  Object.fromEntries(["PATH", "HOME", "TMPDIR", "SystemRoot"].map((name) => [name, process.env[name]]))

const readyUrl = (line: string): string | undefined => {
  if (!line.startsWith("{")) return undefined
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== "object" || value === null || Reflect.get(value, "event") !== "gateway.ready")
      return undefined
    const url: unknown = Reflect.get(value, "url")
    return typeof url === "string" ? url : undefined
  } catch {
    return undefined
  }
}

export const start = async (): Promise<RunningGateway> => {
  const folder = await mkdtemp(join(tmpdir(), "opencraw-conformance-"))
  const config = join(folder, "config.toml")
  await writeFile(config, '[general]\nmodel = "demo/demo"\n', { mode: 0o600 })
  const token = randomBytes(24).toString("hex")
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL("../../layers/main.ts", import.meta.url)), "serve", "--config", config],
    {
      env: {
        ...inherited(),
        OPENCRAW_DATA_DIR: join(folder, "data"),
        OPENCRAW_PORT: "0",
        OPENCRAW_GATEWAY_TOKEN: token
      },
      stdio: ["ignore", "pipe", "pipe"]
    }
  )
  let said = ""
  child.stderr.on("data", (bytes: Buffer) => (said = (said + bytes.toString()).slice(-2000)))
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const killed = () => void child.kill("SIGKILL")
  process.once("exit", killed)
  const close = async () => {
    process.off("exit", killed)
    child.kill("SIGTERM")
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000)
    await ended
    clearTimeout(timer)
    await rm(folder, { recursive: true, force: true })
  }
  const url = await new Promise<string>((resolve, reject) => {
    const failed = (why: string) => reject(new Error(`the gateway ${why}: ${said}`))
    const timer = setTimeout(() => failed("was not ready in time"), readyWithinMillis)
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = readyUrl(line)
      if (found === undefined) return
      clearTimeout(timer)
      resolve(found)
    })
    child.once("exit", () => {
      clearTimeout(timer)
      failed("ended")
    })
  }).catch(async (cause: unknown) => {
    await close()
    throw cause
  })
  const port = Number(new URL(url).port)

  const send: RunningGateway["send"] = ({ method, path, body, headers }) =>
    new Promise((resolve) => {
      const began = performance.now()
      const done = (status: number, text: string) =>
        resolve({ status, body: text, millis: performance.now() - began })
      const request = httpRequest({
        host: "127.0.0.1",
        port,
        method,
        path,
        agent: false,
        headers: {
          authorization: `Bearer ${token}`,
          "content-type": "application/json",
          ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
          ...headers
        }
      })
      request.setTimeout(answerWithinMillis, () => request.destroy())
      let answered = false
      request.on("response", (response) => {
        answered = true
        const parts: Array<Buffer> = []
        response.on("data", (bytes: Buffer) => parts.push(bytes))
        response.on("close", () => done(response.statusCode ?? 0, Buffer.concat(parts).toString("utf8")))
      })
      // A refusal may close the connection while we are still sending.
      request.on("error", () => {
        if (!answered) done(0, "")
      })
      request.end(body)
    })

  const raw: RunningGateway["raw"] = (first, onData, withinMillis = 2000) =>
    new Promise((resolve) => {
      let received = Buffer.alloc(0)
      const socket = connect({ host: "127.0.0.1", port })
      const finish = (closed: boolean) => {
        clearTimeout(timer)
        socket.destroy()
        resolve({ received, closed })
      }
      const timer = setTimeout(() => finish(false), withinMillis)
      socket.on("connect", () => socket.write(first))
      socket.on("data", (bytes) => {
        received = Buffer.concat([received, bytes])
        if (onData(received, (more) => void socket.write(more))) finish(false)
      })
      socket.on("error", () => undefined)
      socket.on("close", () => finish(true))
    })

  const works = async () => {
    const answer = await send({
      method: "POST",
      path: "/v1/chat/completions",
      body: JSON.stringify({ model: "demo/demo", messages: [{ role: "user", content: "hello" }] })
    })
    return child.exitCode === null && answer.status === 200
  }

  return { port, token, send, raw, works, close }
}
