/**
 * What is remembered of credentials and models that failed, over restarts.
 *
 * Owns: the memory, and that each change reaches the store soon. A change that a crash takes away costs one more failed call.
 * Does not own: what a failure does (`cooldown`), where it is kept (`layers/model`), nor which candidate is asked (`plan`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Telemetry from "#src/Telemetry.ts"
import { failed, type Health, healthy, isUsable, succeeded, unusableUntil } from "./cooldown.ts"
import { type FailoverReason, reachOf } from "./failure.ts"
import { ladderOf, ModelRules } from "./ModelSettings.ts"
import { split } from "./Models.ts"
import type { Candidate, Condition } from "./plan.ts"

/** The memory could not be read or written. */
export class HealthStoreError extends Schema.TaggedError<HealthStoreError>()("HealthStoreError", {
  detail: Schema.String
}) {
  override get message() {
    return `the models' health could not be kept: ${this.detail}`
  }
}

export type HealthTable = Readonly<Record<string, Health>>

export class HealthStore extends Context.Service<
  HealthStore,
  {
    /** What was saved last; empty when there is nothing, or nothing that can be read. */
    readonly load: Effect.Effect<HealthTable, HealthStoreError>
    /** Replace it whole. After a crash it is the old one or the new one. */
    readonly save: (table: HealthTable) => Effect.Effect<void, HealthStoreError>
  }
>()("opencraw/model/ModelHealth/HealthStore") {}

/** Keeps nothing: for tests and programs that end soon. */
export const layerForgetful = Layer.succeed(HealthStore)({
  load: Effect.succeed({}),
  save: () => Effect.void
})

/** Something at rest, for people. */
export interface Resting {
  readonly provider: string
  /** Undefined when the credential rests for all models. */
  readonly model: string | undefined
  /** Undefined for the provider's own key, and when all credentials rest. */
  readonly profile: string | undefined
  readonly state: "cooling" | "disabled"
  readonly reason: FailoverReason
  readonly until: number
}

export class ModelHealth extends Context.Service<
  ModelHealth,
  {
    /** What keeps a candidate from being asked now; undefined for nothing. Cheap. */
    readonly conditionOf: (candidate: Candidate, now: number) => Condition | undefined
    /** The health of a credential by itself. */
    readonly profileHealth: (provider: string, profile: string | undefined) => Health
    /** Nothing is remembered of anybody. */
    readonly isClear: () => boolean
    /** It is about to be asked; true when it has failed before. Whoever was at rest is probed by one run at a time. */
    readonly asked: (candidate: Candidate, now: number) => boolean
    readonly failed: (candidate: Candidate, reason: FailoverReason, now: number, notBefore?: number) => void
    /** `takesTurns`: remember when, for the order of several credentials. */
    readonly succeeded: (candidate: Candidate, now: number, takesTurns: boolean) => void
    readonly resting: (now: number) => ReadonlyArray<Resting>
  }
>()("opencraw/model/ModelHealth") {}

/** How long a probe keeps others from probing too. */
const probeMs = 10_000

const providerOf = (model: string): string => split(model)?.provider ?? model

/** Keys of the table: `openai@work` a credential, `openai/gpt@work` a model with it, `openai/gpt@*` a model with all. */
const keys = {
  profile: ({ model, profile }: Candidate) => `${providerOf(model)}@${profile ?? ""}`,
  profile_model: ({ model, profile }: Candidate) => `${model}@${profile ?? ""}`,
  model: ({ model }: Candidate) => `${model}@*`
}
const reaches = ["profile", "profile_model", "model"] as const

const shown = (key: string, health: Health, now: number): ReadonlyArray<Resting> => {
  const until = unusableUntil(health) ?? 0
  if (until <= now || health.reason === undefined) return []
  const at = key.lastIndexOf("@")
  const what = key.slice(0, at)
  const profile = key.slice(at + 1)
  return [
    {
      provider: providerOf(what),
      model: what.includes("/") ? what : undefined,
      profile: profile === "" || profile === "*" ? undefined : profile,
      state: (health.disabledUntil ?? 0) > now ? "disabled" : "cooling",
      reason: (health.disabledUntil ?? 0) > now ? "billing" : health.reason,
      until
    }
  ]
}

