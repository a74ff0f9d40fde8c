/**
 * Rows of `queue-dedupe-and-drain`: the log tells repetitions and drops, `decide` plans the runs.
 *
 * Of a row's prompt only what it holds is compared: which texts, whole and in order, and what the note tells. With us each message
 * stays an entry of its own.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { messageId } from "#src/domain/Ids.ts"
import { local } from "#src/domain/Tenant.ts"
import { type DropPolicy, normalizeMode, type QueueMode } from "#src/domain/Queue.ts"
import { MessageLog, type MessageRow } from "#src/horizons/MessageLog.ts"
import * as MemoryMessageLog from "#layers/horizons/MemoryMessageLog.ts"
import { rowOf } from "../lane/rows.ts"
import { busySession } from "./busySession.ts"
import { told } from "./queueNotes.ts"
import { compare, type Row, type Verdict } from "./Row.ts"

export const topic = "queue-dedupe-and-drain"

interface Message {
  readonly id?: string | null
  readonly text: string
  readonly summaryLine?: string
  readonly channel?: string
  readonly to?: string
  readonly account?: string
  readonly thread?: string | number
}

interface EnqueueInput {
  readonly op: "enqueue"
  readonly dedupe?: "message-id" | "prompt" | "none"
  readonly messages: ReadonlyArray<Message>
}
interface DrainInput {
  readonly op: "drain"
  readonly settings: { readonly mode: string; readonly cap: number; readonly dropPolicy: DropPolicy }
  readonly messages: ReadonlyArray<Message>
}
interface ExpectedRun {
  readonly prompt: string
  readonly channel: string | null
  readonly to: string | null
  readonly account: string | null
  readonly thread: string | number | null
}
type Rows =
  | Row<EnqueueInput, { readonly accepted: ReadonlyArray<boolean> }>
  | Row<DrainInput, { readonly runs: ReadonlyArray<ExpectedRun> }>

const rowFrom = (
  message: Message,
  index: number,
  externalId: string,
  mode: QueueMode = "followup"
): MessageRow =>
  rowOf(index + 1, {
    text: message.text,
    body: { queue: { mode, debounceMs: 0 } },
    route: {
      channel: message.channel ?? "",
      account: message.account ?? "",
      conversation: message.to ?? "",
      thread: String(message.thread ?? ""),
      externalId
    }
  })

/** Without an id, or with ids that are not to count, a message is given one of its own. */
const enqueue = ({ messages, dedupe }: EnqueueInput) =>
  Effect.gen(function* () {
    const log = yield* MessageLog
    const accepted: Array<boolean> = []
    for (const [index, message] of messages.entries()) {
      const given = dedupe === "none" ? "" : (message.id ?? "")
      const row = rowFrom(message, index, given === "" ? `fresh ${index}` : given)
      const { place, identity, sender, access, ephemeral, body } = row
      const taken = yield* Effect.result(
        log.commit({
          _tag: "Accept",
          place,
          messageId: messageId(`msg_${index}`),
          message: { identity, session: place.session, sender, access, ephemeral, body },
          cap: 1000,
          drop: "new",
          at: index
        })
      )
      accepted.push(Result.isSuccess(taken) && !taken.success.duplicate)
    }
    const { session } = rowOf(1).place
    const open = yield* log.open({ tenant: local, session, limit: 1000 })
    return { accepted, depth: open.length }
  }).pipe(Effect.provide(MemoryMessageLog.layer))

const sameRoute = (a: Message, b: Message) =>
  a.channel === b.channel && a.to === b.to && a.account === b.account && a.thread === b.thread

