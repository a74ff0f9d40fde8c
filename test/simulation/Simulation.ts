/**
 * The whole gateway on one seed: a day of messages and faults, then rest, then the account.
 *
 * Owns: starting, killing and restarting the process, its clients, and what must hold once everything has come to rest.
 * Does not own: the plan (`Plan`), the disk (`Disk`), what must hold of each unit (`Ledger`), the outside (`Outside`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Chance from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as MemoryCentralDb from "#layers/horizons/MemoryCentralDb.ts"
import * as MemoryAuditLog from "#layers/horizons/MemoryAuditLog.ts"
import * as Settings from "#layers/platform/Settings.ts"
import * as Audit from "#src/access/Audit.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import { Failpoint } from "#src/domain/Failpoint.ts"
import { type ApprovalId, Ids, type MessageId } from "#src/domain/Ids.ts"
import type { InboundMessage } from "#src/domain/Inbound.ts"
import { type SessionKey, tenantOf } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import type { JournalRecord } from "#src/domain/JournalRecord.ts"
import { MessageLog, type MessageTrace } from "#src/horizons/MessageLog.ts"
import { Tenants } from "#src/horizons/Tenants.ts"
import * as Inbound from "#src/inbound/Inbound.ts"
import * as Lanes from "#src/lane/Lanes.ts"
import * as SessionModels from "#src/lane/SessionModels.ts"
import * as SessionQueues from "#src/lane/SessionQueues.ts"
import { recordsOf, redecide } from "#src/lane/replay.ts"
import * as Feed from "#src/outbound/Feed.ts"
import * as Outbound from "#src/outbound/Outbound.ts"
import { type StreamSettings, streamModeOf } from "#src/outbound/StreamSettings.ts"
import { layerForgetful } from "#src/model/ModelHealth.ts"
import * as Sessions from "#src/session/Sessions.ts"
import * as SessionUsage from "#src/session/SessionUsage.ts"
import * as System from "#src/System.ts"
import { Disk, type Store } from "./Disk.ts"
import { Ledger } from "./Ledger.ts"
import { channelNames, marked, Outside, waiterName } from "./Outside.ts"
import { type Act, type ForkAct, otherTenant, type Place, type Plan, planOf } from "./Plan.ts"
import { Random } from "./Random.ts"
import { Life, World } from "./World.ts"

export interface Verdict {
  readonly seed: number
  /** The promise that was broken; undefined when all held. */
  readonly broken: string | undefined
  /** What happened, a line each: seconds, where, what. */
  readonly timeline: () => ReadonlyArray<string>
  readonly counts: Readonly<Record<string, number>>
  /** What the lanes decided, by session, as far as it was kept. */
  readonly journals: Readonly<Record<string, ReadonlyArray<JournalRecord>>>
}

type Doors =
  | Inbound.Inbound
  | Lanes.Lanes
  | Feed.Feed
  | Outbound.Outbound
  | Sessions.Sessions
  | SessionModels.SessionModels
  | SessionQueues.SessionQueues
  | SessionUsage.SessionUsage

/** A gateway that has started. */
interface Gateway {
  readonly life: Life
  readonly doors: Context.Context<Doors>
  readonly run: <A, E>(effect: Effect.Effect<A, E, Doors>) => Fiber.Fiber<A, E>
  readonly scope: Scope.Closeable
}

class Simulation {
  readonly world: World
  readonly plan: Plan
  readonly ledger: Ledger
  readonly disk: Disk
  readonly outside: Outside
  gateway: Gateway | undefined
  readonly acknowledged = new Map<string, MessageId>()
  readonly refused = new Map<string, number>()
  /** For what the gateway leaves to chance; apart from the world's, so that it changes nothing there. */
  readonly #chance: Chance.Random
  #lives = 0
  #ids = 0
  #trap:
    | { readonly place: Place; left: number; readonly powerLoss: boolean; readonly down: number }
    | undefined
  #isLeaving = false
  crashes = 0
  /** By session, once all has come to rest. */
  readonly journals: Record<string, ReadonlyArray<JournalRecord>> = {}
  /** Decisions of the journals that were taken again. */
  decided = 0

