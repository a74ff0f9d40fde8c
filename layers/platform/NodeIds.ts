/**
 * Fresh ids and secrets from this machine's clock and random source.
 *
 * An id is `prefix_` and 26 letters of lower-case base32: 10 of time (ms), 4 of a counter within the millisecond,
 * 12 random (60 bits). Ids of one process sort by the order of their making, also when the clock steps back.
 */
import * as Layer from "effect/Layer"
import { randomFillSync } from "node:crypto"
import { Ids } from "#src/domain/Ids.ts"

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
const counterLimit = 32 ** 4

/** `now` gives ms since 1970. */
export const make = (now: () => number = Date.now): Ids["Service"] => {
  // Asking the system for each id's few bytes costs more than the id.
  const pool = new Uint8Array(8192)
  let used = pool.length
  const letters = (count: number): string => {
    if (used + count > pool.length) {
      randomFillSync(pool)
      used = 0
    }
    let text = ""
    for (const end = used + count; used < end; used++) text += alphabet[(pool[used] ?? 0) & 31]
    return text
  }

  let time = -1
  let counter = 0
  let timeText = ""
  const next = (prefix: string): string => {
    const at = now()
    if (at > time) {
      time = at
      counter = 0
      timeText = base32(time, 10)
    } else if (++counter === counterLimit) {
      // A million ids within one millisecond: borrow from the next.
      time++
      counter = 0
      timeText = base32(time, 10)
    }
    return `${prefix}_${timeText}${base32(counter, 4)}${letters(12)}`
  }

  return Ids.of({ next, secret: () => Buffer.from(randomFillSync(new Uint8Array(32))).toString("base64url") })
}

const base32 = (value: number, length: number): string => {
  let text = ""
  for (let rest = value; text.length < length; rest = Math.floor(rest / 32)) {
    text = (alphabet[rest % 32] ?? "") + text
  }
  return text
}

export const layer = Layer.sync(Ids, () => make())
