/**
 * A message that shows an answer while it grows, on a channel that can change what was sent.
 *
 * Owns: how often it is changed, and that nothing of it is on its way any more once it is settled.
 * Does not own: the answer itself, which replaces it as a delivery (`Outbound`).
 *
 * A draft is a convenience: when its channel refuses, it is given up and the answer is sent as a message of its own.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Editing } from "#src/channel/Channels.ts"
import type { Route } from "#src/domain/Inbound.ts"

export interface Draft {
  /** The answer so far. Forks its work in the caller's fiber, and does not wait for it. */
  readonly show: (text: string) => Effect.Effect<void>
  /** Stop, and wait for a change that is under way, though not for long. Gives the channel's name of the message, when there is one. */
  readonly settle: Effect.Effect<string | undefined>
}

export interface DraftOptions {
  readonly editing: Editing
  readonly route: Route
  readonly intervalMillis: number
  /** As much of a text as one message holds. */
  readonly head: (text: string) => string
  /** The message of an earlier attempt. */
  readonly ref: string | undefined
  /** The message is there under this name: told before its first change. */
  readonly onPosted: (ref: string) => Effect.Effect<void>
}

/** How long a change that is under way is waited for, ms. */
const patience = 2_000

export const make = (options: DraftOptions): Draft => {
  const { editing, route, intervalMillis, head, onPosted } = options
  let { ref } = options
  let wanted = ""
  let shown = ""
  let isOver = false
  let isSending = false
  let worker: Fiber.Fiber<void> | undefined

  const change = (text: string) =>
    ref === undefined
      ? Effect.flatMap(editing.post(route, text), (posted) => {
          ref = posted
          return onPosted(posted)
        })
      : editing.change(route, ref, text)

  const once = Effect.suspend(() => {
    const text = wanted
    isSending = true
    return change(text).pipe(
      Effect.map(() => {
        shown = text
        return intervalMillis
      }),
      Effect.catch((error) => {
        // Whether it was posted nobody knows: a second one would be worse than none.
        if (error.kind === "permanent" || (error.kind === "uncertain" && ref === undefined)) isOver = true
        return Effect.succeed(Math.max(intervalMillis, error.retryAfterMillis ?? 0))
      }),
      Effect.ensuring(
        Effect.sync(() => {
          isSending = false
        })
      )
    )
  })

  const work: Effect.Effect<void> = Effect.suspend(() =>
    isOver || wanted === shown
      ? Effect.sync(() => {
          worker = undefined
        })
      : Effect.flatMap(once, (millis) => (isOver ? Effect.void : Effect.andThen(Effect.sleep(millis), work)))
  )

  return {
    show: (text) =>
      Effect.suspend(() => {
        wanted = head(text)
        if (isOver || worker !== undefined || wanted.trim() === "") return Effect.void
        return Effect.map(Effect.forkChild(work), (fiber) => {
          worker = fiber
        })
      }),
    settle: Effect.suspend(() => {
      isOver = true
      const fiber = worker
      if (fiber === undefined) return Effect.succeed(ref)
      const last = isSending ? Effect.timeoutOption(Fiber.await(fiber), patience) : Effect.void
      return Effect.as(Effect.andThen(last, Fiber.interrupt(fiber)), undefined).pipe(Effect.map(() => ref))
    })
  }
}
