/**
 * The log on Postgres: one schema of one database, for any number of gateways.
 *
 * Owns: how the port's promises map to writers and readers, and the check that they hold.
 * Does not own: the SQL (`sqlUnits`, `sqlReads`, `pgSchema`), group commit and what happens while the server is away
 * (`layers/platform`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { Fenced, LogError, MessageLog, type Place, type Unit } from "#src/horizons/MessageLog.ts"
import * as Telemetry from "#src/Telemetry.ts"
import * as PgClient from "#layers/platform/PgClient.ts"
import { type PgFailure, Postgres } from "#layers/platform/PgClient.ts"
import type * as PgLink from "#layers/platform/PgLink.ts"
import { type Body, get } from "#layers/platform/statements.ts"
import { judge } from "./pgFitness.ts"
import { migrate } from "./pgSchema.ts"
import * as Reads from "./sqlReads.ts"
import { refusalOf } from "./SqlStore.ts"
import { apply, forgetOld, forgetSession } from "./sqlUnits.ts"
import type { Refusal } from "./stored.ts"

const refused = (reason: Refusal) => new LogError({ reason })

/** A fence that was raised is the log's to tell of; all else means what it means to every store. */
const translated = (failure: PgFailure): Effect.Effect<never, LogError> => {
  if (failure.kind !== "fenced") return Effect.mapError(refusalOf(failure), refused)
  Telemetry.unitFenced()
  return Effect.fail(refused(new Fenced({})))
}

/** Units of a session never run at once, wherever they come from. */
const nameOf = ({ tenant, session }: Pick<Place, "tenant" | "session">) =>
  `${tenant.org}\n${tenant.project}\n${session}`

/** Of both sessions, when one is forked: its original must not be forgotten meanwhile. */
const locksOf = (unit: Unit): readonly [string, ...Array<string>] =>
  unit._tag === "Fork"
    ? [nameOf(unit.place), nameOf({ tenant: unit.place.tenant, session: unit.from })]
    : [nameOf(unit.place)]

/** Sessions that one purging unit forgets: few, since their lanes wait for it. */
const purgedAtOnce = 50
/** The same for single old rows. */
const forgottenAtOnce = 500

export const make = Effect.gen(function* () {
  const postgres = yield* Postgres

  const commit = <U extends Unit>(unit: U) =>
    postgres
      .unit(locksOf(unit), () => apply(unit), unit.place.fence)
      .pipe(
        Effect.catch((failure) =>
          failure._tag === "PgFailure" ? translated(failure) : Effect.fail(refused(failure))
        )
      )

  const reading =
    <Q, A>(read: (query: Q) => Body<A>) =>
    (query: Q) =>
      postgres.read(() => read(query)).pipe(Effect.catch(translated))

  const purge = Effect.fn("MessageLog.purge")(function* (
    query: Parameters<MessageLog["Service"]["purge"]>[0]
  ) {
    const { tenant } = query
    let total = 0
    while (true) {
      const stale = yield* postgres
        .read(() => Reads.stalest(query, purgedAtOnce))
        .pipe(Effect.catch(translated))
      const [first, ...others] = stale.map((session) => nameOf({ tenant, session }))
      if (first === undefined) return total
      // A session may have been written to between the look and its lock.
      const some = function* () {
        const still = new Set(yield* Reads.stalest(query, purgedAtOnce))
        const keys = stale.filter((session) => still.has(session))
        for (const session of keys) yield* forgetSession({ tenant, session })
        return Result.succeed(keys.length)
      }
      total += yield* postgres.unit([first, ...others], some).pipe(Effect.catch(translated))
    }
  })

  const purgeOld = Effect.fn("MessageLog.purgeOld")(function* (
    query: Parameters<MessageLog["Service"]["purgeOld"]>[0]
  ) {
    const { org, project } = query.tenant
    const some = function* () {
      return Result.succeed(yield* forgetOld(query, forgottenAtOnce))
    }
    let total = 0
    while (true) {
      const forgotten = yield* postgres
        .unit([`${org}\n${project}\n${query.of}`], some)
        .pipe(Effect.catch(translated))
      total += forgotten
      if (forgotten < forgottenAtOnce) return total
    }
  })

  return MessageLog.of({
    commit,
    open: reading(Reads.open),
    tenants: reading(Reads.tenants),
    openSessions: reading(Reads.openSessions),
    history: reading(Reads.history),
    entries: reading(Reads.entries),
    message: (query) => postgres.snapshot(() => Reads.message(query)).pipe(Effect.catch(translated)),
    lookup: reading(Reads.lookup),
    undelivered: reading(Reads.undelivered),
    approvals: reading(Reads.approvals),
    forks: reading(Reads.forks),
    sessions: reading(Reads.sessions),
    queues: reading(Reads.queues),
    usage: reading(Reads.usage),
    settings: reading(Reads.settings),
    journal: reading(Reads.journal),
    purgeOld,
    purge,
    broken: postgres.broken
  })
})

const failed = (message: string): CheckResult => ({ status: "failed", message })

const checks = (options: PgLink.Options) =>
  Effect.gen(function* () {
    const postgres = yield* Postgres
    const { register } = yield* Checks
    yield* register({
      name: "store",
      run: postgres
        .read(() => get("SELECT 1 AS one FROM sessions LIMIT 1"))
        .pipe(
          Effect.as<CheckResult>({ status: "ok", message: "the log can be read" }),
          Effect.catch((error) => Effect.succeed(failed(`the store cannot be read: ${error.message}`)))
        )
    })
    yield* register({ name: "database", when: "doctor", run: judge(options) })
  })

/** Over a database, which stands beside it in the context. Migrates, then connects. Registers the checks `store` and `database`. */
export const layerAt = (options: PgLink.Options) =>
  Layer.effect(MessageLog, make).pipe(
    Layer.merge(Layer.effectDiscard(checks(options))),
    Layer.provideMerge(PgClient.layer(options)),
    (log) => Layer.unwrap(Effect.as(migrate(options), log))
  )
