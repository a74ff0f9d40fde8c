/**
 * A run's model calls, over everything that may fail on the way: the same model again, another credential, another model.
 *
 * Owns: the interpreter of `plan`, which credential a session keeps, and what is told when all have failed.
 * Does not own: a single call (`Model`), what is remembered of failures (`ModelHealth`), nor which models a run wishes for.
 *
 * A step that has given text to a person is never begun again, by nobody: what was read cannot be unread on every channel. It ends
 * as failed, its text is kept and marked.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { backoff } from "#src/domain/Backoff.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { factsOf, lacking } from "./capability.ts"
import { reasonOf } from "./failure.ts"
import { Model, ModelError, type ModelEvent, ModelIncapable, type ModelRequest } from "./Model.ts"
import { ModelHealth } from "./ModelHealth.ts"
import { ModelRules } from "./ModelSettings.ts"
import { profilesOf, settingsOf, split } from "./Models.ts"
import * as Plan from "./plan.ts"
import { orderProfiles } from "./profiles.ts"
import { Providers } from "./ProviderSettings.ts"

/** Every model of the run failed or was at rest. */
export class ModelsExhausted extends Schema.TaggedError<ModelsExhausted>()("ModelsExhausted", {
  attempts: Schema.Array(
    Schema.Struct({
      model: Schema.String,
      profile: Schema.UndefinedOr(Schema.String),
      kind: Schema.Literals(["failed", "resting"]),
      reason: Schema.Literals([
        "auth",
        "billing",
        "rate_limit",
        "timeout",
        "server_error",
        "model_not_found",
        "format"
      ]),
      /** For the operator's log. */
      detail: Schema.String,
      /** Safe in a chat. */
      told: Schema.String,
      restsUntil: Schema.optionalKey(Schema.Number)
    })
  )
}) {
  override get message() {
    const each = this.attempts.map(({ model, detail, reason }) => `${model}: ${detail} (${reason})`)
    return `All models failed (${this.attempts.length}): ${each.join(" | ")}`
  }
  /** In words that are safe in a chat. */
  get told(): string {
    const each = this.attempts.map(({ model, told }) => `${model}: ${told}`)
    return `no model could answer (${[...new Set(each)].join("; ")})`
  }
}

/** What a run wishes for. */
export interface RunModels {
  readonly session: string
  /** `provider/model`, the preferred one first; each once. */
  readonly chain: ReadonlyArray<string>
  /** When the run ends in any case, ms since the epoch; asked once something has failed. */
  readonly deadlineAt: () => number
}

/** What the caller has of the step under way. */
export interface StepWatch {
  /** True once a person may have seen text of it. */
  readonly hasGiven: () => boolean
  /** The step is begun again: forget what came of it. */
  readonly restart: () => void
  /** Tokens of the prompt, about; asked only when a model's window is known. */
  readonly promptTokens: () => number
}

/** The run does not answer with the model that it wished for. */
export interface Change {
  readonly from: string
  readonly to: string
  /** Why, in words that are safe in a chat. */
  readonly why: string
}

/** The model calls of one run. */
export interface ModelRun {
  /** One step. Its events are those of `Model.stream`. Interrupting it ends a wait and a call at once. */
  readonly stream: (
    request: Omit<ModelRequest, "model" | "profile">,
    step: StepWatch
  ) => Stream.Stream<ModelEvent, ModelError | ModelsExhausted>
  /** Undefined while the wished-for model answers. */
  readonly change: () => Change | undefined
  /** What became of the models that did not answer, each with its cause. `now` tells which of them still rest. */
  readonly attempts: (now: number) => ReadonlyArray<Plan.Attempt>
}

export class Failover extends Context.Service<
  Failover,
  {
    /** For each run anew. Nothing is called yet. */
    readonly open: (run: RunModels) => ModelRun
  }
>()("opencraw/model/Failover") {}

/** Sessions whose credential is remembered. */
const maxPins = 10_000

/** What a failure says to the operator: the provider's words where it had any. */
const detailOf = ({ reason }: ModelError): string =>
  "detail" in reason && reason.detail !== undefined && reason.detail !== "" ? reason.detail : reason.message

const retryAfterOf = ({ reason }: ModelError): number | undefined =>
  "retryAfterMillis" in reason ? reason.retryAfterMillis : undefined

const restingDetail = (model: string): string =>
  `Provider ${split(model)?.provider ?? model} is in cooldown (all profiles unavailable)`

