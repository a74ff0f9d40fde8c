/**
 * `opencraw migrate`: brings the store to the schema of this version without starting a gateway; with `--plan` it only says what would
 * be done. A start does the same by itself: this is for whoever wants it done before, or by another user of the database.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { optionsOf, print, printJson } from "#layers/gateway/cli/terminal.ts"
import { schemaOf } from "#layers/horizons/inspectLog.ts"
import * as pgFitness from "#layers/horizons/pgFitness.ts"
import * as pgSchema from "#layers/horizons/pgSchema.ts"
import * as sqliteSchema from "#layers/horizons/sqliteSchema.ts"
import { known, missing, type Migration, SchemaTooNew } from "#layers/horizons/sqlSchema.ts"
import { DataDir, layer as layerDataDir } from "#layers/platform/DataDir.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as SqliteClient from "#layers/platform/SqliteClient.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"

interface Result {
  /** Where the store is, without a secret. */
  readonly store: string
  readonly migrations: ReadonlyArray<Migration>
}

const versionOfFile = (filename: string): number => {
  if (!existsSync(filename)) return 0
  const database = new DatabaseSync(filename, { readOnly: true, timeout: 2000 })
  try {
    return schemaOf(database)
  } finally {
    database.close()
  }
}

/** Beside a running gateway too. */
const planned = Effect.fnUntraced(function* (store: string) {
  const found = yield* Effect.try({
    try: () => versionOfFile(store),
    catch: (cause) =>
      new CommandFailed({ code: exitCodes.store, message: `${store} cannot be read: ${String(cause)}` })
  })
  if (found > known) return yield* new SchemaTooNew({ found, known })
  return { store, migrations: missing(found) } satisfies Result
})

const ofDev = Effect.fnUntraced(function* (dataDir: string, isPlan: boolean) {
  if (isPlan) return yield* planned(join(dataDir, "log.db"))
  return yield* Effect.gen(function* () {
    const { path } = yield* DataDir
    const before = yield* planned(join(path, "log.db"))
    yield* sqliteSchema.migrate.pipe(Effect.provide(SqliteClient.layer({ filename: before.store })))
    return before
  }).pipe(Effect.provide(layerDataDir(dataDir)))
})

const logger = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])

const ofProd = Effect.fnUntraced(function* (options: PgLink.Options, isPlan: boolean) {
  const store = `${pgFitness.nameOf(options)} (schema ${options.schema})`
  // What is told besides the result must not stand in it.
  yield* pgFitness.mustBeFit(options).pipe(Effect.provide(logger))
  const migrations = isPlan
    ? yield* Effect.scoped(Effect.flatMap(PgLink.make(options), pgSchema.plan))
    : yield* pgSchema.migrate(options)
  return { store, migrations } satisfies Result
})

export const migrate = Effect.fn("migrate")(function* (given: Given) {
  const isPlan = given.values.has("plan")
  const failed = (code: number) => (error: { readonly message: string }) =>
    error instanceof CommandFailed ? error : new CommandFailed({ code, message: error.message })
  const { config } = yield* Settings.load(optionsOf(given)).pipe(Effect.mapError(failed(exitCodes.config)))
  const { store, migrations }: Result = yield* config.runtime.mode === "prod"
    ? ofProd(pgFitness.placeOf(config.postgres), isPlan).pipe(
        Effect.catchTags({ StoreUnreachable: (error) => Effect.fail(failed(exitCodes.unavailable)(error)) }),
        Effect.mapError(failed(exitCodes.store))
      )
    : ofDev(config.runtime.data_dir ?? "", isPlan).pipe(
        Effect.catchTags({ DataDirLocked: (error) => Effect.fail(failed(exitCodes.locked)(error)) }),
        Effect.mapError(failed(exitCodes.store))
      )
  const names = migrations.map(({ id, name }) => ({ id, name }))
  if (given.values.has("json")) printJson({ store, done: !isPlan, migrations: names })
  else if (names.length === 0)
    print(`${store} has this version's schema (${known}); there is nothing to do.\n`)
  else {
    const list = names.map(({ id, name }) => `  ${id} ${name}\n`).join("")
    print(`${isPlan ? "A start would bring" : "Brought"} ${store} to schema ${known}:\n${list}`)
  }
  return exitCodes.ok
})
