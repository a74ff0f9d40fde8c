/** Where a message is written. It stays usable while an answer comes: what is sent meanwhile waits its turn. */
import { useEffect, useRef, useState } from "preact/hooks"
import { type Attachment, attach, mediaTypes } from "./attachments.ts"
import type { Client } from "./client.ts"
import { imageWords } from "./Lines.tsx"
import { type State, isBusy, maySteer } from "./state.ts"

/** What was being written in a session, kept in this tab over a reload and over looking at another session. */
const draftKey = (session: string) => `opencraw.draft.${session}`
/** Images are too large for the tab's storage: they are kept over looking at another session, not over a reload. */
const draftImages = new Map<string, ReadonlyArray<Attachment>>()
const none: ReadonlyArray<Attachment> = []

interface Props {
  readonly state: State
  readonly client: Client | undefined
  readonly session: string
}

export const Composer = ({ state, client, session }: Props) => {
  const [text, setText] = useState(() => sessionStorage.getItem(draftKey(session)) ?? "")
  const [images, setImages] = useState(() => draftImages.get(session) ?? none)
  const [problem, setProblem] = useState<string | undefined>(undefined)
  const isEmpty = text.trim() === "" && images.length === 0
  const isAnswering = isBusy(state)
  const canSteer = isAnswering && state.connection === "online"
  const box = useRef<HTMLTextAreaElement>(null)
  const picker = useRef<HTMLInputElement>(null)
  // The box grows with its text, up to what its style allows. Done with rows, which needs no inline style.
  const rows = Math.min(8, text.split("\n").length)
  useEffect(() => box.current?.focus(), [])
  const write = (next: string) => {
    setText(next)
    if (next === "") sessionStorage.removeItem(draftKey(session))
    else sessionStorage.setItem(draftKey(session), next)
  }
  const show = (next: ReadonlyArray<Attachment>) => {
    setImages(next)
    if (next.length === 0) draftImages.delete(session)
    else draftImages.set(session, next)
  }
  const add = async (files: ReadonlyArray<File>) => {
    if (files.length === 0) return
    const added = await attach(images, files).catch(() => ({ images, problem: "A file could not be read." }))
    show(added.images)
    setProblem(added.problem)
    box.current?.focus()
  }
  const send = () => {
    if (isEmpty || client === undefined) return
    client.send(text, images)
    written()
  }
  const written = () => {
    write("")
    show(none)
    setProblem(undefined)
    box.current?.focus()
  }
  const steer = () => {
    if (client === undefined || !maySteer(text)) return
    client.steer(text, images)
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
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault()
        void add([...(event.dataTransfer?.files ?? [])])
      }}
    >
      {(images.length > 0 || problem !== undefined) && (
        <div class="attached">
          {images.map((image, index) => (
            <span key={image.url}>
              {imageWords(image)}
              <button
                type="button"
                class="plain"
                aria-label={`Remove image ${index + 1}`}
                onClick={() => show(images.filter((one) => one !== image))}
              >
                Remove
              </button>
            </span>
          ))}
          {problem !== undefined && <span role="alert">{problem}</span>}
        </div>
      )}
      <input
        ref={picker}
        type="file"
        class="unseen"
        tabIndex={-1}
        aria-hidden="true"
        multiple
        accept={mediaTypes.join(",")}
        onChange={(event) => {
          void add([...(event.currentTarget.files ?? [])])
          event.currentTarget.value = ""
        }}
      />
      <button
        type="button"
        class="quiet attach"
        title="Attach images"
        onClick={() => picker.current?.click()}
      >
        Attach
      </button>
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
        onPaste={(event) => {
          const files = [...(event.clipboardData?.files ?? [])]
          if (files.length === 0) return
          event.preventDefault()
          void add(files)
        }}
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
      <button type="submit" disabled={isEmpty}>
        Send
      </button>
    </form>
  )
}
