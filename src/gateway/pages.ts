/** What the lists of names have in common: their parameters, and how a name may read. Pure. */
import * as Result from "effect/Result"
import { type ApiError, invalid } from "./ApiError.ts"
import type { JsonObject } from "./Json.ts"

const maxPage = 1000
const maxName = 100

/** `limit` of a page; 100 without. */
export const limitOf = (given: string | null): Result.Result<number, ApiError> => {
  const limit = given === null ? 100 : /^\d{1,4}$/.test(given) ? Number(given) : 0
  return limit >= 1 && limit <= maxPage
    ? Result.succeed(limit)
    : Result.fail(invalid("limit", `limit must be from 1 to ${maxPage}`))
}

/** The first parameter that is not one of these is refused by name. */
export const known = (
  query: URLSearchParams,
  allowed: ReadonlyArray<string>
): Result.Result<void, ApiError> => {
  for (const key of query.keys()) {
    if (allowed.includes(key)) continue
    return Result.fail(
      invalid(key.toWellFormed().slice(0, 100), "this parameter is not known here", "unknown_key")
    )
  }
  return Result.succeed(undefined)
}

/** `after` and `limit`. */
export const pageOf = (query: URLSearchParams) =>
  Result.gen(function* () {
    yield* known(query, ["after", "limit"])
    const limit = yield* limitOf(query.get("limit"))
    const after = query.get("after")
    return { limit, ...(after === null ? {} : { after }) }
  })

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

/** A name that people give: one line that begins and ends with something to see. */
export const nameOf = (body: JsonObject, key: string): Result.Result<string, ApiError> => {
  const given = Object.hasOwn(body, key) ? body[key] : undefined
  const isName = typeof given === "string" && given.isWellFormed() && !controls.test(given)
  return isName && given === given.trim() && given !== "" && given.length <= maxName
    ? Result.succeed(given)
    : Result.fail(
        invalid(key, `${key} must have 1 to ${maxName} characters, without line breaks or spaces around it`)
      )
}
