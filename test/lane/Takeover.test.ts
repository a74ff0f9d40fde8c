/** Two nodes of one log in one process, each with all its rooms; where the lane is, the test says. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as TestSystem from "#layers/Test.ts"
import * as Checks from "#src/check/Checks.ts"
import { bucketCount, bucketOf, type Fence } from "#src/domain/Bucket.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Elsewhere from "#src/lane/Elsewhere.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import * as Takeover from "#src/lane/Takeover.ts"
import * as Feed from "#src/outbound/Feed.ts"
import { Placement } from "#src/placement/Placement.ts"

const { call, hang, text, wait } = ScriptedModel
const ada = "agent:main:ada" as SessionKey
const allBuckets = new Set(Array.from({ length: bucketCount }, (_, bucket) => bucket))
const { settle } = TestSystem

const message = (id: string): InboundMessage => ({
  identity: {
    channel: "recording-keyed",
    account: "a",
    conversation: "c",
    thread: "",
    externalId: id,
    revision: 1
  },
  session: ada,
  ephemeral: false,
  sender: "ada",
  access: "owner",
  body: { text: `say ${id}` }
})

/** A node whose lanes are here while `owner.name` is its name. */
const nodeOf = (
  log: MessageLog.MessageLog["Service"],
  owner: { name: string },
  name: string,
  script: TestSystem.Options["script"],
  fence?: Fence
) =>
  Effect.gen(function* () {
    const placement = Layer.succeed(Placement, {
      isShared: true,
      isHere: () => owner.name === name,
      owns: () => owner.name === name,
      fenceOf: () => fence,
      tellPaused: () => {},
      begin: (keeper) => keeper.taken,
      leave: () => Effect.void,
      nodes: Effect.succeed([])
    })
    const system = TestSystem.layerOn(Layer.succeed(MessageLog.MessageLog, log), {
      ...(script === undefined ? {} : { script }),
      config: { queue: { mode: "followup" }, general: { model: "demo/demo", ask_before: ["time.now"] } }
    })
    const rooms = yield* Layer.build(Layer.fresh(system.pipe(Layer.provide(placement))))
    const keeper = yield* Effect.provideContext(Takeover.make, rooms)
    const events: Array<SessionEvent> = []
    Context.get(rooms, Feed.Feed).subscribe(ada, (event) => void events.push(event))
    return {
      keeper,
      events,
      lanes: Context.get(rooms, Lanes.Lanes),
      elsewhere: Context.get(rooms, Elsewhere.Elsewhere),
      submit: (id: string) => Context.get(rooms, Inbound.Inbound).submit(message(id)),
      told: (tag: SessionEvent["_tag"]) => events.filter(({ _tag }) => _tag === tag)
    }
  })

const two = Effect.fnUntraced(function* (
  here: TestSystem.Options["script"],
  there: TestSystem.Options["script"]
) {
  const stores = yield* Layer.build(MemoryMessageLog.layer.pipe(Layer.provide(Checks.layer)))
  const log = Context.get(stores, MessageLog.MessageLog)
  const owner = { name: "one" }
  const one = yield* nodeOf(log, owner, "one", here)
  const other = yield* nodeOf(log, owner, "two", there)
  const rowOf = (id: string) => log.lookup({ tenant: local, identity: message(id).identity })
  const outcomeOf = (id: string) => Effect.map(rowOf(id), (row) => row?.outcome)
  return { log, owner, one, other, rowOf, outcomeOf }
})

