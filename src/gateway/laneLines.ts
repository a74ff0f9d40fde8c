/** A lane as it is told on the wire. */
import * as Effect from "effect/Effect"
import { budgetClassOf, type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import { isLocal, isSame } from "#src/domain/Tenant.ts"
import { MessageLog, type MessageRow } from "#src/horizons/MessageLog.ts"
import type { LaneInfo } from "#src/lane/Lanes.ts"
import { Placement } from "#src/placement/Placement.ts"
import type * as Api from "./apiSchemas.ts"
import { type Principal, runsAll } from "./Auth.ts"
import { shown } from "./ownSessions.ts"

export const seesAll = (principal: Principal): boolean => runsAll(principal) && isLocal(principal.tenant)

/** The lanes that this principal may see: those of the tenant it acts in; all for who runs all and names none. */
export const lanesOf = (
  lanes: ReadonlyArray<LaneInfo>,
  principal: Principal
): ReadonlyArray<typeof Api.Lane.Type> => {
  const isAll = seesAll(principal)
  return lanes.flatMap((lane) =>
    isAll || isSame(tenantOf(lane.session), principal.tenant) ? [toLane(lane, principal)] : []
  )
}

/** Open messages of a project that are looked through for lanes of other nodes. */
const maxElsewhere = 1000

/** Lanes of other nodes that have something to do, by their open messages: none where there are no other nodes. */
export const elsewhere = Effect.gen(function* () {
  const placement = yield* Placement
  const log = yield* MessageLog
  return Effect.fnUntraced(function* (principal: Principal) {
    if (!placement.isShared) return []
    const seen = seesAll(principal) ? yield* log.tenants({ having: "open" }) : [principal.tenant]
    const open = yield* Effect.forEach(seen, (tenant) => log.open({ tenant, limit: maxElsewhere }))
    const others = open.flat().filter(({ place }) => !placement.isHere(place.session))
    return [...Map.groupBy(others, ({ place }) => place.session)].map(([session, rows]) =>
      otherLane(session, rows, principal)
    )
  })
})

const otherLane = (
  session: SessionKey,
  rows: ReadonlyArray<MessageRow>,
  principal: Principal
): typeof Api.Lane.Type => {
  const waiting = rows.filter(({ runId }) => runId === undefined)
  return {
    session_key: shown(session, principal),
    budget: budgetClassOf(session),
    phase: waiting.length < rows.length ? "running" : "waiting",
    paused: false,
    elsewhere: true,
    depth: waiting.length,
    oldest_at: Math.min(...rows.map(({ acceptedAt }) => acceptedAt)),
    fenced: 0
  }
}

const toLane = (lane: LaneInfo, principal: Principal): typeof Api.Lane.Type => ({
  session_key: shown(lane.session, principal),
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
