/**
 * What the page knows of one conversation, and how each thing that happens changes it.
 *
 * Owns: which streamed text still stands, which messages must be sent again.
 * Does not own: the lines and their order (`transcript.ts`), sockets, storage, time or the screen (`client.ts`, `Page.tsx`). Pure.
 */
import type { Frame, HistoryRow, ImageNote } from "./frames.ts"
import {
  type AnswerLine,
  type Line,
  type ToolUse,
  type UserLine,
  fresh,
  isDurable,
  merged,
  openLines,
  placed,
  put,
  updateUser
} from "./transcript.ts"

/** A tool call that waits for a person. */
export interface Approval {
  readonly id: string
  readonly tool: string
  /** Raw JSON text, as the model wrote it. */
  readonly arguments: string
}

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
  readonly principal: { readonly id: string; readonly admin: boolean }
  readonly model: string
  readonly demo: boolean
  /** The line to set for a real model. */
  readonly setting?: string
  /** The first configuration can be written here, or it is written and counts after a restart. */
  readonly setup?: "offered" | "restart"
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
  /** Where the page before the first line ends; undefined when there is none. */
  readonly earlier: number | undefined
  /** The history's newest page was read once. */
  readonly loaded: boolean
  readonly draft: Draft | undefined
  readonly running: boolean
  readonly typing: boolean
  /** Tools of the run under way. */
  readonly tools: ReadonlyArray<ToolUse>
  /** Calls that wait for a decision, oldest first. */
  readonly approvals: ReadonlyArray<Approval>
  /** The newest answer that came while this page was open: what a screen reader is told. */
  readonly news: { readonly id: string; readonly text: string } | undefined
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
  earlier: undefined,
  loaded: false,
  draft: undefined,
  running: false,
  typing: false,
  tools: [],
  approvals: [],
  news: undefined,
  endedRun: undefined,
  notice: undefined
}

export type Action =
  | { readonly type: "unlocked"; readonly me: Me }
  | { readonly type: "locked"; readonly because?: string }
  | { readonly type: "history"; readonly rows: ReadonlyArray<HistoryRow> }
  /** The newest page (`rows` as above) or one before it, and where the one before that ends. */
  | { readonly type: "newest" | "older"; readonly rows: ReadonlyArray<HistoryRow>; readonly earlier?: number }
  /** The session was deleted elsewhere: only what was never accepted is left. */
  | { readonly type: "forgotten" }
  | { readonly type: "connecting" }
  | { readonly type: "offline" }
  | { readonly type: "frame"; readonly frame: Frame }
  | {
      readonly type: "write"
      readonly id: string
      readonly text: string
      readonly steers?: boolean
      readonly images?: ReadonlyArray<ImageNote>
    }
  /** Do not send it any more: its id was never accepted. */
  | { readonly type: "discard"; readonly id: string }
  /** Send a refused line again. `newId` is for an id that the server will not take again. */
  | { readonly type: "retry"; readonly id: string; readonly newId: string }
  | { readonly type: "dismiss" }

const none: ReadonlyArray<never> = []
const idle = { draft: undefined, running: false, typing: false, tools: none } as const

const onHistory = (state: State, rows: ReadonlyArray<HistoryRow>): State => {
  if (rows.length === 0) return state
  const seen = rows.reduce((highest, row) => Math.max(highest, row.seq), state.seen)
  const ends = rows.some((row) => row.role === "assistant")
  // What was cut off is in the transcript by now, with its place.
  return { ...state, lines: merged(state.lines.filter(isDurable), rows), seen, ...(ends ? idle : {}) }
}

const outcomeNotes: Readonly<Record<string, string>> = {
  failed: "No answer",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
  dropped: "Dropped, too many messages were waiting",
  expired: "Expired before it could be answered",
  silent: "Read; no answer was needed",
  steered: "Read by the running answer",
  merged: "Answered together"
}

/** The draft as a line of its own, when it holds anything worth keeping. */
const cutOff = (
  lines: ReadonlyArray<Line>,
  { draft, tools }: { readonly draft: Draft; readonly tools: ReadonlyArray<ToolUse> },
  by: string
): ReadonlyArray<Line> => {
  if (draft.text === "") return lines
  const last = lines.reduce((highest, line) => Math.max(highest, line.seq ?? 0), 0)
  const line = { id: "", seq: last + 0.5, at: undefined, text: textOf(draft), cutOff: by, answers: none }
  return placed([...lines, { kind: "assistant", ...line, tools }])
}

