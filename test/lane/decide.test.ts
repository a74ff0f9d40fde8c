import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type ApprovalId, approvalId, type RunId, runOf } from "#src/domain/Ids.ts"
import type { PartsWindow } from "#src/domain/Inbound.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import { gathered } from "#src/lane/gather.ts"
import {
  decide,
  initial,
  isFree,
  isIdle,
  type LaneCommand,
  type LaneEvent,
  type LaneState
} from "#src/lane/decide.ts"
import { recordsOf, recordText, redecide } from "#src/lane/replay.ts"
import { rowOf } from "./rows.ts"

type Mode = "collect" | "followup" | "steer" | "interrupt"

const row = (
  seq: number,
  runId?: MessageRow["runId"],
  mode: Mode = "followup",
  guest = false,
  parts?: PartsWindow
): MessageRow => {
  const queue = { mode, debounceMs: 1000, ...(parts === undefined ? {} : { parts }) }
  return rowOf(seq, {
    runId,
    access: guest ? "guest" : "owner",
    body: mode === "followup" && parts === undefined ? {} : { queue }
  })
}
const run = (seq: number) => runOf(row(seq).id)
const by = "ada"
const a1 = approvalId("a1")
const parked = (seq: number): LaneEvent => ({
  _tag: "RunParked",
  runId: run(seq),
  approvalId: a1,
  millis: 60_000
})

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

  it("takes a message that a later one overtook, in its place, and the same message only once", () => {
    const { state, tags } = play([arrived(2), arrived(4), arrived(3), arrived(1), arrived(3), arrived(2)])

    assert.deepStrictEqual(tags, ["Start"])
    assert.deepStrictEqual(
      state.queue.map(({ seq }) => seq),
      [1, 3, 4]
    )
    assert.strictEqual(state.lastSeq, 4)
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

  it("does not take from a page what ended while it was read", () => {
    const reading = play([arrived(1), arrived(2), arrived(3), arrived(4), ended(1), ended(2)], 2)
    const gone = decide(reading.state, { _tag: "Dropped", messageIds: [row(4).id] })
    const page: LaneEvent = { _tag: "Loaded", messages: [row(4), row(5)], more: false }

    assert.deepStrictEqual(
      decide(gone.state, page).state.queue.map(({ seq }) => seq),
      [5]
    )
  })

  it("does not take from a page what a run read and ended with while it was read", () => {
    const steers = (seq: number): LaneEvent => ({
      _tag: "Arrived",
      message: row(seq, undefined, "steer"),
      begun: false
    })
    const { state } = play([arrived(1), arrived(2), arrived(3), ended(1), steers(4), steers(5)], 1)
    const steered = decide(state, { _tag: "Steered", runId: run(2), messageIds: [row(4).id] })
    const next = decide(steered.state, ended(2))
    const after = decide(next.state, ended(5))
    const page: LaneEvent = { _tag: "Loaded", messages: [row(3), row(4), row(5), row(6)], more: false }

    assert.strictEqual(state.loading, "yes")
    assert.deepInclude(next.state.phase, {
      _tag: "Running",
      run: { runId: run(5), messages: [row(5, undefined, "steer")], begun: false }
    })
    assert.deepStrictEqual(
      decide(after.state, page).state.queue.map(({ seq }) => seq),
      [6]
    )
  })

  it("reads again when a message arrived while it was reading", () => {
    const busy = play([arrived(1), arrived(2), arrived(3), arrived(4), ended(1), arrived(5)], 2)
    const after = decide(busy.state, { _tag: "Loaded", messages: [row(4)], more: false })

    assert.isTrue(after.state.beyond || after.commands.some((command) => command._tag === "Load"))
  })

  it("reads on behind a page that held nothing for it", () => {
    const busy = play([arrived(1), arrived(2), arrived(3), arrived(4), ended(1), ended(2)], 2)
    const page: LaneEvent = { _tag: "Loaded", messages: [], readUpTo: 4, more: true }

    assert.deepStrictEqual(decide(busy.state, page).commands.at(-1), { _tag: "Load", afterSeq: 4, limit: 2 })
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

  it("begins a stuck run again when its fiber is gone, and again without waiting for one that does not die", () => {
    const stuck: LaneEvent = { _tag: "Stuck", runId: run(1) }
    const late: LaneEvent = { _tag: "RunEnded", runId: run(1), end: "finished", late: true }
    const gone = play([arrived(1), stuck, ended(1)])
    const deaf = play([arrived(1), stuck, { _tag: "GraceExpired", runId: run(1) }])

    assert.deepStrictEqual(gone.tags, ["Start", "Abandon", "ArmGrace", "Start"])
    assert.deepStrictEqual(deaf.tags, ["Start", "Abandon", "ArmGrace", "Start"])
    assert.deepStrictEqual(deaf.state.fenced, [run(1)])
    const dead = decide(deaf.state, late)
    assert.deepStrictEqual([dead.state.fenced, dead.state.phase._tag], [[], "Running"])
    assert.isTrue(isIdle(decide(dead.state, ended(1)).state))
  })

  it("ends a run for good that is cancelled while it is given up", () => {
    const { tags } = play([
      arrived(1),
      { _tag: "Stuck", runId: run(1) },
      { _tag: "Abort", by },
      ended(1),
      arrived(2)
    ])

    assert.deepStrictEqual(tags, ["Start", "Abandon", "ArmGrace", "Interrupt", "ArmGrace", "Start"])
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
    const { state, commands } = play([arrived(1), parked(1), arrived(2)])
    assert.strictEqual(state.phase._tag, "Parked")
    assert.lengthOf(state.queue, 1)
    assert.deepStrictEqual(commands.at(-1), { _tag: "ArmExpiry", approvalId: a1, millis: 60_000 })

    const resumed = decide(state, { _tag: "ApprovalResolved", approvalId: a1 })
    assert.deepStrictEqual(resumed.commands, [
      { _tag: "Start", run: { runId: run(1), messages: [row(1)], begun: false } }
    ])
  })

  it("resumes a run at once whose approval was decided before the lane knew that it had parked", () => {
    const { tags } = play([arrived(1), { _tag: "ApprovalResolved", approvalId: a1 }, parked(1)])

    assert.deepStrictEqual(tags, ["Start", "Start"])
  })

  it("ends a parked run that is stopped, and goes on with what comes next", () => {
    const { tags } = play([arrived(1), parked(1), { _tag: "Stop", by }, arrived(2)])

    assert.deepStrictEqual(tags, ["Start", "ArmExpiry", "Interrupt", "Start"])
  })

  it("goes on when a run that was told to stop parks in the same moment", () => {
    const { state, tags } = play([arrived(1), { _tag: "Stop", by }, parked(1), arrived(2)])

    assert.deepStrictEqual(tags, ["Start", "Interrupt", "ArmGrace", "Start"])
    assert.deepStrictEqual(state.fenced, [])
  })

  it("after a restart a run that waits for a person still waits, and what came later queues behind it", () => {
    const { state, tags } = play([
      {
        _tag: "Loaded",
        messages: [row(1, run(1)), row(2, run(1)), row(3)],
        started: [row(1, run(1)), row(2, run(1))],
        more: false,
        parked: { runId: run(1), approvalId: a1, millis: 5 }
      }
    ])

    assert.deepStrictEqual(tags, ["ArmExpiry"])
    assert.strictEqual(state.phase._tag, "Parked")
    assert.lengthOf(state.queue, 1)
    const resumed = decide(state, { _tag: "ApprovalResolved", approvalId: a1 })
    assert.deepStrictEqual(resumed.commands[0], {
      _tag: "Start",
      run: { runId: run(1), messages: [row(1, run(1)), row(2, run(1))], begun: false }
    })
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

describe("decide, on a log that holds more than it has seen", () => {
  it("a run that had begun is resumed whole and first, however far behind its messages stand", () => {
    const begun = [row(2, run(2)), row(7, run(2)), row(8, run(2))]
    const { state, commands } = play([
      { _tag: "Loaded", messages: [row(1), begun[0]!, row(3)], more: true, started: begun },
      { _tag: "Loaded", messages: [row(5), begun[1]!, begun[2]!, row(9)], more: false }
    ])
    assert.deepInclude(commands[0], {
      _tag: "Start",
      run: { runId: run(2), messages: begun, begun: false }
    })
    assert.deepStrictEqual(
      state.queue.map(({ seq }) => seq),
      [1, 3, 5, 9]
    )
  })

  it("a stop ends all of it, and what comes later runs", () => {
    const messages = [row(1), row(2), row(3), row(4)]
    const { commands, state } = play([
      { _tag: "Loaded", messages, more: true, newestSeq: 8 },
      { _tag: "Stop", by },
      ended(1),
      arrived(9)
    ])
    assert.deepInclude(
      commands.find((command) => command._tag === "SettleRest"),
      { afterSeq: 4, toSeq: 8 }
    )
    assert.deepInclude(state.phase, {
      _tag: "Running",
      run: { runId: run(9), messages: [row(9)], begun: false }
    })
  })
})

describe("decide, by mode", () => {
  const comes = (seq: number, mode: Mode, guest = false): LaneEvent => ({
    _tag: "Arrived",
    message: row(seq, undefined, mode, guest),
    begun: false
  })
  const started = (commands: ReadonlyArray<LaneCommand>) =>
    commands.flatMap((command) =>
      command._tag === "Start" ? [command.run.messages.map((message) => message.seq)] : []
    )
  const quiet = (generation: number): LaneEvent => ({ _tag: "QuietOver", generation })

  it("collect: what comes while a run goes becomes one run after a quiet window, which each arrival prolongs", () => {
    const busy = play([comes(1, "collect"), comes(2, "collect"), ended(1), comes(3, "collect")])
    assert.deepStrictEqual(started(busy.commands), [[1]])
    assert.deepStrictEqual(busy.tags, ["Start", "ArmQuiet", "ArmQuiet"])

    const early = decide(busy.state, quiet(1))
    assert.deepStrictEqual(early.commands, [])
    assert.deepStrictEqual(started(decide(busy.state, quiet(2)).commands), [[2, 3]])
  })

  it("collect: a quiet window is not prolonged for ever", () => {
    const { tags } = play(
      [
        comes(1, "collect"),
        comes(2, "collect"),
        ended(1),
        ...Array.from({ length: 30 }, (_, n) => comes(3 + n, "collect"))
      ],
      64
    )

    assert.lengthOf(
      tags.filter((tag) => tag === "ArmQuiet"),
      10
    )
  })

  it("collect: messages of unequal access run one after the other", () => {
    const { state, commands } = play([
      comes(1, "collect"),
      comes(2, "collect"),
      comes(3, "collect", true),
      ended(1),
      quiet(1),
      ended(2)
    ])

    assert.deepStrictEqual(started(commands), [[1], [2]])
    assert.strictEqual(state.queue[0]?.seq, 3)
  })

  it("steer: is offered to the run, and counts when a step with it is committed", () => {
    const { commands, state } = play([comes(1, "steer"), comes(2, "steer")])
    assert.deepInclude(commands, { _tag: "Inject", runId: run(1), messages: [row(2, undefined, "steer")] })

    const counted = decide(state, { _tag: "Steered", runId: run(1), messageIds: [row(2).id] })
    assert.deepStrictEqual(started(decide(counted.state, ended(1)).commands), [])
  })

  it("steer: several that met no boundary become one next run", () => {
    const { commands } = play([comes(1, "steer"), comes(2, "steer"), comes(3, "steer"), ended(1)])

    assert.deepStrictEqual(started(commands), [[1], [2, 3]])
  })

  it("steer: a stranger's message never goes into an owner's run", () => {
    const { tags } = play([comes(1, "steer"), comes(2, "steer", true)])

    assert.deepStrictEqual(tags, ["Start"])
  })

  it("steer: ends a quiet window and goes into the run that was collected", () => {
    const { commands, tags } = play([comes(1, "collect"), comes(2, "collect"), ended(1), comes(3, "steer")])

    assert.deepStrictEqual(started(commands), [[1], [2]])
    assert.strictEqual(tags.at(-1), "Inject")
  })

  it("interrupt: the newest runs; what ran and what waited is interrupted by it", () => {
    const { commands, tags } = play([
      comes(1, "followup"),
      comes(2, "followup"),
      comes(3, "interrupt"),
      ended(1)
    ])

    assert.deepStrictEqual(tags, ["Start", "Settle", "Interrupt", "ArmGrace", "Start"])
    assert.deepStrictEqual(started(commands), [[1], [3]])
    const ending = { outcome: "interrupted", by: row(3).id }
    assert.deepInclude(commands[1] as object, { ending })
  })

  it("interrupt: also what it never read from the log, but nothing newer", () => {
    const { commands } = play(
      [
        comes(1, "followup"),
        comes(2, "followup"),
        comes(3, "followup"),
        comes(4, "followup"),
        comes(5, "interrupt")
      ],
      2
    )

    assert.deepInclude(
      commands.find((command) => command._tag === "SettleRest"),
      { afterSeq: 3, toSeq: 5, but: [row(5).id, row(1).id] }
    )
  })

  it("steer: what a run took past the messages in the log ends with that run, whole, when it is stopped", () => {
    const { state } = play(
      [comes(1, "followup"), comes(2, "followup"), comes(3, "followup"), comes(4, "steer"), ended(1)],
      1
    )
    const { commands } = decide(state, { _tag: "Stop", by })

    assert.deepInclude(state.phase, {
      _tag: "Running",
      run: { runId: run(4), messages: [row(4, undefined, "steer")], begun: false }
    })
    assert.deepInclude(
      commands.find((command) => command._tag === "SettleRest"),
      { afterSeq: 2, toSeq: 4, but: [row(4).id] }
    )
  })

  it("interrupt: after a restart the newest of those that were open runs", () => {
    const { commands } = play([
      {
        _tag: "Loaded",
        messages: [
          row(1, run(1), "interrupt"),
          row(2, undefined, "interrupt"),
          row(3, undefined, "interrupt")
        ],
        more: false
      }
    ])

    assert.deepStrictEqual(started(commands), [[3]])
  })

  it("joins the parts of one person's message and runs them as one, whatever the mode", () => {
    const part = (seq: number, mode: Mode, guest = false): LaneEvent => ({
      _tag: "Arrived",
      message: row(seq, undefined, mode, guest),
      begun: false,
      window: patience
    })
    for (const mode of ["followup", "collect", "steer", "interrupt"] as const) {
      const waiting = play([part(1, mode), part(2, mode)])
      assert.deepStrictEqual(new Set(waiting.tags), new Set(["ArmParts"]))
      assert.isFalse(isIdle(waiting.state))
      const timer = waiting.commands.findLast((command) => command._tag === "ArmParts")!
      const due = decide(waiting.state, { _tag: "PartsDue", key: timer.key, generation: timer.generation })

      assert.deepStrictEqual(started(due.commands), [[1, 2]], mode)
      assert.isTrue(isIdle(decide(due.state, ended(1)).state))
    }
  })

  it("joins after a restart what had been gathered before it, by the times they came", () => {
    const patience = { waitMs: 100, maxWaitMs: 1000, maxParts: 5, maxChars: 1000 }
    const part = (seq: number, acceptedAt: number) => ({
      ...row(seq, undefined, "followup", false, patience),
      acceptedAt
    })
    const { commands } = play([
      {
        _tag: "Loaded",
        messages: [part(1, 0), part(2, 50), part(3, 151), { ...row(4), acceptedAt: 900 }],
        more: false
      },
      ended(1),
      ended(3)
    ])

    assert.deepStrictEqual(
      commands.map((command) => (command._tag === "Start" ? command.run.messages.map(({ seq }) => seq) : [])),
      [[1, 2], [3], [4]]
    )
  })

  it("interrupt: after a restart a run that had begun is interrupted whole, whenever its parts came", () => {
    const begun = [row(1, run(1)), row(3, run(1))]
    const { commands } = play([
      {
        _tag: "Loaded",
        messages: [begun[0]!, row(2, undefined, "interrupt"), begun[1]!],
        started: begun,
        more: false
      }
    ])

    assert.deepStrictEqual(
      commands.map((command) => {
        if (command._tag === "Settle") return command.messages.map(({ seq }) => seq)
        return command._tag === "Start" ? command.run.messages.map(({ seq }) => seq) : command._tag
      }),
      [[1, 3], [2]]
    )
  })

  it("interrupt: after a restart the parts of one interrupting message stay together", () => {
    const patience = { waitMs: 100, maxWaitMs: 1000, maxParts: 5, maxChars: 1000 }
    const part = (seq: number, runId?: RunId) => row(seq, runId, "interrupt", false, patience)
    const begun = [part(1, run(1)), part(2, run(1))]
    const resumed = play([{ _tag: "Loaded", messages: begun, started: begun, more: false }])
    const waiting = play([{ _tag: "Loaded", messages: [part(1), part(2)], more: false }])

    for (const { commands } of [resumed, waiting]) {
      assert.deepStrictEqual(
        commands.map((command) =>
          command._tag === "Start" ? command.run.messages.map(({ seq }) => seq) : command._tag
        ),
        [[1, 2]]
      )
    }
  })

  it("ends parts that wait when the lane is stopped, and a late timer finds nothing", () => {
    const { state, commands } = play([
      { _tag: "Arrived", message: row(1), begun: false, window: patience },
      { _tag: "Stop", by }
    ])
    const timer = commands.find((command) => command._tag === "ArmParts")!

    assert.deepInclude(commands as Array<object>, {
      _tag: "Settle",
      messages: [row(1)],
      ending: { outcome: "cancelled", by }
    })
    assert.isTrue(isIdle(state))
    assert.deepStrictEqual(decide(state, { ...timer, _tag: "PartsDue" }).commands, [])
  })

  it("forgets what the log has dropped, also when it was offered to the run", () => {
    const dropped = (...seqs: ReadonlyArray<number>): LaneEvent => ({
      _tag: "Dropped",
      messageIds: seqs.map((seq) => row(seq).id)
    })
    const { tags, state } = play([comes(1, "steer"), comes(2, "steer"), comes(3, "followup"), dropped(2, 3)])

    assert.deepStrictEqual(tags, ["Start", "Inject", "Withdraw"])
    assert.isTrue(isIdle(decide(state, ended(1)).state))
  })
})

const patience: PartsWindow = { waitMs: 300, maxWaitMs: 7500, maxParts: 3, maxChars: 100 }

type Act =
  | "followup"
  | "collect"
  | "steer"
  | "interrupt"
  | "step"
  | "quiet"
  | "drop"
  | "part"
  | "parts"
  | "end"
  | "retry"
  | "park"
  | "resolve"
  | "stuck"
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
  ...Array.from({ length: 5 }, (): Act => "followup"),
  ...Array.from({ length: 5 }, (): Act => "collect"),
  ...Array.from({ length: 5 }, (): Act => "steer"),
  ...Array.from({ length: 4 }, (): Act => "part"),
  ...Array.from({ length: 4 }, (): Act => "parts"),
  ...Array.from({ length: 8 }, (): Act => "end"),
  "interrupt",
  "step",
  "step",
  "step",
  "quiet",
  "quiet",
  "drop",
  "load",
  "load",
  "load",
  "cancel",
  "cancel",
  "retry",
  "stuck",
  "stuck",
  "park",
  "park",
  "resolve",
  "resolve",
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

interface Current {
  readonly runId: RunId
  readonly seqs: ReadonlyArray<number>
  isEnding: boolean
  isGivenUp?: boolean
  offered: ReadonlyArray<number>
}

/**
 * A naive world around the lane: the open messages, the run under way, what was offered to it, the pages and timers asked for.
 * It keeps the promises of the interpreter and of the log, and checks those of the lane.
 */
const live = (hand: ReadonlyArray<typeof Card.Type>) => {
  const buffer = 3
  let state: LaneState = initial(buffer)
  let seq = 0
  const rows = new Map<number, MessageRow>()
  const open = new Set<number>()
  const settled = new Set<number>()
  const started: Array<number> = []
  let current: Current | undefined
  const stuck: Array<Current> = []
  // A page may have been read before or after what arrives meanwhile.
  let page: { afterSeq: number; limit: number; read: ReadonlyArray<number> | undefined } | undefined
  let retry: RunId | undefined
  let waiting: { readonly approvalId: ApprovalId; readonly runId: RunId } | undefined
  let asked = 0
  let quiet: number | undefined
  const partTimers: Array<{ readonly key: string; readonly generation: number }> = []

  const settle = (one: number) => {
    assert.isFalse(settled.has(one), `message ${one} ended twice`)
    settled.add(one)
    open.delete(one)
  }
  // The log refuses to end a message again; the first commit wins.
  const settleOpen = (seqs: Iterable<number>) => {
    for (const one of seqs) if (open.has(one)) settle(one)
  }
  const start = (command: Extract<LaneCommand, { _tag: "Start" }>) => {
    assert.isUndefined(current, "two unfenced runs at once")
    assert.isUndefined(waiting, "a run beside one that waits for a person")
    const seqs = command.run.messages.map((message) => message.seq)
    const access = new Set(command.run.messages.map((message) => message.access))
    assert.strictEqual(access.size, 1, "unequal access in one run")
    const mode = command.run.messages[0]!.body.queue?.mode ?? "followup"
    if ((mode === "followup" || mode === "interrupt") && seqs.length > 1) {
      assert.isTrue(
        seqs.every((one) => parts.has(one)),
        `a run of several in ${mode} mode`
      )
    }
    for (const one of seqs) {
      if (!open.has(one) || started.includes(one)) continue
      const isSteer = mode === "steer"
      const before = [...open].filter(
        (other) =>
          other < one &&
          !started.includes(other) &&
          !seqs.includes(other) &&
          !parts.has(other) &&
          !parts.has(one)
      )
      // Only steering may overtake what waits.
      if (!isSteer) assert.deepStrictEqual(before, [], `message ${one} overtook ${before.join()}`)
      started.push(one)
    }
    current = { runId: command.run.runId, seqs, isEnding: false, offered: [] }
  }
  const journal: Array<string> = []
  const post = (event: LaneEvent) => {
    const decision = decide(state, event)
    journal.push(recordText("spell", journal.length, 0, buffer, event, decision))
    state = decision.state
    for (const command of decision.commands) {
      switch (command._tag) {
        case "Start":
          start(command)
          break
        case "Interrupt":
          settleOpen(command.run.messages.map((message) => message.seq))
          if (current?.runId === command.run.runId) current.isEnding = true
          retry = undefined
          if (waiting?.runId === command.run.runId) waiting = undefined
          break
        case "Inject":
          assert.strictEqual(current?.runId, command.runId)
          current!.offered = [...current!.offered, ...command.messages.map((message) => message.seq)]
          assert.isTrue(
            command.messages.every((message) => message.access === rows.get(current!.seqs[0]!)!.access),
            "a stranger steered an owner's run"
          )
          break
        case "Withdraw":
          if (current?.runId === command.runId) {
            current.offered = current.offered.filter((one) => !command.messageIds.includes(row(one).id))
          }
          break
        case "Settle":
          settleOpen(command.messages.map((message) => message.seq))
          break
        case "SettleRest":
          settleOpen(
            [...open].filter(
              (one) => one > command.afterSeq && one <= command.toSeq && !command.but.includes(row(one).id)
            )
          )
          break
        case "Load":
          assert.isUndefined(page, "two pages asked for at once")
          page = { ...command, read: seq % 2 === 0 ? [...open] : undefined }
          break
        case "ArmRetry":
          retry = command.runId
          break
        case "ArmQuiet":
          quiet = command.generation
          break
        case "ArmParts":
          partTimers.push(command)
          break
        case "Abandon":
          assert.strictEqual(current?.runId, command.runId)
          current!.isGivenUp = true
          break
        case "ArmGrace":
        case "ArmExpiry":
          break
      }
    }
  }
  const parts = new Set<number>()
  const arrive = (mode: Mode, pick: number, window?: PartsWindow) => {
    const message = row(++seq, undefined, mode, pick === 5, window)
    rows.set(seq, message)
    const begun = window === undefined && open.size === 0 && isFree(state)
    open.add(seq)
    if (window !== undefined) parts.add(seq)
    post({ _tag: "Arrived", message, begun, ...(window === undefined ? {} : { window }) })
  }
  const ending = (end: "finished" | "retry") => {
    if (current === undefined) return
    const { seqs, runId, isEnding, isGivenUp } = current
    current = undefined
    if (end === "finished" && !isEnding && isGivenUp !== true) settleOpen(seqs)
    post({ _tag: "RunEnded", runId, end })
  }
  const answerPage = () => {
    if (page === undefined) return
    const { afterSeq, limit, read } = page
    page = undefined
    const found = (read ?? [...open]).filter(
      (one) => one > afterSeq && !(current?.offered.includes(one) ?? false)
    )
    post({
      _tag: "Loaded",
      messages: found.slice(0, limit).map((one) => rows.get(one)!),
      more: found.length > limit
    })
  }
  const perform = (act: Act, pick: number): void => {
    switch (act) {
      case "followup":
      case "collect":
      case "steer":
      case "interrupt":
        return arrive(act, pick)
      case "part":
        return arrive((["followup", "collect", "steer", "interrupt"] as const)[pick % 4]!, pick, patience)
      case "parts": {
        const timer = partTimers.shift()
        if (timer !== undefined) post({ _tag: "PartsDue", key: timer.key, generation: timer.generation })
        return
      }
      case "step": {
        if (current === undefined || current.isEnding) return
        const steered = current.offered.filter((one) => open.has(one))
        current.offered = []
        settleOpen(steered)
        return post({ _tag: "Steered", runId: current.runId, messageIds: steered.map((one) => row(one).id) })
      }
      case "quiet":
        if (quiet !== undefined) post({ _tag: "QuietOver", generation: quiet })
        return
      case "drop": {
        const victim = [...open].find((one) => !started.includes(one))
        if (victim === undefined) return
        settle(victim)
        return post({ _tag: "Dropped", messageIds: [row(victim).id] })
      }
      case "end":
        return ending("finished")
      case "retry":
        return current?.isEnding === true || current?.isGivenUp === true ? undefined : ending("retry")
      case "stuck":
        return current === undefined ? undefined : post({ _tag: "Stuck", runId: current.runId })
      case "park": {
        if (current === undefined) return
        const { runId, isEnding } = current
        const id = approvalId(`a${++asked}`)
        current = undefined
        if (!isEnding) waiting = { runId, approvalId: id }
        // Sometimes the decision is there before the lane hears of the question.
        if (pick % 2 === 0 && !isEnding) {
          waiting = undefined
          post({ _tag: "ApprovalResolved", approvalId: id })
        }
        return post({ _tag: "RunParked", runId, approvalId: id, millis: 1000 })
      }
      case "resolve": {
        if (waiting === undefined) return
        const id = waiting.approvalId
        waiting = undefined
        return post({ _tag: "ApprovalResolved", approvalId: id })
      }
      case "due":
        if (retry !== undefined) post({ _tag: "RetryDue", runId: retry })
        return
      case "load":
        return answerPage()
      case "stop":
        return post({ _tag: "Stop", by })
      case "cancel": {
        const one = [...open][pick]
        if (one === undefined) return
        // The interpreter ends by itself what the lane does not hold.
        const { phase } = state
        const held = [
          ...state.queue,
          ...(phase._tag === "Idle" ? [] : phase.run.messages),
          ...(phase._tag === "Running" ? phase.steering : []),
          ...gathered(state.parts)
        ]
        return held.some((message) => message.seq === one)
          ? post({ _tag: "Cancel", messageId: row(one).id, by })
          : settle(one)
      }
      case "grace":
        if (current?.isEnding === true || current?.isGivenUp === true) {
          const { runId } = current
          stuck.push(current)
          current = undefined
          post({ _tag: "GraceExpired", runId })
        }
        return
      case "bury": {
        const dead = stuck.shift()
        if (dead !== undefined) post({ _tag: "RunEnded", runId: dead.runId, end: "finished", late: true })
        return
      }
      case "pause":
        return post({ _tag: "Paused" })
      case "resume":
        return post({ _tag: "Resumed" })
    }
  }
  for (const { card, pick } of hand) perform(deck[card]!, pick)
  // Let everything end: then no message may be left without an outcome, and the lane is forgotten.
  post({ _tag: "Resumed" })
  for (let turn = 0; turn < 4 * (seq + 4); turn++) {
    for (const act of ["due", "load", "parts", "parts", "quiet", "resolve", "end", "bury"] as const)
      perform(act, 0)
  }
  assert.deepStrictEqual([...open], [], "a message was lost")
  assert.strictEqual(settled.size, seq)
  assert.isTrue(isIdle(state), JSON.stringify(state))
  return `[${journal.join(",")}]`
}

describe("decide, against a naive world", () => {
  it.effect.prop(
    "keeps order, loses nothing, ends each message once and holds one run at a time, in every mode",
    { hand: Arbitrary.schema(Hand) },
    ({ hand }) => Effect.sync(() => void live(hand)),
    { arbitrary: { runs: 2000, size: 100 } }
  )

  it.effect.prop(
    "all of it is decided again from its journal, which holds no text",
    { hand: Arbitrary.schema(Hand) },
    ({ hand }) =>
      Effect.sync(() => {
        const journal = live(hand)
        const records = recordsOf(journal)
        const [spell, ...others] = redecide(records)

        assert.deepStrictEqual(others, [])
        assert.isUndefined(spell?.difference)
        assert.isTrue(spell?.isWhole)
        assert.isAbove(records.length, 0)
        assert.notInclude(journal, "text ")
      }),
    { arbitrary: { runs: 300, size: 100 } }
  )
})
