/**
 * What must hold for the gateway to work. Starts empty; whoever depends on something registers its check.
 *
 * Owns: the registry that start-up, `/ready` and `doctor` share, so that they never disagree.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export interface CheckResult {
  readonly status: "ok" | "warning" | "failed"
  /** What was found; for a warning or failure also what to do. Never holds a secret. */
  readonly message: string
}

export interface Check {
  readonly name: string
  readonly run: Effect.Effect<CheckResult>
}

export class Checks extends Context.Service<
  Checks,
  {
    readonly register: (check: Check) => Effect.Effect<void>
    /** Run all checks now, each bounded to 5 s. */
    readonly run: Effect.Effect<ReadonlyArray<CheckResult & { readonly name: string }>>
  }
>()("opencraw/check/Checks") {}

export const layer = Layer.sync(Checks, () => {
  const checks: Array<Check> = []
  return Checks.of({
    register: (check) => Effect.sync(() => void checks.push(check)),
    run: Effect.suspend(() =>
      Effect.forEach(
        checks,
        (check) =>
          check.run.pipe(
            Effect.timeoutOrElse({
              duration: "5 seconds",
              orElse: () =>
                Effect.succeed<CheckResult>({ status: "failed", message: "did not answer within 5 s" })
            }),
            Effect.map((result) => ({ name: check.name, ...result }))
          ),
        { concurrency: "unbounded" }
      )
    )
  })
})
