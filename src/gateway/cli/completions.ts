/** What a shell offers after the Tab key, made of the table of `commands`. Pure. */
import { type Command, commands, help } from "./commands.ts"

const roots = [...new Set(commands.map(({ name }) => name.split(" ")[0]!))]
const below = (root: string): ReadonlyArray<string> =>
  commands.filter(({ name }) => name.startsWith(`${root} `)).map(({ name }) => name.slice(root.length + 1))
const groups = roots.filter((root) => below(root).length > 0)
/** Commands of two words. */
const ofGroups = groups.flatMap((root) => below(root).map((name) => `${root} ${name}`))
const aboutRoot = (root: string): string =>
  commands.find(({ name }) => name === root)?.about ?? `${below(root).join(", ")}`
const flagsOf = (command: Command) => [...command.flags, help]
const takesFile = (name: string) => name === "config" || name === "file" || name === "output"

const bash = (): string => {
  const cases = commands.map((command) => {
    const words = [
      ...flagsOf(command).map(({ name }) => `--${name}`),
      ...command.arguments.flatMap(({ choices }) => choices ?? [])
    ]
    return `    "${command.name}") words="${words.join(" ")}" ;;`
  })
  const choices = commands.flatMap((command) =>
    command.flags.flatMap(({ name, choices }) =>
      choices === undefined ? [] : [`    --${name}) words="${choices.join(" ")}" ;;`]
    )
  )
  const files = [...new Set(commands.flatMap(({ flags }) => flags.map(({ name }) => name)))].filter(takesFile)
  return `_opencraw() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="\${COMP_WORDS[1]}" words=""
  case "$command \${COMP_WORDS[2]}" in
    ${ofGroups.map((name) => `"${name}"`).join("|")}) command="$command \${COMP_WORDS[2]}" ;;
  esac
  case "$previous" in
    ${files.map((name) => `--${name}`).join("|")}) COMPREPLY=($(compgen -f -- "$current")); return ;;
${choices.join("\n")}
  esac
  if [ -z "$words" ]; then
    case "$command" in
${cases.join("\n")}
    esac
  fi
  if [ "$COMP_CWORD" -eq 1 ]; then words="${[...roots, "help", "--help", "--version"].join(" ")}"; fi
  if [ "$COMP_CWORD" -eq 2 ]; then
    case "\${COMP_WORDS[1]}" in
${groups.map((root) => `      ${root}) words="${below(root).join(" ")} $words" ;;`).join("\n")}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _opencraw opencraw
`
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

const zsh = (): string => {
  const described = (entries: ReadonlyArray<readonly [string, string]>) =>
    entries.map(([word, about]) => quoted(`${word.replaceAll(":", "\\:")}:${about}`)).join(" ")
  const cases = commands.map((command) => {
    const flags = flagsOf(command).map(({ name, about, value, choices }) => {
      const text = about.replace(/[[\]:]/g, " ")
      const values =
        choices !== undefined
          ? `:${value}:(${choices.join(" ")})`
          : value === undefined
            ? ""
            : `:${value}:${takesFile(name) ? "_files" : ""}`
      return quoted(`--${name}[${text}]${values}`)
    })
    const words = command.arguments.map(({ name, choices }) =>
      quoted(`*:${name}:${choices === undefined ? "" : `(${choices.join(" ")})`}`)
    )
    return `    ${quoted(command.name)}) _arguments ${[...flags, ...words].join(" ")} ;;`
  })
  return `#compdef opencraw
_opencraw() {
  local -a offered
  if (( CURRENT == 2 )); then
    offered=(${described([...roots.map((root) => [root, aboutRoot(root)] as const), ["help", "show the help"]])})
    _describe command offered
    return
  fi
  local command="$words[2]"
  case "$command" in
${groups
  .map((root) => {
    const entries = below(root).map(
      (name) => [name, commands.find((each) => each.name === `${root} ${name}`)?.about ?? ""] as const
    )
    return `    ${root})
      if (( CURRENT == 3 )) && [[ "$words[3]" != -* ]]; then
        offered=(${described(entries)}); _describe command offered; return
      fi
      case "$words[3]" in
        ${below(root).join("|")}) command="$command $words[3]"; shift 2 words; (( CURRENT -= 2 )) ;;
        *) shift words; (( CURRENT -= 1 )) ;;
      esac ;;`
  })
  .join("\n")}
    *) shift words; (( CURRENT -= 1 )) ;;
  esac
  case "$command" in
${cases.join("\n")}
  esac
}
compdef _opencraw opencraw
`
}

const fish = (): string => {
  const line = (condition: string, rest: string) => `complete -c opencraw -n ${quoted(condition)} ${rest}`
  const seen = (command: Command) =>
    command.name
      .split(" ")
      .map((word) => `__fish_seen_subcommand_from ${word}`)
      .concat(
        groups.includes(command.name)
          ? [`not __fish_seen_subcommand_from ${below(command.name).join(" ")}`]
          : []
      )
      .join("; and ")
  return [
    "complete -c opencraw -f",
    ...roots.map((root) => line("__fish_use_subcommand", `-a ${root} -d ${quoted(aboutRoot(root))}`)),
    ...groups.map((root) =>
      line(
        `__fish_seen_subcommand_from ${root}; and not __fish_seen_subcommand_from ${below(root).join(" ")}`,
        `-a ${quoted(below(root).join(" "))}`
      )
    ),
    ...commands.flatMap((command) => [
      ...flagsOf(command).map(({ name, about, value, choices }) =>
        line(
          seen(command),
          `-l ${name} -d ${quoted(about)}${value === undefined ? "" : " -r"}${
            choices === undefined ? (takesFile(name) ? " -F" : "") : ` -a ${quoted(choices.join(" "))}`
          }`
        )
      ),
      ...command.arguments.flatMap(({ choices }) =>
        choices === undefined ? [] : [line(seen(command), `-a ${quoted(choices.join(" "))}`)]
      )
    ]),
    ""
  ].join("\n")
}

const shells: Readonly<Record<string, () => string>> = { bash, zsh, fish }

/** The script to evaluate in a shell; undefined for a shell that is not known. */
export const completionsOf = (shell: string): string | undefined =>
  Object.hasOwn(shells, shell) ? shells[shell]?.() : undefined
