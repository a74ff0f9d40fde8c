/**
 * Reads the data of server-sent events out of bytes that come in pieces of any size.
 *
 * Owns: UTF-8 and line ends split anywhere, a byte-order mark, comments, data of several lines, the limit on one event.
 * Does not own: what the data means.
 */

export interface SseReader {
  /** Take the next bytes; `onData` is called once for each event that they complete. False once an event is too long. */
  readonly push: (bytes: Uint8Array) => boolean
  /** The bytes have ended: an event that only lacks its empty line counts. */
  readonly end: () => void
}

/** `maxChars` bounds what one event may hold, and so what is kept in memory. */
export const make = (onData: (data: string) => void, maxChars: number): SseReader => {
  const decoder = new TextDecoder()
  // Only joined when its line ends: scanning it again for each piece would be quadratic.
  let rest = ""
  let data = ""
  let hasData = false
  let endedByCr = false
  let isTooLong = false

  const dispatch = () => {
    if (!hasData) return
    const whole = data
    data = ""
    hasData = false
    onData(whole)
  }

  const line = (text: string) => {
    if (text === "") return dispatch()
    if (!text.startsWith("data") || (text.length > 4 && text.charCodeAt(4) !== 58)) {
      // Some servers break off with a field of this name in place of data.
      if (text.startsWith("error:")) line(`data:{"error":${text.slice(6)}}`)
      return
    }
    const value = text.slice(text.charCodeAt(5) === 32 ? 6 : 5)
    data = hasData ? `${data}\n${value}` : value
    hasData = true
    if (data.length > maxChars) isTooLong = true
  }

  /** CRLF and a lone CR are as good as LF, also when a piece ends between CR and LF. */
  const lineFeedsOnly = (text: string): string => {
    const whole = endedByCr && text.startsWith("\n") ? text.slice(1) : text
    if (text !== "") endedByCr = text.endsWith("\r")
    return whole.includes("\r") ? whole.replace(/\r\n?/g, "\n") : whole
  }

  const pushText = (piece: string) => {
    const text = lineFeedsOnly(piece)
    let from = 0
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      line(rest === "" ? text.slice(from, at) : rest + text.slice(from, at))
      rest = ""
      from = at + 1
    }
    if (from < text.length) rest += from === 0 ? text : text.slice(from)
    if (rest.length > maxChars) isTooLong = true
    return !isTooLong
  }

  return {
    push: (bytes) => !isTooLong && pushText(decoder.decode(bytes, { stream: true })),
    end: () => {
      if (isTooLong) return
      pushText(decoder.decode())
      if (rest !== "") line(rest)
      rest = ""
      dispatch()
    }
  }
}
