/** Events of the Responses API, as a provider would send them. */

const event = (type: string, more: object = {}): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`

export const piece = (output_index: number, delta: string): string =>
  event("response.output_text.delta", {
    output_index,
    item_id: `msg_${output_index}`,
    content_index: 0,
    delta
  })

export const text = (output_index: number, ...pieces: ReadonlyArray<string>): string =>
  event("response.output_item.added", {
    output_index,
    item: { id: `msg_${output_index}`, type: "message", role: "assistant", content: [] }
  }) + pieces.map((delta) => piece(output_index, delta)).join("")

/** An item that is told once, whole. */
export const item = (output_index: number, said: object): string =>
  event("response.output_item.done", { output_index, item: said })

export const completed = (usage: unknown = { input_tokens: 7, output_tokens: 3 }): string =>
  event("response.completed", { response: { object: "response", status: "completed", error: null, usage } })
