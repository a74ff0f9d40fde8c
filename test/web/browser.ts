/**
 * A real browser for tests of the page, and the page built for them.
 *
 * Owns: finding Chromium, and what a test does without it: skip, but fail where CI promises one.
 */
import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { type Browser, chromium } from "playwright-core"
import { build } from "vite"
import { afterAll, beforeAll } from "vitest"

const executablePath = process.env["OPENCRAW_TEST_CHROMIUM"] ?? "/usr/bin/chromium"

/** True when the browser's tests must be skipped: no Chromium, on a machine that promised none. */
export const withoutBrowser = process.env["CI"] !== "true" && !fs.existsSync(executablePath)

/** How to name a block of tests that need the browser. */
export const named = (name: string) =>
  withoutBrowser ? `${name} (skipped: no Chromium at ${executablePath})` : name

const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

/** The texts of the conversation, without what is still being written. */
export const said = ".log article.line:not(.writing) > :is(.text, .md)"

const root = path.resolve(import.meta.dirname, "../..")

/** A browser and the built page for all tests of a file. Read the values inside of tests only. */
export const useBrowser = () => {
  const temp = fs.mkdtempSync(path.join(os.tmpdir(), "opencraw-page-"))
  const held: { browser: Browser | undefined } = { browser: undefined }
  beforeAll(async () => {
    if (withoutBrowser) return
    const configFile = path.join(root, "src/web/vite.config.ts")
    await build({ configFile, logLevel: "warn", build: { outDir: path.join(temp, "web") } })
    held.browser = await chromium.launch({ executablePath, args: flags })
  }, 120_000)
  afterAll(async () => {
    await held.browser?.close()
    fs.rmSync(temp, { recursive: true, force: true })
  })
  return {
    web: path.join(temp, "web"),
    temp,
    /** A fresh profile: no cookie, no storage. */
    newContext: (options?: Parameters<Browser["newContext"]>[0]) => {
      if (held.browser === undefined) throw new Error("the browser did not start")
      return held.browser.newContext(options)
    }
  }
}
