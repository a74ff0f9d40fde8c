/**
 * Waiting for what becomes of one message: its answer, or how else it ended.
 *
 * Owns: reading a session's live events and, where they were missed, its log, as one answer; and which text is safe to stream.
 * Does not own: HTTP (`ChatCompletions`), nor the events themselves (`outbound`).
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { messageId, runOf, type MessageId, type RunId } from "#src/domain/Ids.ts"
import type { Failure, Outcome } from "#src/domain/Outcome.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import { type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { Usage } from "#src/domain/Usage.ts"
import type { LogError, MessageTrace } from "#src/horizons/MessageLog.ts"
import type { Feed } from "#src/outbound/Feed.ts"
import type { Sessions } from "#src/session/Sessions.ts"
import type { ApiError } from "./ApiError.ts"

export type Answer =
  | {
      readonly _tag: "Answered"
      readonly text: string
      /** Absent when another message's run gave the answer: that one carries it. */
      readonly usage: Usage | undefined
    }
  | {
      readonly _tag: "Ended"
      readonly outcome: Exclude<Outcome, "answered" | "silent" | "merged" | "steered">
      readonly by: string | undefined
      readonly failure: Failure | undefined
      readonly partial: string
    }

/** Told of provisional text while the answer is being written. */
export interface Listener {
  /** `offset` counts UTF-16 units of the step's text before `text`. */
  readonly onDelta: (offset: number, text: string) => void
  /** The step's text is complete and tools follow: the next text begins at 0 again. */
  readonly onStepEnd: () => void
}

export interface Waiting {
  /** Say which message it is about, once accepted. Events that came before are kept until then. */
  readonly bind: (id: MessageId, listener?: Listener) => void
  /** The message ended before we listened: its answer is in the log. */
  readonly consult: (id: MessageId) => void
  /** The answer, from the events or the log. Waits without limit of its own. */
  readonly answer: Effect.Effect<Answer, LogError | ApiError>
  /** Nobody is to wait longer: from now on a message that is still open fails with this. The first reason counts. */
  readonly giveUp: (why: ApiError) => void
  readonly close: () => void
}

const shared = new Set<Outcome>(["merged", "steered"])
// A message is merged into one that may itself be merged; anything longer is a loop.
const maxHops = 8

/** Listen before the message is submitted, so that nothing is missed. */
export const wait = (feed: Feed["Service"], sessions: Sessions["Service"], session: SessionKey): Waiting => {
  const state = new AnswerState()
  const close = feed.subscribe(session, state.receive)
  const answer = Effect.gen(function* () {
    while (true) {
      if (state.answer !== undefined) return state.answer
      if (state.gaveUp !== undefined) return yield* state.gaveUp
      const asked = state.consult
      if (asked !== undefined) {
        state.consult = undefined
        const found = yield* fromLog(sessions, tenantOf(session), asked, state.isShared)
        if (found !== undefined) return found
        continue
      }
      yield* Deferred.await(state.wake)
      state.wake = Deferred.makeUnsafe<void>()
    }
  })
  return { bind: state.bind, consult: state.ask, answer, giveUp: state.giveUp, close }
}

class AnswerState {
  answer: Answer | undefined
  gaveUp: ApiError | undefined
  /** The message to look up in the log, because its events may have been missed. */
  consult: MessageId | undefined
  /** Another message's run answers ours. */
  isShared = false
  wake = Deferred.makeUnsafe<void>()
  /** The message whose outcome decides; undefined until bound. */
  target: MessageId | undefined
  #early: Array<SessionEvent> = []
  #listener: Listener | undefined
  #runs = new Set<RunId>()
  #message: Extract<SessionEvent, { _tag: "Message" }> | undefined

  readonly bind = (id: MessageId, listener?: Listener): void => {
    this.target = id
    this.#listener = listener
    this.#runs.add(runOf(id))
    const early = this.#early
    this.#early = []
    for (const event of early) this.receive(event)
  }

  readonly ask = (id: MessageId): void => {
    this.consult = id
    Deferred.doneUnsafe(this.wake, Effect.void)
  }

