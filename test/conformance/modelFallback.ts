/**
 * Rows of `model-fallback`, through `Failover` on a model that does what the row says. The same model is not asked again here: that
 * is `retry-backoff`.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Settings from "#layers/platform/Settings.ts"
import { statusReason } from "#layers/model/providerHttp.ts"
import * as Failover from "#src/model/Failover.ts"
import { Model, ModelError, ModelRejected, ModelUnavailable } from "#src/model/Model.ts"
import * as ModelHealth from "#src/model/ModelHealth.ts"
import { chainOf } from "#src/model/modelRef.ts"
import { classify, type Symptoms } from "#src/model/failure.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "model-fallback"

interface Input {
  readonly primary: string
  readonly fallbacks: ReadonlyArray<string>
  readonly start?: string
  readonly fallbacksOverride?: ReadonlyArray<string>
  readonly allowed?: ReadonlyArray<string>
  readonly profiles?: Readonly<Record<string, { readonly provider: string; readonly coolingDown?: boolean }>>
  readonly outcomes: ReadonlyArray<"ok" | Symptoms>
}

/** The failure as our adapters would tell it. */
const errorOf = (model: string, symptoms: Symptoms): ModelError => {
  const detail = symptoms.message ?? "x"
  if (symptoms.status !== undefined)
    return new ModelError({ model, reason: statusReason(symptoms.status, detail) })
  const reason =
    classify(symptoms) === "timeout"
      ? new ModelUnavailable({ detail })
      : new ModelRejected({ status: 400, detail })
  return new ModelError({ model, reason })
}

/** Providers of the row and of its references. */
const providersOf = (input: Input) => {
  const names = [
    input.primary,
    ...input.fallbacks,
    input.start ?? "",
    ...(input.fallbacksOverride ?? [])
  ].flatMap((model) => (model === "" ? [] : [model.slice(0, model.indexOf("/"))]))
  return Object.fromEntries(
    names.map((name) => {
      const own = Object.entries(input.profiles ?? {}).filter(([, { provider }]) => provider === name)
      const profiles = Object.fromEntries(own.map(([profile]) => [profile, { api_key: "key" }]))
      return [
        name,
        {
          kind: "openai-chat",
          base_url: "http://127.0.0.1:1/v1",
          ...(own.length === 0 ? {} : { profiles })
        }
      ]
    })
  )
}

const program = (input: Input, calls: Array<string>) =>
  Effect.gen(function* () {
    const health = yield* ModelHealth.ModelHealth
    const now = yield* Clock.currentTimeMillis
    for (const [profile, { provider, coolingDown = false }] of Object.entries(input.profiles ?? {})) {
      const chain = [input.primary, ...input.fallbacks].filter((model) => model.startsWith(`${provider}/`))
      for (const model of coolingDown ? chain : []) {
        health.failed({ model, profile }, "rate_limit", now, now + 3_600_000)
      }
    }
    const { primary, fallbacks, allowed: allow = [], start, fallbacksOverride: override } = input
    const chain = chainOf({
      primary,
      fallbacks,
      allow,
      ...(start === undefined ? {} : { start }),
      ...(override === undefined ? {} : { override })
    })
    const failover = yield* Failover.Failover
    const run = failover.open({ session: "s", chain, deadlineAt: () => now + 600_000 })
    const step = { hasGiven: () => false, restart: () => {}, promptTokens: () => 0 }
    const result = yield* Effect.result(
      Stream.runDrain(run.stream({ messages: [], tools: [], params: {} }, step))
    )
    const skippedOrFailed = run.attempts(now).map(({ model, reason }) => ({ model, reason }))
    return { result, skippedOrFailed }
  }).pipe(
    Effect.provide(
      Failover.layer.pipe(
        Layer.provideMerge(ModelHealth.layer),
        Layer.provide(
          Layer.mergeAll(
            ModelHealth.layerForgetful,
            Settings.layerFrom({ models: { attempts: 1 }, providers: providersOf(input) }).pipe(Layer.orDie),
            Layer.succeed(Model)({
              stream: ({ model }) => {
                const outcome = input.outcomes[calls.length] ?? "ok"
                calls.push(model)
                return outcome === "ok"
                  ? Stream.succeed({ _tag: "End", reason: "stop" })
                  : Stream.fail(errorOf(model, outcome))
              }
            })
          )
        )
      )
    ),
    Effect.provideService(Logger.CurrentLoggers, new Set()),
    Effect.scoped
  )

export const run = async ({ input, expected }: Row<Input>) => {
  const calls: Array<string> = []
  const { result, skippedOrFailed } = await Effect.runPromise(program(input, calls))
  if (result._tag === "Success") {
    return compare({ calls, result: "ok", used: calls.at(-1), skippedOrFailed }, expected)
  }
  const error = result.failure
  const message =
    error._tag === "ModelsExhausted"
      ? error.message
      : "detail" in error.reason
        ? error.reason.detail
        : error.reason.message
  return compare({ calls, result: "error", message }, expected)
}
