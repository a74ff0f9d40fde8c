/**
 * The page: the list of conversations, and one of them.
 *
 * Owns: which conversation is on the screen, and what surrounds it. Every text reaches the screen as text, never as markup.
 * Does not own: the protocol (`state.ts`, `client.ts`), the list (`sessions.ts`), a line's looks (`Lines.tsx`).
 */
import { useEffect, useMemo, useReducer, useRef, useState } from "preact/hooks"
import { type Client, connect, newSessionName, sessionName, unsentSessions } from "./client.ts"
import { Activity } from "./Activity.tsx"
import { Approvals } from "./Approvals.tsx"
import { Composer } from "./Composer.tsx"
import { Dialog } from "./Dialog.tsx"
import type { Asks } from "./Lines.tsx"
import { Log } from "./Log.tsx"
import {
  type Listed,
  type SessionList,
  fork,
  isNamed,
  nameOf,
  remove,
  rename,
  titleOf,
  useSessions
} from "./sessions.ts"
import { Sidebar } from "./Sidebar.tsx"
import { Demo } from "./Setup.tsx"
import { type State, initial, reduce } from "./state.ts"

/** Shortest time between two drawings of arriving text, ms. */
const FRAME_MS = 16

/** Talk for `session`; another session begins with an empty state and what is known of the person. */
const useClient = (session: string): readonly [State, Client | undefined, () => void] => {
  const [, refresh] = useReducer((count: number) => count + 1, 0)
  const held = useRef({ session, state: initial })
  const client = useRef<Client | undefined>(undefined)
  if (held.current.session !== session) {
    const { me, access } = held.current.state
    held.current = { session, state: { ...initial, me, access } }
    client.current = undefined
  }
  useEffect(() => {
    let asked = false
    let isOver = false
    let drawing = 0
    const mine = held.current
    const draw = () => {
      asked = false
      if (isOver) return
      const began = performance.now()
      refresh(undefined)
      // Drawing happens after this turn. What it took decides how soon it may be done again, so that a long answer on a slow
      // machine leaves time for everything else.
      setTimeout(() => (drawing = performance.now() - began), 0)
    }
    const opened = connect(
      session,
      () => mine.state,
      (action) => {
        if (isOver) return
        mine.state = reduce(mine.state, action)
        if (asked) return
        // Many pieces arrive between two frames of the screen.
        asked = true
        setTimeout(draw, Math.min(500, Math.max(FRAME_MS, drawing * 2)))
      }
    )
    client.current = opened
    return () => {
      isOver = true
      opened.close()
    }
  }, [session])
  const dismiss = () => {
    held.current.state = reduce(held.current.state, { type: "dismiss" })
    refresh(undefined)
  }
  return [held.current.state, client.current, dismiss]
}

interface Place {
  readonly view: "chat" | "activity"
  readonly session: string
}
const placeNow = (): Place => ({
  view: new URLSearchParams(location.search).get("view") === "activity" ? "activity" : "chat",
  session: sessionName()
})

