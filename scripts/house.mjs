/**
 * The ground every developer command stands on: an installed checkout and a Node 24 to run it.
 *
 * Owns: installing what a command lacks, finding Node 24.
 * Does not own: what is to be installed (`install.mjs`), what the commands do (`run.mjs`, `check.mjs`, `build.mjs`).
 * Plain JavaScript on Node's own modules, for Node 20 and up: it runs before anything is installed.
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import fs from "node:fs"
import path from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { installFor } from "./install.mjs"

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..")
const modules = path.join(root, "node_modules")
/** Everything here may be deleted at any time, and `npm ci` does. */
export const cache = path.join(modules, ".cache", "opencraw")
const stampFile = path.join(cache, "installed.json")
/** Its dependencies are what running from source needs. */
const sourceWorkspace = "scripts/source"
const runningDir = path.join(cache, "running")
// Beside node_modules, because an install removes node_modules whole.
const installLock = path.join(root, ".cache", "install.lock")

/** Tell a person something. Standard output belongs to the program that is run. */
export const say = (text) => process.stderr.write(`${text}\n`)

/** End with a message that says what to do. */
export const stop = (text, code = 1) => {
  say(text)
  process.exit(code)
}

const readJson = (file) => {
  try {
    return JSON.parse(fs.readFileSync(file, "utf8"))
  } catch {
    return undefined
  }
}

const isAlive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === "EPERM"
  }
}

/** Gateways that `npm start` launched from this checkout and that still run. Forgets those that ended. */
const runningGateways = () => {
  if (!fs.existsSync(runningDir)) return []
  return fs.readdirSync(runningDir).filter((pid) => {
    let runs = isAlive(Number(pid))
    try {
      // A process id is used again after a while: it counts only while it still is a gateway.
      runs &&= fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("main.ts")
    } catch {
      // No /proc here: the process id alone decides.
    }
    if (!runs) fs.rmSync(path.join(runningDir, pid), { force: true })
    return runs
  })
}

/** Remember a gateway for as long as it runs. */
export const rememberGateway = (child) => {
  if (child.pid === undefined) return
  const file = path.join(runningDir, String(child.pid))
  fs.mkdirSync(runningDir, { recursive: true })
  fs.writeFileSync(file, "")
  child.on("exit", () => fs.rmSync(file, { force: true }))
}

const lockHash = () =>
  createHash("sha256")
    .update(fs.readFileSync(path.join(root, "package-lock.json")))
    .digest("hex")

/** True when npm's own record says that all the lock file requires is in place (somebody ran npm by hand). */
const npmInstalledTheLock = () => {
  const wanted = readJson(path.join(root, "package-lock.json"))?.packages
  const present = readJson(path.join(modules, ".package-lock.json"))?.packages
  if (wanted === undefined || present === undefined) return false
  return Object.entries(wanted).every(
    ([name, entry]) =>
      name === "" ||
      (present[name] === undefined ? entry.optional === true : present[name].integrity === entry.integrity)
  )
}

/** The last install: of which lock file, "source" or "all" of it, and the Node 24 to run with. */
const readStamp = () => readJson(stampFile)
const writeStamp = (stamp) => {
  fs.mkdirSync(cache, { recursive: true })
  fs.writeFileSync(stampFile, JSON.stringify(stamp))
}

/** What the checkout is to have for a command that needs `need`, whether it has it, and the Node 24 it last ran with. */
const standing = (need, lock) => {
  const stamp = readStamp()
  const unstamped = fs.existsSync(path.join(modules, ".package-lock.json"))
  return { ...installFor({ need, lock, stamp, unstamped }), node: stamp?.node ?? "" }
}

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

/** Run `work` while no other command of this checkout does. */
const whileLocked = (work) => {
  fs.mkdirSync(path.dirname(installLock), { recursive: true })
  for (let told = false; ; sleep(200)) {
    try {
      fs.writeFileSync(installLock, String(process.pid), { flag: "wx" })
      break
    } catch (error) {
      if (error.code !== "EEXIST") throw error
      const holder = Number(fs.existsSync(installLock) ? fs.readFileSync(installLock, "utf8") : "")
      if (holder > 0 && !isAlive(holder)) fs.rmSync(installLock, { force: true })
      else if (!told) {
        told = true
        say(`Waiting for another install (process ${holder}) ...`)
      }
    }
  }
  const release = () => fs.rmSync(installLock, { force: true })
  process.once("exit", release)
  try {
    return work()
  } finally {
    release()
    process.off("exit", release)
  }
}

