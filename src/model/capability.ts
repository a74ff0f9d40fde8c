/** What a request needs that a model is known not to have. Pure: what is not known is taken to be there. */
import type { ModelIncapable, ModelRequest } from "./Model.ts"
import * as Catalogue from "./catalogue.ts"
import type { ModelFacts, ModelsSettings } from "./ModelSettings.ts"

/** What the operator says of the model; its window is otherwise the one that is published for it. */
export const factsOf = (model: string, { known }: Pick<ModelsSettings, "known">): ModelFacts | undefined => {
  const window = Catalogue.known(model)?.window
  const said = known[model]
  return said?.context_tokens !== undefined || window === undefined
    ? said
    : { ...said, context_tokens: window }
}

/** Undefined when the model can be asked. `promptTokens` is only counted for a model whose window is known. */
export const lacking = (
  facts: ModelFacts | undefined,
  { tools, messages }: Pick<ModelRequest, "tools" | "messages">,
  promptTokens: () => number
): ModelIncapable["lacks"] | undefined => {
  if (facts === undefined) return undefined
  if (facts.tools === false && tools.length > 0) return "tools"
  if (facts.images === false && messages.some(hasImage)) return "images"
  return facts.context_tokens !== undefined && promptTokens() > facts.context_tokens ? "window" : undefined
}

const hasImage = (message: object): boolean =>
  "images" in message && Array.isArray(message.images) && message.images.length > 0
