/**
 * The one log: inbox, transcript, runs, outbox, lane journals and channel cursors, in one database.
 *
 * Owns: what commits together, what is refused, and what can be read back.
 * Does not own: SQL, files or connections (`layers/horizons`), nor when something is committed (`inbound`, `lane`, `outbound`).
 *
 * `src` never opens a transaction: it hands over one `Unit`, a value. A unit is all or nothing, durable when its
 * Effect succeeds, and independent of the units it is batched with. Interrupting a caller that waits never undoes a unit.
 * All times are ms since the epoch, given by the caller.
 *
 * Texts read back as written, a NUL included; a lone surrogate becomes U+FFFD. In names (keys, ids, senders, receipts)
 * a NUL becomes U+FFFD too.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ApprovalState, DecidedCall, Decision } from "#src/domain/Approval.ts"
import type { Fence } from "#src/domain/Bucket.ts"
import type { Entry, NewEntry } from "#src/domain/Entry.ts"
import type { ApprovalId, DeliveryId, MessageId, RunId } from "#src/domain/Ids.ts"
import type { Access, Identity, InboundMessage, MessageBody, Route } from "#src/domain/Inbound.ts"
import type { Failure, Outcome } from "#src/domain/Outcome.ts"
import type { DropPolicy, QueueOverrides } from "#src/domain/Queue.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import type { Usage } from "#src/domain/Usage.ts"

/** The same identity came with another body. */
export class IdReused extends Schema.TaggedError<IdReused>()("IdReused", { messageId: Schema.String }) {
  override get message() {
    return "this message id was used before for another text"
  }
}
/** The session has `cap` open messages already. Nothing was stored. */
export class SessionFull extends Schema.TaggedError<SessionFull>()("SessionFull", { cap: Schema.Number }) {
  override get message() {
    return `${this.cap} messages of this session are waiting already`
  }
}
/** The unit's run or message has ended, a newer attempt has begun, or another node has its bucket now: nothing was stored. */
export class Fenced extends Schema.TaggedError<Fenced>()("Fenced", {}) {
  override get message() {
    return "this run has ended; its late work was not stored"
  }
}
/** There is no listed session of this key. */
export class NoSuchSession extends Schema.TaggedError<NoSuchSession>()("NoSuchSession", {
  session: Schema.String
}) {
  override get message() {
    return "there is no such session"
  }
}
/** The session has no answered turn there; without `seq` it has none at all. */
export class NoSuchTurn extends Schema.TaggedError<NoSuchTurn>()("NoSuchTurn", {
  session: Schema.String,
  seq: Schema.optionalKey(Schema.Finite)
}) {
  override get message() {
    return this.seq === undefined
      ? "this session has no answered turn yet"
      : `the entry ${this.seq} of this session belongs to no answered turn`
  }
}
/** Another session has this key. */
export class SessionTaken extends Schema.TaggedError<SessionTaken>()("SessionTaken", {
  session: Schema.String
}) {
  override get message() {
    return "there is a session of this key already"
  }
}
/** Other sessions share what was said in this one: of their keys, the first few. Nothing was changed. */
export class SessionShared extends Schema.TaggedError<SessionShared>()("SessionShared", {
  forks: Schema.Array(Schema.String)
}) {
  override get message() {
    return `what was said in this session is part of its forks: delete these first (${this.forks.join(", ")})`
  }
}
/** The disk is full. Nothing of the unit was stored; it may work again later. */
export class StoreFull extends Schema.TaggedError<StoreFull>()("StoreFull", {}) {
  override get message() {
    return "the disk is full"
  }
}
/** The store cannot be trusted or reached any more: stop accepting, restart. */
export class StoreBroken extends Schema.TaggedError<StoreBroken>()("StoreBroken", { detail: Schema.String }) {
  override get message() {
    return `the store is broken: ${this.detail}`
  }
}
/** Refused for now (locked by another process, busy). Nothing was stored; try again. */
export class StoreBusy extends Schema.TaggedError<StoreBusy>()("StoreBusy", { detail: Schema.String }) {
  override get message() {
    return `the store is busy: ${this.detail}`
  }
}

export class LogError extends Schema.TaggedError<LogError>()("LogError", {
  reason: Schema.Union([
    IdReused,
    SessionFull,
    Fenced,
    NoSuchSession,
    NoSuchTurn,
    SessionTaken,
    SessionShared,
    StoreFull,
    StoreBroken,
    StoreBusy
  ])
}) {
  override get message() {
    return this.reason.message
  }
  /** True when the same unit may succeed later. */
  get isRetryable(): boolean {
    return this.reason._tag === "StoreFull" || this.reason._tag === "StoreBusy"
  }
}

