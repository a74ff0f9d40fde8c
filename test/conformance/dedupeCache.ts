/** Rows of `dedupe-cache`: each check that finds nothing remembers. */
import { DedupeCache } from "#src/inbound/DedupeCache.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "dedupe-cache"

interface Input {
  readonly ttlMs: number
  readonly maxSize: number
  readonly checks: ReadonlyArray<{ readonly key: string | null; readonly atMs: number }>
}

export const run = async (row: Row<Input>) => {
  const cache = new DedupeCache<true>({ ttlMillis: row.input.ttlMs, maxSize: row.input.maxSize })
  const seenBefore = row.input.checks.map(({ key, atMs }) => {
    if (cache.check(key, atMs) === true) return true
    cache.remember(key, true, atMs)
    return false
  })
  return compare({ seenBefore, size: cache.size }, row.expected)
}
