/** Numbers that a seed decides: the only chance there is in a simulation. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e37_79b9) >>> 0
    // Neighbouring seeds begin alike otherwise.
    for (let count = 0; count < 4; count++) this.next()
  }

  /** From 0 up to 1, without 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<A>(list: readonly [A, ...ReadonlyArray<A>]): A {
    return list[this.between(0, list.length - 1)] ?? list[0]
  }

  /** One of the words, as often as its weight says. */
  weighted<Word extends string>(weights: Readonly<Record<Word, number>>): Word {
    const words = Object.keys(weights) as Array<Word>
    let left = this.next() * words.reduce((sum, word) => sum + weights[word], 0)
    for (const word of words) {
      left -= weights[word]
      if (left < 0) return word
    }
    return words[0]!
  }
}
