/**
 * The body of `POST /v1/chat/completions`, as we understand it.
 *
 * Pure. Owns: which keys count, and how other texts become one message.
 * Does not own: images (`chatImages`), wishes of the model (`chatWishes`), the session (`ChatCompletions`), nor which agent a model
 * name means (`modelNames`).
 *
 * This is a foreign protocol: keys we do not know are ignored and counted, a known key that would change the answer
 * and is not supported is refused by name.
 */
import * as Result from "effect/Result"
import type { AssistantEntry } from "#src/domain/Entry.ts"
import type { Image } from "#src/domain/Image.ts"
import type { ModelParams, PriorUser } from "#src/domain/Inbound.ts"
import { ApiError, invalid } from "./ApiError.ts"
import * as ChatImages from "./chatImages.ts"
import { readParams } from "./chatWishes.ts"
import { given, isObject, type JsonObject } from "./Json.ts"

export interface ChatRequest {
  /** As the client spelled it; empty when it named none. */
  readonly model: string
  /** The last user message. */
  readonly text: string
  readonly images: ReadonlyArray<Image>
  readonly system: string | undefined
  /** What came before the last user message, oldest first. Only an ephemeral session uses it. */
  readonly prior: ReadonlyArray<PriorUser | AssistantEntry>
  readonly params: ModelParams
  readonly user: string | undefined
  readonly stream: boolean
  readonly includeUsage: boolean
  /** How many keys were ignored because we do not know them. */
  readonly unknownKeys: number
}

const ignored = [
  "metadata",
  "parallel_tool_calls",
  "prediction",
  "prompt_cache_key",
  "prompt_cache_retention",
  "safety_identifier",
  "service_tier",
  "store"
]
const understood = new Set([
  ...ignored,
  "audio",
  "frequency_penalty",
  "function_call",
  "functions",
  "logit_bias",
  "logprobs",
  "max_completion_tokens",
  "max_tokens",
  "messages",
  "modalities",
  "model",
  "n",
  "presence_penalty",
  "reasoning_effort",
  "response_format",
  "seed",
  "stop",
  "stream",
  "stream_options",
  "temperature",
  "tool_choice",
  "tools",
  "top_logprobs",
  "top_p",
  "user",
  "verbosity",
  "web_search_options"
])

const unsupported = (param: string) =>
  new ApiError({
    status: 400,
    code: "unsupported_parameter",
    message: `${param} is not supported here: the agent's own configuration decides`,
    param
  })

const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0
const isEmptyObject = (value: unknown) => isObject(value) && Object.keys(value).length === 0

// Values that leave the answer as it would be without the key.
const harmless: Readonly<Record<string, (value: unknown) => boolean>> = {
  audio: () => false,
  function_call: (value) => value === "none" || value === "auto",
  functions: isEmptyList,
  logit_bias: isEmptyObject,
  logprobs: (value) => value === false,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
  n: (value) => value === 1,
  tool_choice: (value) => value === "none" || value === "auto",
  tools: isEmptyList,
  top_logprobs: (value) => value === 0,
  verbosity: () => false,
  web_search_options: () => false
}

type Read<A> = Result.Result<A, ApiError>
const refuse = (error: ApiError): Read<never> => Result.fail(error)

/** What the client asked for, or 400 naming the key. A message may bring images of `maxImageBytes` together. */
export const parse = (body: unknown, sender: string, maxImageBytes: number): Read<ChatRequest> =>
  isObject(body)
    ? read(body, sender, maxImageBytes)
    : refuse(new ApiError({ status: 400, code: "invalid_json", message: "the body must be a JSON object" }))

const read = (body: JsonObject, sender: string, maxImageBytes: number): Read<ChatRequest> =>
  Result.gen(function* () {
    for (const key of Object.keys(harmless)) {
      const value = given(body, key)
      if (value !== undefined && harmless[key]?.(value) === false) return yield* refuse(unsupported(key))
    }
    const streamOptions = given(body, "stream_options") ?? {}
    if (!isObject(streamOptions)) {
      return yield* refuse(invalid("stream_options", "stream_options must be an object"))
    }
    return {
      model: (yield* text(body, "model")) ?? "",
      ...(yield* readMessages(given(body, "messages"), sender, maxImageBytes)),
      params: yield* readParams(body),
      user: yield* text(body, "user"),
      stream: yield* flag(body, "stream", "stream"),
      includeUsage: yield* flag(streamOptions, "include_usage", "stream_options.include_usage"),
      unknownKeys: Object.keys(body).filter((key) => !understood.has(key)).length
    }
  })

