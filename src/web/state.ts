/**
 * What the page knows of one conversation, and how each thing that happens changes it.
 *
 * Owns: order, what counts once, which streamed text still stands, which messages must be sent again.
 * Does not own: sockets, storage, time or the screen (`client.ts`, `Page.tsx`). Pure.
 */

/** One line as the history route gives it. */
export interface HistoryRow {
  readonly id: string
  readonly seq: number
  readonly role: string
  readonly content: string
  readonly client_id?: string
  readonly partial?: string
}

/** A frame of the server, as far as the page uses it; unknown types are ignored. */
export type Frame =
  | { readonly type: "hello"; readonly session_key: string; readonly seq: number }
  | { readonly type: "ack"; readonly id: string; readonly seq: number }
  | {
      readonly type: "refused"
      readonly id: string
      readonly code: string
      readonly message: string
      readonly retry_after_ms?: number
    }
  | {
      readonly type: "outcome"
      readonly id: string
      readonly outcome: string
      readonly by?: string
      readonly failure?: { readonly message: string }
    }
  | { readonly type: "user"; readonly id: string; readonly seq: number; readonly content: string }
  | { readonly type: "run"; readonly run_id: string; readonly attempt: number; readonly state: string }
  | { readonly type: "typing"; readonly on: boolean }
  | {
      readonly type: "delta"
      readonly run_id: string
      readonly attempt: number
      readonly offset: number
      readonly content: string
    }
  | {
      readonly type: "tool"
      readonly run_id: string
      readonly call_id: string
      readonly name: string
      readonly phase: string
      readonly summary: string
    }
  | {
      readonly type: "message"
      readonly id: string
      readonly seq: number
      readonly answers?: ReadonlyArray<string>
      readonly content: string
    }
  | { readonly type: "error"; readonly code: string; readonly message: string }

export interface UserLine {
  readonly kind: "user"
  /** The id its client gave; empty when it has none. The same id is used for every sending. */
  readonly clientId: string
  /** Its place in the transcript; undefined until the server has it. */
  readonly seq: number | undefined
  readonly text: string
  readonly status: "unsent" | "accepted" | "refused"
  /** Why it was refused or has no answer, in words. */
  readonly note: string | undefined
  /** The code of the refusal. */
  readonly code: string | undefined
}
export interface AnswerLine {
  readonly kind: "assistant" | "system"
  /** Empty for text that was cut off just now: the history will name it. */
  readonly id: string
  /** Between two whole numbers while the history has not given it its place. */
  readonly seq: number
  readonly text: string
  /** What cut it off. */
  readonly cutOff: string | undefined
}
export type Line = UserLine | AnswerLine

/** The answer that is being written. */
export interface Draft {
  readonly runId: string
  readonly attempt: number
  /** Texts of the steps before this one. */
  readonly earlier: ReadonlyArray<string>
  /** Where `text` begins in its step: above 0 when the beginning was missed. */
  readonly base: number
  readonly text: string
  /** A tool was called: text at offset 0 begins another step. */
  readonly stepEnded: boolean
}

export interface Me {
  readonly principal: string
  readonly model: string
  readonly demo: boolean
  /** The line to set for a real model. */
  readonly setting?: string
}

export interface State {
  readonly access: "asking" | "locked" | "open"
  /** Why the page is locked, when there is more to say than "no cookie". */
  readonly lockedBecause: string | undefined
  readonly me: Me | undefined
  readonly connection: "connecting" | "online" | "offline"
  /** Lines with a seq by seq, then those without in order of writing. */
  readonly lines: ReadonlyArray<Line>
  /** Everything up to here has been seen for certain. */
  readonly seen: number
  readonly draft: Draft | undefined
  readonly running: boolean
  readonly typing: boolean
  readonly activity: string | undefined
  /** The last run that has ended: its late deltas are void. */
  readonly endedRun: string | undefined
  readonly notice: string | undefined
}

export const initial: State = {
  access: "asking",
  lockedBecause: undefined,
  me: undefined,
  connection: "connecting",
  lines: [],
  seen: 0,
  draft: undefined,
  running: false,
  typing: false,
  activity: undefined,
  endedRun: undefined,
  notice: undefined
}

export type Action =
  | { readonly type: "unlocked"; readonly me: Me }
  | { readonly type: "locked"; readonly because?: string }
  | { readonly type: "history"; readonly rows: ReadonlyArray<HistoryRow> }
  | { readonly type: "connecting" }
  | { readonly type: "offline" }
  | { readonly type: "frame"; readonly frame: Frame }
  | { readonly type: "write"; readonly id: string; readonly text: string }
  /** Send a refused line again. `newId` is for an id that the server will not take again. */
  | { readonly type: "retry"; readonly id: string; readonly newId: string }
  | { readonly type: "dismiss" }

