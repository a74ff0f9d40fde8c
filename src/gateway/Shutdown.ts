/**
 * How the door closes: first nothing new, then, when running work is done, the waiting clients.
 *
 * Owns: the two steps and who is told. Does not own: the work in between (`Lanes.drain`) or the listening socket (`layers/gateway`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export class Shutdown extends Context.Service<
  Shutdown,
  {
    /** Step one: from now on new requests get 503 and sockets are told. Idempotent. */
    readonly begin: Effect.Effect<void>
    /** Step two, after running work has ended: who still waits is answered, and sockets close with 1001. Idempotent. */
    readonly finish: Effect.Effect<void>
    readonly isStopping: () => boolean
    /** Be told of both steps until the returned function is called; at once of those that have passed. */
    readonly onStep: (listener: (step: "begin" | "finish") => void) => () => void
  }
>()("opencraw/gateway/Shutdown") {}

export const layer = Layer.sync(Shutdown, () => {
  const passed: Array<"begin" | "finish"> = []
  const listeners = new Set<(step: "begin" | "finish") => void>()
  const pass = (step: "begin" | "finish") =>
    Effect.sync(() => {
      if (passed.includes(step)) return
      passed.push(step)
      for (const listener of listeners) listener(step)
    })
  return Shutdown.of({
    begin: pass("begin"),
    finish: Effect.andThen(pass("begin"), pass("finish")),
    isStopping: () => passed.length > 0,
    onStep: (listener) => {
      for (const step of passed) listener(step)
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  })
})
