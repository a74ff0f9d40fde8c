/** A model that fails, seen from outside: the real program, its commands, and a provider that is not ours. */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { LLMock } from "@copilotkit/aimock"
import { afterEach, assert, describe, it } from "vitest"
import { api, configure, type Gateway, startGateway, transcript } from "./gatewayProcess.ts"

const cleanups: Array<() => void | Promise<void>> = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})
const track = (gateway: Gateway): Gateway => {
  cleanups.push(() => void gateway.child.kill("SIGKILL"))
  return gateway
}
const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (...args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, [join(root, "layers/main.ts"), ...args], {
    encoding: "utf8",
    timeout: 20_000
  })

const send = async (gateway: Gateway, content: string) => {
  const response = await api(gateway, "/v1/chat/completions", {
    method: "POST",
    headers: { "x-opencraw-session-key": "s" },
    body: JSON.stringify({ model: "opencraw", messages: [{ role: "user", content }] })
  })
  const body = (await response.json()) as {
    readonly choices?: ReadonlyArray<{ readonly message: { readonly content: string } }>
    readonly error?: { readonly message: string }
  }
  return body.choices?.[0]?.message.content ?? body.error?.message
}

describe("a model that fails", () => {
  it(
    "is replaced by the next, told in a line, and still left alone after kill -9",
    { timeout: 60_000 },
    async () => {
      const mock = new LLMock({ port: 0, host: "127.0.0.1" })
      mock
        .on({ model: "fake-model" }, { error: { message: "limit reached" }, status: 429, retryAfter: 3600 })
        .on({ model: "spare" }, { content: "from the spare" })
      await mock.start()
      cleanups.push(() => mock.stop())
      const extra = `[providers.other]\nkind = "openai-chat"\nbase_url = "${mock.url}/v1"\napi_key = "secret-key-1"\n[agents.main]\nfallbacks = ["other/spare"]\n`
      const { config } = configure(`${mock.url}/v1`, extra)

      const first = track(await startGateway(config))
      assert.strictEqual(await send(first, "one"), "from the spare")
      const told = run("models", "status", "--config", config)
      first.child.kill("SIGKILL")
      await first.exited
      const second = track(await startGateway(config))
      assert.strictEqual(await send(second, "two"), "from the spare")

      const asked = mock.getRequests().map(({ body }) => body !== null && "model" in body && body.model)
      assert.deepStrictEqual(asked, ["fake-model", "spare", "spare"], "the limited one is not asked again")
      assert.match(told.stdout, /fake +fake\/fake-model +cooling +rate_limit/)
      assert.strictEqual(told.status, 0)
      const lines = (await transcript(second, "s")).map(({ content }) => content)
      assert.include(
        lines,
        "other/spare answered, because fake/fake-model could not: the provider is limiting our rate."
      )
      assert.notInclude(first.stderr() + second.stderr() + told.stdout, "secret-key-1")
      const listed = run("models", "list", "--config", config)
      assert.match(listed.stdout, /fake\/fake-model +main .*resting/)
      assert.match(listed.stdout, /other\/spare +main +ready/)
    }
  )
})
