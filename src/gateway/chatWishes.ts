/**
 * What a chat request wishes of the model: sampling, limits, thoughts and the form of the answer.
 *
 * Pure. Owns: their ranges, and the names of those that a model's protocol has no words for (`model/wishes`).
 */
import * as Result from "effect/Result"
import type { ModelParams, ResponseFormat, Thinking } from "#src/domain/Inbound.ts"
import { ApiError, invalid } from "./ApiError.ts"
import { given, isObject, type JsonObject } from "./Json.ts"

type Read<A> = Result.Result<A, ApiError>
const refuse = (error: ApiError): Read<never> => Result.fail(error)

/** The keys of the wishes that a model's protocol may have no words for. */
const keyOf: Readonly<Partial<Record<keyof ModelParams, string>>> = {
  stop: "stop",
  presencePenalty: "presence_penalty",
  frequencyPenalty: "frequency_penalty",
  responseFormat: "response_format"
}

/** A wish that the agent's model cannot be told. */
export const unsupportedWish = (wish: keyof ModelParams): ApiError => {
  const param = keyOf[wish] ?? wish
  return new ApiError({
    status: 400,
    code: "unsupported_parameter",
    message: `${param} is not supported by this agent's model as it is given here`,
    param
  })
}

interface Range {
  readonly minimum: number
  readonly maximum: number
  readonly whole?: boolean
}
const largest = Number.MAX_SAFE_INTEGER
const count: Range = { minimum: 1, maximum: largest, whole: true }
const penalty: Range = { minimum: -2, maximum: 2 }

const number = (body: JsonObject, key: string, range: Range): Read<number | undefined> => {
  const value = given(body, key)
  if (value === undefined) return Result.succeed(undefined)
  const { minimum, maximum, whole } = range
  const fits = typeof value === "number" && value >= minimum && value <= maximum
  if (fits && (whole !== true || Number.isSafeInteger(value))) return Result.succeed(value)
  const allowed = maximum === largest ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`
  return refuse(invalid(key, `${key} must be a ${whole === true ? "whole " : ""}number ${allowed}`))
}

/** All wishes of the body, or 400 naming the key. */
export const readParams = (body: JsonObject): Read<ModelParams> =>
  Result.gen(function* () {
    const maxCompletion = yield* number(body, "max_completion_tokens", count)
    const maxTokens = yield* number(body, "max_tokens", count)
    const values = {
      temperature: yield* number(body, "temperature", { minimum: 0, maximum: 2 }),
      topP: yield* number(body, "top_p", { minimum: 0, maximum: 1 }),
      maxOutputTokens: maxCompletion ?? maxTokens,
      stop: yield* readStop(given(body, "stop")),
      seed: yield* number(body, "seed", { minimum: -largest, maximum: largest, whole: true }),
      presencePenalty: yield* number(body, "presence_penalty", penalty),
      frequencyPenalty: yield* number(body, "frequency_penalty", penalty),
      thinking: yield* readThinking(given(body, "reasoning_effort")),
      responseFormat: yield* readFormat(given(body, "response_format"))
    }
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
  })

const readStop = (value: unknown): Read<ReadonlyArray<string> | undefined> => {
  if (value === undefined) return Result.succeed(undefined)
  const list: unknown = typeof value === "string" ? [value] : value
  return Array.isArray(list) && list.length <= 4 && list.every((item) => typeof item === "string")
    ? Result.succeed(list)
    : refuse(invalid("stop", "stop must be a string or up to four of them"))
}

const efforts = new Map<unknown, Thinking>([
  ["none", "off"],
  ["low", "low"],
  ["medium", "medium"],
  ["high", "high"]
])

const readThinking = (value: unknown): Read<Thinking | undefined> => {
  const level = efforts.get(value)
  return value === undefined || level !== undefined
    ? Result.succeed(level)
    : refuse(invalid("reasoning_effort", `reasoning_effort must be one of ${[...efforts.keys()].join(", ")}`))
}

const readFormat = (value: unknown): Read<ResponseFormat | undefined> => {
  if (value === undefined) return Result.succeed(undefined)
  const wrong = (param: string, message: string) => refuse(invalid(`response_format${param}`, message))
  if (!isObject(value)) return wrong("", "response_format must be an object")
  switch (value["type"]) {
    case "text":
      return Result.succeed(undefined)
    case "json_object":
      return Result.succeed({ type: "json_object" })
    case "json_schema": {
      const said = given(value, "json_schema")
      const at = ".json_schema"
      if (!isObject(said)) return wrong(at, "response_format.json_schema must be an object")
      const name = given(said, "name")
      const schema = given(said, "schema")
      const description = given(said, "description")
      const strict = given(said, "strict")
      if (typeof name !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(name)) {
        return wrong(`${at}.name`, "its name must have 1 to 64 letters, digits, _ or -")
      }
      if (!isObject(schema)) return wrong(`${at}.schema`, "its schema must be an object")
      if (description !== undefined && typeof description !== "string") {
        return wrong(`${at}.description`, "its description must be a string")
      }
      if (strict !== undefined && typeof strict !== "boolean") {
        return wrong(`${at}.strict`, "strict must be true or false")
      }
      return Result.succeed({
        type: "json_schema",
        name,
        ...(description === undefined ? {} : { description }),
        schema,
        ...(strict === undefined ? {} : { strict })
      })
    }
    default:
      return wrong(".type", "response_format.type must be text, json_object or json_schema")
  }
}
