/**
 * A `Model` that answers from a script and remembers what it was asked: for tests.
 *
 * Owns: the script and the ledger. An answer is taken when its stream starts; an empty script is a typed failure,
 * so that a test never waits for an answer nobody wrote.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Model, ModelError, type ModelEvent, type ModelRequest, ModelUnavailable } from "#src/model/Model.ts"

/**
 * One act of an answer: an event of the model, a failure, silence for ever, or silence until a test allows more.
 * An answer that neither ends nor fails gets its `End` by itself.
 */
export type Act =
  | ModelEvent
  | { readonly _tag: "Fail"; readonly reason: ModelError["reason"] }
  | { readonly _tag: "Hang" }
  | { readonly _tag: "Wait"; readonly until: Deferred.Deferred<void> }

/** A text in one piece, or acts in order. */
export type Answer = string | ReadonlyArray<Act>

/** Answers in order, or a function that makes each. */
export type Script = ReadonlyArray<Answer> | ((request: ModelRequest, position: number) => Answer)

export const text = (...pieces: ReadonlyArray<string>): ReadonlyArray<Act> =>
  pieces.map((piece) => ({ _tag: "Text", text: piece }))

/** A call of a tool. `args` that are text are passed on as they are, so that a test can garble them. */
export const call = (name: string, args: unknown = {}, id = `call_${name}`): Act => ({
  _tag: "Call",
  call: { id, name, arguments: typeof args === "string" ? args : JSON.stringify(args) }
})

export const fail = (reason: ModelError["reason"]): Act => ({ _tag: "Fail", reason })
export const hang: Act = { _tag: "Hang" }
export const wait = (until: Deferred.Deferred<void>): Act => ({ _tag: "Wait", until })

/** Drives the script, and tells what happened. */
export class ModelScript extends Context.Service<
  ModelScript,
  {
    /** Adds answers behind those not yet given. */
    readonly push: (...answers: ReadonlyArray<Answer>) => void
    /** Every request so far, oldest first. */
    readonly requests: () => ReadonlyArray<ModelRequest>
    /** How many answers were given up before their end. */
    readonly interrupted: () => number
  }
>()("opencraw/layers/model/ScriptedModel/ModelScript") {}

const make = (script: Script) => {
  const answers: Array<Answer> = typeof script === "function" ? [] : [...script]
  const requests: Array<ModelRequest> = []
  let interrupted = 0

  const take = (request: ModelRequest): Answer => {
    requests.push(request)
    const next =
      answers.shift() ?? (typeof script === "function" ? script(request, requests.length - 1) : undefined)
    return next ?? [fail(new ModelUnavailable({ detail: "the script has no further answer" }))]
  }

  const model = Model.of({
    stream: (request) =>
      Stream.suspend(() => play(withEnd(take(request)), request.model)).pipe(
        Stream.onExit((exit) =>
          Effect.sync(() => {
            if (exit._tag === "Failure" && exit.cause.reasons.some((reason) => reason._tag === "Interrupt")) {
              interrupted += 1
            }
          })
        )
      )
  })
  const driver = ModelScript.of({
    push: (...more) => void answers.push(...more),
    requests: () => requests,
    interrupted: () => interrupted
  })
  return Context.make(Model, model).pipe(Context.add(ModelScript, driver))
}

/** `Model` and its `ModelScript`. */
export const layer = (script: Script = []) => Layer.effectContext(Effect.sync(() => make(script)))

const withEnd = (answer: Answer): ReadonlyArray<Act> => {
  const acts = typeof answer === "string" ? text(answer) : answer
  const last = acts.at(-1)?._tag
  if (last === "End" || last === "Fail" || last === "Hang") return acts
  const reason = acts.some((act) => act._tag === "Call") ? "calls" : "stop"
  return [...acts, { _tag: "End", reason }]
}

const play = (acts: ReadonlyArray<Act>, model: string): Stream.Stream<ModelEvent, ModelError> =>
  Stream.rechunk(Stream.fromIterable(acts), 1).pipe(
    Stream.flatMap((act): Stream.Stream<ModelEvent, ModelError> => {
      switch (act._tag) {
        case "Fail":
          return Stream.fail(new ModelError({ model, reason: act.reason }))
        case "Hang":
          return Stream.never
        case "Wait":
          return Stream.drain(Stream.fromEffect(Deferred.await(act.until)))
        default:
          return Stream.succeed(act)
      }
    })
  )
