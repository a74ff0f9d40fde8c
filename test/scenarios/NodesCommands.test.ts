/** What people do through one node to sessions whose lanes are on another. Two real gateways, one PostgreSQL; provider: our own fake. */
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { sharedUrl } from "../postgres/fresh.ts"
import { named, newSchema, withoutPostgres } from "../postgres/server.ts"
import {
  api,
  Client,
  echo,
  type Gateway,
  outcomeOf,
  type ProviderRequest,
  type Reply,
  startGateway,
  startProvider,
  transcript,
  until
} from "./gatewayProcess.ts"
import { nodeConfig, untilShared } from "./nodes.ts"

/** `slow` in a text makes its answer take two seconds. */
const reply = (request: ProviderRequest): Reply => {
  const found = echo(request)
  const asked = request.messages.findLast(({ role }) => role === "user")?.content ?? ""
  if ("call" in found) return { call: "time__now" }
  return !asked.includes("slow")
    ? found
    : { pieces: [...Array.from({ length: 20 }, () => "word "), `of ${asked}`], pauseMillis: 100 }
}

/** Half of them, about, have their lanes on the other node. */
const sessions = 8

const post = async (gateway: Gateway, path: string, body: unknown = {}) => {
  const response = await api(gateway, path, { method: "POST", body: JSON.stringify(body) })
  return response.status
}
interface Lane {
  readonly session_key: string
  readonly phase: string
  readonly depth: number
  readonly elsewhere?: true
}
const key = (session: string) => encodeURIComponent(session)

