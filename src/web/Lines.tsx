/** One line of the conversation each: what was written, what was answered, what is being written. */
import { Component } from "preact"
import { useState } from "preact/hooks"
import { Markdown } from "./Markdown.tsx"
import {
  type AnswerLine,
  type ImageNote,
  type Line,
  type State,
  type ToolUse,
  type UserLine,
  isBusy,
  textOf
} from "./state.ts"
import { Timeline } from "./Timeline.tsx"

/** What a line can ask of the page. */
export interface Asks {
  readonly retry: (line: UserLine) => void
  readonly discard: (line: UserLine) => void
  readonly cancel: (line: UserLine) => void
  readonly sendAgain: (text: string) => void
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

const imageWords = ({ media_type: type, bytes }: ImageNote): string =>
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
        {stage === "unanswered" && button("Send again", () => asks.sendAgain(line.text))}
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

const AnswerItem = ({ line }: { line: AnswerLine }) => (
  <article class={`line ${line.kind}`}>
    <span class="unseen">{line.kind === "assistant" ? "Answer: " : "Note: "}</span>
    <Tools tools={line.tools} />
    <Markdown text={line.text} />
    {line.cutOff !== undefined && <footer>{cutOffWords[line.cutOff] ?? `Cut off: ${line.cutOff}`}</footer>}
  </article>
)

/** A line is drawn again only when something of it has changed: hundreds of others stay untouched by each piece of text. */
export class Item extends Component<ItemProps> {
  override shouldComponentUpdate(next: ItemProps): boolean {
    const now = this.props
    return now.line !== next.line || now.online !== next.online || now.stage !== next.stage
  }
  override render() {
    const { line } = this.props
    return line.kind === "user" ? <UserItem {...this.props} line={line} /> : <AnswerItem line={line} />
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
