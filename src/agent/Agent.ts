/**
 * Runs one agent: model calls and tools, told as a stream of `RunEvent`.
 *
 * Owns: the order of steps, the limits on steps, time and output, and that each tool call gets exactly one result.
 * Does not own: sessions, channels, HTTP or storage. It goes on only when the next event is pulled, so its consumer decides what
 * is durable first (see `domain/RunEvent`).
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { DecidedCall } from "#src/domain/Approval.ts"
import type { ModelParams } from "#src/domain/Inbound.ts"
import type { Failure } from "#src/domain/Outcome.ts"
import type { RunEvent } from "#src/domain/RunEvent.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { ToolCall, ToolResult, ToolSpec } from "#src/domain/Tool.ts"
import * as Usage from "#src/domain/Usage.ts"
import * as Failover from "#src/model/Failover.ts"
import type * as Model from "#src/model/Model.ts"
import * as Tools from "#src/tool/Tools.ts"
import type { AgentSettings } from "./AgentSettings.ts"

export interface RunInput {
  readonly tenant: Tenant
  readonly agent: string
  readonly session: string
  readonly settings: AgentSettings
  /** `provider/model`. */
  readonly model: string
  /** Models that answer when it cannot, in order. None when a person chose the model: then no other answers. */
  readonly fallbacks: ReadonlyArray<string>
  /** System text, history and what is to be answered, oldest first. */
  readonly prompt: ReadonlyArray<Model.PromptMessage>
  readonly params: ModelParams
  /** Calls of the last committed step that have no result yet: what an earlier attempt left behind. */
  readonly pending: ReadonlyArray<ToolCall>
  /** What was decided of those of them that waited for a person. */
  readonly decided: ReadonlyArray<DecidedCall>
  /** What people have already of the step to be taken: an earlier attempt sent it. The step's text goes on behind it. */
  readonly said?: string
  /** Steps that earlier attempts committed; they count against `max_steps`. */
  readonly stepsDone: number
  /** What people write meanwhile: looked at before each tool and taken before each model call. */
  readonly steering: {
    readonly isWaiting: () => boolean
    /** Hand over what waits, oldest first; it is not given again. */
    readonly take: () => ReadonlyArray<Model.PromptMessage>
  }
  /** Most characters of one tool result that go back to the model. */
  readonly cutToolText: (text: string) => string
  /** A model call begins. Its prompt holds about as many tokens as the function says, which takes a while to count. */
  readonly onCall?: (promptTokens: () => number) => void
  /** Tokens of a text, for providers that report no usage. */
  readonly estimateTokens: (text: string) => number
}

export class Agent extends Context.Service<
  Agent,
  {
    /** The run's events. Never fails: what goes wrong is its last event. Interrupting it closes the model's socket. */
    readonly run: (input: RunInput) => Stream.Stream<RunEvent>
  }
>()("opencraw/agent/Agent") {}

/** What a step has gathered while its model call streams. */
interface Step {
  text: string
  calls: Array<ToolCall>
  usage: Usage.Usage | undefined
  continuation: object | undefined
  ended: boolean
  withheld: boolean
  /** What the model may repeat although it was told not to, and how much of it has come again; empty when it need not be watched. */
  repeated: string
  again: string
}

/** What the model is told of a text that has left, behind that text. */
const goOn =
  "[Your answer was cut off behind the text above, which has been delivered already. Go on exactly where it ends; repeat none of it.]"

const failedEvent = (failure: Failure, partial = "", usage = Usage.none): RunEvent => ({
  _tag: "Failed",
  failure,
  partial,
  usage
})
const failed = (failure: Failure, partial = "", usage = Usage.none): Stream.Stream<RunEvent> =>
  Stream.succeed(failedEvent(failure, partial, usage))

type Told = Arr.NonEmptyReadonlyArray<RunEvent>

/** The models' failure in words that are safe in a chat. */
const modelFailure = (error: Model.ModelError | Failover.ModelsExhausted): Failure => ({
  code: "model",
  message: error._tag === "ModelError" ? error.reason.message : error.told
})

