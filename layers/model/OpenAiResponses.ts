/**
 * The `openai-responses` kind: `POST {base_url}/responses`, streamed.
 *
 * Owns: the address and the headers.
 * Does not own: the connection (`Exchange`), the body's words (`responsesRequest`) or reading the answer (`ResponsesDecoder`).
 */
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import * as Exchange from "./Exchange.ts"
import { addressOf, standardHeaders } from "./providerHttp.ts"
import * as Decoder from "./ResponsesDecoder.ts"
import { encodeRequest } from "./responsesRequest.ts"

interface Endpoint {
  readonly origin: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly key: string
}

const endpoints = new WeakMap<ProviderSettings, Endpoint>()

/** Where and as whom a provider is asked; undefined without a web address. */
export const endpointOf = (settings: ProviderSettings): Endpoint | undefined => {
  const known = endpoints.get(settings)
  if (known !== undefined) return known
  const address = addressOf(settings)
  if (address === undefined) return undefined
  const { origin, path, search, key } = address
  const endpoint: Endpoint = {
    origin,
    path: (path.endsWith("/responses") ? path : `${path}/responses`) + search,
    headers: { ...standardHeaders, ...(key === "" ? {} : { authorization: `Bearer ${key}` }) },
    key
  }
  endpoints.set(settings, endpoint)
  return endpoint
}

export const prepare: Exchange.Prepare = ({ model, request, settings }) => {
  const endpoint = endpointOf(settings)
  if (endpoint === undefined) return undefined
  const names = AnswerDecoder.namesOf(request)
  const body = encodeRequest(model, request, names)
  const options = AnswerDecoder.optionsOf(request, names, body, endpoint.key)
  return {
    origin: endpoint.origin,
    path: endpoint.path,
    headers: endpoint.headers,
    body,
    decoder: Decoder.make(model, options),
    detail: options.detail
  }
}

/** Registers `openai-responses`. */
export const layer = Exchange.layerKind("openai-responses", prepare)
