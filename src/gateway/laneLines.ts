/** A lane as it is told on the wire. */
import type { LaneInfo } from "#src/lane/Lanes.ts"
import type * as Api from "./apiSchemas.ts"

export const toLane = (lane: LaneInfo): typeof Api.Lane.Type => ({
  session_key: lane.session,
  budget: lane.budget,
  phase: lane.phase,
  paused: lane.paused,
  depth: lane.depth,
  ...(lane.oldestAt === undefined ? {} : { oldest_at: lane.oldestAt }),
  ...(lane.run === undefined
    ? {}
    : {
        run: {
          id: lane.run.id,
          attempt: lane.run.attempt,
          began_at: lane.run.beganAt,
          step: lane.run.step,
          tools: lane.run.tools,
          ...(lane.run.stall === undefined ? {} : { stall: lane.run.stall })
        }
      }),
  fenced: lane.fenced,
  ...(lane.mayCostMicros === undefined ? {} : { may_cost_usd_micros: lane.mayCostMicros })
})