describe("a lane that goes to another node", () => {
  it.effect("breaks its run off, ends nothing, and goes on there as the next attempt", () =>
    Effect.gen(function* () {
      const { log, owner, one, other, rowOf } = yield* two([[...text("half"), hang]], ["whole", "second"])
      const { messageId } = yield* one.submit("m1")
      yield* one.submit("m2")
      yield* settle
      owner.name = "two"
      one.keeper.lost(allBuckets)
      yield* settle

      assert.deepStrictEqual(yield* one.lanes.list, [])
      assert.strictEqual((yield* rowOf("m1"))?.outcome, undefined)
      yield* other.keeper.taken
      yield* settle
      const trace = yield* log.message({ tenant: local, id: messageId })
      assert.deepStrictEqual([trace?.message.outcome, trace?.run?.attempt], ["answered", 2])
      assert.strictEqual((yield* rowOf("m2"))?.outcome, "answered")
      // The first attempt has said nothing more.
      assert.lengthOf(trace?.entries.filter(({ entry }) => entry.kind === "assistant") ?? [], 1)
    })
  )

  it.effect("does not begin there before what was open is read", () =>
    Effect.gen(function* () {
      const { owner, one, other, outcomeOf } = yield* two([[...text("half"), hang]], ["first", "second"])
      yield* one.submit("m1")
      yield* settle
      one.keeper.lost(allBuckets)
      other.keeper.taking(allBuckets)
      // A look from time to time that comes in between has not read it.
      yield* other.keeper.sweep(false)
      owner.name = "two"
      // Comes before the log was walked, and still runs behind what was there.
      yield* other.submit("m2")
      yield* settle
      yield* other.keeper.taken
      yield* settle

      assert.deepStrictEqual([yield* outcomeOf("m1"), yield* outcomeOf("m2")], ["answered", "answered"])
      const texts = other.events.flatMap((event) =>
        event._tag === "Message" ? [`${event.answers.join()}: ${event.text}`] : []
      )
      assert.deepStrictEqual(texts, ["m1: first", "m2: second"])
    })
  )
})

describe("a node whose bucket was just taken", () => {
  it.effect("still takes messages in, and begins nothing with them", () =>
    Effect.gen(function* () {
      const stores = yield* Layer.build(MemoryMessageLog.layer.pipe(Layer.provide(Checks.layer)))
      const log = Context.get(stores, MessageLog.MessageLog)
      const refused: Array<string> = []
      const fenced = MessageLog.MessageLog.of({
        ...log,
        commit: (unit) => {
          if (unit.place.fence === undefined) return log.commit(unit)
          refused.push(unit._tag)
          return Effect.fail(new MessageLog.LogError({ reason: new MessageLog.Fenced({}) }))
        }
      })
      const fence = { bucket: bucketOf(ada), epoch: 1 }
      const node = yield* nodeOf(fenced, { name: "one" }, "one", ["never"], fence)
      yield* node.submit("m1")
      yield* settle

      const row = yield* log.lookup({ tenant: local, identity: message("m1").identity })
      assert.deepStrictEqual([row?.outcome, row?.runId], [undefined, undefined])
      // Its accept with a run, and then the run that the lane would begin.
      assert.deepStrictEqual(refused, ["Accept", "Start"])
      assert.lengthOf(node.told("Message"), 0)
    })
  )
})

describe("a message that comes in at another node than its lane's", () => {
  it.effect("is answered where the lane is, and the answer is told at both, once", () =>
    Effect.gen(function* () {
      const { one, other, outcomeOf } = yield* two(["one", "two"], [])
      yield* other.submit("m1")
      yield* settle
      assert.strictEqual(yield* outcomeOf("m1"), undefined)

      one.keeper.moved([ada])
      yield* settle
      other.keeper.moved([ada])
      yield* settle
      other.keeper.moved([ada])
      yield* settle
      for (const node of [one, other]) {
        assert.lengthOf(node.told("Message"), 1)
        assert.deepInclude(node.told("Outcome")[0], { clientId: "m1", outcome: "answered" })
        assert.lengthOf(node.told("Outcome"), 1)
        assert.deepInclude(node.told("User")[0], { clientId: "m1" })
      }
      // The next one is told in its turn, and nothing of the first again.
      yield* other.submit("m2")
      one.keeper.moved([ada])
      yield* settle
      other.keeper.moved([ada])
      yield* settle
      assert.lengthOf(other.told("Message"), 2)
      assert.lengthOf(other.told("Outcome"), 2)
    })
  )

  it.effect("is found by a sweep when nobody told of it", () =>
    Effect.gen(function* () {
      const { one, other, outcomeOf } = yield* two(["one"], [])
      yield* other.submit("m1")
      yield* one.keeper.sweep(false)
      yield* settle
      yield* other.keeper.sweep(false)
      yield* settle

      assert.strictEqual(yield* outcomeOf("m1"), "answered")
      assert.lengthOf(other.told("Message"), 1)
    })
  )

  it.effect("while the lane is busy is found by a sweep of everything", () =>
    Effect.gen(function* () {
      const gate = Deferred.makeUnsafe<void>()
      const { one, other, outcomeOf } = yield* two([[...text("a"), wait(gate), ...text("b")], "two"], [])
      yield* one.submit("m1")
      yield* settle
      yield* other.submit("m2")
      yield* one.keeper.sweep(true)
      yield* settle
      assert.deepInclude((yield* one.lanes.list)[0], { phase: "running", depth: 1 })
      yield* Deferred.succeed(gate, undefined)
      yield* settle

      assert.deepStrictEqual([yield* outcomeOf("m1"), yield* outcomeOf("m2")], ["answered", "answered"])
    })
  )
})

