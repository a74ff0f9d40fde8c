import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Checks from "#src/check/Checks.ts"
import { deliveryId, messageId, runId } from "#src/domain/Ids.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import { MessageLog, type Unit } from "#src/horizons/MessageLog.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import { migrate } from "#layers/horizons/pgSchema.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import * as PgLink from "#layers/platform/PgLink.ts"
import {
  acceptOf,
  acme,
  appendOf,
  assistant,
  decideOf,
  finishOf,
  parkOf,
  placeAt,
  route,
  startOf,
  toolResult
} from "../../contracts/MessageLog.contract.ts"
import { fresh } from "../../postgres/fresh.ts"
import { named, withoutPostgres } from "../../postgres/server.ts"

const upTo = (last: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: last }))

/** A unit drawn from few names, so that units meet: the same message, an ended run, a session that is gone. */
const Draw = Schema.Struct({
  kind: upTo(23),
  place: upTo(3),
  message: upTo(4),
  run: upTo(3),
  attempt: upTo(3),
  pick: upTo(7),
  time: upTo(9)
})
type Draw = typeof Draw.Type

const places = [placeAt("a"), placeAt("b"), placeAt("c"), placeAt("a", { org: "rival", project: "shop" })]
const outcomes: ReadonlyArray<Outcome> = ["answered", "merged", "cancelled", "interrupted"]
const drops = ["new", "old", "summarize"] as const
const decisions = ["approved", "denied", "expired"] as const
const sends = ["sent", "pending", "uncertain", "dead"] as const

