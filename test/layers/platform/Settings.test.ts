import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Settings from "#layers/platform/Settings.ts"
import { Agents } from "#src/agent/AgentSettings.ts"
import type { ConfigInvalid, Environment } from "#src/Config.ts"
import { ContextWindow } from "#src/context/ContextSettings.ts"
import { Gateway } from "#src/gateway/GatewaySettings.ts"
import { Queue } from "#src/lane/QueueSettings.ts"
import { Providers } from "#src/model/ProviderSettings.ts"
import { format } from "#src/setting/Problem.ts"
import { Runtime } from "#src/setting/RuntimeSettings.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-settings-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const write = (path: string, text: string, mode = 0o600) =>
  Effect.sync(() => {
    writeFileSync(path, text)
    chmodSync(path, mode)
  })

// What is wrong with a file of this text, as printed.
const problemsOf = (text: string, env: Environment = {}) =>
  Effect.gen(function* () {
    const home = yield* folder
    const file = join(home, "opencraw.toml")
    yield* write(file, text)
    const error: ConfigInvalid = yield* Effect.flip(Settings.load({ argvConfig: file, env, cwd: home, home }))
    assert.strictEqual(error.file, file)
    return {
      lines: error.problems.map(format),
      numbers: error.problems.map(({ line }) => line),
      text: error.message
    }
  })

