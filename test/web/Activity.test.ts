/** The view of what the gateway is doing: the real program, a provider of our own, a real browser. */
import { execFile } from "node:child_process"
import path from "node:path"
import { promisify } from "node:util"
import type { Page } from "playwright-core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { configure, type Gateway, startGateway, startProvider } from "../scenarios/gatewayProcess.ts"
import { named, useBrowser, withoutBrowser } from "./browser.ts"

const root = path.resolve(import.meta.dirname, "../..")
const main = path.join(root, "layers/main.ts")
const run = promisify(execFile)

describe.skipIf(withoutBrowser)(named("the activity view"), { timeout: 60_000 }, () => {
  const browser = useBrowser()
  let page: Page
  let config: string
  let gateway: Gateway
  let stopProvider: () => void
  let complaints: Array<string>

  beforeEach(async () => {
    const script = `import("./scripts/page.mjs").then((page) => page.preparePage(process.execPath))`
    await run(process.execPath, ["--eval", script], { cwd: root })
    const provider = await startProvider(({ messages }) =>
      messages.at(-1)?.content === "slow" ? { pieces: ["a", "b"], pauseMillis: 50_000 } : { pieces: ["ok"] }
    )
    stopProvider = provider.stop
    config = configure(provider.url).config
    gateway = await startGateway(config)
    complaints = []
    page = await (await browser.newContext({ viewport: { width: 1280, height: 720 } })).newPage()
    page.on("pageerror", (error) => complaints.push(String(error)))
    const { stdout } = await run(process.execPath, [main, "open", "--config", config])
    await page.goto(stdout.trim())
    await page.getByText("Connected").waitFor()
  })
  afterEach(async () => {
    await page.context().close()
    gateway.child.kill("SIGKILL")
    stopProvider()
    assert.deepStrictEqual(complaints, [])
  })

  const send = (session: string, text: string) =>
    run(process.execPath, [main, "send", "--config", config, "--session", session, "--no-wait", text])
  const button = (name: string) => page.getByRole("button", { name, exact: true })
  const row = (name: string) => page.getByRole("row").filter({ hasText: name })

  it("shows lanes live, and stops, aborts, pauses and resumes them", async () => {
    await page.getByRole("link", { name: "Activity" }).click()
    assert.match(page.url(), /\?view=activity$/)
    await page.getByText("No session is at work.").waitFor()
    await send("busy", "slow")
    await row("busy").getByText("Running").waitFor()

    await button("Pause busy").click()
    await row("busy").getByText("(paused)").waitFor()
    await send("busy", "quick")
    await button("Abort busy").click()
    await row("busy").getByText("Idle").or(row("busy").getByText("Waits")).first().waitFor()
    await button("Resume busy").click()
    await page.getByText("No session is at work.").waitFor()

    await button("Pause all").click()
    await page.getByText("Everything is paused").waitFor()
    await send("held", "quick")
    await row("held").waitFor()
    await button("Stop held").click()
    await row("held").waitFor({ state: "detached" })
    await button("Resume all").click()
    await page.getByText("No session is at work.").waitFor()
  })

  it("is there again when the gateway is", async () => {
    await page.getByRole("link", { name: "Activity" }).click()
    await page.getByText("No session is at work.").waitFor()
    gateway.child.kill("SIGKILL")
    await gateway.exited
    await page.getByText("Asking the gateway").waitFor()
    gateway = await startGateway(config, { OPENCRAW_PORT: new URL(gateway.url).port })
    await page.getByText("No session is at work.").waitFor()
    await send("busy", "slow")
    await row("busy").getByText("Running").waitFor()
  })

  it("is a table with names on a wide screen and fits a narrow one, and leads to a conversation", async () => {
    await send("busy", "slow")
    await send("other", "slow")
    await page.goto(`${gateway.url}/?view=activity`)
    await row("busy").getByText("Running").waitFor()
    const shots = process.env["OPENCRAW_TEST_SCREENSHOTS"]
    const names = ["Session", "State", "Waiting", "Oldest", "Runs for", "Step", "What to do"]
    assert.deepStrictEqual(await page.getByRole("columnheader").allTextContents(), names)
    for (const [colorScheme, width] of [
      ["light", 1280],
      ["dark", 1280],
      ["light", 380],
      ["dark", 380]
    ] as const) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width, height: 720 })
      const over = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth")
      assert.isAtMost(over, 0)
      for (const name of ["Stop busy", "Abort busy", "Pause busy", "Pause all"]) {
        const box = await button(name).boundingBox()
        assert.isTrue(box !== null && box.x >= 0 && box.x + box.width <= width, `${name} at ${width}`)
      }
      if (shots !== undefined)
        await page.screenshot({ path: path.join(shots, `${colorScheme}-${width}.png`) })
    }
    await page.getByRole("link", { name: "busy" }).click()
    await page.locator(".line.user").getByText("slow").waitFor()
    assert.match(page.url(), /\?session=busy$/)
  })
})
