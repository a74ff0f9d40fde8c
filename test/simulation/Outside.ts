/**
 * What is outside of the gateway and stays when its process dies: a provider, the world that tools change, and the far sides of
 * channels.
 *
 * Owns: their moods (slow, stuck, deaf to interruption, failing), and what must hold of the gateway as they see it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Channels from "#src/channel/Channels.ts"
import { type BudgetClass, budgetClassOf, type SessionKey } from "#src/domain/SessionKey.ts"
import * as Model from "#src/model/Model.ts"
import * as Tools from "#src/tool/Tools.ts"
import type { Disk } from "./Disk.ts"
import type { Ledger } from "./Ledger.ts"
import type { Life, World } from "./World.ts"

/** How troublesome the outside is, from 0 to 1 each. */
export interface Moods {
  readonly model: number
  readonly tools: number
  readonly channels: number
}

export const channelNames = { keyed: "sim-keyed", probe: "sim-probe", blind: "sim-blind" } as const
/** A route whose caller waits by itself: nothing is delivered on it. */
export const waiterName = "sim-waiter"

/** A person is asked before each call of this one. */
export const askedTool = "sim.ask"
export const toolNames = ["sim.none", "sim.idempotent", "sim.once", "sim.deaf", askedTool] as const

const effectsOf = { "sim.none": "none", "sim.idempotent": "idempotent" } as const

type Act =
  | { readonly _tag: "Pause"; readonly millis: number }
  | { readonly _tag: "Deaf"; readonly millis: number }
  | { readonly _tag: "Hang" }
  | { readonly _tag: "Say"; readonly event: Model.ModelEvent }
  | { readonly _tag: "Fail"; readonly reason: Model.ModelError["reason"] }

interface Streaming {
  readonly session: string
  readonly life: number
  /** It goes on after it was told to stop. */
  isDeaf: boolean
}

interface Arrival {
  readonly channel: string
  readonly text: string
  readonly times: number
}

const failures = (): readonly [Model.ModelError["reason"], ...ReadonlyArray<Model.ModelError["reason"]>] => [
  new Model.ModelUnknown({}),
  new Model.ModelUnauthorized({ status: 401 }),
  new Model.ModelRateLimited({ retryAfterMillis: 500 }),
  new Model.ModelRejected({ status: 400, detail: "simulated" }),
  new Model.ModelUnavailable({ status: 500, detail: "simulated" }),
  new Model.ModelCutOff({}),
  new Model.ModelStalled({ idleMillis: 60_000 }),
  new Model.ModelMalformed({ detail: "simulated" })
]

/** The session that a text was written in, and the id its client gave. */
export const marked = (session: string, clientId: string) => `in ${session} I say ${clientId}.`
const marks = /in (\S+) I say (\S+)\./g

export class Outside {
  readonly #world: World
  readonly #ledger: Ledger
  readonly #disk: Disk
  #moods: Moods
  readonly #budgets: Readonly<Record<BudgetClass, number>>
  readonly streaming = new Set<Streaming>()
  readonly #effects = new Map<string, number>()
  readonly arrivals = new Map<string, Arrival>()
  /** Deliveries that arrived as messages of their own. */
  readonly sentApart = new Set<string>()
  /** What messages that can be changed say now. */
  readonly shown = new Map<string, string>()
  readonly #seen = new Set<string>()
  #calls = 0
  #posts = 0
  /** Most model calls at once, ever. */
  widest = 0
  /** A provider that answers nobody until so many ask at once. */
  gate: number | undefined

  constructor(
    world: World,
    ledger: Ledger,
    disk: Disk,
    moods: Moods,
    budgets: Readonly<Record<BudgetClass, number>>
  ) {
    this.#world = world
    this.#ledger = ledger
    this.#disk = disk
    this.#moods = moods
    this.#budgets = budgets
  }

  /** From now on everything works. */
  heal(): void {
    this.#moods = { model: 0, tools: 0, channels: 0 }
  }

  /** The process died, and its connections with it. */
  disconnect(life: Life): void {
    for (const one of this.streaming) if (one.life === life.number) this.streaming.delete(one)
  }

