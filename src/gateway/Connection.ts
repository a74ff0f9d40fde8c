/**
 * The port to one WebSocket, below the protocol that `WebChat` speaks on it.
 *
 * Does not own: frames, pings and the handshake's key (`layers/gateway`).
 */
export interface Connection {
  /** Send one text message, in order. Does nothing once closed. */
  readonly send: (text: string) => void
  /** Bytes handed over that the peer has not taken yet. */
  readonly buffered: () => number
  /** Stop and go on reading: what the peer sends meanwhile waits in its own buffers. */
  readonly pause: () => void
  readonly resume: () => void
  /** Close with a code and a reason of at most 123 bytes; a peer that does not answer is cut off soon after. */
  readonly close: (code: number, reason: string) => void
}

/** What the connection tells. After `onClose` nothing more comes. */
export interface ConnectionListener {
  readonly onText: (text: string) => void
  /** A binary message, which this protocol does not have. */
  readonly onBinary: () => void
  /** The peer has taken what was buffered. */
  readonly onDrain: () => void
  readonly onClose: () => void
}

/** What a peer asks for before its connection is opened. Header names are lower-case. */
export interface Handshake {
  readonly url: string
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
}

/** Open it, or refuse it with a status and the one error body. */
export type Decision =
  | { readonly _tag: "Open"; readonly attach: (connection: Connection) => ConnectionListener }
  | {
      readonly _tag: "Refuse"
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly body: string
    }
