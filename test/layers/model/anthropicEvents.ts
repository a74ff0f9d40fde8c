/** Events of the Messages API, as a provider would send them. */

export const event = (type: string, more: object = {}): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`

export const begin = (usage: unknown = { input_tokens: 7, output_tokens: 1 }): string =>
  event("message_start", {
    message: { id: "msg_1", type: "message", role: "assistant", model: "m", content: [], usage }
  })

export const open = (index: number, block: object): string =>
  event("content_block_start", { index, content_block: block })
export const piece = (index: number, delta: object): string => event("content_block_delta", { index, delta })
export const close = (index: number): string => event("content_block_stop", { index })

export const text = (index: number, ...pieces: ReadonlyArray<string>): string =>
  open(index, { type: "text", text: "" }) +
  pieces.map((text) => piece(index, { type: "text_delta", text })).join("") +
  close(index)

export const call = (index: number, id: string, name: string, ...pieces: ReadonlyArray<string>): string =>
  open(index, { type: "tool_use", id, name, input: {} }) +
  pieces.map((partial_json) => piece(index, { type: "input_json_delta", partial_json })).join("") +
  close(index)

export const thought = (index: number, signature: string, ...pieces: ReadonlyArray<string>): string =>
  open(index, { type: "thinking", thinking: "", signature: "" }) +
  pieces.map((thinking) => piece(index, { type: "thinking_delta", thinking })).join("") +
  piece(index, { type: "signature_delta", signature }) +
  close(index)

export const stop = (reason = "end_turn", usage: unknown = { output_tokens: 3 }): string =>
  event("message_delta", { delta: { stop_reason: reason, stop_sequence: null }, usage })

export const done = event("message_stop")
