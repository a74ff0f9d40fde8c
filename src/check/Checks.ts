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
  /**
   * `always`, the default: cheap, so that `/ready` asks it too. `doctor`: only when a person asks. `provider`: costs money or time
   * at a provider, so that the person may leave it out.
   */
  readonly when?: "always" | "doctor" | "provider"
  readonly run: Effect.Effect<CheckResult>
}

export type NamedResult = CheckResult & { readonly name: string }

export class Checks extends Context.Service<
  Checks,
  {
    readonly register: (check: Check) => Effect.Effect<void>
    /** Run the cheap checks now, each bounded to 5 s. */
    readonly run: Effect.Effect<ReadonlyArray<NamedResult>>
    /** Run all checks, those of providers only unless `offline`; each bounded to 20 s. */
    readonly diagnose: (options: { readonly offline: boolean }) => Effect.Effect<ReadonlyArray<NamedResult>>
  }
>()("opencraw/check/Checks") {}

const isCheap = ({ when = "always" }: Check): boolean => when === "always"

export const layer = Layer.sync(Checks, () => {
  const checks: Array<Check> = []
  const runEach = (chosen: ReadonlyArray<Check>, seconds: number) =>
    Effect.forEach(
      chosen,
      (check) =>
        check.run.pipe(
          Effect.timeoutOrElse({
            duration: seconds * 1000,
            orElse: () =>
              Effect.succeed<CheckResult>({
                status: "failed",
                message: `did not answer within ${seconds} s`
              })
          }),
          Effect.map((result) => ({ name: check.name, ...result }))
        ),
      { concurrency: "unbounded" }
    )
  return Checks.of({
    register: (check) => Effect.sync(() => void checks.push(check)),
    run: Effect.suspend(() => runEach(checks.filter(isCheap), 5)),
    diagnose: ({ offline }) =>
      Effect.suspend(() =>
        runEach(
          checks.filter(({ when }) => !offline || when !== "provider"),
          20
        )
      )
  })
})
