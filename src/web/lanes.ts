/**
 * The page's view of the lanes: the socket that tells what they are doing, and what is asked of them.
 *
 * Owns: connecting again, and the age of what is told. Does not own: how it looks (`Activity.tsx`).
 */
import { useEffect, useState } from "preact/hooks"
import { postJson } from "./client.ts"
import { backoff } from "./state.ts"

export interface Lane {
  readonly session_key: string
  readonly phase: "idle" | "running" | "parked" | "waiting"
  readonly paused: boolean
  /** Another node has it: no more is known of it. */
  readonly elsewhere?: true
  readonly depth: number
  readonly oldest_at?: number
  readonly run?: {
    readonly attempt: number
    readonly began_at: number
    readonly step: number
    readonly tools: ReadonlyArray<string>
    readonly stall?: "long" | "stalled" | "stuck"
  }
  readonly fenced: number
}
export interface LanesNow {
  readonly paused: boolean
  /** Lanes there are; the frame may hold fewer. */
  readonly total: number
  readonly lanes: ReadonlyArray<Lane>
}

/** What a frame says; undefined for what this page does not know. */
export const parseLanes = (text: string): LanesNow | undefined => {
  try {
    const frame: unknown = JSON.parse(text)
    const isKnown = typeof frame === "object" && frame !== null && "type" in frame && frame.type === "lanes"
    return isKnown ? (frame as unknown as LanesNow) : undefined
  } catch {
    return undefined
  }
}

/** What the lanes do now; undefined until it is known, and while the gateway is away. */
export const useLanes = (): LanesNow | undefined => {
  const [now, setNow] = useState<LanesNow>()
  useEffect(() => {
    let socket: WebSocket | undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let attempt = 0
    let isOver = false
    const open = () => {
      const scheme = location.protocol === "https:" ? "wss" : "ws"
      socket = new WebSocket(`${scheme}://${location.host}/ws/lanes`)
      socket.addEventListener("message", (event) => {
        const told = typeof event.data === "string" ? parseLanes(event.data) : undefined
        if (told === undefined || isOver) return
        attempt = 0
        setNow(told)
      })
      socket.addEventListener("close", () => {
        if (isOver) return
        setNow(undefined)
        timer = setTimeout(open, backoff(attempt++, Math.random()))
      })
    }
    open()
    return () => {
      isOver = true
      clearTimeout(timer)
      socket?.close()
    }
  }, [])
  return now
}

/** The time, again every second while somebody wants it. */
export const useClock = (isWanted: boolean): number => {
  const [time, setTime] = useState(Date.now)
  useEffect(() => {
    if (!isWanted) return
    setTime(Date.now())
    const timer = setInterval(() => setTime(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [isWanted])
  return time
}

/** `3 min`, since `at`. The clocks of two machines differ, so that it may be in the future. */
export const since = (at: number | undefined, now: number): string => {
  if (at === undefined) return ""
  const seconds = Math.max(0, Math.floor((now - at) / 1000))
  if (seconds < 60) return `${seconds} s`
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`
}

export type LaneAction = "stop" | "abort" | "pause" | "resume"

/** Ask it of one lane, or of all. Gives what went wrong, or undefined. */
export const control = (action: LaneAction, key?: string): Promise<string | undefined> =>
  postJson(`/api/v1/os/lanes/${key === undefined ? "" : `${encodeURIComponent(key)}/`}${action}`, {})
