/**
 * The tenants of this installation, with rows or without: whose old rows go. Who looks for rows of a kind asks `MessageLog.tenants`.
 *
 * A tenant that is made later is in it from then on; none ever goes. Without a layer there is the one of a single team.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { local, type Tenant } from "#src/domain/Tenant.ts"
import type { LogError } from "./MessageLog.ts"

export const Tenants = Context.Reference<{
  readonly all: Effect.Effect<ReadonlyArray<Tenant>, LogError>
}>("opencraw/horizons/Tenants", { defaultValue: () => ({ all: Effect.succeed([local]) }) })
