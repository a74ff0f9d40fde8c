/** The system on embedded stores: one process, one data directory, nothing else to start. */
import * as SqliteStores from "#layers/horizons/SqliteStores.ts"
import { onStores } from "#layers/onStores.ts"

/** Needs the settings. It listens once this is built. */
export const layer = onStores(SqliteStores.layer)
