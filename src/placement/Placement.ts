/**
 * Which node keeps a session's lane: the port between the rooms of one node and the other nodes of its installation.
 *
 * Owns: who owns a bucket now, under which epoch, and what nodes tell each other.
 * Does not own: what is done when buckets come and go (`lane/Takeover`), nor that a fenced unit is refused (the log).
 *
 * What is told between nodes is a hint: it may come late, twice or never. The log is the truth, and owners look there by themselves.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Fence } from "#src/domain/Bucket.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"

/** What a node does for the buckets that it is given. */
export interface Keeper<E = never> {
  /** Buckets came, and are owned: take up what is open of them. The node is not ready before this has ended. */
  readonly taken: Effect.Effect<void, E>
  /** These may be owned in a moment, or not: nothing of them starts before `taken` has looked for what is open. */
  readonly taking: (buckets: ReadonlySet<number>) => void
  /** These are not owned any more: in this very turn, nothing of their lanes goes on. */
  readonly lost: (buckets: ReadonlySet<number>) => void
  /** True while a run goes on in the bucket, which giving it away would break off. */
  readonly isBusy: (bucket: number) => boolean
  /** Other nodes have stored something of these sessions. */
  readonly moved: (sessions: ReadonlyArray<SessionKey>) => void
  /** Other nodes have changed what some session keeps. */
  readonly kept: Effect.Effect<void, E>
  /** An operator has paused or resumed all lanes, on another node. */
  readonly paused: (all: boolean) => void
  /** From time to time: whatever was not told is found. `all`: what other nodes tell may have been missed. */
  readonly sweep: (all: boolean) => Effect.Effect<void, E>
}

export interface NodeInfo {
  readonly id: string
  readonly isThis: boolean
  /** How many buckets it owns. */
  readonly buckets: number
}

export interface PlacementService {
  /** There may be other nodes. */
  readonly isShared: boolean
  /** True when the lane of this session, or what is to be done once under this name, is this node's. */
  readonly isHere: (name: string) => boolean
  readonly owns: (bucket: number) => boolean
  /** What units of the session's lane are stored under. Undefined where it is not here, and where no other node could write. */
  readonly fenceOf: (session: SessionKey) => Fence | undefined
  /** Tell the other nodes that all lanes are paused or resumed. */
  readonly tellPaused: (all: boolean) => void
  /** Own buckets from now on. Ends when the first of them are taken up. To be called once, when all rooms stand. */
  readonly begin: <E>(keeper: Keeper<E>) => Effect.Effect<void, E>
  /** Give every bucket away, busy ones as soon as they are not, at latest after `graceMillis`. */
  readonly leave: (graceMillis: number) => Effect.Effect<void>
  /** The nodes that are there, this one included; none where there is only one. */
  readonly nodes: Effect.Effect<ReadonlyArray<NodeInfo>>
}

/** One node has everything to itself: what an installation is unless it is told otherwise. */
const alone: PlacementService = {
  isShared: false,
  isHere: () => true,
  owns: () => true,
  fenceOf: () => undefined,
  tellPaused: () => {},
  begin: (keeper) => keeper.taken,
  leave: () => Effect.void,
  nodes: Effect.succeed([])
}

export const Placement = Context.Reference<PlacementService>("opencraw/placement/Placement", {
  defaultValue: () => alone
})
