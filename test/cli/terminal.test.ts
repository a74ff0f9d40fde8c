/** What asks and answers on a real terminal, which `script` makes. */
import { assert, describe, it } from "@effect/vitest"
import { spawn, spawnSync } from "node:child_process"
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach } from "vitest"
import { api, configure, newFolder, startGateway, startProvider, until } from "../scenarios/gatewayProcess.ts"

const main = fileURLToPath(new URL("../../layers/main.ts", import.meta.url))
const hasScript = /util-linux/.test(spawnSync("script", ["--version"], { encoding: "utf8" }).stdout ?? "")

const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

const onTerminal = (args: ReadonlyArray<string>, cwd: string, env: Record<string, string> = {}) => {
  const command = [process.execPath, main, ...args].map((word) => `'${word}'`).join(" ")
  const child = spawn("script", ["--quiet", "--return", "--flush", "--command", command, "/dev/null"], {
    cwd,
    env: { ...process.env, TERM: "xterm", ...env }
  })
  cleanups.push(() => child.kill("SIGKILL"))
  let screen = ""
  child.stdout.on("data", (part: Buffer) => (screen += part.toString()))
  const ended = new Promise<number | null>((done) => child.on("close", done))
  let from = 0
  return {
    ended,
    screen: () => screen,
    /** Wait until this stands behind what was waited for last, then type. */
    answer: async (wanted: string, keys: string) => {
      await until(wanted, () => screen.includes(wanted, from), 20_000)
      from = screen.indexOf(wanted, from) + wanted.length
      child.stdin.write(keys)
    }
  }
}

const down = "\u001b[B"

describe.skipIf(!hasScript)("on a terminal (needs script of util-linux)", () => {
  it("chat streams, traces, and is left by /quit", { timeout: 60_000 }, async () => {
    const provider = await startProvider(() => ({ pieces: ["Good ", "day"] }))
    cleanups.push(provider.stop)
    const { config, folder } = configure(provider.url)
    const gateway = await startGateway(config)
    cleanups.push(() => gateway.child.kill("SIGKILL"))
    const chat = onTerminal(["chat", "--config", config], folder)
    await chat.answer("> ", "hello\r")
    await chat.answer("Good day", "/trace\r")
    await chat.answer("run ended", "/quit\r")
    assert.strictEqual(await chat.ended, 0, chat.screen())
    assert.notInclude(chat.screen(), "Error")
  })

  it("lanes --watch is drawn anew from the top, until Ctrl-C", { timeout: 60_000 }, async () => {
    const provider = await startProvider(() => ({ pieces: ["a", "b"], pauseMillis: 50_000 }))
    cleanups.push(provider.stop)
    const { config, folder } = configure(provider.url)
    const gateway = await startGateway(config)
    cleanups.push(() => gateway.child.kill("SIGKILL"))
    const watch = onTerminal(["lanes", "--watch", "--config", config], folder)
    await watch.answer("\u001b[H\u001b[JNo session is at work.", "")
    const message = { session_key: "busy", content: "x" }
    await api(gateway, "/api/v1/os/messages/send", { method: "POST", body: JSON.stringify(message) })
    await watch.answer("\u001b[H\u001b[JSESSION", "")
    await watch.answer("agent:main:busy", "\u0003")
    await watch.ended
    assert.notInclude(watch.screen(), "Error")
  })

  it("config init asks for model, key and channel, and shows no key", { timeout: 60_000 }, async () => {
    const folder = newFolder()
    const init = onTerminal(["config", "init"], folder, { OPENAI_API_KEY: "" })
    await init.answer("Which model provider?", "\r")
    await init.answer("Which model?", "gpt-5\r")
    await init.answer("Its key?", `${down}\r`)
    await init.answer("Key", "sk-typed\r")
    await init.answer("Where do people write first?", "\r")
    assert.strictEqual(await init.ended, 0, init.screen())
    assert.notInclude(init.screen(), "sk-typed")
    const file = join(folder, "opencraw.toml")
    assert.include(readFileSync(file, "utf8"), 'model = "openai/gpt-5"')
    assert.include(readFileSync(file, "utf8"), 'api_key = "sk-typed"')
    assert.strictEqual(statSync(file).mode & 0o777, 0o600)
  })

  it("config init writes nothing when it is left by Ctrl-C", { timeout: 60_000 }, async () => {
    const folder = newFolder()
    const init = onTerminal(["config", "init"], folder)
    await init.answer("Which model provider?", "\u0003")
    assert.strictEqual(await init.ended, 2, init.screen())
    assert.include(init.screen(), "Nothing was written")
  })
})
