/**
 * `/approve` and `/deny`: an owner's decision on a call that waits for it, given in the chat.
 *
 * Does not own: what a decision does (`Lanes`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Commands from "#src/command/Commands.ts"
import type { ApprovalState, Decision } from "#src/domain/Approval.ts"
import { type ApprovalId, approvalId } from "#src/domain/Ids.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import { Lanes } from "./Lanes.ts"

const tooMany = 20

export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const lanes = yield* Lanes
    const log = yield* MessageLog.MessageLog
    const commands = yield* Commands.Commands

    /** The one that is meant: by its id, or the only one that waits in this session. */
    const meant = Effect.fnUntraced(function* (name: string, { tenant, session }: Commands.CommandContext) {
      if (name !== "") {
        const [row] = yield* log.approvals({ tenant, session, id: approvalId(name), limit: 1 })
        return row?.id
      }
      const waiting = yield* log.approvals({ tenant, session, limit: tooMany })
      if (waiting.length > 1) {
        const names = waiting.map(({ id }) => id).join(", ")
        return yield* new Commands.CommandError({ message: `Several calls wait here; say which: ${names}.` })
      }
      return waiting[0]?.id
    })

    const decide = (decision: Exclude<Decision, "expired">) =>
      Effect.fnUntraced(
        function* (rest: string, context: Commands.CommandContext) {
          const id = yield* meant(rest.trim(), context)
          const state =
            id === undefined ? undefined : yield* lanes.resolve(context.tenant, id, decision, context.sender)
          return id === undefined || state === undefined
            ? "No call waits for approval here."
            : told(id, state)
        },
        Effect.catchTags({
          LogError: ({ message }: MessageLog.LogError) =>
            Effect.fail(new Commands.CommandError({ message: `Nothing was decided: ${message}.` }))
        })
      )

    const about = { aliases: [], access: "owner" } as const
    yield* commands.register({
      ...about,
      name: "approve",
      about: "Let the agent do what it asked for",
      usage: "/approve [ID]",
      run: decide("approved")
    })
    yield* commands.register({
      ...about,
      name: "deny",
      about: "Refuse what the agent asked for",
      usage: "/deny [ID]",
      run: decide("denied")
    })
  })
)

const words: Readonly<Record<ApprovalState, string>> = {
  pending: "still waits",
  approved: "is approved",
  denied: "is denied",
  expired: "had expired",
  cancelled: "was given up when its run ended"
}

const told = (id: ApprovalId, state: ApprovalState) => `${id} ${words[state]}.`
