/** The commands as a person runs them: the real program, a real gateway, a provider of our own. */
import { assert, describe, it } from "@effect/vitest"
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach } from "vitest"
import * as Gemini from "../layers/model/googleEvents.ts"
import {
  configure,
  type Gateway,
  newFolder,
  type Reply,
  startGateway,
  startProvider,
  until
} from "../scenarios/gatewayProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const cleanups: Array<() => void> = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}
interface Running {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly ended: Promise<Ended>
}
const start = (args: ReadonlyArray<string>, cwd = root, env: Record<string, string> = {}): Running => {
  const child = spawn(process.execPath, [join(root, "layers/main.ts"), ...args], {
    cwd,
    env: { ...process.env, ...env }
  })
  cleanups.push(() => child.kill("SIGKILL"))
  let stdout = ""
  let stderr = ""
  child.stdout.on("data", (part: Buffer) => (stdout += part.toString()))
  child.stderr.on("data", (part: Buffer) => (stderr += part.toString()))
  const ended = new Promise<Ended>((done) => child.on("close", (code) => done({ code, stdout, stderr })))
  return { child, stdout: () => stdout, ended }
}
const run = (args: ReadonlyArray<string>, input = "", cwd = root, env: Record<string, string> = {}) => {
  const running = start(args, cwd, env)
  running.child.stdin?.end(input)
  return running.ended
}

const gatewayWith = async (reply: (text: string) => Reply) => {
  const provider = await startProvider(({ messages }) => reply(messages.at(-1)?.content ?? ""))
  cleanups.push(provider.stop)
  const { config, folder } = configure(provider.url)
  const gateway = await startGateway(config)
  track(gateway)
  return { config, folder, gateway }
}
const track = (gateway: Gateway) => cleanups.push(() => gateway.child.kill("SIGKILL"))
const echo = (text: string): Reply => ({ pieces: ["You said: ", text] })

const slow = { timeout: 60_000 }

describe("send", () => {
  it("prints the answer, of words or of standard input; --json for programs", slow, async () => {
    const { config } = await gatewayWith(echo)
    const words = await run(["send", "--config", config, "good", "day"])
    assert.deepStrictEqual(words, { code: 0, stdout: "You said: good day\n", stderr: "" })
    const piped = await run(["send", "--config", config, "--session", "notes", "-"], "from a pipe\n")
    assert.strictEqual(piped.stdout, "You said: from a pipe\n")

    const { stdout } = await run(["send", "--config", config, "--json", "--id", "mine", "x"])
    const told = JSON.parse(stdout) as Record<string, string>
    assert.deepInclude(told, { id: "mine", outcome: "answered", content: "You said: x" })
    const again = await run(["send", "--config", config, "--no-wait", "--id", "mine", "x"])
    assert.strictEqual(again.stdout.trim(), told["message_id"])
    const waited = await run(["send", "--config", config, "--id", "mine", "x"])
    assert.strictEqual(waited.stdout, "You said: x\n")
    const other = await run(["send", "--config", config, "--id", "mine", "y"])
    assert.deepStrictEqual([other.code, other.stdout], [64, ""])
  })

  it("ends with 2 when the message was not answered, and with 64 when there is none", slow, async () => {
    const { config } = await gatewayWith(() => ({ pieces: [] }))
    const empty = await run(["send", "--config", config], "  \n")
    assert.strictEqual(empty.code, 64)
    assert.match(empty.stderr, /message is empty/)
    const strange = await run(["send", "--config", config, "--session", "agent:x", "hi"])
    assert.strictEqual(strange.code, 64)
    assert.match(strange.stderr, /session key/)
  })
})

