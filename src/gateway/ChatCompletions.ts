/**
 * `POST /v1/chat/completions`: one message in, its answer out, whole or as it is written.
 *
 * Owns: the session a request belongs to, waiting for the answer, and the waiter table (what each outcome becomes in HTTP).
 * Does not own: reading the body (`ChatRequest`), nor the answer itself (`Answer`).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import { Ids, type MessageId } from "#src/domain/Ids.ts"
import * as SessionKey from "#src/domain/SessionKey.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import { Inbound } from "#src/inbound/Inbound.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { split, withBuiltIn } from "#src/model/Models.ts"
import { Providers, type ProviderSettings } from "#src/model/ProviderSettings.ts"
import { unsupported } from "#src/model/wishes.ts"
import { Feed } from "#src/outbound/Feed.ts"
import { Placement } from "#src/placement/Placement.ts"
import { Sessions } from "#src/session/Sessions.ts"
import * as Telemetry from "#src/Telemetry.ts"
import * as Answer from "./Answer.ts"
import { ApiError, bodyOf, invalid, storeUnavailable } from "./ApiError.ts"
import type { Principal } from "./Auth.ts"
import * as ChatChunks from "./ChatChunks.ts"
import * as ChatRequest from "./ChatRequest.ts"
import { unsupportedWish } from "./chatWishes.ts"
import { EventStream, type EventSink } from "./EventStream.ts"
import { Gateway } from "./GatewaySettings.ts"
import * as ModelNames from "./modelNames.ts"
import { sessionOf, sessionOfUser, shown } from "./ownSessions.ts"
import { isLarger, readJson, sizeWithImages, tooLarge } from "./readBody.ts"
import { toApiError } from "./refusals.ts"
import type { Call } from "./Routing.ts"
import { Shutdown } from "./Shutdown.ts"
import { StreamedText } from "./StreamedText.ts"

/** The route's channel: nothing is delivered on it, the waiting request is the delivery. */
export const channel = "http"

const keepaliveMillis = 15_000
// A client that reads too slowly gets no more pieces until the final text, so the process holds at most the answer.
const maxBuffered = 262_144

/** What is known once the message is accepted. */
interface Accepted {
  readonly messageId: MessageId
  readonly session: SessionKey.SessionKey
  readonly waiting: Answer.Waiting
  readonly head: ChatChunks.Head
}