const runEnqueue = async ({
  input,
  expected
}: Row<EnqueueInput, { readonly accepted: ReadonlyArray<boolean> }>): Promise<Verdict> => {
  const actual = await Effect.runPromise(enqueue(input))
  const verdict = compare(actual, expected)
  if (verdict.ok) return verdict
  const { messages, dedupe } = input
  const differing = messages.filter((_, index) => actual.accepted[index] !== expected.accepted[index])
  const isByText = (one: Message) =>
    messages.some((other) => other !== one && other.text === one.text && sameRoute(other, one))
  if (dedupe === "prompt" && differing.every(isByText)) {
    return { ok: true, skip: "the same text is no repetition, only the same id is (.decisions/0006)" }
  }
  if (differing.every(({ id }) => id !== undefined && id !== null && id !== id.trim())) {
    return { ok: true, skip: "an id is what the far side says, space and all (.decisions/0006)" }
  }
  return verdict
}

/** A run, as rows and we can both be read. */
interface Plan {
  readonly texts: ReadonlyArray<string>
  readonly note: ReturnType<typeof told> | null
  readonly route: ReadonlyArray<string>
}

const drain = async ({ settings, messages }: DrainInput): Promise<ReadonlyArray<Plan>> => {
  const { cap, dropPolicy: drop } = settings
  const mode = normalizeMode(settings.mode) === "collect" ? "collect" : "followup"
  const arriving = messages.map((message, index) => rowFrom(message, index + 1, String(index), mode))
  const { runs } = await Effect.runPromise(busySession(arriving, { cap, drop }))
  return runs.map((run) => {
    // The log's own limit of lines is fixed (.decisions/0006).
    const { count, lines } = told(run.note)
    const { channel, conversation, account, thread } = run.messages[0]!.identity
    return {
      texts: run.texts,
      note: run.note === "" ? null : { count, lines: lines.slice(-Math.max(cap, 1)) },
      route: [channel, conversation, account, thread]
    }
  })
}

/** Those of the texts that a prompt holds whole, as lines of their own, in the order of the prompt. */
const textsOf = (prompt: string, texts: ReadonlyArray<string>): ReadonlyArray<string> =>
  texts
    .map((text) => ({ text, at: `\n${prompt}\n`.indexOf(`\n${text}\n`) }))
    .filter(({ at }) => at >= 0)
    .toSorted((a, b) => a.at - b.at)
    .map(({ text }) => text)

/** A note with no text is one of the run behind it (.decisions/0006). */
const expectedRuns = (
  runs: ReadonlyArray<ExpectedRun>,
  messages: ReadonlyArray<Message>
): ReadonlyArray<Plan> => {
  const read: Array<Plan> = []
  let before: Plan["note"] = null
  for (const { prompt, channel, to, account, thread } of runs) {
    const paragraph = prompt.split("\n\n").find((one) => /^\[.*\d/.test(one))
    const note = paragraph === undefined ? null : told(paragraph)
    const texts = textsOf(
      prompt,
      messages.map(({ text }) => text)
    )
    if (texts.length === 0 && note !== null) {
      before = note
      continue
    }
    const route = [channel ?? "", to ?? "", account ?? "", String(thread ?? "")]
    read.push({ texts, note: note ?? before, route })
    before = null
  }
  return read
}

const runDrain = async ({
  input,
  expected
}: Row<DrainInput, { readonly runs: ReadonlyArray<ExpectedRun> }>): Promise<Verdict> => {
  const actual = await drain(input)
  const wanted = expectedRuns(expected.runs, input.messages)
  const verdict = compare(actual, wanted)
  if (verdict.ok || !input.messages.some((message) => message.summaryLine !== undefined)) return verdict
  const counted = (runs: ReadonlyArray<Plan>) =>
    runs.map((run) => ({ ...run, note: run.note?.count ?? null }))
  return compare(counted(actual), counted(wanted)).ok
    ? { ok: true, skip: "a message has one text and no other that tells it in short (.decisions/0006)" }
    : verdict
}

const isDrain = (row: Rows): row is Extract<Rows, Row<DrainInput>> => row.input.op === "drain"

export const run = async (row: Rows): Promise<Verdict> =>
  isDrain(row) ? runDrain(row) : runEnqueue(row as Extract<Rows, Row<EnqueueInput>>)
