/**
 * One exchange with a provider as it is kept in a file, and how a later request finds it again.
 *
 * Owns: the file's words, what of a request counts when two are compared, and that no key is in it.
 * Does not own: writing it (`Recorder`) or serving it (`Replay`).
 */
import { createHash } from "node:crypto"
import * as Schema from "effect/Schema"
import type { ModelRequest, PromptMessage } from "#src/model/Model.ts"
import { ProviderSettingsSchema } from "#src/model/ProviderSettings.ts"

/** A piece of the answer as it came: text where its bytes are text by themselves, else base64. */
const Piece = Schema.Struct({
  /** Since the request was sent. */
  ms: Schema.Number,
  text: Schema.optionalKey(Schema.String),
  base64: Schema.optionalKey(Schema.String)
})

export const Recording = Schema.Struct({
  v: Schema.Literal(1),
  kind: ProviderSettingsSchema.fields.kind,
  at: Schema.String,
  /** As the provider knows it. */
  model: Schema.String,
  /** All that a model is told, by digest. */
  hash: Schema.String,
  /** The same without what may differ from run to run: the system text and what tools said. */
  shape: Schema.String,
  request: Schema.Struct({ url: Schema.String, body: Schema.String }),
  response: Schema.Struct({
    /** 0 when no answer came. */
    status: Schema.Number,
    headers: Schema.Record(Schema.String, Schema.String),
    pieces: Schema.Array(Piece),
    /** `cut`: the connection broke; `closed`: by us, before the end. */
    end: Schema.Literals(["ended", "cut", "closed"]),
    detail: Schema.optionalKey(Schema.String)
  })
})
export type Recording = typeof Recording.Type

export const bytesOf = (piece: Recording["response"]["pieces"][number]): Uint8Array =>
  piece.text === undefined ? Buffer.from(piece.base64 ?? "", "base64") : Buffer.from(piece.text, "utf8")

/** Bytes as a piece of the recording. */
export const pieceOf = (ms: number, bytes: Buffer): Recording["response"]["pieces"][number] => {
  const text = bytes.toString("utf8")
  return Buffer.from(text, "utf8").equals(bytes) ? { ms, text } : { ms, base64: bytes.toString("base64") }
}

const digest = (value: unknown): string =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 32)

const sorted = (value: object): ReadonlyArray<unknown> =>
  Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))

/** What this message says, for comparison; the continuation is a matter between two answers. */
const told = (message: PromptMessage): unknown => {
  switch (message.role) {
    case "system":
      return ["system", message.text]
    case "user":
      return ["user", message.text, message.images ?? []]
    case "tool":
      return ["tool", message.callId, message.name, message.text]
    case "assistant":
      return ["assistant", message.text, message.calls ?? []]
  }
}

export const hashOf = ({ messages, tools, params }: ModelRequest): string =>
  digest([messages.map(told), tools.map(({ name, parameters }) => [name, parameters]), sorted(params)])

export const shapeOf = ({ messages }: ModelRequest): string =>
  digest(
    messages
      .filter(({ role }) => role !== "system")
      .map((message) => {
        if (message.role === "tool") return ["tool", message.name]
        if (message.role !== "assistant") return ["user", message.text]
        return ["assistant", message.text, (message.calls ?? []).map(({ name }) => name)]
      })
  )
