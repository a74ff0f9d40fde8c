/**
 * Rows of `websocket-frames`: raw frames and handshakes against `/ws`.
 *
 * After a row's frames comes a ping of ours: a pong says that the socket stays open. What is expected is read from the row's words:
 * close codes or HTTP statuses, any of which will do, and "stays open".
 */
import { randomUUID } from "node:crypto"
import type { Row, Verdict } from "./Row.ts"
import { type RunningGateway, start } from "./RunningGateway.ts"

export const topic = "websocket-frames"

let running: Promise<RunningGateway> | undefined
const gateway = () => (running ??= start())

export const close = async () => {
  await (await running)?.close()
  running = undefined
}

type Input = { readonly framesHex: ReadonlyArray<string> } | { readonly handshake: string }

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const acceptKey = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
const probe = "opencraw-probe"
const mask = Buffer.from("37fa213d", "hex")

const ping = () => {
  const payload = Buffer.from(probe).map((byte, index) => byte ^ (mask[index % 4] ?? 0))
  return Buffer.concat([Buffer.from([0x89, 0x80 | payload.length]), mask, payload])
}

const handshake = async (change: {
  readonly method?: string
  readonly headers?: Record<string, string | undefined>
}) => {
  const { port, token } = await gateway()
  const headers: Record<string, string | undefined> = {
    Host: `127.0.0.1:${port}`,
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": key,
    "Sec-WebSocket-Version": "13",
    ...change.headers
  }
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}\r\n`]
  )
  const path = `/ws?token=${token}&session_key=conformance-${randomUUID()}`
  return `${change.method ?? "GET"} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`
}

interface Frame {
  readonly opcode: number
  readonly payload: Buffer
}

// A server's whole frames: never masked.
const framesOf = (bytes: Buffer): ReadonlyArray<Frame> => {
  const frames: Array<Frame> = []
  let at = 0
  while (bytes.length >= at + 2) {
    const short = (bytes[at + 1] ?? 0) & 0x7f
    const head = short < 126 ? 2 : short === 126 ? 4 : 10
    if (bytes.length < at + head) break
    const length =
      short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    if (bytes.length < at + head + length) break
    frames.push({ opcode: (bytes[at] ?? 0) & 0x0f, payload: bytes.subarray(at + head, at + head + length) })
    at += head + length
  }
  return frames
}

const bodyOf = (received: Buffer): Buffer => {
  const end = received.indexOf("\r\n\r\n")
  return end < 0 ? Buffer.alloc(0) : received.subarray(end + 4)
}

const isClose = ({ opcode }: Frame) => opcode === 8
const isProbe = ({ opcode, payload }: Frame) => opcode === 10 && payload.toString() === probe

const runFrames = async (hex: ReadonlyArray<string>, expected: string): Promise<Verdict> => {
  const { raw, works } = await gateway()
  let sent = false
  const { received, closed } = await raw(await handshake({}), (all, write) => {
    if (!sent && all.includes("\r\n\r\n")) {
      sent = true
      for (const frame of hex) write(Buffer.from(frame, "hex"))
      write(ping())
    }
    return framesOf(bodyOf(all)).some((frame) => isClose(frame) || isProbe(frame))
  })
  if (!received.includes(acceptKey)) return { ok: false, actual: received.toString("latin1").slice(0, 300) }
  const frames = framesOf(bodyOf(received))
  const ending = frames.find(isClose)
  const code = ending !== undefined && ending.payload.length >= 2 ? ending.payload.readUInt16BE(0) : undefined
  const isOpen = ending === undefined && !closed
  const codes = (expected.match(/\b[1-4]\d{3}\b/g) ?? []).map(Number)
  const wantsPong = /pong/.test(expected)
  const ponged = frames.some((frame) => frame.opcode === 10 && !isProbe(frame))
  const ok =
    codes.includes(code ?? 0) || (/stays? open|pong/.test(expected) && isOpen && (!wantsPong || ponged))
  return ok && (await works()) ? { ok } : { ok: false, actual: { code, closed, isOpen, ponged } }
}

const handshakeOf = async (words: string): Promise<string> => {
  const { port } = await gateway()
  if (/^POST\b/.test(words)) return handshake({ method: "POST" })
  if (words.startsWith("no key")) return handshake({ headers: { "Sec-WebSocket-Key": undefined } })
  if (words.startsWith("no version")) return handshake({ headers: { "Sec-WebSocket-Version": undefined } })
  const header = /^([A-Za-z-]+): (\S+)/.exec(words)
  if (header !== null)
    return handshake({ headers: { [header[1] ?? ""]: header[2]?.replace("PORT", String(port)) } })
  return handshake({ headers: { Upgrade: undefined, Connection: undefined } })
}

const runHandshake = async (words: string, expected: string): Promise<Verdict> => {
  const { raw, works } = await gateway()
  const { received } = await raw(await handshakeOf(words), (all) => all.includes("\r\n\r\n"))
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(received.toString("latin1"))?.[1] ?? 0)
  const allowed = (expected.replaceAll(/\bno \d+/g, "").match(/\b\d{3}\b/g) ?? []).map(Number)
  return allowed.includes(status) && (await works()) ? { ok: true } : { ok: false, actual: { status } }
}

export const run = async ({ input, expected }: Row<Input, string>): Promise<Verdict> =>
  "framesHex" in input ? runFrames(input.framesHex, expected) : runHandshake(input.handshake, expected)
