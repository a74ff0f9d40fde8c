/** The first model of a new user: the real program without a file, set up over its API, started again. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, it } from "vitest"
import { newFolder, startProvider, token } from "./gatewayProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

/** As `npm start` runs it in `folder`, by somebody who has configured nothing. */
const start = async (folder: string) => {
  const child: ChildProcess = spawn(process.execPath, [join(root, "layers/main.ts"), "serve"], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"],
      HOME: folder,
      OPENCRAW_DATA_DIR: join(folder, "data"),
      OPENCRAW_PORT: "0",
      OPENCRAW_GATEWAY_TOKEN: token
    },
    stdio: ["ignore", "pipe", "pipe"]
  })
  cleanups.push(() => child.kill("SIGKILL"))
  let said = ""
  const url = await new Promise<string>((resolve, reject) => {
    const read = (part: Buffer) => {
      said += part.toString()
      const line = said.split("\n").find((each) => each.startsWith('{"event":"gateway.ready"'))
      if (line?.endsWith("}") === true) resolve((JSON.parse(line) as { readonly url: string }).url)
    }
    child.stdout?.on("data", read)
    child.stderr?.on("data", read)
    child.on("exit", () => reject(new Error(said)))
  })
  const ask = async (path: string, body?: object) => {
    const response = await fetch(url + path, {
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body !== undefined && { method: "POST", body: JSON.stringify(body) })
    })
    const text = await response.text()
    return { status: response.status, text, json: JSON.parse(text) }
  }
  const say = async (content: string): Promise<string> =>
    (await ask("/v1/chat/completions", { model: "opencraw", messages: [{ role: "user", content }] })).json
      .choices[0].message.content
  const stop = async () => {
    child.kill("SIGTERM")
    await once(child, "exit")
  }
  return { ask, say, stop, said: () => said }
}

it(
  "answers with the demo, is set up, and answers with the model after a restart",
  { timeout: 60_000 },
  async () => {
    const folder = newFolder()
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }))
    const provider = await startProvider(() => ({ pieces: ["from the ", "real one"] }))
    cleanups.push(provider.stop)
    const key = "sk-known-to-the-file-only"

    const first = await start(folder)
    const answers = { model: "mine/some/model", base_url: provider.url, api_key: key }
    const done = await first.ask("/api/v1/os/setup", answers)
    const again = await first.ask("/api/v1/os/setup", answers)
    assert.deepStrictEqual([done.status, again.status], [201, 409], done.text)
    assert.include(await first.say("hello"), "You wrote: hello")
    assert.lengthOf(provider.requests, 0)
    await first.stop()
    const file = join(folder, "opencraw.toml")
    assert.strictEqual(statSync(file).mode & 0o777, 0o600)
    assert.include(readFileSync(file, "utf8"), key)
    assert.isFalse(existsSync(join(folder, "data", "config.toml")))

    const second = await start(folder)
    assert.strictEqual(await second.say("hello"), "from the real one")
    assert.deepInclude((await second.ask("/auth/me")).json, { model: "mine/some/model", demo: false })
    assert.strictEqual((await second.ask("/api/v1/os/setup", answers)).status, 409)
    const show = await second.ask("/api/v1/os/checks?offline=1")
    await second.stop()
    for (const text of [done.text, again.text, show.text, first.said(), second.said()]) {
      assert.notInclude(text, key)
    }
  }
)
