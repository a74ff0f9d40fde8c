import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as Test from "#layers/Test.ts"
import { Failover } from "#src/model/Failover.ts"
import {
  ModelCutOff,
  type ModelError,
  ModelMalformed,
  ModelRateLimited,
  ModelRejected,
  ModelStalled,
  ModelUnauthorized,
  ModelUnavailable
} from "#src/model/Model.ts"
import { HealthStore, type HealthTable, ModelHealth } from "#src/model/ModelHealth.ts"
import * as Health from "#src/model/ModelHealth.ts"
import { reasonOf } from "#src/model/failure.ts"

const { fail, text } = ScriptedModel

/** Providers a, b and c; b has two profiles. */
const providers = {
  a: { kind: "openai-chat", base_url: "http://a.test/v1" },
  b: {
    kind: "openai-chat",
    base_url: "http://b.test/v1",
    profiles: { one: { api_key: "key-one" }, two: { api_key: "key-two" } }
  },
  c: { kind: "openai-chat", base_url: "http://c.test/v1" }
}

const layer = (script: ScriptedModel.Script, models: object = {}) =>
  Test.layerModels({ script, config: { providers, models } }).pipe(
    Layer.provideMerge(Layer.succeed(Logger.CurrentLoggers, new Set()))
  )

interface Told {
  readonly texts: Array<string>
  restarts: number
}

/** One step of a run, as the agent watches it. */
const step = (
  run: ReturnType<Failover["Service"]["open"]>,
  told: Told = { texts: [], restarts: 0 },
  tools: ReadonlyArray<{ name: string; description: string; parameters: { type: "object" } }> = []
) =>
  Stream.runForEach(
    run.stream(
      { messages: [{ role: "user", text: "hi" }], tools, params: {} },
      {
        hasGiven: () => told.texts.length > 0,
        restart: () => void told.restarts++,
        promptTokens: () => 1000
      }
    ),
    (event) => Effect.sync(() => event._tag === "Text" && told.texts.push(event.text))
  )

const open = (chain: ReadonlyArray<string>, session = "s") =>
  Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    return (yield* Failover).open({ session, chain, deadlineAt: () => now + 600_000 })
  })

const asked = Effect.map(ScriptedModel.ModelScript, ({ requests }) =>
  requests().map(({ model, profile }) => (profile === undefined ? model : `${model}@${profile}`))
)

const limited = (retryAfterMillis?: number) =>
  new ModelRateLimited(retryAfterMillis === undefined ? {} : { retryAfterMillis })
const down = new ModelUnavailable({ status: 503, detail: "down" })
const refused = new ModelUnauthorized({ status: 401 })
const unpaid = new ModelRejected({ status: 402, detail: "credit balance too low" })
const nonsense = new ModelRejected({ status: 400, detail: "temperature must be a number" })

/** Go on until the effect ends; fails when it has not within the run's time. */
const turning = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(Effect.result(effect), { startImmediately: true })
    for (let turns = 0; turns < 700 && fiber.pollUnsafe() === undefined; turns++) {
      yield* TestClock.adjust("1 second")
    }
    assert.isDefined(fiber.pollUnsafe(), "the run ends within its time")
    return yield* Fiber.join(fiber)
  })

