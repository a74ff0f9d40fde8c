/** Rows of `config-env-and-patch`. */
import * as Result from "effect/Result"
import { mergePatch } from "#src/setting/mergePatch.ts"
import { substitute } from "#src/setting/substitute.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "config-env-and-patch"

type Input =
  | { readonly op: "substitute"; readonly value: unknown; readonly env: Readonly<Record<string, string>> }
  | { readonly op: "mergePatch"; readonly base: unknown; readonly patch: unknown }

const answer = (input: Input): unknown => {
  switch (input.op) {
    case "mergePatch":
      return mergePatch(input.base, input.patch)
    case "substitute":
      return Result.match(substitute(input.value, input.env), {
        onSuccess: (value) => ({ value }),
        onFailure: ([first]) => ({ error: "missing", variable: first?.variable, at: first?.path })
      })
  }
}

export const run = async (row: Row<Input>) => compare(answer(row.input), row.expected)
