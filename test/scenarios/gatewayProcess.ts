/** The real program as a child process, and clients that behave like people's: what scenarios are made of. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { assert } from "vitest"
import { WebSocket } from "ws"

export const token = "test-token"
const root = fileURLToPath(new URL("../..", import.meta.url))

export const newFolder = (): string => mkdtempSync(join(tmpdir(), "opencraw-"))

export interface ProviderRequest {
  readonly messages: ReadonlyArray<{ readonly role: string; readonly content: string | null }>
}
/** Pieces of an answer; a call asks for that tool first. */
export type Reply =
  | { readonly pieces: ReadonlyArray<string>; readonly pauseMillis?: number }
  | { readonly call: string }

/** A provider of our own making that speaks the chat completions stream, one write per piece. */
export const startProvider = async (reply: (request: ProviderRequest) => Reply | Promise<Reply>) => {
  const requests: Array<ProviderRequest> = []
  const keys: Array<string | undefined> = []
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const parts: Array<Buffer> = []
    for await (const part of request) parts.push(part as Buffer)
    const body = JSON.parse(Buffer.concat(parts).toString()) as ProviderRequest
    requests.push(body)
    keys.push(request.headers.authorization)
    const chosen = await reply(body)
    const event = (delta: unknown, finish: string | null) =>
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`)
    response.writeHead(200, { "content-type": "text/event-stream" })
    if ("call" in chosen) {
      event(
        {
          tool_calls: [
            { index: 0, id: `call_${requests.length}`, function: { name: chosen.call, arguments: "{}" } }
          ]
        },
        null
      )
      event({}, "tool_calls")
    } else {
      for (const piece of chosen.pieces) {
        event({ content: piece }, null)
        await new Promise((done) => setTimeout(done, chosen.pauseMillis ?? 0))
      }
      event({}, "stop")
    }
    response.end("data: [DONE]\n\n")
  }
  const server: Server = createServer((request, response) => void answer(request, response))
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    /** The Authorization header of each. */
    keys,
    stop: () => {
      server.closeAllConnections()
      server.close()
    }
  }
}

export interface Gateway {
  readonly url: string
  readonly child: ChildProcess
  /** Ends when the process has. */
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  readonly stderr: () => string
}

/** Where prod keeps everything. */
export interface Database {
  readonly url: string
  readonly schema: string
}

/** A folder with a configuration for this provider, of dev or on this database; `port` 0 takes any free one. */
export const configure = (
  providerUrl: string,
  extra = "",
  database?: Database
): { readonly folder: string; readonly config: string } => {
  const folder = newFolder()
  const config = join(folder, "config.toml")
  writeFileSync(
    config,
    `[runtime]\ndata_dir = ${JSON.stringify(join(folder, "data"))}\n` +
      (database === undefined
        ? ""
        : `mode = "prod"\n[postgres]\nurl = "${database.url}"\nschema = "${database.schema}"\n`) +
      `[general]\nmodel = "fake/fake-model"\n` +
      `[providers.fake]\nkind = "openai-chat"\nbase_url = "${providerUrl}"\napi_key = "k"\n` +
      `[gateway]\ntoken = "${token}"\nport = 0\n${extra}`,
    { mode: 0o600 }
  )
  return { folder, config }
}

/** Start it and wait for its ready line; rejects with what it said when it ends before. */
export const startGateway = async (config: string, env: Record<string, string> = {}): Promise<Gateway> => {
  const child = spawn(process.execPath, ["layers/main.ts", "serve", "--config", config], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  let stderr = ""
  child.stderr.on("data", (part: Buffer) => (stderr += part.toString()))
  const exited = once(child, "exit").then(([code, signal]) => ({ code, signal }))
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.includes('"gateway.ready"')) resolve((JSON.parse(line) as { readonly url: string }).url)
    })
    void exited.then(() => reject(new Error(stderr)))
  })
  return { url, child, exited, stderr: () => stderr }
}

export const api = async (gateway: Gateway, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${gateway.url}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...init.headers }
  })

export interface Line {
  readonly id: string
  readonly seq: number
  readonly role: string
  readonly content: string
  readonly client_id?: string
  readonly answers?: ReadonlyArray<string>
}
export const transcript = async (gateway: Gateway, session: string): Promise<ReadonlyArray<Line>> => {
  const response = await api(
    gateway,
    `/api/v1/os/sessions/${encodeURIComponent(session)}/messages?limit=1000`
  )
  return response.status === 404
    ? []
    : ((await response.json()) as { messages: ReadonlyArray<Line> }).messages
}

/** How a message ended, by the id it was accepted under; undefined while it is open. */
export const outcomeOf = async (gateway: Gateway, messageId: string): Promise<string | undefined> => {
  const response = await api(gateway, `/api/v1/os/messages/${messageId}`)
  return ((await response.json()) as { readonly outcome?: string }).outcome
}

interface Frame {
  readonly type: string
  readonly message_id?: string
  readonly id?: string
  readonly seq?: number
  readonly answers?: ReadonlyArray<string>
  readonly outcome?: string
  readonly content?: string
}

/**
 * A WebChat client that never gives up: it connects again with the last seq it has seen, sends again what was not
 * acknowledged, and confirms every message.
 */
export class Client {
  /** Client id -> the id it was accepted under. */
  readonly acked = new Map<string, string>()
  /** Client id -> ids of the distinct answers it was given. */
  readonly answers = new Map<string, Set<string>>()
  readonly outcomes = new Map<string, string>()
  readonly #told = new Map<string, number>()
  readonly #session: string
  readonly #unsent = new Map<string, string>()
  #gateway: Gateway | undefined
  #socket: WebSocket | undefined
  #seq = 0
  #isClosed = false

  constructor(session: string) {
    this.#session = session
  }

  connect(gateway: Gateway): void {
    this.#gateway = gateway
    const url = `${gateway.url.replace("http", "ws")}/ws?token=${token}&session_key=${this.#session}&after=${this.#seq}`
    const socket = new WebSocket(url)
    this.#socket = socket
    socket.on("error", () => undefined)
    socket.on("open", () => {
      for (const [id, content] of this.#unsent) this.#write({ type: "message", id, content })
    })
    socket.on("message", (data: Buffer) => this.#read(JSON.parse(data.toString()) as Frame))
    socket.on("close", () => {
      if (this.#isClosed || this.#gateway !== gateway) return
      setTimeout(() => {
        if (!this.#isClosed && this.#gateway === gateway) this.connect(gateway)
      }, 50)
    })
  }

  send(id: string, content: string): void {
    this.#unsent.set(id, content)
    this.#write({ type: "message", id, content })
  }

  /** Ids of what was not acknowledged yet. */
  get unsent(): ReadonlyArray<string> {
    return [...this.#unsent.keys()]
  }

  /** How often this answer was told. */
  frames(entryId: string): number {
    return this.#told.get(entryId) ?? 0
  }

  /** Ends the session's run, and what waits. */
  stop(): void {
    this.#write({ type: "stop" })
  }

  /** As when a network fails: it connects again by itself. */
  drop(): void {
    this.#socket?.terminate()
  }

  close(): void {
    this.#isClosed = true
    this.#socket?.close()
  }

  #write(frame: unknown): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame))
  }

  #read(frame: Frame): void {
    if (frame.type === "ack" && frame.id !== undefined) {
      this.acked.set(frame.id, frame.message_id ?? "")
      this.#unsent.delete(frame.id)
    } else if (frame.type === "outcome" && frame.id !== undefined && frame.outcome !== undefined) {
      this.outcomes.set(frame.id, frame.outcome)
    } else if (frame.type === "message" && frame.id !== undefined && frame.seq !== undefined) {
      this.#seq = Math.max(this.#seq, frame.seq)
      this.#told.set(frame.id, this.frames(frame.id) + 1)
      for (const answered of frame.answers ?? []) {
        const known = this.answers.get(answered) ?? new Set()
        this.answers.set(answered, known.add(frame.id))
      }
      this.#write({ type: "received", id: frame.id })
    }
  }
}

/** Wait until it holds, looking every 20 ms; fails after `limitMillis` with what it was waiting for. */
export const until = async (what: string, holds: () => boolean | Promise<boolean>, limitMillis = 60_000) => {
  const end = performance.now() + limitMillis
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${limitMillis} ms for: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

/** Echoes the last user text, with a tool call before it where the text asks for one. */
export const echo = ({ messages }: ProviderRequest): Reply => {
  const last = messages.at(-1)!
  const asked = messages.findLast((message) => message.role === "user")?.content ?? ""
  return asked.includes("tool") && last.role === "user"
    ? { call: "time_now" }
    : { pieces: ["echo ", "of ", asked], pauseMillis: 5 }
}

type Clients = ReadonlyArray<readonly [session: string, client: Client]>

const acceptedBy = (clients: Clients) => clients.flatMap(([, client]) => [...client.acked])

/** Until each acknowledged message has its outcome; says what is known of the others when it takes too long. */
export const untilEnded = async (gateway: Gateway, clients: Clients) => {
  let open: ReadonlyArray<string> = []
  const haveEnded = async () => {
    const ids = acceptedBy(clients).map(([, messageId]) => messageId)
    const outcomes = await Promise.all(ids.map((id) => outcomeOf(gateway, id)))
    open = ids.filter((_, index) => outcomes[index] === undefined)
    return open.length === 0
  }
  try {
    await until("every end", haveEnded)
  } catch (error) {
    const traces = open.map(async (id) => (await api(gateway, `/api/v1/os/messages/${id}`)).text())
    const lanes = await (await api(gateway, "/api/v1/os/lanes")).text()
    throw new Error([String(error), ...(await Promise.all(traces)), lanes, gateway.stderr()].join("\n"), {
      cause: error
    })
  }
}

/** Every acknowledged message: once in the transcript, with one end, and what answers it is one answer, delivered once. */
export const checkEnds = async (gateway: Gateway, clients: Clients) => {
  for (const [session, client] of clients) {
    const lines = await transcript(gateway, session)
    for (const [id, messageId] of client.acked) {
      const outcome = await outcomeOf(gateway, messageId)
      const answers = lines.filter((line) => line.role === "assistant" && line.answers?.includes(id) === true)
      const shown = lines.filter((line) => line.client_id === id)
      assert.lengthOf(shown, 1, `${id} in the transcript`)
      if (outcome === "interrupted") {
        assert.lengthOf(answers, 0, `${id} was interrupted`)
        continue
      }
      assert.include(["answered", "merged", "steered"], outcome, id)
      assert.lengthOf(answers, 1, `answers to ${id}`)
      await until("its delivery", () => client.answers.has(id))
      assert.deepStrictEqual([...(client.answers.get(id) ?? [])], [answers[0]!.id], `deliveries for ${id}`)
    }
  }
}
