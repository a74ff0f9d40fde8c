/** A fresh schema of the run's shared server. */
import { connect } from "node:net"
import { text } from "node:stream/consumers"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { inject } from "vitest"
import { newSchema } from "./server.ts"
import type * as PgLink from "#layers/platform/PgLink.ts"

declare module "vitest" {
  interface ProvidedContext {
    postgresDoor: string
  }
}

let url: Promise<string> | undefined
export const sharedUrl = (): Promise<string> => (url ??= text(connect(inject("postgresDoor"))))

/** Where a test's own tables are going to be. */
export const fresh: Effect.Effect<PgLink.Options> = Effect.promise(async () => ({
  url: Redacted.make(await sharedUrl()),
  schema: newSchema()
}))
