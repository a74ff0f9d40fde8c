import { type ChildProcess, spawn } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { once } from "node:events"
import { afterEach, assert, beforeEach, describe, it } from "vitest"

const scripts = path.resolve(import.meta.dirname, "../../scripts")

/** Says what it was started with and which signals came; ends at SIGTERM with 7, or by itself with 3 when told `end`. */
const program = `
const say = (text: string) => process.stdout.write(text + "\\n")
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => {
  say(signal)
  if (signal === "SIGTERM") process.exit(7)
})
say("args " + JSON.stringify(process.argv.slice(2)))
if (process.argv.includes("end")) process.exit(3)
setInterval(() => {}, 1000)
`

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
    const { child, output, says, ended } = run("start")
    await says("args")
    child.kill("SIGINT")
    await says("SIGINT")
    child.kill("SIGINT")
    // The program stays; only a later press kills it. Repeated until it is late enough.
    const presses = setInterval(() => child.kill("SIGINT"), 100)
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
    assert.include(second.output.stderr, "Stop it first")
    child.kill("SIGTERM")
    await ended
  })

  it("names the commands when it does not know one", async () => {
    const { output, ended } = run("strat")
    assert.strictEqual(await ended, 2)
    assert.include(output.stderr, "start | opencraw | test")
  })
})
