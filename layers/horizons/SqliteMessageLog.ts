/**
 * The log on SQLite: one file, `log.db`, in the data directory.
 *
 * Owns: how the port's promises map to one writer and one reader, and the check that they hold.
 * Does not own: the SQL (`sqlUnits`, `sqlReads`, `sqliteSchema`), group commit (`layers/platform`).
 *
 * A read sees a unit from its COMMIT on, which may be a moment before the disk has it and its caller is told. After a loss of power
 * in that moment the unit never was.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { LogError, MessageLog, type Unit } from "#src/horizons/MessageLog.ts"
import * as SqliteClient from "#layers/platform/SqliteClient.ts"
import { answered, type Db, Sqlite, type SqliteFailure } from "#layers/platform/SqliteClient.ts"
import type { Body } from "#layers/platform/statements.ts"
import * as Reads from "./sqlReads.ts"
import { refusalOf } from "./SqlStore.ts"
import { migrate } from "./sqliteSchema.ts"
import { apply, forgetOld, forgetSession } from "./sqlUnits.ts"
import type { Refusal } from "./stored.ts"

const refused = (reason: Refusal) => new LogError({ reason })

const translated = (failure: SqliteFailure): Effect.Effect<never, LogError> =>
  Effect.mapError(refusalOf(failure), refused)

/** Sessions that one purging unit forgets: few, since others wait for the writer meanwhile. */
const purgedAtOnce = 50
/** The same for single old rows. */
const forgottenAtOnce = 500
/** Pages given back to the disk at once, and those kept for what comes next: 2 MB. */
const freedAtOnce = 200
const keptFree = 1000
const freePages = (db: Db): number =>
  db.get<{ freelist_count: number }>("PRAGMA freelist_count")?.freelist_count ?? 0

export const make = Effect.gen(function* () {
  const sqlite = yield* Sqlite

  const commit = <U extends Unit>(unit: U) =>
    sqlite
      .unit((db) => answered(db, apply(unit)))
      .pipe(
        Effect.catch((failure) =>
          failure._tag === "SqliteFailure" ? translated(failure) : Effect.fail(refused(failure))
        )
      )

  const reading =
    <Q, A>(read: (query: Q) => Body<A>) =>
    (query: Q) =>
      sqlite.read((db) => answered(db, read(query))).pipe(Effect.catch(translated))

  /** Purge a few at a time, until there are none. Returns how many. */
  const inParts = Effect.fnUntraced(function* (some: (db: Db) => number) {
    const part = sqlite.unit((db) => Result.succeed(some(db))).pipe(Effect.catch(translated))
    let total = 0
    while (true) {
      const purged = yield* part
      total += purged
      // Whom a fork kept may go once the fork is gone.
      if (purged === 0) break
      yield* Effect.yieldNow
    }
    if (total > 0) yield* giveBack
    return total
  })

  const purge = Effect.fn("MessageLog.purge")(function* (
    query: Parameters<MessageLog["Service"]["purge"]>[0]
  ) {
    return yield* inParts((db) => {
      const keys = answered(db, Reads.stalest(query, purgedAtOnce))
      for (const session of keys) answered(db, forgetSession({ tenant: query.tenant, session }))
      return keys.length
    })
  })

  const purgeOld = Effect.fn("MessageLog.purgeOld")(function* (
    query: Parameters<MessageLog["Service"]["purgeOld"]>[0]
  ) {
    return yield* inParts((db) => answered(db, forgetOld(query, forgottenAtOnce)))
  })

  /** Free pages beyond a reserve go back to the disk, a few at a time: others wait for the writer meanwhile. */
  const giveBack = Effect.gen(function* () {
    const some = sqlite
      .unit((db) => {
        const pages = freePages(db) - keptFree
        if (pages <= 0) return Result.succeed(false)
        db.all(`PRAGMA incremental_vacuum(${Math.min(pages, freedAtOnce)})`)
        // A file that was made without the pragma gives nothing back; its free pages are used again all the same.
        return Result.succeed(freePages(db) < pages + keptFree)
      })
      .pipe(Effect.catch(translated))
    while (yield* some) yield* Effect.yieldNow
  })

  const broken = Effect.sync(() => sqlite.broken()).pipe(
    Effect.repeat({ until: (detail) => detail !== undefined, schedule: Schedule.spaced("1 second") }),
    Effect.map((detail) => detail ?? "")
  )

  return MessageLog.of({
    commit,
    open: reading(Reads.open),
    tenants: reading(Reads.tenants),
    openSessions: reading(Reads.openSessions),
    history: reading(Reads.history),
    entries: reading(Reads.entries),
    message: reading(Reads.message),
    lookup: reading(Reads.lookup),
    undelivered: reading(Reads.undelivered),
    approvals: reading(Reads.approvals),
    forks: reading(Reads.forks),
    sessions: reading(Reads.sessions),
    queues: reading(Reads.queues),
    usage: reading(Reads.usage),
    settings: reading(Reads.settings),
    journal: reading(Reads.journal),
    purge,
    purgeOld,
    broken
  })
})

/** Can it be read, and can it still be written. */
const check = Effect.gen(function* () {
  const sqlite = yield* Sqlite
  const run = Effect.gen(function* () {
    const broken = sqlite.broken()
    if (broken !== undefined)
      return { status: "failed", message: `the store is broken (${broken}): restart` } satisfies CheckResult
    yield* sqlite.read((db) => db.get("SELECT 1 FROM sessions LIMIT 1"))
    return { status: "ok", message: "the log can be read and written" } satisfies CheckResult
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed<CheckResult>({ status: "failed", message: `the store cannot be read: ${error.message}` })
    )
  )
  const checks = yield* Checks
  yield* checks.register({ name: "store", run })
})

/** Over a file, with the database beside it in the context. Closing it makes durable what is under way. Registers the check `store`. */
export const layerFile = (options: SqliteClient.Options) =>
  Layer.effect(MessageLog, Effect.andThen(migrate, make)).pipe(
    Layer.merge(Layer.effectDiscard(check)),
    Layer.provideMerge(SqliteClient.layer(options))
  )
