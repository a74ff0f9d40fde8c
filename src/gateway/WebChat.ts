/**
 * The chat channel of our own page: the protocol of `/ws`.
 *
 * Owns: for which session a socket may be opened, the frames, replay without gap or double, and acknowledging only what is durable.
 * Does not own: the handshake (`Sockets`), the bytes of a WebSocket (`Connection`), slow readers (`Outbox`), admission (`inbound`) or delivery (`outbound`).
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Result from "effect/Result"
import { Channels } from "#src/channel/Channels.ts"
import type { RunId } from "#src/domain/Ids.ts"
import { Failpoint } from "#src/domain/Failpoint.ts"
import type { Image } from "#src/domain/Image.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import * as SessionKey from "#src/domain/SessionKey.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"
import { Inbound } from "#src/inbound/Inbound.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { approvalEvent, type Progress } from "#src/lane/ActiveRun.ts"
import { Feed } from "#src/outbound/Feed.ts"
import { Outbound } from "#src/outbound/Outbound.ts"
import { Placement } from "#src/placement/Placement.ts"
import { Sessions } from "#src/session/Sessions.ts"
import * as Telemetry from "#src/Telemetry.ts"
import { ApiError, invalid } from "./ApiError.ts"
import { mayWriteAs, type Principal } from "./Auth.ts"
import type { Connection, ConnectionListener } from "./Connection.ts"
import * as Frames from "./Frames.ts"
import { Outbox } from "./Outbox.ts"
import { ownedBy, sessionOf, shown } from "./ownSessions.ts"
import { toFrame } from "./refusals.ts"
import { Shutdown } from "./Shutdown.ts"
import type { Protocol } from "./Sockets.ts"

export const channel = "webchat"

const page = 200
const maxPending = 16
/** Events of a session whose seq a socket remembers. */
const mostLive = 64

/** What a socket was opened for. */
interface Seat {
  readonly principal: Principal
  readonly sender: string
  readonly session: SessionKey.SessionKey
  /** Replay from here; undefined: only what was never confirmed. */
  readonly after: number | undefined
}

/** The message of a client: its id is what makes it the same message when it is sent again. */
export const toMessage = (
  seat: Omit<Seat, "after">,
  id: string,
  content: string,
  images: ReadonlyArray<Image> = []
): InboundMessage => ({
  identity: {
    channel,
    account: seat.principal.id,
    conversation: seat.session,
    thread: "",
    externalId: id,
    revision: 0
  },
  session: seat.session,
  ephemeral: false,
  sender: seat.sender,
  access: seat.principal.admin ? "owner" : "member",
  body: { text: content, ...(images.length === 0 ? {} : { images }) }
})

/** The session of a person who names none. */
const ownSession = (sender: string, principal: Principal): Result.Result<SessionKey.SessionKey, ApiError> => {
  const own = ownedBy(principal)
  const name = own ?? `${channel}:dm:${SessionKey.escapeId(sender)}`
  return SessionKey.canonical(name).pipe(
    Result.map((key) => SessionKey.within(principal.tenant, key)),
    Result.mapError((error) => invalid("sender_id", error.message))
  )
}