describe("Failover", () => {
  it.effect(
    "asks the same model again when it failed in passing, not before the time that the provider named",
    () =>
      Effect.gen(function* () {
        const run = yield* open(["a/m", "c/m"])
        const fiber = yield* Effect.forkChild(step(run), { startImmediately: true })

        yield* TestClock.adjust("6999 millis")
        const before = yield* asked
        yield* TestClock.adjust("10 seconds")

        assert.deepStrictEqual(before, ["a/m"])
        assert.deepStrictEqual(yield* asked, ["a/m", "a/m"])
        yield* Fiber.join(fiber)
        assert.isUndefined(run.change())
      }).pipe(Effect.provide(layer([[fail(limited(7000))], "fine"])))
  )

  it.effect("goes on to the next model when the provider asks for more time than a retry may take", () =>
    Effect.gen(function* () {
      const run = yield* open(["a/m", "c/m"])

      yield* step(run)

      assert.deepStrictEqual(yield* asked, ["a/m", "c/m"])
      assert.deepInclude(run.change(), { from: "a/m", to: "c/m", why: "the provider is limiting our rate" })
      const resting = (yield* ModelHealth).resting(yield* Clock.currentTimeMillis)
      assert.deepInclude(resting[0], { provider: "a", model: "a/m", state: "cooling", until: 300_000 })
    }).pipe(Effect.provide(layer([[fail(limited(300_000))], "fine"])))
  )

  it.effect("asks every candidate once, and tells each cause", () =>
    Effect.gen(function* () {
      const run = yield* open(["a/m", "b/m", "c/m"])

      const result = yield* Effect.flip(step(run))

      assert.deepStrictEqual(yield* asked, ["a/m", "b/m@one", "b/m@two", "c/m"])
      assert.strictEqual(result._tag, "ModelsExhausted")
      assert.deepStrictEqual(
        run.attempts(0).map(({ model, profile, kind, reason }) => [model, profile, kind, reason]),
        [
          ["a/m", undefined, "failed", "server_error"],
          ["b/m", "one", "failed", "billing"],
          ["b/m", "two", "failed", "auth"],
          ["c/m", undefined, "failed", "rate_limit"]
        ]
      )
    }).pipe(
      Effect.provide(
        layer([[fail(down)], [fail(unpaid)], [fail(refused)], [fail(limited())]], { attempts: 1 })
      )
    )
  )

  it.effect("rests one model of a provider, not its others", () =>
    Effect.gen(function* () {
      yield* step(yield* open(["a/m", "a/other"]))
      yield* step(yield* open(["a/m", "a/other"]))

      assert.deepStrictEqual(yield* asked, ["a/m", "a/other", "a/other"])
    }).pipe(Effect.provide(layer([[fail(limited())], "one", "two"], { attempts: 1 })))
  )

  it.effect("probes the wished-for model when its rest is over", () =>
    Effect.gen(function* () {
      yield* step(yield* open(["a/m", "c/m"]))
      yield* TestClock.adjust("1 minute")
      const run = yield* open(["a/m", "c/m"])
      yield* step(run)

      assert.deepStrictEqual(yield* asked, ["a/m", "c/m", "a/m"])
      assert.isUndefined(run.change())
      assert.deepStrictEqual((yield* ModelHealth).resting(yield* Clock.currentTimeMillis), [])
    }).pipe(Effect.provide(layer([[fail(limited())], "one", "two"], { attempts: 1 })))
  )

  it.effect("lets one run probe, while the others go on elsewhere", () =>
    Effect.gen(function* () {
      yield* step(yield* open(["a/m", "c/m"]))
      yield* TestClock.adjust("1 minute")
      yield* Effect.forkChild(step(yield* open(["a/m", "c/m"])), { startImmediately: true })
      yield* step(yield* open(["a/m", "c/m"]))

      assert.deepStrictEqual(yield* asked, ["a/m", "c/m", "a/m", "c/m"])
    }).pipe(Effect.provide(layer([[fail(limited())], "one", [ScriptedModel.hang], "two"], { attempts: 1 })))
  )

  it.effect("climbs the ladder while the probes fail", () =>
    Effect.gen(function* () {
      const untils: Array<number> = []
      for (const wait of [60_000, 300_000, 1_500_000, 3_600_000]) {
        yield* Effect.ignore(step(yield* open(["a/m", "c/m"])))
        const now = yield* Clock.currentTimeMillis
        const [first] = (yield* ModelHealth).resting(now)
        untils.push((first?.until ?? 0) - now)
        yield* TestClock.adjust(wait)
      }

      assert.deepStrictEqual(untils, [60_000, 300_000, 1_500_000, 3_600_000])
    }).pipe(
      Effect.provide(layer(({ model }) => (model === "a/m" ? [fail(limited())] : "fine"), { attempts: 1 }))
    )
  )

  it.effect(
    "waits for a model that is back soon when no other is left, and gives up at once on one that is not",
    () =>
      Effect.gen(function* () {
        yield* Effect.ignore(step(yield* open(["a/m"])))
        const waiting = yield* Effect.forkChild(step(yield* open(["a/m"])), { startImmediately: true })
        yield* TestClock.adjust("1 minute")
        yield* Effect.ignore(Fiber.join(waiting))
        const began = yield* Clock.currentTimeMillis
        const refusal = yield* Effect.flip(step(yield* open(["a/m"])))

        assert.deepStrictEqual(yield* asked, ["a/m", "a/m"])
        assert.strictEqual(yield* Clock.currentTimeMillis, began)
        assert.deepInclude(refusal._tag === "ModelsExhausted" ? refusal.attempts[0] : undefined, {
          kind: "resting",
          reason: "rate_limit",
          restsUntil: began + 300_000
        })
      }).pipe(Effect.provide(layer([[fail(limited())], [fail(limited())]], { attempts: 1 })))
  )

  it.effect("still asks the only credential after it was refused or unpaid: it may be mended", () =>
    Effect.gen(function* () {
      yield* Effect.ignore(step(yield* open(["a/m"])))
      yield* Effect.ignore(step(yield* open(["a/m"])))
      yield* step(yield* open(["a/m"]))

      assert.deepStrictEqual(yield* asked, ["a/m", "a/m", "a/m"])
      assert.deepStrictEqual((yield* ModelHealth).resting(yield* Clock.currentTimeMillis), [])
    }).pipe(Effect.provide(layer([[fail(refused)], [fail(unpaid)], "fine"])))
  )

  it.effect("still asks the only model that merely failed in passing", () =>
    Effect.gen(function* () {
      yield* Effect.ignore(step(yield* open(["a/m"])))

      yield* step(yield* open(["a/m"]))

      assert.deepStrictEqual(yield* asked, ["a/m", "a/m"])
    }).pipe(Effect.provide(layer([[fail(down)], "fine"], { attempts: 1 })))
  )

  it.effect("does not sit through a whole silence twice", () =>
    Effect.gen(function* () {
      yield* step(yield* open(["a/m", "c/m"]))

      assert.deepStrictEqual(yield* asked, ["a/m", "c/m"])
    }).pipe(Effect.provide(layer([[fail(new ModelStalled({ idleMillis: 120_000 }))], "fine"])))
  )

  it.effect("forgets what failed too long ago to count", () =>
    Effect.gen(function* () {
      let kept: HealthTable = {}
      const store = Layer.succeed(HealthStore)({
        load: Effect.succeed({}),
        save: (table) => Effect.sync(() => void (kept = structuredClone(table)))
      })
      yield* Effect.gen(function* () {
        const health = yield* ModelHealth
        health.failed({ model: "a/m", profile: undefined }, "rate_limit", 0)
        yield* TestClock.adjust("25 hours")
        health.failed({ model: "c/m", profile: undefined }, "rate_limit", 90_000_000)
        yield* TestClock.adjust("1 second")
      }).pipe(
        Effect.provide(
          Layer.fresh(Health.layer).pipe(
            Layer.provide(store),
            Layer.provide(Settings.layerFrom({ providers }))
          )
        )
      )

      assert.deepStrictEqual(Object.keys(kept), ["c/m@"])
    })
  )

  it.effect("never begins a step again whose text a person has seen", () =>
    Effect.gen(function* () {
      const told: Told = { texts: [], restarts: 0 }
      const error = yield* Effect.flip(step(yield* open(["a/m", "c/m"]), told))

      assert.deepInclude(error, { _tag: "ModelError", model: "a/m" })
      assert.deepStrictEqual([told.texts, told.restarts], [["half"], 0])
      assert.deepStrictEqual(yield* asked, ["a/m"])
    }).pipe(Effect.provide(layer([[...text("half"), fail(new ModelCutOff())], "fine"])))
  )

  it.effect("tells a request that nobody would take, and asks nobody else", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(step(yield* open(["a/m", "c/m"])))

      assert.deepInclude(error, { _tag: "ModelError", reason: nonsense })
      assert.deepStrictEqual(yield* asked, ["a/m"])
    }).pipe(Effect.provide(layer([[fail(nonsense)], "fine"])))
  )

  it.effect("does not ask a model that lacks what the request needs", () =>
    Effect.gen(function* () {
      const tools = [{ name: "t", description: "", parameters: { type: "object" as const } }]
      const run = yield* open(["a/m", "c/m"])
      yield* step(run, undefined, tools)
      const error = yield* Effect.flip(step(yield* open(["a/m"]), undefined, tools))
      const small = yield* Effect.flip(step(yield* open(["a/small"])))

      assert.deepStrictEqual(yield* asked, ["c/m"])
      assert.strictEqual(run.change()?.why, "the model cannot use tools")
      assert.strictEqual(error._tag === "ModelError" && error.reason.message, "the model cannot use tools")
      assert.strictEqual(
        small._tag === "ModelError" && small.reason.message,
        "the conversation is too long for the model"
      )
      assert.deepStrictEqual((yield* ModelHealth).resting(0), [])
    }).pipe(
      Effect.provide(
        layer(["fine"], { known: { "a/m": { tools: false }, "a/small": { context_tokens: 999 } } })
      )
    )
  )

  it.effect("keeps a session with its credential, and lets sessions take turns", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 second")
      yield* step(yield* open(["b/m"], "s1"))
      yield* TestClock.adjust("1 second")
      yield* step(yield* open(["b/m"], "s2"))
      yield* TestClock.adjust("1 second")
      yield* step(yield* open(["b/m"], "s2"))
      yield* step(yield* open(["b/m"], "s1"))

      assert.deepStrictEqual(yield* asked, ["b/m@one", "b/m@two", "b/m@two", "b/m@one"])
    }).pipe(Effect.provide(layer(() => "fine")))
  )

  it.effect("goes on with the model that answered the step before", () =>
    Effect.gen(function* () {
      const run = yield* open(["a/m", "c/m"])
      yield* step(run)
      yield* TestClock.adjust("2 minutes")
      yield* step(run)

      assert.deepStrictEqual(yield* asked, ["a/m", "c/m", "c/m"])
    }).pipe(Effect.provide(layer([[fail(limited())], "one", "two"], { attempts: 1 })))
  )

  it.effect("stops waiting and calling at once when the run is interrupted", () =>
    Effect.gen(function* () {
      const waiting = yield* Effect.forkChild(step(yield* open(["a/m", "c/m"])), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      const calling = yield* Effect.forkChild(step(yield* open(["a/m", "c/m"])), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(calling)
      yield* TestClock.adjust("10 minutes")

      assert.deepStrictEqual(yield* asked, ["a/m", "a/m"])
      assert.strictEqual((yield* ScriptedModel.ModelScript).interrupted(), 1)
    }).pipe(Effect.provide(layer([[fail(down)], [ScriptedModel.hang]])))
  )

  it.effect("remembers what rests over a restart", () =>
    Effect.gen(function* () {
      let kept: HealthTable = {}
      const store = Layer.succeed(HealthStore)({
        load: Effect.sync(() => kept),
        save: (table) => Effect.sync(() => void (kept = structuredClone(table)))
      })
      const life = Layer.fresh(Health.layer).pipe(
        Layer.provide(store),
        Layer.provide(Settings.layerFrom({ providers }))
      )
      yield* Effect.gen(function* () {
        const health = yield* ModelHealth
        health.failed({ model: "a/m", profile: undefined }, "billing", 1000)
        health.failed({ model: "b/m", profile: "one" }, "rate_limit", 1000)
      }).pipe(Effect.provide(life))
      const resting = yield* Effect.map(ModelHealth, (health) => health.resting(1000)).pipe(
        Effect.provide(life)
      )

      assert.deepStrictEqual(resting, [
        {
          provider: "a",
          model: undefined,
          profile: undefined,
          state: "disabled",
          reason: "billing",
          until: 18_001_000
        },
        { provider: "b", model: "b/m", profile: "one", state: "cooling", reason: "rate_limit", until: 61_000 }
      ])
    })
  )

  const reasons: ReadonlyArray<ModelError["reason"]> = [
    limited(),
    limited(2000),
    limited(900_000),
    down,
    refused,
    unpaid,
    nonsense,
    new ModelRejected({ status: 404, detail: "no such model" }),
    new ModelRejected({ status: 400, detail: "prompt is too long", problem: "prompt_too_long" }),
    new ModelUnavailable({ detail: "ECONNREFUSED" }),
    new ModelStalled({ idleMillis: 1000 }),
    new ModelCutOff(),
    new ModelMalformed({ detail: "?" })
  ]
  const models = ["a/m", "a/other", "b/m", "b/other", "c/m"]
  const Pick = (most: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: most }))

  it.effect.prop(
    "ends, tries each live candidate at most once and all of them before it gives up, with a cause for each",
    {
      chain: Schema.Array(Pick(models.length - 1)).check(Schema.isMinLength(1), Schema.isMaxLength(5)),
      outcomes: Schema.Array(Pick(reasons.length)).check(Schema.isMaxLength(12)),
      cold: Schema.Array(
        Schema.Struct({
          model: Pick(models.length - 1),
          reason: Pick(reasons.length - 1),
          times: Pick(4),
          ago: Pick(400_000)
        })
      ).check(Schema.isMaxLength(4))
    },
    ({ chain, outcomes, cold }) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 hour")
        const health = yield* ModelHealth
        const now = yield* Clock.currentTimeMillis
        for (const { model, reason, times, ago } of cold) {
          const why = reasonOf(reasons[reason]!)
          for (let each = 0; each < times; each++) {
            if (why === undefined) break
            health.failed({ model: models[model]!, profile: undefined }, why, now - ago)
          }
        }
        const wished = [...new Set(chain)].map((index) => models[index]!)
        const all = wished.flatMap((model) =>
          model.startsWith("b/") ? [`${model}@one`, `${model}@two`] : [model]
        )
        const isLive = (name: string) => {
          const [model = "", profile] = name.split("@")
          return health.conditionOf({ model, profile }, now) === undefined
        }
        const live = all.filter(isLive)
        const run = yield* open(wished)

        const result = yield* turning(step(run))

        const calls = yield* asked
        const spells = calls.filter((name, index) => name !== calls[index - 1])
        assert.strictEqual(new Set(spells).size, spells.length, "no candidate is come back to")
        for (const name of spells) {
          assert.include(all, name)
          assert.isAtMost(calls.filter((each) => each === name).length, 3, "calls of one candidate")
        }
        const attempts = run.attempts(yield* Clock.currentTimeMillis)
        for (const { reason } of attempts) assert.isString(reason)
        if (result._tag === "Success") return
        const error = result.failure
        if (error._tag === "ModelError") {
          if (all.length > 1)
            assert.isUndefined(reasonOf(error.reason), "only what nobody would take ends it early")
          return
        }
        // A failure of one may rest another before its turn (a key that two models share), which is not live then.
        const failed = error.attempts.filter(({ kind }) => kind === "failed")
        assert.lengthOf(failed, spells.length)
        for (const name of live) {
          const [model = "", profile] = name.split("@")
          const rests = health.conditionOf({ model, profile }, yield* Clock.currentTimeMillis) !== undefined
          assert.isTrue(spells.includes(name) || rests, `${name} was tried`)
        }
      }).pipe(
        Effect.provide(
          layer((_, position) => {
            const outcome = outcomes[position % Math.max(1, outcomes.length)]
            return outcome === undefined || outcome === reasons.length ? "fine" : [fail(reasons[outcome]!)]
          })
        )
      )
  )
})