describe("Settings", () => {
  it.effect("gives every room its settings, with defaults, the shorthand, overrides and resolved keys", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Queue).get().cap, 7)
      assert.strictEqual((yield* ContextWindow).get().min_recent_messages, 4)
      const agents = (yield* Agents).get()
      assert.strictEqual(agents["main"]?.model, "fake/big")
      assert.strictEqual(agents["main"]?.max_steps, 3)
      assert.strictEqual(agents["ops"]?.model, "demo/demo")
      const gateway = (yield* Gateway).get()
      assert.strictEqual(gateway.port, 0)
      assert.strictEqual(gateway.token && Redacted.value(gateway.token), "sesame")
      const providers = (yield* Providers).get()
      const key = providers["fake"]?.api_key
      assert.strictEqual(key && Redacted.value(key), "sk-9")
      assert.strictEqual(providers["openai"]?.base_url, "https://api.openai.com/v1")
      assert.notInclude(JSON.stringify(providers), "sk-9")
      assert.strictEqual((yield* Runtime).get().mode, "dev")
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take((yield* Runtime).changes, 1)), [
        { mode: "dev" }
      ])
    }).pipe(
      Effect.provide(
        Settings.layerFrom(
          {
            general: { model: "fake/big" },
            agents: { main: { max_steps: 3 }, ops: {} },
            providers: {
              fake: { kind: "openai-chat", base_url: "http://127.0.0.1:1/v1", api_key: "${FAKE_KEY}" }
            },
            queue: { cap: 7 }
          },
          { FAKE_KEY: "sk-9", OPENCRAW_PORT: "0", OPENCRAW_GATEWAY_TOKEN: "sesame", OPENAI_API_KEY: "sk-8" }
        )
      )
    )
  )

  it.effect("looks for the file where it was told, then here, then in the data directory", () =>
    Effect.gen(function* () {
      const home = yield* folder
      const cwd = yield* folder
      const env = { OPENCRAW_DATA_DIR: join(home, "data") }
      const capOf = (options: Settings.LoadOptions) =>
        Effect.map(Settings.load({ env, cwd, home, ...options }), ({ config }) => config.queue.cap)

      assert.strictEqual(yield* capOf({}), 20)
      yield* write(join(home, "config.toml"), "[queue]\ncap = 1")
      assert.strictEqual(yield* capOf({ env: { OPENCRAW_DATA_DIR: home } }), 1)
      yield* write(join(cwd, "opencraw.toml"), "[queue]\ncap = 2")
      assert.strictEqual(yield* capOf({ env: { OPENCRAW_DATA_DIR: home } }), 2)
      yield* write(join(home, "other.toml"), "[queue]\ncap = 3")
      assert.strictEqual(yield* capOf({ env: { ...env, OPENCRAW_CONFIG: join(home, "other.toml") } }), 3)
      yield* write(join(cwd, "named.toml"), "[queue]\ncap = 4")
      const named = { argvConfig: "named.toml", env: { ...env, OPENCRAW_CONFIG: join(home, "other.toml") } }
      assert.strictEqual(yield* capOf(named), 4)
    })
  )

  it.effect("fails when the file it was told to use does not exist", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Settings.load({ argvConfig: "/nowhere/x.toml", env: {} }))

      assert.deepStrictEqual(error.problems.map(format), ["cannot be read (ENOENT)"])
    })
  )

  it.effect("sees paths from the file they stand in, and the data directory from where it was set", () =>
    Effect.gen(function* () {
      const home = yield* folder
      yield* write(
        join(home, "c.toml"),
        '[runtime]\ndata_dir = "data"\n[general]\nmodel = "demo/demo"\nworkspace = "~/work"'
      )
      const options = { argvConfig: "c.toml", cwd: home, home: "/home/ann" }

      const plain = yield* Settings.load({ ...options, env: {} })
      const moved = yield* Settings.load({ ...options, env: { OPENCRAW_DATA_DIR: "elsewhere" } })

      assert.strictEqual(plain.config.runtime.data_dir, join(home, "data"))
      assert.strictEqual(plain.config.agents["main"]?.workspace, "/home/ann/work")
      assert.strictEqual(moved.config.runtime.data_dir, join(home, "elsewhere"))
    })
  )

  it.effect("tells every problem of a file at once, of whatever kind, with path, reason, hint and line", () =>
    Effect.gen(function* () {
      const { lines, numbers } = yield* problemsOf(
        [
          "[general]",
          'modle = "x/y"',
          "[queue]",
          'mode = "collect"',
          "cap = 0",
          'drop = "${NOPE}"',
          "[agents.main]",
          'model = "opnai/gpt"',
          '[agents."My Agent"]',
          "max_step = 3",
          "[providers.fake]",
          'kind = "openai-chat"',
          'api_key = "sk-1"',
          'api_key_env = "FAKE_KEY"'
        ].join("\n"),
        { OPENCRAW_PORT: "70000" }
      )

      assert.deepStrictEqual(lines, [
        "queue.drop: the environment variable NOPE is not set",
        "general.modle: unknown key (did you mean model?)",
        'agents."My Agent".max_step: unknown key (did you mean max_steps?)',
        "gateway.port: must be between 0 and 65535 (set by OPENCRAW_PORT)",
        "queue.cap: must be greater than or equal to 1",
        'agents."My Agent": an agent\'s name is of lower-case letters, digits, _ and - (my-agent would be one)',
        "agents.main.model: no provider named opnai is built in or configured (did you mean openai?)",
        "providers.fake.api_key: api_key_env is set as well (keep one of the two)"
      ])
      assert.deepStrictEqual(numbers, [6, 2, 10, undefined, 5, 9, 8, 13])
    })
  )

  it.effect("says what prod lacks in one report", () =>
    Effect.gen(function* () {
      const { lines } = yield* problemsOf('[runtime]\nmode = "prod"\n[queue]\ndrop = "old"')

      assert.deepStrictEqual(lines, [
        "postgres.url: prod needs a database (or set OPENCRAW_POSTGRES_URL)",
        "gateway.token: prod needs a token (or set OPENCRAW_GATEWAY_TOKEN)",
        "general.model: prod needs a model"
      ])
    })
  )

  it.effect("refuses a key that stands in general and in agents.main", () =>
    Effect.gen(function* () {
      const { lines } = yield* problemsOf(
        '[general]\nmodel = "demo/demo"\n[agents.main]\nmodel = "demo/demo"'
      )

      assert.deepStrictEqual(lines, ["general.model: is also set as agents.main.model (keep one of the two)"])
    })
  )

  it.effect("checks the provider of a model that is used, and no other", () =>
    Effect.gen(function* () {
      const using = (model: string, text = "") =>
        Effect.map(problemsOf(text, { OPENCRAW_MODEL: model }), (p) => p.lines)

      assert.deepStrictEqual(yield* using("openai/gpt"), [
        "providers.openai.api_key: is missing (or set OPENAI_API_KEY)"
      ])
      assert.deepStrictEqual(yield* using("anthropic/x"), [
        "providers.anthropic.api_key: is missing (or set ANTHROPIC_API_KEY)"
      ])
      assert.deepStrictEqual(yield* using("r/x", '[providers.r]\nkind = "openai-responses"'), [
        "providers.r.base_url: is missing"
      ])
      assert.deepStrictEqual(yield* using("r/x", '[providers.r]\nkind = "replay"'), [
        "providers.r.folder: is missing"
      ])
      assert.deepStrictEqual(yield* using("fake/x", '[providers.fake]\nkind = "openai-chat"'), [
        "providers.fake.base_url: is missing"
      ])
      assert.deepStrictEqual(
        yield* using(
          "fake/x",
          '[providers.fake]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:1"\napi_key_env = "UNSET"'
        ),
        ["providers.fake.api_key_env: the environment variable UNSET is not set"]
      )
      assert.deepStrictEqual(yield* using("gpt"), [
        "general.model: must read provider/model (set by OPENCRAW_MODEL)"
      ])
      const unused = yield* Effect.exit(
        Effect.provide(
          Effect.void,
          Settings.layerFrom({ providers: { other: { kind: "openai-chat", api_key_env: "UNSET" } } })
        )
      )
      assert.strictEqual(unused._tag, "Success")
    })
  )

  it.effect("names what projects' databases and a program with the keys lack", () =>
    Effect.gen(function* () {
      const prod = `[runtime]\nmode = "prod"\n[postgres]\nurl = "postgres://a/b"\n[gateway]\ntoken = "t"\n`
      const agent = (tools: string) =>
        `[general]\nmodel = "fake/x"\n${tools}[providers.fake]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:1"\n`
      const wanting = agent('tools = ["database.query"]\n')
      const linesOf = (text: string, env: Environment = {}) =>
        Effect.map(problemsOf(prod + text, env), ({ lines }) => lines)
      assert.deepStrictEqual(yield* linesOf(wanting), [
        "general.tools: the database tools need a server for the projects' databases (set project_db.url, or OPENCRAW_PROJECT_DB_URL)"
      ])
      assert.sameMembers(yield* linesOf(wanting, { OPENCRAW_PROJECT_DB_URL: "mysql://a/b" }), [
        "project_db.url: must begin with postgres:// (set by OPENCRAW_PROJECT_DB_URL)",
        "secrets.key: project_db.url needs a key: the passwords of its users are made from it (or set OPENCRAW_SECRETS_KEY; openssl rand -base64 32 makes one)"
      ])
      assert.deepStrictEqual(
        yield* linesOf(`${agent("")}[secrets]\nkey_command = ["vault"]\n`, {
          OPENCRAW_SECRETS_KEY: Buffer.alloc(32, 7).toString("hex")
        }),
        [
          "secrets.key_command: there is a secrets.key already (keep one of the two (OPENCRAW_SECRETS_KEY sets secrets.key))"
        ]
      )
    })
  )

  it.effect("names what is wrong with stored keys and with what opens them, all at once", () =>
    Effect.gen(function* () {
      const stored =
        '[providers.fake]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:1"\napi_key_stored = "work"\n'
      const model = '[general]\nmodel = "fake/x"\n'
      const { lines, text } = yield* problemsOf(
        `${model}${stored}api_key = "hunter2"\n[runtime]\nmode = "prod"\n[secrets]\nkey = "hunter2"\n[providers.more]\nkind = "demo"\n[providers.more.profiles.a]\napi_key_env = "HOME"\napi_key_stored = "x"\n`,
        { HOME: "/" }
      )
      assert.sameMembers(lines, [
        "postgres.url: prod needs a database (or set OPENCRAW_POSTGRES_URL)",
        "gateway.token: prod needs a token (or set OPENCRAW_GATEWAY_TOKEN)",
        "secrets.key: must be a key of 32 bytes in base64 or hex, older ones behind it with commas between (openssl rand -base64 32 makes one)",
        "providers.fake.api_key: api_key_stored is set as well (keep one of the two)",
        "providers.more.profiles.a.api_key_env: api_key_stored is set as well (keep one of the two)"
      ])
      assert.notInclude(text, "hunter2")

      const prod = `${model}${stored}[runtime]\nmode = "prod"\n[postgres]\nurl = "postgres://a/b"\n[gateway]\ntoken = "t"\n`
      assert.deepStrictEqual((yield* problemsOf(prod)).lines, [
        "secrets.key: prod needs a key to read the credential that providers.fake.api_key_stored names (or set OPENCRAW_SECRETS_KEY; openssl rand -base64 32 makes one)"
      ])
      assert.deepStrictEqual((yield* problemsOf(prod, { OPENCRAW_SECRETS_KEY: "short" })).lines, [
        "secrets.key: must be a key of 32 bytes in base64 or hex, older ones behind it with commas between (openssl rand -base64 32 makes one; set by OPENCRAW_SECRETS_KEY)"
      ])
      const home = yield* folder
      const load = (env: Environment, config: string) =>
        Effect.andThen(
          write(join(home, "opencraw.toml"), config),
          Settings.load({ argvConfig: join(home, "opencraw.toml"), env, cwd: home, home })
        )
      const bytes = Buffer.alloc(32, 7)
      for (const key of [
        bytes.toString("base64"),
        bytes.toString("hex"),
        `${bytes.toString("base64url")}, ${bytes.toString("hex")}`
      ]) {
        assert.strictEqual((yield* load({ OPENCRAW_SECRETS_KEY: key }, prod)).config.runtime.mode, "prod")
      }
      // In dev the gateway makes a key itself, and a usual key's variable is not asked for beside a stored one.
      const dev = yield* load(
        {},
        '[general]\nmodel = "openai/gpt-5"\n[providers.openai]\napi_key_stored = "work"\n'
      )
      assert.strictEqual(dev.config.providers["openai"]?.api_key_stored, "work")
      assert.isUndefined(dev.config.providers["openai"]?.api_key_env)
    })
  )

  it.effect(
    "takes Google's key from either of its two usual variables, the own one first, for its own address",
    () =>
      Effect.gen(function* () {
        const keyIn = (env: Record<string, string>, text: object = {}) =>
          Effect.flatMap(Providers, (providers) => {
            const { google } = providers.get()
            return Effect.succeed(google?.api_key === undefined ? undefined : Redacted.value(google.api_key))
          }).pipe(Effect.provide(Settings.layerFrom({ general: { model: "google/x" }, ...text }, env)))
        const elsewhere = { providers: { google: { base_url: "http://127.0.0.1:1" } } }

        assert.strictEqual(yield* keyIn({ GEMINI_API_KEY: "a", GOOGLE_API_KEY: "b" }), "a")
        assert.strictEqual(yield* keyIn({ GEMINI_API_KEY: "", GOOGLE_API_KEY: "b" }), "b")
        assert.isUndefined(yield* keyIn({ GEMINI_API_KEY: "a", GOOGLE_API_KEY: "b" }, elsewhere))
        assert.deepStrictEqual((yield* problemsOf("", { OPENCRAW_MODEL: "google/x" })).lines, [
          "providers.google.api_key: is missing (or set GEMINI_API_KEY)"
        ])
      })
  )

  it.effect("answers with the demo when only a key is set, and says so", () =>
    Effect.gen(function* () {
      const home = yield* folder
      const loaded = yield* Settings.load({ env: { OPENAI_API_KEY: "sk-1" }, cwd: home, home })

      assert.strictEqual(loaded.config.agents["main"]?.model, "demo/demo")
      assert.deepStrictEqual(loaded.warnings.map(format), [
        'general.model: no model is configured, so the built-in demo answers (set model = "provider/model" under [general])'
      ])
    })
  )

  it.effect("warns of a secret in a file that everybody may read", () =>
    Effect.gen(function* () {
      const home = yield* folder
      const file = join(home, "c.toml")
      const warnings = Effect.map(
        Settings.load({ argvConfig: file, env: { OPENCRAW_MODEL: "demo/demo", T: "t" }, cwd: home, home }),
        (loaded) => loaded.warnings.map(format)
      )

      yield* write(file, '[gateway]\ntoken = "hunter2"', 0o644)
      assert.deepStrictEqual(yield* warnings, [
        `${file} holds a secret and everybody may read it (chmod 600 ${file})`
      ])
      yield* write(file, '[gateway]\ntoken = "hunter2"', 0o600)
      assert.deepStrictEqual(yield* warnings, [])
      yield* write(file, '[gateway]\ntoken = "${T}"', 0o644)
      assert.deepStrictEqual(yield* warnings, [])
    })
  )

  it.effect("never prints a secret, whatever is wrong around it", () =>
    Effect.gen(function* () {
      for (const text of [
        '[gateway]\ntoken = "hunter2"\nprot = 1',
        "[gateway]\ntoken = hunter2",
        '[gateway]\ntoken = ["hunter2"]',
        '[gateway]\ntokn = "hunter2"',
        '[providers.x]\nkind = "demo"\napi_key = "hunter2"\napi_key = "hunter2"',
        '[providers.fake]\nkind = "openai-chat"\nbase_url = "hunter2"\napi_key_env = "hunter2"',
        '[gateway]\ntoken = "hunter2\n'
      ]) {
        const error = yield* problemsOf(text, { OPENCRAW_MODEL: "fake/x" })

        assert.notInclude(error.text, "hunter2")
        assert.isAbove(error.lines.length, 0)
      }
    })
  )

  it.effect("tells where a file stops being TOML", () =>
    Effect.gen(function* () {
      const bad = yield* problemsOf("[queue]\ncap = \n")

      assert.deepStrictEqual(bad.lines, ["is not valid TOML: Expected a value"])
      assert.deepStrictEqual(bad.numbers, [2])
    })
  )

  it.effect("resolves aliases and the keys of profiles", () =>
    Effect.gen(function* () {
      const home = yield* folder
      const file = join(home, "opencraw.toml")
      yield* write(
        file,
        `[general]
model = "smart"
fallbacks = ["FAST", "openrouter/x"]
[models.aliases]
smart = "openai/gpt-5"
fast = "anthropic/claude-haiku"
[providers.openai.profiles.work]
api_key_env = "WORK_KEY"
[providers.openai.profiles.spare]
api_key = "key-spare"
[providers.anthropic]
api_key = "k"
[providers.openrouter]
api_key = "k"
`
      )
      const { config } = yield* Settings.load({
        argvConfig: file,
        env: { WORK_KEY: "key-work" },
        cwd: home,
        home
      })

      const main = config.agents["main"]
      assert.strictEqual(main?.model, "openai/gpt-5")
      assert.deepStrictEqual(main?.fallbacks, ["anthropic/claude-haiku", "openrouter/x"])
      const { work, spare } = config.providers["openai"]?.profiles ?? {}
      assert.deepStrictEqual(
        [work, spare].map((one) => one?.api_key && Redacted.value(one.api_key)),
        ["key-work", "key-spare"]
      )
      assert.notInclude(JSON.stringify(config), "key-")
    })
  )

  it.effect(
    "names what is wrong with fallbacks, aliases and profiles, all at once and without a secret",
    () =>
      Effect.gen(function* () {
        const { lines } = yield* problemsOf(`[general]
model = "demo/demo"
fallbacks = ["nothing", "nobody/x"]
[models]
allow = ["openai/*", "gpt"]
[models.aliases]
odd = "no reference"
[providers.mine]
kind = "openai-chat"
base_url = "http://a.test/v1"
profile_order = ["a", "zz"]
[providers.mine.profiles.a]
api_key = "key-secret"
api_key_env = "NAME"
[providers.mine.profiles.b]
[providers.mine.profiles.c]
api_key_env = "UNSET_NAME"
`)

        assert.deepStrictEqual(lines, [
          "general.fallbacks[0]: must read provider/model",
          "general.fallbacks[1]: no provider named nobody is built in or configured (add providers.nobody)",
          "models.aliases.odd: must read provider/model",
          "providers.mine.profiles.a.api_key: api_key_env is set as well (keep one of the two)",
          "providers.mine.profiles.b.api_key: is missing (or set api_key_env or api_key_stored)",
          "providers.mine.profiles.c.api_key_env: the environment variable it names is not set",
          "providers.mine.profile_order[1]: is no profile of it",
          "models.allow[1]: must read provider/model"
        ])
      })
  )
})
