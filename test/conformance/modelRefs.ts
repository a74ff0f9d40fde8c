/** Rows of `model-refs`. Aliases stand in a table of models there, in one of their own with us. */
import { parseRef, resolveRef } from "#src/model/modelRef.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "model-refs"

type Input =
  | { readonly op: "parseRef"; readonly raw: string | null; readonly defaultProvider: string }
  | {
      readonly op: "resolveAlias"
      readonly raw: string | null
      readonly models: Readonly<Record<string, { readonly alias?: string }>>
      readonly defaultProvider?: string
    }

const answer = (input: Input): unknown => {
  if (input.op === "parseRef") return parseRef(input.raw ?? "", input.defaultProvider) ?? null
  const aliases = Object.entries(input.models).flatMap(([reference, { alias }]) =>
    alias === undefined ? [] : [[alias, reference] as const]
  )
  const found = resolveRef(input.raw ?? "", Object.fromEntries(aliases), input.defaultProvider ?? "anthropic")
  return found === undefined ? null : { ...found, alias: found.alias ?? null }
}

export const run = async ({ input, expected }: Row<Input>) => compare(answer(input), expected)
