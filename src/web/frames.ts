/** What the gateway sends the page: frames of the socket and rows of the history, as far as the page uses them. Pure. */

/** An image that came with a message; the page is not given the image itself. */
export interface ImageNote {
  readonly media_type: string
  readonly bytes: number
}

/** One line as the history route gives it. */
export interface HistoryRow {
  readonly id: string
  readonly seq: number
  readonly role: string
  readonly content: string
  readonly images?: ReadonlyArray<ImageNote>
  readonly client_id?: string
  readonly answers?: ReadonlyArray<string>
  readonly partial?: string
  readonly tools?: ReadonlyArray<{ readonly name: string; readonly status: string }>
  /** A user's message that has no outcome yet. */
  readonly open?: boolean
  readonly created_at?: number
}

/** A frame of the server, as far as the page uses it; unknown types are ignored. */
export type Frame =
  | { readonly type: "hello"; readonly session_key: string; readonly seq: number }
  | { readonly type: "ack"; readonly id: string; readonly message_id: string; readonly seq: number }
  | {
      readonly type: "refused"
      readonly id: string
      readonly code: string
      readonly message: string
      readonly retry_after_ms?: number
    }
  | {
      readonly type: "outcome"
      readonly id: string
      readonly outcome: string
      readonly by?: string
      readonly failure?: { readonly message: string }
    }
  | {
      readonly type: "user"
      readonly id: string
      readonly seq: number
      readonly content: string
      readonly images?: ReadonlyArray<ImageNote>
    }
  | { readonly type: "run"; readonly run_id: string; readonly attempt: number; readonly state: string }
  | { readonly type: "typing"; readonly on: boolean }
  | {
      readonly type: "delta"
      readonly run_id: string
      readonly attempt: number
      readonly offset: number
      readonly content: string
    }
  | {
      readonly type: "tool"
      readonly run_id: string
      readonly call_id: string
      readonly name: string
      readonly phase: string
      readonly summary: string
    }
  | {
      readonly type: "approval"
      readonly id: string
      readonly tool: string
      readonly arguments: string
      readonly state: string
    }
  | {
      readonly type: "message"
      readonly id: string
      readonly seq: number
      readonly answers?: ReadonlyArray<string>
      readonly content: string
    }
  | { readonly type: "error"; readonly code: string; readonly message: string }

/** A text frame as a Frame; undefined for what is no JSON object with a type. */
export const parseFrame = (text: string): Frame | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"
      ? (value as Frame)
      : undefined
  } catch {
    return undefined
  }
}
