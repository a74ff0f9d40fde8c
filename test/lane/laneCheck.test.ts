/** What `/ready` and `doctor` say of lanes, for lanes as the test says they are. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Checks from "#src/check/Checks.ts"
import type { RunId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import * as laneCheck from "#src/lane/laneCheck.ts"
import { type LaneInfo, Lanes } from "#src/lane/Lanes.ts"

const lane = (name: string, facts: Partial<LaneInfo> = {}): LaneInfo => ({
  session: `agent:main:${name}` as SessionKey,
  budget: "main",
  phase: "running",
  paused: false,
  depth: 0,
  fenced: 0,
  ...facts
})
const stalled = (stall: "long" | "stalled" | "stuck") => ({
  run: { id: "run" as RunId, attempt: 1, beganAt: 0, step: 1, tools: [], stall }
})
const found = (lanes: ReadonlyArray<LaneInfo>, isPaused = false) =>
  Effect.flatMap(Checks.Checks, ({ run }) => run).pipe(
    Effect.map(([check]) => [check?.status, check?.message]),
    Effect.provide(
      laneCheck.layer.pipe(
        Layer.provideMerge(Checks.layer),
        Layer.provide(
          Layer.mock(Lanes)({
            isFree: () => false,
            send: () => undefined,
            command: () => undefined,
            forget: () => undefined,
            adopt: () => undefined,
            current: () => undefined,
            drop: () => undefined,
            expect: () => undefined,
            isBusy: () => false,
            pausedElsewhere: () => undefined,
            isPaused: () => isPaused,
            list: Effect.succeed(lanes)
          })
        )
      )
    )
  )

it.effect("names what is paused, makes no progress or does not stop, and is content with the rest", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* found([]), ["ok", "they answer"])
    assert.deepStrictEqual(yield* found([lane("a", stalled("long")), lane("b", { depth: 9 })]), [
      "ok",
      "they answer"
    ])
    assert.deepStrictEqual(yield* found([lane("a", { paused: true })]), [
      "ok",
      "they answer; paused: agent:main:a"
    ])
    const bad = [lane("a", stalled("stalled")), lane("b", stalled("stuck")), lane("c", { fenced: 1 })]
    assert.deepStrictEqual(yield* found(bad, true), [
      "warning",
      "the whole gateway is paused: opencraw lanes resume\n" +
        "no progress: agent:main:a, agent:main:b; it is begun again by itself\n" +
        "told to stop and still running: agent:main:c; a restart ends them for good"
    ])
  })
)

it.effect("names ten sessions and counts the others", () =>
  Effect.gen(function* () {
    const many = Array.from({ length: 12 }, (_, n) => lane(`s${n}`, { fenced: 1 }))
    const [status, message] = yield* found(many)
    assert.strictEqual(status, "warning")
    assert.match(message ?? "", /agent:main:s9, 2 more;/)
  })
)