/** Where in the house of tenants, agents and sessions a unit belongs. */
export interface Place {
  readonly tenant: Tenant
  readonly agent: string
  readonly session: SessionKey
  /**
   * Present where other nodes could write too: the unit is refused as `Fenced` once the bucket has another epoch. A store that one
   * process has to itself needs none, and looks at none.
   */
  readonly fence?: Fence
}

/** Take a message in: its row, its user entry with the session's next seq, the channel's cursor. */
export interface Accept {
  readonly _tag: "Accept"
  readonly place: Place
  readonly messageId: MessageId
  readonly message: InboundMessage
  /** Most open messages of this session. */
  readonly cap: number
  /**
   * What gives way beyond the cap. `new`: this message, refused with `SessionFull`. `old` and `summarize`: the oldest that no run has
   * taken, which end as dropped by this one; when there is none, this one is refused. With `summarize` the next run that starts is
   * told of them: a note entry before its messages.
   */
  readonly drop: DropPolicy
  /** Senders on these channels are told of a drop in these words, by a delivery of their own. */
  readonly dropNotice?: { readonly channels: ReadonlyArray<string>; readonly text: string }
  /**
   * When the session has no other open message, also begin this run's first attempt, as `Start` would: an idle lane's message
   * then costs one unit less. `started` tells whether it did. The run's id must be new, as the message's.
   */
  readonly start?: RunId
  readonly at: number
}
/**
 * Begin the next attempt of a run. On the first attempt the run's messages enter the model's order, in the order given.
 * Fenced when the run or one of its messages has ended.
 */
export interface Start {
  readonly _tag: "Start"
  readonly place: Place
  readonly runId: RunId
  /** The messages the run answers, oldest first; on later attempts the same. */
  readonly messageIds: ReadonlyArray<MessageId>
  readonly at: number
}
/**
 * Waiting messages that a step has read beside its own: they enter the model's order before the unit's entries, belong to the
 * run, and end as steered by `by`. Those that have ended already are left as they are.
 */
export interface Steering {
  readonly messageIds: ReadonlyArray<MessageId>
  readonly by: MessageId
}
/** What a unit's `usage` is counted under, beside its place and day: the model that was called, and who asked. */
export interface Spending {
  readonly model: string
  readonly sender: string
}
/** A model call that asked for tools (an assistant entry with calls), one tool's result (a tool entry), or a notice, which is no progress. */
export interface Append {
  readonly _tag: "Append"
  readonly place: Place
  readonly runId: RunId
  readonly attempt: number
  readonly entryId: string
  readonly entry: NewEntry
  readonly usage: Usage
  /** Present when the unit ends a model call: then its usage is counted. */
  readonly spending?: Spending
  readonly steering?: Steering
  /** What is left to send of the step's text, where it is sent in blocks. */
  readonly deliveries?: ReadonlyArray<NewDelivery>
  readonly at: number
}
/**
 * A part of the step under way is sent before the step is whole: durable before it leaves, so that a later attempt goes on after it.
 * Kept with the run until the step's own unit. Fenced as `Append`.
 */
export interface Block {
  readonly _tag: "Block"
  readonly place: Place
  readonly runId: RunId
  readonly attempt: number
  /** The part of the step's text that the deliveries stand for. */
  readonly source: string
  readonly deliveries: ReadonlyArray<NewDelivery>
  /** The channel's name for a message that shows the answer as it grows; kept until the run ends. */
  readonly draft?: string
  readonly at: number
}
/** What of a run was sent before its step was committed. */
export interface Streamed {
  /** The sources of the step's blocks. */
  readonly text: string
  /** How many blocks the run has sent in all. */
  readonly parts: number
  readonly draft?: string
}
/** One outbox row to create. */
export interface NewDelivery {
  readonly id: DeliveryId
  readonly route: Route
  readonly text: string
  /** The channel's name for the message that is to become this one. */
  readonly edits?: string
}
/** How one message ended. `by` is the message or principal that caused it. */
export interface Ending {
  readonly messageId: MessageId
  readonly outcome: Outcome
  readonly by?: string
}
/**
 * End a run: last entry, outbox rows, the outcome of each of its messages, usage. Any number of entries, at most one of them
 * being the answer. `attempt` is absent when it is not the run itself that ends it (a cancellation): then any attempt is ended.
 * A run that never started may be ended too. Messages that have an outcome already keep it; Fenced when all of them have.
 */
