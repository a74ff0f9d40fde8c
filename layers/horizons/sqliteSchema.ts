/** Brings a SQLite file to the schema of this version. */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { known, MigrationFailed, migrations, SchemaTooNew, table } from "./sqlSchema.ts"

const run = (list: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    for (const statement of list) yield* sql.unsafe(statement)
  })

/** The newest migration that ran here; 0 for a fresh file. */
const current = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const tables = yield* sql`SELECT name FROM sqlite_master WHERE type = 'table' AND name = ${table}`
  if (tables.length === 0) return 0
  const rows = yield* sql<{ readonly id: number | null }>`SELECT max(migration_id) AS id FROM ${sql(table)}`
  return rows[0]?.id ?? 0
})

/** Bring the file to the schema of this version, or refuse it. */
export const migrate = Effect.gen(function* () {
  const found = yield* current
  if (found > known) return yield* new SchemaTooNew({ found, known })
  const all = Object.fromEntries(Object.entries(migrations).map(([name, list]) => [name, run(list)]))
  yield* Migrator.make({})({ loader: Migrator.fromRecord(all), table })
}).pipe(
  Effect.catchTags({
    SqlError: (cause) => Effect.fail(new MigrationFailed({ detail: cause.message, cause })),
    MigrationError: (cause) => Effect.fail(new MigrationFailed({ detail: cause.message, cause }))
  })
)
