#!/usr/bin/env node
/**
 * The program: reads the arguments, picks what to run, and ends with its exit code.
 *
 * What a command needs is loaded only when it is asked for, so that `--version` and `--help` answer as fast as Node starts.
 */
import type { Effect } from "effect/Effect"
import { readFileSync } from "node:fs"
import type { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { completionsOf } from "#src/gateway/cli/completions.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import { helpOf, usageOf } from "#src/gateway/cli/help.ts"
import { type Given, parse } from "#src/gateway/cli/parse.ts"

const oldestNode = 24

const version = (): string => {
  const source = new URL(
    import.meta.url.endsWith(".ts") ? "../package.json" : "./package.json",
    import.meta.url
  )
  const found: unknown = JSON.parse(readFileSync(source, "utf8"))
  return typeof found === "object" && found !== null && "version" in found ? String(found.version) : "unknown"
}

const say = (text: string) => void process.stdout.write(text)
const complain = (text: string) => void process.stderr.write(text)

const showVersion = (given?: Given): number => {
  const json = given?.values.has("json") === true
  say(json ? `${JSON.stringify({ version: version(), node: process.versions.node })}\n` : `${version()}\n`)
  return exitCodes.ok
}

/** One command, what it needs loaded. */
const run = async (given: Given): Promise<number> => {
  const { catchTag, runPromise, sync } = await import("effect/Effect")
  const program: Effect<number, CommandFailed> = await programOf(given)
  return runPromise(
    catchTag(program, "CommandFailed", (error) =>
      sync(() => {
        complain(`${error.message}\n`)
        return error.code
      })
    )
  )
}

const programOf = async (given: Given): Promise<Effect<number, CommandFailed>> => {
  const { name } = given.command
  switch (name) {
    case "serve":
      return (await import("#layers/serve.ts")).serve({ argvConfig: given.values.get("config") })
    case "doctor":
      return (await import("#layers/doctor.ts")).doctor(given)
    case "what-if":
      return (await import("#layers/whatIf.ts")).whatIf(given)
    case "migrate":
      return (await import("#layers/migrate.ts")).migrate(given)
    case "chat":
    case "send": {
      const commands = await import("#layers/gateway/cli/chat.ts")
      return name === "chat" ? commands.chat(given) : commands.send(given)
    }
    case "config init":
      return (await import("#layers/gateway/cli/init.ts")).init(given)
    case "config show":
    case "config check":
    case "config keys": {
      const commands = await import("#layers/gateway/cli/config.ts")
      return name === "config show"
        ? commands.show(given)
        : name === "config check"
          ? commands.check(given)
          : commands.keys(given)
    }
    case "replay":
      return (await import("#layers/gateway/cli/replay.ts")).replay(given)
    case "lanes":
    case "lanes stop":
    case "lanes abort":
    case "lanes pause":
    case "lanes resume":
    case "cancel": {
      const commands = await import("#layers/gateway/cli/lanes.ts")
      return name === "lanes"
        ? commands.lanes(given)
        : name === "cancel"
          ? commands.cancel(given)
          : commands.control(given)
    }
    case "orgs create":
    case "orgs list":
    case "projects create":
    case "projects list":
    case "users create":
    case "users list":
    case "users role":
    case "users disable":
    case "users enable":
    case "agents set":
    case "agents list":
    case "agents delete":
      return (await import("#layers/gateway/cli/directory.ts")).programs[name](given)
    case "db query":
    case "db execute":
      return (await import("#layers/gateway/cli/database.ts")).programs[name](given)
    case "keys create":
    case "keys list":
    case "keys revoke":
    case "credentials set":
    case "credentials list":
    case "credentials delete":
    case "credentials rotate":
    case "audit":
      return (await import("#layers/gateway/cli/identity.ts")).programs[name](given)
    case "usage":
      return (await import("#layers/gateway/cli/usage.ts")).usage(given)
    default:
      return gatewayProgram(given)
  }
}

const gatewayProgram = async (given: Given): Promise<Effect<number, CommandFailed>> => {
  const commands = await import("#layers/gateway/cli/sessions.ts")
  const programs: Readonly<Record<string, (given: Given) => Effect<number, CommandFailed>>> = {
    open: commands.open,
    fork: commands.fork,
    trace: commands.trace,
    approvals: commands.approvals,
    approve: commands.decide,
    deny: commands.decide,
    "models list": commands.models,
    "models status": commands.modelStatus,
    "sessions list": commands.list,
    "sessions show": commands.show,
    "sessions delete": commands.remove,
    "sessions export": commands.exportSession
  }
  const program = programs[given.command.name]
  if (program === undefined) throw new Error(`${given.command.name} has no program`)
  return program(given)
}

const main = async (args: ReadonlyArray<string>): Promise<number> => {
  const parsed = parse(args)
  switch (parsed._tag) {
    case "Version":
      return showVersion()
    case "Help":
      say(helpOf(parsed.of))
      return exitCodes.ok
    case "Wrong":
      complain(`${parsed.problem}\nHelp: opencraw ${[...parsed.of, "--help"].join(" ")}\n`)
      return exitCodes.usage
    case "Run":
      break
  }
  const { given } = parsed
  if (given.command.name === "version") return showVersion(given)
  if (given.command.name === "completions") {
    say(completionsOf(given.values.get("SHELL") ?? "") ?? usageOf(given.command))
    return exitCodes.ok
  }
  if (Number.parseInt(process.versions.node, 10) < oldestNode) {
    // What is loaded below does not even compile on an older one.
    complain(
      `OpenCraw needs Node ${oldestNode} or newer, and this is Node ${process.versions.node} (${process.execPath}).\n` +
        `Install it from https://nodejs.org/en/download, then run this again.\n`
    )
    return exitCodes.machine
  }
  return run(given)
}

// Whoever reads our output may stop early, as `head` does.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1))
process.exitCode = await main(process.argv.slice(2))
await new Promise<void>((written) => process.stdout.write("", () => written()))
// Handles that nobody owns any more (a kept-alive socket) must not hold the process.
process.exit()
