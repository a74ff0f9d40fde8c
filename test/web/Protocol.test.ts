import type { Page } from "playwright-core"
import { afterEach, assert, beforeEach, describe, it, vi } from "vitest"
import { named, said, useBrowser, withoutBrowser } from "./browser.ts"
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
    page.setDefaultTimeout(10_000)
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
  const lines = () => page.locator(said).allTextContents()
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
    await page.locator(".log").getByText(text).waitFor()
    assert.deepStrictEqual(await lines(), [text])
    assert.strictEqual(await page.locator("img, b").count(), 0)
    const confirmed = () =>
      gateway.received.filter((frame) => frame.type === "received").map((frame) => frame.id)
    await vi.waitFor(() => assert.deepStrictEqual(confirmed(), ["e2", "e2"]))
  })

  it("offers a fork behind an answer only, and says why there is none", async () => {
    await open()
    gateway.sendAll({ type: "message", id: "n1", seq: 1, reply_to: "", answers: [], content: "a note" })
    gateway.sendAll({
      type: "message",
      id: "e2",
      seq: 2,
      reply_to: "x",
      answers: ["x"],
      content: "an answer"
    })
    await page.locator(".log").getByText("an answer").waitFor()
    await page.getByRole("button", { name: "Fork from here" }).click()
    await page.getByRole("alert").getByText("That did not work: the gateway answered 404").waitFor()
    assert.include(gateway.asked, "POST /api/v1/os/sessions/main/fork")
    assert.strictEqual(new URL(page.url()).search, "")
  })

  it("draws markdown, loads nothing from elsewhere, and marks links that lead away", async () => {
    const asked: Array<string> = []
    page.on("request", (request) => asked.push(request.url()))
    await page.addInitScript({ content: "window.alert = () => document.body.remove()" })
    await open()
    const content = [
      "## Title",
      "**bold** and `code`",
      "![cat](https://pictures.test/cat.png) ![x](//pictures.test/y.png)",
      "[good](https://elsewhere.test/a) [bad](javascript:alert(1)) [worse](JaVa&#10;script:alert(1))",
      "<script>alert(1)</script><img src=https://pictures.test/z.png onerror=alert(1)><svg onload=alert(1)>",
      "<style>body{display:none}</style> <iframe src=https://elsewhere.test></iframe>",
      "```html",
      "<img src=x onerror=alert(1)>",
      "```"
    ].join("\n\n")
    gateway.sendAll({ type: "delta", run_id: "r1", attempt: 1, offset: 0, content })
    await page.getByTestId("draft").locator("h4").getByText("Title").waitFor()
    gateway.sendAll({ type: "message", id: "e2", seq: 2, answers: [], content })
    const answer = page.locator(".line.assistant:not(.writing)")
    await answer.getByRole("heading", { name: "Title" }).waitFor()

    assert.strictEqual(
      await answer.locator("img, script, svg, style, iframe, [onerror], [onload]").count(),
      0
    )
    const links = await answer
      .locator("a")
      .evaluateAll((found) =>
        found.map((link) => [
          link.getAttribute("href"),
          link.getAttribute("rel"),
          link.getAttribute("target")
        ])
      )
    const safe = ["noopener noreferrer", "_blank"]
    assert.deepStrictEqual(links, [
      ["https://pictures.test/cat.png", ...safe],
      ["https://elsewhere.test/a", ...safe],
      // Within what is no markup here, an address is still an address.
      ["https://pictures.test/z.png", ...safe],
      ["https://elsewhere.test/", ...safe]
    ])
    assert.include(await answer.textContent(), "[bad](javascript:alert(1))")
    const mark = await page.evaluate("getComputedStyle(document.querySelector('.md a'), '::after').content")
    assert.include(String(mark), "↗")
    assert.deepStrictEqual(
      asked.filter((url) => !url.startsWith(gateway.url)),
      []
    )
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"])
    await answer.getByRole("button", { name: "Copy" }).click()
    await answer.getByRole("button", { name: "Copied" }).waitFor()
    assert.strictEqual(
      await page.evaluate("navigator.clipboard.readText()"),
      "\n<img src=x onerror=alert(1)>\n"
    )
  })

  it("comes into a run that goes on and has its text from the beginning, as the server tells it", async () => {
    await open()
    gateway.sendAll({ type: "run", run_id: "r1", attempt: 1, state: "started" })
    gateway.sendAll({ type: "delta", run_id: "r1", attempt: 1, offset: 0, content: "Once upon" })
    await page.getByTestId("draft").getByText("Once upon").waitFor()
    gateway.onConnect = (send) => {
      send({ type: "run", run_id: "r1", attempt: 1, state: "started" })
      send({ type: "typing", on: true })
      send({ type: "delta", run_id: "r1", attempt: 1, offset: 0, content: "Once upon a time" })
      // What was held back meanwhile repeats a part of it.
      send({ type: "delta", run_id: "r1", attempt: 1, offset: 9, content: " a time" })
      send({ type: "delta", run_id: "r1", attempt: 1, offset: 16, content: " there was" })
    }
    gateway.cut()
    await page.getByTestId("draft").getByText("Once upon a time there was").waitFor()
    assert.notInclude(await page.getByTestId("draft").textContent(), "…")
  })

  it("says which messages wait, and takes one of them back", async () => {
    let seq = 0
    gateway.onFrame = (frame, send) => {
      if (frame.type === "message") send({ type: "ack", id: frame.id, message_id: `msg_${++seq}`, seq })
      if (frame.type === "cancel") send({ type: "outcome", id: frame.id, outcome: "cancelled", by: "owner" })
    }
    await open()
    await write("first")
    gateway.sendAll({ type: "run", run_id: "r1", attempt: 1, state: "started" })
    await page.getByRole("button", { name: "Stop" }).waitFor()
    await write("second")
    const second = page.locator(".line.user", { hasText: "second" })
    await second.getByText("Queued").waitFor()
    assert.strictEqual(await page.getByText("Queued").count(), 1)
    await second.getByRole("button", { name: "Take back" }).click()
    await second.getByText("Cancelled: by owner").waitFor()
    assert.deepStrictEqual(
      gateway.received.filter((frame) => frame.type === "cancel").map((frame) => frame.id),
      [sent()[1]?.id]
    )
    await second.getByRole("button", { name: "Send again" }).click()
    await page.locator(".line.queued", { hasText: "second" }).waitFor()
    assert.notStrictEqual(sent()[2]?.id, sent()[1]?.id)
  })

  it("tells where a message is: what happened to it, after how long, for how many tokens", async () => {
    gateway.rows = [
      { id: "msg_1", seq: 1, role: "user", content: "why?", client_id: "c1", created_at: 1 },
      { id: "e2", seq: 2, role: "assistant", content: "because", answers: ["c1"], created_at: 2 }
    ]
    gateway.seq = 2
    gateway.answers.set("/api/v1/os/messages/msg_1", {
      id: "msg_1",
      state: "ended",
      outcome: "answered",
      attempts: 2,
      timeline: [
        { step: "accepted", ms: 0 },
        { step: "run_started", ms: 3 },
        { step: "tool", ms: 240, name: "fs.read", status: "failed" },
        { step: "model", ms: 1260, status: "ok", tokens: { input: 120, output: 8, estimated: true } },
        { step: "sent", ms: 1261, name: "webchat", status: "sent" }
      ]
    })
    await open()
    await page.getByText("why?").hover()
    await page.getByRole("button", { name: "Details" }).click()
    const timeline = page.locator(".timeline")
    await timeline.getByText("Answered, attempt 2").waitFor()
    assert.deepStrictEqual(await timeline.locator("tbody tr").allInnerTexts(), [
      "0 ms\tAccepted and stored\t",
      "3 ms\tRun began\t",
      "240 ms\tTool fs.read: failed\t",
      "1.3 s\tModel answered\tabout 120 in, 8 out",
      "1.3 s\tDelivered to webchat\t"
    ])
  })

  it("begins anew when its session was deleted elsewhere while it was away", async () => {
    gateway.rows = [
      { id: "msg_1", seq: 1, role: "user", content: "old question", client_id: "c1" },
      { id: "e2", seq: 2, role: "assistant", content: "old answer", answers: ["c1"] }
    ]
    gateway.seq = 2
    await open()
    await page.getByText("old answer").waitFor()
    gateway.rows = []
    gateway.seq = 0
    gateway.cut()
    await page.getByText("Say something").waitFor()
    assert.deepStrictEqual(await lines(), [])
  })

  it("reads 500 messages from the end, more as one goes up, and stays where one reads", async () => {
    const all = Array.from({ length: 500 }, (_, n) => ({
      id: `e${n + 1}`,
      seq: n + 1,
      role: n % 2 === 0 ? "user" : "assistant",
      content:
        n % 2 === 0 ? `question ${n + 1}` : `**answer** ${n + 1}\n\n- one\n- two\n\n\`\`\`\ncode\n\`\`\``,
      ...(n % 2 === 0 ? { client_id: `c${n + 1}` } : { answers: [`c${n}`] })
    }))
    gateway.page = (query) => {
      const before = Number(query.get("before"))
      const rows = all.filter((row) => row.seq < before).slice(-Number(query.get("limit")))
      return { messages: rows, ...((rows[0]?.seq ?? 1) > 1 && { previous: rows[0]?.seq }) }
    }
    gateway.seq = 500
    await open()
    await page.getByText("answer 500").waitFor()
    assert.isBelow((await lines()).length, 150)

    // Going up as a reader does, until the beginning is there; what is read stays in its place while more comes.
    const log = page.getByRole("log")
    await log.hover()
    for (let turns = 0; (await page.getByText("question 1", { exact: true }).count()) === 0; turns++) {
      assert.isBelow(turns, 400)
      await page.mouse.wheel(0, -1500)
      await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    }
    const said500 = await lines()
    assert.lengthOf(said500, 500)
    assert.strictEqual(said500[0], "question 1")
    await page.getByRole("button", { name: "To the newest" }).click()
    await vi.waitFor(async () => assert.isTrue(await page.getByText("answer 500").isVisible()))
    assert.strictEqual(await page.getByRole("button", { name: "To the newest" }).count(), 0)
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
    await page.getByText("Using time.now …").click()
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

  describe("with images", () => {
    const file = (name: string, mimeType = "image/png") => ({ name, mimeType, buffer: Buffer.from(name) })
    const choose = (...files: ReadonlyArray<ReturnType<typeof file>>) =>
      page.locator("input[type=file]").setInputFiles([...files])
    const chips = () => page.locator(".composer .attached span").allTextContents()
    const route = "**/api/v1/os/messages/send"
    const refusal = (code: string, message: string) => ({
      status: 413,
      contentType: "application/json",
      body: JSON.stringify({ error: { code, message } })
    })

    it("takes them off again, says what cannot be attached, and sends nothing without need", async () => {
      await open()
      await choose(file("1"), file("2", "image/gif"))
      assert.lengthOf(await chips(), 2)
      await page.getByRole("button", { name: "Remove image 1" }).click()
      await choose(file("3", "text/plain"))
      await page.getByRole("alert").getByText("Only PNG, JPEG, GIF and WebP").waitFor()
      await choose(...Array.from({ length: 9 }, (_, n) => file(String(n))))
      await page.getByRole("alert").getByText("at most 8 images").waitFor()
      assert.strictEqual(await page.getByRole("button", { name: /Remove image/ }).count(), 8)
      assert.isFalse(await page.getByRole("button", { name: "Send" }).isDisabled())
    })

    it("sends them beside the socket, again when that fails, and tells a refusal", async () => {
      const bodies: Array<Record<string, unknown>> = []
      let failures = 1
      await page.route(route, async (request) => {
        if (failures-- > 0) return request.abort()
        bodies.push(request.request().postDataJSON() as Record<string, unknown>)
        return bodies.length === 1
          ? request.fulfill({ status: 202, json: { message_id: "msg_1", seq: 1, duplicate: false } })
          : request.fulfill(refusal("image_too_large", "a message's images may have at most 10 bytes"))
      })
      await open()
      await choose(file("one"))
      await write("look")
      await page.locator(".line.accepted").getByText("Image, PNG").waitFor()
      assert.deepInclude(bodies[0], {
        session_key: "main",
        content: "look",
        images: [`data:image/png;base64,${Buffer.from("one").toString("base64")}`]
      })
      assert.deepStrictEqual(await chips(), [])
      assert.deepStrictEqual(sent(), [])

      await choose(file("two"))
      await page.getByRole("button", { name: "Send" }).click()
      await page.locator(".line.refused").getByText("at most 10 bytes").waitFor()
      assert.strictEqual(bodies[1]?.["content"], "")
    })

    it("does not send a message without the images that a reload has lost", async () => {
      await page.route(route, (request) => request.abort())
      await open()
      await choose(file("one"))
      await write("look")
      await page.getByText("Sending …").waitFor()
      await page.reload()
      await page.locator(".line.refused").getByText("images were lost").waitFor()
      assert.deepStrictEqual(sent(), [])
    })
  })
})