export const make = Effect.gen(function* () {
  const agents = yield* ProjectAgents
  const settings = yield* Gateway
  const providers = yield* Providers
  const ids = yield* Ids
  const inbound = yield* Inbound
  const lanes = yield* Lanes
  const feed = yield* Feed
  const sessions = yield* Sessions
  const eventStream = yield* EventStream
  const shutdown = yield* Shutdown
  const placement = yield* Placement

  const placeOf = (call: Call, body: ChatRequest.ChatRequest, agent: string, idempotencyKey: string) => {
    const named = call.request.headers["x-opencraw-session-key"]
    if (named !== undefined) {
      return sessionOf(named, call.principal, { agent, param: "x-opencraw-session-key" })
    }
    if (body.user !== undefined) {
      return sessionOfUser(body.user, call.principal, agent)
    }
    // Derived from the key, so that a repeated request finds the run it is to join.
    const name = `${SessionKey.escapeId(call.principal.id)}:${SessionKey.escapeId(idempotencyKey)}`
    return SessionKey.canonical(`agent:${agent}:ephemeral:${name}`, agent).pipe(
      Result.map((key) => SessionKey.within(call.principal.tenant, key)),
      Result.mapError((error) => invalid("idempotency-key", error.message))
    )
  }

  const read = Effect.fnUntraced(function* (call: Call) {
    const { max_body_bytes, max_image_bytes } = settings.get()
    const maxBytes = sizeWithImages({ max_body_bytes, max_image_bytes })
    // Only images make a body larger than others may be.
    const isLarge = isLarger(call.request, max_body_bytes)
    const raw = yield* readJson(call.request, { maxBytes, lenient: true }).pipe(
      Effect.mapError((error) => (isLarge ? tooLarge(max_body_bytes) : error))
    )
    const body = yield* Effect.fromResult(ChatRequest.parse(raw, call.principal.id, max_image_bytes))
    if ((isLarge && !ChatRequest.hasImages(body)) || ChatRequest.textLength(body) > max_body_bytes) {
      return yield* tooLarge(max_body_bytes)
    }
    yield* Telemetry.ignoredKeys(body.unknownKeys)
    const table = agents.of(call.principal.tenant)
    const agent = ModelNames.resolve(body.model, table)
    if (agent === undefined) {
      return yield* new ApiError({
        status: 404,
        code: "model_not_found",
        message: "no agent answers to this model name; GET /v1/models lists those that do",
        param: "model"
      })
    }
    if (Object.keys(body.params).length > 0) {
      const kind = kindOf(ModelNames.modelOf(table, agent), providers.get())
      const wish = kind === undefined ? undefined : unsupported(kind, body.params)
      if (wish !== undefined) return yield* unsupportedWish(wish)
    }
    const { headers } = call.request
    const ephemeral = headers["x-opencraw-session-key"] === undefined && body.user === undefined
    const given = headers["idempotency-key"]
    let key = given ?? ids.next("req")
    if (key === "" || key.length > 200) {
      return yield* invalid("idempotency-key", "Idempotency-Key must have 1 to 200 characters")
    }
    let session = yield* Effect.fromResult(placeOf(call, body, agent, key))
    // A session that is made for this request has its lane where the request came in: only there its answer is streamed.
    const mayChoose = ephemeral && given === undefined
    for (let tries = mayChoose ? mostTries : 0; tries > 0 && !placement.isHere(session); tries--) {
      key = ids.next("req")
      session = yield* Effect.fromResult(placeOf(call, body, agent, key))
    }
    return { body, message: toMessage(call.principal, body, session, key, ephemeral) }
  })

  const plain = Effect.fnUntraced(function* ({ messageId, waiting, head }: Accepted) {
    const tooLong = () => waiting.giveUp(stillRunning(messageId))
    const answer = yield* beside(
      Effect.delay(Effect.sync(tooLong), settings.get().wait_limit_s * 1000),
      Effect.catchTags(waiting.answer, { LogError: () => Effect.fail(storeUnavailable(true)) })
    )
    if (answer._tag === "Ended") return yield* endedError(answer, messageId)
    return HttpServerResponse.text(ChatChunks.completion(head, answer), {
      contentType: "application/json",
      headers: { ...acceptedHeaders(head), "x-request-id": head.requestId }
    })
  })

  const streamed = Effect.fnUntraced(function* (
    call: Call,
    { messageId, waiting, head }: Accepted,
    includeUsage: boolean
  ) {
    const sink = eventStream.open(call.request, {
      ...acceptedHeaders(head),
      "x-request-id": head.requestId
    })
    sink.write(ChatChunks.role(head))
    const text = new StreamedText()
    waiting.bind(messageId, {
      onStepEnd: () => text.endStep(),
      onDelta: (offset, piece) => {
        if (sink.buffered() > maxBuffered) return
        if (!send(sink, head, text.delta(offset, piece))) waiting.giveUp(voided(messageId))
      }
    })
    const end = yield* beside(
      keepAlive(sink),
      Effect.catchTags(waiting.answer, {
        LogError: () => Effect.succeed(storeUnavailable(true)),
        ApiError: (error) => Effect.succeed(error)
      })
    )
    const error = finish(sink, head, text, end, { messageId, includeUsage })
    if (error !== undefined) sink.write(`data: ${JSON.stringify(bodyOf(error, call.requestId))}\n\n`)
    sink.end()
    return HttpServerResponse.empty({ status: 200 })
  })

  const handle = Effect.fnUntraced(function* (call: Call) {
    const { body, message } = yield* read(call)
    const created = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const waiting = Answer.wait(feed, sessions, message.session)
    const close = shutdown.onStep((step) => {
      if (step === "finish") waiting.giveUp(shuttingDown)
    })
    // Once submitted the message is durable even if the client has gone, so the two stay together.
    const answered = Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const accepted = yield* inbound.submit(message).pipe(Effect.mapError(toApiError))
        const { messageId } = accepted
        const head: ChatChunks.Head = {
          messageId,
          session: shown(message.session, call.principal),
          created,
          model: body.model === "" ? "opencraw" : body.model,
          requestId: call.requestId
        }
        const context = { messageId, session: message.session, waiting, head }
        if (!body.stream) waiting.bind(messageId)
        if (accepted.outcome !== undefined) waiting.consult(messageId)
        const answer = body.stream ? streamed(call, context, body.includeUsage) : plain(context)
        return yield* restore(answer).pipe(
          Effect.onInterrupt(() => {
            waiting.close()
            const isAbandoned = message.ephemeral && !feed.hasListeners(message.session)
            return isAbandoned && !shutdown.isStopping()
              ? Effect.ignore(lanes.cancel(message.session, messageId, call.principal.id), { log: "Warn" })
              : Effect.void
          })
        )
      })
    )
    return yield* Effect.ensuring(
      answered,
      Effect.sync(() => {
        close()
        waiting.close()
      })
    )
  })

  return { handle }
})

