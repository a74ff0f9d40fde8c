/**
 * `npm start`, `npm test` and every other command of this repository: `node scripts/run.mjs COMMAND ARGUMENTS`.
 *
 * Owns: the list of commands, and which of them need no developers' tools. Installing and finding Node 24 is in `house.mjs`.
 */
import fs from "node:fs"
import path from "node:path"
import process from "node:process"
import { become } from "./become.mjs"
import { environment, prepare, rememberGateway, root, stop, tool } from "./house.mjs"
import { preparePage } from "./page.mjs"

const main = path.join("layers", "main.ts")
// A small young generation: the gateway's garbage is short-lived, and 16 MB of it would stay resident.
const source = ["--max-semi-space-size=8", main]
// With glibc, V8's helper threads would each keep memory of their own, some 45 MB together.
const oneArena = { MALLOC_ARENA_MAX: process.env["MALLOC_ARENA_MAX"] ?? "1" }

const runScript = (file) => (node, args) => {
  if (!fs.existsSync(path.join(root, "scripts", file)))
    stop(`scripts/${file} does not exist in this version.`)
  become(node, [path.join("scripts", file), ...args], { env: environment(node) })
}

const runVitest = (extra) => (node, args) => {
  const vitest = tool("vitest", "vitest.mjs")
  if (vitest === undefined) stop("vitest is not installed: run `npm ci`.")
  become(node, [vitest, "run", ...args], { env: { ...environment(node), ...extra } })
}

const commands = {
  start: (node, args) => {
    preparePage(node)
    rememberGateway(
      become(node, [...source, "serve", ...args], { env: { ...environment(node), ...oneArena } })
    )
  },
  opencraw: (node, args) => become(node, [...source, ...args], { env: environment(node) }),
  test: runVitest({}),
  "test:long": runVitest({ OPENCRAW_TEST_LONG: "1" }),
  check: runScript("check.mjs"),
  format: (node, args) => {
    const oxfmt = tool("oxfmt", "bin/oxfmt")
    if (oxfmt === undefined) stop("oxfmt is not installed: run `npm ci`.")
    become(node, [oxfmt, ...(args.length > 0 ? args : ["."])], { env: environment(node) })
  },
  build: runScript("build.mjs"),
  bench: runScript("bench.ts"),
  conformance: runScript("conformance.ts"),
  simulate: runScript("simulate.ts")
}

/** These run the gateway's sources and build its page. Every other command needs tools as well. */
const needsSourceOnly = new Set(["start", "opencraw"])

const [name = "", ...args] = process.argv.slice(2)
if (!Object.hasOwn(commands, name)) {
  stop(`Usage: node scripts/run.mjs ${Object.keys(commands).join(" | ")} [arguments]`, 2)
}
commands[name](prepare(needsSourceOnly.has(name) ? "source" : "all"), args)
