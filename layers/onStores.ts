/**
 * The whole gateway but its stores: what the compositions have in common.
 *
 * Owns: the order in which it is built; it listens once all of it stands.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as checks from "#layers/checks.ts"
import * as FolderPageFiles from "#layers/gateway/FolderPageFiles.ts"
import * as NodeConfigFile from "#layers/gateway/NodeConfigFile.ts"
import * as NodeEventStream from "#layers/gateway/NodeEventStream.ts"
import * as NodeGatewaySecrets from "#layers/gateway/NodeGatewaySecrets.ts"
import * as NodeServer from "#layers/gateway/NodeServer.ts"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import * as FileHealthStore from "#layers/model/FileHealthStore.ts"
import * as providers from "#layers/model/providers.ts"
import * as DataDir from "#layers/platform/DataDir.ts"
import * as Failpoints from "#layers/platform/Failpoints.ts"
import * as NodeIds from "#layers/platform/NodeIds.ts"
import * as DatabaseTools from "#layers/tool/DatabaseTools.ts"
import * as FileSystemTools from "#layers/tool/FileSystemTools.ts"
import * as StoredKeys from "#src/access/StoredKeys.ts"
import * as GatewayRoom from "#src/gateway/GatewayRoom.ts"
import type { AuditLog } from "#src/horizons/AuditLog.ts"
import type { CentralDb } from "#src/horizons/CentralDb.ts"
import type { ProjectDb } from "#src/horizons/ProjectDb.ts"
import type { MessageLog } from "#src/horizons/MessageLog.ts"
import * as Takeover from "#src/lane/Takeover.ts"
import * as Models from "#src/model/Models.ts"
import { Placement } from "#src/placement/Placement.ts"
import * as System from "#src/System.ts"

const adapters = Layer.mergeAll(
  Models.layer.pipe(Layer.provide(providers.layer)),
  FileHealthStore.layer,
  FileSystemTools.layer,
  DatabaseTools.layer
)

/** What an earlier process, or another node, left open is on its lanes before the first new message is taken. */
const recovered = Layer.effectDiscard(
  Effect.gen(function* () {
    const placement = yield* Placement
    yield* placement.begin(yield* Takeover.make)
  })
)

/** The gateway on these stores. Needs the settings. It listens once this is built. */
export const onStores = <E, R>(stores: Layer.Layer<MessageLog | CentralDb | AuditLog | ProjectDb, E, R>) =>
  NodeServer.layer().pipe(
    Layer.provide(Layer.merge(recovered, checks.layerModels)),
    Layer.provideMerge(GatewayRoom.layer),
    Layer.provideMerge(System.layer),
    Layer.provideMerge(
      Layer.mergeAll(
        adapters,
        NodeGatewaySecrets.layer,
        NodeConfigFile.layer,
        NodeEventStream.layer,
        FolderPageFiles.layer(checks.pageFolder),
        checks.layer,
        checks.layerDataDir
      )
    ),
    // The keys that providers have in the store: whatever asks for a provider stands above.
    Layer.provideMerge(StoredKeys.layer),
    Layer.provideMerge(System.access),
    Layer.provideMerge(stores.pipe(Layer.provideMerge(KeySecrets.layer))),
    Layer.provideMerge(
      Layer.mergeAll(System.registries, DataDir.layerSettings, NodeIds.layer, Failpoints.layer())
    )
  )
