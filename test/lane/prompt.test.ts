/** What a prompt holds before anybody has said anything, and how much of it a provider's cache can know from the turn before. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ScriptedModel from "#layers/model/ScriptedModel.ts"
import * as FileSystemTools from "#layers/tool/FileSystemTools.ts"
import * as TestSystem from "#layers/Test.ts"
import { estimateTokens } from "#src/context/window.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import type { ModelRequest } from "#src/model/Model.ts"

const say = (number: number) =>
  Effect.flatMap(Inbound.Inbound, (inbound) =>
    inbound.submit({
      identity: {
        channel: "recording-keyed",
        account: "a",
        conversation: "c",
        thread: "",
        externalId: String(number),
        revision: 1
      },
      session: "agent:main:ada" as SessionKey,
      ephemeral: false,
      sender: "ada",
      access: "owner",
      body: { text: `question ${number}: ${"some words about it. ".repeat(number % 7)}` }
    })
  ).pipe(Effect.andThen(TestSystem.settle))

/** In the order of the wires: what is fixed comes first. */
const bytesOf = ({ tools, messages }: ModelRequest) =>
  Buffer.from(JSON.stringify(tools) + JSON.stringify(messages))

const commonPrefix = (a: Buffer, b: Buffer): number => {
  // The closing bracket of the earlier prompt stands where the later one goes on.
  const most = Math.min(a.length - 1, b.length)
  let same = 0
  while (same < most && a[same] === b[same]) same++
  return same
}

/** A session of so many turns, each third with a tool; the requests as the model got them. */
const talk = (turns: number) =>
  Effect.gen(function* () {
    for (let turn = 1; turn <= turns; turn++) yield* say(turn)
    return (yield* ScriptedModel.ModelScript).requests()
  })
const script = ({ messages }: ModelRequest, position: number): ScriptedModel.Answer =>
  position % 4 === 2 && messages.at(-1)?.role === "user"
    ? [ScriptedModel.call("time.now", {}, `call_${position}`)]
    : ScriptedModel.text(`answer ${position}: ${"what there is to say. ".repeat(position % 11)}`)

const system = FileSystemTools.layer.pipe(
  Layer.provideMerge(
    TestSystem.layer({ script, config: { general: { model: "demo/demo", workspace: "/tmp" } } })
  )
)

describe("a prompt", () => {
  it.effect("holds at most 1,500 tokens before anybody has said anything, with all tools", () =>
    Effect.gen(function* () {
      const [first] = yield* talk(1)

      assert.isAtLeast(first!.tools.length, 4)
      const fixed = JSON.stringify(first!.tools) + (first!.messages[0]?.text ?? "")
      assert.strictEqual(first!.messages[0]?.role, "system")
      assert.isAtMost(estimateTokens(fixed), 1500)
    }).pipe(Effect.provide(system))
  )

  it.effect(
    "keeps at least 95 % of its bytes as the beginning of the next, over a session longer than its window",
    () =>
      Effect.gen(function* () {
        const requests = (yield* talk(250)).map(bytesOf)
        let kept = 0
        let all = 0
        let moves = 0
        for (const [index, next] of requests.entries()) {
          const before = requests[index - 1]
          if (before === undefined) continue
          const same = commonPrefix(before, next)
          kept += same
          all += before.length - 1
          if (same < before.length - 1) moves++
        }

        // The window has moved, so the measure is not one of a session that fits.
        assert.isAbove(moves, 0)
        assert.isAtLeast(kept / all, 0.95)
      }).pipe(Effect.provide(system)),
    60_000
  )
})
