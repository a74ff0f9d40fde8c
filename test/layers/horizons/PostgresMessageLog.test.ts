import { describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checks from "#src/check/Checks.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import { messageLogContract } from "../../contracts/MessageLog.contract.ts"
import { fresh } from "../../postgres/fresh.ts"
import { named, withoutPostgres } from "../../postgres/server.ts"

const inSchema = Layer.unwrap(Effect.map(fresh, PostgresMessageLog.layerAt)).pipe(
  Layer.provideMerge(Checks.layer)
)

describe.skipIf(withoutPostgres)(named("PostgresMessageLog"), () => {
  messageLogContract("its contract", inSchema)
})