/** The place in the address bar, and how to go to another. */
const usePlace = (): readonly [Place, (to: Place) => void] => {
  const [place, setPlace] = useState(placeNow)
  useEffect(() => {
    const onBack = () => setPlace(placeNow())
    addEventListener("popstate", onBack)
    return () => removeEventListener("popstate", onBack)
  }, [])
  const go = (to: Place) => {
    if (to.session === place.session && to.view === place.view) return
    const query = new URLSearchParams({
      ...(to.view === "chat" ? {} : { view: to.view }),
      ...(to.session === "main" ? {} : { session: to.session })
    }).toString()
    history.pushState(undefined, "", query === "" ? "/" : `/?${query}`)
    setPlace(to)
  }
  return [place, go]
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

type Question = "rename" | "delete"

const RenameDialog = ({
  listed,
  list,
  onClose
}: {
  listed: Listed
  list: SessionList
  onClose: () => void
}) => {
  const [title, setTitle] = useState(titleOf(listed))
  const save = async () => {
    const failed = await rename(listed.session_key, title)
    if (failed === undefined) list.tell({})
    return failed
  }
  return (
    <Dialog title="Rename this conversation" action="Rename" onAction={save} onClose={onClose}>
      <label>
        Title
        <input
          type="text"
          value={title}
          maxLength={200}
          placeholder="Empty: its first words"
          onInput={(event) => setTitle(event.currentTarget.value)}
        />
      </label>
    </Dialog>
  )
}

const DeleteDialog = ({
  listed,
  onDelete,
  onClose
}: {
  listed: Listed
  onDelete: () => void
  onClose: () => void
}) => (
  <Dialog
    title="Delete this conversation?"
    action="Delete"
    isGrave
    onClose={onClose}
    onAction={async () => {
      const failed = await remove(listed.session_key)
      if (failed === undefined) onDelete()
      return failed
    }}
  >
    <p>
      <strong>{titleOf(listed)}</strong>
    </p>
    <p>
      Its messages and answers are removed for good, here and for everybody who takes part. An answer under
      way is stopped.
    </p>
  </Dialog>
)

export const Page = () => {
  const [place, go] = usePlace()
  const { session, view } = place
  const [state, client, dismiss] = useClient(session)
  const [search, setSearch] = useState("")
  const [isOver, setOver] = useState(false)
  const [question, setQuestion] = useState<Question>()
  const menu = useRef<HTMLButtonElement>(null)
  const list = useSessions(state.access === "open", search !== "", (key) => {
    if (isNamed(session, key)) client?.renew()
  })
  const listed = list.rows.find((row) => isNamed(session, row.session_key))
  const isActivity = view === "activity"
  const title = isActivity ? "Activity" : listed === undefined ? "New conversation" : titleOf(listed)

  // The list changes with what happens here: a message taken in, an answer, a connection that is back.
  const taken = state.lines.findLast((line) => line.kind === "user" && line.seq !== undefined)?.seq
  useEffect(list.refresh, [taken, state.news?.id, state.connection === "online", session])
  useEffect(() => {
    document.title = `${title} · OpenCraw`
  }, [title])
  const asks = useMemo<Asks>(
    () => ({
      retry: (line) => client?.retry(line),
      discard: (line) => client?.discard(line),
      cancel: (line) => client?.cancel(line),
      sendAgain: (text) => client?.send(text),
      fork: async (line) => {
        const made = await fork(session, line.seq)
        if ("failed" in made) return made.failed
        list.tell({})
        go({ view: "chat", session: nameOf(made.key) })
        return undefined
      }
    }),
    [client]
  )

  if (state.access === "locked") return <Locked because={state.lockedBecause} />
  const close = () => {
    setOver(false)
    menu.current?.focus()
  }
  const open = (name: string) => {
    setOver(false)
    go({ view: "chat", session: name })
  }
  const onDeleted = () => {
    list.tell(listed === undefined ? {} : { deleted: listed.session_key })
    if (session === "main") client?.renew()
    else open("main")
  }
  return (
    <div class="shell">
      <Sidebar
        list={list}
        current={isActivity ? undefined : session}
        activity={
          state.me?.principal.admin === true
            ? {
                isCurrent: isActivity,
                onOpen: () => {
                  setOver(false)
                  go({ view: "activity", session })
                }
              }
            : undefined
        }
        unsent={unsentSessions()}
        search={search}
        onSearch={setSearch}
        isOver={isOver}
        onClose={close}
        onOpen={open}
        onNew={() => open(newSessionName())}
      />
      <main class="chat">
        <header>
          <button
            type="button"
            class="quiet narrow"
            ref={menu}
            aria-label="Conversations"
            aria-expanded={isOver}
            aria-controls="conversations"
            onClick={() => setOver(true)}
          >
            ☰
          </button>
          <h2>{title}</h2>
          {!isActivity && listed !== undefined && (
            <span class="doings">
              <button type="button" class="plain" onClick={() => setQuestion("rename")}>
                Rename
              </button>
              <button type="button" class="plain" onClick={() => setQuestion("delete")}>
                Delete
              </button>
            </span>
          )}
          {!isActivity && state.me !== undefined && <span class="model">{state.me.model}</span>}
          <span class={`connection ${state.connection}`} role="status">
            {connectionWords[state.connection]}
          </span>
        </header>
        {isActivity ? (
          state.me !== undefined && <Activity me={state.me} onOpen={open} />
        ) : (
          <>
            {state.me?.demo === true && <Demo me={state.me} onChange={() => client?.lookAgain()} />}
            <Log key={session} state={state} client={client} session={session} asks={asks} />
            <div class="unseen" aria-live="polite" data-testid="news">
              {state.news !== undefined && `Answer: ${state.news.text.slice(0, 2000)}`}
            </div>
            <Approvals approvals={state.approvals} />
            {state.notice !== undefined && (
              <p class="notice" role="alert">
                {state.notice}{" "}
                <button type="button" class="plain" onClick={dismiss}>
                  Dismiss
                </button>
              </p>
            )}
            <Composer key={`write ${session}`} state={state} client={client} session={session} />
          </>
        )}
      </main>
      {listed !== undefined && question === "rename" && (
        <RenameDialog listed={listed} list={list} onClose={() => setQuestion(undefined)} />
      )}
      {listed !== undefined && question === "delete" && (
        <DeleteDialog listed={listed} onDelete={onDeleted} onClose={() => setQuestion(undefined)} />
      )}
    </div>
  )
}
