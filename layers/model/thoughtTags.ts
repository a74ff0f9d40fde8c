/**
 * Takes a model's thoughts out of the beginning of its text: servers without a parser for them leave them there, between tags.
 *
 * Only at the very beginning: a later tag is text. What cannot be told yet is held back, never more than a tag's length.
 */

export interface ThoughtTags {
  readonly push: (piece: string) => void
  /** No more text comes: what was held back is text after all. Thoughts without an end are none. */
  readonly end: () => void
  /** From here on all is text. */
  readonly isPast: () => boolean
}

const opening = "<think>"
const closing = "</think>"

export const make = (onText: (text: string) => void): ThoughtTags => {
  let state: "before" | "inside" | "behind" | "past" = "before"
  let held = ""

  const pass = (text: string) => {
    state = "past"
    held = ""
    onText(text)
  }

  const before = (piece: string) => {
    held += piece
    const said = held.trimStart()
    if (said.startsWith(opening)) {
      state = "inside"
      held = ""
      inside(said.slice(opening.length))
    } else if (!opening.startsWith(said)) pass(held)
  }

  const inside = (piece: string) => {
    held += piece
    const at = held.indexOf(closing)
    if (at < 0) {
      held = held.slice(1 - closing.length)
      return
    }
    const rest = held.slice(at + closing.length)
    state = "behind"
    held = ""
    behind(rest)
  }

  /** The empty lines between thoughts and answer belong to neither. */
  const behind = (piece: string) => {
    const text = piece.trimStart()
    if (text !== "") pass(text)
  }

  return {
    push: (piece) => {
      if (state === "before") before(piece)
      else if (state === "inside") inside(piece)
      else if (state === "behind") behind(piece)
      else onText(piece)
    },
    end: () => {
      if (state === "before" && held !== "") pass(held)
    },
    isPast: () => state === "past"
  }
}
