/**
 * What is wrong with a value that somebody wrote: where, why, and what was probably meant.
 *
 * Owns: the words of configuration and request errors. A value itself is never repeated: it may be a secret.
 */
export interface Problem {
  /** Dotted, from the root: `queue.cap`, `agents.main.tools[2]`; empty for the whole. */
  readonly path: string
  readonly problem: string
  /** What to write instead, when that can be guessed. */
  readonly hint?: string
}

/** One line: `queue.cpa: unknown key (did you mean cap?)`. */
export const format = ({ path, problem, hint }: Problem): string =>
  `${path === "" ? "" : `${path}: `}${problem}${hint === undefined ? "" : ` (${hint})`}`

/** A path as it is written in the file: `a.b[0]."odd key"`. */
export const pathOf = (keys: ReadonlyArray<PropertyKey>): string =>
  keys.reduce<string>((path, key) => {
    if (typeof key === "number") return `${path}[${key}]`
    const name = String(key)
    const word = /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name)
    return path === "" ? word : `${path}.${word}`
  }, "")

/** The keys of a path down to the first list in it: `a."odd.key"[0].b` gives `a`, `odd.key`. */
export const tableKeysOf = (path: string): ReadonlyArray<string> => {
  const keys: Array<string> = []
  for (const [word] of path.matchAll(/"(?:[^"\\]|\\.)*"|[^.[\]"]+|\[/g)) {
    if (word === "[") break
    keys.push(word.startsWith('"') ? String(JSON.parse(word)) : word)
  }
  return keys
}

/** The candidate that `word` was probably meant to be: fewest edits, at most a third of its length (and never under 2). */
export const nearest = (word: string, candidates: Iterable<string>): string | undefined => {
  let best: string | undefined
  let fewest = Math.max(2, Math.floor(word.length / 3)) + 1
  if (word.length > 64) return undefined
  for (const candidate of candidates) {
    const edits = distance(word.toLowerCase(), candidate.toLowerCase())
    if (edits < fewest && edits < candidate.length) {
      best = candidate
      fewest = edits
    }
  }
  return best
}

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
const distance = (a: string, b: string): number => {
  let before: Array<number> = []
  let above = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1
      let edits = Math.min(
        (above[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + same
      )
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        edits = Math.min(edits, (before[column - 2] ?? 0) + 1)
      }
      current.push(edits)
    }
    before = above
    above = current
  }
  return above[b.length] ?? 0
}
