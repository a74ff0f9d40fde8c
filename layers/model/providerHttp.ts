/**
 * What any provider that is reached over HTTP needs said about an answer that is none.
 *
 * Owns: addresses and endpoints, headers that matter, how long a limited caller is to wait, the reason of a status or an error, and failure
 * texts without secrets.
 */
import {
  type ModelError,
  ModelRateLimited,
  ModelRejected,
  ModelUnauthorized,
  ModelUnavailable
} from "#src/model/Model.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as Redacted from "effect/Redacted"
import { isAboutKey, retryDelay } from "./googleErrors.ts"
import { isRecord, parse, write } from "./json.ts"

export type Reason = ModelError["reason"]

/** Where a provider is, and its key; `path` ends with no slash. `undefined` for what is no web address. */
export interface Address {
  readonly origin: string
  readonly hostname: string
  readonly path: string
  readonly search: string
  readonly key: string
}

export const addressOf = (settings: ProviderSettings): Address | undefined => {
  const base = settings.base_url ?? ""
  const url = URL.canParse(base) ? new URL(base) : undefined
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) return undefined
  return {
    origin: url.origin,
    hostname: url.hostname,
    path: url.pathname.replace(/\/+$/, ""),
    search: url.search,
    key: settings.api_key === undefined ? "" : Redacted.value(settings.api_key).trim()
  }
}

/** Where and as whom a provider is asked. */
export interface Endpoint {
  readonly origin: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly key: string
}

/** What `make` says of a provider's address, worked out once per provider; undefined without a web address. */
export const endpointsBy = <E extends Endpoint>(
  make: (address: Address, settings: ProviderSettings) => E
): ((settings: ProviderSettings) => E | undefined) => {
  const endpoints = new WeakMap<ProviderSettings, E>()
  return (settings) => {
    const known = endpoints.get(settings)
    if (known !== undefined) return known
    const address = addressOf(settings)
    if (address === undefined) return undefined
    const endpoint = make(address, settings)
    endpoints.set(settings, endpoint)
    return endpoint
  }
}

/** Sent with each request, whatever the protocol. */
export const standardHeaders = {
  "content-type": "application/json",
  accept: "text/event-stream",
  "user-agent": "opencraw"
} as const

export type Headers = Readonly<Record<string, string | ReadonlyArray<string> | undefined>>

const header = (headers: Headers, name: string): string => {
  const value = headers[name]
  return typeof value === "string" ? value : (value?.[0] ?? "")
}

export const isCompressed = (headers: Headers): boolean => {
  const encoding = header(headers, "content-encoding")
  return encoding !== "" && encoding !== "identity"
}

const dayMillis = 86_400_000

/** Milliseconds that the provider asks us to wait: seconds, or a date, at most a day. */
export const retryAfter = (headers: Headers): number | undefined => {
  const millis = header(headers, "retry-after-ms")
  const said = header(headers, "retry-after").trim()
  const wait =
    millis !== ""
      ? Number(millis)
      : said === ""
        ? Number.NaN
        : /^\d+(\.\d+)?$/.test(said)
          ? Number(said) * 1000
          : Date.parse(said) - Date.now()
  return Number.isFinite(wait) ? bounded(wait) : undefined
}

const bounded = (wait: number): number => Math.min(Math.max(Math.ceil(wait), 0), dayMillis)

/** How providers word that a prompt does not fit the model. */
const tooLong =
  /prompt is too long|context[ _-]?(?:length|window|limit)|maximum context|input token count .{0,40}exceeds/i

/** The reason of an HTTP status that is not 2xx. */
export const statusReason = (status: number, detail: string, retryAfterMillis?: number): Reason => {
  const later = retryAfterMillis === undefined ? {} : { retryAfterMillis }
  if (status === 401 || status === 403) return new ModelUnauthorized({ status, detail })
  if (status === 429) return new ModelRateLimited({ detail, ...later })
  if (status >= 500 || status === 408) return new ModelUnavailable({ status, detail, ...later })
  const isTooLong = status === 413 || (status < 500 && tooLong.test(detail))
  return new ModelRejected({ status, detail, ...(isTooLong ? { problem: "prompt_too_long" as const } : {}) })
}

/** The reason of a failure's status and of what it said; `retryAfterMillis` as the headers wish it. */
export const failureReason = (
  status: number,
  said: unknown,
  detail: string,
  retryAfterMillis?: number
): Reason => {
  if (isAboutKey(said)) return new ModelUnauthorized({ status, detail })
  const delay = retryAfterMillis ?? retryDelay(said)
  return statusReason(status, detail, delay === undefined ? undefined : bounded(delay))
}

/** The reason of an answer that is none, from its status and its whole body. */
export const refusalReason = (
  status: number,
  body: string,
  detail: (text: string) => string,
  retryAfterMillis?: number
): Reason => failureReason(status, parse(body), bodyDetail(body, detail), retryAfterMillis)

/** One bounded line without the key or anything that looks like one. */
export const safeDetail = (text: string, key: string): string => {
  const bare = key.length < 4 ? text : text.replaceAll(key, "[key]")
  return bare
    .replace(/\bBearer\s+[^\s"',]+/gi, "Bearer [key]")
    .replace(/\b(?:sk-[\w-]{8,}|AIza[\w-]{20,})/g, "[key]")
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .trim()
    .slice(0, 500)
}

/** What a provider's error object or body says, in one line. */
export const errorText = (error: unknown): string => {
  let said = error
  for (;;) {
    if (Array.isArray(said) && isRecord(said[0])) said = said[0]
    else if (isRecord(said) && typeof said["message"] !== "string" && said["error"] !== undefined) {
      said = said["error"]
    } else break
  }
  if (typeof said === "string") return said
  if (isRecord(said)) {
    if (typeof said["message"] === "string") return said["message"]
    if (typeof said["detail"] === "string") return said["detail"]
  }
  return write(said)
}

/** What a failure's body says: its error message, or the words of a web page. */
export const bodyDetail = (body: string, detail: (text: string) => string): string => {
  if (body.trimStart().startsWith("<")) return detail(`a web page: ${body.replace(/<[^>]*>/g, " ")}`)
  const said = parse(body)
  return detail(said === undefined ? body : errorText(said))
}

/** A connection's failure. */
export const errorDetail = (error: Error & { readonly code?: unknown }): string =>
  typeof error.code === "string" ? `${error.code} ${error.message}` : error.message
