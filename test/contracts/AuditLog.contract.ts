/**
 * What every AuditLog promises, whatever it is built on. Each adapter runs it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { type AuditCursor, AuditLog, type AuditQuery } from "#src/horizons/AuditLog.ts"

export const acme: Tenant = { org: "acme", project: "shop" }
/** Another org with a project of the same name, and another project of the same org. */
export const rival: Tenant = { org: "rival", project: "shop" }
export const sibling: Tenant = { org: "acme", project: "lab" }
export const tenants = [acme, rival, sibling]

export const eventOf = (id: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
  id,
  tenant: acme,
  at: 1000,
  actor: "operator",
  action: "key.created",
  subject: "key_1",
  detail: {},
  ...more
})

const append = (...events: ReadonlyArray<AuditEvent>) => AuditLog.use((log) => log.append(events))
const list = (query: Partial<AuditQuery> = {}) =>
  AuditLog.use((log) => log.list({ tenant: acme, limit: 1000, ...query }))
const ids = (query: Partial<AuditQuery> = {}) => Effect.map(list(query), (rows) => rows.map(({ id }) => id))

export const auditLogContract = <E>(name: string, layer: Layer.Layer<AuditLog, E>) =>
  describe(`AuditLog ${name}`, () => {
    it.effect("gives events back as they were told, newest first", () =>
      Effect.gen(function* () {
        const event = eventOf("b", { detail: { count: 3, note: "a\0b \u{1F600}", "": "" }, subject: "x" })
        yield* append(eventOf("a", { at: 1 }), event)
        yield* append(eventOf("c", { at: 500 }))
        yield* append()

        assert.deepStrictEqual((yield* list())[0], event)
        assert.deepStrictEqual(yield* ids(), ["b", "c", "a"])
      }).pipe(Effect.provide(layer))
    )

    it.effect("an event told twice is there once, as it was first", () =>
      Effect.gen(function* () {
        yield* append(eventOf("a"), eventOf("a", { actor: "other" }))
        yield* append(eventOf("a", { actor: "third" }), eventOf("b"))

        const found = yield* list()
        assert.deepStrictEqual(
          found.map(({ id, actor }) => [id, actor]),
          [
            ["b", "operator"],
            ["a", "operator"]
          ]
        )
      }).pipe(Effect.provide(layer))
    )

    it.effect("is read page by page without a gap or a double, also within one millisecond", () =>
      Effect.gen(function* () {
        const events = Array.from({ length: 23 }, (_, n) =>
          eventOf(`e${String(n).padStart(2, "0")}`, { at: Math.floor(n / 5) })
        )
        yield* append(...events.toReversed())
        const found: Array<string> = []
        let before: AuditCursor | undefined
        while (true) {
          const page = yield* list({ limit: 4, ...(before === undefined ? {} : { before }) })
          found.push(...page.map(({ id }) => id))
          before = page.at(-1)
          if (page.length < 4) break
          // What comes in meanwhile is newer, so that no page moves.
          yield* append(eventOf(`later-${found.length}`, { at: 100 }))
        }

        assert.deepStrictEqual(found, events.map(({ id }) => id).toReversed())
        assert.deepStrictEqual(yield* ids({ limit: 0 }), [])
      }).pipe(Effect.provide(layer))
    )

    it.effect("is filtered by what was done, by whom and when, alone and together", () =>
      Effect.gen(function* () {
        yield* append(
          eventOf("1", { at: 10, actor: "ann", action: "key.created" }),
          eventOf("2", { at: 20, actor: "bob", action: "key.created" }),
          eventOf("3", { at: 30, actor: "ann", action: "key.revoked" }),
          eventOf("4", { at: 40, actor: "bob", action: "key.revoked" }),
          eventOf("5", { at: 50, actor: "a\0n", action: "signed_in" })
        )

        assert.deepStrictEqual(yield* ids({ actor: "ann" }), ["3", "1"])
        assert.deepStrictEqual(yield* ids({ action: "key.revoked" }), ["4", "3"])
        assert.deepStrictEqual(yield* ids({ action: "key.revoked", actor: "bob" }), ["4"])
        assert.deepStrictEqual(yield* ids({ since: 20, until: 40 }), ["3", "2"])
        assert.deepStrictEqual(yield* ids({ since: 41, until: 41 }), [])
        assert.deepStrictEqual(yield* ids({ actor: "bob", before: { at: 40, id: "4" } }), ["2"])
        assert.deepStrictEqual(yield* ids({ actor: "a\0n" }), ["5"])
        assert.deepStrictEqual(yield* ids({ actor: "a\uFFFDn" }), ["5"])
        assert.deepStrictEqual(yield* ids({ action: "lanes.paused" }), [])
      }).pipe(Effect.provide(layer))
    )

    it.effect("takes what many tell at once, and large events", () =>
      Effect.gen(function* () {
        const big = eventOf("big", { at: 9999, detail: { note: "n".repeat(200_000) } })
        yield* append(big)
        yield* Effect.forEach(
          Array.from({ length: 100 }, (_, n) => eventOf(`e${n}`, { at: n })),
          (event) => append(event, { ...event, id: `${event.id}x` }),
          { concurrency: "unbounded" }
        )

        assert.lengthOf(yield* ids(), 201)
        assert.deepStrictEqual((yield* list({ limit: 1 }))[0], big)
      }).pipe(Effect.provide(layer))
    )

    it.effect("each tenant has its own", () =>
      Effect.gen(function* () {
        for (const tenant of tenants) yield* append(eventOf("same", { tenant, subject: tenant.org }))
        yield* append(eventOf("own", { tenant: sibling }))

        assert.deepStrictEqual(yield* ids(), ["same"])
        assert.deepStrictEqual(yield* ids({ tenant: rival }), ["same"])
        assert.deepStrictEqual(yield* ids({ tenant: sibling }), ["same", "own"])
        assert.deepStrictEqual(
          (yield* list({ tenant: rival })).map(({ subject }) => subject),
          ["rival"]
        )
      }).pipe(Effect.provide(layer))
    )
  })
