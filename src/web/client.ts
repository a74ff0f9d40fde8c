/**
 * The page's way to the gateway: who am I, what was said, and the socket that stays open.
 *
 * Owns: the cookie exchange, loading history, connecting again, sending what was not acknowledged.
 * Does not own: what any of it means (`state.ts`).
 */
import { type Attachment, upload } from "./attachments.ts"
import { type Frame, type HistoryRow, type ImageNote, parseFrame } from "./frames.ts"
import { type Action, type Me, type State, backoff, contentOf, isFromAnew, unsent } from "./state.ts"
import type { UserLine } from "./transcript.ts"

const imagesLost = {
  type: "refused",
  code: "images_lost",
  message: "its images were lost when the page was loaded again: write it once more, and attach them"
} as const

/** A message that has no acknowledgement after this long means a dead connection. */
const ACK_WITHIN_MS = 15_000
/** Lines of one page of history. */
const PAGE = 100
/** Lines read at once when the page was away. */
const CATCH_UP = 500
/** A seq beyond every other: the newest page ends before it. */
const END = 999_999_999_999_999

export interface Client {
  readonly send: (text: string, images?: ReadonlyArray<Attachment>) => void
  /** Send it to be read by the answer that is being written. */
  readonly steer: (text: string, images?: ReadonlyArray<Attachment>) => void
  readonly retry: (line: UserLine) => void
  /** Forget a message that was refused. */
  readonly discard: (line: UserLine) => void
  readonly stop: () => void
  /** Take back one message that waits. */
  readonly cancel: (line: UserLine) => void
  /** Read the page before the first line. One at a time; does nothing when there is none. */
  readonly loadEarlier: () => void
  /** The session was deleted or changed elsewhere: begin with what the server has now. */
  readonly renew: () => void
  /** Ask again who the gateway is, and what it answers with. */
  readonly lookAgain: () => void
  readonly close: () => void
}

/** Nobody, or not allowed: the page needs a new link. */
class Locked extends Error {}

/** Unguessable and unique; `crypto.randomUUID` is missing on plain http from another machine. */
const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(
    ""
  )

/** What the API says; undefined for 404. Fails with `Locked`, or with another Error for "not now". */
export const getJson = async (path: string): Promise<unknown> => {
  const response = await fetch(path, { headers: { accept: "application/json" }, credentials: "same-origin" })
  if (response.status === 401 || response.status === 403) throw new Locked()
  if (response.status === 404) return undefined
  if (!response.ok) throw new Error(`${path} answered ${response.status}`)
  return response.json()
}

/** What a refusal says, in the gateway's own words. */
export const refused = async (response: Response): Promise<string> => {
  const body: unknown = await response.json().catch(() => undefined)
  const { error } = (body ?? {}) as { error?: { message?: string } }
  return error?.message ?? `the gateway answered ${response.status}`
}

/** Ask for a change. Gives what went wrong, or undefined. */
export const postJson = async (path: string, body: object): Promise<string | undefined> => {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      credentials: "same-origin",
      body: JSON.stringify(body)
    })
    return response.ok ? undefined : await refused(response)
  } catch {
    return "the gateway cannot be reached; try again"
  }
}

/** The code of a first-run link, taken out of the address bar so that it stays in no history. */
const takeCode = (): string | undefined => {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1]
  if (code !== undefined) history.replaceState(undefined, "", location.pathname + location.search)
  return code
}

/** A new link pasted into the address bar of this very page changes the hash only. */
const onHash = () => {
  if (location.hash.startsWith("#code=")) location.reload()
}

/** Exchange the code for the cookie. False when it is not valid any more. */
const exchange = async (code: string): Promise<boolean> => {
  const response = await fetch("/auth/code", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code: decodeURIComponent(code) })
  })
  if (response.status >= 500) throw new Error("not now")
  return response.ok
}

/** An unsent message in the tab's storage. */
interface Kept {
  readonly id: string
  readonly text: string
  readonly steers?: boolean
  /** What is told of its images; they themselves are too large for the storage. */
  readonly images?: ReadonlyArray<ImageNote>
}

/** The session this page shows: `?session=NAME`, else the main one. */
export const sessionName = (): string => new URLSearchParams(location.search).get("session") || "main"

/** A name that no other session has. */
export const newSessionName = (): string => `chat-${newId().slice(0, 12)}`

/** Where a session's messages are. */
const messagesOf = (session: string): string => `/api/v1/os/sessions/${encodeURIComponent(session)}/messages`

