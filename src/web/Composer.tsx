/** Where a message is written. It stays usable while an answer comes: what is sent meanwhile waits its turn. */
import { useEffect, useRef, useState } from "preact/hooks"
import type { Client } from "./client.ts"
import { type State, isBusy, maySteer } from "./state.ts"

/** What was being written in a session, kept in this tab over a reload and over looking at another session. */
const draftKey = (session: string) => `opencraw.draft.${session}`

interface Props {
  readonly state: State
  readonly client: Client | undefined
  readonly session: string
}

export const Composer = ({ state, client, session }: Props) => {
  const [text, setText] = useState(() => sessionStorage.getItem(draftKey(session)) ?? "")
  const isAnswering = isBusy(state)
  const canSteer = isAnswering && state.connection === "online"
  const box = useRef<HTMLTextAreaElement>(null)
  // The box grows with its text, up to what its style allows. Done with rows, which needs no inline style.
  const rows = Math.min(8, text.split("\n").length)
  useEffect(() => box.current?.focus(), [])
  const write = (next: string) => {
    setText(next)
    if (next === "") sessionStorage.removeItem(draftKey(session))
    else sessionStorage.setItem(draftKey(session), next)
  }
  const send = () => {
    if (text.trim() === "" || client === undefined) return
    client.send(text)
    written()
  }
  const written = () => {
    write("")
    box.current?.focus()
  }
  const steer = () => {
    if (client === undefined || !maySteer(text)) return
    client.steer(text)
    written()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter that ends a composition (Japanese, Chinese) chooses a word; it does not send.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return
    event.preventDefault()
    if (canSteer && (event.ctrlKey || event.metaKey)) steer()
    else send()
  }
  return (
    <form
      class={`composer ${canSteer ? "busy" : ""}`}
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
        placeholder={isAnswering ? "Queue a message" : "Write a message"}
        autocomplete="off"
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      {canSteer && (
        <>
          <button type="button" class="stop" onClick={() => client?.stop()}>
            Stop
          </button>
          <button
            type="button"
            class="quiet"
            title="The running answer reads it at its next step (Ctrl+Enter)"
            disabled={!maySteer(text)}
            onClick={steer}
          >
            Steer
          </button>
        </>
      )}
      <button type="submit" disabled={text.trim() === ""}>
        Send
      </button>
    </form>
  )
}
