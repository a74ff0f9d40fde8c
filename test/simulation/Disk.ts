/**
 * The disk that survives its processes, and the log that each process sees of it.
 *
 * Owns: which units are on the disk, which of them were acknowledged, the faults of a store, and the fence that dies with a process.
 * A unit is applied, then made durable, then acknowledged; a loss of power takes what is not durable yet, newest first.
 * Does not own: what a unit means (the log under it), nor what must hold (`Ledger`).
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import * as PostgresMessageLog from "#layers/horizons/PostgresMessageLog.ts"
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import type * as PgLink from "#layers/platform/PgLink.ts"
import * as Checks from "#src/check/Checks.ts"
import {
  type Committed,
  type EntryRow,
  LogError,
  MessageLog,
  StoreBroken,
  StoreBusy,
  StoreFull,
  type Unit
} from "#src/horizons/MessageLog.ts"
import type { Ledger } from "./Ledger.ts"
import type { Life, World } from "./World.ts"

type Port = MessageLog["Service"]

/** A unit that is on the disk, and what the store answered. */
export type Journaled = {
  readonly [Tag in Unit["_tag"]]: {
    readonly unit: Extract<Unit, { readonly _tag: Tag }>
    readonly result: Committed[Tag]
    readonly life: number
    /** Of a fork: the other session's history up to where it was forked, as that one read at the time. */
    readonly shared?: ReadonlyArray<EntryRow>
  }
}[Unit["_tag"]]

/** A schema of a real PostgreSQL, which must be new. */
export type Store = "memory" | "sqlite" | PgLink.Options

/** How long the store takes, ms: until a unit is applied, and until it is durable. */
export interface Latency {
  readonly apply: number
  readonly sync: number
  /** From then on it is old. */
  readonly read: number
}

type Mood = "well" | "full" | "busy" | "broken"

/** A log on real adapters, with the means to close it. */
interface Opened {
  readonly log: Port
  readonly close: () => Promise<void>
}

const openMemory = (): Opened => {
  const scope = Scope.makeUnsafe()
  const context = Effect.runSync(Layer.buildWithScope(Layer.fresh(MemoryMessageLog.layer), scope))
  return { log: Context.get(context, MessageLog), close: () => Promise.resolve() }
}

const openSqlite = (filename: string) =>
  opening(SqliteMessageLog.layerFile({ filename, sync: (_fd, done) => done(null) }))