/** The server's id of the message at `seq`, for a line that came without it. */
export const findMessageId = async (session: string, seq: number): Promise<string | undefined> => {
  const body = (await getJson(`${messagesOf(session)}?after=${seq - 1}&limit=1`)) as
    | { messages: ReadonlyArray<HistoryRow> }
    | undefined
  return body?.messages.find((row) => row.seq === seq)?.id
}

const storagePrefix = "opencraw.unsent."

/** Sessions for which this tab holds messages that were never accepted. */
export const unsentSessions = (): ReadonlyArray<string> =>
  Object.keys(sessionStorage)
    .filter((key) => key.startsWith(storagePrefix))
    .map((key) => key.slice(storagePrefix.length))

/**
 * Start talking for one session. `getState` must give the state after every action dispatched so far.
 * Unsent messages are kept in the tab's storage, so that a reload does not lose them.
 */
export const connect = (
  session: string,
  getState: () => State,
  dispatch: (action: Action) => void
): Client => {
  const storageKey = `${storagePrefix}${session}`
  let socket: WebSocket | undefined
  let ready = false
  let attempt = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let ackTimer: ReturnType<typeof setTimeout> | undefined
  let closed = false

  /** Images of messages that were not accepted yet, by the message's id; and which of them are on their way. */
  const attached = new Map<string, ReadonlyArray<Attachment>>()
  const uploading = new Set<string>()

  const keep = () => {
    const waiting = unsent(getState()).map(({ clientId: id, text, steers, images }): Kept => ({
      id,
      text,
      steers,
      ...(images === undefined ? {} : { images })
    }))
    if (waiting.length === 0) sessionStorage.removeItem(storageKey)
    else sessionStorage.setItem(storageKey, JSON.stringify(waiting))
  }
  const restore = () => {
    const kept: unknown = JSON.parse(sessionStorage.getItem(storageKey) ?? "[]")
    for (const line of kept as ReadonlyArray<Kept>) dispatch({ type: "write", ...line })
  }

  const write = (frame: object) => {
    if (ready) socket?.send(JSON.stringify(frame))
  }
  const expectAcks = () => {
    clearTimeout(ackTimer)
    // An upload takes as long as it takes.
    if (!ready || !unsent(getState()).some(({ images }) => images === undefined)) return
    ackTimer = setTimeout(() => socket?.close(4000, "no acknowledgement"), ACK_WITHIN_MS)
  }
  const deliver = (line: Pick<UserLine, "clientId" | "text" | "steers" | "images">) => {
    const message = { id: line.clientId, content: contentOf(line) }
    if (line.images === undefined) return write({ type: "message", ...message })
    if (ready && !uploading.has(message.id)) void sendImages(message)
  }
  const sendImages = async (message: { readonly id: string; readonly content: string }) => {
    const { id } = message
    const images = attached.get(id)
    if (images === undefined) return onFrame({ ...imagesLost, id })
    uploading.add(id)
    const said = await upload(session, message, images)
    uploading.delete(id)
    if (closed) return
    // The next connection sends it again, and so does this one while it holds.
    if (said === undefined) return void setTimeout(sendUnsent, backoff(2, Math.random()))
    if (said.type === "ack") attached.delete(id)
    onFrame(said)
  }
  const sendUnsent = () => {
    if (closed) return
    unsent(getState()).forEach(deliver)
    expectAcks()
  }

  const renew = () => {
    dispatch({ type: "forgotten" })
    attempt = 0
    // Closing asks for the history again, from the beginning.
    if (socket === undefined) void open()
    else socket.close()
  }

  const onFrame = (frame: Frame) => {
    if (isFromAnew(getState(), frame)) return renew()
    if (frame.type === "hello") {
      ready = true
      attempt = 0
    }
    dispatch({ type: "frame", frame })
    if (frame.type === "hello") sendUnsent()
    if (frame.type === "message") write({ type: "received", id: frame.id })
    if (frame.type === "ack" || frame.type === "refused") {
      keep()
      expectAcks()
    }
  }

  interface HistoryPage {
    readonly messages: ReadonlyArray<HistoryRow>
    readonly next?: number
    readonly previous?: number
  }
  const readPage = async (query: string) =>
    (await getJson(`${messagesOf(session)}?${query}`)) as HistoryPage | undefined

  const loadBefore = async (type: "newest" | "older", before: number) => {
    const body = await readPage(`before=${before}&limit=${PAGE}`)
    if (closed || body === undefined) return
    const { messages: rows, previous } = body
    dispatch({ type, rows, ...(previous !== undefined && { earlier: previous }) })
  }

  let isLoading = false
  const loadEarlier = () => {
    const { earlier } = getState()
    if (earlier === undefined || isLoading) return
    isLoading = true
    // Failing is the connection's business, which shows it; the next scroll asks again.
    void loadBefore("older", earlier)
      .catch(() => undefined)
      .finally(() => (isLoading = false))
  }

  const loadHistory = async () => {
    if (!getState().loaded) return loadBefore("newest", END)
    for (let after = getState().seen; ;) {
      const body = await readPage(`after=${after}&limit=${CATCH_UP}`)
      if (closed || body === undefined) return
      dispatch({ type: "history", rows: body.messages })
      if (typeof body.next !== "number" || body.next <= after) return
      after = body.next
    }
  }

  let isKnown = false
  const askWho = async () => {
    const me = (await getJson("/auth/me")) as Me
    if (!closed) dispatch({ type: "unlocked", me })
  }

  const later = () => {
    if (closed) return
    dispatch({ type: "offline" })
    timer = setTimeout(() => void open(), backoff(attempt++, Math.random()))
  }

  const open = async () => {
    clearTimeout(timer)
    if (closed) return
    dispatch({ type: "connecting" })
    try {
      // The gateway may have come back as another: with a model, say.
      if (isKnown) await askWho()
      await loadHistory()
    } catch (error) {
      if (error instanceof Locked) return dispatch({ type: "locked" })
      return later()
    }
    if (closed || socket !== undefined) return
    const query = new URLSearchParams({ session_key: session, after: String(getState().seen) })
    const scheme = location.protocol === "https:" ? "wss" : "ws"
    const opened = new WebSocket(`${scheme}://${location.host}/ws?${query.toString()}`)
    socket = opened
    opened.addEventListener("message", (event) => {
      const frame = typeof event.data === "string" ? parseFrame(event.data) : undefined
      if (frame !== undefined && socket === opened) onFrame(frame)
    })
    opened.addEventListener("close", () => {
      if (socket !== opened) return
      socket = undefined
      ready = false
      clearTimeout(ackTimer)
      later()
    })
  }

  // Waiting out the backoff makes no sense once the network or the reader is back.
  const soon = () => {
    const waits = socket === undefined && getState().connection === "offline"
    if (waits && getState().access === "open" && document.visibilityState === "visible") {
      attempt = 0
      void open()
    }
  }

  let code = takeCode()
  let because: string | undefined
  const begin = async () => {
    try {
      if (code !== undefined) {
        const accepted = await exchange(code)
        code = undefined
        if (!accepted) because = "That link was used before, or it is older than ten minutes."
      }
      await askWho()
      if (closed) return
    } catch (error) {
      if (error instanceof Locked)
        return dispatch({ type: "locked", ...(because !== undefined && { because }) })
      dispatch({ type: "offline" })
      timer = setTimeout(() => void begin(), backoff(attempt++, Math.random()))
      return
    }
    restore()
    await open()
    isKnown = true
  }
  void begin()
  addEventListener("hashchange", onHash)
  addEventListener("online", soon)
  document.addEventListener("visibilitychange", soon)

  const send = (text: string, steers: boolean, images: ReadonlyArray<Attachment>) => {
    const id = newId()
    const notes = images.map(({ media_type, bytes }) => ({ media_type, bytes }))
    const line = { text, steers, ...(notes.length === 0 ? {} : { images: notes }) }
    if (notes.length > 0) attached.set(id, images)
    dispatch({ type: "write", id, ...line })
    keep()
    deliver({ clientId: id, ...line })
    expectAcks()
  }

  return {
    send: (text, images = []) => send(text, false, images),
    // The transcript has it without the spaces around it.
    steer: (text, images = []) => send(text.trim(), true, images),
    retry: (line) => {
      const id = line.clientId
      const next = line.code === "id_reused" ? newId() : id
      const images = attached.get(id)
      if (images !== undefined) attached.set(next, images)
      dispatch({ type: "retry", id, newId: next })
      keep()
      sendUnsent()
    },
    discard: (line) => {
      dispatch({ type: "discard", id: line.clientId })
      attached.delete(line.clientId)
      keep()
    },
    stop: () => write({ type: "stop" }),
    cancel: (line) => write({ type: "cancel", id: line.clientId }),
    loadEarlier,
    renew,
    // What fails now is asked again with the next connection.
    lookAgain: () => void askWho().catch(() => undefined),
    close: () => {
      closed = true
      clearTimeout(timer)
      clearTimeout(ackTimer)
      removeEventListener("hashchange", onHash)
      removeEventListener("online", soon)
      document.removeEventListener("visibilitychange", soon)
      socket?.close()
    }
  }
}
