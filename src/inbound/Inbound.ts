/**
 * The one way in: admits a message, makes it durable, and wakes its lane.
 *
 * Owns: the promise that what is acknowledged is in the log exactly once, and that each refusal is typed.
 * Does not own: how it is answered (`lane`), nor who may write (`gateway` and the channels, until `access` comes).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import { Channels } from "#src/channel/Channels.ts"
import { Commands } from "#src/command/Commands.ts"
import { Failpoint } from "#src/domain/Failpoint.ts"
import { Ids, messageId, type MessageId, runOf } from "#src/domain/Ids.ts"
import { noteOf } from "#src/domain/Image.ts"
import type { Identity, InboundMessage } from "#src/domain/Inbound.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import { resolve } from "#src/domain/Queue.ts"
import { placeOf, type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import * as MessageLog from "#src/horizons/MessageLog.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import { windowOf } from "#src/lane/gather.ts"
import { inlineQueue } from "#src/lane/queueCommand.ts"
import { InboundWindow, Queue, queueConfig } from "#src/lane/QueueSettings.ts"
import { SessionModels } from "#src/lane/SessionModels.ts"
import { SessionQueues } from "#src/lane/SessionQueues.ts"
import * as Feed from "#src/outbound/Feed.ts"
import { Outbound } from "#src/outbound/Outbound.ts"
import { Sessions } from "#src/session/Sessions.ts"
import { Placement } from "#src/placement/Placement.ts"
import { DedupeCache } from "./DedupeCache.ts"

/** The session's queue is full: nothing was stored; the sender may try again after `retryAfterMillis`. */
export class LaneFull extends Schema.TaggedError<LaneFull>()("LaneFull", {
  cap: Schema.Number,
  retryAfterMillis: Schema.Number
}) {
  override get message() {
    return `this session already has ${this.cap} messages waiting`
  }
}
/** The same message id came before with another text. */
export class IdReused extends Schema.TaggedError<IdReused>()("IdReused", { messageId: Schema.String }) {
  override get message() {
    return "this message id was used before for another text"
  }
}
/** The message cannot be taken as it is (empty, too long, no such agent). `param` names what is wrong. */
export class MessageRejected extends Schema.TaggedError<MessageRejected>()("MessageRejected", {
  param: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}
/** Not now: the store is full or broken, or the gateway is stopping. Nothing was acknowledged. */
export class NotAccepting extends Schema.TaggedError<NotAccepting>()("NotAccepting", {
  code: Schema.Literals(["store_full", "store_unavailable", "shutting_down"]),
  retryAfterMillis: Schema.Number
}) {
  override get message() {
    return this.code === "shutting_down" ? "the gateway is stopping" : "the message could not be stored"
  }
}
export type Refusal = LaneFull | IdReused | MessageRejected | NotAccepting

export interface Accepted {
  readonly messageId: MessageId
  /** Its place in the session's transcript. */
  readonly seq: number
  /** True when the very same message had been accepted before; `outcome` is what it has become by now. */
  readonly duplicate: boolean
  readonly outcome: Outcome | undefined
}

export class Inbound extends Context.Service<
  Inbound,
  {
    /** Take a message in. Durable when it succeeds; nothing is stored when it fails. Idempotent by identity and body. */
    readonly submit: (message: InboundMessage) => Effect.Effect<Accepted, Refusal>
    /** Take nothing in any more: every later `submit` fails with `NotAccepting`. For shutdown. */
    readonly stop: Effect.Effect<void>
  }
>()("opencraw/inbound/Inbound") {}

export const make = Effect.gen(function* () {
  const log = yield* MessageLog.MessageLog
  const lanes = yield* Lanes.Lanes
  const feed = yield* Feed.Feed
  const ids = yield* Ids
  const agents = yield* ProjectAgents
  const queue = yield* Queue
  const inboundWindow = yield* InboundWindow
  const failpoint = yield* Failpoint
  const channels = yield* Channels
  const commands = yield* Commands
  const queues = yield* SessionQueues
  const models = yield* SessionModels
  const outbound = yield* Outbound
  const sessions = yield* Sessions
  const placement = yield* Placement
  const seen = new DedupeCache<true>(recent)
  let stopped = false

  /** A redelivery that comes soon is answered by a read: channels repeat in bursts, and a write waits for the disk. */
  const repeated = Effect.fnUntraced(function* (message: InboundMessage) {
    const row = yield* log.lookup({ tenant: tenantOf(message.session), identity: message.identity })
    if (row === undefined) return undefined
    if (JSON.stringify(row.body) !== JSON.stringify(message.body)) return undefined
    return { messageId: row.id, seq: row.seq, duplicate: true, outcome: row.outcome }
  })

  /** Channels whose people do not see outcomes in their client. */
  const toldInWords = () =>
    channels
      .all()
      .filter((channel) => !channel.showsOutcomes)
      .map((channel) => channel.name)

  /** Messages that gave way for `by`: their lane forgets them, and their senders are told once. */
  const tellDropped = (
    session: SessionKey,
    by: MessageId,
    { dropped, notices }: MessageLog.Committed["Accept"]
  ) => {
    if (dropped.length === 0) return
    lanes.forget(
      session,
      dropped.map((one) => one.messageId)
    )
    for (const one of dropped) feed.publish(session, { _tag: "Outcome", ...one, outcome: "dropped", by })
    outbound.wake(notices)
  }

  /** Any node may take a message in; only the one that has its lane may begin a run with it. */
  const accept = ({ start, ...unit }: MessageLog.Accept) => {
    if (start === undefined) return log.commit(unit)
    const fence = placement.fenceOf(unit.place.session)
    if (fence === undefined) return log.commit({ ...unit, start })
    return log.commit({ ...unit, start, place: { ...unit.place, fence } }).pipe(
      Effect.catchIf(
        ({ reason }) => reason._tag === "Fenced",
        () => log.commit(unit)
      )
    )
  }

  const submit = Effect.fnUntraced(
    function* (received: InboundMessage) {
      if (stopped) return yield* new NotAccepting({ code: "shutting_down", retryAfterMillis: 2000 })
      const settings = queue.get()
      const reading = commands.read(received.body.text, received.access)
      const inline = reading._tag === "Directive" ? inlineQueue(received.body.text) : undefined
      const { mode, debounceMs, cap, drop } = resolve(
        queueConfig(settings),
        received.identity.channel,
        inline?.reset === true ? undefined : queues.get(received.session),
        inline?.overrides
      )
      const isCommand = reading._tag === "Command"
      const text = reading._tag === "Directive" ? reading.text : received.body.text
      // How it is taken is settled here and stored, so that a restart does not change what was promised.
      const patience = windowOf(inboundWindow.get(), received.identity.channel)
      const window = isCommand || patience.waitMs <= 0 ? undefined : patience
      const taken = { mode, debounceMs, ...(window === undefined ? {} : { parts: window }) }
      const place = placeOf(received.session)
      const { agent } = place
      const model =
        reading._tag === "Directive" ? models.inline(received.body.text, received.session) : undefined
      const chosen = model === undefined ? {} : { model }
      const queued = { ...received.body, text, ...chosen, queue: taken }
      const message = { ...received, body: isCommand ? { ...received.body, command: true } : queued }
      if (agents.of(place.tenant)[agent] === undefined) {
        return yield* new MessageRejected({ param: "session", detail: `there is no agent ${agent}` })
      }
      if (message.body.text.trim() === "" && message.body.images === undefined) {
        return yield* new MessageRejected({ param: "content", detail: "the message has no text" })
      }
      const at = yield* Clock.currentTimeMillis
      const key = keyOf(message.identity)
      if (seen.check(key, at) !== undefined) {
        const known = yield* repeated(message)
        if (known !== undefined) return known
      }
      const id = messageId(ids.next("msg"))
      const starts = !isCommand && window === undefined && lanes.isFree(message.session)
      // What is durable is also told and queued: an impatient caller must not leave a message without its lane.
      return yield* Effect.uninterruptible(
        Effect.map(
          accept({
            _tag: "Accept",
            place,
            messageId: id,
            message,
            // A command takes nobody's place in the queue.
            cap: isCommand ? Number.MAX_SAFE_INTEGER : cap,
            drop,
            dropNotice: { channels: toldInWords(), text: dropNotice },
            ...(starts ? { start: runOf(id) } : {}),
            at
          }),
          (accepted) => {
            seen.remember(key, true, at)
            sessions.wrote(message.session, accepted.wrote)
            if (!accepted.duplicate) {
              tellDropped(message.session, id, accepted)
              feed.publish(message.session, {
                _tag: "User",
                messageId: id,
                clientId: message.identity.externalId,
                seq: accepted.seq,
                text: message.body.text,
                ...(message.body.images === undefined ? {} : { images: message.body.images.map(noteOf) })
              })
              const row = { ...message, id, place, seq: accepted.seq, acceptedAt: at, ...unanswered }
              if (isCommand) lanes.command(row)
              else lanes.send(message.session, row, accepted.started, window)
              failpoint("before-ack")
            }
            return accepted
          }
        )
      )
    },
    Effect.catchTags({ LogError: (error) => Effect.fail(toRefusal(error)) })
  )

  return Inbound.of({
    submit,
    stop: Effect.sync(() => {
      stopped = true
    })
  })
})

export const layer = Layer.effect(Inbound, make)

const dropNotice = "Too many messages are waiting here; your oldest one was dropped without an answer."

/** What channels repeat, they repeat within minutes. */
const recent = { ttlMillis: 20 * 60 * 1000, maxSize: 5000 }

const keyOf = (identity: Identity): string =>
  JSON.stringify([
    identity.channel,
    identity.account,
    identity.conversation,
    identity.thread,
    identity.externalId,
    identity.revision
  ])

const unanswered = { runId: undefined, outcome: undefined, outcomeBy: undefined, endedAt: undefined }

/** A session drains by one answer at a time: a few seconds is when another try makes sense. */
const retryAfterMillis = 5000

const toRefusal = ({ reason }: MessageLog.LogError): Refusal => {
  switch (reason._tag) {
    case "SessionFull":
      return new LaneFull({ cap: reason.cap, retryAfterMillis })
    case "IdReused":
      return new IdReused({ messageId: reason.messageId })
    case "StoreFull":
      return new NotAccepting({ code: "store_full", retryAfterMillis: 30_000 })
    case "Fenced":
    case "NoSuchSession":
    case "NoSuchTurn":
    case "SessionTaken":
    case "SessionShared":
    case "StoreBusy":
    case "StoreBroken":
      return new NotAccepting({ code: "store_unavailable", retryAfterMillis })
  }
}
