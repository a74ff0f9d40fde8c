/**
 * Rows of `security-json-and-config`: hostile JSON on every door that takes JSON, and in what a configuration is made of.
 *
 * Our rules: of duplicate keys the last one counts; ids are text, never numbers; an unknown key of our own API is 400.
 */
import { randomUUID } from "node:crypto"
import { request as httpRequest } from "node:http"
import { gzipSync } from "node:zlib"
import { limits } from "#layers/gateway/NodeServer.ts"
import { resolve } from "#src/Config.ts"
import { mergePatch } from "#src/setting/mergePatch.ts"
import type { Row, Verdict } from "./Row.ts"
import { type Answer, type RunningGateway, start } from "./RunningGateway.ts"

export const topic = "security-json-and-config"

let running: Promise<RunningGateway> | undefined
const gateway = () => (running ??= start())

export const close = async () => {
  await (await running)?.close()
  running = undefined
}

interface Input {
  readonly raw: string
  readonly generated?: boolean
}

const sendPath = "/api/v1/os/messages/send"
const chatPath = "/v1/chat/completions"

const verdict = (ok: boolean, actual: unknown): Verdict => (ok ? { ok } : { ok, actual })
const isRefusal = ({ status }: Answer) => status >= 400 && status < 500

const post = async (path: string, body: string | Buffer, headers = {}) =>
  (await gateway()).send({ method: "POST", path, body, headers })

// As both doors see it, and whether the gateway still works afterwards.
const everywhere = async (body: string | Buffer, headers = {}) => {
  const answers = [await post(chatPath, body, headers), await post(sendPath, body, headers)]
  return { answers, works: await (await gateway()).works() }
}

const summary = ({ answers, works }: Awaited<ReturnType<typeof everywhere>>) => ({
  statuses: answers.map(({ status }) => status),
  works
})

// The value as a configuration, as a change to one and as a message, in this process, where pollution would show.
const pollutes = (raw: string): boolean => {
  try {
    const value: unknown = JSON.parse(raw)
    resolve(value)
    mergePatch({ a: { b: 1 }, agents: {} }, value)
  } catch {
    return false
  }
  return "polluted" in {} || typeof {}.toString !== "function" || typeof {}.hasOwnProperty !== "function"
}

const harmless = async (raw: string): Promise<Verdict> => {
  const seen = await everywhere(raw)
  const ok = seen.works && seen.answers.every(isRefusal) && !pollutes(raw)
  return verdict(ok, summary(seen))
}

const refusedWith = async (expected: string, body: string | Buffer, headers = {}): Promise<Verdict> => {
  const allowed = new Set((expected.match(/\b4\d\d\b/g) ?? []).map(Number))
  const within = /within (\d+) s/.exec(expected)?.[1]
  const seen = await everywhere(body, headers)
  const isFast = within === undefined || seen.answers.every(({ millis }) => millis < Number(within) * 1000)
  const ok = seen.works && isFast && seen.answers.every(({ status }) => allowed.has(status))
  return verdict(ok, { ...summary(seen), millis: seen.answers.map(({ millis }) => Math.round(millis)) })
}

// Send a message whose body is written by hand, and read it back from the transcript.
const stored = async (body: (session: string) => string) => {
  const session = `conformance-${randomUUID()}`
  const sent = await post(sendPath, body(session))
  const path = `/api/v1/os/sessions/${encodeURIComponent(`agent:main:${session}`)}/messages`
  const read = await (await gateway()).send({ method: "GET", path })
  const value: unknown = read.status === 200 ? JSON.parse(read.body) : undefined
  const messages: unknown =
    typeof value === "object" && value !== null ? Reflect.get(value, "messages") : undefined
  const first: unknown = Array.isArray(messages) ? messages[0] : undefined
  const content: unknown =
    typeof first === "object" && first !== null ? Reflect.get(first, "content") : undefined
  return { sent, content, works: await (await gateway()).works() }
}