const restingWhy: Readonly<Record<Plan.Attempt["reason"], string>> = {
  auth: "the provider refused the key",
  billing: "its account is out of money",
  rate_limit: "the provider limits our rate",
  timeout: "it did not answer",
  server_error: "it failed",
  model_not_found: "the provider has no such model",
  format: "it rejected the request"
}

/** About how long, for a person. */
const spanOf = (millis: number): string => {
  const minutes = Math.ceil(millis / 60_000)
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}

export const make = Effect.gen(function* () {
  const model = yield* Model
  const health = yield* ModelHealth
  const rules = yield* ModelRules
  const providers = yield* Providers
  /** The newest last. */
  const pins = new Map<string, string>()

  const pin = (key: string, profile: string) => {
    pins.delete(key)
    pins.set(key, profile)
    if (pins.size > maxPins) pins.delete(pins.keys().next().value!)
  }

  /** A model's candidates, one for each credential, in order. */
  const candidatesOf = (reference: string, session: string, now: number): ReadonlyArray<Plan.Candidate> => {
    const settings = settingsOf(providers.get(), reference)
    if (settings?.profiles === undefined) return [{ model: reference, profile: undefined }]
    const provider = split(reference)!.provider
    const preferred = pins.get(`${session} ${provider}`)
    const names = orderProfiles({
      profiles: profilesOf(settings),
      ...(settings.profile_order === undefined ? {} : { order: settings.profile_order }),
      ...(preferred === undefined ? {} : { preferred }),
      healthOf: (name) => health.profileHealth(provider, name),
      now
    })
    // Without any that can be used, the provider's own answer says what is wrong.
    return names.length === 0
      ? [{ model: reference, profile: undefined }]
      : names.map((profile) => ({ model: reference, profile }))
  }

  /** One long closure: the calls of a run share its plan, and an object of that would only move every line. */
  const open = ({ session, chain, deadlineAt }: RunModels): ModelRun => {
    let plan: Plan.Plan | undefined
    let change: Change | undefined
    /** Of the candidate that answered the step before: it goes on, whatever has recovered meanwhile. */
    let current: number | undefined
    let waitedMs = 0

    const planAt = (now: number) =>
      Plan.initial(chain.flatMap((reference) => candidatesOf(reference, session, now)))

    const attempts = (now: number): ReadonlyArray<Plan.Attempt> =>
      plan === undefined ? [] : [...plan.attempts, ...left(plan, current, now)]

    const stream: ModelRun["stream"] = (request, step) => {
      // While nothing has failed anywhere the first candidate is asked, and neither the clock nor anybody's health matters.
      const begin = (): Stream.Stream<ModelEvent, ModelError | ModelsExhausted> => {
        if (!health.isClear()) return proceed()
        plan ??= planAt(0)
        const position = current ?? 0
        return plan.spent.has(position) ? proceed() : call(plan, position, 1, 0)
      }

      const proceed = (): Stream.Stream<ModelEvent, ModelError | ModelsExhausted> =>
        Stream.unwrap(Effect.map(Clock.currentTimeMillis, choose))

      const choose = (now: number): Stream.Stream<ModelEvent, ModelError | ModelsExhausted> => {
        plan ??= planAt(now)
        if (current !== undefined && !plan.spent.has(current)) return call(plan, current, 1, now)
        const maxWaitMs = rules.get().max_wait_s * 1000 - waitedMs
        const conditionOf = (candidate: Plan.Candidate) => health.conditionOf(candidate, now)
        const next = Plan.next(plan, conditionOf, { now, deadlineAt: deadlineAt(), maxWaitMs })
        switch (next._tag) {
          case "Try":
            return call(plan, next.position, 1, now)
          case "Wait": {
            const delay = Math.max(1, next.until - now)
            waitedMs += delay
            return Stream.unwrap(Effect.as(Effect.sleep(delay), proceed()))
          }
          case "GiveUp":
            return Stream.fail(new ModelsExhausted({ attempts: attempts(now) }))
        }
      }

      /** One call of one candidate. */
      const call = (
        { candidates }: Plan.Plan,
        position: number,
        calls: number,
        now: number
      ): Stream.Stream<ModelEvent, ModelError | ModelsExhausted> => {
        const candidate = candidates[position]!
        const lacks = lacking(factsOf(candidate.model, rules.get()), request, step.promptTokens)
        if (lacks !== undefined) {
          return onFailure(
            position,
            calls,
            now,
            0,
            new ModelError({ model: candidate.model, reason: new ModelIncapable({ lacks }) })
          )
        }
        current = position
        const hasRecord = health.asked(candidate, now)
        const events = model.stream({
          ...request,
          model: candidate.model,
          ...(candidate.profile === undefined ? {} : { profile: candidate.profile })
        })
        const isPlain = !hasRecord && candidate.profile === undefined && candidate.model === chain[0]
        const marked = isPlain
          ? events
          : Stream.concat(
              events,
              Stream.unwrap(Effect.map(Clock.currentTimeMillis, (at) => onSuccess(position, at)))
            )
        return marked.pipe(
          Stream.catch((error) =>
            Stream.unwrap(
              Effect.map(Effect.all([Clock.currentTimeMillis, Random.next]), ([at, random]) =>
                onFailure(position, calls, at, random, error)
              )
            )
          )
        )
      }

      const onSuccess = (position: number, now: number) => {
        const { model: answered, profile } = plan!.candidates[position]!
        health.succeeded({ model: answered, profile }, now, profile !== undefined)
        if (profile !== undefined) pin(`${session} ${split(answered)!.provider}`, profile)
        const from = chain[0]!
        if (answered === from) change = undefined
        else if (change?.to !== answered) {
          change = { from, to: answered, why: whyNot(from, now) }
          Telemetry.modelChanged()
        }
        return Stream.empty
      }

      const whyNot = (reference: string, now: number): string =>
        attempts(now).find((attempt) => attempt.model === reference)?.told ?? "it was not available"

      const onFailure = (
        position: number,
        calls: number,
        now: number,
        random: number,
        error: ModelError
      ): Stream.Stream<ModelEvent, ModelError | ModelsExhausted> => {
        const settings = rules.get()
        const candidate = plan!.candidates[position]!
        const reason = reasonOf(error.reason)
        const retryAfterMs = retryAfterOf(error)
        const ladder = backoff({
          attempts: settings.attempts,
          minDelayMs: settings.retry_min_ms,
          maxDelayMs: settings.retry_max_ms,
          jitter: 0.1
        })
        const wasSilent = error.reason._tag === "ModelStalled"
        const failure = { reason, calls, retryAfterMs, wasSilent, hasGiven: step.hasGiven() }
        const verdict = Plan.judge(failure, ladder, random, { now, deadlineAt: deadlineAt() })
        if (verdict._tag === "Surface" || reason === undefined) return Stream.fail(error)
        if (verdict._tag === "Retry") {
          step.restart()
          Telemetry.modelRetried(reason)
          return Stream.unwrap(
            Effect.sleep(verdict.delayMs).pipe(
              Effect.andThen(Clock.currentTimeMillis),
              Effect.map((at) => call(plan!, position, calls + 1, at))
            )
          )
        }
        // What was never sent, and what is not configured, says nothing about the provider.
        if (error.reason._tag !== "ModelIncapable" && error.reason._tag !== "ModelUnknown") {
          health.failed(candidate, reason, now, retryAfterMs === undefined ? 0 : now + retryAfterMs)
        }
        plan = Plan.spend(plan!, position, {
          kind: "failed",
          reason,
          detail: detailOf(error),
          told: error.reason.message
        })
        const logged = Effect.logWarning("a model failed; the next is asked", detailOf(error)).pipe(
          Effect.annotateLogs({ model: candidate.model, profile: candidate.profile ?? "", reason, calls })
        )
        if (plan.candidates.length === 1) return Stream.fail(error)
        step.restart()
        return Stream.unwrap(Effect.as(logged, proceed()))
      }

      return Stream.suspend(begin)
    }

    return { stream, change: () => change, attempts }
  }

  /** Models that were not asked at all: one line each, however many credentials they have. */
  const left = (
    { candidates, spent }: Plan.Plan,
    current: number | undefined,
    now: number
  ): ReadonlyArray<Plan.Attempt> => {
    const positions = current === undefined ? spent : [...spent, current]
    const asked = new Set([...positions].map((position) => candidates[position]!.model))
    const resting = new Map<string, Plan.Attempt>()
    for (const candidate of candidates) {
      const condition = health.conditionOf(candidate, now)
      if (condition === undefined || asked.has(candidate.model) || resting.has(candidate.model)) continue
      resting.set(candidate.model, {
        ...candidate,
        kind: "resting",
        reason: condition.reason,
        detail: restingDetail(candidate.model),
        told: `left alone for ${spanOf(condition.restsUntil - now)}, since ${restingWhy[condition.reason]}`,
        restsUntil: condition.restsUntil
      })
    }
    return [...resting.values()]
  }

  return Failover.of({ open })
})

/** Needs `Model`, `ModelHealth`, the rules and the providers. */
export const layer = Layer.effect(Failover, make)
