/**
 * Strict decoding of what a person or a client of ours wrote: nothing unknown passes, and every problem is told at once.
 *
 * Owns: how a failed decoding is told. Values are never repeated.
 * Does not own: the schemas, nor foreign protocols, which are decoded loosely.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import { nearest, pathOf, type Problem } from "./Problem.ts"

type Path = ReadonlyArray<PropertyKey>

/**
 * Decode with unknown keys as errors. All problems are returned, each with its path. Keys that could reach an object's
 * prototype (`__proto__`, `constructor`, `prototype`) are refused wherever they stand. Compile it once, at module level.
 */
export const decodeStrict = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) => {
  const decode = Schema.decodeUnknownResult(schema, { onExcessProperty: "error", errors: "all" })
  return (input: unknown): Result.Result<S["Type"], ReadonlyArray<Problem>> => {
    const unsafe = unsafeKeys(input, [])
    if (unsafe.length > 0) return Result.fail(unsafe)
    return Result.mapError(decode(input), ({ issue }) => problemsOf(issue, [], input))
  }
}

/** Keys that must never be copied from one object to another. */
export const isUnsafeKey = (key: string): boolean =>
  key === "__proto__" || key === "constructor" || key === "prototype"

const unsafeKeys = (value: unknown, path: Path): Array<Problem> => {
  if (!Predicate.isObjectOrArray(value)) return []
  if (path.length > 64) return [{ path: pathOf(path.slice(0, 4)), problem: "is nested too deeply" }]
  return Object.entries(value).flatMap(([key, child]) => {
    const at = [...path, Array.isArray(value) ? Number(key) : key]
    return isUnsafeKey(key) && !Array.isArray(value)
      ? [{ path: pathOf(at), problem: "is a reserved name" }]
      : unsafeKeys(child, at)
  })
}

const problemsOf = (issue: SchemaIssue.Issue, path: Path, input: unknown): ReadonlyArray<Problem> => {
  switch (issue._tag) {
    case "Pointer":
      return problemsOf(issue.issue, [...path, ...issue.path], input)
    case "Composite":
      return issue.issues.flatMap((inner) => problemsOf(inner, path, input))
    case "Encoding":
      return problemsOf(issue.issue, path, input)
    case "UnexpectedKey":
      return [unexpected(issue.ast, path)]
    case "MissingKey":
      return [{ path: pathOf(path), problem: "is missing" }]
    case "InvalidType":
      return [typed(issue.ast, path, input)]
    case "AnyOf":
      return [typed(issue.ast, path, input)]
    default:
      return [{ path: pathOf(path), problem: sentence(issue) }]
  }
}

const unexpected = (ast: SchemaAST.AST, path: Path): Problem => {
  const known = ast._tag === "Objects" ? ast.propertySignatures.map((one) => String(one.name)) : []
  const meant = nearest(String(path.at(-1)), known)
  if (meant !== undefined) {
    return { path: pathOf(path), problem: "unknown key", hint: `did you mean ${meant}?` }
  }
  return {
    path: pathOf(path),
    problem: "unknown key",
    ...(known.length === 0 ? {} : { hint: `known: ${known.join(", ")}` })
  }
}

const typed = (ast: SchemaAST.AST, path: Path, input: unknown): Problem => {
  const choices = literals(ast)
  if (choices.length === 0) return { path: pathOf(path), problem: `must be ${noun(ast)}` }
  const value = path.reduce<unknown>(
    (parent, key) => (Predicate.isObjectOrArray(parent) ? Reflect.get(parent, key) : undefined),
    input
  )
  const meant = typeof value === "string" ? nearest(value, choices) : undefined
  return {
    path: pathOf(path),
    problem: `must be one of ${choices.join(", ")}`,
    ...(meant === undefined ? {} : { hint: `did you mean ${meant}?` })
  }
}

const literals = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  if (ast._tag === "Literal") return [String(ast.literal)]
  if (ast._tag !== "Union") return []
  const each = ast.types.map(literals)
  return each.some((one) => one.length === 0) ? [] : each.flat()
}

const noun = (ast: SchemaAST.AST): string => {
  switch (ast._tag) {
    case "String":
      return "text"
    case "Number":
      return "a number"
    case "Boolean":
      return "true or false"
    case "Arrays":
      return "a list"
    case "Objects":
      return "a table"
    case "Declaration":
      return "text"
    default:
      return "of another type"
  }
}

const describe = SchemaIssue.makeFormatterDefault()

// The schema's own words for a failed check, made to follow a path: "must be greater than or equal to 1".
const sentence = (issue: SchemaIssue.Issue): string =>
  (describe(issue).split("\n")[0] ?? "").replace(/^Expected (an? value )?/, "must be ")