const idle = { draft: undefined, running: false, typing: false, activity: undefined } as const

const placed = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> =>
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
const put = (lines: ReadonlyArray<Line>, line: Line): ReadonlyArray<Line> => {
  const at = lines.findIndex((other) => isSame(other, line))
  return placed(at < 0 ? [...lines, line] : lines.with(at, line))
}

/** False for text that was cut off just now and stands here until the history has it. */
const isDurable = (line: Line): boolean => line.kind === "user" || line.id !== ""

const updateUser = (
  lines: ReadonlyArray<Line>,
  clientId: string,
  change: (line: UserLine) => UserLine
): ReadonlyArray<Line> =>
  placed(lines.map((line) => (line.kind === "user" && line.clientId === clientId ? change(line) : line)))

const ofRow = (row: HistoryRow): Line =>
  row.role === "user"
    ? {
        kind: "user",
        clientId: row.client_id ?? "",
        seq: row.seq,
        text: row.content,
        status: "accepted",
        note: undefined,
        code: undefined
      }
    : {
        kind: row.role === "assistant" ? "assistant" : "system",
        id: row.id,
        seq: row.seq,
        text: row.content,
        cutOff: row.partial
      }

const onHistory = (state: State, rows: ReadonlyArray<HistoryRow>): State => {
  if (rows.length === 0) return state
  const bySeq = new Map(rows.map((row) => [row.seq, ofRow(row)]))
  const byClient = new Map(rows.map((row) => [row.client_id, row.seq]))
  const kept: Array<Line> = []
  for (const line of state.lines) {
    if (line.kind !== "user") {
      // What was cut off is in the transcript by now, with its place.
      if (line.id !== "" && !bySeq.has(line.seq)) kept.push(line)
      continue
    }
    const seq = line.clientId === "" ? line.seq : (byClient.get(line.clientId) ?? line.seq)
    const row = seq === undefined ? undefined : bySeq.get(seq)
    if (seq === undefined || row === undefined) kept.push(line)
    else if (row.kind === "user") bySeq.set(seq, { ...row, note: line.note })
  }
  const seen = rows.reduce((highest, row) => Math.max(highest, row.seq), state.seen)
  const ends = rows.some((row) => row.role === "assistant")
  return { ...state, lines: placed([...kept, ...bySeq.values()]), seen, ...(ends ? idle : {}) }
}

const outcomeNotes: Readonly<Record<string, string>> = {
  failed: "No answer",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
  dropped: "Dropped, too many messages were waiting",
  expired: "Expired before it could be answered",
  silent: "Read; no answer was needed"
}

/** The draft as a line of its own, when it holds anything worth keeping. */
const cutOff = (lines: ReadonlyArray<Line>, draft: Draft, by: string): ReadonlyArray<Line> => {
  if (draft.text === "") return lines
  const last = lines.reduce((highest, line) => Math.max(highest, line.seq ?? 0), 0)
  return placed([...lines, { kind: "assistant", id: "", seq: last + 0.5, text: textOf(draft), cutOff: by }])
}

/** What of the present step is known, marked when its beginning was missed. */
export const textOf = (draft: Draft): string => (draft.base > 0 ? `… ${draft.text}` : draft.text)

const onDelta = (state: State, frame: Extract<Frame, { type: "delta" }>): State => {
  if (frame.run_id === state.endedRun) return state
  const draft = state.draft
  const fresh: Draft = {
    runId: frame.run_id,
    attempt: frame.attempt,
    earlier: [],
    base: frame.offset,
    text: frame.content,
    stepEnded: false
  }
  const next = (): Draft => {
    if (draft === undefined || draft.runId !== frame.run_id || frame.attempt > draft.attempt) return fresh
    if (draft.stepEnded && frame.offset === 0) {
      return { ...fresh, earlier: draft.text === "" ? draft.earlier : [...draft.earlier, textOf(draft)] }
    }
    const at = frame.offset - draft.base
    // A gap: what is between was dropped on the way, the final message will have it.
    if (at < 0 || at > draft.text.length) return { ...fresh, earlier: draft.earlier }
    return { ...draft, text: draft.text.slice(0, at) + frame.content, stepEnded: false }
  }
  if (draft !== undefined && draft.runId === frame.run_id && frame.attempt < draft.attempt) return state
  return { ...state, draft: next(), running: true, activity: undefined }
}

const onRun = (state: State, frame: Extract<Frame, { type: "run" }>): State => {
  if (frame.state === "ended") {
    return { ...state, running: false, typing: false, activity: undefined }
  }
  const stands = state.draft?.runId === frame.run_id && state.draft.attempt >= frame.attempt
  return {
    ...state,
    running: true,
    draft: stands ? state.draft : undefined,
    endedRun: state.endedRun === frame.run_id ? undefined : state.endedRun
  }
}

