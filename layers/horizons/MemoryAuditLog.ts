/** The audit log in memory: for tests. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AuditEvent } from "#src/domain/AuditEvent.ts"
import { AuditLog } from "#src/horizons/AuditLog.ts"
import { storable, toJson } from "#layers/platform/storable.ts"
import { byBytes, wholeLimit } from "./stored.ts"

export const layer = Layer.sync(AuditLog, () => {
  const kept = new Map<string, AuditEvent>()
  const keyOf = ({ tenant, id }: AuditEvent) => JSON.stringify([tenant.org, tenant.project, storable(id)])
  const compare = (a: Pick<AuditEvent, "at" | "id">, b: Pick<AuditEvent, "at" | "id">) =>
    a.at - b.at || byBytes(a.id, b.id)
  return AuditLog.of({
    append: (events) =>
      Effect.sync(() => {
        for (const event of events) {
          if (kept.has(keyOf(event))) continue
          kept.set(keyOf(event), {
            ...event,
            id: storable(event.id),
            actor: storable(event.actor),
            subject: storable(event.subject),
            detail: JSON.parse(toJson(event.detail))
          })
        }
      }),
    list: ({ tenant, action, actor, since, until, before, limit }) =>
      Effect.sync(() =>
        [...kept.values()]
          .filter(
            (event) =>
              event.tenant.org === tenant.org &&
              event.tenant.project === tenant.project &&
              (action === undefined || event.action === action) &&
              (actor === undefined || event.actor === storable(actor)) &&
              (since === undefined || event.at >= since) &&
              (until === undefined || event.at < until) &&
              (before === undefined || compare(event, before) < 0)
          )
          .toSorted((a, b) => compare(b, a))
          .slice(0, wholeLimit(limit))
      )
  })
})
