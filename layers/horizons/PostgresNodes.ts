/**
 * The stores on Postgres for a gateway that has them to itself, or for one of several nodes that share them.
 *
 * Owns: which commits the other nodes are told of. Does not own: the stores (`PostgresStores`), who has which lanes (`PgPlacement`).
 */
import { hostname } from "node:os"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { bucketCount } from "#src/domain/Bucket.ts"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { MessageLog, type Unit } from "#src/horizons/MessageLog.ts"
import * as ProjectDb from "#src/horizons/ProjectDb.ts"
import { ProjectDbPlace } from "#src/horizons/ProjectDbSettings.ts"
import { PostgresPlace } from "#src/horizons/PostgresSettings.ts"
import { Nodes } from "#src/placement/NodesSettings.ts"
import { type NodeInfo, Placement } from "#src/placement/Placement.ts"
import type * as PgLink from "#layers/platform/PgLink.ts"
import { mustBeFit, placeOf } from "./pgFitness.ts"
import * as PgPlacement from "./PgPlacement.ts"
import * as PostgresProjectDb from "./PostgresProjectDb.ts"
import * as PostgresStores from "./PostgresStores.ts"

const judgeNodes = (nodes: ReadonlyArray<NodeInfo>): CheckResult => {
  const mine = nodes.find(({ isThis }) => isThis)?.buckets ?? 0
  const message = `${nodes.length} at work; this one has ${mine} of ${bucketCount} buckets`
  return mine > 0
    ? { status: "ok", message }
    : { status: "warning", message: `${message}: it has just begun, or it is stopping` }
}

/** What a unit changes that other nodes look for: what is open or said in the session, or what it keeps. */
const changes: Readonly<Record<Unit["_tag"], { readonly moved: boolean; readonly kept: boolean }>> = {
  Accept: { moved: true, kept: false },
  Start: { moved: false, kept: false },
  Append: { moved: false, kept: false },
  Park: { moved: true, kept: false },
  Decide: { moved: true, kept: false },
  Block: { moved: false, kept: false },
  Finish: { moved: true, kept: false },
  SendBegun: { moved: false, kept: false },
  SendEnded: { moved: false, kept: false },
  Fork: { moved: false, kept: true },
  DeleteSession: { moved: true, kept: true },
  RenameSession: { moved: false, kept: false },
  KeepQueue: { moved: false, kept: true },
  KeepSetting: { moved: false, kept: true },
  KeepJournal: { moved: false, kept: false }
}

/** What was steered into a step has ended with it. */
const isMoved = (unit: Unit): boolean =>
  changes[unit._tag].moved || (unit._tag === "Append" && unit.steering !== undefined)

/** The log, which tells other nodes of what was stored, and where the lanes are. */
const shared = (options: PgLink.Options & { readonly name: string }) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const log = yield* MessageLog
      const placement = yield* PgPlacement.make(options)
      const { register } = yield* Checks
      yield* register({ name: "nodes", run: Effect.map(placement.nodes, judgeNodes) })
      const commit: MessageLog["Service"]["commit"] = (unit) =>
        Effect.tap(log.commit(unit), () =>
          Effect.sync(() => {
            if (isMoved(unit)) placement.tellMoved(unit.place.session)
            if (changes[unit._tag].kept) placement.tellKept()
          })
        )
      return Context.empty().pipe(
        Context.add(MessageLog, MessageLog.of({ ...log, commit })),
        Context.add(Placement, placement)
      )
    })
  )

/** One of several nodes, over any database: for tests too. */
export const layerAt = (options: PgLink.Options, name: string) => {
  const named = { ...options, name: PgPlacement.nodeName(name) }
  return shared(named).pipe(Layer.provideMerge(PostgresStores.layerAt(named)))
}

/** Starts only on a database that is fit for it. Registers the checks `store` and `database`. */
export const layer = Layer.unwrap(
  Effect.gen(function* () {
    const options = placeOf((yield* PostgresPlace).get())
    const { enabled, name = hostname() } = (yield* Nodes).get()
    const projects = (yield* ProjectDbPlace).get()
    yield* mustBeFit(options, !enabled, projects)
    return Layer.merge(
      enabled ? layerAt(options, name) : PostgresStores.layerAt(options),
      projects.url === undefined ? ProjectDb.layerNone : PostgresProjectDb.layer
    )
  })
)
