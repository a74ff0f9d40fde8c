/** What the Gemini API demands of a request, as far as a conversation can break it. */

type Part = Readonly<Record<string, unknown>>
interface Content {
  readonly role: string
  readonly parts: ReadonlyArray<Part>
}
export interface Body {
  readonly systemInstruction?: { readonly parts: ReadonlyArray<Part> }
  readonly tools?: ReadonlyArray<{ readonly functionDeclarations: ReadonlyArray<Part> }>
  readonly toolConfig?: unknown
  readonly generationConfig?: Part
  readonly contents: ReadonlyArray<Content>
}

const asPart = (value: unknown): Part => (typeof value === "object" && value !== null ? (value as Part) : {})

/** Every rule that is broken: none for a request that would be taken. */
export const broken = (body: Body, signs = true): ReadonlyArray<string> => {
  const { contents, systemInstruction, tools = [], toolConfig } = body
  const wrong: Array<string> = []
  const declared = tools.flatMap(({ functionDeclarations }) => functionDeclarations)
  const parts = contents.flatMap((content) => content.parts)

  if (contents[0]?.role !== "user") wrong.push("does not begin with a user")
  if (systemInstruction?.parts.length === 0) wrong.push("a system instruction without parts")
  for (const [position, { role, parts }] of contents.entries()) {
    if (role !== "user" && role !== "model") wrong.push(`a role ${role}`)
    if (role === contents[position - 1]?.role) wrong.push(`two ${role} turns in a row`)
    if (parts.length === 0) wrong.push("a turn without parts")
    const keys = (key: string, of: ReadonlyArray<Part> = parts) =>
      of.flatMap((part) => (part[key] === undefined ? [] : [asPart(part[key])]))
    const named = (all: ReadonlyArray<Part>) => String(all.map(({ id, name }) => [id, name]))
    const asked = keys("functionCall", contents[position - 1]?.parts ?? [])
    if (role === "user" && named(asked) !== named(keys("functionResponse"))) {
      wrong.push("calls and results do not match")
    }
    if (role === "model" && keys("functionResponse").length > 0) wrong.push("a result said by the model")
    if (role === "user" && keys("functionCall").length > 0) wrong.push("a call said by a person")
    const first = parts.find((part) => part["functionCall"] !== undefined)
    if (signs && first !== undefined && typeof first["thoughtSignature"] !== "string") {
      wrong.push("a call without a signature")
    }
  }
  for (const part of [...(systemInstruction?.parts ?? []), ...parts]) {
    const kinds = ["text", "inlineData", "functionCall", "functionResponse"].filter(
      (key) => part[key] !== undefined
    )
    if (kinds.length !== 1) wrong.push("a part without one kind")
    if (part["text"] === "" && part["thoughtSignature"] === undefined) wrong.push("an empty text")
  }
  const calls = parts.flatMap((part) =>
    part["functionCall"] === undefined ? [] : [asPart(part["functionCall"])]
  )
  for (const { args } of calls) {
    if (typeof args !== "object" || args === null || Array.isArray(args))
      wrong.push("arguments that are no object")
  }
  for (const { name } of [...declared, ...calls]) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_.-]{0,63}$/.test(String(name))) wrong.push("a name with odd characters")
  }
  if (new Set(declared.map(({ name }) => name)).size < declared.length) wrong.push("a tool twice")
  if (calls.length > 0 && declared.length === 0) wrong.push("calls without tools")
  if (toolConfig !== undefined && declared.length === 0) wrong.push("a tool configuration without tools")
  return wrong
}
