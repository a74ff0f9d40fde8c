/**
 * What any provider that is reached over HTTP needs said about an answer that is none.
 *
 * Owns: headers that matter, how long a limited caller is to wait, and failure texts without secrets.
 */
import { errorText } from "./OpenAiChatDecoder.ts"

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
  return Number.isFinite(wait) ? Math.min(Math.max(Math.ceil(wait), 0), dayMillis) : undefined
}

/** One bounded line without the key or anything that looks like one. */
export const safeDetail = (text: string, key: string): string => {
  const bare = key.length < 4 ? text : text.replaceAll(key, "[key]")
  return bare
    .replace(/\bBearer\s+[^\s"',]+/gi, "Bearer [key]")
    .replace(/\bsk-[\w-]{8,}/g, "[key]")
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .trim()
    .slice(0, 500)
}

/** What a failure's body says: its error message, or the words of a web page. */
export const bodyDetail = (body: string, detail: (text: string) => string): string => {
  if (body.trimStart().startsWith("<")) return detail(`a web page: ${body.replace(/<[^>]*>/g, " ")}`)
  try {
    return detail(errorText(JSON.parse(body)))
  } catch {
    return detail(body)
  }
}

/** A connection's failure. */
export const errorDetail = (error: Error & { readonly code?: unknown }): string =>
  typeof error.code === "string" ? `${error.code} ${error.message}` : error.message