  constructor(seed: number, store: Store) {
    this.world = new World(seed)
    const random = new Random(seed + 0x5bd1_e995)
    this.#chance = {
      nextDoubleUnsafe: () => random.next(),
      nextIntUnsafe: () => random.between(0, Number.MAX_SAFE_INTEGER)
    }
    this.plan = planOf(seed)
    this.ledger = new Ledger(this.world)
    this.disk = new Disk(this.world, this.ledger, store, this.plan.latency)
    this.outside = new Outside(this.world, this.ledger, this.disk, this.plan.moods, this.plan.budgets)
    this.ledger.onAsked = (approval) => this.#ask(approval.id, approval.session)
    this.disk.onPassing = (moment) => this.#pass(moment)
  }

  get sessions(): Plan["sessions"] {
    return [...this.plan.sessions, ...this.plan.forks]
  }

  /** Start a process on the disk as it is. */
  start(): void {
    const life = new Life(this.world, ++this.#lives)
    this.world.life = life
    this.world.note("process", `starts (${life.number})`)
    const runtime = Context.empty().pipe(
      Context.add(Scheduler.Scheduler, life),
      Context.add(Clock.Clock, life.clock),
      Context.add(Chance.Random, this.#chance),
      Context.add(Metric.FiberRuntimeMetrics, life.metrics),
      Context.add(Failpoint, () => this.#pass("failpoint")),
      Context.add(Logger.CurrentLoggers, new Set())
    )
    const run = Effect.runForkWith(runtime)
    const layer = System.layer.pipe(
      Layer.provideMerge(
        Layer.merge(Audit.layer, MemoryCentralDb.layer).pipe(Layer.provide(MemoryAuditLog.layer))
      ),
      Layer.provideMerge(
        Layer.mergeAll(
          Layer.succeed(MessageLog, this.disk.logOf(life)),
          Layer.succeed(Tenants, { all: Effect.succeed([local, otherTenant]) }),
          Layer.succeed(Ids, this.#idsOf()),
          layerForgetful,
          this.outside.layer(life).pipe(Layer.provideMerge(System.registries)),
          Settings.layerFrom(this.plan.config).pipe(Layer.orDie)
        )
      )
    )
    const scope = Scope.makeUnsafe()
    const starting = Effect.gen({ self: this }, function* () {
      const doors = yield* Layer.buildWithScope(Layer.fresh(layer), scope)
      yield* this.#listen(life, Context.get(doors, Feed.Feed))
      yield* Context.get(doors, Outbound.Outbound).recover
      yield* Context.get(doors, Lanes.Lanes).recover
      return doors
    })
    run(starting).addObserver((exit) => {
      if (!life.alive) return
      if (exit._tag === "Failure") {
        this.world.note("process", `could not start: ${String(exit.cause)}`)
        return this.crash(false, 1_000)
      }
      const doors = exit.value
      this.world.note("process", "is ready")
      this.gateway = {
        life,
        doors,
        run: (effect) => run(Effect.provideContext(effect, doors)),
        scope
      }
    })
  }

  #idsOf(): Ids["Service"] {
    const next = (prefix: string) => `${prefix}_${String(++this.#ids).padStart(5, "0")}`
    return Ids.of({ next, secret: () => next("secret") })
  }

  /** Nothing is told that is not durable. */
  #listen(life: Life, feed: Feed.Feed["Service"]) {
    return Effect.sync(() => {
      for (const session of this.sessions) {
        feed.subscribe(session, (event) => {
          if (life.alive) this.#told(session, event)
        })
      }
    })
  }

  #told(session: string, event: SessionEvent): void {
    const { world, ledger, disk } = this
    const isDurable = (by: number | undefined) => by !== undefined && by <= disk.durable
    switch (event._tag) {
      case "User":
        return world.check(
          isDurable(ledger.messages.get(event.messageId)?.acceptedBy),
          session,
          () => `${event.clientId} is durable before it is shown`
        )
      case "Message":
        // A line that another model answered stands beside its run's answer and answers nobody.
        if (/ answered, because |usual model answers again/.test(event.text)) {
          return world.check(event.answers.length === 0, session, () => "a notice answers nobody")
        }
        world.note(session, `told: answer to ${event.answers.join(", ")}`)
        world.check(
          !ledger.answers.has(event.id) || ledger.answeredBy(event.runId).join() === event.answers.join(),
          session,
          () =>
            `answer ${event.id} is told for all it answers (${ledger.answeredBy(event.runId).join()}), not ${event.answers.join()}`
        )
        return world.check(
          isDurable(ledger.entries.get(event.id)),
          session,
          () => `answer ${event.id} is durable before it is told`
        )
      case "Outcome": {
        const message = ledger.messages.get(event.messageId)
        world.note(session, `told: ${event.clientId} ${event.outcome}`)
        world.check(
          message?.outcome === event.outcome,
          session,
          () => `${event.clientId} is told to be ${event.outcome}, and is ${message?.outcome}`
        )
        return world.check(
          isDurable(message?.endedBy),
          session,
          () => `${event.clientId} is durably ${event.outcome} before that is told`
        )
      }
      case "Run":
      case "Typing":
      case "Delta":
      case "Tool":
        return
    }
  }

  #pass(place: Place): void {
    const trap = this.#trap
    if (trap?.place !== place || this.world.life?.alive !== true) return
    trap.left--
    if (trap.left > 0) return
    this.#trap = undefined
    this.crash(trap.powerLoss, trap.down)
  }

  /** The process is gone in this very moment, and comes back after `down`. */
  crash(powerLoss: boolean, down: number): void {
    const life = this.world.life
    if (life === undefined || !life.alive) return
    this.crashes++
    this.world.note("process", `dies (${life.number})`)
    this.#gone(life, powerLoss, down)
  }

  #gone(life: Life, powerLoss: boolean, down: number): void {
    life.kill()
    this.gateway = undefined
    this.#isLeaving = false
    this.outside.disconnect(life)
    this.world.after(down, () => {
      this.world.await(this.disk.survive(powerLoss), () => this.start())
    })
  }

  /** A process that was asked to stop. */
  #leave(gateway: Gateway, grace: number, down: number): void {
    this.world.note("process", "is asked to stop")
    this.#isLeaving = true
    const leaving = Effect.gen(function* () {
      yield* (yield* Inbound.Inbound).stop
      yield* (yield* Lanes.Lanes).drain(grace)
      yield* Scope.close(gateway.scope, Exit.void)
    })
    gateway.run(leaving).addObserver(() => {
      if (!gateway.life.alive) return
      this.world.note("process", "has stopped")
      this.#gone(gateway.life, false, down)
    })
  }

  act(act: Act): void {
    const { world, gateway } = this
    switch (act._tag) {
      case "Message":
        return this.#submit(act.message, act.patience, act.gone)
      case "Reuse":
        return this.#reuse(act.message)
      case "Fork":
        return this.#fork(act)
      case "Cancel": {
        const id = this.acknowledged.get(act.clientId)
        if (gateway === undefined || id === undefined) return
        const message = this.ledger.messages.get(id)
        if (message === undefined) return
        world.note(message.session, `somebody cancels ${act.clientId}`)
        this.ledger.cancels(id)
        gateway.run(Effect.flatMap(Lanes.Lanes, (lanes) => lanes.cancel(message.session as never, id, "ada")))
        return
      }
      case "Stop":
        if (gateway === undefined) return
        world.note(act.session, "somebody stops the session")
        this.ledger.stops(act.session)
        gateway.run(Effect.flatMap(Lanes.Lanes, (lanes) => lanes.stop(act.session, "ada")))
        return
      case "Crash":
        if (act.place === "time") return this.crash(act.powerLoss, act.down)
        this.#trap = { place: act.place, left: act.passing, powerLoss: act.powerLoss, down: act.down }
        return
      case "Restart":
        if (gateway !== undefined && !this.#isLeaving) this.#leave(gateway, act.grace, act.down)
        return
      case "Store":
        return this.#spoil(act.mood, act.millis)
      case "Clock":
        world.note("clock", `jumps by ${act.millis} ms`)
        world.skew += act.millis
        return
    }
  }

  /** A person who is asked decides some time later, or never. */
  #ask(id: ApprovalId, session: string): void {
    const { world } = this
    const decision = world.random.weighted({ approved: 5, denied: 2, expired: 3 })
    if (decision === "expired") return
    const decide = (): void => {
      const { gateway } = this
      if (gateway === undefined) return world.after(1_000, decide)
      world.note(session, `somebody says: ${id} is ${decision}`)
      gateway
        .run(
          Effect.flatMap(Lanes.Lanes, (lanes) =>
            lanes.resolve(tenantOf(session as SessionKey), id, decision, "ada")
          )
        )
        .addObserver((exit) => {
          if (!gateway.life.alive) return
          // Lost power may have taken the question with it.
          const state = exit._tag === "Success" ? exit.value : undefined
          world.check(state !== "pending", session, () => `${id} is decided, not pending`)
        })
    }
    world.after(world.random.between(0, 8_000), decide)
  }

  #spoil(mood: "full" | "busy" | "broken", millis: number): void {
    this.world.note("disk", `is ${mood}`)
    this.disk.mood = mood
    if (mood === "broken") {
      // The gateway looks once a second, and ends itself.
      this.world.after(1_000, () => this.crash(false, 500))
      return
    }
    this.world.after(millis, () => {
      if (this.disk.mood !== mood) return
      this.world.note("disk", "is well")
      this.disk.mood = "well"
    })
  }

  /** A client that asks again until it is told, or loses patience with a full session. */
  #submit(message: InboundMessage, patience: number, gone: number | undefined): void {
    const { world, gateway } = this
    const { externalId: clientId } = message.identity
    const again = (millis: number, left = patience) =>
      world.after(millis, () => this.#submit(message, left, undefined))
    if (gateway === undefined) return again(world.random.between(100, 2_000))
    let isAnswered = false
    const fiber = gateway.run(Effect.flatMap(Inbound.Inbound, (inbound) => inbound.submit(message)))
    fiber.addObserver((exit) => {
      if (!gateway.life.alive || isAnswered) return
      isAnswered = true
      if (exit._tag === "Success") return this.#acknowledge(message, exit.value.messageId)
      const reason = exit.cause.reasons[0]
      const error = reason?._tag === "Fail" ? reason.error : undefined
      if (error === undefined) {
        if (gone === undefined && !this.#isLeaving)
          world.broken(message.session, `submit ends typed: ${String(exit.cause)}`)
        return again(world.random.between(0, 3_000))
      }
      world.note(message.session, `refused ${clientId}: ${error._tag}`)
      if (error._tag === "LaneFull") {
        this.refused.set(clientId, (this.refused.get(clientId) ?? 0) + 1)
        if (patience > 0)
          again(Math.min(error.retryAfterMillis, world.random.between(500, 5_000)), patience - 1)
        return
      }
      world.check(
        error._tag === "NotAccepting",
        message.session,
        () => `${clientId} is refused as ${error._tag}`
      )
      again(world.random.between(200, 3_000))
    })
    // No word for long: the connection broke, or the process died.
    world.after(10_000, () => {
      if (isAnswered || this.acknowledged.has(clientId)) return
      isAnswered = true
      again(0)
    })
    if (gone !== undefined) {
      world.after(gone, () => {
        if (gateway.life.alive && !isAnswered) fiber.interruptUnsafe()
      })
    }
  }

  #acknowledge(message: InboundMessage, id: MessageId): void {
    const { externalId: clientId } = message.identity
    const known = this.ledger.messages.get(id)
    this.world.note(message.session, `acknowledged ${clientId}`)
    this.world.check(
      known !== undefined && known.clientId === clientId && known.acceptedBy <= this.disk.durable,
      message.session,
      () => `${clientId} is durable before it is acknowledged`
    )
    const before = this.acknowledged.get(clientId)
    this.world.check(
      before === undefined || before === id,
      message.session,
      () => `${clientId} is acknowledged under one id`
    )
    this.acknowledged.set(clientId, id)
  }

  #reuse(message: InboundMessage): void {
    const { gateway } = this
    const { externalId: clientId } = message.identity
    if (gateway === undefined || !this.acknowledged.has(clientId)) return
    gateway.run(Effect.flatMap(Inbound.Inbound, (inbound) => inbound.submit(message))).addObserver((exit) => {
      const reason = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
      const tag = reason?._tag === "Fail" ? reason.error._tag : exit._tag
      if (gateway.life.alive) {
        this.world.check(
          tag === "IdReused" || tag === "NotAccepting" || this.#isLeaving,
          message.session,
          () => `another text under ${clientId} is refused, not ${tag}`
        )
      }
    })
  }

  /** A person who reads the page, forks at one of its lines, and asks again until it is told; the day over, nobody asks any more. */
  #fork(act: ForkAct): void {
    const { world, ledger, gateway } = this
    const { session, from } = act
    const again = () => world.after(world.random.between(200, 3_000), () => this.#fork(act))
    if (world.now > this.plan.healed) return
    if (gateway === undefined) return again()
    const known = { turn: undefined as number | undefined }
    const forking = Effect.gen(function* () {
      const sessions = yield* Sessions.Sessions
      const page = yield* sessions.messages(from, { limit: 100_000 })
      const lines = page.messages.filter(({ role }) => role !== "system")
      const line = act.where === undefined ? undefined : lines[Math.floor(act.where * lines.length)]
      known.turn = ledger.turnAt(from, line?.seq)
      const made = yield* sessions.fork(from, session, line?.seq)
      ;(yield* SessionModels.SessionModels).adopt(session, made.settings)
      ;(yield* SessionUsage.SessionUsage).adopt(session, made.settings)
      ;(yield* SessionQueues.SessionQueues).adopt(session, made.queue)
      ;(yield* Lanes.Lanes).adopt(session, made.settings)
    })
    let isTold = false
    gateway.run(forking).addObserver((exit) => {
      if (!gateway.life.alive || isTold) return
      isTold = true
      const reason = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
      if (exit._tag === "Success") return this.#forked(act)
      if (reason?._tag !== "Fail") {
        if (!this.#isLeaving) world.broken(session, `a fork ends typed: ${String(exit.cause)}`)
        return again()
      }
      const { _tag: tag } = reason.error.reason
      world.note(session, `is not forked from ${from}: ${tag}`)
      switch (tag) {
        // An earlier answer was lost.
        case "SessionTaken":
          return this.#forked(act)
        case "NoSuchTurn":
          world.check(known.turn === undefined, session, () => `${from} has an answered turn there`)
          return again()
        case "NoSuchSession":
          world.check(
            known.turn === undefined,
            session,
            () => `${from} is there, with an answer at ${known.turn}`
          )
          return again()
        case "StoreBroken":
        case "StoreBusy":
        case "StoreFull":
          return again()
        default:
          return world.broken(session, `a fork is not refused as ${tag}`)
      }
    })
    // No word for long: the process died.
    world.after(10_000, () => {
      if (isTold) return
      isTold = true
      again()
    })
  }

  /** The fork is there for good: the conversation goes on in both. */
  #forked({ session, from, messages, deletes, stops }: ForkAct): void {
    const { world, ledger, disk } = this
    const by = ledger.forks.get(session)?.by
    world.note(session, `told: it is a fork of ${from}`)
    world.check(
      by !== undefined && by <= disk.durable,
      session,
      () => `a fork is durable before that is told`
    )
    for (const { after, message, patience } of messages)
      world.after(after, () => this.#submit(message, patience, undefined))
    if (stops !== undefined) world.after(stops, () => this.act({ _tag: "Stop", session }))
    if (deletes !== undefined) world.after(deletes, () => this.#deleteShared(from, session))
  }

  /** Nobody loses what a fork shares. */
  #deleteShared(from: ForkAct["from"], fork: string): void {
    const { world, gateway, ledger } = this
    if (gateway === undefined) return
    // It may share nothing of this one's own: a turn that was shared already is its owner's.
    const owner = ledger.ownerOf(fork)
    world.note(from, `somebody wants to delete ${owner}, and ${fork} is a fork of it`)
    gateway
      .run(Effect.flatMap(Sessions.Sessions, (sessions) => sessions.remove(owner as never)))
      .addObserver((exit) => {
        if (!gateway.life.alive || this.#isLeaving) return
        const reason = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
        const refused = reason?._tag === "Fail" ? reason.error.reason : undefined
        const isNamed = refused?._tag === "SessionShared" && refused.forks.includes(fork)
        const isStore = refused?._tag.startsWith("Store") === true
        world.check(
          isNamed || isStore,
          from,
          () => `is not deleted while ${fork} shares it: ${refused?._tag ?? exit._tag}`
        )
      })
  }

  heal(): void {
    this.world.note("world", "from now on nothing goes wrong")
    this.#trap = undefined
    this.outside.heal()
    if (this.disk.mood !== "broken") this.disk.mood = "well"
  }

  /** What must hold once everything has come to rest. */
  async rest(): Promise<void> {
    const { world, ledger, gateway } = this
    if (gateway === undefined) return world.broken("process", "is ready when nothing goes wrong")
    for (const message of ledger.messages.values()) {
      world.check(
        message.outcome !== undefined,
        message.session,
        () => `${message.clientId} (${message.mode}) has an outcome in the end`
      )
    }
    for (const [clientId, id] of this.acknowledged) {
      world.check(
        ledger.messages.has(id),
        "inbound",
        () => `${clientId} was acknowledged and is there in the end`
      )
    }
    for (const delivery of ledger.deliveries.values()) this.#checkDelivery(delivery)
    for (const { id, session, state } of ledger.approvals.values())
      world.check(state !== "pending", session, () => `${id} is decided or given up in the end`)
    for (const session of this.sessions) {
      await this.#checkTranscript(session)
      await this.#checkJournal(session)
    }
    for (const fork of ledger.forks.values()) await this.#checkFork(fork)
    const lanes = Effect.runSync(Context.get(gateway.doors, Lanes.Lanes).list)
    world.check(
      lanes.length === 0,
      "lanes",
      () => `no lane is in memory at rest, not ${JSON.stringify(lanes)}`
    )
    world.check(this.outside.streaming.size === 0, "model", () => `no model call goes on at rest`)
    await this.#checkPermits(gateway)
    await this.#checkDeletion(gateway)
    await this.#checkLeaks(gateway)
  }

  #checkDelivery(delivery: ReturnType<Ledger["deliveries"]["get"]> & object): void {
    const { world } = this
    const { id, session, channel, state } = delivery
    const arrived = this.outside.arrivals.get(id)
    world.check(
      state === "sent" || state === "dead" || (state === "uncertain" && channel === channelNames.blind),
      session,
      () => `${id} on ${channel} ends sent, dead or uncertain, not ${state}`
    )
    world.check(state !== "sent" || arrived !== undefined, session, () => `${id} is sent and has arrived`)
    const { edits, text } = delivery
    const isChanged = edits !== undefined && state === "sent" && this.outside.sentApart.has(id) === false
    world.check(
      !isChanged || this.outside.shown.get(edits) === text,
      session,
      () => `${edits} says the answer in the end (${text}), not ${this.outside.shown.get(edits ?? "")}`
    )
  }

  /**
   * What is sent of a run, joined, is its answer, each part once: with all it said before its tools where that was sent in blocks.
   * Of a run that was cut off it is the beginning of what the transcript keeps.
   */
  #checkSent({ message, run, entries, deliveries }: MessageTrace): void {
    const channel = deliveries[0]?.route.channel
    if (run === undefined || channel === undefined) return
    const { stream } = this.plan.config as { readonly stream: StreamSettings }
    const mode = streamModeOf(stream, channel)
    const isInBlocks = mode === "blocks" || (mode === "preview" && channel === channelNames.keyed)
    const texts = entries.flatMap(({ entry }) =>
      entry.kind === "assistant" && (isInBlocks || entry.calls === undefined) ? [entry.text] : []
    )
    const bare = (parts: ReadonlyArray<string>) => parts.join("").replace(/\s/g, "")
    const said = bare(texts)
    // The gateway's own words are no part of it: questions, notices, failures, and what a dropped message's sender is told.
    const others = entries.flatMap(({ id, entry }) =>
      entry.kind === "notice" || entry.kind === "failure" ? [`dlv_${id}_`] : []
    )
    const words = deliveries
      .filter(({ id }) => ![...others, "dlv_drop_"].some((prefix) => id.startsWith(prefix)))
      .map(({ text }) => text)
    const sent = bare(words)
    const isWhole = run.state === "ended" && run.failure === undefined && message.outcome === "answered"
    this.world.check(
      isWhole ? sent === said : said.startsWith(sent),
      message.place.session,
      () => `what is sent of ${run.id} is what it said, each part once: ${sent}, not ${said}`
    )
  }

  async #checkTranscript(session: Plan["sessions"][number]): Promise<void> {
    const { world, ledger } = this
    const { log } = this.disk
    const rows = await Effect.runPromise(log.entries({ tenant: tenantOf(session), session, limit: 100_000 }))
    const mine = [...ledger.messages.values()].filter((message) => message.session === session)
    const open = await Effect.runPromise(log.open({ tenant: tenantOf(session), session, limit: 1_000 }))
    world.check(
      open.length === 0,
      session,
      () => `no message is open, not ${open.map((row) => row.identity.externalId).join(", ")}`
    )
    const results = new Map<string, number>()
    const answers = new Map<string, number>()
    for (const row of rows) {
      if (row.entry.kind === "assistant") for (const call of row.entry.calls ?? []) results.set(call.id, 0)
      if (row.entry.kind === "tool") results.set(row.entry.callId, (results.get(row.entry.callId) ?? 10) + 1)
      for (const clientId of row.answers ?? []) answers.set(clientId, (answers.get(clientId) ?? 0) + 1)
    }
    for (const [call, count] of results)
      world.check(count === 1, session, () => `${call} has one result in the transcript, not ${count}`)
    for (const message of mine) {
      const trace = await Effect.runPromise(log.message({ tenant: tenantOf(session), id: message.id }))
      const row = trace?.message
      if (trace !== undefined) this.#checkSent(trace)
      world.check(
        row?.outcome === message.outcome,
        session,
        () => `${message.clientId} is ${row?.outcome} in the log and was ended as ${message.outcome}`
      )
      const shown = rows.filter((one) => one.messageId === message.id).length
      world.check(
        shown === 1,
        session,
        () => `${message.clientId} stands once in the transcript, not ${shown} times`
      )
      const times = answers.get(message.clientId) ?? 0
      world.check(times <= 1, session, () => `${message.clientId} is answered once, not ${times} times`)
      const isAnswered = mine.some((one) => one.run === message.run && one.outcome === "answered")
      const isJoined =
        !message.isCommand &&
        (message.outcome === "answered" || message.outcome === "merged" || message.outcome === "steered")
      world.check(
        isJoined && isAnswered ? times === 1 : times === 0 || isJoined,
        session,
        () => `${message.clientId} ended as ${message.outcome} and is listed by ${times} answers`
      )
    }
    this.#checkModelOrder(session, rows)
  }

  /** A fork begins with what was shared, as it was then and still is where it was said, and goes on with its own. */
  async #checkFork({
    session,
    from,
    seq,
    shared
  }: ReturnType<Ledger["forks"]["get"]> & object): Promise<void> {
    const { world, ledger } = this
    const read = (of: string) =>
      Effect.runPromise(
        this.disk.log.history({ tenant: tenantOf(of as SessionKey), session: of as never, limit: 100_000 })
      )
    const rows = await read(session)
    const original = await read(from)
    const own = rows.slice(shared.length)
    const begins = (all: typeof rows) =>
      JSON.stringify(all.slice(0, shared.length)) === JSON.stringify(shared)
    world.check(shared.length > 0 && begins(rows), session, () => `begins with what it shares of ${from}`)
    world.check(begins(original), from, () => `keeps what its fork ${session} shares as it was`)
    const isOwn = (runId: string | undefined) => ledger.runs.get(runId as never)?.session === session
    world.check(
      own.every((row) => row.seq > seq && isOwn(row.runId)),
      session,
      () => `goes on with its own behind ${seq}, and with nothing that was said elsewhere`
    )
    const page = await Effect.runPromise(
      this.disk.log.entries({
        tenant: tenantOf(session as SessionKey),
        session: session as never,
        limit: 100_000
      })
    )
    world.check(
      JSON.stringify(page.slice(0, shared.length)) ===
        JSON.stringify(shared.toSorted((a, b) => a.seq - b.seq)),
      session,
      () => `its page begins with what it shares of ${from}, and nothing else`
    )
  }

  /** A session whose words a fork shares stays; the forks gone, the newest first, it goes too, and nothing is left of any. */
  async #checkDeletion(gateway: Gateway): Promise<void> {
    const { world, ledger, disk } = this
    const { forks, remove } = Context.get(gateway.doors, Sessions.Sessions)
    const ending = async <A, E>(effect: Effect.Effect<A, E>): Promise<Exit.Exit<A, E> | undefined> => {
      let end: Exit.Exit<A, E> | undefined
      gateway.run(effect).addObserver((exit) => void (end = exit))
      await world.run(world.now + 1_000)
      return end
    }
    for (const fork of ledger.forks.keys()) {
      const owner = ledger.ownerOf(fork) as Plan["sessions"][number]
      const found = await ending(forks(owner))
      const refused = await ending(remove(owner))
      const names = found?._tag === "Success" ? found.value.join(", ") : "none"
      world.check(
        names.includes(fork) && refused?._tag === "Failure",
        owner,
        () => `is not deleted, since ${fork} shares it (of its forks ${names} are known)`
      )
    }
    for (const session of this.sessions.toReversed()) {
      const end = await ending(remove(session))
      world.check(end?._tag === "Success", session, () => `is deleted when no fork shares it: ${String(end)}`)
      const query = { tenant: tenantOf(session), session, limit: 10 }
      const rows = await Effect.runPromise(disk.log.entries(query))
      const messages = [...ledger.messages.values()].filter((message) => message.session === session)
      const traces = await Effect.runPromise(
        Effect.forEach(messages, ({ id }) => disk.log.message({ tenant: tenantOf(session), id }))
      )
      world.check(
        rows.length === 0 && traces.every((trace) => trace === undefined),
        session,
        () => `leaves nothing behind when it is deleted`
      )
    }
  }

  /** What the lane decided is decided again; of what was not kept, nothing is said. */
  async #checkJournal(session: Plan["sessions"][number]): Promise<void> {
    const rows = await Effect.runPromise(
      this.disk.log.journal({ tenant: tenantOf(session), session, limit: 100_000 })
    )
    const records = rows.flatMap((row) => recordsOf(row.records))
    this.journals[session] = records
    for (const { difference, records: spell, skipped, isWhole } of redecide(records)) {
      this.decided += skipped === undefined ? spell.length : 0
      this.world.check(
        difference === undefined,
        session,
        () => `what was decided is decided again, not as in ${JSON.stringify(difference)}`
      )
      this.world.check(
        // After a day, on the clock too, what was decided before is forgotten.
        this.plan.acts.some(({ act }) => act._tag === "Clock" && act.millis >= 86_400_000) ||
          this.disk.refusals > 0 ||
          ((this.crashes > 0 || skipped === undefined) && (this.#lives > 1 || isWhole)),
        session,
        () => `the journal has no gap when nothing failed: ${JSON.stringify(spell)}`
      )
    }
  }

  /** The model's order has no gap and nothing twice, and no text of a session that was never taken by a run. */
  #checkModelOrder(session: string, rows: ReadonlyArray<{ readonly order: number | undefined }>): void {
    const orders = rows.flatMap((row) => row.order ?? []).toSorted((a, b) => a - b)
    this.world.check(
      orders.every((order, index) => order === index + 1),
      session,
      () => `the model's order has no gap: ${orders.join(" ")}`
    )
  }

  /** As many runs as the budget allows begin at once: every permit was given back. */
  async #checkPermits(gateway: Gateway): Promise<void> {
    const { world, outside } = this
    const width = Math.min(this.plan.budgets.main, 4)
    // A model that was left alone after a failure is asked by one run first, a day later at the most.
    await world.run(world.now + 26 * 3_600_000)
    this.#write(0)
    await world.run(world.now + 60_000)
    const { list, stop } = Context.get(gateway.doors, Lanes.Lanes)
    for (const { session } of Effect.runSync(list)) gateway.run(stop(session, "ada"))
    await world.run(world.now + 60_000)
    outside.gate = width
    for (let number = 1; number <= width; number++) this.#write(number)
    await world.run(world.now + 3_000)
    world.check(
      outside.streaming.size === width,
      "lanes",
      () => `all permits are free at rest: ${outside.streaming.size} of ${width} runs began`
    )
    const lanes = Context.get(gateway.doors, Lanes.Lanes)
    for (const { session } of Effect.runSync(lanes.list)) gateway.run(lanes.stop(session, "ada"))
    // Until the last question would have expired.
    await world.run(world.now + 40_000)
    const left = Effect.runSync(lanes.list)
    world.check(
      left.length === 0,
      "lanes",
      () => `no lane is in memory after a stop, not ${JSON.stringify(left)}`
    )
  }

  /** A message to a session of its own. */
  #write(number: number): void {
    const session = `agent:main:permit${number}` as Plan["sessions"][number]
    const identity = {
      channel: waiterName,
      account: "a",
      conversation: session,
      thread: "",
      externalId: `p${number}`,
      revision: 1
    }
    const body = { text: marked(session, `p${number}`) }
    this.#submit({ identity, session, ephemeral: false, sender: "ada", access: "owner", body }, 0, undefined)
  }

  async #checkLeaks(gateway: Gateway): Promise<void> {
    const { world } = this
    const { life } = gateway
    world.check(
      life.timers <= restingFibers,
      "fibers",
      () => `${restingFibers} timers go at rest, not ${life.timers}`
    )
    world.check(
      life.fibers <= restingFibers,
      "fibers",
      () => `${restingFibers} fibers live at rest, not ${life.fibers}`
    )
    gateway.run(Scope.close(gateway.scope, Exit.void))
    await world.run(world.now + 1)
    world.check(
      life.fibers === 0 && life.timers === 0,
      "fibers",
      () => `nothing lives after the end: ${life.fibers} fibers, ${life.timers} timers`
    )
  }
}

