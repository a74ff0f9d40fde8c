/**
 * The port to language models, as the agent sees it.
 *
 * Owns: the request, the event stream and its failures.
 * Does not own: wire formats, keys or sockets (`layers/model`), nor which tool a call means (`agent`).
 */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { ModelParams } from "#src/domain/Inbound.ts"
import type { ToolCall, ToolSpec } from "#src/domain/Tool.ts"
import type { Usage } from "#src/domain/Usage.ts"

/** One item of a prompt. Only what a model can be told; the transcript's entries are richer. */
export type PromptMessage =
  | { readonly role: "system"; readonly text: string }
  | { readonly role: "user"; readonly text: string }
  | {
      readonly role: "assistant"
      readonly text: string
      readonly calls?: ReadonlyArray<ToolCall>
      /** Of the `End` that closed this step, when the step was taken in the same run. */
      readonly continuation?: object
    }
  | { readonly role: "tool"; readonly callId: string; readonly name: string; readonly text: string }

export interface ModelRequest {
  /** `provider/model`, as configured. */
  readonly model: string
  /** Which of the provider's profiles pays for it; absent for the provider's own key. */
  readonly profile?: string
  readonly messages: ReadonlyArray<PromptMessage>
  readonly tools: ReadonlyArray<ToolSpec>
  readonly params: ModelParams
}

/**
 * `Text` pieces come in order; `Call` comes whole, once its arguments are complete, in the model's order;
 * exactly one `End` comes last.
 */
export type ModelEvent =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Call"; readonly call: ToolCall }
  | {
      readonly _tag: "End"
      /** `length`: the model hit its output limit. `filtered`: the provider withheld the rest. */
      readonly reason: "stop" | "calls" | "length" | "filtered"
      /** Absent when the provider reported none. */
      readonly usage?: Usage
      /**
       * What this provider wants to see again with the step's calls, such as signed thoughts. Opaque: only the kind that made
       * it reads it, it is never stored or shown, and a step without it is still a valid step.
       */
      readonly continuation?: object
    }

/** No such provider or model is configured. */
export class ModelUnknown extends Schema.TaggedError<ModelUnknown>()("ModelUnknown", {}) {
  override get message() {
    return "no such model is configured"
  }
  readonly isRetryable = false
}
/** The provider does not accept our key (401, 403). */
export class ModelUnauthorized extends Schema.TaggedError<ModelUnauthorized>()("ModelUnauthorized", {
  status: Schema.Number,
  detail: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return `the provider refused the key (${this.status})`
  }
  readonly isRetryable = false
}
/** Too many requests (429). `retryAfterMillis` is the provider's wish, when it said one. */
export class ModelRateLimited extends Schema.TaggedError<ModelRateLimited>()("ModelRateLimited", {
  retryAfterMillis: Schema.optionalKey(Schema.Number),
  detail: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return "the provider is limiting our rate"
  }
  readonly isRetryable = true
}
/** The provider rejected the request itself (4xx), `problem` when it is a known one. `detail` is for the operator's log, never for a chat. */
export class ModelRejected extends Schema.TaggedError<ModelRejected>()("ModelRejected", {
  status: Schema.Number,
  detail: Schema.String,
  problem: Schema.optionalKey(Schema.Literal("prompt_too_long"))
}) {
  override get message() {
    if (this.problem !== undefined) return "the conversation is too long for this model"
    if (this.status === 402) return "the provider wants to be paid first (402)"
    return this.status === 404
      ? "the provider has no such model (404)"
      : `the provider rejected the request (${this.status})`
  }
  readonly isRetryable = false
}
/** The provider failed (5xx) or could not be reached. */
export class ModelUnavailable extends Schema.TaggedError<ModelUnavailable>()("ModelUnavailable", {
  status: Schema.optionalKey(Schema.Number),
  detail: Schema.String,
  retryAfterMillis: Schema.optionalKey(Schema.Number)
}) {
  override get message() {
    return this.status === undefined
      ? "the provider could not be reached"
      : `the provider failed (${this.status})`
  }
  readonly isRetryable = true
}
/** The stream broke off before its end. */
export class ModelCutOff extends Schema.TaggedError<ModelCutOff>()("ModelCutOff", {}) {
  override get message() {
    return "the provider's answer broke off"
  }
  readonly isRetryable = true
}
/** Nothing came for the idle time. */
export class ModelStalled extends Schema.TaggedError<ModelStalled>()("ModelStalled", {
  idleMillis: Schema.Number
}) {
  override get message() {
    return `the provider sent nothing for ${this.idleMillis} ms`
  }
  readonly isRetryable = true
}
/** What came is not what the protocol promises. */
export class ModelMalformed extends Schema.TaggedError<ModelMalformed>()("ModelMalformed", {
  detail: Schema.String
}) {
  override get message() {
    return "the provider's answer could not be read"
  }
  readonly isRetryable = true
}
/** The model cannot do what the request needs. Known beforehand: nothing was sent. */
export class ModelIncapable extends Schema.TaggedError<ModelIncapable>()("ModelIncapable", {
  lacks: Schema.Literals(["tools", "images", "window"])
}) {
  override get message() {
    switch (this.lacks) {
      case "tools":
        return "the model cannot use tools"
      case "images":
        return "the model cannot see images"
      case "window":
        return "the conversation is too long for the model"
    }
  }
  readonly isRetryable = false
}

export class ModelError extends Schema.TaggedError<ModelError>()("ModelError", {
  model: Schema.String,
  reason: Schema.Union([
    ModelUnknown,
    ModelUnauthorized,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
    ModelCutOff,
    ModelStalled,
    ModelMalformed,
    ModelIncapable
  ])
}) {
  override get message() {
    return `${this.model}: ${this.reason.message}`
  }
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

export class Model extends Context.Service<
  Model,
  {
    /**
     * One model call. Pulling starts it; interrupting it closes the provider's socket.
     * It has an idle timeout and no total one. Fails with one `ModelError`, after which nothing comes.
     */
    readonly stream: (request: ModelRequest) => Stream.Stream<ModelEvent, ModelError>
  }
>()("opencraw/model/Model") {}
