/**
 * The models' health in a file of the data directory.
 *
 * Owns: that after a crash the file is the old one or the new one, whole. A file that cannot be read counts as none: nobody is kept
 * from an answer by what was remembered.
 */
import { open, readFile, rename } from "node:fs/promises"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { DataDir } from "#layers/platform/DataDir.ts"
import { HealthStore, HealthStoreError } from "#src/model/ModelHealth.ts"

const Reason = Schema.Literals([
  "auth",
  "billing",
  "rate_limit",
  "timeout",
  "server_error",
  "model_not_found",
  "format"
])
const Stored = Schema.Struct({
  v: Schema.Literal(1),
  health: Schema.Record(
    Schema.String,
    Schema.Struct({
      errorCount: Schema.Int,
      counts: Schema.Record(Schema.String, Schema.Int),
      lastFailureAt: Schema.optionalKey(Schema.Number),
      reason: Schema.optionalKey(Reason),
      cooldownUntil: Schema.optionalKey(Schema.Number),
      disabledUntil: Schema.optionalKey(Schema.Number),
      lastUsedAt: Schema.optionalKey(Schema.Number)
    })
  )
})
const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Stored))

export const fileName = "model-health.json"

const nothing = '{"v":1,"health":{}}'

const problem = (cause: unknown) =>
  new HealthStoreError({ detail: cause instanceof Error ? cause.message : String(cause) })

const isMissing = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "code" in cause && cause.code === "ENOENT"

/** Written beside, made durable, then put in its place. */
const replace = async (path: string, text: string): Promise<void> => {
  const beside = `${path}.new`
  const file = await open(beside, "w", 0o600)
  try {
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(beside, path)
}

export const make = Effect.gen(function* () {
  const path = join((yield* DataDir).path, fileName)
  const load = Effect.tryPromise({
    // A missing file holds nothing.
    try: () =>
      readFile(path, "utf8").catch((cause: unknown) => (isMissing(cause) ? nothing : Promise.reject(cause))),
    catch: problem
  }).pipe(
    Effect.flatMap((text) => Effect.mapError(decode(text), problem)),
    Effect.map(({ health }) => health)
  )
  return HealthStore.of({
    load,
    save: (health) =>
      Effect.tryPromise({
        try: () => replace(path, JSON.stringify({ v: 1, health })),
        catch: problem
      })
  })
})

/** Needs the data directory, which one process holds. */
export const layer = Layer.effect(HealthStore, make)