describe("chat", () => {
  it(
    "streams, keeps what was written over a kill of the gateway, and gives each answer once",
    slow,
    async () => {
      let pause = 0
      const { config, gateway } = await gatewayWith((text) => ({
        pieces: ["begun ", "and ", `done with ${text}`],
        pauseMillis: pause
      }))
      const chat = start(["chat", "--config", config])
      chat.child.stdin?.write("one\n")
      await until("the first answer", () => chat.stdout().includes("begun and done with one\n"))
      pause = 400
      chat.child.stdin?.write("two\n")
      await until("a beginning", () => chat.stdout().split("begun").length === 3)
      gateway.child.kill("SIGKILL")
      await gateway.exited
      await until("the notice", () => chat.stdout().includes("connecting again"))
      chat.child.stdin?.write("three\n")
      pause = 0
      // Another port: the chat finds the new gateway where it says it runs.
      track(await startGateway(config))
      await until("the answers", () => chat.stdout().includes("done with three"))
      chat.child.stdin?.end()

      const { code, stdout } = await chat.ended
      assert.strictEqual(code, 0)
      for (const text of ["one", "two", "three"])
        assert.strictEqual(stdout.split(`done with ${text}\n`).length, 2, stdout)
    }
  )

  it("stops an answer with /stop, traces it with /trace, and changes the session", slow, async () => {
    const { config } = await gatewayWith((text) => ({
      pieces: ["begun ", `ended ${text}`],
      pauseMillis: text === "long" ? 30_000 : 0
    }))
    const chat = start(["chat", "--config", config])
    chat.child.stdin?.write("long\n")
    await until("a beginning", () => chat.stdout().includes("begun"))
    chat.child.stdin?.write("/stop\n")
    await until("the end", () => chat.stdout().includes("! cancelled"))
    chat.child.stdin?.write("/trace\n/session other\nshort\n/queue\n")
    await until("the trace", () => /cancelled by .*\n +AFTER/.test(chat.stdout()))
    await until("the answer", () => chat.stdout().includes("ended short"))
    await until("the gateway's own command", () => chat.stdout().includes("Queue mode: collect"))
    chat.child.stdin?.end()
    await chat.ended

    const list = await run(["sessions", "list", "--config", config])
    assert.include(list.stdout, "agent:main:other")
  })
})

