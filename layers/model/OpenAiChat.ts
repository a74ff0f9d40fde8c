/**
 * The `openai-chat` kind: `POST {base_url}/chat/completions`, streamed, which most providers and local servers speak.
 *
 * Owns: the address and the headers.
 * Does not own: the connection (`Exchange`), the body's words (`openAiChatRequest`) or reading the answer (`OpenAiChatDecoder`).
 */
import * as AnswerDecoder from "./AnswerDecoder.ts"
import * as Exchange from "./Exchange.ts"
import * as Decoder from "./OpenAiChatDecoder.ts"
import { encodeRequest } from "./openAiChatRequest.ts"
import { type Words, wordsOf } from "./openAiDialects.ts"
import { type Endpoint, endpointsBy, standardHeaders } from "./providerHttp.ts"

interface ChatEndpoint extends Endpoint {
  readonly words: Words
}

export const endpointOf = endpointsBy((address, settings): ChatEndpoint => {
  const { origin, path, search, key } = address
  return {
    origin,
    path: (path.endsWith("/chat/completions") ? path : `${path}/chat/completions`) + search,
    headers: { ...standardHeaders, ...(key === "" ? {} : { authorization: `Bearer ${key}` }) },
    key,
    words: wordsOf(settings, address)
  }
})

export const prepare: Exchange.Prepare = ({ model, request, settings }) => {
  const endpoint = endpointOf(settings)
  if (endpoint === undefined) return undefined
  return AnswerDecoder.outgoing(request, {
    endpoint,
    encode: (names) => encodeRequest(model, request, names, endpoint.words),
    decoder: (options) => Decoder.make(options, { mayThinkAloud: endpoint.words.mayThinkAloud, model })
  })
}

/** Registers `openai-chat`. */
export const layer = Exchange.layerKind("openai-chat", prepare)
