/** What a connection of `/ws/lanes` is told, over lanes and a connection that the test moves by hand. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import type * as Api from "#src/gateway/apiSchemas.ts"
import type { Connection } from "#src/gateway/Connection.ts"
import { operator } from "#src/gateway/Auth.ts"
import * as LaneWatch from "#src/gateway/LaneWatch.ts"
import * as Shutdown from "#src/gateway/Shutdown.ts"
import { MessageLog, type MessageRow } from "#src/horizons/MessageLog.ts"
import { type LaneInfo, Lanes } from "#src/lane/Lanes.ts"
import { Placement } from "#src/placement/Placement.ts"

const lane = (depth: number): LaneInfo => ({
  session: "agent:main:ada" as SessionKey,
  budget: "main",
  phase: "running",
  paused: false,
  depth,
  fenced: 0
})

/** The lanes as the test says they are, and how often they were looked at. */
class Fixture {
  lanes: ReadonlyArray<LaneInfo> = []
  looks = 0
  /** Open messages of sessions whose lanes other nodes have, as the log knows them, and how often it was asked. */
  others: ReadonlyArray<SessionKey> = []
  reads = 0
  readonly layer = Layer.mergeAll(
    Shutdown.layer,
    Layer.mock(MessageLog)({
      broken: Effect.never,
      tenants: () => Effect.succeed([local]),
      open: ({ tenant }) =>
        Effect.sync(() => {
          this.reads++
          return this.others.map(
            (session) =>
              ({ place: { tenant, agent: "main", session }, acceptedAt: 5 }) as unknown as MessageRow
          )
        })
    }),
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
      isPaused: () => false,
      list: Effect.sync(() => {
        this.looks++
        return this.lanes
      })
    })
  )
}

class FakeConnection implements Connection {
  readonly depths: Array<number | undefined> = []
  lanes: ReadonlyArray<string> = []
  waiting = 0
  send(text: string) {
    const { lanes } = JSON.parse(text) as typeof Api.LanesFrame.Type
    this.depths.push(lanes[0]?.depth)
    this.lanes = lanes.map(
      ({ session_key: key, elsewhere }) => `${key}${elsewhere === true ? " elsewhere" : ""}`
    )
  }
  buffered() {
    return this.waiting
  }
  pause() {}
  resume() {}
  close() {}
}

const open = Effect.map(LaneWatch.make, (protocol) => (connection: Connection) => {
  return Result.getOrThrow(protocol.open(operator))(connection)
})
const half = TestClock.adjust("500 millis")

describe("the watch of the lanes", () => {
  it.effect("keeps nothing for a slow reader but tells it what is true once it has caught up", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const attach = yield* open
      const [slow, quick] = [new FakeConnection(), new FakeConnection()]
      attach(slow)
      attach(quick)
      yield* half
      slow.waiting = 1
      for (let depth = 1; depth <= 5; depth++) {
        fixture.lanes = [lane(depth)]
        yield* half
      }
      assert.deepStrictEqual(slow.depths, [undefined])
      assert.deepStrictEqual(quick.depths, [undefined, 1, 2, 3, 4, 5])
      slow.waiting = 0
      yield* half
      assert.deepStrictEqual(slow.depths, [undefined, 5])
      assert.lengthOf(quick.depths, 6)
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect("looks only while somebody listens, and once for all who do", () => {
    const fixture = new Fixture()
    return Effect.gen(function* () {
      const attach = yield* open
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(fixture.looks, 0)
      const listeners = [attach(new FakeConnection()), attach(new FakeConnection())]
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(fixture.looks, 2 + 20)
      for (const { onClose } of listeners) onClose()
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(fixture.looks, 2 + 20)
      attach(new FakeConnection())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(fixture.looks, 2 + 20 + 1 + 2)
    }).pipe(Effect.provide(fixture.layer))
  })

  it.effect(
    "tells what the lanes of other nodes have to do, asking the log once for all who see the same",
    () => {
      const fixture = new Fixture()
      const other = "agent:main:bob" as SessionKey
      fixture.lanes = [lane(1)]
      fixture.others = [other, other]
      return Effect.gen(function* () {
        const attach = yield* open
        const [one, two] = [new FakeConnection(), new FakeConnection()]
        const listeners = [attach(one), attach(two)]
        yield* half
        const both = ["agent:main:bob elsewhere", "agent:main:ada"]
        assert.deepStrictEqual([one.lanes, two.lanes], [both, both])
        const { reads } = fixture
        fixture.others = []
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual([one.lanes, fixture.reads - reads], [["agent:main:ada"], 2])
        for (const { onClose } of listeners) onClose()
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(fixture.reads - reads, 2)
      }).pipe(
        Effect.provide(fixture.layer),
        Effect.provideService(Placement, {
          isShared: true,
          isHere: (name) => name !== other,
          owns: () => true,
          fenceOf: () => undefined,
          tellPaused: () => undefined,
          begin: () => Effect.void,
          leave: () => Effect.void,
          nodes: Effect.succeed([])
        })
      )
    }
  )
})
