/** The system on embedded stores: one process, one data directory, nothing else to start. */
import * as Layer from "effect/Layer"
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import * as Demo from "#layers/model/Demo.ts"
import * as OpenAiChat from "#layers/model/OpenAiChat.ts"
import * as DataDir from "#layers/platform/DataDir.ts"
import * as Failpoints from "#layers/platform/Failpoints.ts"
import * as NodeIds from "#layers/platform/NodeIds.ts"
import * as FileSystemTools from "#layers/tool/FileSystemTools.ts"
import * as Models from "#src/model/Models.ts"
import * as System from "#src/System.ts"

const adapters = Layer.mergeAll(
  Models.layer.pipe(Layer.provide(Layer.mergeAll(OpenAiChat.layer, Demo.layer))),
  SqliteMessageLog.layer,
  FileSystemTools.layer
)

/** Needs the settings. */
export const layer = System.layer.pipe(
  Layer.provideMerge(adapters),
  Layer.provideMerge(
    Layer.mergeAll(System.registries, DataDir.layerSettings, NodeIds.layer, Failpoints.layer())
  )
)
