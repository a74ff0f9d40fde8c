/**
 * The lines of one conversation: what was written and answered, each once and in its place.
 *
 * Owns: their order, which of two lines is the same one, and how they are read.
 * Does not own: what happens to them (`state.ts`). Pure.
 */
import type { HistoryRow, ImageNote } from "./frames.ts"

export interface UserLine {
  readonly kind: "user"
  /** The id its client gave; empty when it has none. The same id is used for every sending. */
  readonly clientId: string
  /** Its place in the transcript; undefined until the server has it. */
  readonly seq: number | undefined
  /** The server's id; undefined while the page was not told. */
  readonly messageId: string | undefined
  /** When it was accepted, ms since the epoch; by this page's clock until the history has it. */
  readonly at: number | undefined
  readonly text: string
  readonly images?: ReadonlyArray<ImageNote>
  /** It was sent to be read by the answer that was being written then, or was read by it. */
  readonly steers: boolean
  readonly status: "unsent" | "accepted" | "refused"
  /** It has an outcome: nothing more will come of it. */
  readonly ended: boolean
  /** Why it was refused or has no answer, in words. */
  readonly note: string | undefined
  /** The code of the refusal. */
  readonly code: string | undefined
}
/** One call of a tool, as far as the page saw it. */
export interface ToolUse {
  readonly callId: string
  readonly name: string
  readonly summary: string
  /** How it ended (`ok`, `failed`, …); undefined while it is at work. */
  readonly result: string | undefined
}
export interface AnswerLine {
  readonly kind: "assistant" | "system"
  /** Empty for text that was cut off just now: the history will name it. */
  readonly id: string
  /** Between two whole numbers while the history has not given it its place. */
  readonly seq: number
  readonly at: number | undefined
  readonly text: string
  /** What cut it off. */
  readonly cutOff: string | undefined
  /** Client ids of the messages it answers. */
  readonly answers: ReadonlyArray<string>
  /** The tools its run used. */
  readonly tools: ReadonlyArray<ToolUse>
}
export type Line = UserLine | AnswerLine

const none: ReadonlyArray<never> = []

export const placed = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> =>
  // Stable, so that lines without a seq keep their order behind the others.
  lines.toSorted((a, b) => (a.seq ?? Infinity) - (b.seq ?? Infinity) || 0)

const isSame = (line: Line, other: Line): boolean => {
  if (line.seq !== undefined && line.seq === other.seq) return true
  if (line.kind === "user") {
    return other.kind === "user" && line.clientId !== "" && line.clientId === other.clientId
  }
  return other.kind !== "user" && line.id !== "" && line.id === other.id
}

/** Put a line where it belongs; one that is there already is replaced, so nothing is ever shown twice. */
export const put = (lines: ReadonlyArray<Line>, line: Line): ReadonlyArray<Line> => {
  const at = lines.findIndex((other) => isSame(other, line))
  return placed(at < 0 ? [...lines, line] : lines.with(at, line))
}

/** False for text that was cut off just now and stands here until the history has it. */
export const isDurable = (line: Line): boolean => line.kind === "user" || line.id !== ""

export const updateUser = (
  lines: ReadonlyArray<Line>,
  clientId: string,
  change: (line: UserLine) => UserLine
): ReadonlyArray<Line> =>
  placed(lines.map((line) => (line.kind === "user" && line.clientId === clientId ? change(line) : line)))

export const fresh = {
  seq: undefined,
  messageId: undefined,
  at: undefined,
  steers: false,
  status: "unsent",
  ended: false,
  note: undefined,
  code: undefined
} as const

const ofRow = (row: HistoryRow): Line =>
  row.role === "user"
    ? {
        ...fresh,
        kind: "user",
        clientId: row.client_id ?? "",
        seq: row.seq,
        messageId: row.id,
        at: row.created_at,
        text: row.content,
        ...(row.images === undefined ? {} : { images: row.images }),
        status: "accepted",
        ended: row.open !== true
      }
    : {
        kind: row.role === "assistant" ? "assistant" : "system",
        id: row.id,
        seq: row.seq,
        at: row.created_at,
        text: row.content,
        cutOff: row.partial,
        answers: row.answers ?? none,
        tools: (row.tools ?? none).map(({ name, status }, index) => ({
          callId: String(index),
          name,
          summary: "",
          result: status
        }))
      }

/** Lines and rows as one, each once. The row is the truth; what only this page knows of a line stays with it. */
export const merged = (lines: ReadonlyArray<Line>, rows: ReadonlyArray<HistoryRow>): ReadonlyArray<Line> => {
  const bySeq = new Map(rows.map((row) => [row.seq, ofRow(row)]))
  const byClient = new Map(rows.map((row) => [row.client_id, row.seq]))
  const kept: Array<Line> = []
  for (const line of lines) {
    if (line.kind !== "user") {
      const row = bySeq.get(line.seq)
      if (row === undefined) kept.push(line)
      else if (row.kind !== "user" && row.tools.length === 0)
        bySeq.set(line.seq, { ...row, tools: line.tools })
      continue
    }
    const seq = line.clientId === "" ? line.seq : (byClient.get(line.clientId) ?? line.seq)
    const row = seq === undefined ? undefined : bySeq.get(seq)
    if (seq === undefined || row === undefined) kept.push(line)
    else if (row.kind === "user") bySeq.set(seq, { ...row, note: line.note, steers: line.steers })
  }
  return placed([...kept, ...bySeq.values()])
}

/**
 * The lines as a conversation reads: a message that waited stands before its own answer, not where it was sent in the middle of
 * another's. `waiting` are the messages behind the one that is being answered. Nothing is left out.
 */
export const asRead = (
  lines: ReadonlyArray<Line>
): { readonly said: ReadonlyArray<Line>; readonly waiting: ReadonlyArray<UserLine> } => {
  const said: Array<Line> = []
  let pending: Array<UserLine> = []
  for (const line of lines) {
    if (line.kind === "user") {
      pending.push(line)
      continue
    }
    const last = said.at(-1)
    // Text that was cut off, or why there is none, belongs to the first one; what comes of the same run belongs there too.
    const goesOn =
      line.answers.length === 0 && last !== undefined && last.kind !== "user" && last.answers.length === 0
    const newest = pending.findLastIndex((one) => line.answers.includes(one.clientId))
    const isOf = (one: UserLine, index: number) =>
      line.answers.length === 0
        ? index === 0 && !goesOn
        : line.answers.includes(one.clientId) || (index < newest && one.ended && one.status === "accepted")
    said.push(...pending.filter(isOf), line)
    pending = pending.filter((one, index) => !isOf(one, index))
  }
  // What ended without a word is no longer waited for.
  const open = pending.findIndex((one) => one.status !== "accepted" || !one.ended)
  const first = open < 0 ? pending.length : open + 1
  return { said: [...said, ...pending.slice(0, first)], waiting: pending.slice(first) }
}

/** Accepted messages without an outcome, in order: the first is being answered, the others wait. */
export const openLines = (lines: ReadonlyArray<Line>): ReadonlyArray<UserLine> =>
  lines.filter((line): line is UserLine => line.kind === "user" && line.status === "accepted" && !line.ended)
