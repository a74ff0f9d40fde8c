/**
 * What the error objects of Google's APIs say that neither their status nor their words do.
 *
 * They come bare, in `error`, or in a list of one, whatever protocol is spoken to Google.
 */
import { isRecord, type Json } from "./json.ts"

const detailsOf = (said: unknown): ReadonlyArray<Json> => {
  const first: unknown = Array.isArray(said) ? said[0] : said
  const error = isRecord(first) && isRecord(first["error"]) ? first["error"] : first
  const details = isRecord(error) ? error["details"] : undefined
  return Array.isArray(details) ? details.filter(isRecord) : []
}

/** A key that is wrong or has expired is told as a bad request. */
export const isAboutKey = (said: unknown): boolean =>
  detailsOf(said).some(({ reason }) => reason === "API_KEY_INVALID")

/** Milliseconds that it asks us to wait, said as `"34.07s"`. */
export const retryDelay = (said: unknown): number | undefined => {
  for (const { retryDelay: delay } of detailsOf(said)) {
    const seconds = typeof delay === "string" ? /^(\d{1,9}(?:\.\d+)?)s$/.exec(delay)?.[1] : undefined
    if (seconds !== undefined) return Math.ceil(Number(seconds) * 1000)
  }
  return undefined
}

const statuses: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  FAILED_PRECONDITION: 400,
  OUT_OF_RANGE: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  RESOURCE_EXHAUSTED: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504
}

/** The status of an error that came within an answer; undefined when it says none. */
export const statusOf = (error: unknown): number | undefined => {
  if (!isRecord(error)) return undefined
  const { code, status } = error
  if (typeof code === "number" && Number.isInteger(code) && code >= 400 && code <= 599) return code
  return typeof status === "string" && Object.hasOwn(statuses, status) ? statuses[status] : undefined
}
