/**
 * The one way a request is refused, and the one error body: `{error: {message, type, code, param?, details?, request_id}}`.
 *
 * Owns: the words, their HTTP status and what a client should do about retrying.
 * Does not own: why something is refused; each room has its own typed errors, translated in `refusals`.
 */
import * as Schema from "effect/Schema"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** `message` is shown to the client: it never holds a secret, a path or a provider's body. */
export class ApiError extends Schema.TaggedError<ApiError>()("ApiError", {
  status: Schema.Finite,
  code: Schema.String,
  message: Schema.String,
  /** The key, header or query parameter that is wrong. */
  param: Schema.optionalKey(Schema.String),
  details: Schema.optionalKey(Schema.Unknown),
  retryAfterMillis: Schema.optionalKey(Schema.Finite),
  /** True once the message was accepted: the client must not send it again by itself. */
  accepted: Schema.optionalKey(Schema.Boolean),
  headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
}) {}

const types: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  409: "conflict_error",
  429: "rate_limit_error"
}

const typeOf = (status: number): string =>
  types[status] ?? (status >= 500 ? "server_error" : "invalid_request_error")

/** The body of an error, also used inside an event stream. */
export const bodyOf = (error: ApiError, requestId: string) => ({
  error: {
    message: error.message,
    type: typeOf(error.status),
    code: error.code,
    ...(error.param === undefined ? {} : { param: error.param }),
    ...(error.details === undefined ? {} : { details: error.details }),
    request_id: requestId
  }
})

/** The error as the parts of a response. Seconds in `Retry-After` are rounded up. */
export const toParts = (error: ApiError, requestId: string) => {
  const headers: Record<string, string> = { ...error.headers, "x-request-id": requestId }
  if (error.retryAfterMillis !== undefined) {
    headers["retry-after"] = String(Math.max(1, Math.ceil(error.retryAfterMillis / 1000)))
  }
  if (error.accepted === true) headers["x-should-retry"] = "false"
  return { status: error.status, headers, body: JSON.stringify(bodyOf(error, requestId)) }
}

/** The error as a response. */
export const toResponse = (error: ApiError, requestId: string): HttpServerResponse.HttpServerResponse => {
  const { status, headers, body } = toParts(error, requestId)
  return HttpServerResponse.text(body, { status, headers, contentType: "application/json" })
}

/** 400 naming what is wrong. */
export const invalid = (param: string, message: string, code = "invalid_value"): ApiError =>
  new ApiError({ status: 400, code, message, param })

export const notFound = (message: string, code = "not_found"): ApiError =>
  new ApiError({ status: 404, code, message })

export const storeUnavailable = (accepted: boolean): ApiError =>
  new ApiError({
    status: 503,
    code: "store_unavailable",
    message: "the store cannot be read right now",
    retryAfterMillis: 1000,
    accepted
  })
