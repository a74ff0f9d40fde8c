/**
 * A database as the smaller ports see it: units of statements by the name of what they change, and reads.
 *
 * Owns: what a failure of either database means to a caller. Does not own: any statement, nor the log's own way to its database.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import { StoreBroken, StoreBusy, StoreFull } from "#src/horizons/MessageLog.ts"
import type { PgFailure } from "#layers/platform/PgClient.ts"
import type { SqliteFailure } from "#layers/platform/SqliteClient.ts"
import type { Body } from "#layers/platform/statements.ts"

export type StoreRefusal = StoreFull | StoreBroken | StoreBusy

export class SqlStore extends Context.Service<
  SqlStore,
  {
    /** All or nothing, durable when it succeeds; a failed `Result` changes nothing. Units of one name go one after the other. */
    readonly unit: <A, E = never>(
      name: string,
      body: () => Body<Result.Result<A, E>>
    ) => Effect.Effect<A, E | StoreRefusal>
    readonly read: <A>(body: () => Body<A>) => Effect.Effect<A, StoreRefusal>
  }
>()("opencraw/layers/horizons/SqlStore") {}

/** The store's state that a failure tells of; undefined when it is the statement that was refused. */
export const stateOf = ({
  kind,
  detail
}: Pick<SqliteFailure | PgFailure, "kind" | "detail">): StoreRefusal | undefined => {
  switch (kind) {
    case "full":
      return new StoreFull({})
    case "busy":
    case "conflict":
    case "unreachable":
      return new StoreBusy({ detail })
    case "io":
    case "broken":
      return new StoreBroken({ detail })
    // Units of these ports name no fence.
    case "fenced":
    case "statement":
      return undefined
  }
}

/** A statement of ours that the database refuses is a bug and dies; all else is the store's state. */
export const refusalOf = (failure: SqliteFailure | PgFailure): Effect.Effect<never, StoreRefusal> => {
  const state = stateOf(failure)
  return state === undefined ? Effect.die(failure) : Effect.fail(state)
}
