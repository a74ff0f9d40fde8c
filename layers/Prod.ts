/**
 * The system on PostgreSQL. The data directory keeps only what belongs to this machine: the lock, the key of browsers' cookies.
 *
 * Starts only on a database that is fit for it, and never falls back to another store.
 */
import * as PostgresNodes from "#layers/horizons/PostgresNodes.ts"
import { onStores } from "#layers/onStores.ts"

/** One gateway, or with `nodes.enabled` one of several. Needs the settings. It listens once this is built. */
export const layer = onStores(PostgresNodes.layer)
