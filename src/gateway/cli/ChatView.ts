/**
 * A conversation in a terminal: what is sent, and what is written for each frame. Pure.
 *
 * Owns: that a message is sent again until it is acknowledged, that streamed text and the final message read as one, and what a
 * retry or a gap looks like.
 * Does not own: the socket and the screen (`layers/gateway`).
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { plain } from "./render.ts"

/** A server's frame, loosely: what is not known is not looked at. */
const FrameShape = Schema.Struct({
  type: Schema.String,
  id: Schema.optionalKey(Schema.String),
  message_id: Schema.optionalKey(Schema.String),
  seq: Schema.optionalKey(Schema.Finite),
  content: Schema.optionalKey(Schema.String),
  answers: Schema.optionalKey(Schema.Array(Schema.String)),
  run_id: Schema.optionalKey(Schema.String),
  attempt: Schema.optionalKey(Schema.Finite),
  offset: Schema.optionalKey(Schema.Finite),
  name: Schema.optionalKey(Schema.String),
  tool: Schema.optionalKey(Schema.String),
  arguments: Schema.optionalKey(Schema.String),
  state: Schema.optionalKey(Schema.String),
  phase: Schema.optionalKey(Schema.String),
  outcome: Schema.optionalKey(Schema.String),
  by: Schema.optionalKey(Schema.String),
  code: Schema.optionalKey(Schema.String),
  message: Schema.optionalKey(Schema.String),
  failure: Schema.optionalKey(Schema.Struct({ code: Schema.String, message: Schema.String }))
})
export type Frame = typeof FrameShape.Type

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(FrameShape))

/** Undefined for what is no frame. */
export const readFrame = (text: string): Frame | undefined => Option.getOrUndefined(decode(text))

/** What became of a message that was written here. */
export interface Ending {
  readonly id: string
  readonly messageId: string | undefined
  readonly outcome: string
  readonly content: string | undefined
  readonly reason: string | undefined
}

interface Own {
  readonly id: string
  readonly text: string
  readonly messageId: string | undefined
  readonly outcome: string | undefined
  readonly content: string | undefined
}

interface Draft {
  readonly runId: string
  readonly attempt: number
  /** Of the present step, as far as it is on the screen. */
  readonly text: string
}

export interface ChatState {
  /** Highest seq that was told; undefined before the first greeting. */
  readonly seen: number | undefined
  /** Written here and not ended yet, oldest first. */
  readonly open: ReadonlyArray<Own>
  /** Client ids written here. */
  readonly own: ReadonlySet<string>
  readonly draft: Draft | undefined
  readonly isMidLine: boolean
  readonly lastMessageId: string | undefined
}

export const initial: ChatState = {
  seen: undefined,
  open: [],
  own: new Set(),
  draft: undefined,
  isMidLine: false,
  lastMessageId: undefined
}

/** A conversation that goes on after this place. */
export const after = (seq: number): ChatState => ({ ...initial, seen: seq })

/** What to do after something happened. */
export interface Step {
  readonly state: ChatState
  /** For the screen. */
  readonly print: string
  /** For the socket, in order. */
  readonly send: ReadonlyArray<object>
  readonly ended: ReadonlyArray<Ending>
}

const step = (state: ChatState, more: Partial<Omit<Step, "state">> = {}): Step => ({
  state,
  print: "",
  send: [],
  ended: [],
  ...more
})

const messageFrame = ({ id, text }: Own) => ({ type: "message", id, content: text })

/** A person wrote a line. */
export const written = (state: ChatState, id: string, text: string): Step => {
  const own: Own = { id, text, messageId: undefined, outcome: undefined, content: undefined }
  return step(
    { ...state, open: [...state.open, own], own: new Set(state.own).add(id) },
    { send: [messageFrame(own)] }
  )
}

/** A line of its own, whatever stands on the screen. */
const line = (state: ChatState, text: string): { readonly state: ChatState; readonly print: string } => ({
  state: { ...state, isMidLine: false },
  print: `${state.isMidLine ? "\n" : ""}${text}\n`
})

/** The connection is gone, or cannot be had. */
export const lost = (state: ChatState, isFirst: boolean): Step => {
  if (!isFirst) return step(state)
  const told = line(state, "! the gateway is away; connecting again ...")
  return step(told.state, { print: told.print })
}

/** A frame came. */
export const received = (state: ChatState, frame: Frame): Step => {
  switch (frame.type) {
    case "hello":
      return step(
        { ...state, seen: state.seen ?? frame.seq ?? 0 },
        // Those that were acknowledged too: their second acknowledgement tells an outcome that was missed.
        { send: state.open.map(messageFrame) }
      )
    case "ack":
      return step({
        ...withOwn(state, frame.id, (own) => ({ ...own, messageId: frame.message_id ?? "" })),
        lastMessageId: frame.message_id ?? state.lastMessageId
      })
    case "refused":
      return refused(state, frame)
    case "user":
      return user(state, frame)
    case "delta":
      return delta(state, frame)
    case "tool": {
      if (frame.phase !== "started") return step(state)
      const told = line(state, `  · ${plain(frame.name ?? "a tool")}`)
      return step({ ...told.state, draft: undefined }, { print: told.print })
    }
    case "approval": {
      if (frame.state !== "pending") return step(state)
      const given =
        frame.arguments === undefined || frame.arguments === "{}" ? "" : ` with ${frame.arguments}`
      const asked = `? May I use ${frame.tool ?? "a tool"}${given}? Answer /approve ${frame.id} or /deny ${frame.id}`
      const told = line(state, plain(asked))
      return step({ ...told.state, draft: undefined }, { print: told.print })
    }
    case "message":
      return message(state, frame)
    case "outcome":
      return outcome(state, frame)
    case "error": {
      const told = line(state, `! ${plain(frame.message ?? "the gateway reported an error")}`)
      return step(told.state, { print: told.print })
    }
    default:
      return step(state)
  }
}