/** How to call npm without a shell: `[program, ...first arguments]`. */
const npmCommand = () => {
  const node = process.env["npm_node_execpath"] ?? process.execPath
  const beside = path.dirname(node)
  const cli = [
    process.env["npm_execpath"],
    path.join(beside, "..", "lib", "node_modules", "npm", "bin", "npm-cli.js"),
    path.join(beside, "node_modules", "npm", "bin", "npm-cli.js")
  ].find((file) => file !== undefined && path.basename(file) === "npm-cli.js" && fs.existsSync(file))
  return cli === undefined ? ["npm"] : [node, cli]
}

const npmCi = (wanted, lock) => {
  const gateways = runningGateways()
  if (gateways.length > 0) {
    const why =
      readStamp()?.lock === lock
        ? "This command needs more than `npm start` installed"
        : "The dependencies changed"
    stop(
      `${why}, and a gateway runs from this folder (process ${gateways.join(", ")}).\n` +
        `Stop it first, then run this again: installing would take its files away.`
    )
  }
  say(
    wanted === "all" ? "Installing the dependencies (npm ci) ..." : "Installing what it runs on (npm ci) ..."
  )
  const [program, ...first] = npmCommand()
  const part = wanted === "all" ? [] : ["--workspace", sourceWorkspace]
  const args = [...first, "ci", ...part, "--include=dev", "--include=optional", "--no-audit", "--no-fund"]
  const done = spawnSync(program, [...args, "--loglevel=error"], { cwd: root, stdio: ["ignore", 2, 2] })
  if (done.error?.code === "ENOENT")
    stop("npm was not found. Install Node 20 or newer with npm, then run this again.")
  if (done.status !== 0)
    stop("npm ci failed (see above). It needs the npm registry; run this again once it is reachable.")
  // Node's C++ headers are a third of its package, and nothing here compiles against them.
  fs.rmSync(path.join(modules, platformPackage, "include"), { recursive: true, force: true })
}

/** Install what is missing for `need`. Gives what the checkout then has. */
const install = (need, lock) => {
  const { wanted, present } = standing(need, lock)
  if (present) return wanted
  if (npmInstalledTheLock()) return "all"
  npmCi(wanted, lock)
  // Written before Node is looked for: without one, the next try must still know what it has.
  writeStamp({ lock, installed: wanted })
  return wanted
}

const platformPackage = `node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}`

const platformNode = () => {
  const program = process.platform === "win32" ? "node.exe" : "node"
  const file = path.join(modules, platformPackage, "bin", program)
  return fs.existsSync(file) ? file : undefined
}

/** The version `file` reports, or 0 when it does not run on this system (another C library, for one). */
const majorOf = (file) => {
  const asked = spawnSync(file, ["-p", "process.versions.node"], { encoding: "utf8" })
  return asked.status === 0 ? Number.parseInt(asked.stdout, 10) : 0
}

const findNode = () => {
  const candidates = [platformNode(), process.execPath, process.env["npm_node_execpath"]]
  return candidates.find((file) => file !== undefined && fs.existsSync(file) && majorOf(file) >= 24)
}

/**
 * Make the checkout runnable and give the path of a Node 24 or newer.
 * `need` is "source" for a command that runs the gateway and nothing else, "all" for the others.
 * Ends the process with the exact thing to do when that cannot be had.
 */
export const prepare = (need) => {
  const lock = lockHash()
  const before = standing(need, lock)
  if (before.present && fs.existsSync(before.node)) return before.node
  return whileLocked(() => {
    // Whoever held the lock before us may have done the work.
    const now = standing(need, lock)
    if (now.present && fs.existsSync(now.node)) return now.node
    const installed = install(need, lock)
    const node = findNode()
    if (node === undefined) {
      stop(
        `OpenCraw runs on Node 24; this is Node ${process.versions.node}, and npm has no Node 24 package for ` +
          `${process.platform}-${process.arch}\n(or could not install it). Install Node 24 from ` +
          `https://nodejs.org/en/download, then run this again.`
      )
    }
    writeStamp({ lock, installed, node })
    return node
  })
}

/** The environment of what we start: `node` is the Node 24 found, and compiled code is kept for the next start. */
export const environment = (node) => {
  const name = Object.keys(process.env).find((key) => key.toUpperCase() === "PATH") ?? "PATH"
  return {
    ...process.env,
    [name]: [path.dirname(node), process.env[name]].filter(Boolean).join(path.delimiter),
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? path.join(cache, "compile")
  }
}

/** The program file of an installed tool, run with `node`. Undefined when it is not installed. */
export const tool = (name, file) => {
  const found = path.join(modules, ...name.split("/"), ...file.split("/"))
  return fs.existsSync(found) ? found : undefined
}
