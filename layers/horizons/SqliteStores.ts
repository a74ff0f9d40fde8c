/**
 * Everything durable in one SQLite file: the log, who may use the gateway, and what was done.
 *
 * One file, so that a backup has all of it at one moment, one lock and one schema version keep it, and an audit event shares the sync of
 * the messages beside it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { join } from "node:path"
import { DataDir } from "#layers/platform/DataDir.ts"
import type * as SqliteClient from "#layers/platform/SqliteClient.ts"
import * as SqlAuditLog from "./SqlAuditLog.ts"
import * as SqlCentralDb from "./SqlCentralDb.ts"
import * as SqliteProjectDb from "./SqliteProjectDb.ts"
import * as SqliteMessageLog from "./SqliteMessageLog.ts"
import * as SqliteStore from "./SqliteStore.ts"

/** Over any file, with the database beside it in the context. */
export const layerFile = (options: SqliteClient.Options) =>
  Layer.merge(SqlCentralDb.layer, SqlAuditLog.layer).pipe(
    Layer.provide(SqliteStore.layer),
    Layer.provideMerge(SqliteMessageLog.layerFile(options))
  )

/**
 * `log.db` in the data directory, and the projects' files beside it. Closing it makes durable what is under way. Registers the check
 * `store`.
 */
export const layer = Layer.unwrap(
  Effect.map(DataDir, ({ path }) => layerFile({ filename: join(path, "log.db") }))
).pipe(Layer.merge(SqliteProjectDb.layer))
