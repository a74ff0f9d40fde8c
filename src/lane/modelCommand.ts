/**
 * What `/model` does: to the model that a session keeps, and in front of a text.
 *
 * Owns: its words, what is refused, and its answers. Pure.
 * Does not own: keeping the choice (`SessionModels`), nor how references are read (`model/modelRef`).
 */
import { format, isAllowed, resolveRef } from "#src/model/modelRef.ts"
import { unusable } from "#src/model/Models.ts"
import type { ModelsSettings } from "#src/model/ModelSettings.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"

export const modelUsage = "/model PROVIDER/MODEL, /model list, /model status, or /model default"

/** What counts for the session now. */
export interface ModelPresent {
  /** The agent's own. */
  readonly model: string
  readonly fallbacks: ReadonlyArray<string>
  /** What the session keeps. */
  readonly chosen: string | undefined
  readonly rules: Pick<ModelsSettings, "aliases" | "allow" | "known">
  readonly providers: Readonly<Record<string, ProviderSettings>>
}

export interface ModelAnswer {
  /** What the session keeps from now on. */
  readonly chosen: string | undefined
  /** What its sender is told. */
  readonly answer: string
}

const resets = new Set(["default", "reset", "clear"])

/**
 * A model that somebody names: the whole reference, or why it cannot be chosen. `isGuess`: nothing of that name is known, so it is
 * taken for one of the agent's own provider.
 */
export const chooseModel = (
  raw: string,
  { model, fallbacks, rules, providers }: Omit<ModelPresent, "chosen">
): { readonly model: string; readonly isGuess: boolean } | { readonly problem: string } => {
  const listed = [model, ...fallbacks, ...Object.keys(rules.known)]
  const bare = raw.trim().toLowerCase()
  // A bare name that is the end of one known reference means that one.
  const ends = [...new Set(listed)].filter((each) => each.slice(each.indexOf("/") + 1).toLowerCase() === bare)
  const ref = resolveRef(raw, rules.aliases, model.slice(0, Math.max(0, model.indexOf("/"))))
  const found = ref?.alias === undefined && ends.length === 1 ? ends[0] : ref && format(ref)
  if (found === undefined) return { problem: `${shown(raw)} is no model` }
  if (found !== model && !isAllowed(found, rules.allow))
    return { problem: `${shown(found)} is not allowed here` }
  const [problem] = unusable(providers, [found])
  switch (problem?.problem) {
    case undefined:
      return { model: found, isGuess: !raw.includes("/") && ref?.alias === undefined && ends.length !== 1 }
    case "unknown_provider":
      return { problem: `there is no provider ${shown(problem.provider)}` }
    case "malformed":
      return { problem: `${shown(raw)} is no model` }
    default:
      return { problem: `${shown(found)} cannot be used: its provider is not set up` }
  }
}

/** Carry out a `/model` that is a whole message. A choice counts for the session until it is reset. */
export const modelCommand = (rest: string, present: ModelPresent): ModelAnswer => {
  const { chosen, model } = present
  const word = rest.trim().toLowerCase()
  if (word === "" || word === "status") return { chosen, answer: status(present) }
  if (word === "list") return { chosen, answer: list(present) }
  if (resets.has(word))
    return { chosen: undefined, answer: `This session answers with ${model}, as its agent does.` }
  if (/\s/.test(word)) return { chosen, answer: `Nothing was changed. Usage: ${modelUsage}` }
  const choice = chooseModel(rest, present)
  if ("problem" in choice) {
    return { chosen, answer: `Nothing was changed: ${choice.problem}. /model list shows what there is.` }
  }
  return {
    chosen: choice.model,
    answer: `This session answers with ${choice.model} from now on, and with no other when it fails. /model default goes back.`
  }
}

const status = ({ chosen, model, fallbacks }: ModelPresent): string => {
  if (chosen !== undefined) {
    return `Model: ${chosen}, chosen for this session; no other answers when it fails. Its agent's own is ${model}.`
  }
  return fallbacks.length === 0
    ? `Model: ${model}.`
    : `Model: ${model}; when it fails: ${fallbacks.join(", ")}.`
}

const list = ({ chosen, model, fallbacks, rules }: ModelPresent): string => {
  const byModel = new Map<string, ReadonlyArray<string>>()
  const add = (name: string, note?: string) =>
    byModel.set(name, [...(byModel.get(name) ?? []), ...(note === undefined ? [] : [note])])
  add(model, "the agent's own")
  for (const each of fallbacks) add(each, "fallback")
  for (const [alias, target] of Object.entries(rules.aliases)) add(target, `also called ${alias}`)
  for (const each of [...Object.keys(rules.known), ...rules.allow]) if (!each.endsWith("/*")) add(each)
  if (chosen !== undefined) add(chosen, "chosen here")
  const lines = [...byModel]
    .filter(([name]) => name === model || isAllowed(name, rules.allow))
    .map(([name, notes]) => (notes.length === 0 ? name : `${name} (${notes.join(", ")})`))
  const wide = rules.allow.filter((each) => each.endsWith("/*"))
  const more =
    rules.allow.length === 0
      ? "Any other model of a configured provider may be named too."
      : wide.length === 0
        ? ""
        : `Also: ${wide.join(", ")}.`
  return [...lines, more].filter((line) => line !== "").join("\n")
}

const shown = (word: string): string => {
  const characters = Array.from(word.trim())
  return characters.length <= 60 ? characters.join("") : `${characters.slice(0, 59).join("")}…`
}

/** A `/model` in front of a text: it holds for this message only. */
export interface InlineModel {
  readonly text: string
  readonly raw: string
}

/** undefined when there is none or no text is left: then it is a command of its own, or just text. */
export const inlineModel = (text: string): InlineModel | undefined => {
  const match = /^\s*\/model(?:\s*:\s*|\s+)(\S+)\s+(\S[\s\S]*)$/i.exec(text)
  return match === null ? undefined : { raw: match[1] ?? "", text: match[2] ?? "" }
}
