/**
 * The one writer of a SQLite file: the units of a turn of the event loop run at its end, one behind the other, and share one COMMIT.
 *
 * Owns: atomicity of a unit, durability (nobody is resumed before the WAL is on the disk, and the loop never waits for the
 * disk), and what happens to a group when the disk is full or fails.
 * Does not own: SQL (`layers/horizons`), nor reading (`SqliteClient`).
 *
 * A unit that fails, fails alone: when it had written, all of its turn run once more, each in its own savepoint. When SQLite
 * undoes the whole group, every unit of it runs once more, alone, so that only the ones that cannot be stored fail. After a
 * failed sync nothing that was written can be trusted: every waiting and later unit fails as broken, until a restart.
 * Interrupting a caller never undoes its unit.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { closeSync, fdatasync, fdatasyncSync, openSync } from "node:fs"
import { type Db, type Engine, failureOf, type Mode, SqliteFailure } from "./SqliteEngine.ts"

/** A transaction of several statements, in which the writer takes no other unit. `done` ends it and waits until it is durable. */
export interface Held {
  readonly execute: (
    sql: string,
    params: ReadonlyArray<unknown>,
    mode: Mode
  ) => Effect.Effect<ReadonlyArray<unknown>, SqliteFailure>
  readonly done: Effect.Effect<void, SqliteFailure>
}

export interface Writer {
  /**
   * Run a body that decides and writes at once. A failed `Result` undoes what it wrote. Both ends are told only when all that the body
   * could have seen is durable. A body may run twice, so it must not change anything but the database.
   */
  readonly unit: <A, E>(body: (db: Db) => Result.Result<A, E>) => Effect.Effect<A, E | SqliteFailure>
  /** One statement of its own. */
  readonly execute: Held["execute"]
  readonly hold: Effect.Effect<Held, SqliteFailure, Scope.Scope>
  /** Why nothing can be stored any more, or undefined. */
  readonly broken: () => string | undefined
  /** Make durable what is under way, then close the file. */
  readonly close: Effect.Effect<void>
}

/** `fdatasync` of `node:fs`, or a test's that fails. */
export type Sync = (fd: number, done: (error: unknown) => void) => void

interface Job {
  /** Do the work in the open transaction; throws. Absent for a transaction that only its owner can repeat. */
  readonly work: (() => void) | undefined
  /** Told once: `undefined` when durable, else what was thrown. */
  readonly end: (thrown: unknown) => void
}
interface Unit extends Job {
  readonly work: () => void
}

class Abandoned {
  readonly refusal: unknown
  constructor(refusal: unknown) {
    this.refusal = refusal
  }
}

const lost = () =>
  new SqliteFailure({ kind: "busy", detail: "the transaction was undone with its group; try again" })

const closedFailure = () => new SqliteFailure({ kind: "broken", detail: "the store is closed" })

const failEffect = (thrown: unknown): Effect.Effect<never, SqliteFailure> => {
  const failure = failureOf(thrown)
  return failure === undefined ? Effect.die(thrown) : Effect.fail(failure)
}

