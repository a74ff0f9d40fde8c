/** Everything durable in one schema of a Postgres database: the log, who may use the gateway, and what was done. */
import * as Layer from "effect/Layer"
import type * as PgLink from "#layers/platform/PgLink.ts"
import * as PostgresMessageLog from "./PostgresMessageLog.ts"
import * as PostgresStore from "./PostgresStore.ts"
import * as SqlAuditLog from "./SqlAuditLog.ts"
import * as SqlCentralDb from "./SqlCentralDb.ts"

/** Over any database, which stands beside it in the context. Migrates, then connects. */
export const layerAt = (options: PgLink.Options) =>
  Layer.merge(SqlCentralDb.layer, SqlAuditLog.layer).pipe(
    Layer.provide(PostgresStore.layer),
    Layer.provideMerge(PostgresMessageLog.layerAt(options))
  )
