/**
 * What one socket still has to be sent, in bounded memory.
 *
 * Owns: holding frames back while the past is replayed, and what happens to a slow reader: its deltas are joined, then dropped
 * (the message is the truth), and when even the rest piles up the socket is closed with 1013. Others never notice.
 */
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import * as Telemetry from "#src/Telemetry.ts"
import type { Connection } from "./Connection.ts"
import * as Frames from "./Frames.ts"

/** From here on deltas wait instead of being sent, bytes. */
export const slowBytes = 262_144
/** From here on the reader is given up, bytes. */
export const deadBytes = 4_194_304
const maxJoined = 65_536
const maxHeld = 2000

export class Outbox {
  #held: Array<SessionEvent> = []
  #holds = 0
  #joined: Frames.DeltaFrame | undefined
  #closed = false
  readonly #connection: Connection
  readonly #isNews: (event: SessionEvent) => boolean

  /** `isNews` is false for an event that the replay has told already; asked once per event, when it would be sent. */
  constructor(connection: Connection, isNews: (event: SessionEvent) => boolean) {
    this.#connection = connection
    this.#isNews = isNews
  }

  /** Keep events back until as many releases; what is sent directly goes out meanwhile. */
  hold(): void {
    this.#holds++
  }

  release(): void {
    if (--this.#holds > 0) return
    const held = this.#held
    this.#held = []
    for (const event of held) this.#deliver(event)
  }

  /** An event of the session, now or after the hold. */
  event(event: SessionEvent): void {
    if (this.#closed) return
    if (this.#holds === 0) return this.#deliver(event)
    const isProvisional = event._tag === "Delta" || event._tag === "Tool" || event._tag === "Typing"
    if (this.#held.length < maxHeld || !isProvisional) this.#held.push(event)
  }

  /** A frame of the protocol itself, now. */
  send(frame: Frames.ServerFrame): void {
    if (this.#closed) return
    this.#connection.send(JSON.stringify(frame))
    if (this.#connection.buffered() > deadBytes) {
      this.#closed = true
      Telemetry.slowReaderClosed()
      this.#connection.close(1013, "too slow: reconnect with after=SEQ")
    }
  }

  /** The peer has caught up. */
  drained(): void {
    const joined = this.#joined
    this.#joined = undefined
    if (joined !== undefined) this.send(joined)
  }

  get isSlow(): boolean {
    return this.#connection.buffered() > slowBytes
  }

  close(): void {
    this.#closed = true
    this.#held = []
    this.#joined = undefined
  }

  #deliver(event: SessionEvent): void {
    if (!this.#isNews(event)) return
    if (event._tag === "Delta") return this.#delta(Frames.ofEvent(event) as Frames.DeltaFrame)
    if (event._tag === "Message") this.#joined = undefined
    else if (!this.isSlow) this.drained()
    this.send(Frames.ofEvent(event))
  }

  #delta(frame: Frames.DeltaFrame): void {
    const joined = this.#joined
    if (joined === undefined && !this.isSlow) return this.send(frame)
    if (joined === undefined) {
      this.#joined = frame
      return
    }
    const goesOn =
      joined.run_id === frame.run_id &&
      joined.attempt === frame.attempt &&
      joined.offset + joined.content.length === frame.offset
    if (goesOn && joined.content.length + frame.content.length <= maxJoined) {
      this.#joined = { ...joined, content: joined.content + frame.content }
      return
    }
    // What waits is dropped for the newer piece; its offset tells the client of the gap.
    Telemetry.deltaDropped()
    this.#joined = frame
  }
}
