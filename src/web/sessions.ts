/**
 * The list of conversations: reading, naming and deleting them, in step with the browser's other tabs.
 *
 * Owns: what a conversation is called, and telling the other tabs.
 * Does not own: the conversation on the screen (`client.ts`).
 */
import { useEffect, useRef, useState } from "preact/hooks"
import { getJson, refused } from "./client.ts"

export interface Listed {
  readonly session_key: string
  readonly agent: string
  readonly title?: string
  readonly opening?: string
  /** Of a fork: where its last shared turn was said. */
  readonly forked_from?: { readonly session_key: string; readonly seq: number }
  readonly seq: number
  /** Messages that have no answer yet. */
  readonly open: number
  readonly updated_at: number
}

/** Rows in the list, and those a search looks through. */
const LISTED = 100
const SEARCHED = 1000
const MAX_OPENING = 60
const path = "/api/v1/os/sessions"

/** The full key that the page's short name of a session stands for; false friends (`agent:…`) are keys already. */
export const isNamed = (name: string, key: string): boolean => {
  const lower = name.trim().toLowerCase()
  return key === lower || key === `agent:main:${lower}`
}

/** The shortest name of a session, for the address bar. */
export const nameOf = (key: string): string => key.replace(/^agent:main:/, "")

/** The beginning of a text, cut between words where it is long. */
const short = (text: string): string =>
  text.length <= MAX_OPENING ? text : `${text.slice(0, MAX_OPENING).replace(/\s+\S*$/, "")}…`

/** What to call a conversation: its title, how it begins, or its key. */
export const titleOf = (listed: Listed): string =>
  listed.title ?? (short(listed.opening ?? "") || nameOf(listed.session_key).replace(/^user:/, "User "))

/** Whose words appear in the title, the beginning or the key, in any order. */
export const matching = (rows: ReadonlyArray<Listed>, search: string): ReadonlyArray<Listed> => {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  return rows.filter((row) => {
    const text = `${row.title ?? ""} ${row.opening ?? ""} ${row.session_key}`.toLowerCase()
    return words.every((word) => text.includes(word))
  })
}

const change = async (key: string, init: RequestInit): Promise<string | undefined> => {
  try {
    const response = await fetch(`${path}/${encodeURIComponent(key)}`, {
      credentials: "same-origin",
      ...init
    })
    // Deleted already is deleted.
    const isDone = response.ok || (init.method === "DELETE" && response.status === 404)
    return isDone ? undefined : await refused(response)
  } catch {
    return "the gateway cannot be reached; try again"
  }
}

/** Both give what went wrong, or undefined. */
export const rename = (key: string, title: string) =>
  change(key, {
    method: "PATCH",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ title })
  })
export const remove = (key: string) => change(key, { method: "DELETE" })

/** Begin a conversation with what was said in this one up to an answer. Gives its key, or what went wrong. */
export const fork = async (
  name: string,
  seq: number
): Promise<{ readonly key: string } | { readonly failed: string }> => {
  try {
    const response = await fetch(`${path}/${encodeURIComponent(name)}/fork`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      credentials: "same-origin",
      body: JSON.stringify({ at: seq })
    })
    if (!response.ok) return { failed: await refused(response) }
    const { session_key: key } = (await response.json()) as { session_key: string }
    return { key }
  } catch {
    return { failed: "the gateway cannot be reached; try again" }
  }
}

interface News {
  /** The session that was deleted; absent for any other change. */
  readonly deleted?: string
}

export interface SessionList {
  readonly rows: ReadonlyArray<Listed>
  /** True once the list was read. */
  readonly isRead: boolean
  /** True when there are more sessions than were read. */
  readonly isCut: boolean
  readonly refresh: () => void
  /** Read the list anew, here and in the other tabs. */
  readonly tell: (news: News) => void
}

/** The list while `isOpen`, of more sessions while `isSearching`. `onDeleted` hears of other tabs' deletions. */
export const useSessions = (
  isOpen: boolean,
  isSearching: boolean,
  onDeleted: (key: string) => void
): SessionList => {
  const [{ rows, isRead }, setRead] = useState<{ rows: ReadonlyArray<Listed>; isRead: boolean }>({
    rows: [],
    isRead: false
  })
  const channel = useRef<BroadcastChannel | undefined>(undefined)
  const heard = useRef(onDeleted)
  heard.current = onDeleted
  const limit = isSearching ? SEARCHED : LISTED
  const latest = useRef(0)
  const read = async () => {
    const asked = ++latest.current
    const body = await getJson(`${path}?limit=${limit}`)
    const { sessions } = (body ?? { sessions: [] }) as { sessions: ReadonlyArray<Listed> }
    if (asked === latest.current) setRead({ rows: sessions, isRead: true })
  }
  const refresh = () => {
    // When it fails the connection shows it; the list is read again when that is back.
    if (isOpen) read().catch(() => undefined)
  }
  useEffect(refresh, [isOpen, limit])
  const again = useRef(refresh)
  again.current = refresh
  useEffect(() => {
    const opened = new BroadcastChannel("opencraw")
    opened.addEventListener("message", (event: MessageEvent<News>) => {
      again.current()
      if (event.data.deleted !== undefined) heard.current(event.data.deleted)
    })
    const onFocus = () => again.current()
    addEventListener("focus", onFocus)
    channel.current = opened
    return () => {
      opened.close()
      removeEventListener("focus", onFocus)
    }
  }, [])
  const tell = (news: News) => {
    refresh()
    channel.current?.postMessage(news)
  }
  return { rows, isRead, isCut: rows.length >= limit, refresh, tell }
}
