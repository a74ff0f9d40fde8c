/**
 * The `google` kind: the Gemini API, `POST {base_url}/models/{model}:streamGenerateContent`.
 *
 * Owns: the address and the headers. The key is in a header, never in the address.
 * Does not own: the connection (`Exchange`), the body's words (`googleRequest`) or reading the answer (`GoogleDecoder`).
 */
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as AnswerDecoder from "./AnswerDecoder.ts"
import * as Exchange from "./Exchange.ts"
import * as Decoder from "./GoogleDecoder.ts"
import { encodeRequest } from "./googleRequest.ts"
import { type Endpoint, endpointsBy, standardHeaders } from "./providerHttp.ts"

/** People write this provider's address with its version or without it, so both are understood. */
const pathOf = (path: string): string => {
  const bare = path.replace(/\/models$/, "")
  return /\/v\d+[a-z0-9]*(?:\/|$)/.test(bare) ? bare : `${bare}/v1beta`
}

interface GoogleEndpoint extends Endpoint {
  readonly search: string
}

const baseOf = endpointsBy(({ origin, path, search, key }): GoogleEndpoint => ({
  origin,
  path: pathOf(path),
  search: search === "" ? "?alt=sse" : `${search}&alt=sse`,
  headers: { ...standardHeaders, ...(key === "" ? {} : { "x-goog-api-key": key }) },
  key
}))

/** Where this model is asked; undefined without a web address. */
export const endpointOf = (settings: ProviderSettings, model: string): Endpoint | undefined => {
  const base = baseOf(settings)
  if (base === undefined) return undefined
  const { search, ...endpoint } = base
  const name = encodeURIComponent(model.replace(/^models\//, "").toWellFormed())
  return { ...endpoint, path: `${base.path}/models/${name}:streamGenerateContent${search}` }
}

export const prepare: Exchange.Prepare = ({ model, request, settings }) => {
  const endpoint = endpointOf(settings, model)
  if (endpoint === undefined) return undefined
  return AnswerDecoder.outgoing(request, {
    endpoint,
    encode: (names) => encodeRequest(model, request, names),
    decoder: (options) => Decoder.make(model, options)
  })
}

/** Registers `google`. */
export const layer = Exchange.layerKind("google", prepare)
