/**
 * The program: reads the arguments, picks what to run, and ends with its exit code.
 *
 * What a command needs is loaded only when it is asked for, so that `--version` answers at once.
 */
import { readFileSync } from "node:fs"

const usage = `Usage: opencraw COMMAND [--config FILE]

  serve     run the gateway
  open      print a one-time link to the page of the running gateway
  version   print the version

Configuration: docs/configuration.md. Exit codes: docs/operations.md.
`

/** `undefined` when an argument makes no sense; the reason is on stderr then. */
const readArguments = (args: ReadonlyArray<string>): { readonly config: string | undefined } | undefined => {
  let config: string | undefined
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!
    const value = arg.startsWith("--config=") ? arg.slice(9) : arg === "--config" ? args[++index] : undefined
    if (value === undefined || value === "") {
      process.stderr.write(
        arg.startsWith("--config") ? "--config needs a file\n" : `unknown argument ${arg}\n`
      )
      return undefined
    }
    config = value
  }
  return { config }
}

const version = (): string => {
  const source = new URL(
    import.meta.url.endsWith(".ts") ? "../package.json" : "./package.json",
    import.meta.url
  )
  const found: unknown = JSON.parse(readFileSync(source, "utf8"))
  return typeof found === "object" && found !== null && "version" in found ? String(found.version) : "unknown"
}

const usageError = 64

const main = async ([command = "help", ...rest]: ReadonlyArray<string>): Promise<number> => {
  switch (command) {
    case "version":
    case "--version":
      process.stdout.write(`${version()}\n`)
      return 0
    case "help":
    case "--help":
      process.stdout.write(usage)
      return 0
    case "serve":
    case "open": {
      const given = readArguments(rest)
      if (given === undefined) return usageError
      const Effect = await import("effect/Effect")
      const options = { argvConfig: given.config }
      const program =
        command === "serve"
          ? (await import("#layers/serve.ts")).serve(options)
          : (await import("#layers/open.ts")).open(options)
      return Effect.runPromise(program)
    }
    default:
      process.stderr.write(`unknown command ${command}\n\n${usage}`)
      return usageError
  }
}

process.exitCode = await main(process.argv.slice(2))
// Handles that nobody owns any more (a kept-alive socket) must not hold the process.
process.exit()
