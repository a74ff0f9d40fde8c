/** What people at one node see of sessions at another: two real gateways, one PostgreSQL, a real browser; provider: our own fake. */
import { execFile, spawn } from "node:child_process"
import path from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { sharedUrl } from "../postgres/fresh.ts"
import { named as onPostgres, newSchema, withoutPostgres } from "../postgres/server.ts"
import { type Gateway, startGateway, startProvider, until } from "../scenarios/gatewayProcess.ts"
import { nodeConfig, untilShared } from "../scenarios/nodes.ts"
import { named, useBrowser, withoutBrowser } from "./browser.ts"

const root = path.resolve(import.meta.dirname, "../..")
const main = path.join(root, "layers/main.ts")
const run = promisify(execFile)

/** Half of them, about, have their lanes on the other node. */
const sessions = 8
const nameOf = (at: number) => `watched-${at}`

describe.skipIf(withoutBrowser || withoutPostgres)(
  named(onPostgres("sessions at another node")),
  { timeout: 60_000 },
  () => {
    const browser = useBrowser()
    const cleanups: Array<() => void> = []
    let first: Gateway
    let second: Gateway
    /** Where messages enter, and where people look. */
    let entry: string
    let config: string

    beforeAll(async () => {
      const script = `import("./scripts/page.mjs").then((page) => page.preparePage(process.execPath))`
      await run(process.execPath, ["--eval", script], { cwd: root })
      const { url, stop } = await startProvider(() => ({ pieces: ["a", "b"], pauseMillis: 50_000 }))
      cleanups.push(stop)
      const database = { url: await sharedUrl(), schema: newSchema() }
      entry = nodeConfig(url, database, "one")
      first = await startGateway(entry)
      config = nodeConfig(url, database, "two")
      second = await startGateway(config)
      cleanups.push(
        ...[first, second].map(
          ({ child }) =>
            () =>
              void child.kill("SIGKILL")
        )
      )
      await untilShared([first, second])
    }, 120_000)
    afterAll(() => {
      for (const cleanup of cleanups) cleanup()
    })

    const send = (at: number) =>
      run(process.execPath, [main, "send", "--config", entry, "--session", nameOf(at), "--no-wait", "hello"])

    it("are in the page's list and in the terminal's, and can be stopped from there", async () => {
      const page = await (await browser.newContext({ viewport: { width: 1280, height: 720 } })).newPage()
      const complaints: Array<string> = []
      page.on("pageerror", (error) => complaints.push(String(error)))
      const { stdout } = await run(process.execPath, [main, "open", "--config", config])
      await page.goto(stdout.trim())
      await page.getByText("Connected").waitFor()
      await page.getByRole("link", { name: "Activity" }).click()
      await page.getByText("No session is at work.").waitFor()

      const watching = spawn(process.execPath, [main, "lanes", "--watch", "--config", config], { cwd: root })
      cleanups.push(() => void watching.kill("SIGKILL"))
      let shown = ""
      watching.stdout.on("data", (part: Buffer) => (shown += part.toString()))

      for (let at = 0; at < sessions; at++) await send(at)
      const row = (at: number) => page.getByRole("row").filter({ hasText: nameOf(at) })
      for (let at = 0; at < sessions; at++) await row(at).getByText("Running").waitFor()
      const others = page.getByRole("row").filter({ hasText: "on another node" })
      const there = await others.count()
      assert.isAbove(there, 0)
      assert.isBelow(there, sessions)
      await until("the terminal has both", () =>
        Promise.resolve(/another node/.test(shown) && shown.includes(nameOf(0)))
      )

      for (let at = 0; at < sessions; at++)
        await page.getByRole("button", { name: `Stop ${nameOf(at)}` }).click()
      await page.getByText("No session is at work.").waitFor()
      assert.deepStrictEqual(complaints, [])
    })
  }
)
