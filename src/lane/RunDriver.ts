/**
 * Drives one run: asks the agent, commits what it says, then tells the onlookers.
 *
 * Owns: which unit each event becomes, and that nothing is told before it is durable, deltas excepted.
 * Does not own: when a run starts or is ended (`decide`), nor how an answer is thought of (`agent`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { ApprovalTimes } from "#src/approval/ApprovalSettings.ts"
import { question } from "#src/approval/question.ts"
import * as Agent from "#src/agent/Agent.ts"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import * as Channels from "#src/channel/Channels.ts"
import * as Commands from "#src/command/Commands.ts"
import { ContextWindow } from "#src/context/ContextSettings.ts"
import * as window from "#src/context/window.ts"
import type { NewEntry } from "#src/domain/Entry.ts"
import { Failpoint } from "#src/domain/Failpoint.ts"
import { type ApprovalId, approvalId, deliveryId, Ids, type MessageId, messageId } from "#src/domain/Ids.ts"
import type { Image } from "#src/domain/Image.ts"
import type { Failure } from "#src/domain/Outcome.ts"
import type { RunEvent } from "#src/domain/RunEvent.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { ToolCall } from "#src/domain/Tool.ts"
import * as Usage from "#src/domain/Usage.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as catalogue from "#src/model/catalogue.ts"
import { UsageRules } from "#src/model/UsageSettings.ts"
import type { Block } from "#src/outbound/blockChunker.ts"
import { chunk } from "#src/outbound/chunk.ts"
import * as Feed from "#src/outbound/Feed.ts"
import * as Outbound from "#src/outbound/Outbound.ts"
import { Streaming } from "#src/outbound/StreamSettings.ts"
import * as SessionUsage from "#src/session/SessionUsage.ts"
import * as Sessions from "#src/session/Sessions.ts"
import { footer } from "#src/session/usageText.ts"
import type { Ending } from "./decide.ts"
import type { StallClass } from "./stall.ts"
import {
  type ActiveRun,
  approvalEvent,
  type End,
  modelOf,
  routeOf,
  steeringOf,
  writingOf
} from "./ActiveRun.ts"
import { leftBehind, nothingEarlier, saidBy, withPrior } from "./runPrompt.ts"
import * as LiveAnswer from "./LiveAnswer.ts"
import { SessionModels, type Wish } from "./SessionModels.ts"

/** Attempts a run gets to commit a new step before it is given up: no crash loop. */
const maxAttempts = 3

/** Sessions of which it is remembered that another model answers. */
const maxNoted = 10_000

/** How long a unit that must not be lost waits while the store refuses it. */
const storeBackoff = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])

export class RunDriver extends Context.Service<
  RunDriver,
  {
    /** Run to its end, or to a call that a person has to be asked for. */
    readonly drive: (active: ActiveRun) => Effect.Effect<End>
    /** Carry out the command that this message is, and answer it. Retries while the store refuses, as `end` does. */
    readonly command: (active: ActiveRun) => Effect.Effect<void>
    /** What the run's model call under way may cost at most, in millionths of a US dollar, estimated from its prompt and the longest answer. */
    readonly mayCost: (active: ActiveRun) => number | undefined
    /** Put the gateway's own word about the run into the log, unless it has ended or the store refuses: it is not worth waiting for. */
    readonly note: (active: ActiveRun, slow: StallClass, text: string) => Effect.Effect<void>
    /** End a run from outside, which fences it. Retries while the store refuses; gives up with a log line when it is broken. */
    readonly end: (active: ActiveRun, ending: Ending) => Effect.Effect<void>
  }