const unitOf = (
  draw: Draw,
  index: number,
  sent: ReadonlyArray<string>,
  asked: ReadonlyArray<string>
): Unit | "purge" => {
  const at = places[draw.place]!
  const time = draw.time * 1000
  const messages =
    draw.pick % 2 === 0 ? [`m${draw.message}`] : [`m${draw.message}`, `m${(draw.message + 1) % 5}`]
  // Sometimes the run that an accepted message began.
  const run = draw.attempt === 1 ? `s${draw.run}` : `r${draw.run}`
  const other = messageId(`m${(draw.message + 2) % 5}`)
  const steering = draw.pick < 3 ? { steering: { messageIds: [other], by: messageId("m0") } } : {}
  const delivery = deliveryId(sent[(draw.message * 8 + draw.pick) % (sent.length || 1)] ?? "none")
  switch (draw.kind) {
    case 0:
    case 1:
    case 2:
      return acceptOf(`m${draw.message}`, {
        at,
        time,
        cap: 3,
        drop: drops[draw.run % 3]!,
        ...(draw.run === 2 ? { notice: "sorry" } : {}),
        ephemeral: draw.pick < 2,
        identity: { externalId: `client-${draw.message}` },
        text: draw.pick === 7 ? "another text" : "text",
        ...(draw.attempt === 0 ? { start: `s${index}` } : {})
      })
    case 3:
    case 4:
      return startOf(run, messages, at, time)
    case 5:
    case 6:
      return {
        ...(draw.pick > 5
          ? appendOf(run, draw.attempt, `e${index}`, toolResult(`c${draw.message}`))
          : appendOf(run, draw.attempt, `e${index}`)),
        place: at,
        at: time * 20_000,
        ...steering,
        ...(draw.pick > 4 ? { spending: { model: `p/${draw.run}`, sender: `s${draw.message}` } } : {}),
        ...(draw.pick === 4 ? { deliveries: [{ id: deliveryId(`s${index}`), route, text: "rest" }] } : {})
      }
    case 7:
    case 8: {
      const finish = finishOf(run, Object.fromEntries(messages.map((id) => [id, outcomes[draw.pick % 4]!])), {
        at,
        time,
        ...(draw.attempt === 0 ? {} : { attempt: draw.attempt }),
        entries:
          draw.pick > 5
            ? []
            : [
                {
                  id: `a${index}`,
                  // Cut off, though messages that were steered into it may be told by it.
                  entry: {
                    ...assistant(`answer ${index}`),
                    ...(draw.pick === 2 ? { partial: "failed" as const } : {})
                  }
                }
              ],
        // An id is used once in a tenant, as in life.
        deliveries: draw.pick > 3 ? [`d${draw.pick}-${index}`, `x${draw.pick}-${index}`] : []
      })
      return { ...finish, ...steering, ...(draw.pick === 3 ? { steeredBefore: true } : {}) }
    }
    case 9:
      return { _tag: "SendBegun", place: at, deliveryId: delivery, at: time }
    case 10:
      return { _tag: "SendEnded", place: at, deliveryId: delivery, state: sends[draw.pick % 4]!, at: time }
    case 22:
      return {
        _tag: "KeepSetting",
        place: at,
        name: draw.pick < 6 ? "model" : "usage",
        value: draw.pick === 0 ? undefined : `word ${index}`,
        at: time
      }
    case 23:
      return { _tag: "KeepQueue", place: at, overrides: draw.pick === 0 ? {} : { cap: draw.pick }, at: time }
    case 11:
      return {
        _tag: "RenameSession",
        place: at,
        title: draw.pick === 0 ? undefined : `title ${index}`,
        at: time
      }
    case 12:
    case 13:
      return parkOf(run, draw.attempt, `p${index}`, {
        at,
        time,
        call: `c${draw.message}`,
        ...(draw.pick === 0 ? { delivery: `q${index}` } : {})
      })
    case 14:
      return decideOf(asked[draw.pick % (asked.length || 1)] ?? "none", decisions[draw.message % 3]!, at)
    case 15:
      return {
        _tag: "Block",
        place: at,
        runId: runId(run),
        attempt: draw.attempt,
        source: `part ${index} `,
        deliveries: [{ id: deliveryId(`b${index}`), route, text: `part ${index}` }],
        ...(draw.pick === 1 ? { draft: `post ${index}` } : {}),
        at: time
      }
    case 16:
    case 17:
    case 18:
      return {
        _tag: "Fork",
        place: { ...places[(draw.place + 1 + (draw.run % 2)) % 3]!, tenant: at.tenant },
        from: at.session,
        ...(draw.pick < 3 ? {} : { atSeq: draw.message + draw.attempt }),
        at: time
      }
    case 19:
      return { _tag: "KeepJournal", place: at, records: `[${index}]`, at: time }
    default:
      return draw.pick === 0 ? { _tag: "DeleteSession", place: at, at: time } : "purge"
  }
}

/** What the log says to a unit, as a value. */
const answerOf = (log: MessageLog["Service"], unit: Unit | "purge", time: number) =>
  unit === "purge"
    ? Effect.all([
        log.purge({ tenant: acme, before: time * 1000 }),
        Effect.all([
          log.purgeOld({ tenant: acme, of: "journal", before: time * 1000 }),
          log.purgeOld({ tenant: acme, of: "deliveries", before: time * 1000 })
        ])
      ])
    : Effect.map(Effect.result(log.commit(unit)), (result) =>
        result._tag === "Success" ? result.success : result.failure.reason
      )

