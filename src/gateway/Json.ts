/**
 * JSON from strangers: bounded before it is parsed, and harmless after.
 *
 * The rules: at most 64 levels deep and 10,000 keys; of two equal keys in one object the last one counts;
 * a whole number that a double cannot hold exactly is refused where a whole number is expected, and no id is ever a number;
 * lone surrogates become U+FFFD. `__proto__` and the like are ordinary unknown keys: they never reach a prototype.
 */
import * as Result from "effect/Result"
import { ApiError } from "./ApiError.ts"

export const maxDepth = 64
export const maxKeys = 10_000

const quote = 0x22
const backslash = 0x5c
const colon = 0x3a

// One pass over the text, before any object is made of it. Counts colons outside strings, which are as many as keys.
const exceeded = (text: string): "depth" | "keys" | undefined => {
  let depth = 0
  let keys = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === quote) {
      for (i++; i < text.length; i++) {
        const inner = text.charCodeAt(i)
        if (inner === backslash) i++
        else if (inner === quote) break
      }
    } else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > maxDepth) return "depth"
    } else if (unit === 0x7d || unit === 0x5d) depth--
    else if (unit === colon && ++keys > maxKeys) return "keys"
  }
  return undefined
}

const failure = (code: string, message: string) => Result.fail(new ApiError({ status: 400, code, message }))

/** A JSON value, or 400 `invalid_json`, `json_too_deep` or `json_too_many_keys`. The message repeats nothing of the text. */
export const parse = (text: string): Result.Result<unknown, ApiError> => {
  switch (exceeded(text)) {
    case "depth":
      return failure("json_too_deep", `the JSON is nested deeper than ${maxDepth} levels`)
    case "keys":
      return failure("json_too_many_keys", `the JSON has more than ${maxKeys} keys`)
    case undefined:
      try {
        return Result.succeed(JSON.parse(text))
      } catch {
        return failure("invalid_json", "the body is not valid JSON")
      }
  }
}

export type JsonObject = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The first key of `value` that is not one of `known`. */
export const unknownKey = (value: JsonObject, known: ReadonlySet<string>): string | undefined =>
  Object.keys(value).find((key) => !known.has(key))

/** The object's own value under this key; null is as good as none. */
export const given = (body: JsonObject, key: string): unknown => {
  const value = Object.hasOwn(body, key) ? body[key] : undefined
  return value === null ? undefined : value
}
