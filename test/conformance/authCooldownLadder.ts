/** Rows of `auth-cooldown-ladder`. */
import * as Cooldown from "#src/model/cooldown.ts"
import type { FailoverReason } from "#src/model/failure.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "auth-cooldown-ladder"

interface Step {
  readonly do: "fail" | "ok" | "clear" | "none"
  readonly reason?: FailoverReason
  readonly afterMs?: number
}

interface Wishes {
  readonly failureWindowHours?: number
  readonly billingBackoffHours?: number
  readonly billingMaxHours?: number
}

type Input =
  | { readonly op: "cooldownMs"; readonly errorCount: number }
  | { readonly op: "sequence"; readonly steps: ReadonlyArray<Step>; readonly config?: Wishes }

const hour = 3_600_000

const after = (health: Cooldown.Health, step: Step, now: number, ladder: Cooldown.Ladder) => {
  switch (step.do) {
    case "fail":
      return Cooldown.failed(health, step.reason ?? "rate_limit", now, ladder)
    case "ok":
      return Cooldown.succeeded(health)
    case "clear":
      return Cooldown.cleared(health)
    case "none":
      return health
  }
}

const sequence = (steps: ReadonlyArray<Step>, config: Wishes = {}) => {
  const { failureWindowHours = 24, billingBackoffHours = 5, billingMaxHours = 24 } = config
  const ladder = {
    failureWindowMs: failureWindowHours * hour,
    billingBackoffMs: billingBackoffHours * hour,
    billingMaxMs: billingMaxHours * hour
  }
  let now = 1_000_000_000_000
  let health = Cooldown.healthy
  return steps.map((step) => {
    now += step.afterMs ?? 0
    health = after(health, step, now, ladder)
    const { errorCount, cooldownUntil, disabledUntil } = health
    return {
      errorCount,
      cooldownForMs: cooldownUntil === undefined ? null : cooldownUntil - now,
      disabledForMs: disabledUntil === undefined ? null : disabledUntil - now,
      disabledReason: disabledUntil === undefined ? null : "billing",
      unusableNow: !Cooldown.isUsable(health, now)
    }
  })
}

export const run = async ({ input, expected }: Row<Input>) =>
  compare(
    input.op === "cooldownMs" ? Cooldown.cooldownMs(input.errorCount) : sequence(input.steps, input.config),
    expected
  )
