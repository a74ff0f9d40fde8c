/**
 * How an API key reads: `ock_<id>_<secret>`.
 *
 * Pure. The id finds the key, the whole text proves it; nothing else is in it, so a key that is found somewhere tells nothing.
 */
const prefix = "ock_"

/** The id of a text that reads as a key; undefined for any other text. */
export const idIn = (text: string): string | undefined => {
  const id = /^ock_([0-9a-z]{1,64})_[\w-]{16,128}$/.exec(text)?.[1]
  return id === undefined ? undefined : `key_${id}`
}

/** The text of a key; `id` begins with `key_`. */
export const textOf = (id: string, secret: string): string => `${prefix}${id.slice(4)}_${secret}`
