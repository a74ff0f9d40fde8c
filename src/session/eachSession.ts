/** What the log has of every session, a page after the other. */
import * as Effect from "effect/Effect"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { LogError } from "#src/horizons/MessageLog.ts"

const pageSize = 1000

/** All rows that `read` gives, which lists them by session key. */
export const eachSession = Effect.fnUntraced(function* <Row extends { readonly session: SessionKey }>(
  read: (page: {
    readonly after?: SessionKey
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<Row>, LogError>
) {
  const rows: Array<Row> = []
  while (true) {
    const after = rows.at(-1)?.session
    const page = yield* read({ ...(after === undefined ? {} : { after }), limit: pageSize })
    rows.push(...page)
    if (page.length < pageSize) return rows
  }
})
