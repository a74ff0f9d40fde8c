/**
 * One Postgres database: a few writers that share commits, and readers that share connections.
 *
 * Owns: how many connections there are, which writer takes a unit, and what a reader does while the server is away.
 * Does not own: transactions (`PgWriter`), any table.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type { Fence } from "#src/domain/Bucket.ts"
import { PgFailure } from "./pgFailure.ts"
import * as PgLink from "./PgLink.ts"
import * as PgWriter from "./PgWriter.ts"
import type { Body, Statement } from "./statements.ts"

export { PgFailure } from "./pgFailure.ts"

export class Postgres extends Context.Service<
  Postgres,
  {
    /**
     * All or nothing, durable when it succeeds. Units with a name in common run one after the other, those of this process in the order
     * they came. Fails as `fenced` once the fence was raised. See `PgWriter.Writer.unit`.
     */
    readonly unit: <A, E = never>(
      names: readonly [string, ...ReadonlyArray<string>],
      body: PgWriter.UnitBody<A, E>,
      fence?: Fence
    ) => Effect.Effect<A, E | PgFailure>
    /** Reads committed rows, each statement for itself: several need not see the same state. */
    readonly read: <A>(body: () => Body<A>) => Effect.Effect<A, PgFailure>
    /** Several that read the same state. */
    readonly snapshot: <A>(body: () => Body<A>) => Effect.Effect<A, PgFailure>
    /** Completes with the reason once nothing can be trusted any more. */
    readonly broken: Effect.Effect<string>
    readonly schema: string
  }
>()("opencraw/layers/platform/PgClient/Postgres") {}

/** Few: the fewer there are, the more units share a transaction and a write to the socket. */
const writerCount = 2
const readerCount = 2

/** A server that restarts is back within seconds; whoever reads may be told to try again after that. */
const away = Schedule.max([Schedule.exponential("50 millis"), Schedule.recurs(7)])
/** A server that does not answer for so long is a lost one: its connection is closed, and whoever read may try again. */
const answerMillis = 20_000
const silent = new PgFailure({ kind: "busy", detail: `no answer within ${answerMillis / 1000} s` })
const whileAway = <A>(link: PgLink.Link, reading: Effect.Effect<A, PgFailure>) =>
  Effect.raceFirst(
    Effect.retry(reading, { while: ({ kind }) => kind === "unreachable", schedule: away }),
    // Closed first: what was asked of it ends by that, and nobody waits for its answer any more.
    Effect.sleep(answerMillis).pipe(Effect.andThen(link.close), Effect.andThen(silent))
  )

/** Connects when it is first used. */
export const make = Effect.fnUntraced(function* (options: PgLink.Options) {
  const lost = Deferred.makeUnsafe<string>()
  const onBroken = (detail: string) => void Deferred.doneUnsafe(lost, Effect.succeed(detail))
  const writers = yield* Effect.forEach(Array.from({ length: writerCount }), () =>
    Effect.gen(function* () {
      const writer = yield* PgWriter.make(yield* PgLink.make(options), onBroken)
      yield* Effect.addFinalizer(() => writer.close)
      return writer
    })
  )
  const readers = yield* Effect.forEach(Array.from({ length: readerCount }), () => PgLink.make(options))
  const still = yield* PgLink.make(options)
  const alone = Semaphore.makeUnsafe(1)
  let turn = 0

  const unit: Postgres["Service"]["unit"] = (names, body, fence) =>
    Effect.suspend(() => {
      if (lost.effect !== undefined)
        return Effect.flatMap(Deferred.await(lost), (detail) =>
          Effect.fail(new PgFailure({ kind: "broken", detail }))
        )
      const locks = names.map((name) => PgWriter.lockOf(`${options.schema}\n${name}`))
      const writer = writers[Number(BigInt.asUintN(8, locks[0]!)) % writerCount]!
      return fence === undefined
        ? writer.unit(locks, body)
        : writer.unit(locks, body, { ...fence, lock: PgWriter.fenceLockOf(options.schema, fence.bucket) })
    })

  const inOneState = Effect.fnUntraced(function* <A>(session: PgLink.Session, body: () => Body<A>) {
    yield* session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    const reading = body()
    let next = reading.next()
    while (next.done !== true) {
      next = reading.next(PgLink.replyTo(next.value, yield* session.ask(next.value)))
    }
    return next.value
  })
  const snapshot: Postgres["Service"]["snapshot"] = (body) =>
    whileAway(
      still,
      Semaphore.withPermit(
        alone,
        Effect.flatMap(still.open, (session) =>
          Effect.onExit(inOneState(session, body), () => Effect.ignore(session.query("ROLLBACK")))
        )
      )
    )

  const read: Postgres["Service"]["read"] = <A>(body: () => Body<A>) => {
    const link = readers[turn++ % readerCount]!
    const goOn = (reading: Body<A>, next: IteratorResult<Statement, A>): Effect.Effect<A, PgFailure> =>
      next.done === true
        ? Effect.succeed(next.value)
        : Effect.flatMap(link.ask(next.value), (answer) =>
            goOn(reading, reading.next(PgLink.replyTo(next.value, answer)))
          )
    return whileAway(
      link,
      Effect.suspend(() => {
        const reading = body()
        return goOn(reading, reading.next())
      })
    )
  }

  return Postgres.of({ unit, read, snapshot, broken: Deferred.await(lost), schema: options.schema })
})

export const layer = (options: PgLink.Options) => Layer.effect(Postgres, make(options))
