/** The system on embedded stores: one process, one data directory, nothing else to start. */
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import { onStores } from "#layers/onStores.ts"

/** Needs the settings. It listens once this is built. */
export const layer = onStores(SqliteMessageLog.layer)
