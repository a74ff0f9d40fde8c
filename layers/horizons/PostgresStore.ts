/** The smaller ports' way to Postgres, where a unit's name is a lock that holds in every gateway. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { PgFailure, Postgres } from "#layers/platform/PgClient.ts"
import { refusalOf, SqlStore, type StoreRefusal } from "./SqlStore.ts"

const refusing = <A, E>(effect: Effect.Effect<A, E | PgFailure>) =>
  Effect.catch(effect, (error): Effect.Effect<never, Exclude<E, PgFailure> | StoreRefusal> =>
    error instanceof PgFailure ? refusalOf(error) : Effect.fail(error as Exclude<E, PgFailure>)
  )

export const layer = Layer.effect(
  SqlStore,
  Effect.map(Postgres, (postgres) =>
    SqlStore.of({
      unit: (name, body) => refusing(postgres.unit([name], body)),
      read: (body) => refusing(postgres.read(body))
    })
  )
)
