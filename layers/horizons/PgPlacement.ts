/**
 * Which node owns which bucket, in two tables of the log's own database; what nodes tell each other goes by its NOTIFY.
 *
 * Every node says twice a second that it is there, sees who else is, and takes or gives what its share is. There is no leader and no
 * port between nodes: whoever may not use the database can neither own nor tell anything.
 *
 * Owns: taking over (the epoch rises, behind whatever is being stored under the old one), handing over, and what is told.
 * Does not own: whose share is what (`share`), what is done with a bucket (`Keeper`), nor refusing what is fenced (`PgWriter`).
 *
 * A node that cannot reach the database goes on with what it had: what it wants to store waits, and is refused if another node has
 * taken over meanwhile.
 */
import { randomUUID } from "node:crypto"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import { bucketCount, bucketOf, type Fence } from "#src/domain/Bucket.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Keeper, NodeInfo, PlacementService } from "#src/placement/Placement.ts"
import * as Telemetry from "#src/Telemetry.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import { fenceLockOf, lockOf } from "#layers/platform/PgWriter.ts"
import { type SeenBucket, type SeenNode, shareOf } from "./share.ts"

/** What a node's sessions are called at the server: whoever takes over from it ends them by this name. */
export const nodeName = (name: string): string => `opencraw ${name.slice(0, 32)} ${randomUUID().slice(0, 8)}`

const beatEvery = "500 millis"
const tryAgainAfter = "100 millis"
const sweepEvery = "3 seconds"
/** Every so many sweeps everything is looked at, also without a reason. */
const sweepsOfAll = 10
/** A share that is too large and busy all the time is given away all the same, a few buckets at a time; their runs begin again. */
const patienceMillis = 10_000
const busyAtOnce = 8
/** What is told waits so long for more. */
const tellAfter = "5 millis"
/** A beat, or telling, that takes longer is given up. */
const beatMillis = 2000
/** NOTIFY takes 8000 bytes. */
const largestNews = 7000

const seeMe = `INSERT INTO nodes (id, seen_at, leaving) VALUES ($1, clock_timestamp(), $2::bigint = 1)
  ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, leaving = excluded.leaving`
// A server that has just started gives everybody the time to come back.
const seeNodes = `SELECT id, leaving,
    (extract(epoch FROM clock_timestamp() - greatest(seen_at, pg_postmaster_start_time() + interval '2 seconds')) * 1000)::bigint AS age,
    EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = id) AS connected
  FROM nodes ORDER BY id`