export const hasImages = ({ images, prior }: ChatRequest): boolean =>
  images.length > 0 || prior.some((entry) => entry.kind === "user" && entry.images !== undefined)

/** Characters of all that was written: images are counted by themselves. */
export const textLength = ({ text, system, prior }: ChatRequest): number =>
  prior.reduce((sum, entry) => sum + entry.text.length, text.length + (system ?? "").length)

const text = (body: JsonObject, key: string): Read<string | undefined> => {
  const value = given(body, key)
  return value === undefined || typeof value === "string"
    ? Result.succeed(value)
    : refuse(invalid(key, `${key} must be a string`))
}

const flag = (body: JsonObject, key: string, param: string): Read<boolean> => {
  const value = given(body, key)
  return value === undefined || typeof value === "boolean"
    ? Result.succeed(value === true)
    : refuse(invalid(param, `${param} must be true or false`))
}

type Spoken = Pick<ChatRequest, "text" | "images" | "system" | "prior">

interface Line {
  readonly isUser: boolean
  readonly text: string
  readonly images: ReadonlyArray<Image>
}

const readMessages = (messages: unknown, sender: string, maxImageBytes: number): Read<Spoken> =>
  Result.gen(function* () {
    if (!Array.isArray(messages) || messages.length === 0) {
      return yield* refuse(invalid("messages", "messages must be a list with at least one message"))
    }
    const systems: Array<string> = []
    const lines: Array<Line> = []
    let lastRole = ""
    for (const [index, message] of messages.entries()) {
      const { role, text, images } = yield* readMessage(message, `messages[${index}]`)
      lastRole = role
      if (role === "system") systems.push(text)
      else lines.push({ isUser: role === "user", text, images })
    }
    if (lastRole !== "user") {
      return yield* refuse(invalid("messages", "the last message must be from the user"))
    }
    const { text = "", images = [] } = lines.at(-1) ?? {}
    yield* ChatImages.check(images, maxImageBytes)
    const prior = ChatImages.fitting(lines.slice(0, -1), images, maxImageBytes)
    return {
      text,
      images,
      system: systems.length === 0 ? undefined : systems.join("\n\n"),
      prior: prior.map((line) => priorOf(line, sender))
    }
  })

const priorOf = ({ isUser, text, images }: Line, sender: string): PriorUser | AssistantEntry =>
  isUser
    ? { v: 1, kind: "user", text, sender, ...(images.length === 0 ? {} : { images }) }
    : { v: 1, kind: "assistant", text }

const roles = new Map<unknown, "system" | "user" | "assistant">([
  ["system", "system"],
  ["developer", "system"],
  ["user", "user"],
  ["assistant", "assistant"]
])

const readMessage = (
  message: unknown,
  at: string
): Read<Content & { readonly role: "system" | "user" | "assistant" }> => {
  if (!isObject(message)) return refuse(invalid(at, `${at} must be an object`))
  const named = given(message, "role")
  const role = roles.get(named)
  if (role === undefined) {
    return named === "tool" || named === "function"
      ? refuse(unsupported(`${at}.role`))
      : refuse(invalid(`${at}.role`, `${at}.role must be system, developer, user or assistant`))
  }
  if (!isEmptyList(given(message, "tool_calls") ?? [])) return refuse(unsupported(`${at}.tool_calls`))
  if (given(message, "function_call") !== undefined) return refuse(unsupported(`${at}.function_call`))
  return Result.map(readContent(given(message, "content"), `${at}.content`, role === "user"), (content) => ({
    role,
    ...content
  }))
}

type Content = Pick<Line, "text" | "images">

const readContent = (content: unknown, param: string, mayShow: boolean): Read<Content> => {
  if (typeof content === "string") return Result.succeed({ text: content.toWellFormed(), images: [] })
  if (!Array.isArray(content)) {
    return refuse(invalid(param, `${param} must be a string or a list of text parts`))
  }
  const texts: Array<string> = []
  const images: Array<Image> = []
  for (const [index, part] of content.entries()) {
    const at = `${param}[${index}]`
    if (!isObject(part)) return refuse(invalid(at, `${at} must be an object`))
    if (mayShow && given(part, "type") === "image_url") {
      const image = ChatImages.read(given(part, "image_url"), `${at}.image_url`)
      if (Result.isFailure(image)) return refuse(image.failure)
      images.push(image.success)
      continue
    }
    if (given(part, "type") !== "text") return refuse(unsupported(`${at}.type`))
    const value = given(part, "text")
    if (typeof value !== "string") return refuse(invalid(`${at}.text`, `${at}.text must be a string`))
    texts.push(value.toWellFormed())
  }
  return Result.succeed({ text: texts.join("\n"), images })
}
