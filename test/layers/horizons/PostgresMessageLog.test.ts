/** The log on a real PostgreSQL, which is also killed, stopped, filled and locked here. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { afterAll, beforeAll } from "vitest"
import * as Checks from "#src/check/Checks.ts"
import { messageId } from "#src/domain/Ids.ts"
import { MessageLog, type Unit } from "#src/horizons/MessageLog.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import { known, missing } from "#layers/horizons/sqlSchema.ts"
import { ofPostgres } from "#layers/horizons/pgSchema.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import { acceptOf, acme, finishOf, messageLogContract, placeAt } from "../../contracts/MessageLog.contract.ts"
import { messageLogMembers } from "../../contracts/MessageLog.members.ts"
import { fresh } from "../../postgres/fresh.ts"
import { plansAtFirst, plansAtScale } from "./pgPlans.ts"
import { named, newSchema, type Server, startServer, withoutPostgres } from "../../postgres/server.ts"

const at = (options: PgLink.Options) =>
  PostgresMessageLog.layerAt(options).pipe(Layer.provideMerge(Checks.layer))
const inSchema = Layer.unwrap(Effect.map(fresh, at))

const commit = <U extends Unit>(unit: U) => MessageLog.use((log) => log.commit(unit))
const stored = MessageLog.use((log) => log.open({ tenant: acme, limit: 10_000 })).pipe(
  Effect.map((rows) => rows.map(({ id }) => String(id)))
)
const outcomeOf = (unit: Unit) =>
  Effect.map(Effect.result(commit(unit)), (result) =>
    result._tag === "Failure" ? result.failure.reason._tag : "stored"
  )
/** What one unit wrote to several tables is there in all of them: none was cut in two by a lost connection. */
const wholeUnits = Effect.gen(function* () {
  const log = yield* MessageLog
  for (const { place, seq, open } of yield* log.sessions({ tenant: acme, limit: 1000 })) {
    const rows = yield* log.open({ tenant: acme, session: place.session, limit: 1000 })
    const entries = yield* log.entries({ tenant: acme, session: place.session, limit: 1000 })
    assert.deepStrictEqual([rows.length, entries.length, seq], [open, open, open])
  }
})
const sql = (options: PgLink.Options, text: string) =>
  Effect.scoped(Effect.flatMap(PgLink.make(options), (link) => link.query(text)))