export const make = (engine: Engine, filename: string, sync: Sync = fdatasync): Writer => {
  const { database, db } = engine
  const wal = openSync(`${filename}-wal`, "r+")
  let broken: SqliteFailure | undefined
  let closed = false
  /** True while the shared transaction is open; `generation` tells one from the next. */
  let open = false
  let generation = 0
  let scheduled = false
  let held = false
  let waiting: Array<Job> = []
  let unsynced: Array<Job> = []
  let syncing = false
  /** Units of this turn, which are run one behind the other at its end: what they have in common is in the processor's caches then. */
  let arrived: Array<Unit> = []
  const queue: Array<() => void> = []
  const idle: Array<() => void> = []

  const endAll = (jobs: ReadonlyArray<Job>, thrown: unknown) => {
    for (const job of jobs) job.end(thrown)
  }

  const breakDown = (detail: string, cause: unknown) => {
    broken ??= new SqliteFailure({ kind: "broken", detail, cause })
    if (database.isTransaction) database.exec("ROLLBACK")
    open = false
    const jobs = [...unsynced, ...waiting]
    unsynced = []
    waiting = []
    endAll(jobs, broken)
  }

  const syncNow = () => {
    if (syncing) return
    if (unsynced.length === 0) {
      for (const wake of idle.splice(0)) wake()
      return
    }
    syncing = true
    const jobs = unsynced
    unsynced = []
    sync(wal, (error) => {
      syncing = false
      if (error) breakDown("the log could not be synced to the disk", error)
      // The disk works on the next group while this one's callers go on.
      syncNow()
      endAll(jobs, broken)
    })
  }

  const begin = () => {
    if (open) return
    db.run("BEGIN IMMEDIATE")
    open = true
    generation += 1
  }

  /** The group is undone already. Each of its units gets one more chance, alone. */
  const retryAlone = (jobs: ReadonlyArray<Job>, thrown: unknown) => {
    open = false
    if (database.isTransaction) database.exec("ROLLBACK")
    // Told after the loop: whoever is told may hand in the next unit at once.
    const failed: Array<() => void> = []
    for (const job of jobs) {
      if (job.work === undefined) {
        failed.push(() => job.end(thrown))
        continue
      }
      try {
        if (broken !== undefined) throw broken
        db.run("BEGIN IMMEDIATE")
        job.work()
        db.run("COMMIT")
        unsynced.push(job)
      } catch (again) {
        if (database.isTransaction) database.exec("ROLLBACK")
        const failure = failureOf(again)
        if (failure?.kind === "io") breakDown(failure.detail, failure)
        failed.push(() => job.end(failure?.kind === "io" ? broken : again))
      }
    }
    syncNow()
    for (const tell of failed) tell()
  }

  const runArrived = () => {
    const units = arrived
    arrived = []
    if (open || units.length < 2 || !runTogether(units)) for (const unit of units) take(unit)
  }

  /**
   * All in the open transaction and without savepoints, which cost a copy of each page that they touch. False, and nothing was done, when one
   * failed that had written already.
   */
  const runTogether = (units: ReadonlyArray<Unit>): boolean => {
    if (refusal() !== undefined) return false
    const done: Array<Job> = []
    try {
      begin()
      for (const unit of units) {
        const before = engine.changes()
        try {
          unit.work()
          done.push(unit)
        } catch (thrown) {
          if (!(thrown instanceof Abandoned) || engine.changes() !== before) throw thrown
          done.push(toldAfter(unit, thrown))
        }
      }
    } catch {
      open = false
      if (database.isTransaction) database.exec("ROLLBACK")
      return false
    }
    waiting.push(...done)
    return true
  }

  /** A refusal may rest on rows of its very group, or of one that is not on the disk yet, so it is told after them. */
  const toldAfter = ({ work, end }: Unit, refusal: Abandoned): Job => ({
    work,
    end: (thrown) => end(thrown ?? refusal)
  })

  const flush = () => {
    scheduled = false
    if (held) return
    runArrived()
    if (!open) return
    const jobs = waiting
    waiting = []
    try {
      db.run("COMMIT")
    } catch (thrown) {
      return retryAlone(jobs, thrown)
    }
    open = false
    unsynced.push(...jobs)
    syncNow()
  }

  const schedule = () => {
    if (scheduled) return
    scheduled = true
    setImmediate(flush)
  }

  const refusal = (): SqliteFailure | undefined => (closed ? closedFailure() : broken)

  const take = (job: Unit) => {
    const refused = refusal()
    if (refused !== undefined) return job.end(refused)
    // The first unit of a group has nothing before it to keep, so the transaction itself is its savepoint.
    const isFirst = !open
    try {
      begin()
      if (!isFirst) db.run("SAVEPOINT unit")
      job.work()
      if (!isFirst) db.run("RELEASE unit")
    } catch (thrown) {
      const failure = failureOf(thrown)
      const undone = open && !database.isTransaction
      if (undone || (open && failure?.kind === "io")) {
        const jobs = [...waiting, job]
        waiting = []
        return retryAlone(jobs, thrown)
      }
      if (isFirst && open) {
        open = false
        db.run("ROLLBACK")
      } else if (database.isTransaction) {
        db.run("ROLLBACK TO unit")
        db.run("RELEASE unit")
      }
      if (!(thrown instanceof Abandoned)) job.end(thrown)
      else if (open) waiting.push(toldAfter(job, thrown))
      else if (syncing || unsynced.length > 0) unsynced.push(toldAfter(job, thrown))
      else job.end(thrown)
      return
    }
    waiting.push(job)
  }

  const arrive = (unit: Unit) => {
    arrived.push(unit)
    schedule()
  }

  const release = () => {
    const next = queue.shift()
    if (next !== undefined) return next()
    held = false
    if (open || arrived.length > 0) schedule()
  }

  const whenFree = (run: () => void) => {
    if (!held) return run()
    queue.push(() => {
      run()
      release()
    })
  }

  const unit: Writer["unit"] = <A, E>(body: (db: Db) => Result.Result<A, E>) =>
    Effect.callback<A, E | SqliteFailure>((resume) => {
      let outcome: Result.Result<A, E> | undefined
      const work = () => {
        outcome = body(db)
        if (Result.isFailure(outcome)) throw new Abandoned(outcome.failure)
      }
      const end = (thrown: unknown) => {
        if (thrown === undefined || thrown instanceof Abandoned) {
          if (outcome !== undefined) resume(Effect.fromResult(outcome))
        } else resume(failEffect(thrown))
      }
      whenFree(() => arrive({ work, end }))
    })

  const execute: Writer["execute"] = (sql, params, mode) =>
    Effect.callback((resume) => {
      let rows: ReadonlyArray<unknown> = []
      const work = () => {
        rows = engine.execute(sql, params, mode)
      }
      const end = (thrown: unknown) =>
        resume(thrown === undefined ? Effect.succeed(rows) : failEffect(thrown))
      whenFree(() => arrive({ work, end }))
    })

  /** Waits for the writer without a gap in which an interruption could keep it for ever. */
  const acquire = (restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      let state: "waiting" | "held" | "released" = "waiting"
      let wake: (() => void) | undefined
      const grant = () => {
        if (state === "released") return release()
        state = "held"
        wake?.()
      }
      const giveBack = () => {
        const before = state
        state = "released"
        if (before === "held") release()
      }
      yield* Effect.addFinalizer(() => Effect.sync(giveBack))
      if (!held) {
        held = true
        grant()
      } else {
        queue.push(grant)
        yield* restore(
          Effect.callback<void>((resume) => {
            if (state === "held") resume(Effect.void)
            else wake = () => resume(Effect.void)
          })
        )
      }
      return giveBack
    })

  const hold: Writer["hold"] = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const giveBack = yield* acquire(restore)
      yield* Effect.suspend(() => {
        try {
          runArrived()
          const refused = refusal()
          return refused === undefined ? Effect.succeed(begin()) : Effect.fail(refused)
        } catch (thrown) {
          return failEffect(thrown)
        }
      })
      const mine = generation
      const run: Held["execute"] = (sql, params, mode) =>
        Effect.suspend(() => {
          try {
            if (!open || generation !== mine) throw refusal() ?? lost()
            return Effect.succeed(engine.execute(sql, params, mode))
          } catch (thrown) {
            if (open && !database.isTransaction) {
              const jobs = waiting
              waiting = []
              retryAlone(jobs, thrown)
            }
            return failEffect(thrown)
          }
        })
      const done = Effect.callback<void, SqliteFailure>((resume) => {
        if (!open || generation !== mine) return resume(Effect.fail(refusal() ?? lost()))
        waiting.push({
          work: undefined,
          end: (thrown) => resume(thrown === undefined ? Effect.void : failEffect(thrown))
        })
        schedule()
        // The shared COMMIT may hold others' units too: the writer is free again before it.
        giveBack()
      })
      return { execute: run, done }
    })
  )

  const close = Effect.suspend(() => {
    if (held) {
      // A transaction that never ended is not committed; the finished units beside it are.
      const jobs = waiting
      waiting = []
      held = false
      retryAlone(jobs, closedFailure())
    }
    flush()
    closed = true
    for (const run of queue.splice(0)) run()
    return Effect.andThen(
      Effect.callback<void>((resume) => {
        idle.push(() => resume(Effect.void))
        syncNow()
      }),
      Effect.sync(() => {
        if (database.isTransaction) database.exec("ROLLBACK")
        try {
          if (broken === undefined) fdatasyncSync(wal)
        } finally {
          closeSync(wal)
          engine.close()
        }
      })
    )
  })

  return { unit, execute, hold, broken: () => broken?.detail, close }
}
