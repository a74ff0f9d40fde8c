import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import fs from "node:fs"
import path from "node:path"
import { promisify } from "node:util"
import type { Page } from "playwright-core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { named, useBrowser, withoutBrowser } from "./browser.ts"

const root = path.resolve(import.meta.dirname, "../..")

interface Running {
  readonly url: string
  /** The gateway itself, not the command that started it. */
  readonly pid: number
  readonly ended: Promise<unknown>
}

describe.skipIf(withoutBrowser)(named("the page and the gateway"), { timeout: 60_000 }, () => {
  const browser = useBrowser()
  let dataDir: string
  let page: Page
  let children: Array<ChildProcess>
  let complaints: Array<string>

  const environment = (port: string) => ({
    ...process.env,
    OPENCRAW_DATA_DIR: dataDir,
    OPENCRAW_PORT: port,
    OPENCRAW_CONFIG: path.join(dataDir, "config.toml"),
    OPENCRAW_MODEL: "demo/demo",
    OPENCRAW_GATEWAY_TOKEN: ""
  })

  /** What `npm start` does, up to the line that says it is ready. */
  const start = async (port = "0"): Promise<Running> => {
    const child = spawn(process.execPath, ["scripts/run.mjs", "start"], {
      cwd: root,
      env: environment(port),
      stdio: ["ignore", "pipe", "pipe"]
    })
    children.push(child)
    const ended = once(child, "close")
    let out = ""
    let err = ""
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()))
    return new Promise((resolve, reject) => {
      child.stdout.on("data", (chunk: Buffer) => {
        out += chunk.toString()
        const line = out.split("\n").find((each) => each.startsWith(`{"event":"gateway.ready"`))
        if (line?.endsWith("}") === true) {
          const { url, pid } = JSON.parse(line) as { url: string; pid: number }
          resolve({ url, pid, ended })
        }
      })
      child.on("exit", (code) => reject(new Error(`the gateway ended with ${code}:\n${err}`)))
    })
  }

  /** The link that `npm run opencraw -- open` prints. */
  const link = async (): Promise<string> => {
    const args = ["scripts/run.mjs", "opencraw", "open"]
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env: environment("0") })
    const found = /http:\S+#code=\S+/.exec(stdout)?.[0]
    assert.isDefined(found, stdout)
    return found ?? ""
  }

  beforeEach(async () => {
    dataDir = fs.mkdtempSync(path.join(browser.temp, "data-"))
    fs.writeFileSync(path.join(dataDir, "config.toml"), "")
    children = []
    complaints = []
    const context = await browser.newContext()
    page = await context.newPage()
    page.on("pageerror", (error) => complaints.push(String(error)))
    page.on("console", (line) => {
      if (/Content.Security.Policy/i.test(line.text())) complaints.push(line.text())
    })
  })
  afterEach(async () => {
    await page.context().close()
    for (const child of children) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM")
        await once(child, "close")
      }
    }
    assert.deepStrictEqual(complaints, [])
  })

  const open = async () => {
    await page.goto(await link())
    await page.getByText("Connected").waitFor()
  }
  const write = async (text: string) => {
    await page.getByLabel("Message").fill(text)
    await page.getByLabel("Message").press("Enter")
  }
  const lines = () => page.locator(".log article.line:not(.writing) > p").allTextContents()
  const answer = (text: string) => page.locator(".line.assistant:not(.writing)").getByText(text)

  it("opens with the one-time link, streams an answer, and keeps the conversation over a reload", async () => {
    const deltas: Array<string> = []
    page.on("websocket", (socket) =>
      socket.on("framereceived", ({ payload }) => {
        if (payload.includes(`"type":"delta"`)) deltas.push(payload.toString())
      })
    )
    const gateway = await start()
    await page.goto(gateway.url)
    await page.getByText("npm run opencraw -- open").waitFor()
    await open()
    assert.strictEqual(page.url(), `${gateway.url}/`)
    await page.getByLabel("Demo model").getByText("general.model").waitFor()

    await write("Hello gateway")
    await answer("You wrote: Hello gateway").waitFor()
    assert.isAtLeast(deltas.length, 2)
    await write("What time is it?")
    await answer("time.now").waitFor()
    const before = await lines()
    assert.lengthOf(before, 4)

    await page.reload()
    await answer("time.now").waitFor()
    assert.deepStrictEqual(await lines(), before)
  })

  it("shows what another tab of the same session wrote, and its answer, once", async () => {
    await start()
    await open()
    const other = await page.context().newPage()
    await other.goto(page.url())
    await other.getByText("Connected").waitFor()
    await write("from the first tab")
    await answer("You wrote: from the first tab").waitFor()
    await other.locator(".line.assistant:not(.writing)").waitFor()
    assert.deepStrictEqual(
      await other.locator(".log article.line:not(.writing) > p").allTextContents(),
      await lines()
    )
  })

  it("loses and doubles nothing when the gateway is killed and started again", async () => {
    const gateway = await start()
    await open()
    await write("before the crash")
    await answer("You wrote: before the crash").waitFor()
    process.kill(gateway.pid, "SIGKILL")
    await gateway.ended
    await page.getByText("Offline, trying again").waitFor()
    await write("while it was down")
    await page.getByText("Not sent yet").waitFor()

    await start(new URL(gateway.url).port)
    await answer("You wrote: while it was down").waitFor()
    const said = await lines()
    assert.deepStrictEqual(
      said.filter((line) => !line.includes("demo model")),
      ["before the crash", "while it was down"]
    )
    assert.lengthOf(said, 4)
    await page.reload()
    await answer("You wrote: while it was down").waitFor()
    assert.deepStrictEqual(await lines(), said)
  })
})