  readonly giveUp = (why: ApiError): void => {
    this.gaveUp ??= why
    Deferred.doneUnsafe(this.wake, Effect.void)
  }

  readonly receive = (event: SessionEvent): void => {
    if (this.target === undefined) return void this.#early.push(event)
    if (this.answer !== undefined) return
    switch (event._tag) {
      case "Run":
        if (event.messageIds.includes(this.target)) this.#runs.add(event.runId)
        return
      case "Delta":
        if (this.#runs.has(event.runId)) this.#listener?.onDelta(event.offset, event.text)
        return
      case "Tool":
        if (this.#runs.has(event.runId)) this.#listener?.onStepEnd()
        return
      case "Message":
        if (event.messageIds.includes(this.target)) this.#message = event
        return
      case "Outcome":
        if (event.messageId === this.target) this.#ended(event, this.target)
        return
      case "User":
      case "Approval":
      case "Typing":
        return
    }
  }

  #ended(event: Extract<SessionEvent, { _tag: "Outcome" }>, target: MessageId): void {
    const { outcome } = event
    if (outcome === "silent") this.answer = { _tag: "Answered", text: "", usage: undefined }
    else if (outcome === "answered" || outcome === "merged" || outcome === "steered") {
      this.isShared ||= shared.has(outcome)
      if (this.#message !== undefined) {
        const usage = this.isShared ? undefined : this.#message.usage
        this.answer = { _tag: "Answered", text: this.#message.text, usage }
      } else if (shared.has(outcome) && event.by !== undefined) {
        this.target = messageId(event.by)
        this.#runs.add(runOf(this.target))
        this.consult = this.target
      } else this.consult = target
    } else {
      this.answer = {
        _tag: "Ended",
        outcome,
        by: event.by,
        failure: event.failure,
        partial: event.partial ?? ""
      }
    }
    Deferred.doneUnsafe(this.wake, Effect.void)
  }
}

/** What the log says has become of a message; undefined while it is open. */
export const fromLog = (
  sessions: Sessions["Service"],
  tenant: Tenant,
  id: MessageId,
  isShared = false,
  hops = 0
): Effect.Effect<Answer | undefined, LogError> =>
  Effect.flatMap(sessions.trace(tenant, id), (trace) => {
    const outcome = trace?.message.outcome
    // A message that vanished was deleted with its session, which cancels what is open.
    if (trace === undefined) return Effect.succeed(vanished)
    if (outcome === undefined) return Effect.succeed(undefined)
    if (outcome === "silent") return Effect.succeed(answered("", undefined))
    if (outcome === "answered" || outcome === "merged" || outcome === "steered") {
      const final = finalOf(trace)
      const joined = isShared || shared.has(outcome)
      if (final !== undefined) return Effect.succeed(answered(final, joined ? undefined : trace.run?.usage))
      const by = trace.message.outcomeBy
      return by === undefined || hops >= maxHops
        ? Effect.succeed(answered("", undefined))
        : fromLog(sessions, tenant, messageId(by), true, hops + 1)
    }
    return Effect.succeed<Answer>({
      _tag: "Ended",
      outcome,
      by: trace.message.outcomeBy,
      failure: trace.run?.failure,
      partial: partialOf(trace)
    })
  })

const answered = (text: string, usage: Usage | undefined): Answer => ({ _tag: "Answered", text, usage })
const vanished: Answer = {
  _tag: "Ended",
  outcome: "cancelled",
  by: undefined,
  failure: undefined,
  partial: ""
}

/** The text of the run's answer, if it has one. */
const finalOf = (trace: MessageTrace): string | undefined => {
  const last = trace.entries.findLast(({ entry }) => entry.kind === "assistant")?.entry
  return last?.kind === "assistant" && last.calls === undefined && last.partial === undefined
    ? last.text
    : undefined
}

const partialOf = (trace: MessageTrace): string => {
  const last = trace.entries.findLast(({ entry }) => entry.kind === "assistant")?.entry
  return last?.kind === "assistant" && last.partial !== undefined ? last.text : ""
}