describe.skipIf(withoutPostgres)(named("PostgresMessageLog"), () => {
  messageLogContract("on PostgreSQL", inSchema)
  messageLogMembers("on PostgreSQL", inSchema)

  it.effect("of units that share a transaction only those fail that cannot be stored", () =>
    Effect.gen(function* () {
      const units: ReadonlyArray<Unit> = [
        acceptOf("m1"),
        acceptOf("m2", { at: placeAt("b") }),
        // The same message by another session's door at the same time: the database sees it when it is written.
        acceptOf("m2b", { at: placeAt("c"), identity: { externalId: "client-m2" }, text: "text of m2" }),
        acceptOf("m3", { at: placeAt("d"), cap: 0 }),
        finishOf("nowhere", { m1: "answered" }, { attempt: 1 }),
        acceptOf("m4", { at: placeAt("e") })
      ]
      const results = yield* Effect.forEach(units, outcomeOf, { concurrency: "unbounded" })

      assert.deepStrictEqual(results, ["stored", "stored", "stored", "SessionFull", "Fenced", "stored"])
      // Which of the two doors was first is the database's to say.
      const kept = (yield* stored).toSorted()
      assert.lengthOf(kept, 3)
      assert.deepStrictEqual([kept[0], kept[1]?.replace("b", ""), kept[2]], ["m1", "m2", "m4"])
    }).pipe(Effect.provide(inSchema))
  )

  it.effect("two gateways on one database keep a session's order and identities together", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      const open = Effect.map(Layer.build(Layer.fresh(at(options))), Context.get(MessageLog))
      const [first, second] = yield* Effect.all([open, open])
      const ids = Array.from({ length: 40 }, (_, n) => `m${n}`)
      const taken = yield* Effect.forEach(
        ids.flatMap((id, n) => [
          { log: first, unit: acceptOf(id, { at: placeAt(`s${n % 3}`), cap: 100 }) },
          {
            log: second,
            unit: acceptOf(`${id}-again`, {
              at: placeAt(`s${n % 3}`),
              cap: 100,
              text: `text of ${id}`,
              identity: { externalId: `client-${id}` }
            })
          }
        ]),
        ({ log, unit }) => log.commit(unit),
        { concurrency: "unbounded" }
      )
      const rows = yield* first.open({ tenant: acme, limit: 1000 })

      assert.strictEqual(taken.filter(({ duplicate }) => duplicate).length, 40)
      assert.strictEqual(rows.length, 40)
      for (const name of ["s0", "s1", "s2"]) {
        const seqs = rows.filter(({ place }) => place.session === placeAt(name).session).map(({ seq }) => seq)
        assert.deepStrictEqual(
          seqs,
          seqs.map((_, index) => index + 1)
        )
      }
    }).pipe(Effect.scoped)
  )

  it.effect(
    "a session is either forked by one gateway or deleted by another, and no fork loses what it shares",
    () =>
      Effect.gen(function* () {
        const options = yield* fresh
        const open = Effect.map(Layer.build(Layer.fresh(at(options))), Context.get(MessageLog))
        const [first, second] = yield* Effect.all([open, open])
        const names = Array.from({ length: 30 }, (_, n) => `o${n}`)
        const ends = yield* Effect.forEach(
          names,
          Effect.fnUntraced(function* (name) {
            const place = placeAt(name)
            const fork = placeAt(`${name}-fork`)
            yield* first.commit(acceptOf(`m-${name}`, { at: place, start: `r-${name}` }))
            yield* first.commit(
              finishOf(`r-${name}`, { [`m-${name}`]: "answered" }, { at: place, attempt: 1 })
            )
            const results = yield* Effect.all(
              [
                Effect.result(first.commit({ _tag: "Fork", place: fork, from: place.session, at: 1 })),
                Effect.result(second.commit({ _tag: "DeleteSession", place, at: 1 }))
              ],
              { concurrency: "unbounded" }
            )
            const shared = yield* second.history({ tenant: acme, session: fork.session, limit: 9 })
            return [...results.map(({ _tag }) => _tag), shared.length].join(" ")
          }),
          { concurrency: 10 }
        )

        assert.deepStrictEqual(
          ends.filter((end) => end !== "Success Failure 2" && end !== "Failure Success 0"),
          []
        )
      }).pipe(Effect.scoped)
  )

  it.live(
    "a session that somebody else holds too long is busy for now",
    () =>
      Effect.gen(function* () {
        const options = yield* fresh
        yield* Effect.gen(function* () {
          yield* commit(acceptOf("m1"))
          const other = yield* PgLink.make(options)
          yield* other.query("BEGIN")
          yield* other.query("LOCK TABLE sessions")
          const refused = yield* Effect.flip(commit(acceptOf("m2")))
          yield* other.query("ROLLBACK")

          assert.strictEqual(refused.reason._tag, "StoreBusy")
          assert.isTrue(refused.isRetryable)
          assert.strictEqual(yield* outcomeOf(acceptOf("m2")), "stored")
        }).pipe(Effect.provide(at(options)))
      }),
    30_000
  )

  it.effect(
    "an id that was used before is a mistake of the caller, and leaves the others of its group alone",
    () =>
      Effect.gen(function* () {
        for (const unit of [
          acceptOf("m1", { start: "r1" }),
          finishOf("r1", { m1: "answered" }, { deliveries: ["d1"] })
        ])
          yield* commit(unit)
        yield* commit(acceptOf("m2", { start: "r2" }))
        const [wrong, right] = yield* Effect.all(
          [
            Effect.exit(commit(finishOf("r2", { m2: "answered" }, { deliveries: ["d1"] }))),
            Effect.exit(commit(acceptOf("m3", { at: placeAt("b") })))
          ],
          { concurrency: "unbounded" }
        )

        assert.isTrue(Exit.hasDies(wrong))
        assert.isTrue(Exit.isSuccess(right))
        assert.deepStrictEqual((yield* stored).toSorted(), ["m2", "m3"])
      }).pipe(Effect.provide(inSchema))
  )

  it.effect(
    "a server without space refuses what it cannot store, and takes it when there is space again",
    () =>
      Effect.gen(function* () {
        const options = yield* fresh
        yield* Effect.gen(function* () {
          yield* commit(acceptOf("m1"))
          const { schema } = options
          yield* sql(
            options,
            `CREATE FUNCTION ${schema}.no_space() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`
          )
          yield* sql(
            options,
            `CREATE TRIGGER no_space BEFORE INSERT ON ${schema}.entries FOR EACH ROW
            WHEN (NEW.id LIKE 'big%') EXECUTE FUNCTION ${schema}.no_space()`
          )
          const units = [acceptOf("m2"), acceptOf("big"), acceptOf("m3", { at: placeAt("b") })]
          const ends = yield* Effect.forEach(units, outcomeOf, { concurrency: "unbounded" })
          yield* wholeUnits
          yield* sql(options, `DROP TRIGGER no_space ON ${schema}.entries`)

          assert.deepStrictEqual(ends, ["stored", "StoreFull", "stored"])
          assert.deepStrictEqual(yield* stored, ["m1", "m2", "m3"])
          assert.strictEqual(yield* outcomeOf(acceptOf("big")), "stored")
        }).pipe(Effect.provide(at(options)))
      })
  )

  it.effect("tables that are gone break the store, and it says so", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* Effect.gen(function* () {
        yield* commit(acceptOf("m1"))
        yield* sql(options, `DROP SCHEMA ${options.schema} CASCADE`)
        const refused = yield* Effect.flip(commit(acceptOf("m2")))
        const reason = yield* (yield* MessageLog).broken
        const checks = yield* (yield* Checks.Checks).run

        assert.strictEqual(refused.reason._tag, "StoreBroken")
        assert.include(reason, "does not exist")
        assert.strictEqual(yield* outcomeOf(acceptOf("m3")), "StoreBroken")
        assert.deepStrictEqual(
          checks.map(({ name, status }) => [name, status]),
          [["store", "failed"]]
        )
      }).pipe(Effect.provide(at(options)))
    })
  )

  it.effect("closing it waits for what is under way", () =>
    Effect.gen(function* () {
      const options = yield* fresh
      yield* Effect.forkChild(commit(acceptOf("m1")), { startImmediately: true }).pipe(
        Effect.provide(at(options))
      )

      assert.deepStrictEqual(yield* Effect.provide(stored, at(options)), ["m1"])
    })
  )

  it.effect(
    "every read and every unit finds its rows by an index, at a cost that does not grow",
    () => plansAtScale(4000),
    60_000
  )

  it.effect(
    "no read and no unit reads all of a tenant's rows, before the server has statistics",
    () => plansAtFirst
  )

  it.effect("texts sort by their bytes, whatever the database's locale is", () =>
    Effect.gen(function* () {
      const names = ["a", "B", "ä", "_", "Z", "z", "é", "1"]
      for (const name of names) yield* commit(acceptOf(name, { at: placeAt(name) }))
      const log = yield* MessageLog
      const sessions = yield* log.openSessions({ tenant: acme, limit: 100 })
      const after = yield* log.openSessions({ tenant: acme, after: placeAt("a").session, limit: 100 })
      const sorted = names
        .map((name) => String(placeAt(name).session))
        .toSorted((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)))

      assert.deepStrictEqual(
        sessions.map(({ session }) => String(session)),
        sorted
      )
      assert.deepStrictEqual(
        after.map(({ session }) => String(session)),
        sorted.slice(sorted.indexOf(String(placeAt("a").session)) + 1)
      )
    }).pipe(Effect.provide(inSchema))
  )

  it.effect.each(Array.from({ length: known }, (_, version) => version))(
    "a database of schema %i, with data, is brought to this version",
    (version) =>
      Effect.gen(function* () {
        const options = yield* fresh
        const steps = missing(0).filter(({ id }) => id <= version)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const link = yield* PgLink.make(options)
            yield* link.query(`CREATE SCHEMA ${options.schema}`)
            if (version === 0) return
            yield* link.query(
              "CREATE TABLE log_migrations (migration_id BIGINT PRIMARY KEY, name TEXT NOT NULL)"
            )
            for (const { id, name, statements } of steps) {
              for (const statement of statements) yield* link.query(ofPostgres(statement))
              yield* link.query("INSERT INTO log_migrations VALUES ($1, $2)", [id, name])
            }
            yield* link.query(
              `INSERT INTO sessions (org, project, agent, session, ephemeral, seq, ord, open, created_at, updated_at)
               VALUES ('acme', 'shop', 'main', $1, 0, 1, 0, 1, 5, 5)`,
              [placeAt("a").session]
            )
            yield* link.query(
              `INSERT INTO messages (org, project, agent, session, id, seq, channel, account, conversation, thread, external_id,
                 revision, sender, access, ephemeral, body, body_hash, accepted_at)
               VALUES ('acme', 'shop', 'main', $1, 'old', 1, 'web', 'main', 'room', '', 'c', 0, 'ann', 'owner', 0, $2, 'h', 5)`,
              [placeAt("a").session, JSON.stringify({ text: "from before" })]
            )
          })
        )
        yield* Effect.gen(function* () {
          const log = yield* MessageLog
          const taken = yield* log.commit(acceptOf("new"))
          const old = version === 0 ? undefined : yield* log.message({ tenant: acme, id: messageId("old") })

          assert.strictEqual(taken.seq, version === 0 ? 1 : 2)
          assert.strictEqual(old?.message.body.text, version === 0 ? undefined : "from before")
        }).pipe(Effect.provide(at(options)))
      })
  )
})

