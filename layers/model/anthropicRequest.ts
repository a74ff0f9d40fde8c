/**
 * A model request as the body of a call of the Messages API.
 *
 * Owns: the wire's words and their order, what this API demands of a conversation, and where its prompt cache is marked. Equal
 * messages give equal text, so from turn to turn the body's beginning stays byte for byte the same, the cache marks aside:
 * they move on with the conversation and count for nothing in what the provider compares.
 *
 * What this API has no word for is left out: `seed` and the presence and frequency penalties. So are `temperature` and `top_p`
 * beside thinking, which refuses them.
 */
import { createHash } from "node:crypto"
import type { ToolCall } from "#src/domain/Tool.ts"
import type { Image } from "#src/domain/Image.ts"
import type { Thinking } from "#src/domain/Inbound.ts"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import type { ToolNames } from "#src/model/toolNames.ts"
import { AnthropicStep } from "./AnthropicStep.ts"
import { objectText } from "./json.ts"

/** The API wants to be told a limit. This one every current model accepts; `params.maxOutputTokens` overrides it. */
export const defaultMaxTokens = 8192

export const encodeRequest = (model: string, request: ModelRequest, names: ToolNames): string => {
  const { params } = request
  const systems: Array<string> = []
  const tools = toolBlocks(request, names)
  // Tools come before the system text in what is cached, so one mark covers both.
  const leading = request.messages.findIndex(({ role }) => role !== "system")
  for (const [position, message] of request.messages.entries()) {
    if (position === leading) markLast(systems)
    if (message.role === "system" && !isBlank(message.text)) systems.push(textBlock(message))
  }
  if (systems.length === 0) markLast(tools)
  const thinking = thinkingOf(model, request)
  const isThinking = thinking.budget > 0
  const format = params.responseFormat
  const output = {
    ...thinking.output,
    ...(format?.type === "json_schema" ? { format: { type: format.type, schema: format.schema } } : {})
  }
  const head = JSON.stringify({
    model,
    stream: true,
    max_tokens: (params.maxOutputTokens ?? defaultMaxTokens) + thinking.budget,
    temperature: isThinking ? undefined : params.temperature,
    top_p: isThinking ? undefined : params.topP,
    thinking: thinking.word,
    output_config: Object.keys(output).length === 0 ? undefined : output,
    stop_sequences: params.stop === undefined || params.stop.length === 0 ? undefined : params.stop,
    tool_choice: request.tools.length === 0 && tools.length > 0 ? { type: "none" } : undefined
  })
  const lists = [
    ...(tools.length === 0 ? [] : [`"tools":[${tools.join(",")}]`]),
    ...(systems.length === 0 ? [] : [`"system":[${systems.join(",")}]`]),
    `"messages":[${turnsOf(model, request.messages, names).map(turnText).join(",")}]`
  ]
  return `${head.slice(0, -1)},${lists.join(",")}}`
}

/** Tokens for thoughts, which count towards the output limit: that stays what was asked for. */
const budgets = { low: 2048, medium: 8192, high: 24_576 } as const

/** These are told a budget; what came later settles for itself how long it thinks, and is told how hard. */
const wantsBudget = /claude-(?:3|(?:opus|sonnet|haiku)-4(?:[.-][0-5])?(?:$|[^\d.-]|-(?:\d{8}|latest)))/

interface ThinkingWords {
  readonly word?: Readonly<Record<string, unknown>>
  readonly output?: Readonly<Record<string, unknown>>
  readonly budget: number
}

const thinkingOf = (model: string, request: ModelRequest): ThinkingWords => {
  const level: Thinking | undefined = request.params.thinking
  // Nobody thinks here who is not told to.
  if (level === undefined || level === "off" || !mayThink(model, request)) return { budget: 0 }
  const budget = budgets[level]
  return wantsBudget.test(model)
    ? { word: { type: "enabled", budget_tokens: budget }, budget }
    : { word: { type: "adaptive" }, output: { effort: level }, budget }
}

/**
 * Whoever thinks has to be shown the thoughts of the steps since a person last wrote. After a restart, or a change of model, they
 * are gone: then this run goes on without thinking.
 */
const mayThink = (model: string, { messages }: ModelRequest): boolean =>
  messages
    .slice(messages.findLastIndex(({ role }) => role === "user") + 1)
    .every(
      (message) =>
        message.role !== "assistant" ||
        message.calls === undefined ||
        (message.continuation instanceof AnthropicStep &&
          message.continuation.describes(model, message.text, message.calls))
    )

const isBlank = (text: string): boolean => text.trim() === ""

const mark = ',"cache_control":{"type":"ephemeral"}}'

const markLast = (blocks: Array<string>): void => {
  const last = blocks.pop()
  if (last !== undefined) blocks.push(last.slice(0, -1) + mark)
}

/** The API refuses past calls in a request that offers no tools, so those are then named, and may not be called. */
const toolBlocks = ({ tools, messages }: ModelRequest, names: ToolNames): Array<string> => {
  if (tools.length > 0) {
    return tools.map(({ name, description, parameters }) =>
      JSON.stringify({
        name: names.toWire(name),
        description: isBlank(description) ? undefined : description,
        input_schema: { type: "object", ...parameters }
      })
    )
  }
  const called = messages.flatMap((message) =>
    message.role === "assistant" ? (message.calls ?? []).map(({ name }) => names.toWire(name)) : []
  )
  return [...new Set(called)].map((name) => JSON.stringify({ name, input_schema: { type: "object" } }))
}

