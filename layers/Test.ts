/**
 * The system on in-memory adapters: no network, no disk, a clock you turn.
 * Adapters stay visible, so a test can script the model, break the log and read deliveries.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as RecordingChannel from "#layers/channel/RecordingChannel.ts"
import * as KeySecrets from "#layers/horizons/KeySecrets.ts"
import * as MemoryAuditLog from "#layers/horizons/MemoryAuditLog.ts"
import * as MemoryCentralDb from "#layers/horizons/MemoryCentralDb.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { Ids } from "#src/domain/Ids.ts"
import type { Checks } from "#src/check/Checks.ts"
import * as ProjectDb from "#src/horizons/ProjectDb.ts"
import type { ProjectDbPlace } from "#src/horizons/ProjectDbSettings.ts"
import type { MessageLog } from "#src/horizons/MessageLog.ts"
import * as Failover from "#src/model/Failover.ts"
import * as ModelHealth from "#src/model/ModelHealth.ts"
import * as DatabaseTools from "#layers/tool/DatabaseTools.ts"
import * as System from "#src/System.ts"

let count = 0

/** Ids that count, on over every system of one test process: two lives on one log never give the same id. */
export const layerIds = Layer.sync(Ids, () => {
  return Ids.of({
    next: (prefix) => `${prefix}_${String(++count).padStart(6, "0")}`,
    secret: () => `secret-${String(++count).padStart(16, "0")}`
  })
})

export interface Options {
  readonly script?: Parameters<typeof ScriptedModel.layer>[0]
  /** What a configuration file could say. Without a word on `models`, a failed call is not repeated. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Databases of projects; none without. */
  readonly projectDb?: Layer.Layer<ProjectDb.ProjectDb, never, ProjectDbPlace>
}

/** What stands between a run and any model, on a memory that ends with the test. */
export const layerFailover = (config: Options["config"] = {}) =>
  Failover.layer.pipe(
    Layer.provideMerge(ModelHealth.layer),
    Layer.provideMerge(
      Layer.mergeAll(ModelHealth.layerForgetful, Settings.layerFrom(config).pipe(Layer.orDie))
    )
  )

/** The same with a scripted model. */
export const layerModels = ({ script = [], config }: Options = {}) =>
  Layer.provideMerge(layerFailover(config), ScriptedModel.layer(script))

const secretsKey = Redacted.make("00".repeat(32))

/** Keys, credentials and the audit log in memory. */
const layerIdentity = System.access.pipe(
  Layer.provideMerge(
    Layer.mergeAll(
      MemoryCentralDb.layer.pipe(Layer.provideMerge(MemoryAuditLog.layer)),
      KeySecrets.layerKeys(secretsKey)
    )
  )
)

/** The system over any log: what a test of durability gives the same file twice. */
export const layerOn = <A, E>(
  log: Layer.Layer<A | MessageLog, E, Checks>,
  { script = [], config = {}, projectDb = ProjectDb.layerNone }: Options = {}
) =>
  System.layer.pipe(
    Layer.provideMerge(DatabaseTools.layer),
    Layer.provideMerge(projectDb),
    Layer.provideMerge(RecordingChannel.layer),
    Layer.provideMerge(log),
    Layer.provideMerge(layerIdentity),
    Layer.provideMerge(
      Layer.mergeAll(
        System.registries,
        ScriptedModel.layer(script),
        ModelHealth.layerForgetful,
        layerIds,
        Settings.layerFrom({ general: { model: "demo/demo" }, models: { attempts: 1 }, ...config }).pipe(
          Layer.orDie
        )
      )
    )
  )

export const layer = (options: Options = {}) => layerOn(MemoryMessageLog.layer, options)

/** Wait until nothing is going on any more in this process, without turning the clock. */
export const settle = Effect.repeat(Effect.yieldNow, { times: 200 })