>()("opencraw/lane/RunDriver") {}

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const agent = yield* Agent.Agent
  const sessions = yield* Sessions.Sessions
  const channels = yield* Channels.Channels
  const commands = yield* Commands.Commands
  const outbound = yield* Outbound.Outbound
  const feed = yield* Feed.Feed
  const ids = yield* Ids
  const agents = yield* ProjectAgents
  const models = yield* SessionModels
  /** By session, the model that answered last when it was not the wished-for one. */
  const lastChange = new Map<SessionKey, string>()
  const contextWindow = yield* ContextWindow
  const streaming = yield* Streaming
  const usageRules = yield* UsageRules
  const sessionUsage = yield* SessionUsage.SessionUsage
  const failpoint = yield* Failpoint
  const approvalTimes = yield* ApprovalTimes

  const drive = Effect.fnUntraced(
    function* (active: ActiveRun) {
      const { place } = active
      const started = active.run.begun ? firstAttempt : yield* begin(active)
      const { run } = active
      const messageIds = run.messages.map((message) => message.id)
      active.beganAt = yield* Clock.currentTimeMillis
      active.attempt = started.attempt
      feed.publish(place.session, {
        _tag: "Run",
        runId: run.runId,
        attempt: started.attempt,
        state: "started",
        messageIds
      })
      feed.publish(place.session, { _tag: "Typing", on: true })
      yield* goOn(active, started.streamed)
      const settings = agents.of(place.tenant)[place.agent]
      const model = settings?.model
      if (settings === undefined || model === undefined) {
        yield* fail(active, { code: "internal", message: `there is no agent ${place.agent} with a model` })
        return "finished" as const
      }
      const wish = models.wishOf(place.session, { ...settings, model }, run.messages.at(-1)!.body.model)
      active.wish = wish
      if (wish.isRefused) {
        yield* fail(active, {
          code: "model",
          message: `the model ${wish.model} is not allowed here any more`
        })
        return "finished" as const
      }
      if (started.attemptsWithoutProgress > maxAttempts) {
        yield* fail(active, { code: "attempts", message: `no progress in ${maxAttempts} attempts` })
        return "finished" as const
      }
      const begun = started.attempt === 1 ? run.runId : undefined
      const history = yield* sessions.history(place.session, begun)
      const earlier = {
        decided: started.decided,
        said: started.streamed?.text ?? "",
        images: yield* imagesOf(active, history)
      }
      const input = prepare(active, wish, settings, history, earlier)
      yield* Stream.runForEach(agent.run(input), (event) => handle(active, event))
      return active.parked ?? ("finished" as const)
    },
    (effect, active) =>
      effect.pipe(
        Effect.catch((error: MessageLog.LogError) => refused(active, error)),
        Effect.ensuring(Effect.sync(() => quiet(active)))
      )
  )

  const begin = (active: ActiveRun): Effect.Effect<MessageLog.Committed["Start"], MessageLog.LogError> =>
    Effect.flatMap(Clock.currentTimeMillis, (at) => {
      const messageIds = active.run.messages.map((message) => message.id)
      return log.commit({ _tag: "Start", place: active.place, runId: active.run.runId, messageIds, at })
    }).pipe(
      Effect.catchIf(
        (error) => error.reason._tag === "Fenced",
        (error) =>
          Effect.flatMap(withoutEnded(active), (isLess) => (isLess ? begin(active) : Effect.fail(error)))
      )
    )

  /** One of a run's messages may end while the run waits to begin; the others must not be left behind. False when that was not it. */
  const withoutEnded = Effect.fnUntraced(function* (active: ActiveRun) {
    const { messages } = active.run
    const { tenant, session } = active.place
    const seqs = messages.map((message) => message.seq)
    const afterSeq = Math.min(...seqs) - 1
    const rows = yield* log.open({ tenant, session, afterSeq, limit: Math.max(...seqs) - afterSeq })
    const open = new Set(rows.map((row) => row.id))
    const left = messages.filter((message) => open.has(message.id))
    if (left.length === 0 || left.length === messages.length) return false
    active.run = { ...active.run, messages: left }
    return true
  })

  /** The images that the prompt shows, by message. Those of earlier turns are read from their messages' bodies. */
  const imagesOf = (active: ActiveRun, history: ReadonlyArray<MessageLog.EntryRow>) =>
    Effect.gen(function* () {
      const images = new Map<string, ReadonlyArray<Image>>()
      for (const id of window.shownImages(history)) {
        const own = active.run.messages.find((message) => message.id === id)
        const body = own?.body ?? (yield* bodyOf(active, messageId(id)))
        if (body?.images !== undefined) images.set(id, body.images)
      }
      return images
    })

  const bodyOf = (active: ActiveRun, id: MessageId) =>
    Effect.map(log.message({ tenant: active.place.tenant, id }), (trace) => trace?.message.body)

  const prepare = (
    active: ActiveRun,
    wish: Wish,
    settings: Agent.RunInput["settings"],
    history: ReadonlyArray<MessageLog.EntryRow>,
    {
      decided,
      said,
      images
    }: {
      readonly decided: Agent.RunInput["decided"]
      readonly said: string
      readonly images: ReadonlyMap<string, ReadonlyArray<Image>>
    }
  ): Agent.RunInput => {
    const { run, place } = active
    const newest = run.messages.at(-1)!
    const earlier = active.attempt === 1 ? nothingEarlier : leftBehind(run.runId, history)
    active.pending = earlier.pending
    active.steps = earlier.steps
    const limits = contextWindow.get()
    const system =
      newest.body.system === undefined
        ? settings.system_prompt
        : `${settings.system_prompt}\n\n${newest.body.system}`
    const shaped = window.shape(system, history, run.runId, limits, images)
    return {
      tenant: place.tenant,
      agent: place.agent,
      session: place.session,
      settings,
      model: wish.model,
      fallbacks: wish.fallbacks,
      prompt: newest.body.prior === undefined ? shaped : withPrior(shaped, newest.body.prior),
      params: {
        ...(settings.thinking === undefined ? {} : { thinking: settings.thinking }),
        ...newest.body.params
      },
      pending: active.pending,
      decided,
      ...(said === "" ? {} : { said }),
      stepsDone: earlier.steps,
      steering: {
        isWaiting: () => active.inbox.length > 0,
        take: () => {
          if (active.inbox.length === 0) return []
          const messages = active.inbox
          active.inbox = []
          active.taken = [...active.taken, ...messages]
          return messages.map((message) => saidBy(message.body))
        }
      },
      onCall: (promptTokens) => {
        active.asked = promptTokens
      },
      cutToolText: (text) => window.cutToolText(text, limits.max_tool_chars),
      estimateTokens: window.estimateTokens
    }
  }

  /** Open what the channel shows, and tell the onlookers what people have already of the step that is taken again. */
  const goOn = (active: ActiveRun, streamed: MessageLog.Streamed | undefined): Effect.Effect<void> => {
    const route = routeOf(active.run)
    active.partial = streamed?.text ?? ""
    if (active.partial !== "") publishDelta(active, 0, active.partial)
    active.live = LiveAnswer.make({
      channel: channels.find(route.channel),
      route,
      settings: streaming.get(),
      draft: streamed?.draft,
      mayShow: outbound.isIdle(route),
      send: (take, giveBack) => sendBlocks(active, take, giveBack),
      keep: (draft) => Effect.asVoid(commitBlock(active, { source: "", deliveries: [], draft }))
    })
    return active.live?.sign("began") ?? Effect.void
  }

  const commitBlock = (
    active: ActiveRun,
    part: Pick<MessageLog.Block, "source" | "deliveries"> & { readonly draft?: string }
  ) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) =>
      log.commit({
        _tag: "Block",
        place: active.place,
        runId: active.run.runId,
        attempt: active.attempt,
        ...part,
        at
      })
    )

  /** What leaves before its step is whole is durable first. What is taken and what is committed go together, so that nothing overtakes. */
  const sendBlocks = (
    active: ActiveRun,
    take: () => ReadonlyArray<Block>,
    giveBack: (blocks: ReadonlyArray<Block>) => void
  ): Effect.Effect<void, MessageLog.LogError> =>
    Effect.uninterruptible(
      Semaphore.withPermit(
        writingOf(active),
        Effect.suspend(() => {
          const leaving = active.closed || active.ending ? [] : take()
          if (leaving.length === 0) return Effect.void
          const route = routeOf(active.run)
          const source = leaving.map((block) => block.source).join("")
          const deliveries = leaving.map((block) => ({
            id: deliveryId(`dlv_${ids.next("blk")}`),
            route,
            text: LiveAnswer.sent(block)
          }))
          return commitBlock(active, { source, deliveries }).pipe(
            Effect.tapError(() => Effect.sync(() => giveBack(leaving))),
            Effect.map(({ seq, part }) => {
              failpoint("after-block")
              wake(active, deliveries, seq, part)
            })
          )
        })
      )
    )

  /** The next run of the session need not read what this one wrote. */
  const keep = ({ place }: ActiveRun, { wrote }: Pick<MessageLog.Committed["Finish"], "wrote">) =>
    sessions.wrote(place.session, wrote)

  /** Committed deliveries may leave. */
  const wake = (
    { place, run }: ActiveRun,
    deliveries: ReadonlyArray<MessageLog.NewDelivery>,
    seq: number,
    firstPart: number,
    createdAt = 0
  ) => {
    if (deliveries.length === 0) return
    outbound.wake(
      deliveries.map((delivery, index) => ({
        ...delivery,
        place,
        runId: run.runId,
        seq,
        part: firstPart + index,
        state: "pending",
        attempts: 0,
        createdAt,
        sentAt: undefined,
        receipt: undefined,
        detail: undefined
      }))
    )
  }

  const publishDelta = ({ run, place, attempt }: ActiveRun, offset: number, text: string) =>
    feed.publish(place.session, { _tag: "Delta", runId: run.runId, attempt, offset, text })

  const handle = (active: ActiveRun, event: RunEvent): Effect.Effect<void, MessageLog.LogError> => {
    if (active.closed) return Effect.interrupt
    active.events++
    switch (event._tag) {
      case "Delta": {
        publishDelta(active, active.partial.length, event.text)
        active.partial += event.text
        failpoint("mid-stream")
        return active.live === undefined ? Effect.void : showText(active.live, event.text, active.partial)
      }
      case "ModelChanged":
        return Effect.sync(() => {
          active.changed = event
        })
      case "StepFinished":
        return append(
          active,
          { v: 1, kind: "assistant", text: event.text, calls: event.calls },
          spent(active, event.usage)
        ).pipe(
          Effect.map(() => {
            active.partial = ""
            active.pending = event.calls
            active.steps++
            failpoint("after-step")
          })
        )
      case "ToolStarted":
        publishTool(active, event.call, "started", "")
        return active.live?.sign("alive") ?? Effect.void
      case "ToolFinished": {
        failpoint("after-tool")
        const { result } = event
        return append(active, { v: 1, kind: "tool", ...result }, Usage.none).pipe(
          Effect.map(() => {
            active.pending = active.pending.filter((call) => call.id !== result.callId)
            publishTool(active, { id: result.callId, name: result.name }, "finished", result.status)
          })
        )
      }
      case "ApprovalNeeded":
        return park(active, event.call)
      case "Answered":
        return answer(active, event.text, spent(active, event.usage))
      case "Failed":
        active.partial = event.partial
        return fail(active, event.failure, lost(active, event.usage, false))
    }
  }

  const showText = (live: LiveAnswer.LiveAnswer, piece: string, soFar: string) =>
    Effect.andThen(live.sign(soFar.trim() === "" ? "alive" : "text"), live.wrote(piece, soFar))

  const priceOf = (model: string) => catalogue.priceOf(model, usageRules.get().prices)

  /** What the model call that has just ended used, with its price. */
  const spent = (active: ActiveRun, usage: Usage.Usage): Usage.Usage => {
    active.asked = undefined
    return catalogue.priced(usage, priceOf(modelOf(active)))
  }

  /** The same of a call that broke off: its provider has not said what it counted, so that is estimated. */
  const lost = (active: ActiveRun, usage: Usage.Usage, isOurs: boolean): Usage.Usage => {
    const { asked, partial } = active
    active.asked = undefined
    if (usage.inputTokens + usage.outputTokens > 0) return catalogue.priced(usage, priceOf(modelOf(active)))
    // A provider that failed before it said anything has taken nothing for it; one that we have left has read the prompt.
    if (asked === undefined || (partial === "" && !isOurs)) return Usage.none
    const outputTokens = window.estimateTokens(partial)
    const counts = { inputTokens: asked(), outputTokens, cachedTokens: 0, estimated: true }
    return catalogue.priced(counts, priceOf(modelOf(active)))
  }

  const mayCost = (active: ActiveRun): number | undefined => {
    const { asked, place, run } = active
    const settings = agents.of(place.tenant)[place.agent]
    if (asked === undefined || settings === undefined) return undefined
    const wished = run.messages.at(-1)?.body.params?.maxOutputTokens
    // Four characters a token, as everywhere; fewer only make more tokens than a run may write.
    const longest = Math.min(wished ?? Infinity, Math.ceil(settings.max_output_chars / 4))
    return catalogue.estimate(asked(), longest, priceOf(modelOf(active)))
  }

  /** Whom a model call's usage is counted for; nobody when none was made. */
  const spendingOf = (active: ActiveRun, usage: Usage.Usage): { readonly spending?: MessageLog.Spending } =>
    usage.inputTokens + usage.outputTokens === 0
      ? {}
      : { spending: { model: modelOf(active), sender: active.run.messages.at(-1)!.sender } }

  const publishTool = (
    active: ActiveRun,
    call: { readonly id: string; readonly name: string },
    phase: "started" | "finished",
    summary: string
  ) =>
    feed.publish(active.place.session, {
      _tag: "Tool",
      runId: active.run.runId,
      callId: call.id,
      name: call.name,
      phase,
      summary
    })

  const append = (active: ActiveRun, entry: NewEntry, usage: Usage.Usage) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) => {
      active.usage = Usage.add(active.usage, usage)
      const entryId = ids.next("ent")
      return Effect.uninterruptible(
        Semaphore.withPermit(
          writingOf(active),
          Effect.suspend(() => {
            const texts = entry.kind === "assistant" ? (active.live?.rest() ?? []) : []
            const deliveries = parcelsOf(entryId, routeOf(active.run), texts)
            return Effect.map(
              log.commit({
                _tag: "Append",
                place: active.place,
                runId: active.run.runId,
                attempt: active.attempt,
                entryId,
                entry,
                usage,
                ...spendingOf(active, usage),
                ...steeringOf(active),
                ...(deliveries.length === 0 ? {} : { deliveries }),
                at
              }),
              (committed) => {
                keep(active, committed)
                tellSteered(active, committed.steered)
                wake(active, deliveries, committed.seq, 0, at)
              }
            )
          })
        )
      )
    })

  const note = (active: ActiveRun, slow: StallClass, text: string) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) =>
      log.commit({
        _tag: "Append",
        place: active.place,
        runId: active.run.runId,
        attempt: active.attempt,
        entryId: ids.next("ent"),
        entry: { v: 1, kind: "notice", text, slow },
        usage: Usage.none,
        at
      })
    ).pipe(
      Effect.map((committed) => keep(active, committed)),
      Effect.catch((error) => Effect.logWarning("a slow run's timeline lacks an entry", error.message)),
      Effect.timeoutOption("1 second"),
      Effect.asVoid
    )

  /** Commit the question, and only then ask it. Not interruptible between the two, as with the run's end. */
  const park = (active: ActiveRun, call: ToolCall) =>
    Effect.uninterruptible(
      Semaphore.withPermit(
        writingOf(active),
        Effect.gen(function* () {
          const { run, place } = active
          const at = yield* Clock.currentTimeMillis
          const seconds = approvalTimes.get().timeout_s
          const id = approvalId(ids.next("apr"))
          const entryId = ids.next("ent")
          const text = question(id, call, seconds)
          const deliveries = parcels(active, routeOf(run), { entryId, text, isShown: true })
          const expiresAt = at + seconds * 1000
          const committed = yield* log.commit({
            _tag: "Park",
            place,
            runId: run.runId,
            attempt: active.attempt,
            approval: { id, callId: call.id, tool: call.name, arguments: call.arguments, expiresAt },
            entryId,
            entry: { v: 1, kind: "notice", text },
            deliveries,
            at
          })
          keep(active, committed)
          active.parked = { _tag: "Parked", approvalId: id, millis: seconds * 1000 }
          feed.publish(place.session, {
            _tag: "Approval",
            id,
            runId: run.runId,
            tool: call.name,
            arguments: call.arguments,
            state: "pending",
            expiresAt
          })
          wake(active, deliveries, committed.seq, 0, at)
        })
      )
    )

  /** What the committed step has read: told once, and not the lane's to start any more. */
  const tellSteered = (active: ActiveRun, steered: ReadonlyArray<MessageId>) => {
    if (active.taken.length === 0) return
    const by = active.run.messages.at(-1)!.id
    for (const message of active.taken) {
      if (!steered.includes(message.id)) continue
      feed.publish(active.place.session, {
        _tag: "Outcome",
        messageId: message.id,
        clientId: message.identity.externalId,
        outcome: "steered",
        by
      })
    }
    const told = active.taken
    active.taken = []
    active.hasSteered ||= steered.length > 0
    active.onSteered(told.map((message) => message.id))
  }

  const answer = Effect.fnUntraced(function* (active: ActiveRun, text: string, usage: Usage.Usage) {
    const newest = active.run.messages.at(-1)!
    const id = ids.next("ent")
    const isSilent = text.trim() === ""
    const beside = isSilent ? undefined : modelNotice(active)
    const edits = yield* active.live?.settle ?? Effect.succeed(undefined)
    const closing = finish(active, {
      attempt: active.attempt,
      isAnswer: true,
      entries: [
        ...(beside === undefined
          ? []
          : [{ id: beside.entryId, entry: { v: 1 as const, kind: "notice" as const, text: beside.text } }]),
        { id, entry: { v: 1, kind: "assistant", text } }
      ],
      ...(beside === undefined ? {} : { beside }),
      endings: active.run.messages.map((message) =>
        message === newest
          ? { messageId: message.id, outcome: isSilent ? ("silent" as const) : ("answered" as const) }
          : { messageId: message.id, outcome: "merged" as const, by: newest.id }
      ),
      told: isSilent
        ? undefined
        : { entryId: id, text, isFailure: false, ...(edits === undefined ? {} : { edits }) },
      usage
    })
    // A block that leaves at this moment is part of the answer: it goes first.
    yield* active.live === undefined ? closing : Semaphore.withPermit(writingOf(active), closing)
  })

  /** One line when another model answers than the one before in this session, and when the wished-for one is back. */
  const modelNotice = ({ place, changed }: ActiveRun) => {
    const before = lastChange.get(place.session)
    if (before === changed?.to) return undefined
    lastChange.delete(place.session)
    if (changed !== undefined) lastChange.set(place.session, changed.to)
    if (lastChange.size > maxNoted) lastChange.delete(lastChange.keys().next().value!)
    const text =
      changed === undefined
        ? "The usual model answers again."
        : `${changed.to} answered, because ${changed.from} could not: ${changed.why}.`
    return { entryId: ids.next("ent"), text }
  }

  const fail = Effect.fnUntraced(function* (
    active: ActiveRun,
    cause: Failure,
    usage: Usage.Usage = Usage.none
  ) {
    const failure = withChoice(active, cause)
    const id = ids.next("ent")
    yield* Effect.logWarning("a run failed", failure.message).pipe(
      Effect.annotateLogs({ run: active.run.runId, session: active.place.session, code: failure.code })
    )
    const edits = yield* active.live?.settle ?? Effect.succeed(undefined)
    yield* finish(active, {
      attempt: active.attempt,
      isAnswer: false,
      entries: [
        ...cutOff(active, yield* leftOf(active), "failed"),
        { id, entry: { v: 1, kind: "failure", code: failure.code, text: failure.message } }
      ],
      endings: active.run.messages.map((message) => ({ messageId: message.id, outcome: "failed" as const })),
      told: {
        entryId: id,
        text: `I could not answer: ${failure.message}.`,
        isFailure: true,
        ...(edits === undefined ? {} : { edits })
      },
      usage,
      failure
    })
  })

  const end = Effect.fnUntraced(
    function* (active: ActiveRun, ending: Ending) {
      active.closed = true
      yield* Semaphore.withPermit(
        writingOf(active),
        Effect.flatMap(leftOf(active), (left) =>
          finish(active, {
            isAnswer: false,
            entries: cutOff(active, left, ending.outcome),
            endings: active.run.messages.map((message) => ({ messageId: message.id, ...ending })),
            told: undefined,
            usage: lost(active, Usage.none, true)
          })
        )
      )
    },
    (effect, active) =>
      Effect.ensuring(
        persistently(effect),
        Effect.sync(() => quiet(active))
      )
  )

  const command = Effect.fnUntraced(
    function* (active: ActiveRun) {
      const message = active.run.messages[0]!
      const { place, sender, access, body } = message
      const reading = commands.read(body.text, access)
      const text =
        reading._tag === "Command"
          ? yield* Commands.answer(reading.command, reading.rest, {
              ...place,
              route: routeOf(active.run),
              sender,
              access
            })
          : `There is no such command: ${body.text.slice(0, 40)}`
      const id = ids.next("ent")
      yield* finish(active, {
        isAnswer: false,
        entries: [{ id, entry: { v: 1, kind: "notice", text } }],
        endings: [{ messageId: message.id, outcome: "answered" }],
        told: { entryId: id, text, isFailure: false },
        usage: Usage.none
      })
    },
    (effect) => persistently(effect)
  )

  /** What the run leaves unfinished, as the log has it: an earlier attempt, or an earlier process, may have left it. */
  const leftOf = ({ run, place }: ActiveRun) =>
    Effect.map(log.message({ tenant: place.tenant, id: run.messages[0]!.id }), (trace): Left => ({
      calls: trace === undefined ? [] : leftBehind(run.runId, trace.entries).pending,
      said: trace?.run?.id === run.runId ? (trace.run.streamed?.text ?? "") : ""
    }))

  /** What a run that is cut off leaves: its text so far, and a result for each call that has none. */
  const cutOff = (active: ActiveRun, { calls, said }: Left, by: "interrupted" | "cancelled" | "failed") => {
    if (active.partial === "") active.partial = said
    const entries: Array<{ readonly id: string; readonly entry: NewEntry }> = calls.map((call) => ({
      id: ids.next("ent"),
      entry: {
        v: 1,
        kind: "tool",
        callId: call.id,
        name: call.name,
        status: "interrupted",
        text: "The run was stopped before this had a result."
      }
    }))
    if (active.partial !== "") {
      entries.push({
        id: ids.next("ent"),
        entry: { v: 1, kind: "assistant", text: active.partial, partial: by }
      })
    }
    return entries
  }

  interface Closing {
    readonly attempt?: number
    /** The run ends by its own answer: what its last step has read is answered with it. */
    readonly isAnswer: boolean
    readonly entries: MessageLog.Finish["entries"]
    readonly endings: ReadonlyArray<MessageLog.Ending>
    /** What the person is sent, and the entry it is the text of. */
    readonly told:
      | {
          readonly entryId: string
          readonly text: string
          readonly isFailure: boolean
          readonly edits?: string
        }
      | undefined
    /** A line of the gateway's own that goes before it. */
    readonly beside?: { readonly entryId: string; readonly text: string }
    readonly usage: Usage.Usage
    readonly failure?: Failure
  }

  /** Commit the run's end, and only then tell it. Not interruptible between the two, so what is durable is also told. */
  const finish = (active: ActiveRun, closing: Closing) =>
    Effect.uninterruptible(
      Effect.gen(function* () {
        const { run, place } = active
        active.ending = true
        const at = yield* Clock.currentTimeMillis
        const route = routeOf(run)
        const total = Usage.add(active.usage, closing.usage)
        const { beside, told } = closing
        const took = closing.isAnswer ? { took: { run: total, last: closing.usage } } : {}
        const deliveries = [
          ...(beside === undefined ? [] : parcels(active, route, { ...beside, isShown: false })),
          ...(told === undefined ? [] : parcels(active, route, { ...told, ...took, isShown: told.isFailure }))
        ]
        const steering = closing.isAnswer ? steeringOf(active) : {}
        const committed = yield* log.commit({
          _tag: "Finish",
          place,
          runId: run.runId,
          ...steering,
          ...(active.hasSteered || active.attempt > 1 ? { steeredBefore: true } : {}),
          ...(closing.attempt === undefined ? {} : { attempt: closing.attempt }),
          entries: closing.entries,
          endings: closing.endings,
          deliveries,
          usage: closing.usage,
          ...spendingOf(active, closing.usage),
          ...(closing.failure === undefined ? {} : { failure: closing.failure }),
          at
        })
        failpoint("after-final")
        keep(active, committed)
        const seq = committed.seqs.at(-1) ?? 0
        if (closing.isAnswer) {
          tellSteered(
            active,
            committed.endings.filter(({ outcome }) => outcome === "steered").map(({ messageId }) => messageId)
          )
        }
        if (beside !== undefined) {
          feed.publish(place.session, {
            _tag: "Message",
            id: beside.entryId,
            runId: run.runId,
            seq: committed.seqs[0] ?? 0,
            answers: [],
            messageIds: [],
            text: beside.text,
            usage: Usage.none
          })
        }
        if (closing.told !== undefined && !closing.told.isFailure) {
          feed.publish(place.session, {
            _tag: "Message",
            id: closing.told.entryId,
            runId: run.runId,
            seq,
            answers: committed.answered.map(({ clientId }) => clientId),
            messageIds: committed.answered.map(({ messageId }) => messageId),
            text: closing.told.text,
            usage: total
          })
        }
        tellOutcomes(active, committed.endings, closing.failure)
        if (committed.withdrawn.length > 0) yield* tellWithdrawn(place, committed.withdrawn)
        wake(active, deliveries, seq, 0, at)
      })
    )

  /** Approvals that ended with their run: nobody has to decide them any more. */
  const tellWithdrawn = (place: MessageLog.Place, withdrawn: ReadonlyArray<ApprovalId>) =>
    Effect.forEach(withdrawn, (id) => log.approvals({ tenant: place.tenant, id, limit: 1 })).pipe(
      Effect.map((found) => {
        for (const row of found.flat()) feed.publish(place.session, approvalEvent(row))
      }),
      // Onlookers read the log when they come back; what matters is committed.
      Effect.catch((error) => Effect.logWarning("a withdrawn approval was not told", error.message))
    )

  const tellOutcomes = (
    active: ActiveRun,
    endings: ReadonlyArray<MessageLog.Ending>,
    failure: Failure | undefined
  ) => {
    for (const ending of endings) {
      const message = active.run.messages.find((one) => one.id === ending.messageId)
      if (message === undefined) continue
      const isCutOff =
        ending.outcome !== "answered" && ending.outcome !== "silent" && ending.outcome !== "merged"
      feed.publish(active.place.session, {
        _tag: "Outcome",
        messageId: ending.messageId,
        clientId: message.identity.externalId,
        outcome: ending.outcome,
        ...(ending.by === undefined ? {} : { by: ending.by }),
        ...(failure === undefined ? {} : { failure }),
        ...(isCutOff ? { partial: active.partial } : {})
      })
    }
  }

  /** Parts of what is sent, cut for the channel. A route whose channel nobody registered (the HTTP API) has none: its caller waits. */
  const parcels = (
    active: ActiveRun,
    route: MessageLog.NewDelivery["route"],
    told: {
      readonly entryId: string
      readonly text: string
      /** Clients that show outcomes show it by themselves. */
      readonly isShown: boolean
      readonly edits?: string
      /** What an answer took: all its run, and its last call. */
      readonly took?: { readonly run: Usage.Usage; readonly last: Usage.Usage }
    }
  ): ReadonlyArray<MessageLog.NewDelivery> => {
    const channel = channels.find(route.channel)
    if (channel === undefined || (told.isShown && channel.showsOutcomes)) return []
    const whole = () => chunk(told.text, { limit: channel.maxChars, mode: "markdown" })
    if (told.took === undefined) return parcelsOf(told.entryId, route, whole(), told.edits)
    // Parts of an answer may have left already.
    const texts = active.live?.rest() ?? whole()
    const line = footerOf(active, channel, told.took)
    return parcelsOf(told.entryId, route, withLine(texts, line, channel.maxChars), told.edits)
  }

  /** What the session wants its replies to say of their usage. Clients that show an answer by themselves show that too. */
  const footerOf = (
    active: ActiveRun,
    channel: Channels.Channel,
    took: { readonly run: Usage.Usage; readonly last: Usage.Usage }
  ): string | undefined => {
    const mode = channel.streams === true ? "off" : sessionUsage.modeOf(active.place.session, channel.name)
    if (mode === "off") return undefined
    const size = catalogue.known(modelOf(active))?.window
    return footer(mode, took.run, size === undefined ? undefined : took.last.inputTokens / size)
  }

  const quiet = (active: ActiveRun) => {
    if (active.attempt === 0) return
    feed.publish(active.place.session, { _tag: "Typing", on: false })
    feed.publish(active.place.session, {
      _tag: "Run",
      runId: active.run.runId,
      attempt: active.attempt,
      state: active.parked === undefined ? "ended" : "parked",
      messageIds: active.run.messages.map((message) => message.id)
    })
    active.attempt = 0
  }

  return RunDriver.of({ drive, note, command, mayCost, end })
})

