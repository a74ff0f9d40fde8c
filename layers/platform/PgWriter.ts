/**
 * One writing connection to Postgres: units that wait share a transaction, and what a unit writes goes in one statement.
 *
 * Owns: atomicity of a unit, that nobody is told before its COMMIT, and certainty about a commit whose answer was lost: every
 * transaction leaves its number in a row of this writer, which is looked for behind the locks that the lost one held. (The server's own
 * transaction ids would not do: after a crash it may give one of them again.) And that a unit under a fence is not stored once the
 * fence was raised: whoever raises one waits for what is being stored under it.
 * Does not own: SQL (`layers/horizons`), reading and how many writers there are (`PgClient`).
 *
 * A unit that is refused before it wrote leaves nothing behind, so it needs no savepoint. One that fails, or is refused after it wrote,
 * undoes the group; every unit of it then runs alone, so that only the ones that cannot be stored fail. While the server cannot be reached units wait; those that were not stored
 * fail as busy after a while. Interrupting a caller never undoes its unit.
 */
import { hash, randomUUID } from "node:crypto"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Fence } from "#src/domain/Bucket.ts"
import { failedTransaction, PgFailure } from "./pgFailure.ts"
import { type Link, replyTo, type Session } from "./PgLink.ts"
import { joined, writtenTable } from "./pgStatements.ts"
import type { Body, Statement } from "./statements.ts"

/** A failed `Result` undoes what the body wrote. It may run several times, so it must change nothing but the database. */
export type UnitBody<A, E> = () => Body<Result.Result<A, E>>

export interface Writer {
  /**
   * Run a body that decides and writes; others that hold one of these locks, in any process, wait meanwhile. Both ends are told only
   * when all that the body wrote is durable.
   */
  readonly unit: <A, E>(
    locks: ReadonlyArray<bigint>,
    body: UnitBody<A, E>,
    fence?: HeldFence
  ) => Effect.Effect<A, E | PgFailure>
  /** Waits until what was asked has ended. */
  readonly close: Effect.Effect<void>
}

/** Of a lock by name, the same in every process. */
export const lockOf = (name: string): bigint => hash("sha1", name, "buffer").readBigInt64BE(0)
/** Held shared by what is stored under the bucket's fence, alone by who raises it. */
export const fenceLockOf = (schema: string, bucket: number): bigint => lockOf(`${schema}\nbucket ${bucket}`)

/** A bucket's epoch as the asker knows it, and the lock that who raises it takes alone. */
export interface HeldFence extends Fence {
  readonly lock: bigint
}

type Answer = Result.Result<unknown, unknown>
interface Job {
  readonly locks: ReadonlyArray<bigint>
  readonly body: UnitBody<unknown, unknown>
  readonly fence: HeldFence | undefined
  readonly since: number
  readonly end: (exit: Exit.Exit<Answer, PgFailure>) => void
}

const largestGroup = 64
/** How long a unit waits for a server that cannot be reached, and how long the fate of a commit may stay unknown. */
const patienceMillis = 30_000
/** A server that does not answer is a lost one. */
const answerMillis = 20_000
const maxConflicts = 6
const nameTaken = "23505"
const mistake = ({ detail, code = "" }: PgFailure) => new PgFailure({ kind: "statement", detail, code })

/** The writers' own tables; a row of a process that is gone is forgotten when tables are made. */
export const tables = [
  `CREATE TABLE IF NOT EXISTS writers (id TEXT PRIMARY KEY, number BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now())`,
  `DELETE FROM writers WHERE at < now() - interval '30 days'`
]
// In one order in every process, so that two groups never wait for each other.
const take = `SELECT count(pg_advisory_xact_lock(key)) FROM unnest($1::bigint[]) AS key`
const takeFenced = `SELECT (SELECT count(pg_advisory_xact_lock(key)) FROM unnest($1::bigint[]) AS key),
  (SELECT count(pg_advisory_xact_lock_shared(key)) FROM unnest($2::bigint[]) AS key)`
// A statement of its own, behind the locks: it must see what was committed while they were waited for.
const raised = `SELECT given.bucket, given.epoch FROM unnest($1::bigint[], $2::bigint[]) AS given (bucket, epoch)
  LEFT JOIN buckets USING (bucket) WHERE buckets.epoch IS DISTINCT FROM given.epoch`
