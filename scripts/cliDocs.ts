/**
 * `node scripts/cliDocs.ts`: writes `docs/cli.md` from the table of commands.
 *
 * With `--check` it writes nothing, and exits 1 when the file is stale; a test runs that.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { commands } from "#src/gateway/cli/commands.ts"
import { exitCodes, meanings } from "#src/gateway/cli/exitCodes.ts"
import { rowsOf, usageOf } from "#src/gateway/cli/help.ts"

const cell = (text: string) => text.replaceAll("|", "\\|")

const sectionOf = (command: (typeof commands)[number]): ReadonlyArray<string> => {
  const rows = rowsOf(command)
  return [
    `## ${command.name}`,
    "",
    `\`${usageOf(command)}\`: ${command.about}.`,
    "",
    ...(command.details === undefined ? [] : [command.details, ""]),
    ...(rows.length === 0
      ? []
      : ["| | |", "|---|---|", ...rows.map(([name, about]) => `| \`${cell(name)}\` | ${cell(about)} |`), ""]),
    "```sh",
    ...command.examples.flatMap(({ line, about }) => [`# ${about}`, line]),
    "```",
    ""
  ]
}

const render = (): string =>
  [
    "# The command line",
    "",
    "Written by `node scripts/cliDocs.ts` from the table of commands. Change that, not this.",
    "",
    "`npm run opencraw -- COMMAND` in a checkout, `opencraw COMMAND` where the package is installed. Commands that talk to a gateway find",
    "the one that runs on the data directory of the same configuration. Answers go to stdout, all else to stderr; with `--json` an answer",
    "is one line of JSON.",
    "",
    "| exit code | meaning |",
    "|---|---|",
    ...Object.entries(exitCodes).map(([name, code]) => {
      const meaning = Object.entries(meanings).find(([each]) => each === name)?.[1] ?? ""
      return `| ${code} | ${cell(meaning)} |`
    }),
    "",
    ...commands.flatMap(sectionOf)
  ].join("\n")

const file = new URL("../docs/cli.md", import.meta.url)
if (!process.argv.includes("--check")) writeFileSync(file, render())
else if (readFileSync(file, "utf8") !== render()) {
  console.error("docs/cli.md is stale: run node scripts/cliDocs.ts")
  process.exitCode = 1
}