/** Messages of one role that follow each other, as the API wants them: one message. */
interface Turn {
  readonly role: "user" | "assistant"
  /** Results of calls, which must stand before any text. */
  readonly results: Array<string>
  readonly blocks: Array<string>
}

const turnText = ({ role, results, blocks }: Turn): string =>
  `{"role":"${role}","content":[${[...results, ...blocks].join(",")}]}`

const turnsOf = (
  model: string,
  messages: ReadonlyArray<PromptMessage>,
  names: ToolNames
): ReadonlyArray<Turn> => {
  const turns: Array<Turn> = []
  const ids = new CallIds()
  const turnOf = (role: Turn["role"]): Turn => {
    const last = turns.at(-1)
    if (last?.role === role) return last
    const turn: Turn = { role, results: [], blocks: [] }
    turns.push(turn)
    return turn
  }

  for (const message of messages) {
    switch (message.role) {
      case "system":
        break
      case "user":
        turnOf("user").blocks.push(...userBlocks(message, message.images ?? []))
        break
      case "tool":
        turnOf("user").results.push(resultBlock(ids.of(message.callId), message.text))
        break
      case "assistant": {
        const blocks = stepBlocks(model, message, names, ids)
        if (blocks.length === 0) break
        // A conversation has to begin with a person.
        if (turns.length === 0) turnOf("user").blocks.push(beginning)
        turnOf("assistant").blocks.push(...blocks)
      }
    }
  }
  markTurns(turns)
  return turns
}

const beginning = '{"type":"text","text":"(The conversation began before this.)"}'

/**
 * The end of this prompt, which the next one begins with, and the end of the one before: the provider looks back from a mark
 * over no more than twenty blocks, and a step of many calls is longer.
 */
const markTurns = (turns: ReadonlyArray<Turn>): void => {
  const asking = turns.filter(({ role }) => role === "user").slice(-2)
  for (const { results, blocks } of asking) markLast(blocks.length > 0 ? blocks : results)
}

/** A session's messages are the same objects from turn to turn; most of a long prompt is encoded already. */
const encoded = new WeakMap<PromptMessage, string>()

const textBlock = (message: PromptMessage): string => {
  let block = encoded.get(message)
  if (block === undefined) {
    // The API refuses a text without a visible character.
    const text = message.role === "user" && isBlank(message.text) ? "(no text)" : message.text
    encoded.set(message, (block = JSON.stringify({ type: "text", text })))
  }
  return block
}

/** Images before the text that asks about them. */
const userBlocks = (message: PromptMessage, images: ReadonlyArray<Image>): ReadonlyArray<string> => {
  const shown = images.map(({ mediaType, data }) =>
    JSON.stringify({ type: "image", source: { type: "base64", media_type: mediaType, data } })
  )
  return shown.length > 0 && isBlank(message.text) ? shown : [...shown, textBlock(message)]
}

const resultBlock = (id: string, text: string): string =>
  JSON.stringify({ type: "tool_result", tool_use_id: id, content: isBlank(text) ? undefined : text })

type Step = Extract<PromptMessage, { readonly role: "assistant" }>

const stepBlocks = (model: string, message: Step, names: ToolNames, ids: CallIds): ReadonlyArray<string> => {
  const calls = message.calls ?? []
  const callBlock = (call: ToolCall) => {
    const head = JSON.stringify({ type: "tool_use", id: ids.add(call.id), name: names.toWire(call.name) })
    return `${head.slice(0, -1)},"input":${objectText(call.arguments)}}`
  }
  const { continuation } = message
  if (continuation instanceof AnthropicStep && continuation.describes(model, message.text, calls)) {
    let next = 0
    return continuation.parts.flatMap((part) => {
      if (part.type === "call") return calls.slice(next, ++next).map(callBlock)
      return part.type === "text" && isBlank(part.text) ? [] : [JSON.stringify(part)]
    })
  }
  return [...(isBlank(message.text) ? [] : [textBlock(message)]), ...calls.map(callBlock)]
}

const acceptedId = /^[a-zA-Z0-9_-]{1,64}$/

/**
 * Ids of calls as the API accepts them, which wants each once in a conversation; other providers write others, and again. An
 * id's spelling depends on what stands before it alone.
 */
class CallIds {
  readonly #used = new Set<string>()
  /** Of the latest step that used the id: a result belongs to that one. */
  readonly #latest = new Map<string, string>()

  add(id: string): string {
    const preferred = wireId(id)
    let wire = preferred
    for (let n = 2; this.#used.has(wire); n++) wire = `${preferred.slice(0, 56)}_${n}`
    this.#used.add(wire)
    this.#latest.set(id, wire)
    return wire
  }

  of(id: string): string {
    return this.#latest.get(id) ?? wireId(id)
  }
}

const wireId = (id: string): string =>
  acceptedId.test(id) ? id : `call_${createHash("sha256").update(id).digest("hex").slice(0, 24)}`
