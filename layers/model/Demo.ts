/**
 * The `demo` kind: answers without a key or a network, so that a fresh installation shows every way a message can take.
 *
 * Owns: what the demo model says, and when it calls a tool.
 * Does not own: anything a real model does. The same prompt always gets the same answer.
 */
import * as Stream from "effect/Stream"
import type { ToolCall } from "#src/domain/Tool.ts"
import type { ModelEvent, ModelRequest, PromptMessage } from "#src/model/Model.ts"
import * as ModelKinds from "#src/model/ModelKinds.ts"

/** Registers `demo`. */
export const layer = ModelKinds.layerRegister("demo", ({ request }) => answer(request))

const notice =
  'I am the built-in demo model, not a real one. For real answers set general.model = "provider/model" in the configuration, and that provider\'s key.'

/** The events of an answer, each its own piece, so that a client sees it stream. */
export const answer = (request: ModelRequest): Stream.Stream<ModelEvent> =>
  Stream.rechunk(Stream.fromIterable(events(request)), 1)

const events = (request: ModelRequest): ReadonlyArray<ModelEvent> => {
  const asked = request.messages.findLastIndex((message) => message.role === "user")
  const text = request.messages[asked]?.text ?? ""
  const since = request.messages.slice(asked + 1)
  const results = since.filter((message) => message.role === "tool")
  if (results.length > 0) return say(fromResults(results))

  const wishes = wishesOf(text)
  const offered = new Set(request.tools.map((tool) => tool.name))
  const calls = wishes
    .filter((wish) => offered.has(wish.tool))
    .map((wish, position): ToolCall => ({
      id: `demo_${request.messages.length}_${position}`,
      name: wish.tool,
      arguments: JSON.stringify(wish.arguments)
    }))
  if (calls.length > 0) {
    return [
      ...pieces(`I will use ${calls.map((call) => call.name).join(" and ")}.`),
      ...calls.map((call): ModelEvent => ({ _tag: "Call", call })),
      { _tag: "End", reason: "calls" }
    ]
  }
  const missing = wishes.map((wish) => wish.tool).join(" and ")
  if (missing !== "") {
    return say(`${notice}\n\nFor that I would use ${missing}, which this agent does not offer.`)
  }
  return say(`${notice}\n\nYou wrote: ${text === "" ? "nothing" : cut(text, 2_000)}`)
}

interface Wish {
  readonly tool: string
  readonly arguments: Readonly<Record<string, string>>
}

/** What the words plainly ask for, in the order of this list. */
const wishesOf = (text: string): ReadonlyArray<Wish> => {
  const wishes: Array<Wish> = []
  if (/\bwhat(?:'s| is)? (?:the )?(?:current )?time\b|\btime is it\b/i.test(text)) {
    const zone = /\bin ([A-Za-z]+\/[A-Za-z_/+-]+)/.exec(text)?.[1]
    wishes.push({ tool: "time.now", arguments: zone === undefined ? {} : { timezone: zone } })
  }
  const list = /\blist (?:all |the |my )*files(?: (?:in|of|under) (\S+))?/i.exec(text)
  if (list !== null) wishes.push({ tool: "fs.list", arguments: { path: bare(list[1]) || "." } })
  const read = /\bread (?:the |my )*(?:file )?("[^"]+"|\S*\.\w+|\S+\/\S+)/i.exec(text)
  if (read !== null) wishes.push({ tool: "fs.read", arguments: { path: bare(read[1]) } })
  const search = /\bsearch (?:the files )?for ("[^"]+"|\S+)/i.exec(text)
  if (search !== null) wishes.push({ tool: "fs.search", arguments: { query: bare(search[1]) } })
  return wishes
}

/** Without quotation marks and the end of the sentence. */
const bare = (word: string | undefined): string =>
  (word ?? "").replace(/^["'`]+|["'`]+$/g, "").replace(/(?<=.)[?!,;:.]+$/, "")

const fromResults = (results: ReadonlyArray<Extract<PromptMessage, { readonly role: "tool" }>>): string =>
  [
    "I am the built-in demo model; this is what the tools said.",
    ...results.map((result) => `${result.name}: ${cut(result.text, 4_000)}`)
  ].join("\n\n")

const cut = (text: string, chars: number): string => {
  if (text.length <= chars) return text
  return `${text.slice(0, chars).replace(/[\uD800-\uDBFF]$/, "")}…`
}

const say = (text: string): ReadonlyArray<ModelEvent> => [...pieces(text), { _tag: "End", reason: "stop" }]

/** A few words at a time. */
const pieces = (text: string): ReadonlyArray<ModelEvent> =>
  (text.match(/(?:\S+\s*|\s+){1,6}/g) ?? [text]).map((piece): ModelEvent => ({ _tag: "Text", text: piece }))
