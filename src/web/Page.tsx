/**
 * The chat page.
 *
 * Owns: what is on the screen. Every text reaches it as text, never as markup.
 * Does not own: the protocol (`state.ts`, `client.ts`).
 */
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks"
import { type Client, connect, sessionName } from "./client.ts"
import { type Line, type Me, type State, type UserLine, initial, isBusy, reduce, textOf } from "./state.ts"

/** Lines on the screen at first, and how many more each time the reader asks. */
const SHOWN = 200
/** Nearer to the bottom than this, the reader is following along. */
const FOLLOWING_PX = 80

const useClient = (): readonly [State, Client | undefined, () => void] => {
  const [, refresh] = useReducer((count: number) => count + 1, 0)
  const state = useRef(initial)
  const client = useRef<Client | undefined>(undefined)
  useEffect(() => {
    let asked = false
    const opened = connect(
      sessionName(),
      () => state.current,
      (action) => {
        state.current = reduce(state.current, action)
        if (asked) return
        // Many tokens arrive between two frames of the screen.
        asked = true
        setTimeout(() => {
          asked = false
          refresh(undefined)
        }, 16)
      }
    )
    client.current = opened
    return opened.close
  }, [])
  const dismiss = () => {
    state.current = reduce(state.current, { type: "dismiss" })
    refresh(undefined)
  }
  return [state.current, client.current, dismiss]
}

const connectionWords = {
  connecting: "Connecting …",
  online: "Connected",
  offline: "Offline, trying again …"
}

const Locked = ({ because }: { because: string | undefined }) => (
  <main class="locked">
    <h1>OpenCraw</h1>
    {because !== undefined && <p role="alert">{because}</p>}
    <p>This page opens with a link of your own. On the machine where the gateway runs, in its folder, run</p>
    <pre>
      <code>npm run opencraw -- open</code>
    </pre>
    <p>and open the address it prints. The link works once, for ten minutes.</p>
  </main>
)

const Demo = ({ me }: { me: Me }) => (
  <aside class="banner" aria-label="Demo model">
    <strong>Demo model.</strong> It streams and calls tools, but does not think.
    {me.setting !== undefined && (
      <>
        {" "}
        For a real model, set <code>{me.setting}</code>
      </>
    )}
  </aside>
)

const userStatus = (line: UserLine, online: boolean): string | undefined => {
  if (line.status === "refused") return `Not accepted: ${line.note ?? "refused"}`
  if (line.status === "unsent") return online ? "Sending …" : "Not sent yet; it will be once connected"
  return line.note
}

const UserItem = ({ line, online, retry }: { line: UserLine; online: boolean; retry: () => void }) => {
  const status = userStatus(line, online)
  return (
    <article class={`line user ${line.status}`}>
      <span class="unseen">You wrote: </span>
      <p>{line.text}</p>
      {status !== undefined && (
        <footer>
          {status}
          {line.status === "refused" && (
            <button type="button" class="plain" onClick={retry}>
              Try again
            </button>
          )}
        </footer>
      )}
    </article>
  )
}

const Item = ({ line, online, retry }: { line: Line; online: boolean; retry: (line: UserLine) => void }) => {
  if (line.kind === "user") return <UserItem line={line} online={online} retry={() => retry(line)} />
  return (
    <article class={`line ${line.kind}`}>
      <span class="unseen">{line.kind === "assistant" ? "Answer: " : "Note: "}</span>
      <p>{line.text}</p>
      {line.cutOff !== undefined && <footer>Cut off: {line.cutOff}</footer>}
    </article>
  )
}

/** The answer being written. Hidden from screen readers until it is final: they would read each token. */
const Writing = ({ state }: { state: State }) => {
  const { activity, draft, typing, running } = state
  if (draft === undefined && activity === undefined && !typing && !running) return null
  return (
    <article class="line assistant writing" aria-hidden="true">
      {draft?.earlier.map((text, index) => (
        <p class="earlier" key={index}>
          {text}
        </p>
      ))}
      {draft !== undefined && draft.text !== "" && <p data-testid="draft">{textOf(draft)}</p>}
      {activity !== undefined && <p class="activity">{activity}</p>}
      <span class="dots">
        <i />
        <i />
        <i />
      </span>
    </article>
  )
}

const Composer = ({ state, client }: { state: State; client: Client | undefined }) => {
  const [text, setText] = useState("")
  const box = useRef<HTMLTextAreaElement>(null)
  // The box grows with its text, up to what its style allows. Done with rows, which needs no inline style.
  const rows = Math.min(8, text.split("\n").length)
  const send = () => {
    if (text.trim() === "" || client === undefined) return
    client.send(text)
    setText("")
    box.current?.focus()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter that ends a composition (Japanese, Chinese) chooses a word; it does not send.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return
    event.preventDefault()
    send()
  }
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault()
        send()
      }}
    >
      <label class="unseen" for="text">
        Message
      </label>
      <textarea
        id="text"
        ref={box}
        rows={rows}
        value={text}
        placeholder="Write a message"
        autocomplete="off"
        autofocus
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      {isBusy(state) && state.connection === "online" && (
        <button type="button" class="stop" onClick={() => client?.stop()}>
          Stop
        </button>
      )}
      <button type="submit" disabled={text.trim() === ""}>
        Send
      </button>
    </form>
  )
}

export const Page = () => {
  const [state, client, dismiss] = useClient()
  const log = useRef<HTMLDivElement>(null)
  const following = useRef(true)
  const [shown, setShown] = useState(SHOWN)
  useLayoutEffect(() => {
    if (log.current !== null && following.current) log.current.scrollTop = log.current.scrollHeight
  })
  if (state.access === "locked") return <Locked because={state.lockedBecause} />
  const online = state.connection === "online"
  const onScroll = () => {
    const at = log.current
    if (at !== null) following.current = at.scrollHeight - at.scrollTop - at.clientHeight < FOLLOWING_PX
  }
  return (
    <div class="chat">
      <header>
        <h1>OpenCraw</h1>
        {state.me !== undefined && <span class="model">{state.me.model}</span>}
        <span class={`connection ${state.connection}`} role="status">
          {connectionWords[state.connection]}
        </span>
      </header>
      {state.me?.demo === true && <Demo me={state.me} />}
      <div
        class="log"
        role="log"
        aria-live="polite"
        aria-label="Conversation"
        tabIndex={0}
        ref={log}
        onScroll={onScroll}
      >
        {state.lines.length === 0 && online && <p class="empty">Say something; the answer appears here.</p>}
        {state.lines.length > shown && (
          <button type="button" class="plain" onClick={() => setShown(shown + SHOWN)}>
            Show earlier messages
          </button>
        )}
        {state.lines.slice(-shown).map((line) => (
          <Item
            key={line.kind === "user" && line.clientId !== "" ? line.clientId : `${line.kind}${line.seq}`}
            line={line}
            online={online}
            retry={(refused) => client?.retry(refused)}
          />
        ))}
        <Writing state={state} />
      </div>
      {state.notice !== undefined && (
        <p class="notice" role="alert">
          {state.notice}{" "}
          <button type="button" class="plain" onClick={dismiss}>
            Dismiss
          </button>
        </p>
      )}
      <Composer state={state} client={client} />
    </div>
  )
}