export const make = Effect.gen(function* () {
  const inbound = yield* Inbound
  const lanes = yield* Lanes
  const log = yield* MessageLog
  const feed = yield* Feed
  const outbound = yield* Outbound
  const sessions = yield* Sessions
  const shutdown = yield* Shutdown
  const channels = yield* Channels
  const failpoint = yield* Failpoint
  const placement = yield* Placement
  const run = yield* FiberSet.makeRuntime<never>()

  yield* channels.register({
    name: channel,
    delivery: "keyed",
    maxChars: 0,
    showsOutcomes: true,
    confirmsLater: true,
    streams: true,
    // The lane's events reach the sockets; the person's client confirms with `received`.
    send: () => Effect.succeed(undefined)
  })

  const replay = Effect.fnUntraced(function* (seat: Seat, socket: Socket) {
    let after = seat.after ?? 0
    while (true) {
      const { messages, next } = yield* sessions.messages(seat.session, { after, limit: page })
      for (const line of messages) {
        const frame = Frames.ofTranscript(line)
        if (frame !== undefined) socket.outbox.send(frame)
        socket.toldUpTo = Math.max(socket.toldUpTo, line.seq)
      }
      if (next === undefined) return
      after = next
      yield* socket.untilDrained
    }
  })

  const redeliver = Effect.fnUntraced(function* (seat: Seat, socket: Socket) {
    const waiting = (yield* outbound.waiting(seat.session)).filter((row) => row.route.channel === channel)
    const wanted = new Set(waiting.map((row) => row.seq))
    if (wanted.size === 0) return
    const last = Math.max(...wanted)
    let after = Math.min(...wanted) - 1
    while (true) {
      const { messages, next } = yield* sessions.messages(seat.session, { after, limit: page })
      for (const line of messages) {
        const frame = wanted.has(line.seq) ? Frames.ofTranscript(line) : undefined
        if (frame === undefined) continue
        socket.told.add(line.seq)
        socket.outbox.send(frame)
      }
      if (next === undefined || next >= last) return
      after = next
      yield* socket.untilDrained
    }
  })

  const greet = Effect.fnUntraced(function* (seat: Seat, socket: Socket) {
    const row = yield* sessions.find(seat.session)
    socket.outbox.send({
      type: "hello",
      sender_id: seat.sender,
      session_key: shown(seat.session, seat.principal),
      seq: row?.seq ?? 0
    })
    // What the log tells in place of a lane on another node begins a little earlier.
    if (placement.isShared) socket.toldUpTo = row?.seq ?? 0
    yield* seat.after === undefined ? redeliver(seat, socket) : replay(seat, socket)
    const asked = yield* log.approvals({
      tenant: SessionKey.tenantOf(seat.session),
      session: seat.session,
      limit: page
    })
    for (const row of asked) socket.outbox.send(Frames.ofEvent(approvalEvent(row)))
    const progress = lanes.current(seat.session)
    if (progress !== undefined && progress.runId === socket.cameInto) tellProgress(socket, progress)
  })

  // What the socket has missed of the run under way. Events since it came are held back and told after this; where they
  // repeat text their offset says so.
  const tellProgress = (socket: Socket, { runId, attempt, text, tools }: Progress) => {
    socket.outbox.send({ type: "run", run_id: runId, attempt, state: "started" })
    socket.outbox.send({ type: "typing", on: true })
    for (const { id, name } of tools) {
      socket.outbox.send({ type: "tool", run_id: runId, call_id: id, name, phase: "started", summary: "" })
    }
    if (text !== "") socket.outbox.send({ type: "delta", run_id: runId, attempt, offset: 0, content: text })
  }

  const submit = Effect.fnUntraced(function* (
    seat: Seat,
    socket: Socket,
    frame: Extract<Frames.ClientFrame, { type: "message" }>
  ) {
    socket.own.add(frame.id)
    const accepted = yield* inbound.submit(toMessage(seat, frame.id, frame.content)).pipe(Effect.result)
    if (Result.isFailure(accepted)) {
      socket.own.delete(frame.id)
      socket.outbox.send({ type: "refused", id: frame.id, ...toFrame(accepted.failure) })
      return
    }
    const { messageId, seq, outcome, duplicate } = accepted.success
    if (duplicate) socket.own.delete(frame.id)
    socket.outbox.send({ type: "ack", id: frame.id, message_id: messageId, seq })
    failpoint("after-ack")
    // Sent again after it had ended: the client missed what it became.
    if (outcome !== undefined) socket.outbox.send({ type: "outcome", id: frame.id, outcome })
  })

  const cancel = Effect.fnUntraced(function* (seat: Seat, socket: Socket, id: string) {
    const { identity } = toMessage(seat, id, "")
    const row = yield* log.lookup({ tenant: SessionKey.tenantOf(seat.session), identity })
    const reached = row !== undefined && (yield* lanes.cancel(seat.session, row.id, seat.principal.id))
    if (!reached) socket.outbox.send(Frames.error("not_open", "no open message has this id"))
  })

  const act = (seat: Seat, socket: Socket, text: string) => {
    const decoded = Frames.decode(text)
    if (Result.isFailure(decoded)) return Effect.sync(() => socket.outbox.send(decoded.failure))
    const frame = decoded.success
    switch (frame.type) {
      case "message":
        return submit(seat, socket, frame)
      case "received":
        return outbound.confirm(seat.session, frame.id)
      case "stop":
        return lanes.stop(seat.session, seat.principal.id)
      case "cancel":
        return cancel(seat, socket, frame.id)
      case "reaction":
        return Effect.sync(() => socket.outbox.send(Frames.error("not_built", "reactions are not built yet")))
    }
  }

  // Events wait while a frame is acted on, so an acknowledgement always comes before what it leads to.
  const inTurn = (socket: Socket, effect: Effect.Effect<unknown, { readonly message: string }>) =>
    effect.pipe(
      Effect.catchCause((cause) =>
        Effect.andThen(
          Effect.logError("a socket's request failed", cause),
          Effect.sync(() => socket.outbox.send(Frames.error("internal", "this could not be done; try again")))
        )
      ),
      Effect.ensuring(Effect.sync(() => socket.outbox.release()))
    )

  const attach =
    (seat: Seat) =>
    (connection: Connection): ConnectionListener => {
      const socket = new Socket(connection)
      const unsubscribe = feed.subscribe(seat.session, (event) => socket.outbox.event(event))
      socket.cameInto = lanes.current(seat.session)?.runId
      const offSteps = shutdown.onStep((step) => {
        if (step === "begin") socket.outbox.send(stoppingFrame)
        else connection.close(1001, "the gateway is stopping")
      })
      const drain = Effect.gen(function* () {
        for (let text = socket.pending.shift(); text !== undefined; text = socket.pending.shift()) {
          if (socket.pending.length === maxPending / 2) connection.resume()
          socket.outbox.hold()
          yield* inTurn(socket, act(seat, socket, text))
        }
        socket.isBusy = false
      })
      const work = (first: Effect.Effect<void>) => {
        socket.isBusy = true
        run(Effect.andThen(first, drain))
      }
      const greeted = Effect.tapError(greet(seat, socket), () =>
        Effect.sync(() => connection.close(1011, "the log cannot be read; reconnect later"))
      )
      socket.outbox.hold()
      work(inTurn(socket, greeted))
      return {
        onText: (text) => {
          Telemetry.frameReceived()
          socket.pending.push(text)
          if (socket.pending.length === maxPending) connection.pause()
          if (!socket.isBusy) work(Effect.void)
        },
        onBinary: () => socket.outbox.send(Frames.error("not_text", "frames are JSON texts")),
        onDrain: () => socket.drained(),
        onClose: () => {
          unsubscribe()
          offSteps()
          socket.closed()
        }
      }
    }

  return {
    access: "chat",
    parameters,
    open: (principal, query) => Result.map(seatOf(principal, query), attach)
  } satisfies Protocol
})