/** What of the present step is known, marked when its beginning was missed. */
export const textOf = (draft: Draft): string => (draft.base > 0 ? `… ${draft.text}` : draft.text)

const onDelta = (state: State, frame: Extract<Frame, { type: "delta" }>): State => {
  if (frame.run_id === state.endedRun) return state
  const draft = state.draft
  const begun: Draft = {
    runId: frame.run_id,
    attempt: frame.attempt,
    earlier: [],
    base: frame.offset,
    text: frame.content,
    stepEnded: false
  }
  const next = (): Draft => {
    if (draft === undefined || draft.runId !== frame.run_id || frame.attempt > draft.attempt) return begun
    if (draft.stepEnded && frame.offset === 0) {
      return { ...begun, earlier: draft.text === "" ? draft.earlier : [...draft.earlier, textOf(draft)] }
    }
    const at = frame.offset - draft.base
    // A gap: what is between was dropped on the way, the final message will have it.
    if (at < 0 || at > draft.text.length) return { ...begun, earlier: draft.earlier }
    // Mostly it goes on where the text ends; cutting a long text for each piece would copy it each time.
    const kept = at === draft.text.length ? draft.text : draft.text.slice(0, at)
    return { ...draft, text: kept + frame.content, stepEnded: false }
  }
  if (draft !== undefined && draft.runId === frame.run_id && frame.attempt < draft.attempt) return state
  return { ...state, draft: next(), running: true }
}

const onRun = (state: State, frame: Extract<Frame, { type: "run" }>): State => {
  if (frame.state !== "started") {
    return { ...state, running: false, typing: false }
  }
  const stands = state.draft?.runId === frame.run_id && state.draft.attempt >= frame.attempt
  return {
    ...state,
    running: true,
    tools: stands ? state.tools : none,
    draft: stands ? state.draft : undefined,
    endedRun: state.endedRun === frame.run_id ? undefined : state.endedRun
  }
}

const onTool = (state: State, frame: Extract<Frame, { type: "tool" }>): State => {
  const known = state.tools.find((one) => one.callId === frame.call_id)
  const use: ToolUse = {
    callId: frame.call_id,
    name: frame.name,
    summary: frame.phase === "started" && frame.summary !== "" ? frame.summary : (known?.summary ?? ""),
    result: frame.phase === "finished" ? frame.summary : undefined
  }
  const tools =
    known === undefined ? [...state.tools, use] : state.tools.map((one) => (one === known ? use : one))
  return { ...state, running: true, tools, draft: state.draft && { ...state.draft, stepEnded: true } }
}

const onMessage = (state: State, frame: Extract<Frame, { type: "message" }>): State => {
  const known = state.lines.find((line): line is AnswerLine => line.kind !== "user" && line.id === frame.id)
  const answers = frame.answers ?? none
  const ended = state.lines
    .filter(isDurable)
    .map((line) =>
      line.kind === "user" && answers.includes(line.clientId) ? { ...line, ended: true } : line
    )
  const lines = put(ended, {
    kind: "assistant",
    id: frame.id,
    seq: frame.seq,
    at: known?.at,
    text: frame.content,
    cutOff: undefined,
    answers,
    tools: known?.tools ?? state.tools
  })
  const seen = Math.max(state.seen, frame.seq)
  // Sent again because its receipt was lost: it ends no run of now.
  if (known !== undefined) return { ...state, lines, seen }
  const news = { id: frame.id, text: frame.content }
  return { ...state, ...idle, lines, seen, news, endedRun: state.draft?.runId ?? state.endedRun }
}

const onOutcome = (state: State, frame: Extract<Frame, { type: "outcome" }>): State => {
  const note = outcomeNotes[frame.outcome]
  // These name the message they went with, which says nothing to a person.
  const isJoined = frame.outcome === "steered" || frame.outcome === "merged"
  const by = frame.by === undefined || isJoined ? undefined : `by ${frame.by}`
  const detail = frame.failure?.message ?? by
  const lines = updateUser(state.lines, frame.id, (line) => ({
    ...line,
    status: "accepted",
    ended: true,
    steers: line.steers || frame.outcome === "steered",
    note: note === undefined || detail === undefined ? (note ?? line.note) : `${note}: ${detail}`
  }))
  const ends = ["failed", "cancelled", "interrupted"].includes(frame.outcome)
  // A message that only waited ends no run: the first open one is the one that is answered.
  const first = openLines(state.lines)[0]
  const isRunning = first === undefined || first.clientId === frame.id
  if (!ends || !isRunning || state.draft === undefined) return { ...state, lines }
  return {
    ...state,
    ...idle,
    lines: cutOff(lines, { draft: state.draft, tools: state.tools }, frame.outcome),
    endedRun: state.draft.runId
  }
}