export interface Finish {
  readonly _tag: "Finish"
  readonly place: Place
  readonly runId: RunId
  readonly attempt?: number
  readonly entries: ReadonlyArray<{ readonly id: string; readonly entry: NewEntry }>
  readonly endings: ReadonlyArray<Ending>
  readonly deliveries: ReadonlyArray<NewDelivery>
  readonly usage: Usage
  readonly spending?: Spending
  readonly failure?: Failure
  readonly steering?: Steering
  /** True when messages were steered into the run before: the answer answers them too. */
  readonly steeredBefore?: boolean
  readonly at: number
}
/**
 * A run stops before one of its calls and waits for a person's decision: the question as an entry, its outbox rows, and the approval.
 * It counts as progress. Fenced when the run has ended or a newer attempt has begun.
 */
export interface Park {
  readonly _tag: "Park"
  readonly place: Place
  readonly runId: RunId
  readonly attempt: number
  readonly approval: {
    readonly id: ApprovalId
    readonly callId: string
    readonly tool: string
    /** Raw JSON text, as the model wrote it. */
    readonly arguments: string
    readonly expiresAt: number
  }
  readonly entryId: string
  readonly entry: NewEntry
  readonly deliveries: ReadonlyArray<NewDelivery>
  readonly at: number
}
/** Decide an approval of the session. The first decision counts; a later one changes nothing. */
export interface Decide {
  readonly _tag: "Decide"
  readonly place: Place
  readonly approvalId: ApprovalId
  readonly decision: Decision
  readonly by?: string
  readonly at: number
}
/** A send begins: durable before the channel is called. Fenced when the delivery is no longer pending or sending. */
export interface SendBegun {
  readonly _tag: "SendBegun"
  readonly place: Place
  readonly deliveryId: DeliveryId
  readonly at: number
}
/** How a send ended. Idempotent: a delivery that is sent or dead stays so. */
export interface SendEnded {
  readonly _tag: "SendEnded"
  readonly place: Place
  readonly deliveryId: DeliveryId
  readonly state: "sent" | "pending" | "uncertain" | "dead"
  readonly receipt?: string
  readonly detail?: string
  readonly at: number
}
/**
 * Make a new session that begins with what was said in another one, up to and with an answered turn. That is shared, not copied, as
 * `history` and `entries` of the new session: what is in the model's order up to the answer, so neither messages that wait or run,
 * nor those that ended without reaching the model. Both orders of the new session go on behind it. It keeps the other's queue and
 * settings as they are now, and has neither its title nor its usage. The other session stays as it is.
 *
 * `atSeq` is any entry of the turn; without, it is the last answered turn. Refused with `NoSuchSession`, `NoSuchTurn` or `SessionTaken`.
 */
export interface Fork {
  readonly _tag: "Fork"
  /** Of the new session. */
  readonly place: Place
  readonly from: SessionKey
  readonly atSeq?: number
  readonly at: number
}
/**
 * Forget a session: its messages, entries, runs and deliveries. Open messages end as cancelled first (they are returned). Refused with
 * `SessionShared` while forks share what was said in it.
 */
export interface DeleteSession {
  readonly _tag: "DeleteSession"
  readonly place: Place
  readonly at: number
}
/** Give a session a title, or with `undefined` take it away. Moves no time: the order of sessions is that of what was said. */
export interface RenameSession {
  readonly _tag: "RenameSession"
  readonly place: Place
  readonly title: string | undefined
  readonly at: number
}

/** What a session keeps of its queue's settings; an empty value forgets it. Makes the session when there is none. */
export interface KeepQueue {
  readonly _tag: "KeepQueue"
  readonly place: Place
  readonly overrides: QueueOverrides
  readonly at: number
}

/**
 * One word that a session keeps under a name, such as the model its people chose; `undefined` forgets it. Moves no time. Makes the
 * session when there is none. A name is of lower-case letters and _.
 */
export interface KeepSetting {
  readonly _tag: "KeepSetting"
  readonly place: Place
  readonly name: string
  readonly value: string | undefined
  readonly at: number
}

/**
 * What a lane decided since the last time, as text that the log does not look into. Its time moves nothing. Kept only while the
 * session is there.
 */
export interface KeepJournal {
  readonly _tag: "KeepJournal"
  readonly place: Place
  readonly records: string
  readonly at: number
}