/** Names tried for a session whose lane is to be on this node. */
const mostTries = 100

const kindOf = (
  model: string,
  providers: Readonly<Record<string, ProviderSettings>>
): ProviderSettings["kind"] | undefined => withBuiltIn(providers)[split(model)?.provider ?? ""]?.kind

const toMessage = (
  principal: Principal,
  body: ChatRequest.ChatRequest,
  session: SessionKey.SessionKey,
  key: string,
  ephemeral: boolean
): InboundMessage => ({
  identity: {
    channel,
    account: principal.id,
    conversation: session,
    thread: "",
    externalId: key,
    revision: 0
  },
  session,
  ephemeral,
  sender: principal.id,
  access: principal.admin ? "owner" : "member",
  body: {
    text: body.text,
    ...(body.images.length === 0 ? {} : { images: body.images }),
    ...(body.system === undefined ? {} : { system: body.system }),
    ...(Object.keys(body.params).length === 0 ? {} : { params: body.params }),
    ...(ephemeral && body.prior.length > 0 ? { prior: body.prior } : {})
  }
})

const acceptedHeaders = (head: ChatChunks.Head) => ({
  "x-should-retry": "false",
  "x-opencraw-message-id": head.messageId,
  "x-opencraw-session-key": head.session
})

/** False when the text contradicts what was sent. */
const send = (sink: EventSink, head: ChatChunks.Head, piece: ReturnType<StreamedText["delta"]>): boolean => {
  if (piece._tag === "Send") sink.write(ChatChunks.content(head, piece.text))
  return piece._tag !== "Contradiction"
}

const keepAlive = (sink: EventSink): Effect.Effect<void> =>
  Effect.forever(
    Effect.delay(
      Effect.sync(() => sink.write(": keepalive\n\n")),
      keepaliveMillis
    )
  )

/** The second, with the first going on beside it until then. */
const beside = <A, E>(aside: Effect.Effect<void>, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Effect.forkDetach(aside, { startImmediately: true }), (fiber) =>
    Effect.ensuring(
      effect,
      Effect.sync(() => fiber.interruptUnsafe())
    )
  )

/** Write what ends the stream; an error instead of it when the message ended otherwise. */
const finish = (
  sink: EventSink,
  head: ChatChunks.Head,
  text: StreamedText,
  end: Answer.Answer | ApiError,
  options: { readonly messageId: MessageId; readonly includeUsage: boolean }
): ApiError | undefined => {
  if (end._tag === "ApiError") return end
  if (end._tag === "Ended") return endedError(end, options.messageId)
  if (!send(sink, head, text.final(end.text))) return voided(options.messageId)
  sink.write(ChatChunks.stop(head))
  if (options.includeUsage) sink.write(ChatChunks.usage(head, end.usage))
  sink.write("data: [DONE]\n\n")
  return undefined
}

const stillRunning = (messageId: MessageId) =>
  new ApiError({
    status: 504,
    code: "still_running",
    message: "the answer takes longer than a request may wait; the run goes on",
    details: { message_id: messageId },
    accepted: true
  })

const shuttingDown = new ApiError({
  status: 503,
  code: "shutting_down",
  message:
    "the gateway is stopping; the message is kept and will be answered in its session after the restart",
  accepted: true
})

const voided = (messageId: MessageId) =>
  new ApiError({
    status: 502,
    code: "attempt_voided",
    message: "the answer was begun again with other words; read it from the session",
    details: { message_id: messageId },
    accepted: true
  })

/** The waiter table for messages that got no answer. */
const endedError = (end: Extract<Answer.Answer, { _tag: "Ended" }>, messageId: MessageId): ApiError => {
  const details = {
    message_id: messageId,
    ...(end.by === undefined ? {} : { by: end.by }),
    ...(end.partial === "" ? {} : { partial: end.partial })
  }
  switch (end.outcome) {
    case "dropped":
    case "interrupted":
    case "cancelled":
      return new ApiError({
        status: 409,
        code: end.outcome,
        message: `the message was ${end.outcome} before it was answered`,
        details,
        accepted: true
      })
    case "expired":
      return new ApiError({
        status: 504,
        code: "expired",
        message: "the message waited too long and was not answered",
        details,
        accepted: true
      })
    case "failed": {
      const failure = end.failure ?? { code: "internal", message: "the run failed" }
      return new ApiError({
        status: failure.code === "deadline" ? 504 : 502,
        code: `run_failed_${failure.code}`,
        message: failure.message,
        details,
        accepted: true
      })
    }
  }
}