const onApproval = (state: State, frame: Extract<Frame, { type: "approval" }>): State => {
  const others = state.approvals.filter(({ id }) => id !== frame.id)
  const { id, tool, arguments: given } = frame
  return {
    ...state,
    approvals: frame.state === "pending" ? [...others, { id, tool, arguments: given }] : others
  }
}

const onFrame = (state: State, frame: Frame): State => {
  switch (frame.type) {
    case "hello":
      // Whatever was being written goes on from here, or the history has it.
      // What still waits for a decision is told behind it.
      return { ...state, ...idle, approvals: none, connection: "online", notice: undefined }
    case "approval":
      return onApproval(state, frame)
    case "ack":
      return {
        ...state,
        lines: updateUser(state.lines, frame.id, (line) => ({
          ...line,
          seq: frame.seq,
          messageId: frame.message_id,
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
          ...fresh,
          ...state.lines.find((line) => line.kind === "user" && line.clientId === frame.id),
          kind: "user",
          clientId: frame.id,
          seq: frame.seq,
          text: frame.content,
          ...(frame.images === undefined ? {} : { images: frame.images }),
          status: "accepted"
        })
      }
    case "typing":
      return { ...state, typing: frame.on }
    case "tool":
      return onTool(state, frame)
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
    case "newest":
      return { ...onHistory(state, action.rows), earlier: action.earlier, loaded: true }
    case "older":
      return { ...state, lines: merged(state.lines, action.rows), earlier: action.earlier }
    case "forgotten": {
      const lines = state.lines.filter((line) => line.kind === "user" && line.status !== "accepted")
      return { ...state, ...idle, lines, seen: 0, earlier: undefined, loaded: false }
    }
    case "connecting":
      return { ...state, connection: "connecting" }
    case "offline":
      return { ...state, connection: "offline", typing: false }
    case "frame":
      return onFrame(state, action.frame)
    case "write":
      return {
        ...state,
        lines: put(state.lines, {
          ...fresh,
          kind: "user",
          clientId: action.id,
          text: action.text,
          ...(action.images === undefined ? {} : { images: action.images }),
          steers: action.steers ?? false
        })
      }
    case "discard":
      return {
        ...state,
        lines: state.lines.filter((line) => line.kind !== "user" || line.clientId !== action.id)
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

/**
 * True for a frame that cannot belong to the conversation on the screen: its place is taken by another line, so the session
 * was deleted and began anew.
 */
export const isFromAnew = (state: State, frame: Frame): boolean => {
  if (frame.type === "hello") return frame.seq < state.seen
  if (frame.type !== "ack" && frame.type !== "user" && frame.type !== "message") return false
  const there = state.lines.find((line) => line.seq === frame.seq)
  if (there === undefined) return false
  if (there.kind === "user")
    return frame.type === "message" || (there.clientId !== "" && there.clientId !== frame.id)
  return frame.type !== "message" || (there.id !== "" && there.id !== frame.id)
}

/**
 * A message as it is sent. One that steers says so behind its text: before it, the text's first words could be read as settings.
 * The server takes the directive out of what it stores and shows.
 */
export const contentOf = ({ text, steers }: Pick<UserLine, "text" | "steers">): string =>
  steers ? `${text}\n/queue steer` : text

/** Whether a text can steer: a command acts by itself, and a text that says how it is queued goes as it says. */
export const maySteer = (text: string): boolean =>
  text.trim() !== "" && !text.trimStart().startsWith("/") && !/(?:^|\s)\/queue(?=$|\s|:)/i.test(text)

/** True while there is something to stop. */
export const isBusy = (state: State): boolean => state.running || state.typing

/** How long to wait before the nth attempt to connect (from 0), ms; `random` in [0, 1) spreads many pages. */
export const backoff = (attempt: number, random: number): number =>
  Math.min(15_000, 400 * 2 ** Math.min(attempt, 10)) * (0.75 + random / 2)
