/**
 * The `openai-responses` kind: `POST {base_url}/responses`, streamed.
 *
 * Owns: the address and the headers.
 * Does not own: the connection (`Exchange`), the body's words (`responsesRequest`) or reading the answer (`ResponsesDecoder`).
 */
import * as AnswerDecoder from "./AnswerDecoder.ts"
import * as Exchange from "./Exchange.ts"
import { endpointsBy, standardHeaders } from "./providerHttp.ts"
import * as Decoder from "./ResponsesDecoder.ts"
import { encodeRequest } from "./responsesRequest.ts"

export const endpointOf = endpointsBy(({ origin, path, search, key }) => ({
  origin,
  path: (path.endsWith("/responses") ? path : `${path}/responses`) + search,
  headers: { ...standardHeaders, ...(key === "" ? {} : { authorization: `Bearer ${key}` }) },
  key
}))

export const prepare: Exchange.Prepare = ({ model, request, settings }) => {
  const endpoint = endpointOf(settings)
  if (endpoint === undefined) return undefined
  return AnswerDecoder.outgoing(request, {
    endpoint,
    encode: (names) => encodeRequest(model, request, names),
    decoder: (options) => Decoder.make(model, options)
  })
}

/** Registers `openai-responses`. */
export const layer = Exchange.layerKind("openai-responses", prepare)
