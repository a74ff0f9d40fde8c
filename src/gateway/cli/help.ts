/** The help of the command line, made of the table of `commands`. Pure. */
import { below, type Command, commands, help } from "./commands.ts"

const columns = (rows: ReadonlyArray<readonly [string, string]>): ReadonlyArray<string> => {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}

const argumentsOf = (command: Command): string =>
  command.arguments
    .map(({ name, isOptional, takesRest }) => {
      const shown = takesRest === true ? `${name} ...` : name
      return isOptional === true ? ` [${shown}]` : ` ${shown}`
    })
    .join("")

/** `opencraw sessions show KEY [--last N] ...`, its flags left out. */
export const usageOf = (command: Command): string =>
  `opencraw ${command.name}${argumentsOf(command)}${command.flags.length > 0 ? " [flags]" : ""}`

/** Rows of name and meaning: arguments, then flags. */
export const rowsOf = (command: Command): ReadonlyArray<readonly [string, string]> => [
  ...command.arguments.map(({ name, about }) => [name, about] as const),
  ...command.flags.map(
    ({ name, value, about, choices }) =>
      [
        value === undefined ? `--${name}` : `--${name} ${value}`,
        choices === undefined ? about : `${about} (${choices.join(", ")})`
      ] as const
  )
]

const all = (): string =>
  [
    "OpenCraw: people write, an agent answers, nothing accepted is lost.",
    "",
    "Usage: opencraw COMMAND [flags]",
    "",
    ...columns(commands.map((command) => [command.name + argumentsOf(command), command.about])),
    "",
    "opencraw COMMAND --help tells more. First steps:",
    "",
    ...columns([
      ["opencraw config init", "write a configuration (without one, the demo model answers)"],
      ["opencraw serve", "run the gateway"],
      ["opencraw chat", "talk to it from a second terminal"],
      ["opencraw doctor", "when something does not work"]
    ]),
    ""
  ].join("\n")

const ofOne = (command: Command): string =>
  [
    `opencraw ${command.name}: ${command.about}.`,
    ...(command.details === undefined ? [] : ["", command.details]),
    "",
    `Usage: ${usageOf(command)}`,
    "",
    ...columns([...rowsOf(command), [`--${help.name}`, help.about]]),
    "",
    "Examples:",
    ...command.examples.flatMap(({ line, about }) => [`  # ${about}`, `  ${line}`]),
    ""
  ].join("\n")

/** The help of these words: a command, a group such as `sessions`, or all of it for none. */
export const helpOf = (words: ReadonlyArray<string>): string => {
  const found = below(words)
  if (words.length === 0 || found.length === 0) return all()
  const name = words.join(" ")
  const itself = found.find((command) => command.name === name)
  const others = found.filter((command) => command !== itself)
  if (itself !== undefined && others.length === 0) return ofOne(itself)
  return [
    ...(itself === undefined ? [] : [ofOne(itself)]),
    `Usage: opencraw ${name} COMMAND [flags]`,
    "",
    ...columns(others.map((command) => [command.name + argumentsOf(command), command.about])),
    "",
    `opencraw ${name} COMMAND --help tells more.`,
    ""
  ].join("\n")
}
