import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { messageId, runOf } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import {
  decide,
  initial,
  isIdle,
  type LaneCommand,
  type LaneEvent,
  type LaneState
} from "#src/lane/decide.ts"

const session = "agent:main:main" as SessionKey

const row = (seq: number, runId?: MessageRow["runId"]): MessageRow => ({
  id: messageId(`msg_${seq}`),
  place: { tenant: local, agent: "main", session },
  seq,
  identity: {
    channel: "test",
    account: "a",
    conversation: "c",
    thread: "",
    externalId: `c${seq}`,
    revision: 1
  },
  sender: "ada",
  access: "owner",
  ephemeral: false,
  body: { text: `text ${seq}` },
  acceptedAt: 0,
  runId,
  outcome: undefined,
  outcomeBy: undefined,
  endedAt: undefined
})
const run = (seq: number) => runOf(row(seq).id)
const by = "ada"

const play = (events: ReadonlyArray<LaneEvent>, buffer = 4) => {
  let state = initial(buffer)
  const commands: Array<LaneCommand> = []
  for (const event of events) {
    const decision = decide(state, event)
    state = decision.state
    commands.push(...decision.commands)
  }
  return { state, commands, tags: commands.map((command) => command._tag) }
}
const arrived = (seq: number, begun = false): LaneEvent => ({ _tag: "Arrived", message: row(seq), begun })
const ended = (seq: number, end: "finished" | "retry" = "finished"): LaneEvent => ({
  _tag: "RunEnded",
  runId: run(seq),
  end
})

describe("decide", () => {
  it("starts a message that arrives at an idle lane at once", () => {
    const { commands } = play([arrived(1)])

    assert.deepStrictEqual(commands, [
      { _tag: "Start", run: { runId: run(1), messages: [row(1)], begun: false } }
    ])
  })

  it("takes up a run that began with its message only when the lane is free, and begins it itself when it starts again", () => {
    const free = play([arrived(1, true), ended(1, "retry"), { _tag: "RetryDue", runId: run(1) }])
    const busy = play([arrived(1), arrived(2, true), ended(1)])

    const begun = (commands: ReadonlyArray<LaneCommand>) =>
      commands.flatMap((command) => (command._tag === "Start" ? [command.run.begun] : []))
    assert.deepStrictEqual(begun(free.commands), [true, false])
    assert.deepStrictEqual(begun(busy.commands), [false, false])
  })

  it("answers waiting messages one by one, in order", () => {
    const { commands } = play([arrived(1), arrived(2), arrived(3), ended(1), ended(2)])

    const started = commands.flatMap((command) => (command._tag === "Start" ? [command.run.runId] : []))
    assert.deepStrictEqual(started, [run(1), run(2), run(3)])
  })

  it("is idle after its last run, so that its memory can go", () => {
    assert.isTrue(isIdle(play([arrived(1), arrived(2), ended(1), ended(2)]).state))
  })

  it("does not queue the same message twice", () => {
    const { state } = play([arrived(1), arrived(2), arrived(2)])

    assert.lengthOf(state.queue, 1)
  })

  it("leaves what exceeds its memory in the log and reads it when there is room", () => {
    const { state, commands } = play([arrived(1), arrived(2), arrived(3), arrived(4), ended(1), ended(2)], 2)

    assert.deepInclude(commands, { _tag: "Load", afterSeq: 3, limit: 1 })
    const after = decide(state, { _tag: "Loaded", messages: [row(4)], more: false })
    assert.deepStrictEqual(
      after.state.queue.map((message) => message.seq),
      [4]
    )
    assert.isFalse(after.state.beyond)
  })

  it("reads again when a message arrived while it was reading", () => {
    const busy = play([arrived(1), arrived(2), arrived(3), arrived(4), ended(1), arrived(5)], 2)
    const after = decide(busy.state, { _tag: "Loaded", messages: [row(4)], more: false })

    assert.isTrue(after.state.beyond || after.commands.some((command) => command._tag === "Load"))
  })

  it("keeps the messages of a run that a restart cut off together", () => {
    const { commands } = play([
      { _tag: "Loaded", messages: [row(1, run(1)), row(2, run(1)), row(3)], more: false }
    ])

    assert.deepStrictEqual(commands, [
      { _tag: "Start", run: { runId: run(1), messages: [row(1, run(1)), row(2, run(1))], begun: false } }
    ])
  })

  it("cancels waiting messages first and then the run", () => {
    const { tags, state } = play([arrived(1), arrived(2), { _tag: "Stop", by }])

    assert.deepStrictEqual(tags, ["Start", "Settle", "Interrupt", "ArmGrace"])
    assert.lengthOf(state.queue, 0)
  })

  it("also cancels what it never read from the log", () => {
    const { tags } = play([arrived(1), arrived(2), arrived(3), arrived(4), { _tag: "Stop", by }], 2)

    assert.include(tags, "SettleRest")
  })

  it("goes on without a run that does not end within the grace time, and keeps it fenced until it is dead", () => {
    const stuck = play([
      arrived(1),
      arrived(2),
      { _tag: "Cancel", messageId: row(1).id, by },
      { _tag: "GraceExpired", runId: run(1) }
    ])
    assert.deepStrictEqual(stuck.state.fenced, [run(1)])
    assert.deepStrictEqual(stuck.tags, ["Start", "Interrupt", "ArmGrace", "Start"])

    const dead = decide(stuck.state, ended(1))
    assert.deepStrictEqual(dead.state.fenced, [])
    assert.strictEqual(dead.state.phase._tag, "Running")
  })

  it("ignores a grace timer whose run has ended", () => {
    const { state } = play([
      arrived(1),
      { _tag: "Cancel", messageId: row(1).id, by },
      ended(1),
      { _tag: "GraceExpired", runId: run(1) }
    ])

    assert.isTrue(isIdle(state))
  })

  it("waits longer each time the store refuses a run", () => {
    const { commands } = play([
      arrived(1),
      ended(1, "retry"),
      { _tag: "RetryDue", runId: run(1) },
      ended(1, "retry")
    ])

    const waits = commands.flatMap((command) => (command._tag === "ArmRetry" ? [command.failures] : []))
    assert.deepStrictEqual(waits, [1, 2])
  })

  it("parks a run, lets messages queue behind it, and resumes it by its decision", () => {
    const parked = play([arrived(1), { _tag: "RunParked", runId: run(1), approvalId: "a1" }, arrived(2)])
    assert.strictEqual(parked.state.phase._tag, "Parked")
    assert.lengthOf(parked.state.queue, 1)

    const resumed = decide(parked.state, { _tag: "ApprovalResolved", approvalId: "a1" })
    assert.deepStrictEqual(resumed.commands, [
      { _tag: "Start", run: { runId: run(1), messages: [row(1)], begun: false } }
    ])
  })

  it("cancels the approval of a parked run that is stopped", () => {
    const { tags } = play([
      arrived(1),
      { _tag: "RunParked", runId: run(1), approvalId: "a1" },
      { _tag: "Stop", by }
    ])

    assert.deepStrictEqual(tags, ["Start", "CancelApproval", "Interrupt"])
  })

  it("starts nothing while paused and goes on when resumed", () => {
    const paused = play([{ _tag: "Paused" }, arrived(1)])
    assert.deepStrictEqual(paused.tags, [])

    assert.deepStrictEqual(
      decide(paused.state, { _tag: "Resumed" }).commands.map((command) => command._tag),
      ["Start"]
    )
  })
})