  layer(life: Life) {
    return Layer.mergeAll(
      Layer.succeed(Model.Model, Model.Model.of({ stream: (request) => this.#stream(life, request) })),
      Tools.layerRegister(toolNames.map((name) => this.#tool(life, name))),
      this.#channels(life)
    )
  }

  #stream(life: Life, request: Model.ModelRequest): Stream.Stream<Model.ModelEvent, Model.ModelError> {
    return Stream.suspend(() => {
      const { session, last } = this.#read(request)
      const me: Streaming = { session, life: life.number, isDeaf: false }
      const acts = this.#script(request, last)
      this.#world.note(session, `the model is asked about ${last}`)
      for (const other of this.streaming) {
        this.#world.check(
          other.session !== session || other.isDeaf || !life.alive,
          session,
          () => "one run at a time: two ask the model"
        )
      }
      if (life.alive) this.streaming.add(me)
      this.widest = Math.max(this.widest, this.streaming.size)
      const budget = budgetClassOf(session as SessionKey)
      const going = [...this.streaming].filter((one) => budgetClassOf(one.session as SessionKey) === budget)
      this.#world.check(
        going.length <= this.#budgets[budget],
        session,
        () => `at most ${this.#budgets[budget]} runs of ${budget} go at once, deaf ones counted`
      )
      return this.#play(acts, request.model, me).pipe(
        Stream.onExit((exit) =>
          Effect.sync(() => {
            this.streaming.delete(me)
            if (exit._tag === "Failure" && life.alive)
              this.#world.note(session, "the model's stream is closed early")
          })
        )
      )
    })
  }

  #read(request: Model.ModelRequest): { readonly session: string; readonly last: string } {
    const words = request.messages.flatMap((message) => {
      if (message.role !== "user") return []
      this.#world.check(
        !message.text.startsWith("/"),
        "model",
        () => `no command is shown to the model: ${message.text}`
      )
      // The note about dropped messages says what they were.
      const isNote = message.text.startsWith("[")
      return [...message.text.matchAll(marks)].map(([, from = "", id = ""]) => ({ from, id, isNote }))
    })
    // What a fork shares comes before its own words.
    const session = words.at(-1)?.from ?? ""
    const shown = new Set<string>()
    for (const { from, id, isNote } of words) {
      this.#world.check(
        from === session ||
          (isNote ? this.#ledger.comesFrom(session, from) : this.#ledger.isShared(session, from, id)),
        session,
        () => `a prompt holds the session's words and what it shares, not ${id} of ${from}`
      )
      if (!isNote) this.#checkShown(from, id, shown)
    }
    this.#checkPrompt(request, session)
    return { session, last: words.findLast(({ isNote }) => !isNote)?.id ?? "" }
  }

  /** The model reads each message once, and none that was dropped. */
  #checkShown(session: string, clientId: string, shown: Set<string>): void {
    this.#world.check(!shown.has(clientId), session, () => `a prompt holds ${clientId} once`)
    shown.add(clientId)
    for (const message of this.#ledger.messages.values()) {
      if (message.clientId !== clientId || message.session !== session) continue
      // What the model had read before cannot be taken back.
      const isGone = message.outcome === "dropped" && (message.endedBy ?? 0) <= this.#disk.durable
      if (!isGone) this.#seen.add(message.id)
      this.#world.check(
        !isGone || this.#seen.has(message.id),
        session,
        () => `a prompt does not hold ${clientId}, which was dropped`
      )
    }
  }

  /** Each call that the model made has one result behind it. */
  #checkPrompt(request: Model.ModelRequest, session: string): void {
    const open = new Set<string>()
    for (const message of request.messages) {
      if (message.role === "assistant") {
        this.#world.check(open.size === 0, session, () => `a prompt has a result for ${[...open].join(", ")}`)
        for (const call of message.calls ?? []) open.add(call.id)
      } else if (message.role === "tool") {
        this.#world.check(
          open.delete(message.callId),
          session,
          () => `a prompt has one result for ${message.callId}, behind its call`
        )
        const call = this.#ledger.calls.get(message.callId)
        // An earlier run's end may still be on its way to the disk; this run's own units may not.
        const isOver = call !== undefined && this.#ledger.newestRun(session) !== call.run
        this.#world.check(
          isOver || (call?.resultBy !== undefined && call.resultBy <= this.#disk.durable),
          session,
          () => `the result of ${message.callId} is durable before the model is asked with it`
        )
      }
    }
    this.#world.check(open.size === 0, session, () => `a prompt has a result for ${[...open].join(", ")}`)
  }

  #script(request: Model.ModelRequest, last: string): ReadonlyArray<Act> {
    const { random } = this.#world
    if (this.gate !== undefined) return [{ _tag: "Hang" }]
    const acts: Array<Act> = []
    const isTrouble = random.chance(this.#moods.model)
    const pause = (most: number) => acts.push({ _tag: "Pause", millis: random.between(0, most) })
    const number = ++this.#calls
    pause(random.chance(0.5) ? 0 : 800)
    for (let piece = random.between(0, 3); piece > 0; piece--) {
      acts.push({ _tag: "Say", event: { _tag: "Text", text: `answer ${number} to ${last}. ` } })
      pause(random.chance(0.5) ? 0 : 600)
    }
    if (isTrouble) {
      switch (random.weighted({ fail: 4, hang: 1, slow: 2, deaf: 2, filtered: 1 })) {
        case "fail":
          return [...acts, { _tag: "Fail", reason: random.pick(failures()) }]
        case "hang":
          return [...acts, { _tag: "Hang" }]
        case "slow":
          acts.push({ _tag: "Pause", millis: random.between(5_000, 60_000) })
          break
        case "deaf":
          acts.push({ _tag: "Deaf", millis: random.between(500, 20_000) })
          break
        case "filtered":
          return [...acts, { _tag: "Say", event: { _tag: "End", reason: "filtered" } }]
      }
    }
    const wantsTools = request.tools.length > 0 && random.chance(0.45)
    if (wantsTools) {
      for (let count = random.between(1, 3); count > 0; count--) {
        const id = `call_${number}_${count}`
        const name = random.chance(0.05) ? "sim.missing" : random.pick(toolNames)
        const args = random.chance(0.05) ? "{not json" : JSON.stringify({ id })
        acts.push({ _tag: "Say", event: { _tag: "Call", call: { id, name, arguments: args } } })
      }
    } else if (!random.chance(0.08)) {
      acts.push({ _tag: "Say", event: { _tag: "Text", text: `answer ${number} to ${last}, done.` } })
    } else {
      // Silence: nothing that was to be said is said.
      for (let index = acts.length - 1; index >= 0; index--)
        if (acts[index]?._tag === "Say") acts.splice(index, 1)
    }
    const reason = wantsTools ? ("calls" as const) : ("stop" as const)
    const usage = { inputTokens: 10, outputTokens: 5, cachedTokens: 0, estimated: false }
    acts.push({ _tag: "Say", event: { _tag: "End", reason, ...(random.chance(0.5) ? { usage } : {}) } })
    return acts
  }

  #play(
    acts: ReadonlyArray<Act>,
    model: string,
    me: Streaming
  ): Stream.Stream<Model.ModelEvent, Model.ModelError> {
    return Stream.rechunk(Stream.fromIterable(acts), 1).pipe(
      Stream.flatMap((act): Stream.Stream<Model.ModelEvent, Model.ModelError> => {
        switch (act._tag) {
          case "Pause":
            return act.millis === 0 ? Stream.empty : Stream.drain(Stream.fromEffect(Effect.sleep(act.millis)))
          case "Deaf": {
            const deaf = Effect.suspend(() => {
              me.isDeaf = true
              return Effect.sleep(act.millis)
            })
            const heard = Effect.sync(() => {
              me.isDeaf = false
            })
            return Stream.drain(Stream.fromEffect(Effect.uninterruptible(Effect.andThen(deaf, heard))))
          }
          case "Hang":
            return Stream.never
          case "Say":
            return Stream.succeed(act.event)
          case "Fail":
            return Stream.fail(new Model.ModelError({ model, reason: act.reason }))
        }
      })
    )
  }

  #tool(life: Life, name: (typeof toolNames)[number]): Tools.Tool {
    const effects = name === "sim.none" || name === "sim.idempotent" ? effectsOf[name] : "once"
    return {
      spec: { name, description: `changes the world: ${effects}`, parameters: { type: "object" } },
      effects,
      needsWorkspace: false,
      timeoutMillis: 5_000,
      run: (args) => {
        const id = String((args as { readonly id?: unknown }).id)
        if (life.alive && name === askedTool) this.#ledger.askedStarts(id, this.#disk.durable)
        const work = this.#work(life, id, effects)
        return name === "sim.deaf" ? Effect.uninterruptible(work) : work
      }
    }
  }

  #work(life: Life, id: string, effects: Tools.Tool["effects"]): Effect.Effect<string, Tools.ToolError> {
    return Effect.suspend(() => {
      if (!life.alive) return Effect.never
      const { random } = this.#world
      this.#world.note("tools", `${id} begins (${effects})`)
      this.#ledger.toolStarts(id, effects, this.#disk.durable)
      const isTrouble = random.chance(this.#moods.tools)
      const before = random.chance(0.5) ? 0 : random.between(0, isTrouble ? 8_000 : 500)
      const after = random.chance(0.5) ? 0 : random.between(0, isTrouble ? 8_000 : 500)
      const end = isTrouble ? random.weighted({ ok: 2, error: 2, defect: 1 }) : "ok"
      return Effect.sleep(before).pipe(
        Effect.andThen(
          Effect.suspend(() => (life.alive ? Effect.sync(() => this.#effect(id, effects)) : Effect.never))
        ),
        Effect.andThen(Effect.sleep(after)),
        Effect.andThen(
          Effect.suspend((): Effect.Effect<string, Tools.ToolError> => {
            if (end === "error") return Effect.fail(new Tools.ToolError({ message: `${id} could not` }))
            return end === "defect" ? Effect.die(new Error(`${id} broke`)) : Effect.succeed(`${id} did`)
          })
        )
      )
    })
  }

  #effect(id: string, effects: Tools.Tool["effects"]): void {
    const times = (this.#effects.get(id) ?? 0) + 1
    this.#effects.set(id, times)
    this.#world.note("tools", `${id} takes effect (${effects}${times > 1 ? `, time ${times}` : ""})`)
    this.#world.check(
      effects !== "once" || times === 1,
      "tools",
      () => `${id} may take effect once, and did ${times} times`
    )
  }

  #channels(life: Life) {
    return Layer.effectDiscard(
      Effect.gen({ self: this }, function* () {
        const registry = yield* Channels.Channels
        for (const kind of ["keyed", "probe", "blind"] as const) {
          const name = channelNames[kind]
          yield* registry.register({
            name,
            delivery: kind,
            maxChars: 60,
            showsOutcomes: kind === "keyed",
            confirmsLater: false,
            send: (parcel) => this.#send(life, name, kind, parcel),
            typing: () => this.#far(life, name, () => Effect.void),
            ...(kind === "keyed" ? {} : { editing: this.#editing(life, name, kind) })
          })
        }
      })
    )
  }

  #editing(life: Life, channel: string, kind: Channels.DeliveryKind): Channels.Editing {
    return {
      post: (_route, text) => {
        const ref = `${channel}-${++this.#posts}`
        const post = Effect.sync(() => {
          this.shown.set(ref, text)
          return ref
        })
        return this.#far(life, channel, () => post)
      },
      change: (_route, ref, text) =>
        this.#far(life, channel, () =>
          Effect.suspend(() => {
            if (!this.shown.has(ref))
              return Effect.fail(new Channels.SendError({ channel, kind: "permanent", detail: "gone" }))
            this.shown.set(ref, text)
            for (const { id, edits, session, text: final } of this.#ledger.deliveries.values()) {
              if (edits !== ref || final !== text || this.arrivals.has(id)) continue
              this.#arrive(channel, kind, { id, session: session as never, route: _route, text })
            }
            return Effect.void
          })
        )
    }
  }

  /** Something on the far side, that takes its time and may not happen. */
  #far<A>(
    life: Life,
    channel: string,
    happen: () => Effect.Effect<A, Channels.SendError>
  ): Effect.Effect<A, Channels.SendError> {
    return Effect.suspend(() => {
      if (!life.alive) return Effect.never
      const { random } = this.#world
      const end = random.chance(this.#moods.channels)
        ? random.weighted({ transient: 3, uncertain: 2, permanent: 1 })
        : "ok"
      const there = random.chance(0.4) ? 0 : random.between(0, 300)
      const back = random.chance(0.4) ? 0 : random.between(0, 300)
      return Effect.sleep(there).pipe(
        Effect.andThen(
          Effect.suspend(() => {
            if (!life.alive) return Effect.never
            const failed =
              end === "ok"
                ? undefined
                : Effect.fail(new Channels.SendError({ channel, kind: end, detail: end }))
            if (end === "transient" || end === "permanent") return failed ?? Effect.never
            return Effect.flatMap(happen(), (value) =>
              Effect.andThen(Effect.sleep(back), failed ?? Effect.succeed(value))
            )
          })
        )
      )
    })
  }

  #send(
    life: Life,
    channel: string,
    kind: Channels.DeliveryKind,
    parcel: Channels.Parcel
  ): Effect.Effect<string, Channels.SendError> {
    return Effect.suspend(() => {
      if (!life.alive) return Effect.never
      const { random } = this.#world
      const known = this.#ledger.deliveries.get(parcel.id)
      this.#world.check(
        known !== undefined &&
          known.by <= this.#disk.durable &&
          known.text === parcel.text &&
          known.channel === channel,
        parcel.session,
        () => `${parcel.id} is durable in the outbox, as it is, before it is sent`
      )
      this.#world.check(
        known?.state === "pending" || known?.state === "sending",
        parcel.session,
        () => `${parcel.id} is not sent again when it is ${known?.state}`
      )
      const isTrouble = random.chance(this.#moods.channels)
      const end = isTrouble
        ? random.weighted({ transient: 3, lost: 2, arrived: 2, permanent: 1, slow: 1 })
        : "ok"
      const there = random.chance(0.4) ? 0 : random.between(0, end === "slow" ? 20_000 : 300)
      const back = random.chance(0.4) ? 0 : random.between(0, 300)
      const arrives = end === "ok" || end === "slow" || end === "arrived"
      const failed = (kind: Channels.SendError["kind"]) =>
        Effect.fail(
          new Channels.SendError({
            channel,
            kind,
            detail: end,
            ...(random.chance(0.3) ? { retryAfterMillis: 200 } : {})
          })
        )
      return Effect.sleep(there).pipe(
        Effect.andThen(
          Effect.suspend(() => {
            if (!life.alive) return Effect.never
            if (arrives) {
              this.sentApart.add(parcel.id)
              this.#arrive(channel, kind, parcel)
            }
            return Effect.sleep(back)
          })
        ),
        Effect.andThen(
          Effect.suspend((): Effect.Effect<string, Channels.SendError> => {
            if (end === "transient") return failed("transient")
            if (end === "permanent") return failed("permanent")
            if (end === "lost" || end === "arrived") return failed("uncertain")
            return Effect.succeed(`receipt of ${parcel.id}`)
          })
        )
      )
    })
  }

  /** A keyed far side knows a repeat by its id; for a probed one its adapter has looked before it sent. */
  #arrive(channel: string, kind: Channels.DeliveryKind, parcel: Channels.Parcel): void {
    const before = this.arrivals.get(parcel.id)
    if (before !== undefined && kind !== "blind") return
    const times = (before?.times ?? 0) + 1
    this.arrivals.set(parcel.id, { channel, text: parcel.text, times })
    this.#world.note(parcel.session, `${parcel.id} arrives on ${channel}`)
    this.#world.check(times === 1, parcel.session, () => `${parcel.id} arrives once on a ${kind} channel`)
    this.#checkOrder(parcel)
  }

  /** Answers of one session reach one route in their order. */
  #checkOrder(parcel: Channels.Parcel): void {
    const mine = this.#ledger.deliveries.get(parcel.id)
    if (mine === undefined) return
    for (const other of this.#ledger.deliveries.values()) {
      if (other === mine) break
      const isWaiting = other.state === "pending" || other.state === "sending"
      this.#world.check(
        other.session !== mine.session ||
          other.route !== mine.route ||
          !isWaiting ||
          this.arrivals.has(other.id),
        parcel.session,
        () => `${parcel.id} arrives after ${other.id}, which was told before it`
      )
    }
  }
}