/** The purge of old sessions, and the reading of projects' agents; the settings' changes end at once. */
const restingFibers = 2

/** Time that everything gets to come to rest, ms: more than any retry waits and any run lasts. */
const settling = 20 * 60 * 1000

export const simulate = async (seed: number, store: Store = "memory"): Promise<Verdict> => {
  const simulation = new Simulation(seed, store)
  const { world, plan, ledger, disk } = simulation
  try {
    await disk.open()
    simulation.start()
    for (const { at, act } of plan.acts) world.after(at, () => simulation.act(act))
    world.after(plan.healed, () => simulation.heal())
    await world.run(plan.healed + settling)
    if (world.violation === undefined) await simulation.rest()
  } catch (cause) {
    world.broken("simulation", `nothing is thrown: ${cause instanceof Error ? cause.stack : String(cause)}`)
  } finally {
    world.life?.kill()
    await disk.close()
  }
  const outcomes: Record<string, number> = {}
  for (const { outcome = "open" } of ledger.messages.values())
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  return {
    seed,
    broken: world.violation?.message,
    timeline: () =>
      world.lines.map(
        ([at, where, what]) =>
          `${(at / 1000).toFixed(3).padStart(9)}  ${where.replace("agent:main:", "").padEnd(8)}  ${what}`
      ),
    journals: simulation.journals,
    counts: {
      messages: ledger.messages.size,
      runs: ledger.runs.size,
      forks: ledger.forks.size,
      crashes: simulation.crashes,
      widest: simulation.outside.widest,
      steps: world.steps,
      decided: simulation.decided,
      ...outcomes
    }
  }
}