const duplicateKeys = async (): Promise<Verdict> => {
  const { sent, content, works } = await stored(
    (session) => `{"session_key":"${session}","content":"first","content":"last"}`
  )
  return verdict(works && sent.status < 300 && content === "last", { status: sent.status, content, works })
}

const bigNumber = async (raw: string): Promise<Verdict> => {
  const number = /-?\d[\d.eE+]*/.exec(raw)?.[0] ?? "9007199254740993"
  const { sent, works } = await stored(
    (session) => `{"session_key":"${session}","content":"x","id":${number}}`
  )
  const plain = await harmless(raw)
  return verdict(works && isRefusal(sent) && plain.ok, { status: sent.status, plain: plain.actual, works })
}

// The text of the row as a message: refused, or stored as valid text and readable again.
const oddText = async (raw: string): Promise<Verdict> => {
  const text = /:\s*("(?:[^"\\]|\\.)*")/.exec(raw)?.[1] ?? '""'
  const { sent, content, works } = await stored((session) => `{"session_key":"${session}","content":${text}}`)
  const isSafe = isRefusal(sent) || (typeof content === "string" && content.isWellFormed())
  const plain = await harmless(raw)
  return verdict(works && isSafe && plain.ok, { status: sent.status, content, plain: plain.actual, works })
}

// One byte a second, until it is closed; meanwhile others must be served.
const slowBody = async (): Promise<Verdict> => {
  const { port, token, works } = await gateway()
  const request = httpRequest({
    host: "127.0.0.1",
    port,
    method: "POST",
    path: sendPath,
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      "transfer-encoding": "chunked"
    }
  })
  const drip = setInterval(() => request.write(" "), 1000)
  const ended = new Promise<number>((resolve) => {
    request.on("response", (response) => resolve(response.resume().statusCode ?? 0))
    request.on("error", () => resolve(0))
    setTimeout(() => resolve(-1), limits.request + 2 * limits.checkEvery + 3000).unref()
  })
  request.write("{")
  const others = await works()
  const status = await ended
  clearInterval(drip)
  request.destroy()
  return verdict(others && (status === 408 || status === 0) && (await works()), { status, others })
}

const manyKeys = () => `{${Array.from({ length: 200_000 }, (_, index) => `"k${index}":${index}`).join(",")}}`

const generated = (raw: string, expected: string): Promise<Verdict> | undefined => {
  if (/200000 keys/.test(raw)) return refusedWith(expected, manyKeys())
  if (/gzip/.test(raw)) {
    const body = gzipSync(Buffer.alloc(50_000_000, " "))
    return refusedWith(expected, body, { "content-encoding": "gzip" })
  }
  if (/1 byte per second/.test(raw)) return slowBody()
  const nested = /(?:nest|deep|depth)\D*(\d{3,})|(\d{3,})\D*(?:nest|deep|level|depth)/i.exec(raw)
  if (nested !== null) {
    const depth = Number(nested[1] ?? nested[2])
    return refusedWith(expected, "[".repeat(depth) + "]".repeat(depth))
  }
  const size = /(\d+) ?M(?:i?B)?\b/i.exec(raw)
  if (size !== null) return refusedWith(expected, `{"content":"${"x".repeat(Number(size[1]) * 1_048_576)}"}`)
  return undefined
}

export const run = async (row: Row<Input, string>): Promise<Verdict> => {
  const { raw, generated: isGenerated } = row.input
  if (isGenerated === true) {
    return generated(raw, row.expected) ?? { ok: true, skip: "we do not know how to make this body" }
  }
  if (/duplicate/.test(row.expected)) return duplicateKeys()
  if (/not silently changed/.test(row.expected)) return bigNumber(raw)
  if (/UTF-8|NUL/.test(row.expected)) return oddText(raw)
  if (/polluted/.test(row.expected)) return harmless(raw)
  if (/\b4\d\d\b/.test(row.expected)) return refusedWith(row.expected, raw)
  return harmless(raw)
}
