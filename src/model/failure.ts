/**
 * What a provider's failure means for the choice of a model.
 *
 * Owns: the reasons that start a failover, which of them the same model is asked again for, and how far each reaches. Pure.
 * Does not own: what is done about it (`plan`), nor reading a provider's answer (`layers/model`).
 */
import type { ModelError } from "./Model.ts"

/** Why another credential or model is tried. What has none of these is told to the person who wrote. */
export type FailoverReason =
  | "auth"
  | "billing"
  | "rate_limit"
  | "timeout"
  | "server_error"
  | "model_not_found"
  | "format"

/** A failure as far as anybody knows it. */
export interface Symptoms {
  readonly status?: number
  /** Of the connection: `ECONNRESET`. */
  readonly code?: string
  readonly name?: string
  readonly message?: string
}

/** The status that a reason has when the failure brought none. */
export const statusOf: Readonly<Record<FailoverReason, number>> = {
  auth: 401,
  billing: 402,
  rate_limit: 429,
  timeout: 408,
  server_error: 500,
  model_not_found: 404,
  format: 400
}

const byStatus: Readonly<Record<number, FailoverReason>> = {
  401: "auth",
  402: "billing",
  403: "auth",
  408: "timeout",
  429: "rate_limit"
}

/** A connection that was refused, broke or took too long. */
const connectionCodes = new Set([
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EPIPE",
  "ESOCKETTIMEDOUT",
  "ETIMEDOUT"
])

/** How providers word it. The first that matches counts. */
const wordings: ReadonlyArray<readonly [FailoverReason, RegExp]> = [
  [
    "rate_limit",
    /rate[_ ]limit|too many requests|\b429\b|exceeded your current quota|quota exceeded|resource has been exhausted|resource_exhausted|usage limit|overloaded/
  ],
  ["format", /string should match pattern|tool_use[._]id|invalid request format/],
  [
    "billing",
    /\b402\b|payment required|insufficient credits|credit balance|plans & billing|billing(?=.*(?:upgrade|credits|payment|plan))|(?:upgrade|credits|payment|plan).*billing/
  ],
  ["timeout", /timeout|timed out|deadline exceeded/],
  [
    "auth",
    /invalid[_ ]?api[_ ]?key|incorrect api key|invalid token|authenticat|oauth token refresh failed|unauthorized|forbidden|access denied|expired|\b40[13]\b|no credentials found|no api key found/
  ],
  [
    "model_not_found",
    /unknown model|no such model|model[_ ]not[_ ]found|model\b.*\b(?:not found|does not exist|is not available)/
  ]
]

/** A picture that is too large fails everywhere: another model is not asked. */
const aboutPicture = /image dimensions exceed|image exceeds\s*[\d.]+\s*mb/

/** Undefined when no other credential or model would do better. */
export const classify = ({ status, code, name, message = "" }: Symptoms): FailoverReason | undefined => {
  const known = status === undefined ? undefined : byStatus[status]
  if (known !== undefined) return known
  if (code !== undefined && connectionCodes.has(code.toUpperCase())) return "timeout"
  if (name === "TimeoutError") return "timeout"
  // The gateway's own wish to stop looks the same as a provider that hung up, but for its words.
  if (name === "AbortError") return /request (?:was )?aborted/i.test(message) ? "timeout" : undefined
  const text = message.toLowerCase()
  if (!isContextOverflow(text) && !aboutPicture.test(text)) {
    const worded = wordings.find(([, pattern]) => pattern.test(text))?.[0]
    if (worded !== undefined) return worded
  }
  if (status === 404) return "model_not_found"
  return status !== undefined && status >= 500 ? "server_error" : undefined
}

/** The prompt does not fit the model: it has to become shorter, and a retry does not help. */
export const isContextOverflow = (message: string): boolean => {
  const text = message.toLowerCase()
  return (
    /request_too_large|request exceeds the maximum size|context length exceeded|maximum context length|prompt is too long|exceeds model context window|context overflow/.test(
      text
    ) ||
    (text.includes("request size exceeds") && /context (?:window|length)/.test(text)) ||
    (text.includes("413") && text.includes("too large"))
  )
}

/** Making the prompt shorter failed for the same reason. */
export const isCompactionFailure = (message: string): boolean =>
  isContextOverflow(message) && /summarization failed|compaction/i.test(message)

/** The reason of a model call's failure. */
export const reasonOf = (reason: ModelError["reason"]): FailoverReason | undefined => {
  switch (reason._tag) {
    case "ModelUnknown":
      return "model_not_found"
    case "ModelUnauthorized":
      return "auth"
    case "ModelRateLimited":
      return "rate_limit"
    case "ModelRejected":
      return reason.problem === undefined
        ? classify({ status: reason.status, message: reason.detail })
        : undefined
    case "ModelUnavailable":
      return reason.status === undefined
        ? "timeout"
        : (classify({ status: reason.status, message: reason.detail }) ?? "server_error")
    case "ModelCutOff":
    case "ModelStalled":
      return "timeout"
    case "ModelMalformed":
      return "server_error"
    case "ModelIncapable":
      return "format"
  }
}

/** It may pass by itself: the same model is asked again first. */
export const isTransient = (reason: FailoverReason): boolean =>
  reason === "rate_limit" || reason === "timeout" || reason === "server_error"

/**
 * What must rest after a failure: the credential, one model for that credential (a model's limit never rests its provider), the
 * model for all credentials, or nothing, because it was about this conversation.
 */
export const reachOf = (reason: FailoverReason): "profile" | "profile_model" | "model" | "nothing" => {
  switch (reason) {
    case "auth":
    case "billing":
      return "profile"
    case "rate_limit":
    case "model_not_found":
      return "profile_model"
    case "timeout":
    case "server_error":
      return "model"
    case "format":
      return "nothing"
  }
}
