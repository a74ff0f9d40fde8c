/**
 * What a lane's journal holds, and deciding it again.
 *
 * A lane that rests has forgotten everything, so what it decides until it rests again, a spell, can be decided again from nothing.
 * The journal holds the event of each decision and the commands it gave, without what people wrote: a message is reduced to what
 * `decide` reads of it.
 *
 * Owns: the record of a decision, and which of them are otherwise today.
 * Does not own: keeping the records (`Journal`), showing them (`gateway/cli`).
 */
import * as Hash from "effect/Hash"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Access, MessageBody } from "#src/domain/Inbound.ts"
import type { MessageId, RunId } from "#src/domain/Ids.ts"
import { JournalRecord, type Kept } from "#src/domain/JournalRecord.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"
import { wishesOf } from "./collect.ts"
import {
  decide,
  type Decision,
  initial,
  isIdle,
  type LaneCommand,
  type LaneEvent,
  type LaneState,
  type Run
} from "./decide.ts"

/** The form of records that this version writes and reads. */
export const version = 1

interface KeptRow {
  readonly id: MessageId
  readonly seq: number
  readonly sender: string
  readonly access: Access
  readonly route: readonly [channel: string, account: string, conversation: string, thread: string]
  readonly at: number
  readonly chars: number
  readonly queue?: MessageBody["queue"]
  readonly run?: RunId
  /** It brought its own history: it joins nothing. */
  readonly alone?: true
  /** Equal for messages of equal wishes (system text, model, sampling); absent without any. */
  readonly wish?: string
}

const keptRow = (row: MessageRow): KeptRow => {
  const { identity, body } = row
  const hasWish = body.system !== undefined || body.model !== undefined || body.params !== undefined
  return {
    id: row.id,
    seq: row.seq,
    sender: row.sender,
    access: row.access,
    route: [identity.channel, identity.account, identity.conversation, identity.thread],
    at: row.acceptedAt,
    chars: body.text.length,
    ...(body.queue === undefined ? {} : { queue: body.queue }),
    ...(row.runId === undefined ? {} : { run: row.runId }),
    ...(body.prior === undefined ? {} : { alone: true }),
    ...(hasWish ? { wish: digestOf(wishesOf(row)) } : {})
  }
}

const digestOf = (text: string): string => `${text.length}.${(Hash.string(text) >>> 0).toString(36)}`
const noWish = digestOf(wishesOf({ body: { text: "" } }))

const rowOf = ({ wish, ...row }: KeptRow): MessageRow => {
  const [channel, account, conversation, thread] = row.route
  return {
    id: row.id,
    place: { tenant: local, agent: "", session: "" as SessionKey },
    seq: row.seq,
    identity: { channel, account, conversation, thread, externalId: "", revision: 1 },
    sender: row.sender,
    access: row.access,
    ephemeral: false,
    body: {
      text: " ".repeat(row.chars),
      ...(row.queue === undefined ? {} : { queue: row.queue }),
      ...(row.alone === undefined ? {} : { prior: [] }),
      ...(wish === undefined || wish === noWish ? {} : { system: wish })
    },
    acceptedAt: row.at,
    runId: row.run,
    outcome: undefined,
    outcomeBy: undefined,
    endedAt: undefined
  }
}

const keptEvent = (event: LaneEvent): object => {
  switch (event._tag) {
    case "Arrived":
      return { ...event, message: keptRow(event.message) }
    case "Loaded":
      return {
        ...event,
        messages: event.messages.map(keptRow),
        ...(event.started === undefined ? {} : { started: event.started.map(keptRow) })
      }
    default:
      return event satisfies WithoutRows<typeof event>
  }
}

/** Does not compile for what carries messages: they must never be kept whole. */
type WithoutRows<A> = A extends unknown
  ? Extract<A[keyof A], MessageRow | ReadonlyArray<MessageRow> | Run> extends never
    ? A
    : never
  : never

const eventOf = (kept: Kept): LaneEvent => {
  const rows = (name: string) => {
    const found = kept[name] as ReadonlyArray<KeptRow> | undefined
    return found === undefined ? {} : { [name]: found.map(rowOf) }
  }
  switch (kept._tag) {
    case "Arrived":
      return { ...kept, message: rowOf(kept["message"] as KeptRow) } as unknown as LaneEvent
    case "Loaded":
      return { ...kept, ...rows("messages"), ...rows("started") } as unknown as LaneEvent
    default:
      return kept as unknown as LaneEvent
  }
}