const withOwn = (state: ChatState, id: string | undefined, change: (own: Own) => Own): ChatState => ({
  ...state,
  open: state.open.map((own) => (own.id === id ? change(own) : own))
})

const seenUpTo = (state: ChatState, seq: number | undefined): ChatState => ({
  ...state,
  seen: Math.max(state.seen ?? 0, seq ?? 0)
})

const refused = (state: ChatState, frame: Frame): Step => {
  const own = state.open.find(({ id }) => id === frame.id)
  if (own === undefined) return step(state)
  const reason = frame.message ?? frame.code ?? "refused"
  const told = line(state, `! not taken: ${plain(reason)}`)
  return step(
    { ...told.state, open: state.open.filter((each) => each !== own) },
    {
      print: told.print,
      ended: [{ id: own.id, messageId: undefined, outcome: "refused", content: undefined, reason }]
    }
  )
}

const user = (state: ChatState, frame: Frame): Step => {
  const next = seenUpTo(state, frame.seq)
  if (frame.id !== undefined && state.own.has(frame.id)) return step(next)
  const told = line(next, `> ${plain(frame.content ?? "").trimEnd()}`)
  return step(told.state, { print: told.print })
}

const delta = (state: ChatState, frame: Frame): Step => {
  const { run_id: runId = "", attempt = 1, offset = 0, content = "" } = frame
  const draft = state.draft
  if (draft !== undefined && draft.runId === runId && attempt < draft.attempt) return step(state)
  const isSame = draft !== undefined && draft.runId === runId && draft.attempt === attempt
  if (isSame && offset <= draft.text.length) {
    const fresh = content.slice(draft.text.length - offset)
    return step(
      { ...state, draft: { ...draft, text: draft.text + fresh }, isMidLine: true },
      { print: plain(fresh) }
    )
  }
  // Another attempt voids what stands there; a gap means that the final message will tell it all.
  const mark = isSame && offset > 0 ? "… " : ""
  const begin = state.isMidLine ? "\n" : ""
  return step(
    { ...state, draft: { runId, attempt, text: content }, isMidLine: true },
    { print: begin + mark + plain(content) }
  )
}

const message = (state: ChatState, frame: Frame): Step => {
  const content = frame.content ?? ""
  const isNew = frame.seq === undefined || frame.seq > (state.seen ?? -1) || state.draft !== undefined
  const shown = state.draft?.text ?? ""
  const isContinued = state.isMidLine && content.startsWith(shown)
  const rest = isContinued
    ? plain(content.slice(shown.length))
    : `${state.isMidLine ? "\n" : ""}${plain(content)}`
  const next = { ...seenUpTo(state, frame.seq), draft: undefined, isMidLine: false }
  const answered = (frame.answers ?? []).reduce<ChatState>(
    (before, id) => withOwn(before, id, (own) => ({ ...own, content })),
    next
  )
  return settled(answered, {
    print: isNew || frame.answers?.some((id) => state.own.has(id)) === true ? `${rest.trimEnd()}\n` : "",
    send: frame.id === undefined ? [] : [{ type: "received", id: frame.id }]
  })
}

const outcome = (state: ChatState, frame: Frame): Step => {
  const own = state.open.find(({ id }) => id === frame.id)
  if (own === undefined || frame.outcome === undefined) return step(state)
  const next = withOwn(state, frame.id, (each) => ({ ...each, outcome: frame.outcome }))
  if (answering.has(frame.outcome)) return settled(next, {})
  const reason = frame.failure?.message ?? (frame.by === undefined ? undefined : `by ${frame.by}`)
  const told = line(next, `! ${frame.outcome}${reason === undefined ? "" : `: ${plain(reason)}`}`)
  return step(
    { ...told.state, draft: undefined, open: next.open.filter(({ id }) => id !== frame.id) },
    {
      print: told.print,
      ended: [{ id: own.id, messageId: own.messageId, outcome: frame.outcome, content: own.content, reason }]
    }
  )
}

/** Outcomes that come with a message; `silent` has none to wait for. */
const answering = new Set(["answered", "merged", "steered"])

/** Messages that have both their outcome and their answer are done. */
const settled = (state: ChatState, more: Partial<Omit<Step, "state" | "ended">>): Step => {
  const done = state.open.filter((own) => own.outcome !== undefined && own.content !== undefined)
  return step(
    { ...state, open: state.open.filter((own) => !done.includes(own)) },
    {
      ...more,
      ended: done.map(({ id, messageId, outcome: how = "", content }) => ({
        id,
        messageId,
        outcome: how,
        content,
        reason: undefined
      }))
    }
  )
}
