/** Answers in the OpenAI protocol's own shapes: the completion and the pieces of a stream. Pure text, built per piece. */
import type { MessageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Usage } from "#src/domain/Usage.ts"

export interface Head {
  readonly messageId: MessageId
  readonly session: SessionKey
  /** Seconds since the epoch. */
  readonly created: number
  /** The model name as the client spelled it. */
  readonly model: string
  readonly requestId: string
}

const idOf = (head: Head) => `chatcmpl-${head.messageId}`

const usageOf = (usage: Usage) => ({
  prompt_tokens: usage.inputTokens,
  completion_tokens: usage.outputTokens,
  total_tokens: usage.inputTokens + usage.outputTokens,
  prompt_tokens_details: { cached_tokens: usage.cachedTokens }
})

/** The whole answer as JSON text. `usage` is left out when another message's run carries it. */
export const completion = (
  head: Head,
  answer: { readonly text: string; readonly usage: Usage | undefined }
): string =>
  JSON.stringify({
    id: idOf(head),
    object: "chat.completion",
    created: head.created,
    model: head.model,
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: answer.text, refusal: null },
        logprobs: null,
        finish_reason: "stop"
      }
    ],
    ...(answer.usage === undefined ? {} : { usage: usageOf(answer.usage) })
  })

const begin = (head: Head): string =>
  `data: {"id":${JSON.stringify(idOf(head))},"object":"chat.completion.chunk","created":${head.created},"model":${JSON.stringify(head.model)},"choices":`

const chunk = (head: Head, delta: string, finishReason: string): string =>
  `${begin(head)}[{"index":0,"delta":${delta},"finish_reason":${finishReason}}]}\n\n`

export const role = (head: Head): string => chunk(head, `{"role":"assistant","content":""}`, "null")
export const content = (head: Head, text: string): string =>
  chunk(head, `{"content":${JSON.stringify(text)}}`, "null")
export const stop = (head: Head): string => chunk(head, "{}", `"stop"`)
/** The extra chunk of `stream_options.include_usage`. */
export const usage = (head: Head, used: Usage | undefined): string =>
  `${begin(head)}[],"usage":${used === undefined ? "null" : JSON.stringify(usageOf(used))}}\n\n`
