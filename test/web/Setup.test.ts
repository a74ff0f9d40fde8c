/** A new user sets a model up on the page: the real program, started without any file. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import fs from "node:fs"
import path from "node:path"
import { promisify } from "node:util"
import type { Page } from "playwright-core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { startProvider } from "../scenarios/gatewayProcess.ts"
import { named, useBrowser, withoutBrowser } from "./browser.ts"

const root = path.resolve(import.meta.dirname, "../..")
const main = path.join(root, "layers/main.ts")
const key = "sk-typed-on-the-page"

describe.skipIf(withoutBrowser)(named("the first model"), { timeout: 60_000 }, () => {
  const browser = useBrowser()
  let folder: string
  let page: Page
  let child: ChildProcess
  let said: string

  const environment = (port: string) => ({
    PATH: process.env["PATH"],
    HOME: folder,
    OPENCRAW_DATA_DIR: path.join(folder, "data"),
    OPENCRAW_PORT: port
  })
  const start = async (port = "0"): Promise<string> => {
    child = spawn(process.execPath, [main, "serve"], {
      cwd: folder,
      env: environment(port),
      stdio: ["ignore", "pipe", "pipe"]
    })
    return new Promise((resolve, reject) => {
      const read = (part: Buffer) => {
        said += part.toString()
        const ready = said.split("\n").findLast((line) => line.startsWith('{"event":"gateway.ready"'))
        if (ready?.includes(`"pid":${child.pid}}`) === true) {
          resolve((JSON.parse(ready) as { readonly url: string }).url)
        }
      }
      child.stdout?.on("data", read)
      child.stderr?.on("data", read)
      child.on("exit", () => reject(new Error(said)))
    })
  }
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGTERM")
    await once(child, "exit")
  }

  beforeEach(async () => {
    folder = fs.mkdtempSync(path.join(browser.temp, "new-user-"))
    said = ""
    const script = `import("./scripts/page.mjs").then((page) => page.preparePage(process.execPath))`
    await promisify(execFile)(process.execPath, ["--eval", script], { cwd: root })
    page = await (await browser.newContext()).newPage()
  })
  afterEach(async () => {
    await page.context().close()
    await stop()
  })

  const open = async () => {
    const asked = await promisify(execFile)(process.execPath, [main, "open"], {
      cwd: folder,
      env: environment("0")
    })
    await page.goto(/http:\S+#code=\S+/.exec(asked.stdout)?.[0] ?? "")
    await page.getByText("Connected").waitFor()
  }
  const write = async (text: string) => {
    await page.getByLabel("Message").fill(text)
    await page.getByLabel("Message").press("Enter")
  }
  const answer = (text: string) => page.locator(".line.assistant:not(.writing)").getByText(text)
  const dialog = () => page.getByRole("dialog")
  const save = () => dialog().getByRole("button", { name: "Write the configuration" }).click()

  it("is asked for, checked, written once, and answers after a restart", async () => {
    const provider = await startProvider(() => ({ pieces: ["from the ", "real one"] }))
    // The body is read before the test goes on: the browser forgets it when the page is loaded again.
    const bodies: Array<string> = []
    const saved = async () => {
      const answered = page.waitForResponse((response) => response.url().includes("/setup"))
      await save()
      bodies.push(await (await answered).text())
    }
    const url = await start()
    await open()
    await page.getByRole("button", { name: "Set up a model" }).click()
    await dialog().getByLabel("Model").fill("gpt-5")
    await saved()
    await dialog().getByRole("alert").getByText("OPENAI_API_KEY").waitFor()
    assert.isFalse(fs.existsSync(path.join(folder, "opencraw.toml")))

    await dialog().getByLabel("Provider").selectOption("google")
    await dialog().getByPlaceholder("Empty: from GEMINI_API_KEY where the gateway runs").waitFor()
    await dialog().getByLabel("Provider").selectOption("other")
    await dialog().getByLabel("A short name").fill("mine")
    await dialog().getByLabel("Its address").fill(provider.url)
    await dialog().getByLabel("Model", { exact: true }).fill("some/model")
    await dialog().getByLabel("Key").fill(key)
    await saved()
    await page.getByRole("status").getByText("Restart the gateway").waitFor()
    assert.strictEqual(await dialog().count(), 0)
    assert.strictEqual(fs.statSync(path.join(folder, "opencraw.toml")).mode & 0o777, 0o600)
    await page.reload()
    await page.getByRole("status").getByText("Restart the gateway").waitFor()
    assert.strictEqual(await page.getByRole("button", { name: "Set up a model" }).count(), 0)
    await write("hello")
    await answer("You wrote: hello").waitFor()

    await stop()
    await page.getByText("Offline, trying again").waitFor()
    await start(new URL(url).port)
    // The page that stayed open sees the model too.
    await page.locator(".model").getByText("mine/some/model").waitFor()
    assert.strictEqual(await page.getByLabel("Demo model").count(), 0)
    await write("and now?")
    await answer("from the real one").waitFor()
    const stored = await page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
    for (const text of [...bodies, said, String(stored), await page.content()]) assert.notInclude(text, key)
    provider.stop()
  })
})
