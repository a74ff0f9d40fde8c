/** Reading what sessions keep, however many there are. */
import * as Effect from "effect/Effect"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { LogError } from "#src/horizons/MessageLog.ts"

const pageSize = 1000

/** All rows that `read` gives of these tenants, which lists them by session key. */
export const eachSession = Effect.fnUntraced(function* <Row extends { readonly session: SessionKey }>(
  tenants: Effect.Effect<ReadonlyArray<Tenant>, LogError>,
  read: (page: {
    readonly tenant: Tenant
    readonly after?: SessionKey
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<Row>, LogError>
) {
  const rows: Array<Row> = []
  for (const tenant of yield* tenants) {
    let after: SessionKey | undefined
    while (true) {
      const page = yield* read({ tenant, ...(after === undefined ? {} : { after }), limit: pageSize })
      rows.push(...page)
      if (page.length < pageSize) break
      after = page.at(-1)!.session
    }
  }
  return rows
})
