/**
 * Text that every store of ours can keep: Postgres takes no NUL, and no store a lone surrogate.
 *
 * Names (keys, ids, routes, receipts) lose both: each becomes U+FFFD. Values that are kept as JSON (bodies, entries,
 * the texts of deliveries) read back as they were, a NUL included, since JSON escapes it; only lone surrogates become U+FFFD.
 */

/** A name as it is stored. */
export const storable = (text: string): string => {
  const wellFormed = text.isWellFormed() ? text : text.toWellFormed()
  return wellFormed.includes("\0") ? wellFormed.replaceAll("\0", "\uFFFD") : wellFormed
}

/** `JSON.stringify` writes a lone surrogate as an escape, which a store may refuse when it looks into its JSON. */
const escapedSurrogate = /\\ud[89a-f]/

/** A value as stored JSON. */
export const toJson = (value: unknown): string => {
  const json = JSON.stringify(value)
  return escapedSurrogate.test(json)
    ? JSON.stringify(value, (_, part: unknown) => (typeof part === "string" ? part.toWellFormed() : part))
    : json
}
