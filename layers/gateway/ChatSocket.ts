/**
 * A chat's connection from the command line.
 *
 * Owns: its address, and that frames are written only after the greeting.
 * Does not own: opening again (`AgainSocket`), or what frames mean (`ChatView`).
 */
import * as Redacted from "effect/Redacted"
import { type Frame, readFrame } from "#src/gateway/cli/ChatView.ts"
import * as AgainSocket from "./AgainSocket.ts"

export interface Options {
  /** Where the gateway is now; asked before every attempt, since a new one may listen elsewhere. */
  readonly url: () => string | undefined
  readonly token: Redacted.Redacted
  readonly session: string
  readonly project: string | undefined
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

export const open = (options: Options): ChatSocket => {
  let isGreeted = false

  const address = () => {
    const url = options.url()
    if (url === undefined) return undefined
    const query = new URLSearchParams({
      token: Redacted.value(options.token),
      session_key: options.session
    })
    if (options.project !== undefined) query.set("project", options.project)
    const after = options.after()
    if (after !== undefined) query.set("after", String(after))
    return `${url.replace(/^http/, "ws")}/ws?${query.toString()}`
  }

  const socket = AgainSocket.open({
    address,
    onText: (text) => {
      const frame = readFrame(text)
      if (frame === undefined) return false
      if (frame.type === "hello") isGreeted = true
      options.onFrame(frame)
      return frame.type === "hello"
    },
    onLost: (isFirst) => {
      isGreeted = false
      options.onLost(isFirst)
    }
  })

  return {
    send: (frame) => {
      if (isGreeted) socket.send(JSON.stringify(frame))
    },
    close: socket.close
  }
}