export const make = Effect.gen(function* () {
  const store = yield* HealthStore
  const rules = yield* ModelRules
  const loaded = yield* Effect.catchTags(store.load, {
    HealthStoreError: (error) => Effect.as(Effect.logWarning(error.message), {} as HealthTable)
  })
  const table = new Map(Object.entries(loaded))
  const probes = new Map<string, number>()
  let isSaved = true
  let isSaving = false

  /** What failed too long ago to count would only pile up. */
  const prune = (now: number) => {
    const { failureWindowMs } = ladderOf(rules.get())
    for (const [key, health] of table) {
      const isOld = now - (health.lastFailureAt ?? now) > failureWindowMs
      if (isOld && isUsable(health, now) && health.lastUsedAt === undefined) table.delete(key)
    }
  }

  const save = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    if (isSaved) return Effect.void
    isSaved = true
    prune(now)
    return store.save(Object.fromEntries(table))
  }).pipe(
    Effect.catchTags({ HealthStoreError: (error) => Effect.logWarning(error.message) }),
    Effect.uninterruptible
  )
  // Behind the fibers' end, for what they did not come to.
  yield* Effect.addFinalizer(() => save)
  const fork = yield* FiberSet.makeRuntime<never>()
  // Each turn looks once more after it has counted itself out, so that no change falls between.
  const saveAll: Effect.Effect<void> = save.pipe(
    Effect.onExit(() =>
      Effect.sync(() => {
        isSaving = false
        if (!isSaved) keep()
      })
    )
  )
  /** Nothing goes on while nothing changes. */
  const keep = () => {
    isSaved = false
    if (isSaving) return
    isSaving = true
    fork(saveAll)
  }

  const put = (key: string, health: Health) => {
    if (health.errorCount === 0 && health.lastUsedAt === undefined) table.delete(key)
    else table.set(key, health)
  }

  const conditionOf = (candidate: Candidate, now: number): Condition | undefined => {
    if (table.size === 0) return undefined
    let worst: Condition | undefined
    for (const reach of reaches) {
      const key = keys[reach](candidate)
      const health = table.get(key)
      if (health?.reason === undefined) continue
      const restsUntil = isUsable(health, now) ? (probes.get(key) ?? 0) : (unusableUntil(health) ?? 0)
      if (restsUntil <= now || restsUntil <= (worst?.restsUntil ?? 0)) continue
      // A limit is a wish to be left alone; anything else may have been mended meanwhile, and asking costs nothing.
      const isLastResort = health.reason !== "rate_limit" && (worst === undefined || worst.isLastResort)
      worst = { restsUntil, reason: health.reason, isLastResort }
    }
    return worst
  }

  return ModelHealth.of({
    conditionOf,
    profileHealth: (provider, profile) => table.get(`${provider}@${profile ?? ""}`) ?? healthy,
    isClear: () => table.size === 0,
    asked: (candidate, now) => {
      if (table.size === 0) return false
      let hasFailed = false
      for (const reach of reaches) {
        const key = keys[reach](candidate)
        if ((table.get(key)?.errorCount ?? 0) === 0) continue
        hasFailed = true
        probes.set(key, now + probeMs)
      }
      return hasFailed
    },
    failed: (candidate, reason, now, notBefore = 0) => {
      Telemetry.modelFailed(reason)
      const reach = reachOf(reason)
      if (reach === "nothing") return
      const key = keys[reach](candidate)
      probes.delete(key)
      put(key, failed(table.get(key) ?? healthy, reason, now, ladderOf(rules.get()), notBefore))
      keep()
    },
    succeeded: (candidate, now, takesTurns) => {
      for (const reach of reaches) {
        const key = keys[reach](candidate)
        const health = table.get(key)
        if (health === undefined || health.errorCount === 0) continue
        probes.delete(key)
        put(key, succeeded(health))
        keep()
      }
      if (!takesTurns) return
      const key = keys.profile(candidate)
      table.set(key, { ...(table.get(key) ?? healthy), lastUsedAt: now })
    },
    resting: (now) => [...table].flatMap(([key, health]) => shown(key, health, now))
  })
})

/** Needs the store and the rules. Saves what is left when it is closed. */
export const layer = Layer.effect(ModelHealth, make)
