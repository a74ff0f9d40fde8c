/** What an error of Postgres, or of the way to it, means for whoever asked. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { failureOf } from "#layers/platform/pgFailure.ts"

const coded = (code: string) => Object.assign(new Error("some words"), { code })
const said = (code: string) => Object.assign(coded(code), { severity: "ERROR" })
const kindOf = (cause: Error, Reason: typeof ConnectionError | typeof UnknownError = UnknownError) =>
  failureOf(new SqlError({ reason: new Reason({ cause }) })).kind

describe("an error of Postgres", () => {
  it("is read by its SQLSTATE", () => {
    assert.deepStrictEqual(
      ["53100", "55P03", "57P01", "40001", "XX001", "22021"].map((code) => kindOf(said(code))),
      ["full", "busy", "unreachable", "conflict", "broken", "statement"]
    )
  })

  it("of a socket is none, although its name is as long: the server cannot be reached", () => {
    assert.deepStrictEqual(
      ["EPIPE", "EBADF", "ETIMEDOUT"].map((code) => kindOf(coded(code), ConnectionError)),
      ["unreachable", "unreachable", "unreachable"]
    )
  })
})
