import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import fs from "node:fs"
import path from "node:path"
import { promisify } from "node:util"
import type { Page } from "playwright-core"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { startProvider } from "../scenarios/gatewayProcess.ts"
import { named, said, useBrowser, withoutBrowser } from "./browser.ts"

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
  let model: string

  const environment = (port: string) => ({
    ...process.env,
    OPENCRAW_DATA_DIR: dataDir,
    OPENCRAW_PORT: port,
    OPENCRAW_CONFIG: path.join(dataDir, "config.toml"),
    OPENCRAW_MODEL: model,
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
    model = "demo/demo"
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
  const lines = () => page.locator(said).allTextContents()
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
    await answer("time.now: 2").waitFor()
    await page.getByText("Used time.now").waitFor()
    const before = await lines()
    assert.lengthOf(before, 4)

    await page.reload()
    await answer("time.now: 2").waitFor()
    await page.getByText("Used time.now").waitFor()
    assert.deepStrictEqual(await lines(), before)
  })

  it("shows that images came with a message, of another client too", async () => {
    const gateway = await start()
    await open()
    const cookie = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ")
    const url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
    const content = [
      { type: "text", text: "what is it?" },
      { type: "image_url", image_url: { url } }
    ]
    const reply = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        cookie,
        origin: gateway.url,
        "x-opencraw-session-key": "main"
      },
      body: JSON.stringify({ messages: [{ role: "user", content }] })
    })
    assert.strictEqual(reply.status, 200, await reply.text())

    const image = page.locator(".line.user").getByText("Image, PNG, 1 KB")
    await image.waitFor()
    await answer("1 image was left out here").waitFor()
    await page.reload()
    await image.waitFor()
  })

  const useProvider = (url: string, extra = "") => {
    model = "fake/fake-model"
    const config = `[providers.fake]\nkind = "openai-chat"\nbase_url = "${url}"\napi_key = "k"\n${extra}`
    fs.writeFileSync(path.join(dataDir, "config.toml"), config)
  }
  /** A model that takes its time: many pieces, one after the other. */
  const slowly = async () => {
    const pieces = Array.from({ length: 150 }, (_, n) => `word${n} `)
    const provider = await startProvider(() => ({ pieces, pauseMillis: 25 }))
    useProvider(provider.url)
    return { provider, whole: pieces.join("").trim() }
  }
  const draft = () => page.getByTestId("draft")

  it("is reloaded in the middle of an answer and has it from its beginning, then whole and once", async () => {
    const { provider, whole } = await slowly()
    await start()
    await open()
    await write("tell me")
    await draft().getByText("word20").waitFor()
    await page.reload()
    await draft().getByText("word30").waitFor()
    assert.isTrue((await draft().textContent())?.startsWith("word0 word1 "))
    await answer("word149").waitFor()
    assert.deepStrictEqual(await lines(), ["tell me", whole])
    provider.stop()
  })

  it("shows the answer of a gateway that was killed in the middle of it, whole and once", async () => {
    const { provider, whole } = await slowly()
    const gateway = await start()
    await open()
    await write("tell me")
    await draft().getByText("word20").waitFor()
    process.kill(gateway.pid, "SIGKILL")
    await gateway.ended
    await page.getByText("Offline, trying again").waitFor()
    await start(new URL(gateway.url).port)
    await answer("word149").waitFor()
    assert.deepStrictEqual(await lines(), ["tell me", whole])
    assert.strictEqual(await page.locator(".writing").count(), 0)
    provider.stop()
  })

  it("stops an answer, keeps what was said of it, and says so after a reload too", async () => {
    const { provider } = await slowly()
    await start()
    await open()
    await write("tell me")
    await draft().getByText("word10").waitFor()
    await write("and this")
    await page.locator(".line.queued").getByText("Queued").waitFor()
    await page.getByRole("button", { name: "Stop" }).click()
    await page.getByText("Stopped here").waitFor()
    await page.getByText("Cancelled: by owner").nth(1).waitFor()
    await page.reload()
    await page.getByText("Stopped here").waitFor()
    assert.strictEqual(await page.getByText("No answer").count(), 2)
    const details = page.locator(".line.user", { hasText: "and this" })
    await details.getByRole("button", { name: "Details" }).click()
    await details.getByText("Cancelled by owner").waitFor()
    provider.stop()
  })

  const lineOf = (text: string) => page.locator(".line.user", { hasText: text })
  const became = async (text: string, outcome: string) => {
    await lineOf(text).getByRole("button", { name: "Details" }).click()
    await lineOf(text).locator(".timeline > p", { hasText: outcome }).waitFor()
  }

  it("sends an attached image, which the model sees and the other tab is told of", async () => {
    const png = Buffer.from("iVBORw0KGgoAAAANSUhEUg==", "base64")
    const provider = await startProvider(() => ({ pieces: ["a ", "cat"] }))
    useProvider(provider.url)
    await start()
    await open()
    const other = await page.context().newPage()
    await other.goto(page.url())
    await other.getByText("Connected").waitFor()
    await page
      .locator("input[type=file]")
      .setInputFiles({ name: "a.png", mimeType: "image/png", buffer: png })
    await page.getByRole("button", { name: "Remove image 1" }).waitFor()
    await write("what is it?")
    await answer("a cat").waitFor()

    assert.include(JSON.stringify(provider.requests[0]), `data:image/png;base64,${png.toString("base64")}`)
    await other.locator(".line.user").getByText("Image, PNG, 1 KB").waitFor()
    await page.reload()
    await page.locator(".line.user").getByText("Image, PNG, 1 KB").waitFor()
    assert.deepStrictEqual(await lines(), ["what is it?", "a cat"])
    provider.stop()
  })

  it("steers the running answer, which reads the text at its next step, without the words that steer", async () => {
    const held = Promise.withResolvers<void>()
    const provider = await startProvider(async () => {
      // The step that reads it is durable once it has called its tool; the last one is read from.
      const step = provider.requests.length
      if (step === 1) await held.promise
      if (step < 3) return { call: "time_now" }
      return { pieces: Array.from({ length: 40 }, (_, n) => `word${n} `), pauseMillis: 25 }
    })
    useProvider(provider.url)
    await start()
    await open()
    await write("start")
    await page.getByRole("button", { name: "Stop" }).waitFor()
    const steer = page.getByRole("button", { name: "Steer" })
    assert.isTrue(await steer.isDisabled())
    await page.getByLabel("Message").fill("/stop")
    assert.isTrue(await steer.isDisabled())
    // Words that `/queue` would take for its own stay words.
    await page.getByLabel("Message").fill("reset and turn left")
    await steer.click()
    await lineOf("turn left").getByText("For the running answer, at its next step").waitFor()
    held.resolve()
    await lineOf("turn left").getByText("Read by the running answer").waitFor()
    await draft().getByText("word5").waitFor()
    // Told live and after a reload: nothing asks to send it again while the answer is under way.
    assert.strictEqual(await page.getByRole("button", { name: "Send again" }).count(), 0)
    await page.reload()
    await draft().getByText("word10").waitFor()
    assert.strictEqual(await page.getByRole("button", { name: "Send again" }).count(), 0)
    await answer("word39").waitFor()

    const read = provider.requests[1]?.messages.at(-1)
    assert.include(read?.content, "reset and turn left")
    assert.notInclude(JSON.stringify(provider.requests), "/queue")
    assert.lengthOf(provider.requests, 3)
    const before = await lines()
    assert.deepStrictEqual(before.slice(0, 2), ["start", "reset and turn left"])
    assert.lengthOf(before, 3)
    await became("start", "Answered")
    await became("turn left", "Steered into msg_")
    assert.strictEqual(await page.getByRole("button", { name: "Steer" }).count(), 0)
    provider.stop()
  })

  it("steers with Ctrl+Enter, and what comes after the last step is answered next", async () => {
    const held = Promise.withResolvers<void>()
    const provider = await startProvider(async ({ messages }) => {
      const text = messages.at(-1)?.content ?? ""
      if (text.includes("start")) await held.promise
      return { pieces: [`answer to ${text}`] }
    })
    useProvider(provider.url)
    await start()
    await open()
    await write("start")
    await page.getByRole("button", { name: "Steer" }).waitFor()
    await page.getByLabel("Message").fill("turn left")
    await page.getByLabel("Message").press("Control+Enter")
    await lineOf("turn left").getByText("For the running answer").waitFor()
    held.resolve()
    await answer("answer to turn left").waitFor()
    assert.deepStrictEqual(await lines(), ["start", "answer to start", "turn left", "answer to turn left"])
    provider.stop()
  })

  it("says of messages that one answer answers that they were answered together", async () => {
    const held = Promise.withResolvers<void>()
    const provider = await startProvider(async ({ messages }) => {
      if (messages.length < 4) await held.promise
      return { pieces: ["all of it"] }
    })
    useProvider(provider.url, `[queue]\nmode = "collect"\ndebounce_ms = 50\n`)
    await start()
    await open()
    await write("start")
    await page.getByRole("button", { name: "Stop" }).waitFor()
    await write("one more")
    await write("and another")
    await page.locator(".line.queued").nth(1).waitFor()
    held.resolve()
    for (const text of ["one more", "and another"]) {
      await lineOf(text).getByText("Answered together").waitFor()
    }
    await page.reload()
    for (const text of ["one more", "and another"]) {
      await lineOf(text).getByText("Answered together").waitFor()
    }
    assert.strictEqual(await lineOf("start").getByText("Answered together").count(), 0)
    provider.stop()
  })

  it("asks before a tool that needs it, over a reload too, and goes on as the person decides", async () => {
    fs.writeFileSync(path.join(dataDir, "config.toml"), '[general]\nask_before = ["time.now"]\n')
    await start()
    await open()
    const question = page.getByRole("region", { name: "Waiting for your decision" })

    await write("What time is it?")
    await question.getByText("May I use time.now?").waitFor()
    await page.reload()
    await question.getByRole("button", { name: "Approve" }).click()
    await answer("time.now: 2").waitFor()
    await question.waitFor({ state: "detached" })

    await write("And what time is it now?")
    await question.getByRole("button", { name: "Deny" }).click()
    await answer("refused").waitFor()
    await question.waitFor({ state: "detached" })
  })

  it("begins, finds, names and deletes conversations, in every tab", async () => {
    const gateway = await start()
    await open()
    const list = page.getByRole("navigation", { name: "Conversations" }).getByRole("link")
    await write("about gardens")
    await answer("You wrote: about gardens").waitFor()
    await page.getByRole("button", { name: "New" }).click()
    await page.getByText("Say something").waitFor()
    await write("about bicycles")
    await answer("You wrote: about bicycles").waitFor()
    await list.getByText("about bicycles").waitFor()
    assert.deepStrictEqual(await lines().then((said) => said[0]), "about bicycles")
    const bicycles = page.url()

    await page.getByLabel("Search conversations").fill("GARD")
    await list.getByText("about bicycles").waitFor({ state: "detached" })
    await list.getByText("about gardens").click()
    await answer("You wrote: about gardens").waitFor()
    assert.strictEqual(page.url(), `${gateway.url}/`)
    await page.getByLabel("Search conversations").fill("")
    await page.goBack()
    await answer("You wrote: about bicycles").waitFor()

    const other = await page.context().newPage()
    await other.goto(bicycles)
    await other.getByText("Connected").waitFor()
    await page.getByRole("button", { name: "Rename" }).click()
    await page.getByLabel("Title").fill("  My   wheels ")
    await page.getByRole("dialog").getByRole("button", { name: "Rename" }).click()
    await page.getByRole("heading", { name: "My wheels" }).waitFor()
    await other.getByRole("heading", { name: "My wheels" }).waitFor()

    await page.getByRole("button", { name: "Delete" }).click()
    await page.getByRole("dialog").getByRole("button", { name: "Keep" }).click()
    await page.getByRole("dialog").waitFor({ state: "detached" })
    await page.getByRole("button", { name: "Delete" }).click()
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click()
    await answer("You wrote: about gardens").waitFor()
    await list.getByText("My wheels").waitFor({ state: "detached" })
    await other.getByText("Say something").waitFor()

    // The other tab writes on in what begins anew.
    await other.getByLabel("Message").fill("again")
    await other.getByLabel("Message").press("Enter")
    await other.locator(".line.assistant:not(.writing)").getByText("You wrote: again").waitFor()
    assert.lengthOf(await other.locator(said).allTextContents(), 2)
  })

  it("forks a conversation from an answer by keyboard, and each goes its own way", async () => {
    await start()
    await open()
    await write("plant roses")
    await answer("You wrote: plant roses").waitFor()
    await write("plant thorns")
    await answer("You wrote: plant thorns").waitFor()
    const original = await lines()
    await page.getByRole("button", { name: "Fork from here" }).first().press("Enter")
    await page.waitForURL(/session=main%3Afork_/)
    await answer("You wrote: plant roses").waitFor()

    assert.deepStrictEqual(await lines(), original.slice(0, 2))
    await page.locator("#text:focus").waitFor()
    await page.keyboard.type("plant tulips")
    await page.keyboard.press("Enter")
    await answer("You wrote: plant tulips").waitFor()
    const list = page.getByRole("navigation", { name: "Conversations" }).getByRole("link")
    await list.getByText(/· fork/).waitFor()
    await page.goBack()
    await answer("You wrote: plant thorns").waitFor()
    assert.deepStrictEqual(await lines(), original)

    await page.getByRole("button", { name: "Delete" }).click()
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click()
    await page.getByRole("dialog").getByText("part of its forks").waitFor()
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
    assert.deepStrictEqual(await other.locator(said).allTextContents(), await lines())
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
    await page.getByText("Not sent yet; it will be").waitFor()

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