const parameters = new Set(["sender_id", "session_key", "after"])
const stoppingFrame = Frames.error("shutting_down", "the gateway is stopping; reconnect in a moment")

const seatOf = (principal: Principal, query: URLSearchParams): Result.Result<Seat, ApiError> =>
  Result.gen(function* () {
    const sender = query.get("sender_id") ?? principal.id
    if (sender === "" || sender.length > 200 || !sender.isWellFormed()) {
      return yield* Result.fail(invalid("sender_id", "sender_id must have 1 to 200 characters"))
    }
    if (!mayWriteAs(principal, sender)) {
      return yield* Result.fail(
        new ApiError({
          status: 403,
          code: "foreign_sender",
          message: "this principal may not write as this sender",
          param: "sender_id"
        })
      )
    }
    const named = query.get("session_key")
    const session = yield* named === null ? ownSession(sender, principal) : sessionOf(named, principal)
    const since = query.get("after")
    if (since !== null && !/^[0-9]{1,15}$/.test(since)) {
      return yield* Result.fail(invalid("after", "after must be a whole number of at least 0"))
    }
    return { principal, sender, session, after: since === null ? undefined : Number(since) }
  })

/** One open socket's state. */
class Socket {
  /** Highest seq the replay has told. */
  toldUpTo = 0
  /** Seqs that were told out of order, as redeliveries. */
  readonly told = new Set<number>()
  /** Client ids sent on this socket, so that it is not told its own words. */
  readonly own = new Set<string>()
  readonly pending: Array<string> = []
  isBusy = false
  /** The run that went on when the socket came: of a later one it has missed nothing. */
  cameInto: RunId | undefined
  readonly outbox: Outbox
  readonly untilDrained: Effect.Effect<void>
  /** Seqs of the newest events that were told as they came. */
  readonly #live = new Set<number>()
  #waiting: (() => void) | undefined

  constructor(connection: Connection) {
    this.outbox = new Outbox(connection, this.#isNews)
    this.untilDrained = Effect.callback((resume) => {
      if (!this.outbox.isSlow) return resume(Effect.void)
      this.#waiting = () => resume(Effect.void)
    })
  }

  drained(): void {
    this.outbox.drained()
    this.#waiting?.()
    this.#waiting = undefined
  }

  closed(): void {
    this.pending.length = 0
    this.outbox.close()
    this.drained()
  }

  readonly #isNews = (event: SessionEvent): boolean => {
    if (event._tag !== "User" && event._tag !== "Message") return true
    if (event.seq <= this.toldUpTo || this.told.delete(event.seq) || this.#live.has(event.seq)) return false
    // A lane that goes to another node is told of from the log, which begins a little earlier.
    this.#live.add(event.seq)
    if (this.#live.size > mostLive) this.#live.delete(this.#live.values().next().value!)
    return event._tag === "Message" || !this.own.delete(event.clientId)
  }
}