const onMessage = (state: State, frame: Extract<Frame, { type: "message" }>): State => {
  const known = state.lines.some((line) => line.kind !== "user" && line.id === frame.id)
  const lines = put(state.lines.filter(isDurable), {
    kind: "assistant",
    id: frame.id,
    seq: frame.seq,
    text: frame.content,
    cutOff: undefined
  })
  const seen = Math.max(state.seen, frame.seq)
  // Sent again because its receipt was lost: it ends no run of now.
  if (known) return { ...state, lines, seen }
  return { ...state, ...idle, lines, seen, endedRun: state.draft?.runId ?? state.endedRun }
}

const onOutcome = (state: State, frame: Extract<Frame, { type: "outcome" }>): State => {
  const note = outcomeNotes[frame.outcome]
  const detail = frame.failure?.message ?? (frame.by === undefined ? undefined : `by ${frame.by}`)
  const lines =
    note === undefined
      ? state.lines
      : updateUser(state.lines, frame.id, (line) => ({
          ...line,
          status: "accepted",
          note: detail === undefined ? note : `${note}: ${detail}`
        }))
  const ends = ["failed", "cancelled", "interrupted"].includes(frame.outcome)
  if (!ends || state.draft === undefined) return { ...state, lines }
  return {
    ...state,
    ...idle,
    lines: cutOff(lines, state.draft, frame.outcome),
    endedRun: state.draft.runId
  }
}

const onFrame = (state: State, frame: Frame): State => {
  switch (frame.type) {
    case "hello":
      // Whatever was being written goes on from here, or the history has it.
      return { ...state, ...idle, connection: "online", notice: undefined }
    case "ack":
      return {
        ...state,
        lines: updateUser(state.lines, frame.id, (line) => ({
          ...line,
          seq: frame.seq,
          status: "accepted",
          note: line.status === "refused" ? undefined : line.note
        }))
      }
    case "refused":
      return {
        ...state,
        lines: updateUser(state.lines, frame.id, (line) => ({
          ...line,
          status: "refused",
          note: frame.message,
          code: frame.code
        }))
      }
    case "user":
      return {
        ...state,
        lines: put(state.lines, {
          kind: "user",
          clientId: frame.id,
          seq: frame.seq,
          text: frame.content,
          status: "accepted",
          note: undefined,
          code: undefined
        })
      }
    case "typing":
      return { ...state, typing: frame.on }
    case "tool":
      return {
        ...state,
        running: true,
        activity: frame.phase === "started" ? `${frame.name}: ${frame.summary}` : undefined,
        draft: state.draft && { ...state.draft, stepEnded: true }
      }
    case "run":
      return onRun(state, frame)
    case "delta":
      return onDelta(state, frame)
    case "message":
      return onMessage(state, frame)
    case "outcome":
      return onOutcome(state, frame)
    case "error":
      return { ...state, notice: frame.message }
    default:
      return state
  }
}

export const reduce = (state: State, action: Action): State => {
  switch (action.type) {
    case "unlocked":
      return { ...state, access: "open", lockedBecause: undefined, me: action.me }
    case "locked":
      return { ...state, ...idle, access: "locked", lockedBecause: action.because, connection: "offline" }
    case "history":
      return onHistory(state, action.rows)
    case "connecting":
      return { ...state, connection: "connecting" }
    case "offline":
      return { ...state, connection: "offline", typing: false, activity: undefined }
    case "frame":
      return onFrame(state, action.frame)
    case "write":
      return {
        ...state,
        lines: put(state.lines, {
          kind: "user",
          clientId: action.id,
          seq: undefined,
          text: action.text,
          status: "unsent",
          note: undefined,
          code: undefined
        })
      }
    case "retry":
      return {
        ...state,
        lines: updateUser(state.lines, action.id, (line) => ({
          ...line,
          clientId: action.newId,
          status: "unsent",
          note: undefined,
          code: undefined
        }))
      }
    case "dismiss":
      return { ...state, notice: undefined }
  }
}

/** The messages that the server has not acknowledged: sent again, with their ids, whenever a connection opens. */
export const unsent = (state: State): ReadonlyArray<UserLine> =>
  state.lines.filter((line): line is UserLine => line.kind === "user" && line.status === "unsent")

/** True while there is something to stop. */
export const isBusy = (state: State): boolean => state.running || state.typing

/** A text frame as a Frame; undefined for what is no JSON object with a type. */
export const parseFrame = (text: string): Frame | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"
      ? (value as Frame)
      : undefined
  } catch {
    return undefined
  }
}

/** How long to wait before the nth attempt to connect (from 0), ms; `random` in [0, 1) spreads many pages. */
export const backoff = (attempt: number, random: number): number =>
  Math.min(15_000, 400 * 2 ** Math.min(attempt, 10)) * (0.75 + random / 2)
