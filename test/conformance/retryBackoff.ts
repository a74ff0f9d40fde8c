/** Rows of `retry-backoff`. A random number in the middle is the ladder itself. */
import { type Backoff, backoff, delayOf } from "#src/domain/Backoff.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "retry-backoff"

interface Input {
  readonly options: Partial<Backoff> & { readonly onlyRetryable?: boolean }
  readonly failures: ReadonlyArray<{ readonly retryable?: boolean; readonly retryAfterMs?: number }>
}

const answer = ({ options, failures }: Input) => {
  const settings = backoff(options)
  const delaysMs: Array<number> = []
  for (const [index, { retryable, retryAfterMs }] of failures.entries()) {
    const calls = index + 1
    const isLast = calls >= settings.attempts || (options.onlyRetryable === true && retryable !== true)
    if (isLast) return { result: "error", calls, delaysMs }
    delaysMs.push(delayOf(settings, calls, 0.5, retryAfterMs))
  }
  return { result: "ok", calls: failures.length + 1, delaysMs }
}

export const run = async ({ input, expected }: Row<Input>) => compare(answer(input), expected)
