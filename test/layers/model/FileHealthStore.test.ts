import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as FileHealthStore from "#layers/model/FileHealthStore.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { failed, healthy, standardLadder } from "#src/model/cooldown.ts"
import { HealthStore, ModelHealth } from "#src/model/ModelHealth.ts"
import * as Health from "#src/model/ModelHealth.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "opencraw-health-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)
const on = (path: string) =>
  Layer.fresh(FileHealthStore.layer).pipe(Layer.provide(Layer.succeed(DataDir)({ path })))
const table = {
  "openai@work": failed(failed(healthy, "rate_limit", 5, standardLadder), "billing", 9, standardLadder)
}

describe("FileHealthStore", () => {
  it.effect("gives back what was saved, privately and with nothing beside it", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const before = yield* Effect.flatMap(HealthStore, ({ load }) => load).pipe(Effect.provide(on(path)))
      yield* Effect.flatMap(HealthStore, ({ save }) => save(table)).pipe(Effect.provide(on(path)))
      const after = yield* Effect.flatMap(HealthStore, ({ load }) => load).pipe(Effect.provide(on(path)))

      assert.deepStrictEqual(before, {})
      assert.deepStrictEqual(after, table)
      assert.deepStrictEqual(readdirSync(path), [FileHealthStore.fileName])
      assert.strictEqual(statSync(join(path, FileHealthStore.fileName)).mode & 0o777, 0o600)
    })
  )

  it.effect("keeps the whole old file when a crash left a torn new one beside it", () =>
    Effect.gen(function* () {
      const path = yield* folder
      yield* Effect.flatMap(HealthStore, ({ save }) => save(table)).pipe(Effect.provide(on(path)))
      writeFileSync(join(path, `${FileHealthStore.fileName}.new`), '{"v":1,"hea')

      assert.deepStrictEqual(
        yield* Effect.flatMap(HealthStore, ({ load }) => load).pipe(Effect.provide(on(path))),
        table
      )
    })
  )

  it.effect("a file that cannot be read keeps nobody from an answer", () =>
    Effect.gen(function* () {
      const path = yield* folder
      for (const text of ["", "nonsense", '{"v":9,"health":{}}', '{"v":1,"health":{"a":1}}']) {
        writeFileSync(join(path, FileHealthStore.fileName), text)
        const health = Layer.fresh(Health.layer).pipe(
          Layer.provide(on(path)),
          Layer.provide(Settings.layerFrom({})),
          Layer.provideMerge(Layer.succeed(Logger.CurrentLoggers, new Set()))
        )
        const resting = yield* Effect.map(ModelHealth, (one) => one.resting(0)).pipe(Effect.provide(health))

        assert.deepStrictEqual(resting, [])
      }
    })
  )
})
