/**
 * The figures of one run: told as they come, then as a table on stderr and as one JSON line on stdout.
 *
 * Owns: what a row holds, how it is judged and shown. A missed target is a result, a failed request is not.
 */
import { noisyCores } from "./Machine.ts"
import { round } from "./numbers.ts"
import { coveredByTests, type RowId, type Target, targets } from "./targets.ts"

export interface Figure {
  readonly value: number
  /** Cores that were busy with other people's work. */
  readonly foreignCores: number
  /** The load generator straight against the provider, in the same rounds. */
  readonly floor?: number
  /** Median over the rounds of ours divided by the floor. */
  readonly ratio?: number
  /** Each round's figure, where there were several. */
  readonly rounds?: ReadonlyArray<number>
  /** What a reader must know to compare: another size than the row's name says, for one. */
  readonly note?: string
  readonly details?: Readonly<Record<string, number>>
}

export type Verdict = "aim" | "must" | "missed"

/** Which target a figure reaches. Rates are better when higher, all else when lower. */
export const verdictOf = ({ unit, must, aim }: Target, value: number): Verdict | undefined => {
  const reaches = (limit: number) => (unit === "msg/s" ? value >= limit : value <= limit)
  if (aim !== undefined && reaches(aim)) return "aim"
  if (must === undefined) return undefined
  return reaches(must) ? "must" : "missed"
}

const say = (text: string) => process.stderr.write(`${text}\n`)

const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join("  ")
  )
}

export class Report {
  readonly #figures = new Map<RowId, Figure>()
  readonly #peer = new Map<RowId, { readonly value: number; readonly foreignCores: number }>()
  readonly #failures: Array<string> = []
  readonly #began = performance.now()

  /** Progress, with the seconds since the start. */
  step(text: string): void {
    say(`[${((performance.now() - this.#began) / 1000).toFixed(0).padStart(4)} s] ${text}`)
  }

  add(id: RowId, figure: Figure): void {
    this.#figures.set(id, figure)
    const { what, unit } = targets[id]
    this.step(`${what}: ${round(figure.value)} ${unit}${this.#remark(figure)}`)
  }

  /** The peer's own figure for a row, measured now. */
  addPeer(id: RowId, value: number, foreignCores: number): void {
    this.#peer.set(id, { value, foreignCores })
    const { what, unit } = targets[id]
    this.step(`OpenClaw, ${what}: ${round(value)} ${unit}${this.#remark({ value, foreignCores })}`)
  }

  /** Something did not run, or a request failed: the figures that depend on it are missing. */
  fail(what: string, cause: unknown): void {
    const text = `${what}: ${cause instanceof Error ? cause.message : String(cause)}`
    this.#failures.push(text)
    this.step(`FAILED ${text}`)
  }

  get hasFailed(): boolean {
    return this.#failures.length > 0
  }

  get rate64(): number | undefined {
    return this.#figures.get("rate_64")?.value
  }

  #remark({ note, foreignCores }: Figure): string {
    const noise = foreignCores > noisyCores ? `noisy: ${foreignCores.toFixed(2)} foreign cores` : undefined
    const remarks = [note, noise].filter((one) => one !== undefined)
    return remarks.length === 0 ? "" : `  (${remarks.join("; ")})`
  }

  printTable(): void {
    const shown = (value: number | undefined) => (value === undefined ? "" : String(round(value)))
    const rows = [...this.#figures].map(([id, figure]) => {
      const target: Target = targets[id]
      const fresh = this.#peer.get(id)
      return [
        target.what,
        target.unit,
        shown(figure.value),
        shown(target.must),
        shown(target.aim),
        verdictOf(target, figure.value) ?? "",
        shown(figure.floor),
        figure.ratio === undefined ? "" : `${Number(figure.ratio.toPrecision(2))}x`,
        fresh === undefined ? (target.openclaw ?? "") : `${round(fresh.value)} now`,
        target.slice ?? "",
        `${figure.foreignCores.toFixed(2)}${figure.foreignCores > noisyCores ? " noisy" : ""}`
      ]
    })
    const head = "what,unit,measured,must,aim,reached,floor,ratio,OpenClaw,slice,foreign cores".split(",")
    const [first = "", ...rest] = columns([head, ...rows])
    say(`\n${first}\n${"-".repeat(first.length)}\n${rest.join("\n")}`)
    for (const [id, { note }] of this.#figures) if (note !== undefined) say(`  ${targets[id].what}: ${note}`)
    for (const [what, where] of Object.entries(coveredByTests)) say(`elsewhere: ${what} (${where})`)
    for (const failure of this.#failures) say(`FAILED ${failure}`)
  }

  /** Everything, for a program; `about` is what the whole run has in common. */
  toJson(about: Readonly<Record<string, unknown>>): string {
    const rows = Object.fromEntries(
      [...this.#figures].map(([id, { value, foreignCores, floor, ratio, rounds, note, details }]) => [
        id,
        {
          ...targets[id],
          value: round(value),
          reached: verdictOf(targets[id], value),
          floor: floor === undefined ? undefined : round(floor),
          ratio: ratio === undefined ? undefined : round(ratio),
          rounds: rounds?.map(round),
          foreign_cores: Number(foreignCores.toFixed(2)),
          noisy: foreignCores > noisyCores,
          note,
          details:
            details && Object.fromEntries(Object.entries(details).map(([key, one]) => [key, round(one)]))
        }
      ])
    )
    const peer = Object.fromEntries(
      [...this.#peer].map(([id, { value, foreignCores }]) => [
        id,
        { value: round(value), foreign_cores: Number(foreignCores.toFixed(2)) }
      ])
    )
    return JSON.stringify({
      ...about,
      rows,
      ...(this.#peer.size === 0 ? {} : { openclaw_now: peer }),
      covered_by_tests: coveredByTests,
      failures: this.#failures,
      seconds: Math.round((performance.now() - this.#began) / 1000)
    })
  }
}
