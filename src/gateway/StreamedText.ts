/**
 * Streamed text that cannot be taken back: what of the provisional deltas may be sent, so that the whole is the answer.
 *
 * Pure. A repeat (a new attempt, an overlap) is skipped as far as it equals what was sent; a gap is left to the final text;
 * a contradiction ends the stream, because the client already has the wrong words.
 */
export type Piece =
  | { readonly _tag: "Send"; readonly text: string }
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Contradiction" }

const nothing: Piece = { _tag: "Nothing" }
const contradiction: Piece = { _tag: "Contradiction" }

export class StreamedText {
  /** What was sent of the current step's text. */
  #sent = ""
  #anything = false
  #stepEnded = false

  /** The step's text is complete; what follows is another text. */
  endStep(): void {
    this.#stepEnded = true
  }

  delta(offset: number, text: string): Piece {
    this.#beginStep()
    if (offset > this.#sent.length) return nothing
    return this.#append(offset, text)
  }

  /** The final text is the truth: what is missing of it. */
  final(text: string): Piece {
    this.#beginStep()
    return text.length < this.#sent.length ? contradiction : this.#append(0, text)
  }

  #beginStep(): void {
    if (!this.#stepEnded) return
    this.#stepEnded = false
    this.#sent = ""
  }

  #append(offset: number, text: string): Piece {
    const known = this.#sent.length - offset
    if (known > 0 && !this.#sent.startsWith(text.slice(0, known), offset)) return contradiction
    const rest = known > 0 ? text.slice(known) : text
    if (rest === "") return nothing
    // A step's words and the answer after its tools are two paragraphs.
    const separator = this.#sent === "" && this.#anything ? "\n\n" : ""
    this.#sent += rest
    this.#anything = true
    return { _tag: "Send", text: separator + rest }
  }
}
