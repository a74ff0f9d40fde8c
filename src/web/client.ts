/**
 * The page's way to the gateway: who am I, what was said, and the socket that stays open.
 *
 * Owns: the cookie exchange, loading history, connecting again, sending what was not acknowledged.
 * Does not own: what any of it means (`state.ts`).
 */
import {
  type Action,
  type Frame,
  type HistoryRow,
  type Me,
  type State,
  type UserLine,
  backoff,
  parseFrame,
  unsent
} from "./state.ts"

/** A message that has no acknowledgement after this long means a dead connection. */
const ACK_WITHIN_MS = 15_000
const PAGE = 500

export interface Client {
  readonly send: (text: string) => void
  readonly retry: (line: UserLine) => void
  readonly stop: () => void
  readonly close: () => void
}

class Locked extends Error {}

/** Unguessable and unique; `crypto.randomUUID` is missing on plain http from another machine. */
const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(
    ""
  )

const getJson = async (path: string): Promise<unknown> => {
  const response = await fetch(path, { headers: { accept: "application/json" }, credentials: "same-origin" })
  if (response.status === 401 || response.status === 403) throw new Locked()
  if (response.status === 404) return undefined
  if (!response.ok) throw new Error(`${path} answered ${response.status}`)
  return response.json()
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

/** The session this page shows: `?session=NAME`, else the main one. */
export const sessionName = (): string => new URLSearchParams(location.search).get("session") ?? "main"

/**
 * Start talking for one session. `getState` must give the state after every action dispatched so far.
 * Unsent messages are kept in the tab's storage, so that a reload does not lose them.
 */
export const connect = (
  session: string,
  getState: () => State,
  dispatch: (action: Action) => void
): Client => {
  const storageKey = `opencraw.unsent.${session}`
  let socket: WebSocket | undefined
  let ready = false
  let attempt = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let ackTimer: ReturnType<typeof setTimeout> | undefined
  let closed = false

  const keep = () => {
    const waiting = unsent(getState()).map((line) => ({ id: line.clientId, text: line.text }))
    if (waiting.length === 0) sessionStorage.removeItem(storageKey)
    else sessionStorage.setItem(storageKey, JSON.stringify(waiting))
  }
  const restore = () => {
    const kept: unknown = JSON.parse(sessionStorage.getItem(storageKey) ?? "[]")
    for (const { id, text } of kept as ReadonlyArray<{ id: string; text: string }>) {
      dispatch({ type: "write", id, text })
    }
  }

  const write = (frame: object) => {
    if (ready) socket?.send(JSON.stringify(frame))
  }
  const expectAcks = () => {
    clearTimeout(ackTimer)
    if (!ready || unsent(getState()).length === 0) return
    ackTimer = setTimeout(() => socket?.close(4000, "no acknowledgement"), ACK_WITHIN_MS)
  }
  const sendUnsent = () => {
    for (const line of unsent(getState())) write({ type: "message", id: line.clientId, content: line.text })
    expectAcks()
  }

  const onFrame = (frame: Frame) => {
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

  const loadHistory = async () => {
    for (let after = getState().seen; ;) {
      const query = after > 0 ? `?after=${after}&limit=${PAGE}` : `?limit=${PAGE}`
      const path = `/api/v1/os/sessions/${encodeURIComponent(session)}/messages${query}`
      const body = (await getJson(path)) as { messages: ReadonlyArray<HistoryRow>; next?: number } | undefined
      if (body === undefined) return
      dispatch({ type: "history", rows: body.messages })
      if (typeof body.next !== "number" || body.next <= after) return
      after = body.next
    }
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
      await loadHistory()
    } catch (error) {
      if (error instanceof Locked) return dispatch({ type: "locked" })
      return later()
    }
    if (closed) return
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
      const me = (await getJson("/auth/me")) as Me
      dispatch({ type: "unlocked", me })
    } catch (error) {
      if (error instanceof Locked)
        return dispatch({ type: "locked", ...(because !== undefined && { because }) })
      dispatch({ type: "offline" })
      timer = setTimeout(() => void begin(), backoff(attempt++, Math.random()))
      return
    }
    restore()
    await open()
  }
  void begin()
  addEventListener("hashchange", onHash)
  addEventListener("online", soon)
  document.addEventListener("visibilitychange", soon)

  return {
    send: (text) => {
      const id = newId()
      dispatch({ type: "write", id, text })
      keep()
      write({ type: "message", id, content: text })
      expectAcks()
    },
    retry: (line) => {
      const id = line.clientId
      dispatch({ type: "retry", id, newId: line.code === "id_reused" ? newId() : id })
      keep()
      sendUnsent()
    },
    stop: () => write({ type: "stop" }),
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
