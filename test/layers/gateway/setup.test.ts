import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import { Auth } from "#src/gateway/Auth.ts"
import { ask, folder, layer, type Options, post } from "./startGateway.ts"

const route = "/api/v1/os/setup"
const key = "sk-very-secret"

const startedIn = <A, E, R>(
  start: NonNullable<Options["start"]>,
  program: (folder: string) => Effect.Effect<A, E, R>
) =>
  Effect.flatMap(folder, (made) =>
    program(made).pipe(Effect.provide(layer({ start: { inForce: null, folder: made, ...start } })))
  )

describe("setting up the first model", () => {
  it.effect("writes a checked file for its owner only, tells what to do next, and nobody the key", () => {
    const logged: Array<unknown> = []
    const logger = Logger.make(({ message, cause }) => void logged.push(message, cause))
    return startedIn({}, (made) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* ask("/auth/me")).json.setup, "offered")
        const done = yield* post(route, { model: "openai/gpt-5", api_key: ` ${key}\n`, channel: "webchat" })
        const file = join(made, "opencraw.toml")

        assert.strictEqual(done.status, 201)
        assert.deepInclude(done.json, { file, model: "openai/gpt-5" })
        assert.match(done.json.next, /^Restart the gateway/)
        assert.strictEqual(statSync(file).mode & 0o777, 0o600)
        assert.include(readFileSync(file, "utf8"), `api_key = "${key}"`)
        assert.deepStrictEqual(readdirSync(made), ["opencraw.toml"])
        // It does not pretend: the demo answers until the restart.
        const me = (yield* ask("/auth/me")).json
        assert.deepInclude(me, { demo: true, setup: "restart" })
        assert.notInclude(done.text + JSON.stringify(me) + JSON.stringify(logged), key)
        assert.include(JSON.stringify(logged), "a configuration was written")
      })
    ).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("leaves a file that is in force, or was written meanwhile, alone", () =>
    Effect.gen(function* () {
      yield* startedIn({ inForce: "/etc/opencraw.toml" }, (made) =>
        Effect.gen(function* () {
          assert.isUndefined((yield* ask("/auth/me")).json.setup)
          const refused = yield* post(route, { model: "ollama/llama3.2" })
          assert.deepStrictEqual([refused.status, refused.json.error.code], [409, "already_configured"])
          assert.deepStrictEqual(readdirSync(made), [])
        })
      )
      for (const name of ["opencraw.toml", ".opencraw/config.toml"]) {
        yield* startedIn({}, (made) =>
          Effect.gen(function* () {
            mkdirSync(join(made, ".opencraw"))
            writeFileSync(join(made, name), "# mine")
            const refused = yield* post(route, { model: "ollama/llama3.2" })
            assert.strictEqual(refused.status, 409)
            assert.strictEqual(readFileSync(join(made, name), "utf8"), "# mine")
            assert.strictEqual(existsSync(join(made, "opencraw.toml")), name === "opencraw.toml")
          })
        )
      }
    })
  )

  it.effect("lets one of two that come at once write", () =>
    startedIn({}, () =>
      Effect.gen(function* () {
        const both = yield* Effect.all(
          ["ollama/one", "ollama/two"].map((model) => post(route, { model })),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(both.map(({ status }) => status).toSorted(), [201, 409])
      })
    )
  )

  it.effect("refuses by name what no gateway could start with, and writes nothing", () => {
    const cases: ReadonlyArray<readonly [Record<string, unknown>, string, RegExp]> = [
      [{}, "model", /provider\/model/],
      [{ model: "gpt-5" }, "model", /provider\/model/],
      [{ model: 5 }, "model", /string/],
      [{ model: "a b/c" }, "model", /letters/],
      [{ model: "opnai/gpt-5", api_key: key }, "model", /no provider named opnai.*base_url.*openai/],
      [{ model: "openai/gpt-5" }, "api_key", /OPENAI_API_KEY/],
      [{ model: "openai/gpt-5", api_key: "two words" }, "api_key", /one word/],
      [{ model: "openai/gpt-5", api_key: "sk-${HOME}" }, "api_key", /one word/],
      [{ model: "openai/gpt-5", api_key: "x".repeat(2001) }, "api_key", /2000/],
      [{ model: "mine/m", base_url: "ftp://x", api_key: key }, "base_url", /http or https/],
      [{ model: "ollama/m", channel: "pigeon" }, "channel", /webchat/],
      [{ model: "ollama/m", colour: "red" }, "colour", /not known/],
      [{ model: "ollama/m", __proto__x: 1 }, "__proto__x", /not known/]
    ]
    return startedIn({ env: { OPENAI_API_KEY: "" } }, (made) =>
      Effect.gen(function* () {
        for (const [body, param, words] of cases) {
          const { status, json, text } = yield* post(route, body)
          assert.deepStrictEqual([status, json.error.param], [400, param], text)
          assert.match(json.error.message, words)
          assert.notInclude(text, key)
        }
        assert.strictEqual((yield* post(`${route}?x=1`, { model: "ollama/m" })).status, 400)
        assert.deepStrictEqual(readdirSync(made), [])
        assert.strictEqual((yield* ask("/auth/me")).json.setup, "offered")
      })
    )
  })

  it.effect("takes the key from the variable that usually holds it", () =>
    startedIn({ env: { OPENAI_API_KEY: key } }, (made) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* post(route, { model: "openai/gpt-5", api_key: "" })).status, 201)
        assert.notInclude(readFileSync(join(made, "opencraw.toml"), "utf8"), key)
      })
    )
  )

  it.effect("says that a variable would win over the file", () =>
    startedIn({ env: { OPENCRAW_MODEL: "demo/demo" } }, (made) =>
      Effect.gen(function* () {
        const refused = yield* post(route, { model: "ollama/m" })
        assert.strictEqual(refused.status, 400)
        assert.match(refused.json.error.message, /OPENCRAW_MODEL/)
        assert.deepStrictEqual(readdirSync(made), [])
      })
    )
  )

  it.effect("says that the folder is gone", () =>
    startedIn({ folder: "/nowhere/at/all" }, () =>
      Effect.gen(function* () {
        const refused = yield* post(route, { model: "ollama/m" })
        assert.deepStrictEqual([refused.status, refused.json.error.code], [500, "config_not_writable"])
      })
    )
  )

  it.effect("is for admins, and for a browser on our own page only", () =>
    startedIn({}, (made) =>
      Effect.gen(function* () {
        const { url } = yield* NodeServer.NodeServer
        const auth = yield* Auth
        const cookie = `opencraw_session=${yield* auth.redeem(yield* auth.newCode, "")}`
        const status = (headers: Record<string, string>) =>
          Effect.promise(() =>
            fetch(url + route, {
              method: "POST",
              headers: { "content-type": "application/json", ...headers },
              body: JSON.stringify({ model: "ollama/m" })
            }).then((response) => response.status)
          )
        assert.strictEqual(yield* status({}), 401)
        assert.strictEqual(yield* status({ cookie }), 403)
        assert.strictEqual(yield* status({ cookie, origin: "http://localhost:1" }), 403)
        assert.deepStrictEqual(readdirSync(made), [])
        assert.strictEqual(yield* status({ cookie, origin: url }), 201)
      })
    )
  )
})
