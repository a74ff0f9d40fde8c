/**
 * A conversation as it was, beside what another model or system text would have said to each of its turns.
 *
 * Pure. Every turn is asked with the history as it really was, so that one other answer does not lead all later ones astray.
 * Does not own: asking (`layers/whatIf`).
 */
import { leftOut } from "#src/domain/Image.ts"
import type { PromptMessage } from "#src/model/Model.ts"
import type * as Api from "../apiSchemas.ts"
import { plain } from "./render.ts"

type Message = typeof Api.TranscriptMessage.Type

export interface Turn {
  /** All that was said before, oldest first. */
  readonly before: ReadonlyArray<PromptMessage>
  readonly asked: string
  /** What it was answered with. */
  readonly was: string
}

export interface Answer {
  readonly text: string
  readonly ms: number
  readonly tokens?: { readonly input: number; readonly output: number }
  /** Why there is none, or no whole one. */
  readonly failure?: string
}

const said = ({ content, images }: Message): string =>
  images === undefined ? content : leftOut(content, images.length)

/** Each whole answer with what people had written for it; the gateway's own words and cut answers are no answers. */
export const turnsOf = (messages: ReadonlyArray<Message>): ReadonlyArray<Turn> => {
  const turns: Array<Turn> = []
  const before: Array<PromptMessage> = []
  let asked: Array<string> = []
  for (const message of messages) {
    if (message.role === "user") asked.push(said(message))
    if (message.role !== "assistant" || message.partial !== undefined || asked.length === 0) continue
    turns.push({ before: [...before], asked: asked.join("\n\n"), was: message.content })
    for (const text of asked) before.push({ role: "user", text })
    before.push({ role: "assistant", text: message.content })
    asked = []
  }
  return turns
}

/** What is asked anew. */
export const promptOf = (system: string, { before, asked }: Turn): ReadonlyArray<PromptMessage> => [
  { role: "system", text: system },
  ...before,
  { role: "user", text: asked }
]

/** Lines of at most `width` columns, broken between words where there are any. */
export const wrap = (text: string, width: number): ReadonlyArray<string> =>
  plain(text)
    .trimEnd()
    .split("\n")
    .flatMap((line) => {
      const lines: Array<string> = []
      let rest = Array.from(line.replaceAll("\t", "  "))
      while (rest.length > width) {
        const space = rest.slice(0, width + 1).lastIndexOf(" ")
        const at = space > 0 ? space : width
        lines.push(rest.slice(0, at).join(""))
        rest = rest.slice(space > 0 ? at + 1 : at)
      }
      lines.push(rest.join(""))
      return lines
    })

const narrowest = 60

const beside = (left: ReadonlyArray<string>, right: ReadonlyArray<string>, column: number): string =>
  Array.from({ length: Math.max(left.length, right.length) }, (_, at) => {
    const text = left[at] ?? ""
    const gap = " ".repeat(column - Array.from(text).length)
    return `${text}${gap} | ${right[at] ?? ""}`.trimEnd()
  }).join("\n")

const figures = ({ ms, tokens, failure }: Answer): ReadonlyArray<string> => [
  ...(failure === undefined ? [] : [`(${failure})`]),
  `(${tokens === undefined ? "" : `${tokens.input} tokens in, ${tokens.output} out, `}${Math.round(ms)} ms)`
]

/** One turn for a terminal of so many columns: the two answers beside each other, or below where there is no room. */
export const shown = (
  turn: Pick<Turn, "asked" | "was">,
  now: Answer,
  names: { readonly was: string; readonly now: string },
  columns: number
): string => {
  const question = wrap(turn.asked, Math.max(20, columns - 2)).map((line) => `> ${line}`)
  const isNarrow = columns < narrowest
  const column = isNarrow ? Math.max(20, columns) : Math.floor((columns - 3) / 2)
  const left = [`[${names.was}]`, ...wrap(turn.was, column)]
  const right = [`[${names.now}]`, ...wrap(now.text, column), ...figures(now)].flatMap((line) =>
    wrap(line, column)
  )
  const answers = isNarrow
    ? [...left, "", ...right].join("\n")
    : beside(
        left.flatMap((line) => wrap(line, column)),
        right,
        column
      )
  return `${question.join("\n")}\n\n${answers}\n`
}