describe("what the gateway knows", () => {
  it("is listed, shown, traced, exported and deleted", slow, async () => {
    const { config, folder } = await gatewayWith(echo)
    const at = ["--config", config]
    for (let index = 1; index <= 3; index++) await run(["send", ...at, "--session", "work", `m${index}`])
    assert.match((await run(["sessions", "list", ...at])).stdout, /agent:main:work +6 +0/)

    const shown = (await run(["sessions", "show", "work", "--last", "2", ...at])).stdout
    assert.include(shown, "You said: m3")
    // As a word: an id may hold these letters.
    assert.notMatch(shown, /\bm2\b/)
    const id = /\[(msg_\w+)\]/.exec(shown)?.[1] ?? ""
    const traced = await run(["trace", id, ...at])
    assert.match(traced.stdout, /answered/)
    for (const step of ["accepted", "run started", "model", "run ended"]) assert.include(traced.stdout, step)
    const json = JSON.parse((await run(["trace", id, ...at, "--json"])).stdout) as Record<string, unknown>
    assert.deepInclude(json, { id, outcome: "answered" })

    const file = join(folder, "work.md")
    await run(["sessions", "export", "work", "--format", "markdown", "--output", file, ...at])
    assert.include(readFileSync(file, "utf8"), "You said: m1")
    assert.strictEqual(statSync(file).mode & 0o777, 0o600)
    const twice = await run(["sessions", "export", "work", "--output", file, ...at])
    assert.deepStrictEqual([twice.code, /exists already/.test(twice.stderr)], [73, true])
    const lines = (await run(["sessions", "export", "work", ...at])).stdout.trim().split("\n")
    assert.deepStrictEqual(
      lines.map((line) => (JSON.parse(line) as { readonly role: string }).role),
      ["user", "assistant", "user", "assistant", "user", "assistant"]
    )

    const made = await run(["fork", "work", "--at", "2", "--as", "aside", "--json", ...at])
    assert.deepStrictEqual(JSON.parse(made.stdout), { session_key: "agent:main:aside", seq: 2 })
    assert.match((await run(["sessions", "list", ...at])).stdout, /agent:main:aside +2 +0/)
    const refused = await run(["sessions", "delete", "work", "--yes", ...at])
    assert.match(refused.stderr, /delete these first \(agent:main:aside\)/)
    assert.notStrictEqual(refused.code, 0)
    assert.match((await run(["fork", "work", "--at", "99", ...at])).stderr, /no answered turn/)
    assert.strictEqual((await run(["fork", "work", "--at", "x", ...at])).code, 64)
    assert.match(
      (await run(["fork", "aside", ...at])).stdout,
      /^agent:main:aside:fork_\w+ begins with aside up to 2\.$/m
    )
    const forks = (await run(["sessions", "list", "--json", ...at])).stdout
    for (const { session_key: key } of JSON.parse(forks).sessions)
      if (key.includes("aside")) await run(["sessions", "delete", key, "--yes", ...at])
    assert.strictEqual((await run(["sessions", "delete", "work", ...at])).code, 64)
    assert.strictEqual((await run(["sessions", "delete", "work", "--yes", ...at])).code, 0)
    assert.strictEqual((await run(["sessions", "show", "work", ...at])).code, 2)
    assert.strictEqual((await run(["trace", "msg_none", ...at])).code, 2)
  })

  it(
    "is asked again of another model and under another system prompt, from a recording too",
    slow,
    async () => {
      const provider = await startProvider(({ messages }) => ({
        pieces: [
          `${(messages[0]?.content ?? "").includes("Shout") ? "LOUD" : "soft"}: ${messages.at(-1)?.content}`
        ]
      }))
      cleanups.push(provider.stop)
      const gemini = createServer((request, response) => {
        request.resume()
        response.end(Gemini.text("from Gemini") + Gemini.stop())
      })
      await new Promise<void>((done) => gemini.listen(0, "127.0.0.1", done))
      cleanups.push(() => gemini.close())
      const { port } = gemini.address() as AddressInfo
      const { config } = configure(
        provider.url,
        `[providers.old]\nkind = "replay"\nfolder = "tape"\n[providers.google]\nbase_url = "http://127.0.0.1:${port}"\n`
      )
      const tape = join(dirname(config), "tape")
      track(await startGateway(config, { OPENCRAW_RECORD: tape }))
      const at = ["--config", config]
      for (const text of ["one", "two"]) await run(["send", ...at, "--session", "work", text])
      assert.lengthOf(readdirSync(tape), 2)

      const other = await run(["what-if", "work", "--system", "Shout.", "--json", ...at])
      const told = JSON.parse(other.stdout) as { turns: ReadonlyArray<Record<string, unknown>> }
      assert.deepStrictEqual(
        told.turns.map(({ asked, was, now }) => [asked, was, now]),
        [
          ["one", "soft: one", "LOUD: one"],
          ["two", "soft: two", "LOUD: two"]
        ]
      )
      provider.stop()
      const elsewhere = await run(["what-if", "work", "--model", "google/gemini-3.8-flash", ...at])
      assert.match(elsewhere.stdout, /soft: one +\| from Gemini/, elsewhere.stderr)
      const replayed = await run(["what-if", "work", "--model", "old/any", "--last", "1", ...at])
      assert.strictEqual(replayed.code, 0, replayed.stderr)
      assert.match(replayed.stdout, /> two\n\n\[was\] +\| \[now: old\/any\]\nsoft: two +\| soft: two/)
      assert.notInclude(replayed.stdout, "> one")

      const failed = await run(["what-if", "work", "--model", "fake/gone", ...at])
      assert.deepStrictEqual([failed.code, /could not be reached/.test(failed.stdout)], [2, true])
      assert.strictEqual((await run(["what-if", "work", ...at])).code, 64)
      assert.strictEqual((await run(["what-if", "work", "--model", "nobody/x", ...at])).code, 78)
      assert.strictEqual((await run(["what-if", "none", "--model", "old/any", ...at])).code, 2)
      const second = configure(provider.url).config
      const unwritable = await run(["serve", "--config", second], "", root, {
        OPENCRAW_RECORD: "/dev/null/x"
      })
      assert.deepStrictEqual([unwritable.code, /OPENCRAW_RECORD/.test(unwritable.stderr)], [73, true])
    }
  )

  it("shows lanes at work", slow, async () => {
    const { config } = await gatewayWith(() => ({ pieces: ["a", "b"], pauseMillis: 20_000 }))
    assert.include((await run(["lanes", "--config", config])).stdout, "No session is at work")
    await run(["send", "--config", config, "--session", "busy", "--no-wait", "x"])
    const { stdout } = await run(["lanes", "--config", config])
    assert.match(stdout, /^SESSION +PHASE +WAITING +OLDEST +STEP +RUNS FOR/)
    assert.match(stdout, /agent:main:busy +running +0 .* 1 /)
  })

  it("stops, pauses and resumes lanes, cancels a message, and watches it happen", slow, async () => {
    const { config } = await gatewayWith((text) =>
      text === "slow" ? { pieces: ["a", "b"], pauseMillis: 20_000 } : { pieces: ["ok"] }
    )
    const on = (...args: ReadonlyArray<string>) => run([...args, "--config", config])
    const watching = start(["lanes", "--watch", "--json", "--config", config])
    const seen = () =>
      watching
        .stdout()
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { paused: boolean; lanes: ReadonlyArray<{ session_key: string }> })
    await until("the watch", () => seen().length > 0)
    assert.deepStrictEqual(seen(), [{ type: "lanes", paused: false, total: 0, lanes: [] }] as object)

    await on("send", "--session", "busy", "--no-wait", "slow")
    await until("the watch", () => seen().some(({ lanes }) => lanes[0]?.session_key === "agent:main:busy"))
    assert.deepStrictEqual(await on("lanes", "abort", "busy"), {
      code: 0,
      stdout: "busy: aborted.\n",
      stderr: ""
    })
    await until("the watch", () => seen().at(-1)?.lanes.length === 0)
    const none = await on("lanes", "abort", "busy")
    assert.deepStrictEqual([none.code, none.stdout], [2, ""])
    assert.match(none.stderr, /no run is under way/)
    assert.strictEqual((await on("lanes", "stop")).code, 64)
    assert.strictEqual((await on("lanes", "pause", "nobody")).code, 2)

    assert.strictEqual((await on("lanes", "pause")).stdout, "All sessions are paused.\n")
    await until("the watch", () => seen().at(-1)?.paused === true)
    const id = (await on("send", "--session", "busy", "--no-wait", "quick")).stdout.trim()
    assert.match((await on("lanes")).stdout, /^The whole gateway is paused/)
    assert.strictEqual((await on("cancel", id)).stdout, `${id} is cancelled.\n`)
    assert.strictEqual((await on("cancel", id)).code, 2)
    assert.strictEqual((await on("cancel", "msg_none")).code, 2)
    assert.deepStrictEqual(JSON.parse((await on("lanes", "resume", "--json")).stdout), { action: "resume" })
    assert.strictEqual((await on("send", "--session", "busy", "quick")).stdout, "ok\n")
    watching.child.kill()
  })

  it("decides again what a session decided, from the gateway and from a file", slow, async () => {
    const { config } = await gatewayWith(echo)
    await run(["send", "--config", config, "--session", "work", "hello"])
    const isKept = async () =>
      (await run(["replay", "work", "--config", config])).stdout.includes("2 decisions")
    await until("the journal", isKept)
    const { stdout } = await run(["replay", "work", "--config", config])
    assert.match(stdout, /^agent:main:work\n\n\S+ \S+Z {2}spell \S+\n +\+0\.000 {2}Arrived msg_\w+ \(seq 1, /)
    assert.match(stdout, /-> Start run_\w+ msg_\w+/)
    assert.match(stdout, /2 decisions in 1 spell of work, all the same today\.\n$/)
    assert.notInclude(stdout, "hello")

    const exported = await run(["replay", "work", "--config", config, "--json"])
    const file = join(newFolder(), "journal.json")
    writeFileSync(file, exported.stdout)
    assert.include((await run(["replay", "--file", file])).stdout, "all the same today")
    const { journals } = JSON.parse(exported.stdout)
    journals["agent:main:work"][0].commands = []
    writeFileSync(file, JSON.stringify({ journals }))
    const other = await run(["replay", "work", "--file", file])
    assert.strictEqual(other.code, 2)
    assert.match(
      other.stdout,
      /First difference: agent:main:work, .*decision 0\n.*\n {2}then {3}nothing to do\n {2}today {2}Start /
    )
    assert.strictEqual(
      JSON.parse((await run(["replay", "--file", file, "--json"])).stdout).differences.length,
      1
    )

    assert.strictEqual((await run(["replay", "none", "--config", config])).code, 2)
    assert.strictEqual((await run(["replay", "none", "--file", file])).code, 2)
    assert.strictEqual((await run(["replay"])).code, 64)
    writeFileSync(file, "{}")
    assert.match((await run(["replay", "--file", file])).stderr, /holds no journal/)
  })

  it("shows what was spent, and whose price it does not know", slow, async () => {
    const { config } = await gatewayWith(echo)
    assert.include((await run(["usage", "--config", config])).stdout, "Nothing was spent")
    await run(["send", "--config", config, "--session", "work", "hello"])
    const { code, stdout } = await run(["usage", "--by", "model", "--config", config])
    assert.strictEqual(code, 0)
    assert.match(stdout, /^MODEL +MONEY +IN +OUT +CACHED +CALLS\nfake\/fake-model +unknown +\d+ /)
    assert.include(stdout, "The price of 1 of 1 calls is not known")
    const json = JSON.parse((await run(["usage", "--session", "work", "--config", config, "--json"])).stdout)
    assert.strictEqual(json.total.calls, 1)
    const wrong = await run(["usage", "--since", "monday", "--config", config])
    assert.strictEqual(wrong.code, 64)
    assert.match(wrong.stderr, /since must be a day/)
  })

  it("makes, lists and revokes keys, and tells who did what", slow, async () => {
    const { config, gateway } = await gatewayWith(echo)
    const at = ["--config", config]
    const made = await run(["keys", "create", "--name", "ci", "--scope", "chat", "--expires", "90d", ...at])
    const [key = ""] = made.stdout.split("\n")
    assert.deepStrictEqual([made.code, made.stdout], [0, `${key}\n`])
    assert.match(key, /^ock_[0-9a-z]{26}_[\w-]{43}$/)
    assert.match(made.stderr, /ci \(key_\w+\) may chat as ci, until 20/)
    assert.notInclude(made.stderr, key)
    const ask = (path: string) =>
      fetch(`${gateway.url}${path}`, { headers: { authorization: `Bearer ${key}` } }).then(
        ({ status }) => status
      )
    assert.deepStrictEqual([await ask("/v1/models"), await ask("/api/v1/os/usage")], [200, 403])

    const twice = await run(["keys", "create", "--name", "ci", "--scope", "read", ...at])
    assert.deepStrictEqual([twice.code, twice.stdout], [2, ""])
    const reader = await run(["keys", "create", "--name", "dash", "--scope", "read", "--json", ...at])
    assert.match(JSON.parse(reader.stdout).key, /^ock_/)
    const listed = await run(["keys", "list", ...at])
    assert.match(
      listed.stdout,
      /^NAME +ID +SCOPES +USER +STATE +EXPIRES +LAST USED\nci +key_\w+ +chat +ci +active +20/
    )
    assert.notInclude(listed.stdout, key.slice(-20))
    const as = (token: string) => run(["lanes", "--json", ...at], "", root, { OPENCRAW_GATEWAY_TOKEN: token })
    assert.strictEqual((await as(JSON.parse(reader.stdout).key)).code, 0)
    const shut = await as(key)
    assert.deepStrictEqual([shut.code, shut.stdout], [77, ""])
    assert.match(shut.stderr, /needs a key with the scope read/)
    const revoked = await run(["keys", "revoke", "ci", ...at])
    assert.match(revoked.stdout, /^Revoked: ci \(key_/)
    assert.strictEqual(await ask("/v1/models"), 401)
    assert.strictEqual((await run(["keys", "revoke", "ci", ...at])).code, 2)

    const audit = await run(["audit", "--since", "1h", ...at])
    assert.match(
      audit.stdout,
      /operator +key\.revoked +key_\w+\n.*operator +key\.created .*name=dash user=dash scopes=read\n/
    )
    const one = await run(["audit", "--action", "key.revoked", "--json", ...at])
    assert.lengthOf(JSON.parse(one.stdout).events, 1)
    for (const args of [
      ["keys", "create", "--name", "x"],
      ["keys", "create", "--name", "x", "--scope", "write"],
      ["keys", "create", "--name", "x", "--scope", "chat", "--expires", "soon"],
      ["audit", "--limit", "1001"],
      ["audit", "--action", "nothing"]
    ]) {
      assert.strictEqual((await run([...args, ...at])).code, 64, args.join(" "))
    }
  })

  it("keeps a provider's key, which counts without a restart and is shown nowhere", slow, async () => {
    const provider = await startProvider(({ messages }) => echo(messages.at(-1)?.content ?? ""))
    cleanups.push(provider.stop)
    const { config, folder } = configure(provider.url)
    writeFileSync(config, readFileSync(config, "utf8").replace('api_key = "k"', 'api_key_stored = "work"'))
    const gateway = await startGateway(config)
    track(gateway)
    const at = ["--config", config]
    const ready = () => fetch(`${gateway.url}/ready`).then(({ status }) => status)
    assert.strictEqual(await ready(), 503)
    assert.match(
      (await run(["doctor", ...at, "--offline"])).stdout,
      /stored keys.*\n?.*opencraw credentials set work/
    )

    const set = await run(["credentials", "set", "work", ...at], "sk-very-secret\n")
    assert.deepStrictEqual(set, { code: 0, stdout: "Kept: work\n", stderr: "" })
    assert.strictEqual((await run(["send", ...at, "hello"])).stdout, "You said: hello\n")
    assert.deepStrictEqual(provider.keys, ["Bearer sk-very-secret"])
    await until("the check", async () => (await ready()) === 200)
    const listed = await run(["credentials", "list", ...at])
    assert.match(listed.stdout, /^NAME +SET +ENCRYPTED WITH\nwork +(now|\d+ s ago) +[0-9a-f]{12}\n$/)
    assert.strictEqual((await run(["credentials", "rotate", ...at])).stdout, "0 were encrypted anew.\n")
    const whatIf = await run(["what-if", "main", "--system", "x", ...at])
    assert.deepStrictEqual([whatIf.code, whatIf.stdout], [78, ""])
    assert.match(whatIf.stderr, /stored credential/)
    const audit = await run(["audit", ...at])
    assert.match(audit.stdout, /operator +credential\.set +work/)
    assert.notInclude(listed.stdout + audit.stdout + gateway.stderr(), "sk-very-secret")
    for (const name of readdirSync(join(folder, "data"))) {
      assert.notInclude(readFileSync(join(folder, "data", name)).toString("latin1"), "sk-very-secret", name)
    }
    assert.strictEqual((await run(["credentials", "delete", "work", ...at])).stdout, "Forgotten: work\n")
    assert.strictEqual((await run(["credentials", "delete", "work", ...at])).code, 2)
    assert.strictEqual((await run(["credentials", "set", "work", ...at], "two words")).code, 64)
    assert.strictEqual((await run(["credentials", "set", "work", ...at], " \n")).code, 64)
  })

  it("is not told with another token, and without a gateway it is said what to do", slow, async () => {
    const { config } = await gatewayWith(echo)
    const wrong = await run(["lanes", "--config", config], "", root, { OPENCRAW_GATEWAY_TOKEN: "another" })
    assert.strictEqual(wrong.code, 77)
    assert.match(wrong.stderr, /refused the token/)
    const none = await run(["chat"], "", newFolder(), { OPENCRAW_DATA_DIR: newFolder() })
    assert.strictEqual(none.code, 69)
    assert.match(none.stderr, /No gateway runs .* Start one/)
  })
})

describe("config", () => {
  it("show tells what is in force and no secret", slow, async () => {
    const { config } = configure("http://127.0.0.1:1/v1")
    const text = readFileSync(config, "utf8").replace('api_key = "k"', 'api_key = "sk-verysecret"')
    writeFileSync(config, text)
    for (const args of [[], ["--json"]]) {
      const { code, stdout } = await run(["config", "show", "--config", config, ...args])
      assert.strictEqual(code, 0)
      assert.include(stdout, "fake/fake-model")
      assert.include(stdout, "<set, not shown>")
      assert.notInclude(stdout, "verysecret")
      assert.notInclude(stdout, "test-token")
    }
  })

  it("check names every problem, and keys every key", slow, async () => {
    const file = join(newFolder(), "c.toml")
    writeFileSync(file, "[queue]\ncapp = 3\n[gateway]\nport = 99999\n", { mode: 0o600 })
    const wrong = await run(["config", "check", "--config", file])
    assert.strictEqual(wrong.code, 78)
    for (const part of ["queue.capp", "cap?", "gateway.port"]) assert.include(wrong.stdout, part)
    const json = JSON.parse((await run(["config", "check", "--config", file, "--json"])).stdout)
    assert.deepInclude(json, { ok: false, file })
    assert.match((await run(["config", "keys", "queue"])).stdout, /cap +20/)
    assert.strictEqual((await run(["config", "keys", "quue"])).code, 64)
  })

  it("init writes a checked file for its owner only, and leaves an existing one alone", slow, async () => {
    const folder = mkdtempSync(join(tmpdir(), "opencraw-"))
    const file = join(folder, "opencraw.toml")
    const init = (...args: ReadonlyArray<string>) => run(["config", "init", ...args], "sk-typed\n", folder)
    const first = await init("--model", "openai/gpt-5", "--api-key", "-", "--port", "0")
    assert.strictEqual(first.code, 0, first.stderr)
    assert.strictEqual(statSync(file).mode & 0o777, 0o600)
    assert.strictEqual((await run(["config", "check"], "", folder)).code, 0)
    assert.include(readFileSync(file, "utf8"), 'api_key = "sk-typed"')

    const second = await init("--model", "ollama/llama3.2")
    assert.deepStrictEqual([second.code, /exists already.*--force/.test(second.stderr)], [73, true])
    assert.include(readFileSync(file, "utf8"), "openai/gpt-5")
    assert.strictEqual((await init("--model", "ollama/llama3.2", "--force")).code, 0)
    assert.include(readFileSync(file, "utf8"), "ollama/llama3.2")
    assert.deepStrictEqual(readdirSync(folder), ["opencraw.toml"])
  })

  it("init writes nothing that could not be used", slow, async () => {
    const folder = newFolder()
    const init = (...args: ReadonlyArray<string>) =>
      run(["config", "init", ...args], "", folder, { OPENAI_API_KEY: "" })
    const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, RegExp]> = [
      [["--model", "gpt-5"], 64, /provider\/model/],
      [["--model", "opnai/gpt-5"], 78, /no provider named opnai/],
      [["--api-key", "x"], 64, /needs --model/],
      [["--model", "openai/gpt-5", "--api-key", "a", "--api-key-env", "B"], 64, /not both/],
      [["--model", "mine/m", "--base-url", "ftp://x"], 78, /http or https/],
      [["--port", "70000"], 78, /gateway\.port/],
      [["--channel", "pigeon"], 64, /webchat/]
    ]
    for (const [args, code, words] of cases) {
      const ended = await init(...args)
      assert.strictEqual(ended.code, code, ended.stderr)
      assert.match(ended.stderr, words)
    }
    assert.isFalse(existsSync(join(folder, "opencraw.toml")))
    const later = await init("--model", "openai/gpt-5", "--api-key-env", "LATER_KEY")
    assert.match(later.stdout, /set the environment variable LATER_KEY/)
    assert.notInclude(readFileSync(join(folder, "opencraw.toml"), "utf8"), "set later")
    const gemini = (env: Record<string, string>) =>
      run(["config", "init", "--model", "google/gemini-3.8-flash", "--force"], "", folder, env)
    const unset = { GEMINI_API_KEY: "", GOOGLE_API_KEY: "" }
    assert.match((await gemini(unset)).stdout, /set the environment variable GEMINI_API_KEY/)
    assert.notInclude((await gemini({ ...unset, GOOGLE_API_KEY: "k" })).stdout, "environment variable")
  })
})