describe.skipIf(withoutPostgres)(named("the log while its server is away"), { timeout: 60_000 }, () => {
  let server: Server
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server.stop())
  const options = () => ({ url: Redacted.make(server.url), schema: newSchema() })

  const outages = {
    killed: async () => {
      await server.kill()
      await server.start()
    },
    restarted: () => server.restart(),
    "standing still for a moment": async () => {
      server.freeze()
      await new Promise((done) => setTimeout(done, 500))
      server.thaw()
    }
  } as const
  it.live.each(Object.entries(outages))(
    "waits for a server that is %s, loses nothing it told, and stores nothing twice",
    ([, outage]) =>
      Effect.gen(function* () {
        const log = yield* MessageLog
        const told = new Set<string>()
        const writer = (n: number) =>
          Effect.gen(function* () {
            for (let round = 0; round < 60; round++) {
              const id = `w${n}-${round}`
              const { duplicate } = yield* log.commit(acceptOf(id, { at: placeAt(`s${n}`), cap: 10_000 }))
              assert.isFalse(duplicate, id)
              told.add(id)
            }
          })
        const writers = yield* Effect.forEach(
          Array.from({ length: 8 }, (_, n) => n),
          (n) => Effect.forkChild(writer(n), { startImmediately: true })
        )
        for (const share of [60, 200, 340]) {
          yield* Effect.repeat(Effect.sleep("2 millis"), { until: () => told.size >= share })
          yield* Effect.promise(outage)
        }
        yield* Effect.forEach(writers, Fiber.join)

        assert.strictEqual(told.size, 480)
        assert.deepStrictEqual((yield* stored).toSorted(), [...told].toSorted())
        yield* wholeUnits
      }).pipe(Effect.provide(at(options())))
  )

  it.live("a commit whose answer was lost is looked up, not guessed", () =>
    Effect.gen(function* () {
      const place = options()
      yield* Effect.gen(function* () {
        yield* commit(acceptOf("m1"))
        // The server stands still with the unit on its way, then every session of ours is ended: no answer can come.
        const writing = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, n) => `x${n}`),
          (id) => Effect.forkChild(outcomeOf(acceptOf(id, { at: placeAt(id) })), { startImmediately: true })
        )
        for (let n = 0; n < 15; n++) {
          yield* sql(
            place,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'opencraw' AND pid <> pg_backend_pid()"
          )
        }
        const outcomes = yield* Effect.forEach(writing, Fiber.join)

        assert.deepStrictEqual(new Set(outcomes), new Set(["stored"]))
        assert.strictEqual((yield* stored).length, 21)
        yield* wholeUnits
      }).pipe(Effect.provide(at(place)))
    })
  )
})
