/** What the Messages API demands of a request, as far as a conversation can break it. */

type Block = Readonly<Record<string, unknown>>
interface Message {
  readonly role: string
  readonly content: ReadonlyArray<Block>
}
export interface Body {
  readonly model: string
  readonly stream: boolean
  readonly max_tokens: number
  readonly system?: ReadonlyArray<Block>
  readonly tools?: ReadonlyArray<Block>
  readonly tool_choice?: unknown
  readonly messages: ReadonlyArray<Message>
}

/** Every rule that is broken: none for a request that would be taken. */
export const broken = (body: Body): ReadonlyArray<string> => {
  const { messages, system = [], tools = [] } = body
  const wrong: Array<string> = []
  const blocks = messages.flatMap(({ content }) => content)
  const all = [...system, ...tools, ...blocks]

  if (!(body.max_tokens > 0)) wrong.push("no max_tokens")
  if (messages[0]?.role !== "user") wrong.push("does not begin with a user")
  for (const [position, { role, content }] of messages.entries()) {
    if (role === messages[position - 1]?.role) wrong.push(`two ${role} messages in a row`)
    if (content.length === 0) wrong.push("a message without content")
    const asked = (messages[position - 1]?.content ?? []).flatMap((block) =>
      block["type"] === "tool_use" ? [block["id"]] : []
    )
    const results = content.flatMap((block) =>
      block["type"] === "tool_result" ? [block["tool_use_id"]] : []
    )
    if (String(asked.toSorted()) !== String(results.toSorted())) wrong.push("calls and results do not match")
    const firstOther = content.findIndex((block) => block["type"] !== "tool_result")
    if (firstOther >= 0 && firstOther < results.length) wrong.push("a result after a text")
  }
  for (const block of [...system, ...blocks]) {
    if (block["type"] === "text" && String(block["text"]).trim() === "") wrong.push("a blank text")
  }
  const ids = blocks.flatMap((block) => (block["type"] === "tool_use" ? [String(block["id"])] : []))
  if (new Set(ids).size < ids.length) wrong.push("an id twice")
  if (!ids.every((id) => /^[a-zA-Z0-9_-]+$/.test(id))) wrong.push("an id with odd characters")
  if (ids.length > 0 && tools.length === 0) wrong.push("calls without tools")
  for (const { name } of [...tools, ...blocks.filter(({ type }) => type === "tool_use")]) {
    if (!/^[a-zA-Z0-9_-]{1,64}$/.test(String(name))) wrong.push("a name with odd characters")
  }
  for (const block of blocks) {
    const { type, input } = block
    if (type === "tool_use" && (typeof input !== "object" || input === null || Array.isArray(input))) {
      wrong.push("arguments that are no object")
    }
  }
  if (all.filter((block) => block["cache_control"] !== undefined).length > 4)
    wrong.push("more than 4 cache marks")
  return wrong
}