/** All that can be read. */
const everything = (log: MessageLog["Service"]) =>
  Effect.forEach(places, ({ tenant, session }) =>
    Effect.all([
      log.open({ tenant, limit: 100 }),
      log.open({ tenant, session, afterSeq: 2, limit: 2 }),
      log.openSessions({ tenant, limit: 100 }),
      log.tenants({ having: "open" }),
      log.tenants({ having: "undelivered" }),
      log.tenants({ having: "settings" }),
      log.tenants({ having: "queues" }),
      log.history({ tenant, session, limit: 5 }),
      log.history({ tenant, session, afterOrder: 2, limit: 3 }),
      log.entries({ tenant, session, limit: 100 }),
      log.history({ tenant, session, limit: 100 }),
      log.entries({ tenant, session, beforeSeq: 4, limit: 2 }),
      log.entries({ tenant, session, afterSeq: 1, beforeSeq: 7, limit: 3 }),
      log.entries({ tenant, session, afterSeq: 3, limit: 2 }),
      log.forks({ tenant, session, limit: 2 }),
      log.undelivered({ tenant, limit: 100 }),
      log.undelivered({ tenant, session, channel: "web", createdAfter: 3000, limit: 3 }),
      log.sessions({ tenant, limit: 100 }),
      log.approvals({ tenant, limit: 100 }),
      log.approvals({ tenant, session, limit: 3 }),
      log.journal({ tenant, session, afterSeq: 1, limit: 3 }),
      log.settings({ tenant, name: "model", limit: 2 }),
      log.queues({ tenant, after: places[0]!.session, limit: 2 }),
      log.lookup({
        tenant,
        identity: acceptOf("m1", { identity: { externalId: "client-1" } }).message.identity
      }),
      Effect.forEach(["total", "day", "session", "sender", "model"] as const, (by) =>
        log.usage({ tenant, by, limit: 4 })
      ),
      log.usage({ tenant, by: "day", session, fromDay: 1, limit: 100 }),
      Effect.forEach([0, 1, 2, 3, 4], (n) => log.message({ tenant, id: messageId(`m${n}`) }))
    ])
  )

const build = <E, R>(layer: Layer.Layer<MessageLog | R, E>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), Context.get(MessageLog))

const property =
  <E>(other: Layer.Layer<MessageLog, E>) =>
  ({ draws }: { readonly draws: ReadonlyArray<Draw> }) =>
    Effect.gen(function* () {
      const memory = yield* build(MemoryMessageLog.layer)
      const compared = yield* build(other)
      const sent: Array<string> = []
      const asked: Array<string> = []
      for (const [index, draw] of draws.entries()) {
        const unit = unitOf(draw, index, sent, asked)
        if (unit !== "purge" && unit._tag === "Finish") sent.push(...unit.deliveries.map(({ id }) => id))
        if (unit !== "purge" && unit._tag === "Park") asked.push(unit.approval.id)
        const said = yield* answerOf(compared, unit, draw.time)
        assert.deepStrictEqual(said, yield* answerOf(memory, unit, draw.time))
      }
      assert.deepStrictEqual(yield* everything(compared), yield* everything(memory))
      return true
    }).pipe(Effect.scoped)

const draws = { draws: Arbitrary.schema(Schema.Array(Draw).check(Schema.isMaxLength(60))) }

const inFolder = Layer.unwrap(
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-same-"))),
      (made) => Effect.sync(() => rmSync(made, { recursive: true }))
    ),
    (path) => SqliteMessageLog.layerFile({ filename: join(path, "log.db") })
  )
).pipe(Layer.provide(Checks.layer))

/** One schema for all runs, emptied before each: to make one takes longer than to use it. */
const emptied = Effect.cached(fresh).pipe(
  Effect.map((options) =>
    Layer.unwrap(
      Effect.gen(function* () {
        const own = yield* options
        yield* migrate(own)
        const link = yield* PgLink.make(own)
        yield* link.query(
          "TRUNCATE sessions, shares, messages, entries, runs, outbox, cursors, approvals, spending, journal"
        )
        return PostgresMessageLog.layerAt(own)
      })
    ).pipe(Layer.provide(Checks.layer))
  )
)

describe("the logs in memory and on SQLite", () => {
  it.effect.prop("say the same to any units, and read the same afterwards", draws, property(inFolder), {
    arbitrary: { runs: 60, size: 60 },
    timeout: 60_000
  })
})

describe.skipIf(withoutPostgres)(named("the logs in memory and on Postgres"), () => {
  const schema = Effect.runSync(emptied)
  it.effect.prop("say the same to any units, and read the same afterwards", draws, property(schema), {
    arbitrary: { runs: 60, size: 60 },
    timeout: 60_000
  })
})