export const make = Effect.gen(function* () {
  const failover = yield* Failover.Failover
  const tools = yield* Tools.Tools

  const offered = (settings: AgentSettings): ReadonlyArray<Tools.Tool> =>
    tools
      .all()
      .filter(
        (tool) =>
          settings.tools.includes(tool.spec.name) &&
          (!tool.needsWorkspace || settings.workspace !== undefined)
      )

  const run = (input: RunInput): Stream.Stream<RunEvent> =>
    Stream.suspend(() => {
      const models = failover.open({
        session: input.session,
        chain: [input.model, ...input.fallbacks],
        deadlineAt: () => progress.startedAt + input.settings.run_timeout_s * 1000
      })
      const usable = offered(input.settings)
      const specs = usable.map((tool) => tool.spec)
      const progress = { written: 0, ended: false, partial: "", startedAt: 0 }
      let changed: Failover.Change | undefined
      const messages = [...input.prompt]

      const events =
        input.pending.length > 0
          ? Stream.concat(
              recover(input, usable, messages, progress),
              Stream.suspend(() => (progress.ended ? Stream.empty : step(input.stepsDone + 1)))
            )
          : step(input.stepsDone + 1)

      function step(number: number): Stream.Stream<RunEvent> {
        if (number > input.settings.max_steps) {
          return failed({
            code: "steps",
            message: `the agent stopped after ${input.settings.max_steps} steps`
          })
        }
        const said = number === input.stepsDone + 1 ? (input.said ?? "") : ""
        messages.push(...input.steering.take())
        const now: Step = {
          text: said,
          calls: [],
          usage: undefined,
          continuation: undefined,
          ended: false,
          withheld: false,
          repeated: said,
          again: ""
        }
        progress.partial = said
        const asked: ReadonlyArray<Model.PromptMessage> =
          said === ""
            ? messages
            : [...messages, { role: "assistant", text: said }, { role: "user", text: goOn }]
        input.onCall?.(() => tokensOf(input, asked))
        return Stream.concat(
          modelCall(input, models, specs, asked, now, progress),
          Stream.suspend(() => Stream.concat(tellChange(), afterModel(number, now)))
        )
      }

      function tellChange(): Stream.Stream<RunEvent> {
        const change = models.change()
        if (change === changed) return Stream.empty
        changed = change
        return change === undefined ? Stream.empty : Stream.succeed({ _tag: "ModelChanged", ...change })
      }

      function afterModel(number: number, now: Step): Stream.Stream<RunEvent> {
        if (!now.ended) return Stream.empty
        const usage = now.usage ?? estimateUsage(input, messages, now)
        if (now.withheld && now.text === "") {
          return failed({ code: "model", message: "the provider withheld the answer" }, "", usage)
        }
        if (now.calls.length === 0) return Stream.succeed({ _tag: "Answered", text: now.text, usage })
        const { text, calls, continuation } = now
        messages.push({
          role: "assistant",
          text,
          calls,
          ...(continuation === undefined ? {} : { continuation })
        })
        return Stream.succeed<RunEvent>({
          _tag: "StepFinished",
          text: now.text,
          calls: now.calls,
          usage
        }).pipe(
          Stream.concat(
            Stream.suspend(() => runCalls(input, usable, now.calls.map(untouched), messages, progress))
          ),
          Stream.concat(Stream.suspend(() => (progress.ended ? Stream.empty : step(number + 1))))
        )
      }

      return withDeadline(events, input.settings.run_timeout_s, progress)
    })

  /** One model call: its text as it comes, the rest gathered in `now`. A failure becomes the run's last event. */
  const modelCall = (
    input: RunInput,
    models: Failover.ModelRun,
    specs: ReadonlyArray<ToolSpec>,
    messages: ReadonlyArray<Model.PromptMessage>,
    now: Step,
    progress: { written: number; partial: string }
  ): Stream.Stream<RunEvent> => {
    const tooLong = {
      code: "output" as const,
      message: `the answer grew beyond ${input.settings.max_output_chars} characters`
    }
    const writtenBefore = progress.written
    const said = now.text
    const watch: Failover.StepWatch = {
      hasGiven: () => now.text.length > said.length,
      restart: () => {
        now.calls = []
        now.repeated = said
        now.again = ""
        progress.written = writtenBefore
      },
      promptTokens: () => tokensOf(input, messages)
    }
    const isTooLong = () => progress.written > input.settings.max_output_chars
    const events = models.stream({ messages: [...messages], tools: specs, params: input.params }, watch)
    // One layer over the model's events: each costs something for each piece of text.
    return Stream.transformPull(events, (pull) => {
      let isOver = false
      const fail = (failure: Failure) => {
        isOver = true
        now.ended = false
        return Effect.succeed<Told>([failedEvent(failure, now.text, now.usage)])
      }
      const take = (came: ReadonlyArray<Model.ModelEvent>): Pull.Pull<Told> => {
        const told: Array<RunEvent> = []
        for (const event of came) {
          if (isTooLong()) break
          const text = newText(event, now, progress)
          if (text !== "") told.push({ _tag: "Delta", text })
        }
        return Arr.isReadonlyArrayNonEmpty(told) ? Effect.succeed(told) : next
      }
      const next: Pull.Pull<Told> = Effect.suspend(() => {
        if (isOver) return Cause.done()
        if (isTooLong()) return fail(tooLong)
        return Effect.matchEffect(pull, {
          onSuccess: take,
          onFailure: (error) => (Cause.isDone(error) ? Cause.done() : fail(modelFailure(error)))
        })
      })
      return Effect.succeed(next)
    })
  }

  return Agent.of({ run })
})

