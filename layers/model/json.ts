/** Reading JSON that somebody else wrote: nothing is taken for granted, and nothing throws. */

export type Json = Readonly<Record<string, unknown>>

export const isRecord = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The text, or `""` for anything else. */
export const textOf = (value: unknown): string => (typeof value === "string" ? value : "")

/** A number of something, or `undefined`. */
export const countOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined

/** `undefined` for what is not JSON. */
export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** `""` for what is nested too deep to be written, which may yet be read. */
export const write = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? ""
  } catch {
    return ""
  }
}

/** Providers refuse a history whose arguments are not a JSON object, so what a model once garbled is wrapped in one. */
export const objectText = (text: string): string => {
  if (isRecord(parse(text))) return text
  return text.trim() === "" ? "{}" : JSON.stringify({ malformed: text })
}
