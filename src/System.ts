/**
 * The whole system, its sockets still open: the requirements of `layer` are the adapters a composition must bring.
 */
import * as Layer from "effect/Layer"
import * as ApiKeys from "#src/access/ApiKeys.ts"
import * as Audit from "#src/access/Audit.ts"
import * as Directory from "#src/access/Directory.ts"
import * as Credentials from "#src/access/Credentials.ts"
import * as ProjectAgents from "#src/agent/ProjectAgents.ts"
import * as Agent from "#src/agent/Agent.ts"
import * as Channels from "#src/channel/Channels.ts"
import * as Commands from "#src/command/Commands.ts"
import * as Checks from "#src/check/Checks.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as approvalCommands from "#src/lane/approvalCommands.ts"
import * as Elsewhere from "#src/lane/Elsewhere.ts"
import * as laneCheck from "#src/lane/laneCheck.ts"
import * as laneCommands from "#src/lane/laneCommands.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import * as SessionModels from "#src/lane/SessionModels.ts"
import * as SessionQueues from "#src/lane/SessionQueues.ts"
import * as RunDriver from "#src/lane/RunDriver.ts"
import * as Failover from "#src/model/Failover.ts"
import * as ModelHealth from "#src/model/ModelHealth.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"
import * as Feed from "#src/outbound/Feed.ts"
import * as Outbound from "#src/outbound/Outbound.ts"
import * as SessionUsage from "#src/session/SessionUsage.ts"
import * as Sessions from "#src/session/Sessions.ts"
import * as TimeTools from "#src/tool/TimeTools.ts"
import * as Tools from "#src/tool/Tools.ts"

/** The registries, empty: adapters and rooms fill them by Layers of their own. */
export const registries = Layer.mergeAll(
  Tools.layer,
  Channels.layer,
  Commands.layer,
  Checks.layer,
  ModelKinds.layer,
  Feed.layer
)

/** Who may use it, and what is told of that. Needs `CentralDb`, `AuditLog`, `Secrets`, ids and the registry of checks. */
export const access = Layer.merge(Directory.layer, Directory.layerTenants).pipe(
  Layer.provideMerge(Layer.merge(ApiKeys.layer, Credentials.layer)),
  Layer.provideMerge(Audit.layer)
)

/** From the inbox to the outbox. Needs `access`, the log, a model and where its health is kept, ids, the settings and the registries. */
export const layer = Layer.mergeAll(
  Inbound.layer,
  approvalCommands.layer,
  laneCommands.layer,
  laneCheck.layer
).pipe(
  Layer.provideMerge(Layer.mergeAll(Lanes.layer, SessionQueues.layer, Elsewhere.layer)),
  Layer.provideMerge(RunDriver.layer),
  Layer.provideMerge(SessionModels.layer),
  Layer.provideMerge(
    Layer.mergeAll(Agent.layer, ProjectAgents.layer, Sessions.layer, SessionUsage.layer, Outbound.layer)
  ),
  Layer.provideMerge(Failover.layer),
  Layer.provideMerge(ModelHealth.layer),
  Layer.merge(TimeTools.layer)
)