export const layer = Layer.effect(RunDriver, make)

/** Until the store takes it. A message that has ended meanwhile needs no other end. */
const persistently = (effect: Effect.Effect<void, MessageLog.LogError>): Effect.Effect<void> =>
  effect.pipe(
    Effect.retry({ while: (error) => error.isRetryable, schedule: storeBackoff }),
    Effect.catch((error) =>
      error.reason._tag === "Fenced"
        ? Effect.void
        : Effect.logError("a message could not be ended; it ends at the next start", error.message)
    )
  )

const refused = (active: ActiveRun, error: MessageLog.LogError): Effect.Effect<End> =>
  error.reason._tag === "Fenced"
    ? Effect.succeed("finished")
    : Effect.as(
        Effect.logError("the store refused a run's work; it will begin again", error.message).pipe(
          Effect.annotateLogs({ run: active.run.runId, session: active.place.session })
        ),
        "retry"
      )

/** The texts with a line below the last one, or behind it where both do not fit into one message. */
const withLine = (
  texts: ReadonlyArray<string>,
  line: string | undefined,
  limit: number
): ReadonlyArray<string> => {
  const last = texts.at(-1)
  if (line === undefined) return texts
  const both = `${last}\n\n${line}`
  const isApart = last === undefined || (limit > 0 && both.length > limit)
  return isApart ? [...texts, line] : [...texts.slice(0, -1), both]
}

const parcelsOf = (
  entryId: string,
  route: MessageLog.NewDelivery["route"],
  texts: ReadonlyArray<string>,
  edits?: string
): ReadonlyArray<MessageLog.NewDelivery> =>
  texts.map((text, part) => ({
    id: deliveryId(`dlv_${entryId}_${part}`),
    route,
    text,
    ...(part > 0 || edits === undefined ? {} : { edits })
  }))
/** A chosen model has no other to answer for it: its person is told how to go back. */
const withChoice = ({ wish }: ActiveRun, failure: Failure): Failure =>
  failure.code === "model" && wish?.isChosen === true
    ? { ...failure, message: `${failure.message} (${wish.model} was chosen; /model default goes back)` }
    : failure

/** What an end from outside finds unfinished: calls without a result, and text that was sent before its step was committed. */
interface Left {
  readonly calls: ReadonlyArray<ToolCall>
  readonly said: string
}

const firstAttempt: MessageLog.Committed["Start"] = { attempt: 1, attemptsWithoutProgress: 1, decided: [] }
