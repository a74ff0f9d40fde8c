/**
 * Environment variables inside configured text: `${NAME}` is the variable's value, `$${NAME}` is the literal `${NAME}`.
 *
 * Owns: the rule, for whole values of any shape. A name is `[A-Z_][A-Z0-9_]*`; anything else is left as it stands.
 * Does not own: the environment; the caller passes it.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import { pathOf } from "./Problem.ts"

/** A variable that is unset, or empty, which counts as unset. */
export interface MissingVariable {
  readonly variable: string
  /** Where it is named, as in `deep.list[1]`. */
  readonly path: string
}

type Environment = Readonly<Record<string, string | undefined>>

const reference = /\$?\$\{([A-Z_][A-Z0-9_]*)\}/g

/** The value with every reference in its texts (never in its keys) replaced, once: what comes in is not looked at again. */
export const substitute = (
  value: unknown,
  env: Environment
): Result.Result<unknown, ReadonlyArray<MissingVariable>> => {
  const missing: Array<MissingVariable> = []
  const walk = (node: unknown, path: ReadonlyArray<PropertyKey>): unknown => {
    if (typeof node === "string") {
      return node.replace(reference, (whole, name: string) => {
        if (whole.startsWith("$$")) return whole.slice(1)
        const found = Object.hasOwn(env, name) ? env[name] : undefined
        if (found === undefined || found === "") missing.push({ variable: name, path: pathOf(path) })
        return found ?? ""
      })
    }
    if (Array.isArray(node)) return node.map((item, index) => walk(item, [...path, index]))
    if (!Predicate.isObject(node) || node instanceof Date) return node
    return Object.fromEntries(Object.entries(node).map(([key, item]) => [key, walk(item, [...path, key])]))
  }
  const replaced = walk(value, [])
  return missing.length > 0 ? Result.fail(missing) : Result.succeed(replaced)
}
