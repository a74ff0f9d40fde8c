/** The smaller ports' way to a SQLite file, whose one writer takes units in the order they come. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { answered, Sqlite, SqliteFailure } from "#layers/platform/SqliteClient.ts"
import { refusalOf, SqlStore, type StoreRefusal } from "./SqlStore.ts"

const refusing = <A, E>(effect: Effect.Effect<A, E | SqliteFailure>) =>
  Effect.catch(effect, (error): Effect.Effect<never, Exclude<E, SqliteFailure> | StoreRefusal> =>
    error instanceof SqliteFailure ? refusalOf(error) : Effect.fail(error as Exclude<E, SqliteFailure>)
  )

export const layer = Layer.effect(
  SqlStore,
  Effect.map(Sqlite, (sqlite) =>
    SqlStore.of({
      unit: (_, body) => refusing(sqlite.unit((db) => answered(db, body()))),
      read: (body) => refusing(sqlite.read((db) => answered(db, body())))
    })
  )
)
