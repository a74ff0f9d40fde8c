/**
 * The `anthropic` kind: the Messages API, streamed.
 *
 * Owns: the address and the headers.
 * Does not own: the connection (`Exchange`), the body's words (`anthropicRequest`) or reading the answer (`AnthropicDecoder`).
 */
import { ModelRejected } from "#src/model/Model.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import * as Decoder from "./AnthropicDecoder.ts"
import { encodeRequest } from "./anthropicRequest.ts"
import * as Exchange from "./Exchange.ts"
import { endpointsBy, standardHeaders } from "./providerHttp.ts"

const apiVersion = "2023-06-01"

/** People write this provider's address with its version or without it, so both are understood. */
const pathOf = (path: string): string => {
  if (path.endsWith("/messages")) return path
  return /\/v\d+$/.test(path) ? `${path}/messages` : `${path}/v1/messages`
}

export const endpointOf = endpointsBy(({ origin, path, search, key }) => ({
  origin,
  path: pathOf(path) + search,
  headers: {
    ...standardHeaders,
    "anthropic-version": apiVersion,
    ...(key === "" ? {} : { "x-api-key": key })
  },
  key
}))

export const prepare: Exchange.Prepare = ({ model, request, settings }) => {
  const endpoint = endpointOf(settings)
  if (endpoint === undefined) return undefined
  if (request.params.responseFormat?.type === "json_object") {
    return new ModelRejected({ status: 400, detail: "this protocol has no response_format json_object" })
  }
  return AnswerDecoder.outgoing(request, {
    endpoint,
    encode: (names) => encodeRequest(model, request, names),
    decoder: (options) => Decoder.make(model, options)
  })
}

/** Registers `anthropic`. */
export const layer = Exchange.layerKind("anthropic", prepare)
