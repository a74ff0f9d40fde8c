/**
 * The histories of sessions that were busy lately, so that a run reads only what is new.
 *
 * Owns: bounded memory, the longest unused session going first.
 * Does not own: the truth. An entry that has its place in the model's order never changes, and that is all this keeps.
 */
import type { RunId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { EntryRow } from "#src/horizons/MessageLog.ts"

interface Kept {
  readonly rows: ReadonlyArray<EntryRow>
  readonly cost: number
}

/** What a row takes beside its text, in characters. */
const overhead = 250

const costOf = ({ entry }: EntryRow): number => {
  if (entry.kind === "opaque") return overhead * 10
  const calls = entry.kind === "assistant" ? (entry.calls ?? []) : []
  return overhead + entry.text.length + calls.reduce((sum, call) => sum + call.arguments.length + 100, 0)
}

export class HistoryCache {
  readonly #maxCost: number
  readonly #maxRows: number
  // In order of last use, longest unused first.
  #kept = new Map<SessionKey, Kept>()
  #cost = 0

  /** `maxChars` bounds the characters of all texts kept, bookkeeping included; `maxRows` the rows of one session. */
  constructor(maxChars: number, maxRows: number) {
    this.#maxCost = maxChars
    this.#maxRows = maxRows
  }

  /** Order of the newest row kept; 0 when nothing is. */
  lastOrder(key: SessionKey): number {
    return this.#kept.get(key)?.rows.at(-1)?.order ?? 0
  }

  /** What is kept, oldest first, when it ends with an entry of this run. */
  endingWith(key: SessionKey, run: RunId): ReadonlyArray<EntryRow> | undefined {
    const rows = this.#kept.get(key)?.rows
    return rows?.at(-1)?.runId === run ? rows : undefined
  }

  /** Put what was written behind what is kept, when it is what comes next in the order; else the next read finds it. */
  append(key: SessionKey, wrote: ReadonlyArray<EntryRow>): void {
    const order = wrote[0]?.order ?? Infinity
    // No order is given twice: a session of this name was removed, and began anew.
    if (order <= this.lastOrder(key)) this.forget(key)
    if (order === this.lastOrder(key) + 1) this.extend(key, wrote)
  }

  /** Put `fresh` behind what is kept, keep the newest, and give them, oldest first. */
  extend(key: SessionKey, fresh: ReadonlyArray<EntryRow>): ReadonlyArray<EntryRow> {
    const kept = this.#kept.get(key)
    this.forget(key)
    const all = kept === undefined ? fresh : [...kept.rows, ...fresh]
    const gone = Math.max(0, all.length - this.#maxRows)
    const rows = gone === 0 ? all : all.slice(gone)
    let cost = kept?.cost ?? 0
    for (const row of fresh) cost += costOf(row)
    for (let index = 0; index < gone; index++) cost -= costOf(all[index]!)
    if (cost > this.#maxCost) return rows
    this.#kept.set(key, { rows, cost })
    this.#cost += cost
    for (const [oldest, one] of this.#kept) {
      if (this.#cost <= this.#maxCost) break
      this.#kept.delete(oldest)
      this.#cost -= one.cost
    }
    return rows
  }

  /** For when sessions were removed and nobody says which. */
  forgetAll(): void {
    this.#kept = new Map()
    this.#cost = 0
  }

  forget(key: SessionKey): void {
    const kept = this.#kept.get(key)
    if (kept === undefined) return
    this.#kept.delete(key)
    this.#cost -= kept.cost
  }
}