export type Unit =
  | Accept
  | Start
  | Append
  | Park
  | Decide
  | Block
  | Finish
  | SendBegun
  | SendEnded
  | Fork
  | DeleteSession
  | RenameSession
  | KeepQueue
  | KeepSetting
  | KeepJournal

/** `wrote` is what a unit has put into the model's order, as `history` would read it. */
export interface Committed {
  Accept: {
    /** True: this very message was accepted before, and nothing new was stored. */
    readonly duplicate: boolean
    /** The id it was first accepted under. */
    readonly messageId: MessageId
    readonly seq: number
    readonly outcome: Outcome | undefined
    /** True when the run that `start` names has begun with it. */
    readonly started: boolean
    /** The messages that gave way, oldest first, and what their senders are to be told. */
    readonly dropped: ReadonlyArray<{ readonly messageId: MessageId; readonly clientId: string }>
    readonly notices: ReadonlyArray<DeliveryRow>
    readonly wrote: ReadonlyArray<EntryRow>
  }
  Start: {
    /** 1 for the first. */
    readonly attempt: number
    /** Attempts, this one included, since the run last committed an entry. 1 right after progress or at the start. */
    readonly attemptsWithoutProgress: number
    /** What was decided of the run's calls that have no result yet, by approval id. */
    readonly decided: ReadonlyArray<DecidedCall>
    /** What earlier attempts sent of the step that this one takes again; absent when they sent nothing. */
    readonly streamed?: Streamed
  }
  /** `steered` are those of `steering` that were still open. */
  Append: {
    readonly seq: number
    readonly steered: ReadonlyArray<MessageId>
    readonly wrote: ReadonlyArray<EntryRow>
  }
  /** Where its deliveries stand among the session's: `part` is that of the first. */
  Block: { readonly seq: number; readonly part: number }
  Park: { readonly seq: number; readonly wrote: ReadonlyArray<EntryRow> }
  /** What the approval is now; `changed` when this unit made it so. Undefined state: the session has no such approval. */
  Decide: { readonly state: ApprovalState | undefined; readonly changed: boolean }
  /**
   * `seqs` are those of `entries`, in order; `endings` are those that took effect, steered ones included; `answered` are the messages
   * that the answer answers, oldest first, also those that an earlier process steered into the run; `withdrawn` are the approvals
   * that the run still waited for. `wrote` has its own entries, not those of messages that it steered.
   */
  Finish: {
    readonly seqs: ReadonlyArray<number>
    readonly endings: ReadonlyArray<Ending>
    readonly answered: ReadonlyArray<{ readonly messageId: MessageId; readonly clientId: string }>
    readonly withdrawn: ReadonlyArray<ApprovalId>
    readonly wrote: ReadonlyArray<EntryRow>
  }
  SendBegun: { readonly attempts: number }
  /** `changed`: the delivery exists and was not in a final state before. */
  SendEnded: { readonly changed: boolean }
  /** `seq` is that of the answer the fork begins with; the others are what it keeps of the session it came from. */
  Fork: {
    readonly seq: number
    readonly queue: QueueOverrides
    readonly settings: Readonly<Record<string, string>>
  }
  DeleteSession: { readonly existed: boolean; readonly cancelled: ReadonlyArray<MessageId> }
  /** `existed`: there is such a session, and it has the title now. */
  RenameSession: { readonly existed: boolean }
  KeepQueue: Record<string, never>
  KeepSetting: Record<string, never>
  KeepJournal: Record<string, never>
}

/** An accepted message, as stored. */
export interface MessageRow {
  readonly id: MessageId
  readonly place: Place
  readonly seq: number
  readonly identity: Identity
  readonly sender: string
  readonly access: Access
  readonly ephemeral: boolean
  readonly body: MessageBody
  readonly acceptedAt: number
  readonly runId: RunId | undefined
  readonly outcome: Outcome | undefined
  readonly outcomeBy: string | undefined
  readonly endedAt: number | undefined
}

/** A transcript entry, as stored. */
export interface EntryRow {
  readonly id: string
  readonly seq: number
  /** Its place in the model's order: 1, 2, 3 … within the session; undefined while its message waits. */
  readonly order: number | undefined
  /** The accepted message behind a user entry. */
  readonly messageId: MessageId | undefined
  /** On a user entry: the id its client gave (the identity's external id). */
  readonly clientId: string | undefined
  /** The run it belongs to: the one that consumed a user entry, or made any other. */
  readonly runId: RunId | undefined
  readonly entry: Entry
  readonly usage: Usage | undefined
  readonly at: number
  /**
   * On a run's final assistant entry: client ids (external ids) of the messages it answered, newest last. Those are the ones it
   * ended as answered, merged or steered; absent when there is none, as on the partial text of an interrupted run.
   */
  readonly answers: ReadonlyArray<string> | undefined
}

