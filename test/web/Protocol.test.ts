import type { Page } from "playwright-core"
import { afterEach, assert, beforeEach, describe, it, vi } from "vitest"
import { named, useBrowser, withoutBrowser } from "./browser.ts"
import { type FakeGateway, startFakeGateway } from "./fakeGateway.ts"

describe.skipIf(withoutBrowser)(named("the page, when things go wrong"), { timeout: 30_000 }, () => {
  const browser = useBrowser()
  let gateway: FakeGateway
  let page: Page
  let complaints: Array<string>

  beforeEach(async () => {
    gateway = await startFakeGateway(browser.web)
    const context = await browser.newContext()
    page = await context.newPage()
    complaints = []
    page.on("pageerror", (error) => complaints.push(String(error)))
    page.on("console", (line) => {
      // The browser itself reports each failed request; only the page's own troubles and the policy's count.
      if (line.type() === "error" && !/Failed to load resource|WebSocket connection/.test(line.text()))
        complaints.push(line.text())
    })
  })
  afterEach(async () => {
    await page.context().close()
    await gateway.close()
    assert.deepStrictEqual(complaints, [])
  })

  const open = async () => {
    await page.goto(`${gateway.url}/#code=good`)
    await page.getByText("Connected").waitFor()
  }
  const write = async (text: string) => {
    await page.getByLabel("Message").fill(text)
    await page.getByLabel("Message").press("Enter")
  }
  const lines = () => page.locator(".log article.line:not(.writing) > p").allTextContents()
  const sent = () => gateway.received.filter((frame) => frame.type === "message")

  it("without a cookie says how to get in, and asks nothing else", async () => {
    await page.goto(gateway.url)
    await page.getByText("npm run opencraw -- open").waitFor()
    assert.strictEqual(await page.getByLabel("Message").count(), 0)
  })

  it("takes the code out of the address bar, and says so when it is no longer valid", async () => {
    await page.goto(`${gateway.url}/#code=bad`)
    await page.getByRole("alert").getByText("used before").waitFor()
    assert.strictEqual(page.url(), `${gateway.url}/`)
  })

  it("takes a new link pasted into its own address bar", async () => {
    await page.goto(`${gateway.url}/#code=bad`)
    await page.getByRole("alert").waitFor()
    await open()
  })

  it("shows the demo model and the line to set", async () => {
    await open()
    await page.getByLabel("Demo model").getByText("general.model").waitFor()
  })

  it("sends a message that was never acknowledged again, with the same id, and shows it once", async () => {
    await open()
    await write("are you there?")
    await page.getByText("Sending …").waitFor()
    gateway.onFrame = (frame, send) => {
      if (frame.type === "message") send({ type: "ack", id: frame.id, message_id: "msg_1", seq: 1 })
    }
    gateway.cut()
    await page.locator(".line.accepted").waitFor()
    assert.lengthOf(sent(), 2)
    assert.strictEqual(sent()[0]?.id, sent()[1]?.id)
    assert.deepStrictEqual(await lines(), ["are you there?"])
  })

  it("keeps a message that was never acknowledged over a reload", async () => {
    await open()
    await write("do not lose me")
    await page.getByText("Sending …").waitFor()
    gateway.onFrame = (frame, send) => {
      if (frame.type === "message") send({ type: "ack", id: frame.id, message_id: "msg_1", seq: 1 })
    }
    await page.reload()
    await page.locator(".line.accepted").getByText("do not lose me").waitFor()
    assert.strictEqual(sent()[0]?.id, sent()[1]?.id)
  })

  it("says why a message was refused and sends it again on request", async () => {
    gateway.onFrame = (frame, send) =>
      send({ type: "refused", id: frame.id, code: "lane_full", message: "20 messages are waiting" })
    await open()
    await write("one more")
    await page.getByText("Not accepted: 20 messages are waiting").waitFor()
    gateway.onFrame = (frame, send) => send({ type: "ack", id: frame.id, message_id: "msg_1", seq: 1 })
    await page.getByRole("button", { name: "Try again" }).click()
    await page.locator(".line.accepted").waitFor()
    assert.strictEqual(sent()[0]?.id, sent()[1]?.id)
  })

  it("shows markup in an answer as text, and confirms the answer each time it comes", async () => {
    await open()
    const text = `<img src=x onerror="alert(1)"> <b>bold</b>`
    const answer = { type: "message", id: "e2", seq: 2, reply_to: "x", answers: ["x"], content: text }
    gateway.sendAll(answer)
    gateway.sendAll(answer)
    await page.getByText(text).waitFor()
    assert.deepStrictEqual(await lines(), [text])
    assert.strictEqual(await page.locator("img, b").count(), 0)
    const confirmed = () =>
      gateway.received.filter((frame) => frame.type === "received").map((frame) => frame.id)
    await vi.waitFor(() => assert.deepStrictEqual(confirmed(), ["e2", "e2"]))
  })

  it("shows a tool at work, an attempt's text replaced by the next attempt's, and stops on request", async () => {
    await open()
    gateway.sendAll({ type: "run", run_id: "r1", attempt: 1, state: "started" })
    gateway.sendAll({
      type: "tool",
      run_id: "r1",
      call_id: "c",
      name: "time.now",
      phase: "started",
      summary: "UTC"
    })
    await page.getByText("time.now: UTC").waitFor()
    gateway.sendAll({ type: "delta", run_id: "r1", attempt: 1, offset: 0, content: "first try" })
    await page.getByText("first try").waitFor()
    gateway.sendAll({ type: "delta", run_id: "r1", attempt: 2, offset: 0, content: "second try" })
    await page.getByText("second try").waitFor()
    assert.strictEqual(await page.getByText("first try").count(), 0)
    gateway.onFrame = (frame, send) => {
      if (frame.type === "stop") send({ type: "run", run_id: "r1", attempt: 2, state: "ended" })
    }
    await page.getByRole("button", { name: "Stop" }).click()
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" })
    assert.isTrue(gateway.received.some((frame) => frame.type === "stop"))
  })
})