const opening = async <E>(layer: Layer.Layer<MessageLog, E, Checks.Checks>): Promise<Opened> => {
  const scope = Scope.makeUnsafe()
  const context = await Effect.runPromise(
    Layer.buildWithScope(Layer.fresh(layer.pipe(Layer.provide(Layer.fresh(Checks.layer)))), scope)
  )
  return {
    log: Context.get(context, MessageLog),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

export class Disk {
  readonly #world: World
  readonly #ledger: Ledger
  readonly #store: Store
  readonly #latency: Latency
  #opened: Opened | undefined
  #folder: string | undefined
  #journal: Array<Journaled> = []
  /** Units of the journal, from its first, that a loss of power cannot take. */
  durable = 0
  mood: Mood = "well"
  /** Units on their way to be applied or acknowledged. */
  pending = 0
  /** Units that a spoiled store did not take. */
  refusals = 0
  #busyUntil = 0
  #syncedAt = 0
  #syncing = 0
  #inbox: Array<() => void> = []
  /** Told of each unit that is on the disk and not acknowledged yet, and of each that is. */
  onPassing: (moment: "applied" | "durable") => void = () => {}

  constructor(world: World, ledger: Ledger, store: Store, latency: Latency) {
    this.#world = world
    this.#ledger = ledger
    this.#store = store
    this.#latency = latency
  }

  async open(): Promise<void> {
    if (this.#store === "memory") {
      this.#opened = openMemory()
      return
    }
    if (this.#store !== "sqlite") {
      this.#opened = await opening(PostgresMessageLog.layerAt(this.#store))
      return
    }
    this.#folder ??= mkdtempSync(join(tmpdir(), "opencraw-simulation-"))
    this.#opened = await openSqlite(join(this.#folder, "log.db"))
  }

  async close(): Promise<void> {
    await this.#opened?.close()
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true })
  }

  get log(): Port {
    return this.#opened!.log
  }

  /** The process is gone. With `powerLoss` the newest units that were not durable may be gone too. */
  async survive(powerLoss: boolean): Promise<void> {
    this.mood = "well"
    this.pending = 0
    this.#inbox = []
    this.#syncing = 0
    const open = this.#journal.length - this.durable
    const kept =
      powerLoss && this.#store === "memory"
        ? this.durable + this.#world.random.between(0, open)
        : this.#journal.length
    if (this.#store !== "memory") {
      await this.#opened?.close()
      await this.open()
    } else if (kept < this.#journal.length) {
      this.#world.note(
        "disk",
        `power lost: ${this.#journal.length - kept} units were not durable and are gone`
      )
      this.#journal = this.#journal.slice(0, kept)
      this.#opened = openMemory()
      for (const { unit } of this.#journal) Effect.runSync(Effect.exit(this.log.commit(unit)))
      this.#ledger.rebuild(this.#journal)
    }
    this.durable = this.#journal.length
  }

  /** The log as one process sees it. When the process is dead it answers nothing and changes nothing. */
  logOf(life: Life): Port {
    type Read = (query: never) => Effect.Effect<unknown, LogError>
    const reading =
      (read: Read): Read =>
      (query) =>
        Effect.suspend(() => {
          if (!life.alive) return Effect.never
          const refusal = this.#refusal()
          const isRefused =
            refusal?._tag === "StoreBroken" ||
            (refusal?._tag === "StoreBusy" && this.#world.random.chance(0.5))
          if (refusal === undefined || !isRefused)
            return this.#delayed(life, this.#settled(life, read(query)))
          this.#world.note("disk", `a read is refused: ${refusal._tag}`)
          return Effect.fail(new LogError({ reason: refusal }))
        })
    // Whatever the port can be asked: all its members but these two are reads.
    const { commit: _commit, broken: _broken, ...reads } = this.log
    const read = Object.entries(reads).map(([name, one]) => [name, reading(one as Read)] as const)
    return MessageLog.of({
      ...(Object.fromEntries(read) as unknown as typeof reads),
      commit: (unit) => this.#commit(life, unit),
      broken: Effect.never
    })
  }

  #refusal() {
    switch (this.mood) {
      case "well":
        return undefined
      case "full":
        return new StoreFull({})
      case "busy":
        return new StoreBusy({ detail: "simulated" })
      case "broken":
        return new StoreBroken({ detail: "simulated" })
    }
  }

  /** The store's own work, done at once when it can be, and waited for by the whole world when it cannot. */
  #ask<A, E>(effect: Effect.Effect<A, E>, then: (exit: Exit.Exit<A, E>) => void): void {
    if (this.#store === "memory") return then(Effect.runSyncExit(effect))
    this.#world.await(Effect.runPromiseExit(effect), then)
  }

  #settled<A, E>(life: Life, effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return this.#store === "memory"
      ? effect
      : Effect.callback((resume) =>
          this.#ask(effect, (exit) => {
            if (life.alive) resume(exit)
          })
        )
  }

  /** What was read may be old when it comes. */
  #delayed<A, E>(life: Life, read: Effect.Effect<A, E>): Effect.Effect<A, E> {
    const millis = this.#delay(this.#latency.read)
    return millis === 0 ? read : Effect.tap(read, life.clock.sleep(Duration.millis(millis)))
  }

  #commit<U extends Unit>(life: Life, unit: U): Effect.Effect<Committed[U["_tag"]], LogError> {
    return Effect.callback((resume) => {
      if (!life.alive) return
      const refusal = this.#refusal()
      if (refusal !== undefined && (refusal._tag === "StoreBroken" || this.#world.random.chance(0.8))) {
        this.refusals++
        this.#world.note(unit.place.session, `${unit._tag} is refused: ${refusal._tag}`)
        life.after(this.#delay(this.#latency.apply), () => resume(new LogError({ reason: refusal })))
        return
      }
      this.pending++
      const apply = () => {
        if (!life.alive) return
        this.#ask(this.log.commit(unit), (exit) => {
          if (unit._tag !== "Fork" || exit._tag === "Failure") return this.#applied(life, unit, exit, resume)
          const last = (exit.value as Committed["Fork"]).seq
          const said = this.log.history({ tenant: unit.place.tenant, session: unit.from, limit: 100_000 })
          this.#ask(said, (read) => {
            const rows = read._tag === "Success" ? read.value : []
            const shared = rows.slice(0, rows.findIndex(({ seq }) => seq === last) + 1)
            this.#applied(life, unit, exit, resume, shared)
          })
        })
      }
      // One writer: units are applied in the order they came.
      const at = Math.max(this.#busyUntil, this.#world.now + this.#delay(this.#latency.apply))
      this.#busyUntil = at
      if (at <= this.#world.now && this.#inbox.length === 0) return apply()
      this.#inbox.push(apply)
      life.after(at - this.#world.now, () => this.#inbox.shift()?.())
    })
  }

  #applied<U extends Unit>(
    life: Life,
    unit: U,
    exit: Exit.Exit<Committed[U["_tag"]], LogError>,
    resume: (effect: Effect.Effect<Committed[U["_tag"]], LogError>) => void,
    shared?: ReadonlyArray<EntryRow>
  ): void {
    const { _tag: tag, place } = unit
    if (exit._tag === "Failure") {
      const error = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
      this.#world.note(place.session, `${tag} is refused: ${error?.reason._tag ?? "defect"}`)
      if (error === undefined)
        this.#world.broken(place.session, `the log takes ${tag} without a defect: ${String(exit.cause)}`)
    } else {
      const journaled = { unit, result: exit.value, life: life.number, shared } as Journaled
      this.#journal.push(journaled)
      this.#ledger.take(journaled, this.#journal.length)
    }
    const mine = this.#journal.length
    this.onPassing("applied")
    if (!life.alive) return
    // The disk has everything up to a point: what came first is durable first.
    const at = Math.max(this.#syncedAt, this.#world.now + this.#delay(this.#latency.sync))
    this.#syncedAt = at
    const done = () => {
      this.pending--
      const isLie = exit._tag === "Success" && this.mood === "broken"
      if (!isLie) this.durable = Math.max(this.durable, mine)
      this.onPassing("durable")
      if (!life.alive) return
      if (isLie)
        this.#world.note(
          place.session,
          `${tag} is on the disk, and its caller is told that the store is broken`
        )
      resume(isLie ? new LogError({ reason: new StoreBroken({ detail: "simulated" }) }) : exit)
    }
    if (at <= this.#world.now && this.#syncing === 0) return done()
    this.#syncing++
    life.after(at - this.#world.now, () => {
      this.#syncing--
      done()
    })
  }

  #delay(most: number): number {
    return most === 0 ? 0 : this.#world.random.between(0, most)
  }
}