export interface RunRow {
  readonly id: RunId
  readonly state: "running" | "ended"
  readonly attempt: number
  readonly messageIds: ReadonlyArray<MessageId>
  readonly startedAt: number
  readonly endedAt: number | undefined
  readonly usage: Usage
  readonly failure: Failure | undefined
  /** What was sent of the step under way; absent when nothing was, and after the run's end. */
  readonly streamed?: Streamed
}

export interface ApprovalRow {
  readonly id: ApprovalId
  readonly place: Place
  readonly runId: RunId
  readonly callId: string
  readonly tool: string
  readonly arguments: string
  readonly state: ApprovalState
  readonly createdAt: number
  readonly expiresAt: number
  readonly decidedBy: string | undefined
  readonly decidedAt: number | undefined
}

export interface DeliveryRow {
  readonly id: DeliveryId
  readonly place: Place
  readonly runId: RunId
  /**
   * The seq of the answer it carries, and its place among that answer's parts, from 0. Within a session deliveries are in order of
   * `createdAt`, seq and part: a block has the session's seq of its time and a part behind any answer's, the word to the sender of a
   * dropped message the seq of the newcomer.
   */
  readonly seq: number
  readonly part: number
  readonly route: Route
  readonly text: string
  readonly edits?: string
  readonly state: "pending" | "sending" | "sent" | "uncertain" | "dead"
  readonly attempts: number
  /** Never before that of an earlier delivery of its session, even when the clock went back. */
  readonly createdAt: number
  readonly sentAt: number | undefined
  readonly receipt: string | undefined
  readonly detail: string | undefined
}

export interface SessionRow {
  readonly place: Place
  /** What people call it; undefined until somebody named it. */
  readonly title: string | undefined
  /** Of a fork: the session in which the last turn that it shares was said, and the seq of that turn's answer. */
  readonly forkedFrom: { readonly session: SessionKey; readonly seq: number } | undefined
  /** Highest seq given so far; 0 for none. */
  readonly seq: number
  readonly open: number
  readonly createdAt: number
  /** When a message was last taken in or a run ended; never goes back. */
  readonly updatedAt: number
}

/** What one `KeepJournal` kept. */
export interface JournalRow {
  /** Rises with each of its session. */
  readonly seq: number
  readonly records: string
  readonly at: number
}

/** What usage is summed by. */
export type UsageBy = "total" | "day" | "agent" | "session" | "sender" | "model"

/** A sum of usage. `key` is what it is the sum for: a day's number as text, a name, or empty for the total. */
export interface UsageRow {
  readonly key: string
  readonly calls: number
  /** Of these, calls whose provider reported nothing. */
  readonly estimatedCalls: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedTokens: number
  /** Of the calls whose price is known, millionths of a US dollar. */
  readonly costMicros: number
  /** Calls whose price is not known; their tokens are counted, their money is not. */
  readonly unpricedCalls: number
}

/** Everything known of one message. */
export interface MessageTrace {
  readonly message: MessageRow
  readonly run: RunRow | undefined
  /** The run's entries without user entries, in order. */
  readonly entries: ReadonlyArray<EntryRow>
  readonly deliveries: ReadonlyArray<DeliveryRow>
}

