/** Whether the data directory's disk will have space tomorrow. */
import { statfs } from "node:fs/promises"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { DataDir } from "./DataDir.ts"

const warnBelowMegabytes = 512
const failBelowMegabytes = 32

/** What so much space left means. */
export const judgeDisk = (freeMegabytes: number, path: string): CheckResult => {
  const status =
    freeMegabytes < failBelowMegabytes ? "failed" : freeMegabytes < warnBelowMegabytes ? "warning" : "ok"
  const left = `${freeMegabytes} MB of disk left for ${path}`
  return { status, message: status === "ok" ? left : `${left}: free some space, or move runtime.data_dir` }
}

/** Registers the check `disk`. */
export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const checks = yield* Checks
    const { path } = yield* DataDir
    const run = Effect.tryPromise(async () => {
      const { bavail, bsize } = await statfs(path)
      return judgeDisk(Math.floor((bavail * bsize) / 1_000_000), path)
    }).pipe(
      Effect.catch(() =>
        Effect.succeed<CheckResult>({
          status: "failed",
          message: `the data directory ${path} is gone: restart the gateway`
        })
      )
    )
    yield* checks.register({ name: "disk", run })
  })
)