/** Needs `Failover` and `Tools`. */
export const layer = Layer.effect(Agent, make)

/** Takes an event of the model in. What it adds to the text that people have, often nothing. */
const newText = (
  event: Model.ModelEvent,
  now: Step,
  progress: { written: number; partial: string }
): string => {
  switch (event._tag) {
    case "Text": {
      progress.written += event.text.length
      const text = now.repeated === "" ? event.text : unrepeated(now, event.text)
      now.text += text
      progress.partial = now.text
      return text
    }
    case "Call":
      now.calls.push(event.call)
      progress.written += event.call.arguments.length
      return ""
    case "End":
      now.ended = true
      now.withheld = event.reason === "filtered"
      now.usage = event.usage
      now.continuation = event.continuation
      return lastWords(now, progress)
  }
}

/** What of a piece is new behind a text that people have. A model that begins that text again is heard from its end on. */
const unrepeated = (now: Step, piece: string): string => {
  const said = now.repeated
  now.again += piece
  if (now.again.length < said.length && said.startsWith(now.again)) return ""
  now.repeated = ""
  return now.again.startsWith(said) ? now.again.slice(said.length) : now.again
}

/** What was taken for the beginning of a repetition and was none. */
const lastWords = (now: Step, progress: { partial: string }): string => {
  const text = now.repeated === "" || now.again.trimEnd() === now.repeated.trimEnd() ? "" : now.again
  now.repeated = ""
  now.text += text
  progress.partial = now.text
  return text
}

/** A call without a result, and what an earlier attempt may have left of it. */
interface OpenCall {
  readonly call: ToolCall
  readonly mayHaveStarted: boolean
  readonly decided: DecidedCall | undefined
}
const untouched = (call: ToolCall): OpenCall => ({ call, mayHaveStarted: false, decided: undefined })

/**
 * The calls of a step, one after the other, each with its one result, up to one that a person has to be asked for. When somebody
 * writes meanwhile, the running tool ends and those that have not started are skipped, so that the model can think again.
 */