const seeBuckets = `SELECT bucket, epoch, node FROM buckets ORDER BY bucket`
const endSessions = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = ANY(string_to_array($1, '|')) AND pid <> pg_backend_pid()`
const forgetNodes = `DELETE FROM nodes WHERE id = ANY(string_to_array($1, '|')) AND seen_at < clock_timestamp() - interval '1 minute'`
// Not waited for: what holds one is being stored, or its session is about to end; there is another beat.
const lockFences = `SELECT bucket FROM unnest($1::bigint[], $2::bigint[]) AS wanted (bucket, key) WHERE pg_try_advisory_xact_lock(key)`
const raise = `UPDATE buckets SET epoch = buckets.epoch + 1, node = $1
  FROM unnest($2::bigint[], $3::bigint[]) AS seen (bucket, epoch)
  WHERE buckets.bucket = seen.bucket AND buckets.epoch = seen.epoch RETURNING buckets.bucket, buckets.epoch`
const release = `UPDATE buckets SET node = NULL WHERE node = $1 AND bucket = ANY($2::bigint[])`
const forgetMe = `DELETE FROM nodes WHERE id = $1`
const notify = `SELECT pg_notify($1, $2)`

const listOf = (values: ReadonlyArray<number | bigint>): string => `{${values.join(",")}}`

/** What one node tells the others. */
interface News {
  readonly from: string
  readonly moved?: ReadonlyArray<string>
  readonly kept?: boolean
  readonly paused?: boolean
  /** Buckets are free: do not wait for the next beat. */
  readonly beat?: boolean
}

export interface PgPlacement extends PlacementService {
  /** Something of this session was stored: other nodes may want to look. Returns at once. */
  readonly tellMoved: (session: SessionKey) => void
  /** What some session keeps was changed. */
  readonly tellKept: () => void
}

/** `options.name` is this node's id. */
export const make = Effect.fnUntraced(function* (options: PgLink.Options & { readonly name: string }) {
  const me = options.name
  const channel = `opencraw_${BigInt.asUintN(64, lockOf(`${options.schema}\nnews`)).toString(16)}`
  const beating = yield* PgLink.make(options)
  const telling = yield* PgLink.make(options)
  const fork = yield* FiberSet.makeRuntime<never>()
  const fences: Array<Fence | undefined> = Array.from({ length: bucketCount })
  const oneAtATime = Semaphore.makeUnsafe(1)
  const due = Latch.makeUnsafe(false)
  let seen: ReadonlyArray<NodeInfo> = []
  let isLeaving = false
  let hasLeft = false
  /** What others told may have been missed. */
  let isDeaf = true
  let surplusSince: number | undefined
  let keeper: Keeper | undefined

  const owned = (): ReadonlySet<number> =>
    new Set(fences.flatMap((fence) => (fence === undefined ? [] : [fence.bucket])))

  const fresh = () => ({
    moved: new Set<string>(),
    kept: false,
    beat: false,
    paused: undefined as boolean | undefined
  })
  let news = fresh()
  let isTelling = false

  const flush = Effect.gen(function* () {
    yield* Effect.sleep(tellAfter)
    const { moved, ...rest } = news
    news = fresh()
    isTelling = false
    // Nobody else is there; whoever comes reads the log.
    if (seen.every(({ isThis }) => isThis)) return
    for (const payload of payloadsOf(me, moved, rest)) yield* telling.query(notify, [channel, payload])
  }).pipe(
    Effect.timeout(beatMillis),
    Effect.tapError(() => telling.close),
    // They sweep.
    Effect.catch((failure) => Effect.logDebug("other nodes were not told", failure.message))
  )

  const soon = (): void => {
    if (isTelling) return
    isTelling = true
    fork(flush)
  }

  const hear = (payload: string): void => {
    const { from, moved = [], kept = false, paused, beat = false } = JSON.parse(payload) as News
    if (from === me || keeper === undefined) return
    if (paused !== undefined) keeper.paused(paused)
    if (kept) fork(keeper.kept)
    if (moved.length > 0) keeper.moved(moved as ReadonlyArray<SessionKey>)
    if (beat) due.openUnsafe()
  }

  const listening = Effect.scoped(
    Effect.gen(function* () {
      const heard = yield* PgLink.listen(options, channel)
      isDeaf = true
      while (true) hear((yield* Queue.take(heard)).payload)
    })
  ).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.logDebug("what other nodes tell is not heard", cause)
    ),
    Effect.andThen(Effect.sleep("500 millis")),
    Effect.forever
  )

  const lose = (buckets: ReadonlySet<number>): void => {
    if (buckets.size === 0) return
    for (const bucket of buckets) fences[bucket] = undefined
    Telemetry.bucketsOwned(owned().size)
    keeper?.lost(buckets)
  }

  const take = Effect.fnUntraced(function* (session: PgLink.Session, wanted: ReadonlyArray<SeenBucket>) {
    const keys = wanted.map(({ bucket }) => fenceLockOf(options.schema, bucket))
    yield* session.query("BEGIN")
    const locked = yield* session.query(lockFences, [
      listOf(wanted.map(({ bucket }) => bucket)),
      listOf(keys)
    ])
    const free = new Set(locked.rows.map((row) => Number(row["bucket"])))
    const now = wanted.filter(({ bucket }) => free.has(bucket))
    const { rows } = yield* session.query(raise, [
      me,
      listOf(now.map(({ bucket }) => bucket)),
      listOf(now.map(({ epoch }) => epoch))
    ])
    yield* session.query("COMMIT")
    return rows.map((row): Fence => ({ bucket: Number(row["bucket"]), epoch: Number(row["epoch"]) }))
  })

  const give = Effect.fnUntraced(function* (buckets: ReadonlyArray<number>) {
    if (buckets.length === 0) return
    // First here, then for others: what is stored meanwhile is stored under the epoch that still counts.
    lose(new Set(buckets))
    yield* beating.query(release, [me, listOf(buckets)])
    news.beat = true
    soon()
  })

  /** Gives true when buckets came. */
  const beat = Effect.gen(function* () {
    const session = yield* beating.open
    yield* session.query(seeMe, [me, isLeaving ? 1 : 0])
    const nodes = (yield* session.query(seeNodes)).rows.map((row): SeenNode => ({
      id: String(row["id"]),
      leaving: row["leaving"] === true,
      ageMillis: Number(row["age"]),
      connected: row["connected"] === true
    }))
    const buckets = (yield* session.query(seeBuckets)).rows.map((row): SeenBucket => ({
      bucket: Number(row["bucket"]),
      epoch: Number(row["epoch"]),
      node: row["node"] === null ? null : String(row["node"])
    }))
    lose(new Set(buckets.filter((row) => isLost(fences[row.bucket], row, me)).map(({ bucket }) => bucket)))
    const { gone, take: wanted, surplus } = shareOf(me, owned(), nodes, buckets)
    const counts = Map.groupBy(buckets, ({ node }) => node)
    seen = nodes
      .filter(({ id }) => !gone.includes(id))
      .map(({ id }) => ({ id, isThis: id === me, buckets: counts.get(id)?.length ?? 0 }))
    if (gone.length > 0) {
      // A process that stands still must not hold locks that its successor waits for.
      yield* session.query(endSessions, [gone.join("|")])
      yield* session.query(forgetNodes, [gone.join("|")])
    }
    if (surplus === 0) surplusSince = undefined
    else if (!isLeaving) {
      surplusSince ??= performance.now()
      const mine = [...owned()]
      const idle = mine.filter((bucket) => keeper?.isBusy(bucket) !== true).slice(0, surplus)
      const isLate = idle.length === 0 && performance.now() - surplusSince > patienceMillis
      yield* give(isLate ? mine.slice(0, Math.min(surplus, busyAtOnce)) : idle)
    }
    if (wanted.length === 0) return false
    // Told first: from the moment on that they are ours, what is open of them counts as not read yet.
    keeper?.taking(new Set(wanted.map(({ bucket }) => bucket)))
    const taken = yield* take(session, wanted)
    const from = new Set(wanted.flatMap(({ node }) => (node === null || node === me ? [] : [node])))
    for (const fence of taken) fences[fence.bucket] = fence
    Telemetry.bucketsOwned(owned().size)
    if (taken.length > 0) {
      if (from.size > 0) Telemetry.tookOver(taken.length)
      yield* Effect.logInfo("buckets were taken").pipe(
        Effect.annotateLogs({ node: me, buckets: taken.length, from: [...from].join(", ") })
      )
    }
    // Who was not let in yet tries again soon.
    if (taken.length < wanted.length) fork(Effect.delay(due.open, tryAgainAfter))
    return taken.length > 0
  }).pipe(
    Effect.timeout(beatMillis),
    Effect.onError(() => beating.close),
    oneAtATime.withPermit
  )

  const begin = <E>(given: Keeper<E>): Effect.Effect<void, E> =>
    Effect.gen(function* () {
      const persistently = (what: string, effect: Effect.Effect<void, E>) =>
        effect.pipe(
          Effect.tapError((error) => Effect.logWarning(`${what}; it is tried again`, error)),
          Effect.retry({ schedule: Schedule.spaced("500 millis") }),
          Effect.ignore
        )
      const kept = persistently("what sessions keep could not be read", given.kept)
      keeper = { ...given, kept, taken: Effect.void, sweep: () => Effect.void }
      const taken = Effect.andThen(given.kept, given.taken)
      const first = yield* Effect.result(beat)
      if (first._tag === "Success" && first.success) yield* taken
      fork(listening)
      fork(
        Effect.forever(
          Effect.gen(function* () {
            yield* Effect.timeoutOption(due.await, beatEvery)
            due.closeUnsafe()
            if (hasLeft) return yield* Effect.never
            const came = yield* Effect.result(beat)
            if (came._tag === "Failure") {
              yield* Effect.logDebug("the other nodes could not be asked", came.failure.message)
              yield* Effect.sleep("250 millis")
            } else if (came.success) {
              fork(persistently("what was taken over could not be read", taken))
            }
          })
        )
      )
      let sweeps = 0
      const sweep = Effect.suspend(() => {
        const all = isDeaf || ++sweeps % sweepsOfAll === 0
        isDeaf = false
        return given.sweep(all).pipe(
          Effect.catch((error) => {
            isDeaf ||= all
            return Effect.logDebug("the log could not be swept", error)
          })
        )
      })
      fork(Effect.forever(Effect.andThen(Effect.sleep(sweepEvery), sweep)))
    })

  const leave = Effect.fnUntraced(function* (graceMillis: number) {
    isLeaving = true
    const end = performance.now() + graceMillis
    const giveFree = Effect.suspend(() =>
      give([...owned()].filter((bucket) => performance.now() >= end || keeper?.isBusy(bucket) !== true))
    )
    yield* giveFree.pipe(
      oneAtATime.withPermit,
      Effect.andThen(Effect.sleep("50 millis")),
      Effect.repeat({ while: () => owned().size > 0 }),
      Effect.andThen(Effect.sleep(tellAfter)),
      Effect.andThen(
        oneAtATime.withPermit(
          Effect.suspend(() => {
            hasLeft = true
            return beating.query(forgetMe, [me])
          })
        )
      ),
      Effect.timeout(graceMillis + 2000),
      Effect.catch((failure) => Effect.logWarning("buckets could not be handed over", failure.message))
    )
  })

  return {
    isShared: true,
    isHere: (name) => fences[bucketOf(name)] !== undefined,
    owns: (bucket) => fences[bucket] !== undefined,
    fenceOf: (session) => fences[bucketOf(session)],
    tellPaused: (all) => {
      news.paused = all
      soon()
    },
    tellMoved: (session) => {
      news.moved.add(session)
      soon()
    },
    tellKept: () => {
      news.kept = true
      soon()
    },
    begin,
    leave,
    // The others as the last beat saw them.
    nodes: Effect.sync(() => seen.map((node) => (node.isThis ? { ...node, buckets: owned().size } : node)))
  } satisfies PgPlacement
})

const isLost = (fence: Fence | undefined, { epoch, node }: SeenBucket, me: string): boolean =>
  fence !== undefined && (node !== me || epoch !== fence.epoch)

/** As many texts as it takes. */
const payloadsOf = (
  from: string,
  moved: ReadonlySet<string>,
  {
    kept,
    beat,
    paused
  }: { readonly kept: boolean; readonly beat: boolean; readonly paused: boolean | undefined }
): ReadonlyArray<string> => {
  const pages: Array<Array<string>> = [[]]
  let size = 0
  for (const session of moved) {
    const bytes = Buffer.byteLength(JSON.stringify(session)) + 1
    if (size + bytes > largestNews) {
      pages.push([])
      size = 0
    }
    pages.at(-1)!.push(session)
    size += bytes
  }
  return pages.map((page, index) => {
    const first = index === 0 ? { kept, beat, ...(paused === undefined ? {} : { paused }) } : {}
    return JSON.stringify({ from, moved: page, ...first } satisfies News)
  })
}