const idsOf = (rows: ReadonlyArray<MessageRow>) => rows.map((row) => row.id)

const keptCommand = (command: LaneCommand): object => {
  switch (command._tag) {
    case "Start":
    case "Interrupt":
      return { ...command, run: { ...command.run, messages: idsOf(command.run.messages) } }
    case "Inject":
    case "Settle":
      return { ...command, messages: idsOf(command.messages) }
    default:
      return command satisfies WithoutRows<typeof command>
  }
}

/** A decision as the text that is kept of it. `buffer` only with the first of a spell. */
export const recordText = (
  spell: string,
  n: number,
  at: number,
  buffer: number,
  event: LaneEvent,
  { state, commands }: Decision
): string => {
  const first = n === 0 ? { v: version, buffer } : undefined
  const rests = isIdle(state) ? { rests: true } : undefined
  return JSON.stringify({
    spell,
    n,
    at,
    ...first,
    event: keptEvent(event),
    commands: commands.map(keptCommand),
    ...rests
  })
}

const readRecords = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Array(JournalRecord)))

/** What was kept at once, as records; none of a text that another version has written in a way of its own. */
export const recordsOf = (text: string): ReadonlyArray<JournalRecord> =>
  Result.getOrElse(readRecords(text), () => [])

/** What this version decides where something else was recorded. */
export interface Difference {
  readonly record: JournalRecord
  readonly today:
    | { readonly commands: ReadonlyArray<Kept>; readonly rests: boolean }
    /** It can decide nothing of it, and why. */
    | { readonly problem: string }
}

export interface Spell {
  readonly records: ReadonlyArray<JournalRecord>
  /** Why it is not decided again: what came before its first record was not kept, or is of a form that is not known here. */
  readonly skipped: "beginning" | "version" | undefined
  /** It came to rest. Otherwise it goes on, or its last decisions were not kept. */
  readonly isWhole: boolean
  /** The first one; what follows it in the spell follows from it. */
  readonly difference: Difference | undefined
}

/** What a lane went through, oldest first, each spell decided again. */
export const redecide = (records: ReadonlyArray<JournalRecord>): ReadonlyArray<Spell> =>
  spellsOf(records).map((spell) => {
    const first = spell[0]!
    const skipped = first.n > 0 ? "beginning" : first.v === version ? undefined : "version"
    return {
      records: spell,
      skipped,
      isWhole: spell.at(-1)!.rests === true,
      difference: skipped === undefined ? firstDifference(spell, first.buffer ?? 1) : undefined
    }
  })

/** A record that does not follow the one before it, since that was not kept, begins a spell too. */
const spellsOf = (records: ReadonlyArray<JournalRecord>): ReadonlyArray<ReadonlyArray<JournalRecord>> => {
  const spells: Array<Array<JournalRecord>> = []
  let before: JournalRecord | undefined
  for (const record of records) {
    if (before?.spell === record.spell && record.n === before.n + 1) spells.at(-1)!.push(record)
    else spells.push([record])
    before = record
  }
  return spells
}

const firstDifference = (records: ReadonlyArray<JournalRecord>, buffer: number): Difference | undefined => {
  let state: LaneState = initial(buffer)
  for (const record of records) {
    const decided = Result.try(() => decide(state, eventOf(record.event)))
    // An event of a later version is not decided at all.
    if (Result.isFailure(decided) || decided.success === undefined) {
      return { record, today: { problem: problemOf(decided) } }
    }
    const { commands } = decided.success
    state = decided.success.state
    const rests = isIdle(state)
    const now = asKept(commands)
    if (rests !== (record.rests === true) || canonical(now) !== canonical(record.commands)) {
      return { record, today: { commands: now, rests } }
    }
  }
  return undefined
}

const problemOf = (decided: Result.Result<Decision, unknown>): string =>
  Result.isFailure(decided) && decided.failure instanceof Error
    ? decided.failure.message
    : "this event is not known"

/** As it would be read back. */
const asKept = (commands: ReadonlyArray<LaneCommand>): ReadonlyArray<Kept> =>
  JSON.parse(JSON.stringify(commands.map(keptCommand)))

/** The same text for the same values, in whatever order their keys stand. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part
  )