const runCalls = (
  input: RunInput,
  usable: ReadonlyArray<Tools.Tool>,
  calls: ReadonlyArray<OpenCall>,
  messages: Array<Model.PromptMessage>,
  progress: { readonly ended: boolean }
): Stream.Stream<RunEvent> => {
  const finished = (call: ToolCall, result: ToolResult): RunEvent => {
    messages.push({ role: "tool", callId: call.id, name: call.name, text: input.cutToolText(result.text) })
    return { _tag: "ToolFinished", result }
  }
  const act = (open: OpenCall): Stream.Stream<RunEvent> => {
    // The run has ended before this call: it waits for a person.
    if (progress.ended) return Stream.empty
    const { call, mayHaveStarted, decided } = open
    const ended = (end: Pick<ToolResult, "status" | "text">) =>
      Stream.succeed(finished(call, { callId: call.id, name: call.name, ...end }))
    if (decided !== undefined && decided.decision !== "approved") return ended(denied(decided))
    const isNew = !mayHaveStarted && decided === undefined
    if (isNew && input.steering.isWaiting()) return ended(skipped)
    const checked = check(usable, call)
    if ("status" in checked) return ended(checked)
    if (decided === undefined && input.settings.ask_before.includes(call.name)) {
      return Stream.succeed<RunEvent>({ _tag: "ApprovalNeeded", call })
    }
    if (mayHaveStarted && checked.tool.effects === "once") return ended(uncertain)
    return Stream.concat(
      Stream.succeed<RunEvent>({ _tag: "ToolStarted", call }),
      Stream.fromEffect(Effect.map(callTool(input, checked, call), (result) => finished(call, result)))
    )
  }
  return Stream.fromIterable(calls).pipe(
    Stream.rechunk(1),
    Stream.flatMap((open) => Stream.suspend(() => act(open)))
  )
}

const skipped = { status: "skipped", text: "Skipped: a newer message came in. Nothing was done." } as const
const uncertain = {
  status: "uncertain",
  text: "The gateway stopped while this ran. It may or may not have taken effect; check before repeating it."
} as const
const denied = ({ decision }: DecidedCall) => ({
  status: "denied" as const,
  text:
    decision === "expired"
      ? "Nobody approved this in time. Nothing was done; do not try it again unasked."
      : "The person you work for refused this. Nothing was done; do not try it again unasked."
})

/** What an earlier attempt left: what may run twice runs again, and what may not is told to the model as uncertain. */
const recover = (
  input: RunInput,
  usable: ReadonlyArray<Tools.Tool>,
  messages: Array<Model.PromptMessage>,
  progress: { readonly ended: boolean }
) => {
  // The prompt already holds a placeholder result for each pending call; the real one takes its place.
  const pending = new Set(input.pending.map((call) => call.id))
  const lastStep = messages.findLastIndex(
    (message) => message.role === "assistant" && message.calls !== undefined
  )
  const kept = messages.filter(
    (message, index) => !(index > lastStep && message.role === "tool" && pending.has(message.callId))
  )
  messages.splice(0, messages.length, ...kept)
  // Each call starts when the one before it has its result, so only the first can have started, unless it was waiting for a person.
  const calls = input.pending.map((call, index): OpenCall => {
    const decided = index === 0 ? input.decided.find((one) => one.callId === call.id) : undefined
    const asks = input.settings.ask_before.includes(call.name)
    return { call, decided, mayHaveStarted: index === 0 && (decided?.again ?? !asks) }
  })
  return runCalls(input, usable, calls, messages, progress)
}

/** The tool and arguments of a call, or the result of one that cannot be made. */
const check = (
  usable: ReadonlyArray<Tools.Tool>,
  call: ToolCall
): { readonly tool: Tools.Tool; readonly args: unknown } | Pick<ToolResult, "status" | "text"> => {
  const tool = usable.find((one) => one.spec.name === call.name)
  if (tool === undefined) {
    const names = usable.map((one) => one.spec.name).join(", ")
    return { status: "unknown_tool", text: `There is no tool ${call.name}. Tools: ${names || "none"}.` }
  }
  const args = parseArguments(call.arguments)
  return args === undefined
    ? { status: "malformed_arguments", text: "The arguments are not a JSON object. Nothing was done." }
    : { tool, args }
}

/** One call's one result. Never fails: what goes wrong is the result. */
const callTool = (
  input: RunInput,
  { tool, args }: { readonly tool: Tools.Tool; readonly args: unknown },
  call: ToolCall
): Effect.Effect<ToolResult> => {
  const result = (status: ToolResult["status"], text: string): ToolResult => ({
    callId: call.id,
    name: call.name,
    status,
    text
  })
  return bounded(
    tool.run(args, {
      tenant: input.tenant,
      agent: input.agent,
      session: input.session,
      ...(input.settings.workspace === undefined ? {} : { workspace: input.settings.workspace })
    }),
    tool.timeoutMillis
  ).pipe(
    Effect.flatMap((exit) => {
      if (exit === undefined) {
        return Effect.succeed(result("timeout", `No result within ${tool.timeoutMillis} ms.`))
      }
      if (Exit.isSuccess(exit)) return Effect.succeed(result("ok", exit.value))
      const error = Cause.findErrorOption(exit.cause)
      if (Option.isSome(error)) return Effect.succeed(result("error", error.value.message))
      return Effect.as(
        Effect.logError("a tool failed unexpectedly", exit.cause).pipe(
          Effect.annotateLogs({ tool: call.name })
        ),
        result("error", "The tool failed unexpectedly.")
      )
    })
  )
}

