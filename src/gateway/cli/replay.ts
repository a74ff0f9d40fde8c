/**
 * What a session's lane decided, as people read it. Pure.
 *
 * Owns: the words of the timeline and of a difference. Does not own: deciding again (`lane/replay`).
 */
import * as DateTime from "effect/DateTime"
import type { JournalRecord, Kept } from "#src/domain/JournalRecord.ts"
import type { Difference, Spell } from "#src/lane/replay.ts"
import { plain } from "./render.ts"

/** The journal of one session, decided again. */
export interface Replayed {
  readonly session: string
  readonly spells: ReadonlyArray<Spell>
}

export interface Verdict {
  readonly decisions: number
  readonly spells: number
  /** Decisions that could not be taken again, since what came before them was not kept. */
  readonly skipped: number
  /** The first of each spell that has one, oldest first. */
  readonly differences: ReadonlyArray<Difference & { readonly session: string }>
}

export const verdictOf = (sessions: ReadonlyArray<Replayed>): Verdict => {
  const spells = sessions.flatMap((one) => one.spells)
  const sizeOf = (some: ReadonlyArray<Spell>) => some.reduce((sum, { records }) => sum + records.length, 0)
  const skipped = sizeOf(spells.filter((spell) => spell.skipped !== undefined))
  return {
    decisions: sizeOf(spells) - skipped,
    spells: spells.length,
    skipped,
    differences: sessions
      .flatMap(({ session, spells: own }) =>
        own.flatMap(({ difference }) => (difference === undefined ? [] : [{ session, ...difference }]))
      )
      .toSorted((a, b) => a.record.at - b.record.at)
  }
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** A message by its id, with what decides about it. */
const messageWords = (row: Readonly<Record<string, unknown>>): string => {
  const queue = isTable(row["queue"]) ? row["queue"] : {}
  const details = [
    `seq ${String(row["seq"])}`,
    ...(typeof queue["mode"] === "string" ? [queue["mode"]] : []),
    `${String(row["access"])} ${String(row["sender"])}`,
    ...(typeof row["run"] === "string" ? [`of ${row["run"]}`] : [])
  ]
  return `${String(row["id"])} (${details.join(", ")})`
}

/** `Start run_1 msg_1 begun`: what names itself stands without its name. */
const unnamed: ReadonlySet<string> = new Set([
  "message",
  "messages",
  "messageIds",
  "run",
  "runId",
  "messageId"
])

const partWords = ([name, value]: readonly [string, unknown]): string => {
  if (value === true) return name
  if (value === false) return `not ${name}`
  return unnamed.has(name) ? valueWords(value) : `${name} ${valueWords(value)}`
}

const valueWords = (value: unknown): string => {
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(valueWords).join(" ")
  if (!isTable(value)) return String(value)
  if (typeof value["id"] === "string" && "seq" in value) return messageWords(value)
  return Object.entries(value).map(partWords).join(" ")
}

const words = ({ _tag, ...carried }: Kept): string =>
  plain([_tag, ...Object.entries(carried).map(partWords)].join(" ")).replaceAll("\n", " ")

const decided = (commands: ReadonlyArray<Kept>, rests: boolean | undefined): string =>
  [...commands.map(words), ...(rests === true ? ["rest"] : [])].join(", then ") || "nothing to do"

const timeOf = (at: number): string => DateTime.formatIso(DateTime.makeUnsafe(at)).replace("T", " ")

const sinceStart = (at: number, began: number) => `+${((at - began) / 1000).toFixed(3)}`.padStart(12)

const line = (record: JournalRecord, began: number): string =>
  `${sinceStart(record.at, began)}  ${words(record.event)}\n${" ".repeat(14)}-> ${decided(record.commands, record.rests)}\n`

const reasons = {
  beginning: "not decided again: what came before was not kept",
  version: "not decided again: another version kept it, in a form that is not known here"
}

const spellText = ({ records, skipped, isWhole }: Spell, upTo?: JournalRecord): string => {
  const began = records[0]?.at ?? 0
  const until = upTo === undefined ? records.length : records.indexOf(upTo) + 1
  const notes = [
    ...(skipped === undefined ? [] : [reasons[skipped]]),
    ...(isWhole || upTo !== undefined ? [] : ["goes on, or what came next was not kept"])
  ]
  const head = `${timeOf(began)}  spell ${plain(records[0]?.spell ?? "")}${notes.map((note) => ` (${note})`).join("")}\n`
  return (
    head +
    records
      .slice(0, until)
      .map((record) => line(record, began))
      .join("")
  )
}

const count = (many: number, one: string) => `${many} ${one}${many === 1 ? "" : "s"}`

const summary = ({ decisions, spells, skipped, differences }: Verdict): string => {
  const otherwise =
    differences.length === 0 ? "all the same today" : `${differences.length} of them otherwise today`
  const left = skipped === 0 ? "" : `; ${count(skipped, "decision")} could not be taken again`
  return `${count(decisions, "decision")} in ${count(spells, "spell")} of work, ${otherwise}${left}.\n`
}

const differenceText = ({ session, record, today }: Difference & { readonly session: string }): string =>
  [
    `First difference: ${plain(session)}, ${timeOf(record.at)}, spell ${plain(record.spell)}, decision ${record.n}`,
    `  event  ${words(record.event)}`,
    `  then   ${decided(record.commands, record.rests)}`,
    `  today  ${"problem" in today ? `cannot be decided: ${plain(today.problem)}` : decided(today.commands, today.rests)}`,
    ""
  ].join("\n")

/** The way to the first difference, or the whole timeline; of each session the newest `last` spells. */
export const shown = (sessions: ReadonlyArray<Replayed>, last?: number): string => {
  const verdict = verdictOf(sessions)
  const [first] = verdict.differences
  if (first !== undefined) {
    const spell = sessions
      .flatMap(({ spells }) => spells)
      .find(({ difference }) => difference?.record === first.record)
    const way = spell === undefined ? "" : spellText(spell, first.record)
    return `${way}\n${differenceText(first)}\n${summary(verdict)}`
  }
  const timelines = sessions.map(({ session, spells }) => {
    const some = last === undefined ? spells : spells.slice(-last)
    return `${plain(session)}\n\n${some.map((spell) => `${spellText(spell)}\n`).join("")}`
  })
  return `${timelines.join("")}${summary(verdict)}`
}
