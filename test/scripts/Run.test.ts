import { type ChildProcess, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { once } from "node:events"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { installFor } from "../../scripts/install.mjs"

const scripts = path.resolve(import.meta.dirname, "../../scripts")

/** Says what it was started with (its pid too when told `pid`) and which signals came; ends at SIGTERM with 7, or by itself with 3 when told `end`. */
const program = `
const say = (text: string) => process.stdout.write(text + "\\n")
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => {
  say(signal)
  if (signal === "SIGTERM") process.exit(7)
})
if (process.argv.includes("pid")) say("pid " + process.pid)
say("args " + JSON.stringify(process.argv.slice(2)))
if (process.argv.includes("end")) process.exit(3)
setInterval(() => {}, 1000)
`

describe("what a command installs", () => {
  type Asked = Parameters<typeof installFor>[0]
  type Row = readonly [
    says: string,
    need: Asked["need"],
    stamp: Asked["stamp"],
    unstamped: boolean,
    then: string
  ]
  const source = { lock: "now", installed: "source" } as const
  const all = { lock: "now", installed: "all" } as const
  const rows: ReadonlyArray<Row> = [
    ["a new checkout's start: what it runs on", "source", undefined, false, "install source"],
    ["a new checkout's test: everything", "all", undefined, false, "install all"],
    ["a second start: nothing", "source", source, true, "keep source"],
    ["a test after a start: everything", "all", source, true, "install all"],
    ["a start after a test: nothing", "source", all, true, "keep all"],
    ["a second test: nothing", "all", all, true, "keep all"],
    [
      "another lock file, only started so far: what it runs on",
      "source",
      { ...source, lock: "old" },
      true,
      "install source"
    ],
    [
      "another lock file, tested before: everything again",
      "source",
      { ...all, lock: "old" },
      true,
      "install all"
    ],
    ["a stamp from before there were two kinds: nothing", "source", { lock: "now" }, true, "keep all"],
    ["installed by hand: not less than that", "source", undefined, true, "install all"]
  ]
  for (const [says, need, stamp, unstamped, then] of rows) {
    it(says, () => {
      const { wanted, present } = installFor({ need, lock: "now", stamp, unstamped })
      assert.strictEqual(`${present ? "keep" : "install"} ${wanted}`, then)
    })
  }

  it("what a start installs has the versions that are tested", () => {
    const read = (file: string): Record<string, Record<string, string>> =>
      JSON.parse(fs.readFileSync(path.join(scripts, file), "utf8"))
    const { devDependencies = {} } = read("../package.json")
    const { dependencies = {} } = read("source/package.json")
    for (const [name, version] of Object.entries(dependencies)) {
      assert.strictEqual(version, devDependencies[name], name)
    }
  })
})

/** A checkout of nothing but the scripts and a program that takes the gateway's place. */
describe("npm start", () => {
  let checkout: string
  let children: Array<ChildProcess>

  beforeEach(() => {
    checkout = fs.mkdtempSync(path.join(os.tmpdir(), "opencraw-run-"))
    fs.cpSync(scripts, path.join(checkout, "scripts"), { recursive: true })
    fs.mkdirSync(path.join(checkout, "layers"))
    fs.mkdirSync(path.join(checkout, "node_modules"))
    fs.writeFileSync(path.join(checkout, "package.json"), `{"type":"module"}`)
    fs.writeFileSync(path.join(checkout, "layers/main.ts"), program)
    const lock = JSON.stringify({ packages: { "": {}, "node_modules/a": { integrity: "sha512-a" } } })
    fs.writeFileSync(path.join(checkout, "package-lock.json"), lock)
    fs.writeFileSync(path.join(checkout, "node_modules/.package-lock.json"), lock)
    children = []
  })
  afterEach(async () => {
    for (const child of children) child.kill("SIGKILL")
    fs.rmSync(checkout, { recursive: true, force: true })
  })

  const run = (...args: ReadonlyArray<string>) => start(process.execPath, ["scripts/run.mjs", ...args])
  const start = (file: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) => {
    const { npm_lifecycle_event: _, ...inherited } = process.env
    const child = spawn(file, args, {
      cwd: checkout,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...inherited, npm_execpath: "", npm_node_execpath: "", ...env }
    })
    children.push(child)
    const output = { stdout: "", stderr: "" }
    child.stdout.on("data", (chunk: Buffer) => (output.stdout += chunk.toString()))
    child.stderr.on("data", (chunk: Buffer) => (output.stderr += chunk.toString()))
    const says = async (text: string) => {
      while (!output.stdout.includes(text)) await once(child.stdout, "data")
    }
    const ended = once(child, "close").then(([code]: Array<number | null>) => code)
    return { child, output, says, ended }
  }

  it("hands on arguments and the exit code, and prints nothing of its own on standard output", async () => {
    const { output, ended } = run("start", "--config", "a b.toml", "end")
    assert.strictEqual(await ended, 3)
    assert.strictEqual(output.stdout, `args ["serve","--config","a b.toml","end"]\n`)
  })

  it("runs any other command of the CLI", async () => {
    const { output, ended } = run("opencraw", "open", "end")
    assert.strictEqual(await ended, 3)
    assert.strictEqual(output.stdout, `args ["open","end"]\n`)
  })

  it("hands on SIGTERM and waits for the gateway's own end", async () => {
    const { child, output, says, ended } = run("start")
    await says("args")
    child.kill("SIGTERM")
    assert.strictEqual(await ended, 7)
    assert.include(output.stdout, "SIGTERM\n")
  })

  it.skipIf(process.platform === "win32")("stops the gateway when npm's shell is stopped", async () => {
    const shell = start("sh", ["-c", `"${process.execPath}" scripts/run.mjs start; true`], {
      npm_lifecycle_event: "start"
    })
    await shell.says("args")
    shell.child.kill("SIGTERM")
    await shell.says("SIGTERM")
    await shell.ended
  })

  it("takes two signals of one Ctrl-C for one, and kills at a second Ctrl-C", async () => {
    const { child, output, says, ended } = run("start", "pid")
    await says("args")
    child.kill("SIGINT")
    await says("SIGINT")
    child.kill("SIGINT")
    // The program stays; only a later press kills it. Repeated until it is late enough, and not a moment longer: the one who
    // started it is then at its own end.
    const pid = Number(/pid (\d+)/.exec(output.stdout)?.[1])
    const isThere = () => {
      try {
        return process.kill(pid, 0)
      } catch {
        return false
      }
    }
    const presses = setInterval(() => isThere() && child.kill("SIGINT"), 100)
    const code = await ended
    clearInterval(presses)
    assert.strictEqual(code, 137)
    assert.strictEqual(output.stdout.match(/SIGINT/g)?.length, 1)
  })

  it("does not install below a running gateway, and says what to do", async () => {
    const { child, says, ended } = run("start")
    await says("args")
    fs.writeFileSync(
      path.join(checkout, "package-lock.json"),
      JSON.stringify({ packages: { x: { integrity: "new" } } })
    )
    const second = run("opencraw", "end")
    assert.strictEqual(await second.ended, 1)
    assert.include(second.output.stderr, "The dependencies changed")
    assert.include(second.output.stderr, "Stop it first")
    child.kill("SIGTERM")
    await ended
  })

  it("does not add the developers' tools below a running gateway, and starts nothing without them", async () => {
    // As a first start leaves it: some of the lock file installed, and said so.
    const record = path.join(checkout, "node_modules/.package-lock.json")
    const stamp = path.join(checkout, "node_modules/.cache/opencraw/installed.json")
    const lock = createHash("sha256")
      .update(fs.readFileSync(path.join(checkout, "package-lock.json")))
      .digest("hex")
    fs.writeFileSync(record, JSON.stringify({ packages: {} }))
    fs.mkdirSync(path.dirname(stamp), { recursive: true })
    fs.writeFileSync(stamp, JSON.stringify({ lock, installed: "source", node: process.execPath }))
    const { child, says, ended } = run("start")
    await says("args")
    const again = run("opencraw", "end")
    assert.strictEqual(await again.ended, 3)
    const test = run("test")
    assert.strictEqual(await test.ended, 1)
    assert.include(test.output.stderr, "needs more than `npm start` installed")
    assert.include(
      test.output.stderr,
      `process ${fs.readdirSync(path.join(path.dirname(stamp), "running")).join()}`
    )
    child.kill("SIGTERM")
    await ended
  })

  it("names the commands when it does not know one", async () => {
    const { output, ended } = run("strat")
    assert.strictEqual(await ended, 2)
    assert.include(output.stderr, "start | opencraw | test")
  })
})
