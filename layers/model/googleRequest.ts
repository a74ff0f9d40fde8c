/**
 * A model request as the body of a call of the Gemini API.
 *
 * Owns: the wire's words and their order, and what this API demands of a conversation. The conversation comes last, and equal
 * messages give equal text, so from turn to turn the body's beginning stays byte for byte the same: the provider keeps a prompt's
 * beginning by itself.
 *
 * What this API has no word for is left out: a `seed` beyond 32 bits, and GIF images, of which the model is told in words.
 */
import type { ModelParams, Thinking } from "#src/domain/Inbound.ts"
import { type Image, leftOut } from "#src/domain/Image.ts"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import type { ToolNames } from "#src/model/toolNames.ts"
import { GoogleStep, type StepPart } from "./GoogleStep.ts"
import { objectText } from "./json.ts"

export const encodeRequest = (model: string, request: ModelRequest, names: ToolNames): string => {
  const systems = request.messages.filter(({ role, text }) => role === "system" && !isBlank(text))
  const tools = toolTexts(request, names)
  const config = JSON.stringify(generationConfig(model, request.params))
  const fields = [
    ...(systems.length === 0 ? [] : [`"systemInstruction":{"parts":[${systems.map(textPart).join(",")}]}`]),
    ...(tools.length === 0 ? [] : [`"tools":[{"functionDeclarations":[${tools.join(",")}]}]`]),
    ...(tools.length > 0 && request.tools.length === 0
      ? ['"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}']
      : []),
    ...(config === "{}" ? [] : [`"generationConfig":${config}`]),
    `"contents":[${turnsOf(model, request.messages, names).map(turnText).join(",")}]`
  ]
  return `{${fields.join(",")}}`
}

const generationConfig = (model: string, params: ModelParams) => {
  const format = params.responseFormat
  return {
    temperature: params.temperature,
    topP: params.topP,
    maxOutputTokens: params.maxOutputTokens,
    stopSequences: params.stop === undefined || params.stop.length === 0 ? undefined : params.stop,
    // Models that know no penalties refuse even the one that changes nothing.
    presencePenalty: params.presencePenalty === 0 ? undefined : params.presencePenalty,
    frequencyPenalty: params.frequencyPenalty === 0 ? undefined : params.frequencyPenalty,
    seed: params.seed === undefined || (params.seed | 0) !== params.seed ? undefined : params.seed,
    thinkingConfig: params.thinking === undefined ? undefined : thinkingConfig(model, params.thinking),
    responseMimeType: format === undefined ? undefined : "application/json",
    responseJsonSchema: format?.type === "json_schema" ? format.schema : undefined
  }
}

/** Tokens for thoughts, for the one generation that is told a budget. */
const budgets = { low: 2048, medium: 8192, high: 24_576 } as const

const wantsBudget = /gemini-2\.5/
/** From the third generation on, and for names that follow the newest: a level instead, and signed calls. */
const isLevelled = /gemini-(?![12](?:[.-]|$))/
/** The only ones that can think next to nothing; all others think a little at least. */
const knowsMinimal = /gemini-3(?:\.[0-6])?-flash|gemini-[\d.]*-?flash-lite/

const thinkingConfig = (model: string, level: Thinking) => {
  if (wantsBudget.test(model)) {
    const least = model.includes("2.5-pro") ? 128 : 0
    return { thinkingBudget: level === "off" ? least : budgets[level] }
  }
  if (level !== "off") return { thinkingLevel: level }
  if (!isLevelled.test(model)) return undefined
  return { thinkingLevel: knowsMinimal.test(model) ? "minimal" : "low" }
}

const isBlank = (text: string): boolean => text.trim() === ""

/** Past calls in a request that offers no tools would look like tools: those are then named, and may not be called. */
const toolTexts = ({ tools, messages }: ModelRequest, names: ToolNames): ReadonlyArray<string> => {
  if (tools.length > 0) {
    return tools.map(({ name, description, parameters }) =>
      JSON.stringify({
        name: names.toWire(name),
        description: isBlank(description) ? undefined : description,
        parametersJsonSchema: { type: "object", ...parameters }
      })
    )
  }
  const called = messages.flatMap((message) =>
    message.role === "assistant" ? (message.calls ?? []).map(({ name }) => names.toWire(name)) : []
  )
  return [...new Set(called)].map((name) => JSON.stringify({ name }))
}

/** Messages of one role that follow each other: one turn. */
interface Turn {
  readonly role: "user" | "model"
  readonly parts: Array<string>
}