const mark = `INSERT INTO writers (id, number) VALUES ($1, $2)
  ON CONFLICT (id) DO UPDATE SET number = excluded.number, at = now()`
const marked = `SELECT number FROM writers WHERE id = $1`

interface Committing {
  readonly number: number
  readonly locks: string
  readonly answers: ReadonlyArray<Answer>
}
/** A transaction that failed: whether its COMMIT was sent is what decides if it may run again. */
class Lost {
  readonly failure: PgFailure
  readonly committing: Committing | undefined
  constructor(failure: PgFailure, committing: Committing | undefined) {
    this.failure = failure
    this.committing = committing
  }
}

const silent = new PgFailure({ kind: "unreachable", detail: `no answer within ${answerMillis / 1000} s` })
const alone = new PgFailure({ kind: "conflict", detail: "a unit of the group was refused after it wrote" })
const fenced = new PgFailure({ kind: "fenced", detail: "another node has its bucket now" })
const busy = (detail: string) => new PgFailure({ kind: "busy", detail })

/** `onBroken` is told when nothing that was stored can be trusted any more. */
export const make = (
  link: Link,
  onBroken: (detail: string) => void
): Effect.Effect<Writer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const id = randomUUID()
    let number = 0
    let queue: Array<Job> = []
    let isBusy = false
    let draining: Fiber.Fiber<void> | undefined

    /** Sends, and lets the answer come later: a statement whose fiber ends before it was written would never be sent. */
    const tell = (sending: Effect.Effect<PgConnection.Result, PgFailure>) =>
      Effect.forkDetach(sending, { startImmediately: true })

    const play = Effect.fnUntraced(function* (
      session: Session,
      job: Job,
      told: Array<Fiber.Fiber<PgConnection.Result, PgFailure>>
    ) {
      const body = job.body()
      let unsent: ReadonlyArray<Statement> = []
      let wrote = false
      const send = Effect.suspend(() => {
        if (unsent.length === 0) return Effect.void
        const { sql, params } = joined(unsent)
        unsent = []
        return Effect.map(tell(session.query(sql, params)), (fiber) => void told.push(fiber))
      })
      let next = body.next()
      while (next.done !== true) {
        const statement = next.value
        const table = writtenTable(statement)
        wrote ||= table !== undefined
        if (statement.wants !== "nothing") {
          yield* send
          next = body.next(replyTo(statement, yield* session.ask(statement)))
          continue
        }
        if (unsent.some((other) => writtenTable(other) === table)) yield* send
        unsent = [...unsent, statement]
        next = body.next(undefined)
      }
      yield* send
      return { job, answer: next.value, wrote, undone: wrote && Result.isFailure(next.value) }
    })

    /** One transaction; what was asked of it comes when it is durable. */
    const transact = (jobs: ReadonlyArray<Job>): Effect.Effect<ReadonlyArray<Answer>, Lost> =>
      Effect.suspend(() => {
        let committing: Committing | undefined
        const told: Array<Fiber.Fiber<PgConnection.Result, PgFailure>> = []
        const locks = inOrder(jobs)
        const attempt = Effect.gen(function* () {
          const session = yield* link.open
          told.push(yield* tell(session.query("BEGIN")))
          const fences = fencesOf(jobs)
          told.push(
            yield* tell(
              fences.length === 0
                ? session.query(take, [locks])
                : session.query(takeFenced, [locks, listOf(fences.map(({ lock }) => lock))])
            )
          )
          // Its answer comes before the first one that a body waits for: it costs no round trip.
          const looking =
            fences.length === 0
              ? undefined
              : yield* tell(
                  session.query(raised, [
                    listOf(fences.map(({ bucket }) => bucket)),
                    listOf(fences.map(({ epoch }) => epoch))
                  ])
                )
          if (looking !== undefined) told.push(looking)
          // Units with nothing in common go side by side, so that the group waits as often as one unit does.
          const played = yield* Effect.forEach(
            together(jobs),
            (row) => Effect.forEach(row, (job) => play(session, job, told)),
            { concurrency: "unbounded" }
          )
          const stale = looking === undefined ? noFences : namesOf(yield* Fiber.join(looking))
          const all = played.flat().map((end) => (isStale(stale, end.job) ? refusedBy(end) : end))
          const ends = new Map(all.map((end) => [end.job, end]))
          const answers = jobs.map((job) => ends.get(job)!.answer)
          if (all.some(({ undone }) => undone)) {
            if (jobs.length > 1) return yield* alone
            yield* session.query("ROLLBACK")
            return answers
          }
          told.push(yield* tell(session.query(mark, [id, ++number])))
          committing = { number, locks, answers }
          // Behind a statement that failed it rolls back, and says so.
          const { command } = yield* session.query("COMMIT")
          if (command === "ROLLBACK") {
            committing = undefined
            return yield* new PgFailure({ kind: "statement", detail: "the transaction had failed" })
          }
          return answers
        })
        return attempt.pipe(
          Effect.timeoutOrElse({ duration: answerMillis, orElse: () => Effect.andThen(link.close, silent) }),
          Effect.catch((failure) =>
            Effect.gen(function* () {
              const first = yield* firstOf(told, failure)
              if (first.kind !== "unreachable" && committing === undefined)
                yield* Effect.ignore(link.query("ROLLBACK"))
              return yield* Effect.fail(new Lost(first, committing))
            })
          )
        )
      })

    /** Behind its locks nothing of a lost transaction is under way any more: its number is there, or it never was. */
    const look = Effect.fnUntraced(function* (lost: Committing) {
      const session = yield* link.open
      yield* session.query("BEGIN")
      yield* session.query(take, [lost.locks])
      const { rows } = yield* session.query(marked, [id])
      yield* session.query("COMMIT")
      return Number(rows[0]?.["number"] ?? 0) >= lost.number ? ("committed" as const) : ("undone" as const)
    })

    /** What became of a commit whose answer was lost. */
    const fateOf = (lost: Committing): Effect.Effect<"committed" | "undone" | "unknown"> =>
      Effect.gen(function* () {
        const end = performance.now() + patienceMillis
        while (performance.now() < end) {
          const found = yield* Effect.result(
            Effect.timeoutOrElse(look(lost), { duration: answerMillis, orElse: () => silent })
          )
          if (Result.isSuccess(found)) return found.success
          yield* link.close
          if (!isPassing(found.failure)) return "unknown"
          yield* Effect.sleep("200 millis")
        }
        return "unknown"
      })

    /** Until each of them has its end. */
    const settle = (given: ReadonlyArray<Job>): Effect.Effect<void> =>
      Effect.gen(function* () {
        let jobs = given
        let conflicts = 0
        let pause = 20
        while (jobs.length > 0) {
          const done = yield* Effect.result(transact(jobs))
          if (Result.isSuccess(done)) return endAll(jobs, done.success)
          const { failure, committing } = done.failure
          if (committing !== undefined) {
            yield* link.close
            const became = yield* fateOf(committing)
            if (became === "committed") return endAll(jobs, committing.answers)
            if (became === "unknown") {
              const detail = `what became of a commit is unknown: ${failure.detail}`
              onBroken(detail)
              return failAll(jobs, new PgFailure({ kind: "broken", detail }))
            }
          }
          if (failure.kind === "unreachable") {
            const late = jobs.filter(({ since }) => performance.now() - since > patienceMillis)
            failAll(late, busy(`the database cannot be reached: ${failure.detail}`))
            jobs = jobs.filter((job) => !late.includes(job))
            yield* Effect.sleep(pause)
            pause = Math.min(pause * 2, 1000)
          } else if (jobs.length > 1) {
            for (const job of jobs) yield* settle([job])
            return
          } else if (failure.kind !== "conflict" || ++conflicts > maxConflicts) {
            if (failure.kind === "broken") onBroken(failure.detail)
            return failAll(jobs, failure)
          } else if (conflicts > 2) {
            // Whoever was faster has committed by now: the name is taken for good, and that is the caller's mistake.
            if (failure.code === nameTaken) return failAll(jobs, mistake(failure))
            yield* Effect.sleep(10 * conflicts)
          }
        }
      })

    const drain = Effect.gen(function* () {
      // Whoever asks in the same turn is in the same group.
      yield* Effect.yieldNow
      while (queue.length > 0) {
        const jobs = queue.slice(0, largestGroup)
        queue = queue.slice(largestGroup)
        yield* Effect.catchCause(settle(jobs), (cause) =>
          Effect.sync(() => {
            for (const { end } of jobs) end(Exit.failCause(cause))
          })
        )
      }
      isBusy = false
    })

    return {
      unit: <A, E>(locks: ReadonlyArray<bigint>, body: UnitBody<A, E>, fence?: HeldFence) =>
        Effect.callback<A, E | PgFailure>((resume) => {
          queue.push({
            locks,
            body,
            fence,
            since: performance.now(),
            end: (exit) =>
              resume(Effect.flatMap(exit, (answer) => Effect.fromResult(answer as Result.Result<A, E>)))
          })
          if (isBusy) return
          isBusy = true
          draining = fork(drain)
        }),
      close: Effect.suspend(() =>
        draining === undefined ? Effect.void : Effect.asVoid(Fiber.await(draining))
      )
    }
  })

