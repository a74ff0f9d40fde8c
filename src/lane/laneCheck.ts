/** Whether the lanes answer: a paused gateway, and runs that do not get on, are told to `/ready` and `doctor`. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { type LaneInfo, Lanes } from "./Lanes.ts"

/** Sessions that are named; of more, how many. */
const named = 10

const list = (lanes: ReadonlyArray<LaneInfo>): string => {
  const names = lanes.slice(0, named).map(({ session }) => session)
  return [...names, ...(lanes.length > named ? [`${lanes.length - named} more`] : [])].join(", ")
}

export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const lanes = yield* Lanes
    const checks = yield* Checks
    yield* checks.register({
      name: "lanes",
      run: Effect.map(lanes.list, (all): CheckResult => {
        const slow = all.filter(({ run }) => run?.stall === "stalled" || run?.stall === "stuck")
        const fenced = all.filter((lane) => lane.fenced > 0)
        const paused = all.filter((lane) => lane.paused)
        const told = [
          ...(lanes.isPaused() ? ["the whole gateway is paused: opencraw lanes resume"] : []),
          ...(slow.length > 0 ? [`no progress: ${list(slow)}; it is begun again by itself`] : []),
          ...(fenced.length > 0
            ? [`told to stop and still running: ${list(fenced)}; a restart ends them for good`]
            : [])
        ]
        if (told.length > 0) return { status: "warning", message: told.join("\n") }
        return {
          status: "ok",
          message: paused.length === 0 ? "they answer" : `they answer; paused: ${list(paused)}`
        }
      })
    })
  })
)