describe.skipIf(withoutPostgres)(named("a session on another node"), { timeout: 60_000 }, () => {
  const cleanups: Array<() => void> = []
  let first: Gateway
  let second: Gateway

  beforeAll(async () => {
    const { url, stop } = await startProvider(reply)
    cleanups.push(stop)
    const database = { url: await sharedUrl(), schema: newSchema() }
    const extra = `tools = ["time.now"]\nask_before = ["time.now"]\n[queue]\nmode = "followup"\n`
    const config = (name: string) =>
      nodeConfig(url, database, name, `[agents.asking]\nmodel = "fake/fake-model"\n${extra}`)
    first = await startGateway(config("one"))
    second = await startGateway(config("two"))
    await untilShared([first, second])
    await post(first, "/api/v1/os/orgs", { org: "acme" })
    await post(first, "/api/v1/os/projects", { project: "acme/shop" })
  }, 60_000)
  afterAll(() => {
    for (const gateway of [first, second]) gateway?.child.kill("SIGKILL")
    for (const cleanup of cleanups) cleanup()
  })

  /** One client at each node for each of some sessions. */
  const pairs = (name: string, agent = "main", project = "") => {
    const made = Array.from({ length: sessions }, (_, n) => {
      const session = `${project}agent:${agent}:${name}-${n}`
      const here = new Client(key(session))
      const there = new Client(key(session))
      here.connect(first)
      there.connect(second)
      return { session, here, there, id: `${name}-${n}` }
    })
    return { made, close: () => made.forEach(({ here, there }) => (here.close(), there.close())) }
  }

  it("signs a browser in with a link of the other node, once, for both", async () => {
    const made = await api(first, "/api/v1/os/codes", { method: "POST", body: "{}" })
    const { code } = (await made.json()) as { readonly code: string }
    const redeem = (gateway: Gateway) =>
      fetch(`${gateway.url}/auth/code`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ code })
      })
    const signedIn = await redeem(second)
    const again = await Promise.all([redeem(first), redeem(second)])
    const cookie = String(signedIn.headers.get("set-cookie")).split(";")[0] ?? ""
    const who = await Promise.all(
      [first, second].map(({ url }) => fetch(`${url}/auth/me`, { headers: { cookie } }))
    )

    assert.strictEqual(signedIn.status, 204)
    assert.deepStrictEqual(
      again.map(({ status }) => status),
      [401, 401]
    )
    assert.deepStrictEqual(
      who.map(({ status }) => status),
      [200, 200]
    )
  })

  it.each([
    { of: "the first project", project: "" },
    { of: "another one", project: "acme/shop/" }
  ])("of $of tells an answer to who looks on at either node, once", async ({ project }) => {
    const { made, close } = pairs("tell", "main", project)
    for (const { here, id } of made) here.send(id, id)
    await until("every answer at both", () =>
      made.every(({ here, there, id }) => here.answers.has(id) && there.answers.has(id))
    )
    for (const { here, there, id, session } of made) {
      const answers = (await transcript(second, session)).filter(
        (line) => line.answers?.includes(id) === true
      )
      assert.lengthOf(answers, 1)
      assert.deepStrictEqual(
        [[...here.answers.get(id)!], [...there.answers.get(id)!]],
        [[answers[0]!.id], [answers[0]!.id]]
      )
      assert.deepStrictEqual([here.frames(answers[0]!.id), there.frames(answers[0]!.id)], [1, 1])
    }
    close()
  })

  it("is stopped from either node: the run and what waits", async () => {
    const { made, close } = pairs("stop")
    for (const { here, id } of made) here.send(id, `slow ${id}`)
    await until("runs under way", () => made.every(({ here }) => here.acked.size === 1))
    for (const { there, id } of made) there.send(`${id}-next`, "waits")
    await until("what waits", () =>
      made.every(({ here, there, id }) => here.acked.has(id) && there.acked.has(`${id}-next`))
    )
    const listed = async (gateway: Gateway) => {
      const response = await api(gateway, "/api/v1/os/lanes")
      const { lanes } = (await response.json()) as { readonly lanes: ReadonlyArray<Lane> }
      return lanes.filter(({ session_key: session }) => made.some((one) => one.session === session))
    }
    // Either node lists all of them: its own as they are, the other's as the log has them.
    await until("every lane, running, at both", async () => {
      const both = [await listed(first), await listed(second)]
      return both.every(
        (lanes) => lanes.filter(({ phase, depth }) => phase === "running" && depth === 1).length === sessions
      )
    })
    const [ofFirst, ofSecond] = [await listed(first), await listed(second)]
    for (const { session_key: session, elsewhere } of ofFirst) {
      const same = ofSecond.find((lane) => lane.session_key === session)
      assert.notStrictEqual(elsewhere ?? false, same?.elsewhere ?? false, session)
    }
    for (const { there } of made) there.stop()
    await until("every end", () =>
      made.every(({ here, there, id }) => here.outcomes.has(id) && there.outcomes.has(`${id}-next`))
    )
    for (const { here, there, id } of made) {
      assert.deepStrictEqual(
        [here.outcomes.get(id), there.outcomes.get(`${id}-next`)],
        ["cancelled", "cancelled"],
        id
      )
    }
    // The lane is free again.
    for (const { there, id } of made) there.send(`${id}-after`, "after")
    await until(
      "the next answers",
      () => made.every(({ here, id }) => here.answers.has(`${id}-after`)),
      10_000
    )
    close()
  })

  it("is aborted, paused and resumed, and loses one message, over either node's API", async () => {
    const { made, close } = pairs("act")
    for (const { here, id } of made) here.send(id, `slow ${id}`)
    for (const { here, id } of made) here.send(`${id}-gone`, "never")
    for (const { here, id } of made) here.send(`${id}-next`, "goes on")
    await until("acks", () => made.every(({ here }) => here.acked.size === 3))
    await new Promise((done) => setTimeout(done, 300))
    for (const { here, session, id } of made) {
      assert.strictEqual(
        await post(second, `/api/v1/os/messages/${here.acked.get(`${id}-gone`)}/cancel`),
        204
      )
      assert.strictEqual(await post(second, `/api/v1/os/lanes/${key(session)}/abort`), 204)
    }
    await until("the next ones", () => made.every(({ here, id }) => here.answers.has(`${id}-next`)), 10_000)
    for (const { here, id } of made) {
      assert.strictEqual(await outcomeOf(first, here.acked.get(id)!), "cancelled")
      assert.strictEqual(await outcomeOf(first, here.acked.get(`${id}-gone`)!), "cancelled")
    }

    for (const { session } of made) await post(second, `/api/v1/os/lanes/${key(session)}/pause`)
    await new Promise((done) => setTimeout(done, 300))
    for (const { here, id } of made) here.send(`${id}-held`, "held")
    await until("acks", () => made.every(({ here }) => here.acked.size === 4))
    await new Promise((done) => setTimeout(done, 300))
    assert.isTrue(made.every(({ here, id }) => !here.answers.has(`${id}-held`)))
    for (const { session } of made) await post(first, `/api/v1/os/lanes/${key(session)}/resume`)
    await until("held ones", () => made.every(({ here, id }) => here.answers.has(`${id}-held`)), 10_000)
    close()
  })

  it("is paused with all others from any node", async () => {
    const { made, close } = pairs("all")
    assert.strictEqual(await post(second, "/api/v1/os/lanes/pause"), 204)
    await new Promise((done) => setTimeout(done, 200))
    for (const { here, id } of made) here.send(id, id)
    await until("acks", () => made.every(({ here }) => here.acked.size === 1))
    await new Promise((done) => setTimeout(done, 300))
    assert.isTrue(made.every(({ here }) => here.answers.size === 0))
    assert.strictEqual(await post(first, "/api/v1/os/lanes/resume"), 204)
    await until("answers", () => made.every(({ here, id }) => here.answers.has(id)), 10_000)
    close()
  })

  it("waits for a decision that is made at either node", async () => {
    const { made, close } = pairs("ask", "asking")
    for (const { here, id } of made) here.send(id, `a tool for ${id}`)
    let approvals: ReadonlyArray<{ readonly id: string }> = []
    await until("every question", async () => {
      approvals = (
        (await (await api(second, "/api/v1/os/approvals")).json()) as { approvals: typeof approvals }
      ).approvals
      return approvals.length === sessions
    })
    for (const { id } of approvals)
      assert.strictEqual(await post(second, `/api/v1/os/approvals/${id}`, { decision: "approve" }), 200)
    await until("every answer", () => made.every(({ here, id }) => here.answers.has(id)), 10_000)
    close()
  })

  it("keeps what its people set, wherever they set it", async () => {
    const { made, close } = pairs("keep")
    for (const { here, id } of made) here.send(`${id}-set`, "/queue interrupt")
    await until("the words", () => made.every(({ here, id }) => here.answers.has(`${id}-set`)), 10_000)
    await new Promise((done) => setTimeout(done, 200))
    for (const { there, id } of made) there.send(id, `slow ${id}`)
    await until("acks", () => made.every(({ there }) => there.acked.size === 1))
    await new Promise((done) => setTimeout(done, 300))
    for (const { there, id } of made) there.send(`${id}-newer`, "newer")
    await until(
      "the newer ones",
      () => made.every(({ there, id }) => there.answers.has(`${id}-newer`)),
      10_000
    )
    for (const { there, id } of made) {
      assert.strictEqual(await outcomeOf(first, there.acked.get(id)!), "interrupted", id)
    }
    close()
  })

  it("is deleted from either node while it runs, and begins anew", async () => {
    const { made, close } = pairs("delete")
    for (const { here, id } of made) here.send(id, `slow ${id}`)
    await until("acks", () => made.every(({ here }) => here.acked.size === 1))
    await new Promise((done) => setTimeout(done, 300))
    for (const { session } of made) {
      const { status } = await api(second, `/api/v1/os/sessions/${key(session)}`, { method: "DELETE" })
      assert.strictEqual(status, 204)
    }
    close()
    const again = pairs("delete")
    for (const { there, id } of again.made) there.send(`${id}-again`, "again")
    await until(
      "answers",
      () => again.made.every(({ there, id }) => there.answers.has(`${id}-again`)),
      10_000
    )
    for (const { session, id } of again.made) {
      const lines = await transcript(first, session)
      assert.deepStrictEqual(
        lines.map(({ content }) => content),
        ["again", "echo of again"],
        id
      )
    }
    again.close()
  })

  it("answers over HTTP at either node, whole or streamed, and streams what has no session as it comes", async () => {
    const ask = async (gateway: Gateway, body: object) => {
      const response = await api(gateway, "/v1/chat/completions", {
        method: "POST",
        body: JSON.stringify({ model: "opencraw", ...body })
      })
      assert.strictEqual(response.status, 200)
      return response.text()
    }
    for (const gateway of [first, second]) {
      for (let n = 0; n < sessions; n++) {
        const messages = [{ role: "user", content: `m${n}` }]
        const whole = JSON.parse(await ask(gateway, { user: `http-${n}`, messages })) as {
          readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
          readonly usage: object
        }
        assert.strictEqual(whole.choices[0]?.message.content, `echo of m${n}`)
        const streamed = await ask(gateway, { user: `http-${n}`, messages, stream: true })
        assert.strictEqual(contentOf(streamed).join(""), `echo of m${n}`)
        assert.include(streamed, "[DONE]")
        const pieces = contentOf(await ask(gateway, { messages, stream: true }))
        assert.deepStrictEqual(pieces.join(""), `echo of m${n}`)
        assert.isAbove(pieces.length, 1)
      }
    }
  })
})

const contentOf = (stream: string): ReadonlyArray<string> =>
  [...stream.matchAll(/^data: (\{.*\})$/gm)].flatMap(([, json = "{}"]) => {
    const { choices = [] } = JSON.parse(json) as {
      readonly choices?: ReadonlyArray<{ readonly delta?: { readonly content?: string } }>
    }
    const content = choices[0]?.delta?.content
    return content === undefined || content === "" ? [] : [content]
  })
