/**
 * A connection to the gateway from the command line that opens again until it is closed, wherever the gateway runs by then.
 *
 * Owns: opening and backing off. Does not own: what is spoken (`ChatSocket`, `cli/lanes`).
 */

export interface Options {
  /** The whole address, or undefined while there is none; asked before every attempt, since a new gateway may listen elsewhere. */
  readonly address: () => string | undefined
  /** A text of the socket that is open now. True: it is well, so the next loss is a first one. */
  readonly onText: (text: string) => boolean
  /** It closed, or could not be opened. `isFirst`: since it last was well. */
  readonly onLost: (isFirst: boolean) => void
}

export interface AgainSocket {
  /** Does nothing while it is away. */
  readonly send: (text: string) => void
  readonly close: () => void
}

const longestPause = 3000

export const open = (options: Options): AgainSocket => {
  let socket: WebSocket | undefined
  let isClosed = false
  let failures = 0
  let timer: NodeJS.Timeout | undefined

  const lost = () => {
    if (isClosed) return
    options.onLost(failures === 0)
    timer = setTimeout(connect, Math.min(longestPause, 100 * 2 ** Math.min(failures++, 10)))
  }

  const connect = () => {
    const address = options.address()
    if (address === undefined) return lost()
    const opened = new WebSocket(address)
    socket = opened
    opened.addEventListener("message", ({ data }) => {
      if (typeof data === "string" && socket === opened && options.onText(data)) failures = 0
    })
    opened.addEventListener("close", () => {
      if (socket === opened) lost()
    })
    // `close` follows and is what counts.
    opened.addEventListener("error", () => undefined)
  }

  connect()
  return {
    send: (text) => socket?.send(text),
    close: () => {
      isClosed = true
      clearTimeout(timer)
      socket?.close()
    }
  }
}
