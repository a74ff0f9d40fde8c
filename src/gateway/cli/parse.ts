/**
 * Arguments of the command line to a command and its values, by the table of `commands`.
 *
 * Pure. Strict: an unknown word or flag is told with what was probably meant.
 */
import { below, type Command, commands, help } from "./commands.ts"

/** What was asked for, its words checked. */
export interface Given {
  readonly command: Command
  /** Values of arguments and flags by name; a switch that is on is "". */
  readonly values: ReadonlyMap<string, string>
}

export type Parsed =
  | { readonly _tag: "Run"; readonly given: Given }
  /** Help of these commands: one, a group, or all. */
  | { readonly _tag: "Help"; readonly of: ReadonlyArray<string> }
  | { readonly _tag: "Version" }
  | { readonly _tag: "Wrong"; readonly problem: string; readonly of: ReadonlyArray<string> }

const wrong = (problem: string, of: ReadonlyArray<string>): Parsed => ({ _tag: "Wrong", problem, of })

/** Longest name first, so that `sessions list` is found before a command `sessions` would be. */
const find = (args: ReadonlyArray<string>): Command | undefined => {
  const two = args.slice(0, 2).join(" ")
  return commands.find(({ name }) => name === two) ?? commands.find(({ name }) => name === args[0])
}

export const parse = (args: ReadonlyArray<string>): Parsed => {
  const [first] = args
  if (first === undefined || first === "--help" || first === "-h") return { _tag: "Help", of: [] }
  if (first === "--version" || first === "-v") return { _tag: "Version" }
  if (first === "help") {
    const words = args.slice(1).filter((word) => !word.startsWith("-"))
    return below(words).length > 0
      ? { _tag: "Help", of: words }
      : wrong(`there is no command ${words.join(" ")}`, [])
  }
  const command = find(args)
  if (command !== undefined) return parseCommand(command, args.slice(command.name.split(" ").length))
  const group = below([first])
  if (group.length === 0) return wrong(`there is no command ${first}${meant(first, roots)}`, [])
  const second = args[1]
  if (second === undefined || second === "--help" || second === "-h") return { _tag: "Help", of: [first] }
  const names = group.map(({ name }) => name.slice(first.length + 1))
  return wrong(`${first} has no command ${second}${meant(second, names)}`, [first])
}

const parseCommand = (command: Command, args: ReadonlyArray<string>): Parsed => {
  const of = command.name.split(" ")
  const values = new Map<string, string>()
  const words: Array<string> = []
  let flagsEnded = false
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!
    if (flagsEnded || arg === "-" || !arg.startsWith("-")) {
      words.push(arg)
      continue
    }
    if (arg === "--") {
      flagsEnded = true
      continue
    }
    if (arg === "--help" || arg === "-h") return { _tag: "Help", of }
    const equals = arg.indexOf("=")
    const name = arg.slice(2, equals < 0 ? undefined : equals)
    const flag = arg.startsWith("--") ? command.flags.find((each) => each.name === name) : undefined
    if (flag === undefined) {
      const names = command.flags.map((each) => each.name)
      const hint = meant(name, names, "--")
      return wrong(`${command.name} has no flag ${equals < 0 ? arg : arg.slice(0, equals)}${hint}`, of)
    }
    if (values.has(name)) return wrong(`--${name} is given twice`, of)
    if (flag.value === undefined) {
      if (equals >= 0) return wrong(`--${name} takes no value`, of)
      values.set(name, "")
      continue
    }
    const value = equals < 0 ? args[++at] : arg.slice(equals + 1)
    if (value === undefined || value === "" || (equals < 0 && looksLikeFlag(value, command))) {
      return wrong(`--${name} needs a value: --${name} ${flag.value}`, of)
    }
    if (flag.choices !== undefined && !flag.choices.includes(value)) {
      return wrong(`--${name} must be one of ${flag.choices.join(", ")}`, of)
    }
    values.set(name, value)
  }
  return takeWords(command, words, values)
}

const looksLikeFlag = (value: string, command: Command): boolean =>
  [help, ...command.flags].some(({ name }) => value === `--${name}` || value.startsWith(`--${name}=`))

const takeWords = (command: Command, words: Array<string>, values: Map<string, string>): Parsed => {
  const of = command.name.split(" ")
  for (const argument of command.arguments) {
    if (words.length === 0) {
      if (argument.isOptional !== true) return wrong(`${command.name} needs ${argument.name}`, of)
      break
    }
    const value = argument.takesRest === true ? words.splice(0).join(" ") : words.shift()!
    if (argument.choices !== undefined && !argument.choices.includes(value)) {
      return wrong(`${argument.name} must be one of ${argument.choices.join(", ")}`, of)
    }
    values.set(argument.name, value)
  }
  const extra = words[0]
  if (extra === undefined) return { _tag: "Run", given: { command, values } }
  const names = below(of).map(({ name }) => name.slice(command.name.length + 1))
  return wrong(`${command.name} does not take ${extra}${meant(extra, names)}`, of)
}

/** A whole number of at least `minimum`, or undefined when the flag is absent; what is wrong with it otherwise. */
export const wholeNumber = (
  { values }: Given,
  name: string,
  minimum: number
): { readonly value: number | undefined } | { readonly problem: string } => {
  const text = values.get(name)
  if (text === undefined) return { value: undefined }
  const value = /^\d{1,15}$/.test(text) ? Number(text) : -1
  return value >= minimum ? { value } : { problem: `--${name} must be a whole number of at least ${minimum}` }
}

const roots = [...new Set(commands.map(({ name }) => name.split(" ")[0]!))]

const meant = (word: string, candidates: ReadonlyArray<string>, prefix = ""): string => {
  const near = candidates.find((each) => each.startsWith(word) || isOneEditAway(word, each))
  return word !== "" && near !== undefined ? `; did you mean ${prefix}${near}?` : ""
}

/** One letter more, less, other, or two neighbours swapped. */
const isOneEditAway = (a: string, b: string): boolean => {
  let start = 0
  while (start < a.length && start < b.length && a[start] === b[start]) start++
  const [restA, restB] = [a.slice(start), b.slice(start)]
  return (
    restA.slice(1) === restB ||
    restA === restB.slice(1) ||
    restA.slice(1) === restB.slice(1) ||
    (restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2))
  )
}