type Act =
  | "arrive"
  | "end"
  | "retry"
  | "due"
  | "load"
  | "stop"
  | "cancel"
  | "grace"
  | "bury"
  | "pause"
  | "resume"

/** What may happen to a lane, arrivals and ends most often, so that lanes run full and empty again. */
const deck: ReadonlyArray<Act> = [
  ...Array.from({ length: 10 }, (): Act => "arrive"),
  ...Array.from({ length: 6 }, (): Act => "end"),
  "load",
  "load",
  "load",
  "cancel",
  "cancel",
  "retry",
  "due",
  "due",
  "grace",
  "bury",
  "stop",
  "pause",
  "resume",
  "resume"
]
const Card = Schema.Struct({
  card: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: deck.length - 1 })),
  pick: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
})
const Hand = Schema.Array(Card).check(Schema.isBetweenLength(1, 80))

/**
 * A naive world around the lane: a list of open messages, the run under way, the pages it asked for.
 * It keeps the promises of the interpreter and checks those of the lane.
 */
const live = (hand: ReadonlyArray<typeof Card.Type>) => {
  let state: LaneState = initial(3)
  let seq = 0
  const open: Array<number> = []
  const started: Array<number> = []
  const settled = new Set<number>()
  let current: { seq: number; isEnding: boolean } | undefined
  let stuck: Array<number> = []
  // A page may have been read before or after what arrives meanwhile.
  let page: { afterSeq: number; limit: number; read: ReadonlyArray<number> | undefined } | undefined
  let retry: number | undefined
  const settle = (one: number) => {
    assert.isFalse(settled.has(one), `message ${one} ended twice`)
    settled.add(one)
    open.splice(open.indexOf(one), 1)
  }
  const post = (event: LaneEvent) => {
    const decision = decide(state, event)
    state = decision.state
    for (const command of decision.commands) {
      if (command._tag === "Start") {
        assert.isUndefined(current, "two unfenced runs at once")
        const one = command.run.messages[0]!.seq
        if (open.includes(one)) {
          assert.strictEqual(one, open[0], "out of order")
          if (!started.includes(one)) started.push(one)
        }
        current = { seq: one, isEnding: false }
      } else if (command._tag === "Interrupt") {
        if (open.includes(command.run.messages[0]!.seq)) settle(command.run.messages[0]!.seq)
        if (current !== undefined) current.isEnding = true
        retry = undefined
      } else if (command._tag === "Settle") {
        // A page read before a stop may bring back what the stop ended: the log refuses to end it again.
        for (const message of command.messages) if (open.includes(message.seq)) settle(message.seq)
      } else if (command._tag === "SettleRest") {
        for (const one of open.filter((candidate) => candidate > command.afterSeq)) settle(one)
      } else if (command._tag === "Load") {
        assert.isUndefined(page, "two pages asked for at once")
        page = { ...command, read: seq % 2 === 0 ? [...open] : undefined }
      } else if (command._tag === "ArmRetry") {
        retry = current?.seq
      }
    }
  }
  const finish = () => {
    if (current === undefined) return
    const { seq: one, isEnding } = current
    current = undefined
    if (!isEnding && open.includes(one)) settle(one)
    post({ _tag: "RunEnded", runId: run(one), end: "finished" })
  }
  const answerPage = () => {
    if (page === undefined) return
    const { afterSeq, limit, read } = page
    page = undefined
    const rows = (read ?? open).filter((one) => one > afterSeq)
    post({ _tag: "Loaded", messages: rows.slice(0, limit).map((one) => row(one)), more: rows.length > limit })
  }
  const perform = (act: Act, pick: number) => {
    switch (act) {
      case "arrive":
        open.push(++seq)
        return post(arrived(seq, pick % 2 === 0))
      case "end":
        return finish()
      case "retry": {
        if (current === undefined || current.isEnding) return
        const one = current.seq
        const decision = decide(state, { _tag: "RunEnded", runId: run(one), end: "retry" })
        state = decision.state
        current = undefined
        retry = one
        return
      }
      case "due":
        if (retry === undefined) return
        return post({ _tag: "RetryDue", runId: run(retry) })
      case "load":
        return answerPage()
      case "stop":
        return post({ _tag: "Stop", by })
      case "cancel": {
        const one = open[pick]
        // The interpreter ends by itself what the lane does not hold.
        if (one === undefined) return
        const isHeld =
          state.queue.some((message) => message.seq === one) ||
          (state.phase._tag !== "Idle" && state.phase.run.messages[0]!.seq === one)
        return isHeld ? post({ _tag: "Cancel", messageId: row(one).id, by }) : settle(one)
      }
      case "grace":
        if (current?.isEnding === true) {
          const one = current.seq
          stuck.push(one)
          current = undefined
          post({ _tag: "GraceExpired", runId: run(one) })
        }
        return
      case "bury": {
        const one = stuck.shift()
        if (one !== undefined) post({ _tag: "RunEnded", runId: run(one), end: "finished" })
        return
      }
      case "pause":
        return post({ _tag: "Paused" })
      case "resume":
        return post({ _tag: "Resumed" })
    }
  }
  for (const { card, pick } of hand) {
    perform(deck[card]!, pick)
    assert.isAtMost(state.queue.length, 3 + 1, "memory beyond its buffer")
  }
  // Let everything end: then no message may be left without an outcome, and the lane is forgotten.
  post({ _tag: "Resumed" })
  for (let turn = 0; turn < 4 * (seq + 4); turn++) {
    perform("due", 0)
    perform("load", 0)
    perform("end", 0)
    perform("bury", 0)
  }
  assert.deepStrictEqual(open, [], "a message was lost")
  assert.strictEqual(settled.size, seq)
  assert.deepStrictEqual(
    [...started].sort((a, b) => a - b),
    started,
    "runs out of order"
  )
  assert.isTrue(isIdle(state), JSON.stringify(state))
  stuck = []
}

describe("decide, against a naive world", () => {
  it.effect.prop(
    "keeps order, loses nothing, ends each message once and holds one run at a time",
    { hand: Arbitrary.schema(Hand) },
    ({ hand }) => Effect.sync(() => live(hand)),
    { arbitrary: { runs: 1000, size: 100 } }
  )
})
