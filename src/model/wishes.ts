/** Which wishes of a caller a provider's protocol has no words for, so that they are refused and not dropped in silence. */
import type { ModelParams } from "#src/domain/Inbound.ts"
import type { ProviderSettings } from "./ProviderSettings.ts"

/** The first wish that would change the answer and cannot be passed on; `seed` promises nothing anywhere. */
export const unsupported = (
  kind: ProviderSettings["kind"],
  params: ModelParams
): keyof ModelParams | undefined => {
  const format = params.responseFormat
  switch (kind) {
    case "openai-chat":
    case "google":
    case "replay":
      return undefined
    case "openai-responses":
      if ((params.stop ?? []).length > 0) return "stop"
      return penalty(params)
    case "anthropic":
      if (format?.type === "json_object") return "responseFormat"
      return penalty(params)
    case "demo":
      return format === undefined ? undefined : "responseFormat"
  }
}

const penalty = ({ presencePenalty, frequencyPenalty }: ModelParams): keyof ModelParams | undefined => {
  if ((presencePenalty ?? 0) !== 0) return "presencePenalty"
  return (frequencyPenalty ?? 0) === 0 ? undefined : "frequencyPenalty"
}