const inOrder = (jobs: ReadonlyArray<Job>): string =>
  listOf([...new Set(jobs.flatMap((job) => job.locks))].sort((a, b) => (a < b ? -1 : 1)))

const listOf = (values: ReadonlyArray<bigint | number>): string => `{${values.join(",")}}`

const nameOf = ({ bucket, epoch }: Fence): string => `${bucket} ${epoch}`
const noFences: ReadonlySet<string> = new Set()
const namesOf = ({ rows }: PgConnection.Result): ReadonlySet<string> =>
  new Set(rows.map((row) => `${String(row["bucket"])} ${String(row["epoch"])}`))

/** The fences of a group, each once, in the order of their locks. */
const fencesOf = (jobs: ReadonlyArray<Job>): ReadonlyArray<HeldFence> => {
  const found = new Map(jobs.flatMap(({ fence }) => (fence === undefined ? [] : [[nameOf(fence), fence]])))
  return [...found.values()].sort((a, b) => (a.lock < b.lock ? -1 : 1))
}

const isStale = (stale: ReadonlySet<string>, { fence }: Job): boolean =>
  fence !== undefined && stale.has(nameOf(fence))

interface Played {
  readonly job: Job
  readonly answer: Answer
  readonly wrote: boolean
  /** What it wrote must not stay. */
  readonly undone: boolean
}
const refusedBy = (end: Played): Played => ({ ...end, answer: Result.fail(fenced), undone: end.wrote })

