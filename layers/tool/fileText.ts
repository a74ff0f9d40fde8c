/**
 * Bytes and names of files as text that a model can be shown.
 */

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** The text of the bytes; `undefined` for bytes that are no text. */
export const asText = (bytes: Uint8Array): string | undefined => {
  if (bytes.includes(0)) return undefined
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

/** A name on one line, whatever characters it holds. */
export const printable = (name: string): string => name.replace(/[\p{Cc}\u202A-\u202E\u2066-\u2069]/gu, "�")
