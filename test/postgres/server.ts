/**
 * A real PostgreSQL of our own: a cluster in a temporary folder, on loopback and a free port, run by nobody when we are root.
 *
 * Owns: finding the programs, starting, killing and starting it again. A test without them is skipped, but fails where CI promises them.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import fs from "node:fs"
import { createServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import path from "node:path"

const installed = "/usr/lib/postgresql"

/** Of the newest version that is installed. */
const findPrograms = (): string | undefined =>
  fs.existsSync(installed)
    ? fs
        .readdirSync(installed)
        .toSorted((a, b) => Number(b) - Number(a))
        .map((version) => path.join(installed, version, "bin"))
        .find((folder) => fs.existsSync(path.join(folder, "initdb")))
    : undefined

const programs = findPrograms()
export const withoutPostgres = process.env["CI"] !== "true" && programs === undefined
/** What a skipped test says of itself. */
export const named = (what: string) =>
  programs === undefined ? `${what} (needs PostgreSQL: apt-get install postgresql)` : what

const program = (name: string) => {
  if (programs === undefined) throw new Error(`PostgreSQL is not installed below ${installed}`)
  return path.join(programs, name)
}

/** Postgres refuses to run as root. */
export const unprivileged = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

export const freePort = async (): Promise<number> => {
  const probe = createServer().listen(0, "127.0.0.1")
  await once(probe, "listening")
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, "close")
  return port
}

const untilItAnswers = async (child: ChildProcess, port: number, said: () => string) => {
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`Postgres ended: ${said()}`)
    try {
      execFileSync(program("pg_isready"), ["-q", "-h", "127.0.0.1", "-p", String(port)], { stdio: "ignore" })
      return
    } catch {
      await new Promise((done) => setTimeout(done, 30))
    }
  }
}

/** A name that no other test uses. */
export const newSchema = (): string => `t_${crypto.randomUUID().replaceAll("-", "")}`

export interface Server {
  readonly port: number
  readonly url: string
  /** Of the process that all others are children of. */
  readonly pid: () => number
  readonly version: () => Promise<string>
  /** The whole server dies at once, as by a loss of power of its processes. */
  readonly kill: () => Promise<void>
  readonly start: () => Promise<void>
  /** As its operator does it: sessions are ended, what was committed is kept. */
  readonly restart: () => Promise<void>
  /** It stands still, and answers nobody. */
  readonly freeze: () => void
  readonly thaw: () => void
  readonly stop: () => Promise<void>
  /** Told to stop, and not waited for. */
  readonly end: () => void
}

/** `settings` are the server's own, as `fsync=off`. */
export const startServer = async (settings: ReadonlyArray<string> = []): Promise<Server> => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "opencraw-postgres-"))
  if (unprivileged.uid !== undefined) fs.chownSync(folder, unprivileged.uid, unprivileged.gid)
  const data = path.join(folder, "data")
  const env = { PATH: process.env["PATH"], HOME: folder, LC_ALL: "C" }
  execFileSync(
    program("initdb"),
    ["-D", data, "-U", "app", "-E", "UTF8", "--auth=trust", "--no-sync", "--locale=C"],
    {
      ...unprivileged,
      env,
      cwd: folder,
      stdio: "ignore"
    }
  )
  const port = await freePort()
  let child: ChildProcess | undefined
  let said = ""

  const startOnce = async () => {
    said = ""
    const options = ["listen_addresses=127.0.0.1", "max_connections=300", ...settings]
    // Its own process group, so that one signal reaches all of its processes.
    child = spawn(
      program("postgres"),
      ["-D", data, "-p", String(port), "-k", folder, ...options.flatMap((option) => ["-c", option])],
      { ...unprivileged, env, cwd: folder, detached: true, stdio: ["ignore", "ignore", "pipe"] }
    )
    child.stderr?.on("data", (part: Buffer) => (said = (said + part.toString()).slice(-4000)))
    await untilItAnswers(child, port, () => said)
  }
  /** Of a killed server some process may still be dying with the shared memory in its hands: then it does not start yet. */
  const start = async (): Promise<void> => {
    for (;;) {
      try {
        return await startOnce()
      } catch (error) {
        if (!said.includes("shared memory block")) throw error
        await new Promise((done) => setTimeout(done, 50))
      }
    }
  }
  const signal = (name: NodeJS.Signals) => {
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, name)
  }
  /** Its processes are each a group of their own. */
  const signalAll = (name: NodeJS.Signals) => {
    const pid = child?.pid
    if (pid === undefined) return
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")
    for (const one of [pid, ...children.map(Number)]) process.kill(one, name)
  }
  const end = async (name: NodeJS.Signals) => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, "exit")
    // Children of a killed server are its group's, too: none may hold the shared memory when it starts again.
    if (name === "SIGKILL") signal(name)
    else child.kill(name)
    await exited
  }
  await start()
  return {
    port,
    url: `postgres://app@127.0.0.1:${port}/postgres`,
    pid: () => child?.pid ?? 0,
    version: async () => execFileSync(program("postgres"), ["--version"], { encoding: "utf8" }).trim(),
    kill: () => end("SIGKILL"),
    start,
    restart: async () => {
      await end("SIGINT")
      await start()
    },
    freeze: () => signalAll("SIGSTOP"),
    thaw: () => signalAll("SIGCONT"),
    end: () => void child?.kill("SIGINT"),
    stop: async () => {
      await end("SIGINT")
      fs.rmSync(folder, { recursive: true, force: true })
    }
  }
}
