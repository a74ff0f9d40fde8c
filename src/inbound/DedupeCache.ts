/**
 * Remembers for a while what was seen, in bounded memory, with a value for each key.
 *
 * Owns: expiry and eviction. Stands before the log's index to save a look-up; the index is the only truth.
 * Does not own: time; every call is given `now`, ms on any clock that does not run backwards.
 */

interface Seen<A> {
  readonly value: A
  readonly at: number
}

/** Keys are exact text; an empty or absent key is never remembered. */
export class DedupeCache<A> {
  readonly #ttlMillis: number
  readonly #maxSize: number
  // In order of last sight, oldest first.
  readonly #seen = new Map<string, Seen<A>>()

  /** A `ttlMillis` of 0 or less never expires; a `maxSize` under 1 keeps nothing. */
  constructor(options: { readonly ttlMillis: number; readonly maxSize: number }) {
    this.#ttlMillis = Math.max(0, options.ttlMillis)
    this.#maxSize = Math.max(0, Math.floor(options.maxSize))
  }

  get size(): number {
    return this.#seen.size
  }

  /** What was remembered for `key` less than the TTL ago; that sight counts as its last. */
  check(key: string | null | undefined, now: number): A | undefined {
    if (!key) return undefined
    const found = this.#seen.get(key)
    if (found === undefined || this.#isExpired(found, now)) return undefined
    this.#put(key, found.value, now)
    return found.value
  }

  /** Remember `value` for `key`; expired keys go, then the oldest that are too many. */
  remember(key: string | null | undefined, value: A, now: number): void {
    if (!key) return
    this.#put(key, value, now)
    for (const [oldest, seen] of this.#seen) {
      // A key exactly at its TTL is no hit any more, but the sweep still leaves it.
      const isOver = this.#ttlMillis > 0 && now - seen.at > this.#ttlMillis
      if (this.#seen.size <= this.#maxSize && !isOver) return
      this.#seen.delete(oldest)
    }
  }

  /** Forget `key` at once. */
  forget(key: string): void {
    this.#seen.delete(key)
  }

  #isExpired(seen: Seen<A>, now: number): boolean {
    return this.#ttlMillis > 0 && now - seen.at >= this.#ttlMillis
  }

  #put(key: string, value: A, at: number): void {
    this.#seen.delete(key)
    this.#seen.set(key, { value, at })
  }
}
