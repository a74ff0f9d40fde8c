/** A request's body as JSON, within the size, encoding and shape that we accept. */
import * as Effect from "effect/Effect"
import * as ByteSize from "effect/ByteSize"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { ApiError, invalid } from "./ApiError.ts"
import type { GatewaySettings } from "./GatewaySettings.ts"
import * as Json from "./Json.ts"

/** The body has more than what was allowed. */
export const tooLarge = (maxBytes: number) =>
  new ApiError({
    status: 413,
    code: "body_too_large",
    message: `the body is larger than ${maxBytes} bytes`,
    // What was not read would be taken for the next request.
    headers: { connection: "close" }
  })

/** Most bytes of a body that brings images beside what any body may have. */
export const sizeWithImages = ({
  max_body_bytes,
  max_image_bytes
}: Pick<GatewaySettings, "max_body_bytes" | "max_image_bytes">): number =>
  max_body_bytes + 4 * Math.ceil(max_image_bytes / 3)

export const isLarger = (request: HttpServerRequest, bytes: number): boolean =>
  Number(request.headers["content-length"] ?? 0) > bytes

const unsupported = (message: string, param: string) =>
  new ApiError({ status: 415, code: "unsupported_media_type", message, param })

/** The JSON value. `lenient` takes any content type, as clients of foreign protocols send all kinds. */
export const readJson = Effect.fnUntraced(function* (
  request: HttpServerRequest,
  options: { readonly maxBytes: number; readonly lenient: boolean }
) {
  const { headers } = request
  const encoding = headers["content-encoding"]
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    return yield* unsupported("send the body without a content-encoding", "content-encoding")
  }
  const type = headers["content-type"]
  if (!options.lenient && (type === undefined || !/^application\/(?:[\w.-]+\+)?json\b/i.test(type))) {
    return yield* unsupported("the content-type must be application/json", "content-type")
  }
  if (isLarger(request, options.maxBytes)) return yield* tooLarge(options.maxBytes)
  const text = yield* request.text.pipe(
    Effect.provideService(MaxBodySize, ByteSize.bytes(options.maxBytes)),
    Effect.mapError((error) =>
      error.reason._tag === "RequestParseError" && error.reason.reason === "BodyTooLarge"
        ? tooLarge(options.maxBytes)
        : new ApiError({ status: 400, code: "invalid_body", message: "the body could not be read" })
    )
  )
  return yield* Effect.fromResult(Json.parse(text))
})

/** The same for our own strict surface: an object with no other keys than these. */
export const readStrict = Effect.fnUntraced(function* (
  request: HttpServerRequest,
  maxBytes: number,
  keys: ReadonlySet<string>
) {
  const body = yield* readJson(request, { maxBytes, lenient: false })
  if (!Json.isObject(body)) {
    return yield* new ApiError({
      status: 400,
      code: "invalid_json",
      message: "the body must be a JSON object"
    })
  }
  const unknown = Json.unknownKey(body, keys)
  if (unknown !== undefined) {
    return yield* invalid(unknown.toWellFormed().slice(0, 100), "this key is not known here", "unknown_key")
  }
  return body
})