describe("what people do at another node than the lane's", () => {
  it.effect("ends a run and what waits, and the lane goes on with what comes next", () =>
    Effect.gen(function* () {
      const { one, other, outcomeOf } = yield* two([[...text("half"), hang], "next"], [])
      yield* one.submit("m1")
      yield* one.submit("m2")
      yield* settle
      yield* other.lanes.stop(ada, "ann")
      one.keeper.moved([ada])
      yield* settle

      assert.deepStrictEqual([yield* outcomeOf("m1"), yield* outcomeOf("m2")], ["cancelled", "cancelled"])
      assert.deepStrictEqual(yield* one.lanes.list, [])
      assert.lengthOf(one.told("Outcome"), 2)
      yield* one.submit("m3")
      yield* settle
      assert.strictEqual(yield* outcomeOf("m3"), "answered")
    })
  )

  it.effect("ends the run alone, and cancels one message", () =>
    Effect.gen(function* () {
      const { one, other, outcomeOf, rowOf } = yield* two([[...text("half"), hang], "next"], [])
      yield* one.submit("m1")
      yield* one.submit("m2")
      yield* one.submit("m3")
      yield* settle
      const { id } = (yield* rowOf("m2"))!
      assert.isTrue(yield* other.lanes.cancel(ada, id, "ann"))
      assert.isTrue(yield* other.lanes.abort(ada, "ann"))
      one.keeper.moved([ada])
      yield* settle

      assert.deepStrictEqual(
        [yield* outcomeOf("m1"), yield* outcomeOf("m2"), yield* outcomeOf("m3")],
        ["cancelled", "cancelled", "answered"]
      )
      assert.isFalse(yield* other.lanes.abort(ada, "ann"))
    })
  )

  it.effect("decides what a run waits for", () =>
    Effect.gen(function* () {
      const { log, one, other, outcomeOf } = yield* two([[call("time.now", {}, "t1")], "it is late"], [])
      yield* one.submit("m1")
      yield* settle
      const [asked] = yield* log.approvals({ tenant: local, limit: 1 })
      assert.strictEqual(yield* other.lanes.resolve(local, asked!.id, "approved", "ann"), "approved")
      one.keeper.moved([ada])
      yield* settle

      assert.strictEqual(yield* outcomeOf("m1"), "answered")
    })
  )

  it.effect("pauses and resumes its lane", () =>
    Effect.gen(function* () {
      const { one, other, outcomeOf } = yield* two(["one"], [])
      yield* other.lanes.pause(ada)
      yield* one.keeper.kept
      yield* one.submit("m1")
      yield* settle
      assert.strictEqual(yield* outcomeOf("m1"), undefined)
      yield* other.lanes.resume(ada)
      yield* one.keeper.kept
      yield* settle

      assert.strictEqual(yield* outcomeOf("m1"), "answered")
    })
  )
})
