/** One line of the conversation each: what was written, what was answered, what is being written. */
import { Component } from "preact"
import { useState } from "preact/hooks"
import { Markdown } from "./Markdown.tsx"
import type { ImageNote } from "./frames.ts"
import { type State, isBusy, textOf } from "./state.ts"
import type { AnswerLine, Line, ToolUse, UserLine } from "./transcript.ts"
import { Timeline } from "./Timeline.tsx"

/** What a line can ask of the page. */
export interface Asks {
  readonly retry: (line: UserLine) => void
  readonly discard: (line: UserLine) => void
  readonly cancel: (line: UserLine) => void
  readonly sendAgain: (text: string) => void
  /** Begin another conversation with all up to this answer. Gives what went wrong, or undefined. */
  readonly fork: (line: AnswerLine) => Promise<string | undefined>
}

/** Where an accepted message stands; undefined once it has an answer of its own. */
export type Stage = "running" | "queued" | "unanswered" | "together" | undefined

export interface ItemProps {
  readonly line: Line
  readonly session: string
  readonly online: boolean
  readonly stage: Stage
  readonly asks: Asks
}

const userStatus = ({ line, online, stage }: ItemProps & { line: UserLine }): string | undefined => {
  if (line.status === "refused") return `Not accepted: ${line.note ?? "refused"}`
  if (line.status === "unsent") return online ? "Sending …" : "Not sent yet; it will be once connected"
  if (stage === "queued") return line.steers ? "For the running answer, at its next step" : "Queued"
  if (stage === "together") return line.note ?? "Answered together"
  return line.note ?? (stage === "unanswered" ? "No answer" : undefined)
}

export const imageWords = ({ media_type: type, bytes }: ImageNote): string =>
  `Image, ${type.replace("image/", "").toUpperCase()}, ${Math.max(1, Math.round(bytes / 1024))} KB`

const UserItem = (props: ItemProps & { line: UserLine }) => {
  const { line, session, stage, asks } = props
  const [isOpen, setOpen] = useState(false)
  const status = userStatus(props)
  const button = (name: string, onClick: () => void) => (
    <button type="button" class="plain" onClick={onClick}>
      {name}
    </button>
  )
  return (
    <article class={`line user ${line.status} ${stage ?? ""}`}>
      <span class="unseen">You wrote: </span>
      {line.text !== "" && <p class="text">{line.text}</p>}
      {line.images !== undefined && (
        <p class="attached">
          {line.images.map((image, index) => (
            <span key={index}>{imageWords(image)}</span>
          ))}
        </p>
      )}
      <footer>
        {status !== undefined && <span class="status">{status}</span>}
        {line.status === "refused" && button("Try again", () => asks.retry(line))}
        {line.status === "refused" && button("Discard", () => asks.discard(line))}
        {stage === "queued" && button("Take back", () => asks.cancel(line))}
        {stage === "unanswered" &&
          line.images === undefined &&
          button("Send again", () => asks.sendAgain(line.text))}
        {line.status === "accepted" && (
          <button type="button" class="plain details" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
            Details
          </button>
        )}
      </footer>
      {isOpen && <Timeline session={session} line={line} stage={stage ?? ""} />}
    </article>
  )
}

const toolWords = ({ name, summary, result }: ToolUse): string =>
  `${name}${summary === "" ? "" : `: ${summary}`} ${result === undefined ? "…" : result === "ok" ? "✓" : `– ${result}`}`

const Tools = ({ tools }: { tools: ReadonlyArray<ToolUse> }) => {
  if (tools.length === 0) return null
  const atWork = tools.filter((tool) => tool.result === undefined).map((tool) => tool.name)
  const names = [...new Set(tools.map((tool) => tool.name))].join(", ")
  return (
    <details class="tools">
      <summary>{atWork.length > 0 ? `Using ${atWork.join(", ")} …` : `Used ${names}`}</summary>
      <ul>
        {tools.map((tool) => (
          <li key={tool.callId} class={tool.result === undefined || tool.result === "ok" ? undefined : "bad"}>
            {toolWords(tool)}
          </li>
        ))}
      </ul>
    </details>
  )
}

const cutOffWords: Readonly<Record<string, string>> = {
  cancelled: "Stopped here",
  interrupted: "Interrupted here",
  failed: "It failed here"
}

const ForkButton = ({ line, asks }: { line: AnswerLine; asks: Asks }) => {
  const [isBusy, setBusy] = useState(false)
  const [problem, setProblem] = useState<string>()
  const fork = async () => {
    setBusy(true)
    setProblem(await asks.fork(line))
    setBusy(false)
  }
  return (
    <>
      <button
        type="button"
        class="plain fork"
        title="Begin a new conversation with what was said up to this answer"
        disabled={isBusy}
        onClick={() => void fork()}
      >
        Fork from here
      </button>
      {problem !== undefined && <span role="alert">That did not work: {problem}</span>}
    </>
  )
}

const AnswerItem = ({ line, asks }: ItemProps & { line: AnswerLine }) => {
  const { kind, tools, text, cutOff } = line
  // What answers nobody, and what is not in the history yet, is no turn to begin with.
  const isTurn = kind === "assistant" && line.answers.length > 0 && Number.isInteger(line.seq)
  return (
    <article class={`line ${kind}`}>
      <span class="unseen">{kind === "assistant" ? "Answer: " : "Note: "}</span>
      <Tools tools={tools} />
      <Markdown text={text} />
      {(cutOff !== undefined || isTurn) && (
        <footer>
          {cutOff !== undefined && (cutOffWords[cutOff] ?? `Cut off: ${cutOff}`)}
          {isTurn && <ForkButton line={line} asks={asks} />}
        </footer>
      )}
    </article>
  )
}

/** A line is drawn again only when something of it has changed: hundreds of others stay untouched by each piece of text. */
export class Item extends Component<ItemProps> {
  override shouldComponentUpdate(next: ItemProps): boolean {
    const now = this.props
    return now.line !== next.line || now.online !== next.online || now.stage !== next.stage
  }
  override render() {
    const { line } = this.props
    return line.kind === "user" ? (
      <UserItem {...this.props} line={line} />
    ) : (
      <AnswerItem {...this.props} line={line} />
    )
  }
}

/** The answer being written. Hidden from screen readers until it is final: they would read each piece. */
export const Writing = ({ state }: { state: State }) => {
  const { tools, draft } = state
  if (draft === undefined && !isBusy(state)) return null
  return (
    <article class="line assistant writing" aria-hidden="true">
      {draft?.earlier.map((text, index) => (
        <div class="earlier" key={index}>
          <Markdown text={text} />
        </div>
      ))}
      <Tools tools={tools} />
      {draft !== undefined && draft.text !== "" && (
        <div data-testid="draft">
          <Markdown text={textOf(draft)} />
        </div>
      )}
      {isBusy(state) && (
        <span class="dots">
          <i />
          <i />
          <i />
        </span>
      )}
    </article>
  )
}
