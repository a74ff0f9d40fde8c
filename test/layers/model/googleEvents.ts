/** Chunks of the Gemini API's stream, as the provider would send them. */

export const chunk = (value: object): string => `data: ${JSON.stringify(value)}\r\n\r\n`

export const candidate = (parts: ReadonlyArray<object>, more: object = {}): object => ({
  candidates: [{ content: { parts, role: "model" }, index: 0, ...more }]
})

export const said = (...parts: ReadonlyArray<object>): string => chunk(candidate(parts))

export const text = (words: string): string => said({ text: words })

/** Without an id, as most models send it. */
export const call = (name: string, args: object, more: object = {}): string =>
  said({ functionCall: { name, args }, ...more })

export const used = { promptTokenCount: 7, candidatesTokenCount: 3, totalTokenCount: 10 }

export const stop = (finishReason = "STOP", usageMetadata: unknown = used): string =>
  chunk({ ...candidate([{ text: "" }], { finishReason }), usageMetadata, modelVersion: "m", responseId: "r" })

/** What Google's APIs answer in place of what was asked for. */
export const error = (
  code: number,
  status: string,
  message: string,
  details: ReadonlyArray<object> = []
): object => ({ error: { code, message, status, ...(details.length === 0 ? {} : { details }) } })

const type = (name: string) => `type.googleapis.com/google.rpc.${name}`

export const retryInfo = (retryDelay: string) => ({ "@type": type("RetryInfo"), retryDelay })
export const errorInfo = (reason: string) => ({
  "@type": type("ErrorInfo"),
  reason,
  domain: "googleapis.com",
  metadata: { service: "generativelanguage.googleapis.com" }
})
