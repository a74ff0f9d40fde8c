/**
 * A chat's connection from the command line: it opens again until it is closed, wherever the gateway runs by then.
 *
 * Owns: opening, backing off, and that frames are written only after the greeting.
 * Does not own: what frames mean (`ChatView`).
 */
import * as Redacted from "effect/Redacted"
import { type Frame, readFrame } from "#src/gateway/cli/ChatView.ts"

export interface Options {
  /** Where the gateway is now; asked before every attempt, since a new one may listen elsewhere. */
  readonly url: () => string | undefined
  readonly token: Redacted.Redacted
  readonly session: string
  /** Replay from here; undefined: what was never confirmed. */
  readonly after: () => number | undefined
  readonly onFrame: (frame: Frame) => void
  /** It closed, or could not be opened. `isFirst`: since it last was open. */
  readonly onLost: (isFirst: boolean) => void
}

export interface ChatSocket {
  /** Does nothing while it is away: what is not acknowledged is sent again after the next greeting. */
  readonly send: (frame: object) => void
  readonly close: () => void
}

const longestPause = 3000

export const open = (options: Options): ChatSocket => {
  let socket: WebSocket | undefined
  let isGreeted = false
  let isClosed = false
  let failures = 0
  let timer: NodeJS.Timeout | undefined

  const lost = () => {
    isGreeted = false
    if (isClosed) return
    options.onLost(failures === 0)
    timer = setTimeout(connect, Math.min(longestPause, 100 * 2 ** Math.min(failures++, 10)))
  }

  const connect = () => {
    const url = options.url()
    if (url === undefined) return lost()
    const query = new URLSearchParams({
      token: Redacted.value(options.token),
      session_key: options.session
    })
    const after = options.after()
    if (after !== undefined) query.set("after", String(after))
    const opened = new WebSocket(`${url.replace(/^http/, "ws")}/ws?${query.toString()}`)
    socket = opened
    opened.addEventListener("message", (event) => {
      const frame = typeof event.data === "string" ? readFrame(event.data) : undefined
      if (frame === undefined || socket !== opened) return
      if (frame.type === "hello") {
        isGreeted = true
        failures = 0
      }
      options.onFrame(frame)
    })
    opened.addEventListener("close", () => {
      if (socket === opened) lost()
    })
    // `close` follows and is what counts.
    opened.addEventListener("error", () => undefined)
  }

  connect()
  return {
    send: (frame) => {
      if (isGreeted) socket?.send(JSON.stringify(frame))
    },
    close: () => {
      isClosed = true
      clearTimeout(timer)
      socket?.close()
    }
  }
}