const turnText = ({ role, parts }: Turn): string => `{"role":"${role}","parts":[${parts.join(",")}]}`

const turnsOf = (
  model: string,
  messages: ReadonlyArray<PromptMessage>,
  names: ToolNames
): ReadonlyArray<Turn> => {
  const turns: Array<Turn> = []
  const turnOf = (role: Turn["role"]): Turn => {
    const last = turns.at(-1)
    if (last?.role === role) return last
    const turn: Turn = { role, parts: [] }
    turns.push(turn)
    return turn
  }

  for (const message of messages) {
    switch (message.role) {
      case "system":
        break
      case "user":
        turnOf("user").parts.push(...userParts(message, message.images ?? []))
        break
      case "tool":
        turnOf("user").parts.push(resultPart(message, names))
        break
      case "assistant": {
        const parts = stepParts(model, message, names)
        if (parts.length === 0) break
        // A conversation has to begin with a person.
        if (turns.length === 0) turnOf("user").parts.push(beginning)
        turnOf("model").parts.push(...parts)
      }
    }
  }
  return turns
}

const beginning = '{"text":"(The conversation began before this.)"}'

/** A session's messages are the same objects from turn to turn; most of a long prompt is encoded already. */
const encoded = new WeakMap<PromptMessage, string>()

const textPart = (message: PromptMessage): string => {
  let part = encoded.get(message)
  if (part === undefined) {
    const text = message.role === "user" && isBlank(message.text) ? "(no text)" : message.text
    encoded.set(message, (part = JSON.stringify({ text })))
  }
  return part
}

/** Images before the text that asks about them. */
const userParts = (message: PromptMessage, images: ReadonlyArray<Image>): ReadonlyArray<string> => {
  const readable = images.filter(({ mediaType }) => mediaType !== "image/gif")
  const shown = readable.map(({ mediaType, data }) =>
    JSON.stringify({ inlineData: { mimeType: mediaType, data } })
  )
  if (readable.length < images.length) {
    const text = leftOut(message.text, images.length - readable.length)
    return [...shown, JSON.stringify({ text })]
  }
  return shown.length > 0 && isBlank(message.text) ? shown : [...shown, textPart(message)]
}

type Result = Extract<PromptMessage, { readonly role: "tool" }>

const resultPart = ({ callId, name, text }: Result, names: ToolNames): string =>
  JSON.stringify({ functionResponse: { id: callId, name: names.toWire(name), response: { output: text } } })

type Step = Extract<PromptMessage, { readonly role: "assistant" }>

/**
 * Stands for a signature that is not there any more, as the API's documentation words it: after a restart, in later runs, and for
 * what another model did, a step's calls have none, and a model that signs its calls refuses them bare.
 */
const unsigned = "skip_thought_signature_validator"

const stepParts = (model: string, message: Step, names: ToolNames): ReadonlyArray<string> => {
  const { text, calls = [], continuation } = message
  const isGiven = continuation instanceof GoogleStep && continuation.describes(model, text, calls)
  if (!isGiven && calls.length === 0) return isBlank(text) ? [] : [textPart(message)]
  const plain: ReadonlyArray<StepPart> = [
    ...(isBlank(text) ? [] : [{ type: "text", text } as const]),
    ...calls.map(({ id }) => ({ type: "call", id }) as const)
  ]
  const parts = isGiven ? continuation.parts : plain
  const isBare =
    isLevelled.test(model) && !parts.some(({ type, signature }) => type === "call" && signature !== undefined)
  let next = 0
  return parts.flatMap((part) => {
    const { signature } = part
    switch (part.type) {
      case "text":
        return part.text === "" && signature === undefined
          ? []
          : [JSON.stringify({ text: part.text, thoughtSignature: signature })]
      case "thought":
        return [JSON.stringify({ text: part.text, thought: true, thoughtSignature: signature })]
      case "call":
        return calls.slice(next, ++next).map((call) => {
          const head = JSON.stringify({ id: call.id, name: names.toWire(call.name) })
          const whole = `"functionCall":${head.slice(0, -1)},"args":${objectText(call.arguments)}}`
          // Of calls side by side only the first is signed.
          const signed = signature ?? (isBare && next === 1 ? unsigned : undefined)
          return signed === undefined
            ? `{${whole}}`
            : `{${whole},"thoughtSignature":${JSON.stringify(signed)}}`
        })
    }
  })
}
