/** What a conformance adapter is given and gives back. */
import { isDeepStrictEqual } from "node:util"

export interface Row<Input = unknown, Expected = unknown> {
  readonly id: string
  readonly title?: string
  readonly input: Input
  readonly expected: Expected
}

export interface Verdict {
  readonly ok: boolean
  readonly actual?: unknown
  /** Why the row does not apply to us. */
  readonly skip?: string
}

/** Deep equality of plain JSON. */
export const compare = (actual: unknown, expected: unknown): Verdict =>
  isDeepStrictEqual(JSON.parse(JSON.stringify(actual) ?? "null"), expected)
    ? { ok: true }
    : { ok: false, actual }