/** `undefined` for anything that is not a JSON object; no arguments at all count as none. */
const parseArguments = (text: string): Record<string, unknown> | undefined => {
  if (text.trim() === "") return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

/**
 * The tool's exit, or `undefined` when it takes longer. A tool that ignores interruption is left behind, not waited for:
 * the run must be able to go on.
 */
const bounded = <A, E>(
  effect: Effect.Effect<A, E>,
  millis: number
): Effect.Effect<Exit.Exit<A, E> | undefined> =>
  Effect.flatMap(Effect.forkDetach(effect), (fiber) =>
    Fiber.await(fiber).pipe(
      Effect.timeoutOrElse({ duration: millis, orElse: () => Effect.succeed(undefined) }),
      Effect.ensuring(Effect.sync(() => fiber.interruptUnsafe()))
    )
  )

/** When a run ends in any case; `pass` is called once. */
class Deadline {
  isPast = false
  onPast: () => void = () => {}
  readonly pass = () => {
    this.isPast = true
    this.onPast()
  }
}

/** What `pull` gives, or the end once the deadline is past. A race of the two would start two fibers for each piece of text. */
const before = <A, E>(deadline: Deadline, pull: Effect.Effect<A, E>): Effect.Effect<A, E | Cause.Done> =>
  Effect.withFiber((parent) =>
    Effect.callback((resume) => {
      if (deadline.isPast) return resume(Cause.done())
      const fiber = Effect.runForkWith(parent.context)(pull)
      deadline.onPast = () => {
        fiber.interruptUnsafe()
        resume(Cause.done())
      }
      fiber.addObserver((exit) => {
        if (!deadline.isPast) resume(exit)
      })
      return Fiber.interrupt(fiber)
    })
  )

/** The events up to the last one, which tells what had been written when `seconds` are over before. */
const withDeadline = (
  events: Stream.Stream<RunEvent>,
  seconds: number,
  progress: { ended: boolean; partial: string; startedAt: number }
): Stream.Stream<RunEvent> =>
  // Each pull races the deadline. `interruptWhen` would pull ahead, and so act before the last event was taken in.
  Stream.transformPull(events, (pull, scope) =>
    Effect.gen(function* () {
      progress.startedAt = yield* Clock.currentTimeMillis
      const deadline = new Deadline()
      // Whoever started the run goes on first: an acknowledgement does not wait for a prompt.
      yield* Effect.yieldNow
      yield* Effect.forkIn(Effect.delay(Effect.sync(deadline.pass), seconds * 1000), scope)
      const tell = (told: Told) => {
        progress.ended ||= told.some(isLast)
        return told
      }
      const late = () => {
        const message = `the run took longer than ${seconds} s`
        return tell([failedEvent({ code: "deadline", message }, progress.partial)])
      }
      const next = Effect.match(before(deadline, pull), { onSuccess: tell, onFailure: late })
      return Effect.suspend(() => (progress.ended ? Cause.done() : next))
    })
  )

const isLast = ({ _tag }: RunEvent): boolean =>
  _tag === "Answered" || _tag === "Failed" || _tag === "ApprovalNeeded"

const estimateUsage = (
  input: RunInput,
  messages: ReadonlyArray<Model.PromptMessage>,
  now: Step
): Usage.Usage => {
  let written = now.text
  for (const call of now.calls) written += call.name + call.arguments
  return {
    inputTokens: tokensOf(input, messages),
    outputTokens: input.estimateTokens(written),
    cachedTokens: 0,
    estimated: true
  }
}

const tokensOf = (input: RunInput, messages: ReadonlyArray<Model.PromptMessage>): number => {
  let tokens = 0
  for (const message of messages) tokens += input.estimateTokens(message.text)
  return tokens
}