const isPassing = ({ kind }: PgFailure): boolean => kind === "unreachable" || kind === "busy"

/** In rows: what has a lock in common is in one, in the order it came. */
const together = (jobs: ReadonlyArray<Job>): ReadonlyArray<ReadonlyArray<Job>> => {
  if (jobs.some(({ locks }) => locks.length !== 1)) return [jobs]
  const rows = new Map<bigint, Array<Job>>()
  for (const job of jobs) {
    const row = rows.get(job.locks[0]!)
    if (row === undefined) rows.set(job.locks[0]!, [job])
    else row.push(job)
  }
  return [...rows.values()]
}

const endAll = (jobs: ReadonlyArray<Job>, answers: ReadonlyArray<Answer>) =>
  jobs.forEach(({ end }, index) => end(Exit.succeed(answers[index]!)))
const failAll = (jobs: ReadonlyArray<Job>, failure: PgFailure) => {
  for (const { end } of jobs) end(Exit.fail(failure))
}

/** Of what was sent, the first that failed: what came behind it only says that the transaction is over. */
const firstOf = (
  told: ReadonlyArray<Fiber.Fiber<PgConnection.Result, PgFailure>>,
  failure: PgFailure
): Effect.Effect<PgFailure> =>
  Effect.gen(function* () {
    if (failure.kind === "unreachable" && failure === silent) return failure
    for (const fiber of told) {
      const exit = yield* Fiber.await(fiber)
      if (Exit.isSuccess(exit)) continue
      const own = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
      if (own !== undefined && own.code !== failedTransaction) return own
    }
    return failure
  })