/** Reads see committed units only. They fail with StoreBroken or StoreBusy. Many members: one port on purpose (design D4). */
export class MessageLog extends Context.Service<
  MessageLog,
  {
    /** Store a unit, all or nothing. Durable when it succeeds. */
    readonly commit: <U extends Unit>(unit: U) => Effect.Effect<Committed[U["_tag"]], LogError>
    /** Messages without an outcome: of one session in seq order after `afterSeq`, or of all sessions grouped by session. */
    readonly open: (query: {
      readonly tenant: Tenant
      readonly session?: SessionKey
      readonly afterSeq?: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<MessageRow>, LogError>
    /**
     * The tenants that have any of these: messages without an outcome, deliveries that are pending or sending, words or queue settings
     * that sessions keep. By name. Where a walk through all tenants begins, so that it does not cost a read for each that is there.
     */
    readonly tenants: (query: {
      readonly having: "open" | "undelivered" | "settings" | "queues"
    }) => Effect.Effect<ReadonlyArray<Tenant>, LogError>
    /** Sessions that have open messages, by key, after `after`. What recovery walks. */
    readonly openSessions: (query: {
      readonly tenant: Tenant
      readonly after?: SessionKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<Place>, LogError>
    /**
     * The newest `limit` entries in the model's order, returned oldest first. A user entry is in it once its run has
     * started; waiting messages are not. Only those after `afterOrder` when it is given: what has an order never changes, so
     * a reader may keep it. Steady in time however long the session is.
     */
    readonly history: (query: {
      readonly tenant: Tenant
      readonly session: SessionKey
      readonly afterOrder?: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<EntryRow>, LogError>
    /**
     * Entries by seq, oldest first, after `afterSeq` (default: from the first); with `beforeSeq` the newest `limit` of those
     * before it. What people and late sockets read.
     */
    readonly entries: (query: {
      readonly tenant: Tenant
      readonly session: SessionKey
      readonly afterSeq?: number
      readonly beforeSeq?: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<EntryRow>, LogError>
    readonly message: (query: {
      readonly tenant: Tenant
      readonly id: MessageId
    }) => Effect.Effect<MessageTrace | undefined, LogError>
    /** The message accepted under this identity, if any. Compares no body. */
    readonly lookup: (query: {
      readonly tenant: Tenant
      readonly identity: Identity
    }) => Effect.Effect<MessageRow | undefined, LogError>
    /** Deliveries that are pending or sending, oldest first, in order of seq and part within a session. */
    readonly undelivered: (query: {
      readonly tenant: Tenant
      readonly session?: SessionKey
      readonly channel?: string
      readonly createdAfter?: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<DeliveryRow>, LogError>
    /** Approvals that nobody has decided yet, oldest first: of all sessions, or of one. With `id` that one, whatever its state. */
    readonly approvals: (query: {
      readonly tenant: Tenant
      readonly session?: SessionKey
      readonly id?: ApprovalId
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<ApprovalRow>, LogError>
    /** Sessions that share what was said in this one, by key. */
    readonly forks: (query: {
      readonly tenant: Tenant
      readonly session: SessionKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<SessionKey>, LogError>
    /** Listed (not ephemeral) sessions, latest first. */
    readonly sessions: (query: {
      readonly tenant: Tenant
      readonly key?: SessionKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<SessionRow>, LogError>
    /**
     * Remove sessions untouched since `before`, without open messages and without forks: the ephemeral ones, or with `listed` the
     * others. Returns how many. What it frees the store may give back to the disk, without holding up others for long.
     */
    readonly purge: (query: {
      readonly tenant: Tenant
      readonly before: number
      readonly listed?: boolean
    }) => Effect.Effect<number, LogError>
    /** What the session's lane decided, in the order it was kept, after `afterSeq`. */
    readonly journal: (query: {
      readonly tenant: Tenant
      readonly session: SessionKey
      readonly afterSeq?: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<JournalRow>, LogError>
    /** Remove what journals kept, or deliveries that were sent, before `before`. Returns how many rows. */
    readonly purgeOld: (query: {
      readonly tenant: Tenant
      readonly of: "journal" | "deliveries"
      readonly before: number
    }) => Effect.Effect<number, LogError>
    /** The sessions that keep a word under this name, by key, after `after`. */
    readonly settings: (query: {
      readonly tenant: Tenant
      readonly name: string
      readonly after?: SessionKey
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<{ readonly session: SessionKey; readonly value: string }>, LogError>
    /** The sessions that keep queue settings of their own, by key, after `after`. */
    readonly queues: (query: {
      readonly tenant: Tenant
      readonly after?: SessionKey
      readonly limit: number
    }) => Effect.Effect<
      ReadonlyArray<{ readonly session: SessionKey; readonly overrides: QueueOverrides }>,
      LogError
    >
    /**
     * What was spent, summed. Days newest first, all else the most expensive first; none for what was never spent. What a deleted or
     * purged session spent stays counted, without its name and its senders'. Its cost grows with the days that are asked for, not
     * with the log.
     */
    readonly usage: (query: {
      readonly tenant: Tenant
      readonly by: UsageBy
      readonly agent?: string
      readonly session?: SessionKey
      readonly sender?: string
      readonly model?: string
      /** First and last day, as `dayOf` counts them. */
      readonly fromDay?: number
      readonly toDay?: number
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<UsageRow>, LogError>
    /** Completes with the reason once the store cannot be trusted any more: stop, and start again. Never completes otherwise. */
    readonly broken: Effect.Effect<string>
  }
>()("opencraw/horizons/MessageLog") {}
